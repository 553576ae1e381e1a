"""What a layer makes the unit do: cycles, bytes on its ports, multiplications, memory words.

A product of attention is a queue of layers, one a head, that are made at run time; what they make
the unit do depends on their shape alone.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import split_tokens
from sparseloom.model.packed.cycles import (
    CAUSES,
    UnitJob,
    UnitShape,
    ideal_cycles,
    layer_jobs,
    predict,
)
from sparseloom.model.packed.layer import PackedLayer, pack_layer
from sparseloom.model.packed.layer import dense_layer as run_time_layer
from sparseloom.model.packed.stream import encode_weights, result_bytes
from sparseloom.model.products import Product
from sparseloom.sim.receipt.line import job_line_bytes

RULE = (
    "A MAC is one product of an 8-bit activation and a weight; 'surviving' counts weights in "
    "surviving groups times tokens, 'made' every cell in every cycle of array work, idle token "
    "lanes and straddled strips included. A word is one access to one of the unit's three large "
    "memories: activations (R bytes; written once a job, read once a column and group of tokens), "
    "strips (an index and C weights; written once a stored column and job, read likewise), results "
    "(one word of 'lanes' results; written and read once). Registers, tables, output parameters "
    "and whatever lies outside the unit are not counted. No joules: a count is not a measurement.")
"""How the energy proxy counts, in words."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """One layer, or the heads of a product, through the unit, by itself.

    Parameters
    ----------
    ideal_cycles : int
        Columns that must run times groups of R tokens.
    model_cycles : int
        First activation beat to last result beat, by the cycle model.
    measured_cycles : int, optional
        The same, counted in RTL.
    late_cycles : int
        How much more that should be, by the cycle model, for jobs that were pushed late there.
    counters : dict of str to int
        The cycle model's cycles by cause.
    weight_bytes, act_bytes, result_bytes : int
        On the three streams, all jobs; of the weights as they are really encoded.
    macs, mac_slots : int
        Surviving weights times tokens; what the array's cells multiply in all.
    words : dict of str to int
        Accesses, see :data:`RULE`: ``acts_written``, ``acts_read``, ``strips_written``,
        ``strips_read``, ``results_written``, ``results_read``.
    line_bytes : int
        On a board's serial line, both ways, where nothing is asked twice.
    """

    ideal_cycles: int
    model_cycles: int
    measured_cycles: int | None
    counters: dict[str, int]
    weight_bytes: int
    act_bytes: int
    result_bytes: int
    macs: int
    mac_slots: int
    words: dict[str, int]
    line_bytes: int
    late_cycles: int = 0

    @property
    def cycles(self) -> int:
        """Measured where they are, else the cycle model's, which are exact."""
        return self.model_cycles if self.measured_cycles is None else self.measured_cycles

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "cycles": self.cycles, "memory_words": sum(self.words.values())}


def dense_layer(layer: PackedLayer) -> PackedLayer:
    """The same layer with every weight stored, those that were pruned as zeros."""
    return pack_layer(
        name=layer.name, weight=layer.dense_weight(), structure="column", p=layer.p, q=layer.q,
        keep=np.ones((layer.out_features, layer.in_features), bool), bias=layer.bias,
        mult=layer.mult, shift=layer.shift, lut=layer.lut, raw=layer.raw,
        weight_scale=layer.weight_scale, weight_bits=layer.weight_bits,
        **{f"{side}_{what}": getattr(layer, f"{side}_{what}") for side in ("input", "output", "lut")
           for what in ("scale", "zero_point")})


def head_layer(product: Product) -> PackedLayer:
    """The layer of a product's head, with keys or values that are nothing but ones."""
    shape = (product.out_features, product.in_features)
    return run_time_layer(product.name, np.ones(shape, np.int8), np.zeros(shape[0], np.int32))


def layer_work(layer: PackedLayer, tokens: int, config: ArrayConfig,
               measured_cycles: int | None = None) -> Work:
    """Count a layer's work.

    Parameters
    ----------
    layer : PackedLayer
    tokens : int
        M.
    config : ArrayConfig
        The unit; one with the layer's ``weight_bits`` takes its place.
    measured_cycles : int, optional
        Of a simulation.

    Raises
    ------
    InputError
        If the layer does not fit the unit.
    """
    return _work([layer], tokens, config, measured_cycles)


def product_work(product: Product, tokens: int, config: ArrayConfig,
                 measured_cycles: int | None = None, late_cycles: int = 0) -> Work:
    """Count the work of a product's heads, one queue on the idle unit.

    Parameters are those of :func:`layer_work`, and what :class:`Work` says.

    Raises
    ------
    InputError
        If a head does not fit the unit.
    """
    return replace(_work([head_layer(product)] * product.heads, tokens, config, measured_cycles),
                   late_cycles=late_cycles)


def _work(layers: Sequence[PackedLayer], tokens: int, config: ArrayConfig,
          measured_cycles: int | None) -> Work:
    """Of a queue of equal layers: each is counted alike, the queue's cycles as one."""
    layer, count = layers[0], len(layers)
    config = replace(config, weight_bits=layer.weight_bits)
    shape = UnitShape.of(config)
    sizes = split_tokens(tokens, inputs=layer.in_features, config=config)
    groups = [-(-size // config.rows) for size in sizes]
    whole = UnitJob.of(layer, tokens, shape)
    jobs = layer_jobs(whole, shape)
    found = predict(jobs * count, shape)
    active = found.active // count
    stream = len(encode_weights(layer, cols=config.cols, block_inputs=config.block_inputs, tag=0,
                                weight_bits=config.weight_bits))
    acts = [layer.in_features * rows * config.rows for rows in groups]
    results = [result_bytes(tokens=size, outputs=layer.out_features, rows=config.rows,
                            raw=layer.raw) for size in sizes]
    columns = sum(max(kept, 1) for kept in whole.columns)
    words = layer.out_features * sum(groups) * (config.rows // config.post_lanes)
    line = sum(job_line_bytes(weights=stream, acts=sent, results=got, bus_bytes=config.bus_bytes)
               for sent, got in zip(acts, results, strict=True))
    once = {"acts_written": layer.in_features * sum(groups), "acts_read": active,
            "strips_written": columns * len(sizes), "strips_read": active,
            "results_written": words, "results_read": words}
    return Work(
        ideal_cycles=count * ideal_cycles(layer, rows=config.rows, cols=config.cols,
                                          tokens=tokens),
        model_cycles=found.cycles, measured_cycles=measured_cycles,
        counters={cause: getattr(found, cause) for cause in CAUSES},
        weight_bytes=count * stream * len(sizes), act_bytes=count * sum(acts),
        result_bytes=count * sum(results), macs=count * layer.surviving_weights * tokens,
        mac_slots=found.active * config.rows * config.cols,
        words={name: count * value for name, value in once.items()}, line_bytes=count * line)


def queue_cycles(layers: Iterable[PackedLayer | Product], tokens: int, config: ArrayConfig) -> int:
    """What all layers add to a queue that never runs dry: cycles a sentence, by the cycle model.

    Layers with weights of different widths run on different units, one after the other.
    """
    queue = [one for layer in layers for one in (
        [head_layer(layer)] * layer.heads if isinstance(layer, Product) else [layer])]
    total = 0
    for bits in sorted({layer.weight_bits for layer in queue}):
        shape = UnitShape.of(replace(config, weight_bits=bits))
        jobs = [job for layer in queue if layer.weight_bits == bits
                for job in layer_jobs(UnitJob.of(layer, tokens, shape), shape)]
        total += predict(jobs * 2, shape).ends[-1] - predict(jobs, shape).ends[-1]
    return total
