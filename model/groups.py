"""Weights to groups and back: which weights of a Linear live or die together.

A matrix W of shape (N, K) is cut into blocks of p outputs by q inputs. Groups, and the shape of
what is known of each:

========== ============ ================
structure  one group    shape of groups
========== ============ ================
``column`` p × 1        (N / p, K)
``block``  p × q        (N / p, K / q)
``row``    1 × q        (N, K / q)
========== ============ ================
"""
from __future__ import annotations

from collections.abc import Sequence

import torch

from sparseloom.model.errors import InputError


def group_size(structure: str, p: int, q: int) -> tuple[int, int]:
    """Outputs and inputs of one group."""
    return {"column": (p, 1), "block": (p, q), "row": (1, q)}[structure]


def check_blocks(name: str, shape: Sequence[int], p: int, q: int) -> None:
    """Refuse a layer that does not divide into blocks.

    Raises
    ------
    InputError
        Names the layer and the divisors near what was asked.
    """
    for setting, asked, whole, what in (("p", p, shape[0], "outputs"),
                                        ("q", q, shape[1], "inputs")):
        if whole % asked:
            near = sorted((n for n in range(1, whole + 1) if whole % n == 0),
                          key=lambda n: (abs(n - asked), n))[:2]
            raise InputError(f"{setting}: expected a divisor of the {whole} {what} of {name} "
                             f"(such as {' or '.join(map(str, near))}), found {asked}")


def sum_groups(values: torch.Tensor, structure: str, p: int, q: int) -> torch.Tensor:
    """Sum of each group's values.

    Parameters
    ----------
    values : Tensor of shape (N, K)

    Returns
    -------
    Tensor of the shape in the table above
    """
    rows, cols = group_size(structure, p, q)
    n, k = values.shape
    return values.reshape(n // rows, rows, k // cols, cols).sum(dim=(1, 3))


def expand_groups(groups: torch.Tensor, structure: str, p: int, q: int) -> torch.Tensor:
    """Each group's value at each of its weights: inverse of the cut, shape (N, K)."""
    rows, cols = group_size(structure, p, q)
    return groups.repeat_interleave(rows, dim=0).repeat_interleave(cols, dim=1)


def group_rms(weight: torch.Tensor, structure: str, p: int, q: int,
              inputs: torch.Tensor | None = None) -> torch.Tensor:
    """Root mean square of each group, by weights alone or as its inputs excite it.

    Parameters
    ----------
    weight : Tensor of shape (N, K)
    inputs : Tensor of shape (K,), optional
        Mean square of each input over training rows. Scaled to a mean of 1, so that RMS values
        with and without it are of one size.
    """
    squares = weight.square()
    if inputs is not None:
        squares = squares * (inputs / inputs.mean().clamp_min(1e-30))
    rows, cols = group_size(structure, p, q)
    return (sum_groups(squares, structure, p, q) / (rows * cols)).sqrt()


def surviving(weight: torch.Tensor, structure: str, p: int, q: int) -> torch.Tensor:
    """Weights in groups that are not wholly zero: bool, shape (N, K)."""
    alive = sum_groups((weight != 0).to(torch.float32), structure, p, q) > 0
    return expand_groups(alive, structure, p, q)
