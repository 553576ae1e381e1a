"""Weights to integers where bits are few: which scale, and rounding that makes up for itself."""
from __future__ import annotations

import torch

from sparseloom.model.reconstruct import same_survivors

RATIOS = tuple(step / 50 for step in range(15, 51))
"""Scales that are tried, relative to the one that clips no weight: 0.3 to 1."""

DAMPING = 0.01
"""Of the inputs' moments, relative to their mean diagonal."""


@torch.no_grad()
def search_scales(weight: torch.Tensor, limit: int) -> torch.Tensor:
    """The scale of each output whose rounding and clipping have the least squared error together.

    With 255 levels a row's largest weight may set them; with 15, one large weight would leave a few
    levels for all others.

    Parameters
    ----------
    weight : Tensor of float, shape (N, K)
    limit : int
        Largest magnitude of an integer.

    Returns
    -------
    Tensor of float, shape (N,)
        0 where all weights are.
    """
    whole = weight.abs().amax(dim=1) / limit
    best, scales = torch.full_like(whole, torch.inf), whole
    for ratio in RATIOS:
        scale = whole * ratio
        step = torch.where(scale > 0, scale, torch.ones_like(scale))[:, None]
        error = ((weight / step).round_().clamp_(-limit, limit).mul_(step).sub_(weight)
                 .square_().sum(dim=1))
        better = error <= best
        best, scales = torch.where(better, error, best), torch.where(better, scale, scales)
    return scales


@torch.no_grad()
def compensate(weight: torch.Tensor, bias: torch.Tensor, keep: torch.Tensor, scales: torch.Tensor,
               limit: int, moments: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round weight after weight; those still to come, and the bias, make up for each error.

    For a row's error e in its output's squared error ``e H eᵀ``: after a weight was rounded, the
    others move to where they minimise it. Inputs go by falling power.

    Parameters
    ----------
    weight : Tensor of float64, shape (N, K)
    bias : Tensor of float64, shape (N,)
    keep : Tensor of bool, shape (N, K)
        What pruning kept; all else stays zero and makes up for nothing.
    scales : Tensor of float64, shape (N,)
        Above 0.
    limit : int
        Largest magnitude of an integer.
    moments : Tensor of float, shape (K + 1, K + 1)
        Σ x xᵀ over training tokens, the constant 1 last.

    Returns
    -------
    weight : Tensor of float64, shape (N, K)
        Integers.
    bias : Tensor of float64, shape (N,)

    Notes
    -----
    Source: Frantar et al., "GPTQ", arXiv 2210.17323, section 3, algorithm 1; the pruned inputs and
    the bias are ours.
    """
    inputs = weight.shape[1]
    moments = moments.double()
    result, fitted = torch.zeros_like(weight), bias.clone()
    for rows, order in same_survivors(keep):
        if not len(order):
            continue
        order = order[moments.diagonal()[order].argsort(descending=True, stable=True)]
        order = torch.cat([order, torch.tensor([inputs])])          # the bias comes last
        system = moments[order][:, order].clone()
        power = system.diagonal()[:-1].mean().clamp_min(1e-12)
        system.diagonal()[:-1].add_(DAMPING * power)
        system.diagonal()[-1:].add_(1e-6 * moments[-1, -1])
        # Row j of the inverse's upper factor: what an error of j asks of those behind it.
        factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(system)),
                                       upper=True)
        left = torch.cat([weight[rows], bias[rows, None]], dim=1)[:, order]
        scale = scales[rows]
        for j in range(len(order) - 1):
            integer = (left[:, j] / scale).round().clamp(-limit, limit)
            result[rows, order[j]] = integer
            error = (left[:, j] - integer * scale) / factor[j, j]
            left[:, j + 1:] -= error[:, None] * factor[j, j + 1:]
        fitted[rows] = left[:, -1]
    return result, fitted
