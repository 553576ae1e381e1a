"""Strengths of groups to masks: which groups survive, and how they compete.

A *standing* says it once for every compression: the weights that survive if a group and all those
before it in its competition do. A group is alive where its standing fits into the weights that a
compression leaves, so a search over compressions sorts only once.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.groups import expand_groups, group_grid, group_sizes

MIN_SHARE = 0.02
"""Of a layer's groups, which survive scope ``global`` however weak: a dead layer cannot recover."""

Shapes = Mapping[str, Sequence[int]]


@dataclass(frozen=True)
class Standings:
    """All groups in the order in which they survive; see the module's docstring.

    Parameters
    ----------
    of : dict of str to Tensor of int64
        Standing of each group, shape of the layer's grid. In weights of the layer or, in scope
        ``global``, of all layers.
    totals : dict of str to int
        Weights of each layer.
    floors : dict of str to int
        Least weights that must survive for a competition to be decided: the first group's, or
        in scope ``global`` what no layer may fall below.
    together : bool
        Whether the layers compete with one another.
    slack : int
        Weights of a whole group.
    """

    of: dict[str, torch.Tensor]
    totals: dict[str, int]
    floors: dict[str, int]
    together: bool
    slack: int

    @property
    def most(self) -> float:
        """Largest compression that leaves something of every layer."""
        if self.together:
            return sum(self.totals.values()) / max(self.floors.values())
        return min(total / self.floors[name] for name, total in self.totals.items())

    def alive(self, compression: float) -> dict[str, torch.Tensor]:
        """Surviving groups: bool grids. Those of a larger compression are among them.

        Raises
        ------
        InputError
            If a layer would not survive.
        """
        alive = {}
        whole = sum(self.totals.values())
        for name, standing in self.of.items():
            total = whole if self.together else self.totals[name]
            # 1e-9 of a group: 96 / 1.2 is 80, not 79
            budget = int(total / compression + 1e-9 * self.slack)
            if budget < self.floors[name]:
                most = total / self.floors[name]
                raise InputError(
                    f"compression: expected at most {most:g} for "
                    + ("these layers, which keep a group in each strip and "
                       f"{MIN_SHARE:.0%} of their groups" if self.together else
                       f"{name}, which leaves one group") + f", found {compression:g}")
            alive[name] = standing <= budget
        return alive


def rank_groups(strengths: Mapping[str, torch.Tensor], shapes: Shapes,
                config: PruneConfig) -> Standings:
    """Order in which groups survive, strongest first within the bounds of ``config.scope``.

    Parameters
    ----------
    strengths : mapping of str to Tensor, shape of the layer's grid of groups
        The larger, the longer a group lives. For scope ``global`` of one size over the layers,
        as root mean squares are. Ties go to the lower index.
    shapes : mapping of str to (N, K)
        Of the same layers, in the same order.
    config : PruneConfig
        Its ``scope``, ``structure``, ``p`` and ``q`` count.

    Returns
    -------
    Standings
        On the CPU.

    Raises
    ------
    InputError
        If a strength is not finite, as after a training that diverged.
    """
    values: dict[str, torch.Tensor] = {}
    sizes: dict[str, torch.Tensor] = {}
    for name, strength in strengths.items():
        grid = group_grid(shapes[name], config.structure, config.p, config.q, pad=True)
        if tuple(strength.shape) != grid:
            raise ValueError(f"strengths of {name} have shape {tuple(strength.shape)}, not {grid}")
        value = strength.detach().cpu()
        value = value if value.dtype == torch.float64 else value.float()
        if not value.isfinite().all():
            raise InputError(f"strength of {name}: expected finite numbers, found "
                             f"{value[~value.isfinite()][0].item()}")
        values[name] = value
        sizes[name] = group_sizes(shapes[name], config.structure, config.p, config.q)
    totals = {name: shapes[name][0] * shapes[name][1] for name in values}
    together = config.scope == "global"
    if together:
        of, floor = _rank_together(values, sizes, config)
        floors = dict.fromkeys(values, floor)
    else:
        rank = _rank_strips if config.scope == "strip" else _rank_layer
        of = {name: rank(value, sizes[name], config) for name, value in values.items()}
        floors = {name: int(standing.min()) for name, standing in of.items()}
    slack = max((int(size[0, 0]) for size in sizes.values()), default=1)
    return Standings(of, totals, floors, together, slack)


def _rank_layer(value: torch.Tensor, sizes: torch.Tensor, config: PruneConfig) -> torch.Tensor:
    """Standings where all groups of a layer compete."""
    order = value.reshape(-1).argsort(dim=0, descending=True, stable=True)
    return _count(sizes.reshape(-1), order).reshape(value.shape)


def _count(sizes: torch.Tensor, order: torch.Tensor) -> torch.Tensor:
    """Weights up to and with each group, in its place before sorting; both flat."""
    return torch.empty_like(sizes).scatter_(0, order, sizes[order].cumsum(0))


