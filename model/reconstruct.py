"""Refit what survived of a layer, so that it gives the answers that the whole layer gave.

For inputs x with second moments H = Σ x xᵀ (a constant 1 among them, for the bias) and a row w
with survivors S, the refit minimises ``(u - w) H (u - w)ᵀ + d ‖(u - w)_S‖²`` over rows u that are
zero outside S. That is one linear system for all rows that share S.

Source: the least-squares view of optimal brain surgeon (Hassibi and Stork, 1993), one layer at a
time; worked out here.
"""
from __future__ import annotations

from collections.abc import Iterator

import torch


def same_survivors(mask: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Rows of a mask (bool, shape (N, K)) that are alike, and the columns that survive in them."""
    kept, of_row = torch.unique(mask, dim=0, return_inverse=True)
    for index, survivors in enumerate(kept):
        yield (of_row == index).nonzero()[:, 0], survivors.nonzero()[:, 0]


@torch.no_grad()
def reconstruct(weight: torch.Tensor, bias: torch.Tensor | None, mask: torch.Tensor,
                moments: torch.Tensor, damping: float) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Survivors refitted to the layer's old outputs.

    Parameters
    ----------
    weight : Tensor of float32, shape (N, K)
    bias : Tensor of float32, shape (N,), optional
        Refitted too.
    mask : Tensor of bool, shape (N, K)
    moments : Tensor of float32, shape (K + 1, K + 1)
        Σ x xᵀ over training tokens, the constant 1 last.
    damping : float
        Ridge towards the old weights, relative to the mean diagonal of the inputs' moments.

    Returns
    -------
    weight : Tensor of shape (N, K)
        Exactly zero outside the mask.
    bias : Tensor of shape (N,), or None
    """
    k = weight.shape[1]
    size = k + 1 if bias is not None else k
    moments = moments[:size, :size].double()
    ridge = damping * moments.diagonal()[:k].mean().clamp_min(1e-12)
    old = weight.double()
    if bias is not None:
        old = torch.cat([old, bias.double()[:, None]], dim=1)
    wanted = old @ moments                                     # (N, size)
    new = torch.zeros_like(old)
    for rows, cols in same_survivors(mask):
        if bias is not None:
            cols = torch.cat([cols, torch.tensor([k], device=cols.device)])
        if not len(cols):
            continue
        system = moments[cols][:, cols].clone()
        system.diagonal().add_(ridge)
        right = wanted[rows][:, cols] + ridge * old[rows][:, cols]
        new[rows[:, None], cols[None]] = torch.linalg.solve(system, right.T).T
    fitted = new[:, :k].to(weight.dtype) * mask
    return fitted, (new[:, k].to(weight.dtype) if bias is not None else None)
