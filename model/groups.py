"""Weights to groups and back: which weights of a Linear live or die together.

A matrix W of shape (N, K) is cut into blocks of p outputs by q inputs. Groups, and the grid of
what is known of each:

========== ============ ================
structure  one group    grid of groups
========== ============ ================
``column`` p × 1        (N / p, K)
``block``  p × q        (N / p, K / q)
``row``    1 × q        (N, K / q)
========== ============ ================

Where p or q does not divide the matrix and padding is allowed, quotients round up and the groups at
the edges are smaller.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch

from sparseloom.model.errors import InputError
from sparseloom.model.masks import group_size


def check_blocks(name: str, shape: Sequence[int], p: int, q: int, pad: bool = False) -> None:
    """Refuse a layer that does not divide into blocks.

    Parameters
    ----------
    name : str
        For errors.
    shape : (N, K)
    p, q : int
        Outputs and inputs of a block.
    pad : bool
        Blocks at the edges may be smaller: only a block larger than the layer is refused.

    Raises
    ------
    InputError
        Names the layer and the divisors near what was asked.
    """
    for setting, asked, whole, what in (("p", p, shape[0], "outputs"),
                                        ("q", q, shape[1], "inputs")):
        if pad and asked > whole:
            raise InputError(f"{setting}: expected at most the {whole} {what} of {name}, "
                             f"found {asked}")
        if not pad and whole % asked:
            near = sorted((n for n in range(1, whole + 1) if whole % n == 0),
                          key=lambda n: (abs(n - asked), n))[:2]
            raise InputError(f"{setting}: expected a divisor of the {whole} {what} of {name} "
                             f"(such as {' or '.join(map(str, near))}), found {asked}")


def group_grid(shape: Sequence[int], structure: str, p: int, q: int,
               pad: bool = False) -> tuple[int, int]:
    """Rows and columns of a matrix's grid of groups.

    Parameters
    ----------
    shape : (N, K)
    structure : str
        ``column``, ``block`` or ``row``.
    p, q : int
        Outputs and inputs of a block.
    pad : bool
        Groups at the edges may be smaller.

    Raises
    ------
    InputError
        If groups do not divide the matrix, unless ``pad``.
    """
    rows, cols = group_size(structure, p, q)
    if not pad:
        check_blocks("the matrix", shape, rows, cols)
    return -(-shape[0] // rows), -(-shape[1] // cols)


def group_sizes(shape: Sequence[int], structure: str, p: int, q: int) -> torch.Tensor:
    """Real weights in each group, padding left out: int64, shape of the grid."""
    rows, cols = group_size(structure, p, q)
    return (_pieces(shape[0], rows)[:, None] * _pieces(shape[1], cols)).contiguous()


def _pieces(whole: int, size: int) -> torch.Tensor:
    """Lengths into which ``size`` cuts ``whole``; the last may be shorter."""
    pieces = torch.full((-(-whole // size),), size)
    pieces[-1] = whole - size * (len(pieces) - 1)
    return pieces


def sum_groups(values: torch.Tensor, structure: str, p: int, q: int) -> torch.Tensor:
    """Sum of each group's values.

    Parameters
    ----------
    values : Tensor of shape (N, K)

    Returns
    -------
    Tensor of the grid's shape
    """
    rows, cols = group_size(structure, p, q)
    n, k = values.shape
    if n % rows or k % cols:
        values = torch.nn.functional.pad(values, (0, -k % cols, 0, -n % rows))
        n, k = values.shape
    return values.reshape(n // rows, rows, k // cols, cols).sum(dim=(1, 3))


def expand_groups(groups: torch.Tensor, structure: str, p: int, q: int,
                  shape: Sequence[int]) -> torch.Tensor:
    """Each group's value at each of its weights: inverse of the cut.

    Parameters
    ----------
    groups : Tensor of the grid's shape
    shape : (N, K)
        Of the matrix; what padding added is cut off.

    Returns
    -------
    Tensor of shape (N, K)
    """
    rows, cols = group_size(structure, p, q)
    spread = groups
    if rows > 1:
        spread = spread.repeat_interleave(rows, dim=0)[:shape[0]]
    if cols > 1:
        spread = spread.repeat_interleave(cols, dim=1)[:, :shape[1]]
    if spread.shape != tuple(shape):  # the program's error: a grid of another matrix
        raise ValueError(f"a grid of {tuple(groups.shape)} groups is not that of a matrix of "
                         f"shape {tuple(shape)}")
    return spread.contiguous() if spread is not groups else spread.clone()


def group_rms(weight: torch.Tensor, structure: str, p: int, q: int,
              inputs: torch.Tensor | None = None) -> torch.Tensor:
    """Root mean square of each group, by weights alone or as its inputs excite it.

    Parameters
    ----------
    weight : Tensor of shape (N, K)
    inputs : Tensor of shape (K,), optional
        Mean square of each input over training rows. Scaled to a mean of 1, so that RMS values
        with and without it are of one size.

    Returns
    -------
    Tensor of the grid's shape
        A group cut short by the matrix's edge is divided by the weights it really has.
    """
    squares = weight.square()
    if inputs is not None:
        squares = squares * (inputs / inputs.mean().clamp_min(1e-30))
    sizes = group_sizes(weight.shape, structure, p, q).to(weight.device)
    return (sum_groups(squares, structure, p, q) / sizes).sqrt()


def surviving(weight: torch.Tensor, structure: str, p: int, q: int) -> torch.Tensor:
    """Weights in groups that are not wholly zero: bool, shape (N, K)."""
    alive = sum_groups((weight != 0).to(torch.float32), structure, p, q) > 0
    return expand_groups(alive, structure, p, q, weight.shape)