def _rank_strips(value: torch.Tensor, sizes: torch.Tensor, config: PruneConfig) -> torch.Tensor:
    """Standings where strips take turns: each one's strongest, each one's second, and so on.

    Within a turn the strongest comes first. A last strip of fewer rows (structure ``row``, padded)
    takes part in as many turns as it has groups, evenly spread.
    """
    strips = _by_strip(value, config, float("-inf"))             # (strips, groups of a strip)
    count, turns = strips.shape
    order = strips.argsort(dim=1, descending=True, stable=True)
    ranked = strips.gather(1, order)
    weight = _by_strip(sizes, config, 0).gather(1, order)
    short = value.numel() - (count - 1) * turns                  # groups of the last strip
    if short < turns:
        # Spread over the turns, what padding added in between.
        real = torch.arange(short) * turns // short
        free = torch.ones(turns, dtype=torch.bool)
        free[real] = False
        places = torch.cat((real, free.nonzero()[:, 0])).argsort()
        for table in (order, ranked, weight):
            table[-1] = table[-1][places]
    # Turns × strips from here on.
    turn = ranked.T.contiguous().argsort(dim=1, descending=True, stable=True)
    summed = weight.T.gather(1, turn).reshape(-1).cumsum(0).reshape(turns, count)
    back = torch.empty_like(summed).scatter_(1, turn, summed).T
    standing = torch.empty_like(back, memory_format=torch.contiguous_format)
    standing.scatter_(1, order, back)
    return standing.reshape(-1, value.shape[1])[:value.shape[0]]


def _by_strip(grid: torch.Tensor, config: PruneConfig, fill: float) -> torch.Tensor:
    """Groups of each strip of p outputs side by side: (strips, groups of a strip)."""
    if config.structure != "row":
        return grid
    missing = -grid.shape[0] % config.p
    if missing:
        grid = torch.nn.functional.pad(grid, (0, 0, 0, missing), value=fill)
    return grid.reshape(-1, config.p * grid.shape[1])


def _rank_together(values: Mapping[str, torch.Tensor], sizes: Mapping[str, torch.Tensor],
                   config: PruneConfig) -> tuple[dict[str, torch.Tensor], int]:
    """Standings where all groups of all layers compete, and the weights that always survive."""
    held = [value.masked_fill(_protected(value, config), float("inf")).reshape(-1)
            for value in values.values()]
    value = torch.cat(held)
    size = torch.cat([part.reshape(-1) for part in sizes.values()])
    floor = int(size[value == float("inf")].sum())
    standing = _count(size, value.argsort(dim=0, descending=True, stable=True))
    parts = standing.split([part.numel() for part in held])
    return {name: part.reshape(values[name].shape)
            for name, part in zip(values, parts, strict=True)}, floor


def _protected(value: torch.Tensor, config: PruneConfig) -> torch.Tensor:
    """Groups of a layer that scope ``global`` never takes: bool, shape of the grid."""
    strips = _by_strip(value, config, float("-inf"))
    held = torch.zeros_like(strips, dtype=torch.bool)
    held.scatter_(1, strips.argmax(dim=1, keepdim=True), True)
    held = held.reshape(-1, value.shape[1])[:value.shape[0]].reshape(-1)
    # The strongest by selection, which is quicker than a sort; ties go to the lower index.
    flat, count = value.reshape(-1), math.ceil(MIN_SHARE * value.numel())
    weakest = flat.kthvalue(len(flat) - count + 1).values
    above = flat > weakest
    held |= above
    held[(flat == weakest).nonzero()[:count - int(above.sum()), 0]] = True
    return held.reshape(value.shape)


def choose_groups(strengths: Mapping[str, torch.Tensor], shapes: Shapes,
                  config: PruneConfig) -> dict[str, torch.Tensor]:
    """Groups that survive ``config.compression``, by any measure of their strength.

    Weights are counted, not groups, where groups at the edges are smaller. What survives is at most
    ``weights / compression``, and less by no more than a group of each competition.

    ========== ==================================================================================
    scope      who competes
    ========== ==================================================================================
    ``strip``  groups of a strip of p outputs. Each layer keeps the same share of its weights and
               each strip of it the same number of groups, within one: the array is as slow as its
               fullest strip. The extra group goes to the strips whose next one is strongest
    ``layer``  groups of a layer; each layer keeps the same share of its weights
    ``global`` all groups; each layer keeps the strongest group of each strip and ``MIN_SHARE`` of
               its groups
    ========== ==================================================================================

    Parameters
    ----------
    strengths, shapes, config
        As in :func:`rank_groups`.

    Returns
    -------
    dict of str to Tensor of bool, shape of the layer's grid
        On the strengths' device.

    Raises
    ------
    InputError
        If nothing of a layer would survive, or a strength is not finite.
    """
    alive = rank_groups(strengths, shapes, config).alive(config.compression)
    return {name: grid.to(strengths[name].device) for name, grid in alive.items()}


def prune_masks(strengths: Mapping[str, torch.Tensor], shapes: Shapes,
                config: PruneConfig) -> dict[str, torch.Tensor]:
    """Weights that survive: :func:`choose_groups`, expanded to bool of shape (N, K)."""
    return {name: expand_groups(grid, config.structure, config.p, config.q, shapes[name])
            for name, grid in choose_groups(strengths, shapes, config).items()}


def compression_of(masks: Mapping[str, torch.Tensor]) -> float:
    """All weights over the surviving ones."""
    alive = sum(int(mask.sum()) for mask in masks.values())
    return sum(mask.numel() for mask in masks.values()) / alive if alive else float("inf")


def densities_of(masks: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Surviving share of each layer."""
    return {name: int(mask.sum()) / mask.numel() for name, mask in masks.items()}
