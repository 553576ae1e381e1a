"""Weights to masks: how much of each strip survives, and which groups."""
from __future__ import annotations

from collections.abc import Mapping

import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.groups import check_blocks, expand_groups, group_rms


def prune_layer(name: str, weight: torch.Tensor, config: PruneConfig,
                inputs: torch.Tensor | None = None) -> torch.Tensor:
    """The weights of one Linear that survive.

    The layer keeps ``floor(groups / compression)`` groups, an equal share in each strip of p
    outputs: strips differ by one group at most, since the array is as slow as its fullest
    strip. The extra group goes to the strips whose next one is strongest. Ties go to the lower
    index.

    Parameters
    ----------
    name : str
        For errors.
    weight : Tensor of shape (N, K)
    inputs : Tensor of shape (K,), optional
        Mean square of each input, for ``saliency="activation"``.

    Returns
    -------
    Tensor of bool, shape (N, K)

    Raises
    ------
    InputError
        If p or q do not divide the layer, or nothing of it would survive.
    """
    structure, p, q = config.structure, config.p, config.q
    check_blocks(name, weight.shape, p, q)
    seen = inputs if config.saliency == "activation" else None
    rms = group_rms(weight.detach(), structure, p, q, seen)
    strips = weight.shape[0] // p
    strength = rms.reshape(strips, -1)                         # (strips, groups of a strip)
    kept = int(strength.numel() / config.compression + 1e-9)   # 1e-9: 96 / 1.2 is 80, not 79
    share, extra = divmod(kept, strips)
    if kept == 0:
        raise InputError(f"compression: expected at most {strength.numel()} for {name}, which has "
                         f"that many groups, found {config.compression:g}")
    order = strength.argsort(dim=1, descending=True, stable=True)
    quota = torch.full((strips,), share, device=weight.device)
    if extra:
        following = strength.gather(1, order[:, share:share + 1])[:, 0]
        quota[following.argsort(descending=True, stable=True)[:extra]] += 1
    rank = torch.empty_like(order)
    places = torch.arange(order.shape[1], device=weight.device).expand_as(order)
    rank.scatter_(1, order, places)
    alive = rank < quota[:, None]
    return expand_groups(alive.reshape(rms.shape), structure, p, q)


def prune_layers(weights: Mapping[str, torch.Tensor], config: PruneConfig,
                 inputs: Mapping[str, torch.Tensor] | None = None) -> dict[str, torch.Tensor]:
    """Masks of all layers, each at the same compression. See :func:`prune_layer`."""
    return {name: prune_layer(name, weight, config, (inputs or {}).get(name))
            for name, weight in weights.items()}


def compression_of(masks: Mapping[str, torch.Tensor]) -> float:
    """All weights over the surviving ones."""
    alive = sum(int(mask.sum()) for mask in masks.values())
    return sum(mask.numel() for mask in masks.values()) / alive if alive else float("inf")


def densities_of(masks: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Surviving share of each layer."""
    return {name: int(mask.sum()) / mask.numel() for name, mask in masks.items()}
