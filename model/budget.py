"""A budget in cycles to masks: the least pruning that an array of given size runs in time."""
from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.groups import expand_groups, group_sizes
from sparseloom.model.packed.cycles import UnitJob, UnitShape, layer_jobs, predict
from sparseloom.model.packed.strip_load import block_counts
from sparseloom.model.prune import Shapes, rank_groups

STEP = 1e-3
"""Compressions are tried to this relative precision."""


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """The array that the masks are for; by default the reference build.

    Parameters
    ----------
    rows, cols, lanes : int
        R and C of the array, and results post-processed in a cycle (a divisor of R).
    tokens : int
        M of every layer.
    bus_bytes : int
        Bytes in a beat of the streams: 4, 8 or 16.
    weight_bits : int
        Bits of a weight on the array: 8 or 4.
    act_words : int
        Words of half the activation buffer. A layer with more inputs is taken to have a buffer for
        one group of tokens, as any build for it must.

    Raises
    ------
    InputError
        If a setting is outside its range.
    """

    rows: int = 12
    cols: int = 12
    lanes: int = 4
    tokens: int = 128
    bus_bytes: int = 8
    weight_bits: int = 8
    act_words: int = 8192

    def __post_init__(self):
        for name in ("rows", "cols", "lanes", "tokens", "act_words"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{name}: expected an integer of 1 or more, found {value!r}")
        if self.rows % self.lanes:
            raise InputError(f"lanes: expected a divisor of rows = {self.rows}, "
                             f"found {self.lanes}")
        if self.bus_bytes not in (4, 8, 16):
            raise InputError(f"bus_bytes: expected 4, 8 or 16, found {self.bus_bytes!r}")
        if self.weight_bits not in (8, 4):
            raise InputError(f"weight_bits: expected 8 or 4, found {self.weight_bits!r}")

    @classmethod
    def of(cls, config: PruneConfig) -> Geometry:
        """Of what ``config`` says of the array; the rest as the reference build has it."""
        lanes = max(n for n in range(1, 5) if config.rows % n == 0)
        return cls(rows=config.rows, cols=config.cols, tokens=config.tokens, lanes=lanes,
                   weight_bits=config.weight_bits)


def columns_per_strip(mask: torch.Tensor, cols: int, p: int = 1) -> list[int]:
    """Columns that each strip of C outputs runs.

    Parameters
    ----------
    mask : Tensor of bool, shape (N, K)
        Surviving weights.
    cols : int
        C of the array.
    p : int
        Outputs of a block. The format stores whole columns of p outputs, so that with structure
        ``row`` a strip runs what any output of its blocks needs. The others need no p.

    Returns
    -------
    list of int, ceil(N / C) long
        0 for an empty strip, in which the unit runs one column of weight zero.
    """
    return _union(_any_rows(mask, p), mask.shape[0], cols, p).sum(dim=1).tolist()


def _any_rows(mask: torch.Tensor, p: int) -> torch.Tensor:
    """Whether any of p neighbouring rows is set: (ceil(N / p), K)."""
    if p == 1:
        return mask
    missing = -mask.shape[0] % p
    if missing:
        mask = torch.nn.functional.pad(mask, (0, 0, 0, missing))
    return mask.reshape(-1, p, mask.shape[1]).any(dim=1)


def _union(blocks: torch.Tensor, outputs: int, cols: int, p: int) -> torch.Tensor:
    """Union of the block rows that each strip touches: (strips, columns of ``blocks``)."""
    starts = torch.arange(0, outputs, cols)
    first, last = starts // p, (starts + cols).clamp_max(outputs).sub(1) // p
    union = blocks[first]
    for step in range(1, int((last - first).max()) + 1):
        union = union | blocks[torch.minimum(first + step, last)]
    return union


def model_cycles(masks: Mapping[str, torch.Tensor], geometry: Geometry, *, p: int = 1,
                 raw: Collection[str] = (), lut: Collection[str] = ()) -> dict[str, int]:
    """Cycles of each layer on the array, by the cycle model.

    Each alone, from its first activation to its last result: most layers wait for the one before.

    Parameters
    ----------
    masks : mapping of str to Tensor of bool, shape (N, K)
        Of the layers that the unit runs.
    geometry : Geometry
    p : int
        As in :func:`columns_per_strip`.
    raw, lut : collection of str
        Layers that leave as int32, and those with a table. Their part in the cycles is small.

    Returns
    -------
    dict of str to int
    """
    return {name: _layer(_union(_any_rows(mask, p), mask.shape[0], geometry.cols, p), mask.shape,
                         geometry, raw=name in raw, lut=name in lut)
            for name, mask in masks.items()}


def _layer(columns: torch.Tensor, shape: Sequence[int], geometry: Geometry, *, raw: bool,
           lut: bool) -> int:
    """Cycles of a layer whose strips run the given inputs: bool, (strips, K)."""
    unit = UnitShape(rows=geometry.rows, cols=geometry.cols, lanes=geometry.lanes,
                     bus_bytes=geometry.bus_bytes, act_words=max(geometry.act_words, shape[1]),
                     weight_bits=geometry.weight_bits)
    job = UnitJob(inputs=shape[1], outputs=shape[0], tokens=geometry.tokens, raw=raw, lut=lut,
                  counts=block_counts(columns.cpu().numpy(), unit.block_inputs))
    return predict(layer_jobs(job, unit), unit).cycles


def masks_for_cycles(strengths: Mapping[str, torch.Tensor], shapes: Shapes, config: PruneConfig,
                     geometry: Geometry, budget: int, *, raw: Collection[str] = (),
                     lut: Collection[str] = ()) -> tuple[dict[str, torch.Tensor], float]:
    """Masks of the least compression that keeps the layers within a budget of cycles.

    Groups are chosen as :func:`~sparseloom.model.prune.choose_groups` does, under
    ``config.scope`` and ``config.structure``; only the compression is searched for.

    Parameters
    ----------
    strengths, shapes, config
        As in :func:`~sparseloom.model.prune.rank_groups`; ``config.compression`` does not count.
    geometry : Geometry
    budget : int
        Cycles of all layers together, as :func:`model_cycles` counts them.
    raw, lut : collection of str
        As there.

    Returns
    -------
    masks : dict of str to Tensor of bool, shape (N, K)
    compression : float
        The one that gives them; at most 0.2 % more than the least.

    Raises
    ------
    InputError
        If the array needs more even for the sparsest masks that ``config.scope`` allows.
    """
    standings = rank_groups(strengths, shapes, config)
    structure, p, q = config.structure, config.p, config.q
    # Inputs of a column of the grid; only a last one may have fewer.
    inputs = {name: group_sizes((1, shapes[name][1]), structure, 1, q)[0] for name in strengths}

    def cycles(compression: float) -> int:
        total = 0
        for name, alive in standings.alive(compression).items():
            blocks = _any_rows(alive, p) if structure == "row" else alive
            columns = _union(blocks, shapes[name][0], geometry.cols, p)
            if structure != "column":
                columns = columns.repeat_interleave(inputs[name], dim=1)
            total += _layer(columns, shapes[name], geometry, raw=name in raw, lut=name in lut)
        return total

    few, many = 1.0, standings.most  # compressions: too slow, within the budget
    if (dense := cycles(few)) <= budget:
        many = few
    elif (least := cycles(many)) > budget:
        raise InputError(f"cycles: expected at least {least} (the sparsest masks; {dense} without "
                         f"pruning) for an array of {geometry.rows} x {geometry.cols} and "
                         f"{geometry.tokens} tokens, found {budget}")
    while many > few * (1 + STEP):
        middle = math.sqrt(few * many)
        if cycles(middle) <= budget:
            many = middle
        else:
            few = middle
    compression = min(math.ceil(many * 1000) / 1000, standings.most)  # a number to quote
    masks = {name: expand_groups(alive.to(strengths[name].device), structure, p, q, shapes[name])
             for name, alive in standings.alive(compression).items()}
    return masks, compression
