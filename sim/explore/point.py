"""One point of the cycle model, and many of them at once: all that a worker computes."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from sparseloom.model.packed.cycles import UnitJob, UnitShape, layer_jobs, predict
from sparseloom.sim.explore.masks import Heads, ModelMasks

CODE = ("sparseloom.model.packed.cycles", "sparseloom.model.packed.strip_load",
        "sparseloom.model.packed.timing", "sparseloom.model.packed.spec",
        "sparseloom.sim.explore.masks", "sparseloom.sim.explore.point")
"""Modules that decide a point's result; their sources are a part of its key."""
ATTENTION_BITS = 8
"""Of keys and values; where a build's weights are of 4 bits, a unit for 8 beside it runs them."""


@cache
def code_digest() -> str:
    """Of the sources of ``CODE``: another cycle model makes every point a new one."""
    told = hashlib.sha256()
    for name in CODE:
        found = find_spec(name)
        assert found is not None and found.origin is not None
        told.update(hashlib.sha256(Path(found.origin).read_bytes()).digest())
    return told.hexdigest()


def point_key(masks: ModelMasks, shape: UnitShape, tokens: int) -> str:
    """Digest of everything that decides a point's cycles."""
    words = json.dumps([masks.digest, asdict(shape), tokens, code_digest()], sort_keys=True)
    return hashlib.sha256(words.encode()).hexdigest()[:32]


@dataclass(frozen=True, kw_only=True, eq=False)
class Chunk:
    """Points of one set of masks, computed by one worker in one go.

    Parameters
    ----------
    masks : ModelMasks
    tokens : int
        M of every layer.
    shapes : tuple of UnitShape
    keys : tuple of str
        Of the points, in the order of ``shapes``.
    code : str
        :func:`code_digest` of whoever asks.
    """

    masks: ModelMasks
    tokens: int
    shapes: tuple[UnitShape, ...]
    keys: tuple[str, ...]
    code: str


def evaluate_chunk(chunk: Chunk) -> list[dict[str, Any]]:
    """Cycles of each point.

    Returns
    -------
    list of dict
        ``key``, ``cycles`` (sum over the layers, each alone from its first activation to its last
        result, and attention's products, all heads of one a queue) and ``ideal_cycles``
        (the array's work alone).

    Raises
    ------
    RuntimeError
        If this worker has another cycle model than whoever asks.
    """
    if chunk.code != code_digest():
        raise RuntimeError("the worker's Sparseloom has another cycle model than this one; install "
                           "the same sources there")
    found = []
    jobs: dict[tuple[int, int], list[UnitJob]] = {}
    for key, shape in zip(chunk.keys, chunk.shapes, strict=True):
        cut = (shape.cols, shape.block_inputs)
        if cut not in jobs:
            # What was found of a job's strips (their loads) serves all shapes with these columns.
            jobs[cut] = [layer.job(shape, chunk.tokens) for layer in chunk.masks.layers]
        cycles = ideal = 0
        groups = -(-chunk.tokens // shape.rows)
        known: dict[tuple, int] = {}
        for layer, job in zip(chunk.masks.layers, jobs[cut], strict=True):
            cycles += layer.count * _layer_cycles(job, shape, known)
            ideal += layer.count * sum(job.columns) * groups
        for one in chunk.masks.attention:
            taken, least = attention_cycles(replace(one, count=1), chunk.tokens,
                                            replace(shape, weight_bits=ATTENTION_BITS))
            cycles += one.count * taken
            ideal += one.count * least
        found.append({"key": key, "cycles": cycles, "ideal_cycles": ideal})
    return found


@lru_cache(maxsize=1 << 14)
def attention_cycles(heads: Heads, tokens: int, shape: UnitShape) -> tuple[int, int]:
    """Cycles of an encoder layer's two products, and those of the array's work alone.

    The heads of a product are one queue on the idle unit, as the receipt counts them.
    """
    cycles = ideal = 0
    for layer in heads.head_layers(tokens):
        job = layer.job(shape, tokens)
        cycles += predict(layer_jobs(job, shape) * heads.heads, shape).cycles
        ideal += heads.heads * sum(job.columns) * -(-tokens // shape.rows)
    return cycles, ideal


def _layer_cycles(job: UnitJob, shape: UnitShape, known: dict[tuple, int]) -> int:
    """Cycles of a layer alone; ``known`` are those of this shape and these tokens so far.

    Balanced layers differ in their masks, but often in nothing that the array can see: how many
    columns each strip runs, and how long it loads.
    """
    what = (job.inputs, job.outputs, job.raw, job.lut, tuple(job.columns),
            tuple(job.loads(shape)))
    if what not in known:
        known[what] = predict(layer_jobs(job, shape), shape).cycles
    return known[what]


def chunks_of(masks: ModelMasks, tokens: int, points: Iterable[tuple[str, UnitShape]],
              size: int) -> list[Chunk]:
    """Points of one set of masks, ``size`` a chunk, arrays with equal columns together."""
    ordered: Sequence[tuple[str, UnitShape]] = sorted(
        points, key=lambda point: (point[1].cols, point[1].rows, point[0]))
    return [Chunk(masks=masks, tokens=tokens, code=code_digest(),
                  keys=tuple(key for key, _ in ordered[start:start + size]),
                  shapes=tuple(shape for _, shape in ordered[start:start + size]))
            for start in range(0, len(ordered), size)]
