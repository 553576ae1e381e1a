"""Axes of an exploration to candidates: builds that a device could hold, with prunings."""
from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.devices import Device
from sparseloom.hw.resources import ResourceModel, Resources
from sparseloom.model.errors import InputError
from sparseloom.sim.explore.workload import Pruning

MOST = 2_000_000
"""Candidates of one exploration: what memory holds."""


@dataclass(frozen=True, kw_only=True)
class Axes:
    """What is swept: every combination of these.

    Parameters
    ----------
    arrays : tuple of (int, int)
        R and C.
    blocks : tuple of (int, int)
        p and q.
    structures : tuple of str
    compressions : tuple of float
    bus_bits, weight_bits, act_words : tuple of int
    lanes : tuple of int or None
        None is the build's default; an array whose rows it does not divide is left out.

    Raises
    ------
    InputError
        If an axis is empty, or there are more than ``MOST`` combinations.
    """

    arrays: tuple[tuple[int, int], ...]
    blocks: tuple[tuple[int, int], ...] = ((24, 16),)
    structures: tuple[str, ...] = ("column",)
    compressions: tuple[float, ...] = (1.0, 2.0, 3.0, 5.0)
    bus_bits: tuple[int, ...] = (64,)
    weight_bits: tuple[int, ...] = (8,)
    act_words: tuple[int, ...] = (8192,)
    lanes: tuple[int | None, ...] = (None,)

    def __post_init__(self):
        count = 1
        for name in ("arrays", "blocks", "structures", "compressions", "bus_bits", "weight_bits",
                     "act_words", "lanes"):
            values = getattr(self, name)
            if not values:
                raise InputError(f"{name}: expected a value or more, found none")
            object.__setattr__(self, name, tuple(dict.fromkeys(values)))
            count *= len(values)
        if count > MOST:
            raise InputError(f"axes: expected at most {MOST:,} combinations, found {count:,}")

    def prunings(self) -> list[Pruning]:
        """Every way to prune."""
        return [Pruning(structure=structure, p=p, q=q, compression=compression)
                for structure, (p, q), compression in product(
                    self.structures, self.blocks, self.compressions)]

    def builds(self, max_inputs: int) -> Iterator[ArrayConfig]:
        """Every build of target ``ecp5`` for a model whose layers have so many inputs.

        ``max_k`` is the reference build's, or more if a layer has more, and ``act_words`` at least
        that.

        Raises
        ------
        InputError
            For a value that no build can have.
        """
        usual = ArrayConfig()
        max_k = max(usual.max_k, max_inputs)
        seen = set()
        for (rows, cols), bus_bits, weight_bits, act_words, lanes in product(
                self.arrays, self.bus_bits, self.weight_bits, self.act_words, self.lanes):
            if lanes is not None and rows >= 1 and (lanes > rows or rows % max(lanes, 1)):
                continue
            config = ArrayConfig(rows=rows, cols=cols, max_k=max_k, bus_bits=bus_bits,
                                 weight_bits=weight_bits, act_words=max(act_words, max_k),
                                 lanes=lanes, target="ecp5")
            if config not in seen:
                seen.add(config)
                yield config


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A build and a pruning.

    Parameters
    ----------
    config : ArrayConfig
    resources : Resources
        Its cells by the resource model.
    pruning : Pruning
    """

    config: ArrayConfig
    resources: Resources
    pruning: Pruning


def fitting_builds(axes: Axes, max_inputs: int, device: Device, model: ResourceModel,
                   fill: float) -> tuple[list[tuple[ArrayConfig, Resources]], Counter[str]]:
    """Builds within a device's limits, and of the others how many exceed which limit.

    Parameters
    ----------
    axes : Axes
    max_inputs : int
        The largest K of the model.
    device : Device
    model : ResourceModel
    fill : float
        Share of look-up tables and flip-flops that may be used.

    Returns
    -------
    builds : list of (ArrayConfig, Resources)
    refused : Counter of str
        A build counts for each limit that it exceeds.
    """
    builds, refused = [], Counter()
    for config in axes.builds(max_inputs):
        try:
            resources = model.estimate(config)
        except InputError:
            refused["memory depth"] += 1
            continue
        over = resources.over(device, fill)
        if over:
            refused.update(over)
        else:
            builds.append((config, resources))
    return builds, refused
