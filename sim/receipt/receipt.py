"""The receipt: from density to cycles, bytes, counts and time, pruned beside dense."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.products import Product
from sparseloom.sim.receipt.clock import Clock
from sparseloom.sim.receipt.cpu import CpuTimes
from sparseloom.sim.receipt.line import BAUD, LINE_BITS
from sparseloom.sim.receipt.measured import Measured
from sparseloom.sim.receipt.work import (
    RULE,
    Work,
    dense_layer,
    layer_work,
    product_work,
    queue_cycles,
)

COVERS = ("Every matrix product of the encoder: its Linear layers, and attention's two products, "
          "all heads of one as a queue, dense whatever was pruned. Softmax, LayerNorm, residuals, "
          "embeddings and the head run on the host and are not in these times.")
LINEARS_ONLY = ("The Linear layers of the encoder alone: softmax, LayerNorm, embeddings and the "
                "head run on the host and are not in these times; nor are attention's two "
                "products, since the artefact does not say how many heads there are (quantise the "
                "checkpoint again) or they were not asked for.")
PARTS = {"linear": "Linear layers", "attention": "attention's products"}
"""Of a receipt, and what people call them."""
ASSUMES = ("Each of the three stream ports moves a beat in every cycle that the unit asks for one; "
           "activations of a layer start when the layer before has finished.")


@dataclass(frozen=True, kw_only=True)
class LayerReceipt:
    """A layer as pruned beside itself with every weight; or a product of attention, always dense.

    Parameters
    ----------
    name : str
    shape : tuple of int
        (out_features, in_features); of each head.
    density : float
        Surviving weights over all weights.
    weight_bits : int
    pruned, dense : Work
    heads : int, optional
        Of a product of attention; None of a Linear layer.
    """

    name: str
    shape: tuple[int, int]
    density: float
    weight_bits: int
    pruned: Work
    dense: Work
    heads: int | None = None

    @property
    def part(self) -> str:
        """Of ``PARTS``."""
        return "linear" if self.heads is None else "attention"

    @property
    def speedup(self) -> float:
        """Dense cycles over pruned ones."""
        return self.dense.cycles / self.pruned.cycles

    @property
    def share_of_ideal(self) -> float:
        """Speed-up over 1 / density: 1 where 1/n of the weights runs n times faster."""
        return self.speedup * self.density

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"name": self.name, "shape": list(self.shape), "density": self.density,
                "heads": self.heads, "weight_bits": self.weight_bits, "speedup": self.speedup,
                "share_of_ideal": self.share_of_ideal, "pruned": self.pruned.as_dict(),
                "dense": self.dense.as_dict()}


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """What pruning buys for a model on one unit.

    Parameters
    ----------
    model : str
    tokens : int
        Of the sentence: M of every layer.
    config : ArrayConfig
    layers : list of LayerReceipt
    queue : dict of str to int
        ``pruned`` and ``dense``: cycles that a sentence adds to a queue that never runs dry.
    clock : Clock, optional
    baud : int
        Of the board's line.
    cpu : CpuTimes, optional
    outputs, mismatches : int
        Results that the simulations compared, and those that differed.
    """

    model: str
    tokens: int
    config: ArrayConfig
    layers: list[LayerReceipt]
    queue: dict[str, int]
    clock: Clock | None = None
    baud: int = BAUD
    cpu: CpuTimes | None = None
    outputs: int = 0
    mismatches: int = 0

    def model_differs(self) -> list[str]:
        """Layers whose measured cycles are not the cycle model's."""
        return [layer.name for layer in self.layers
                if any(work.measured_cycles not in (None, work.model_cycles + work.late_cycles)
                       for work in (layer.pruned, layer.dense))]

    def rows(self, part: str) -> list[LayerReceipt]:
        """Layers of a part."""
        return [layer for layer in self.layers if layer.part == part]

    @property
    def covers(self) -> str:
        """What is counted and what is not."""
        return COVERS if self.rows("attention") else LINEARS_ONLY

    def total(self, part: str | None = None) -> dict[str, Any]:
        """Sums over the layers, or those of a part, for each of pruned and dense, and ratios.

        ``weights`` and ``density`` are of Linear layers, 0 and 1 where there is none;
        ``mac_density`` is what is left of all multiplications, and its inverse the ideal speed-up.
        """
        rows = self.layers if part is None else self.rows(part)
        sizes = [(layer.density, layer.shape[0] * layer.shape[1]) for layer in rows
                 if layer.part == "linear"]
        weights = sum(size for _, size in sizes)
        density = sum(share * size for share, size in sizes) / weights if weights else 1.0
        found: dict[str, Any] = {"weights": weights, "density": density}
        for kind in ("pruned", "dense"):
            works = [getattr(layer, kind) for layer in rows]
            measured = [work.measured_cycles for work in works]
            found[kind] = {
                **{name: sum(getattr(work, name) for work in works) for name in (
                    "ideal_cycles", "model_cycles", "cycles", "weight_bytes", "act_bytes",
                    "result_bytes", "macs", "mac_slots", "line_bytes")},
                "measured_cycles": None if None in measured else sum(measured),
                "measured_layers": sum(one is not None for one in measured),
                **({"queue_cycles": self.queue[kind]} if part is None else {}),
                "words": {name: sum(work.words[name] for work in works)
                          for name in works[0].words},
                "memory_words": sum(sum(work.words.values()) for work in works),
                "counters": {name: sum(work.counters[name] for work in works)
                             for name in works[0].counters}}
        found["speedup"] = found["dense"]["cycles"] / found["pruned"]["cycles"]
        found["mac_density"] = found["pruned"]["macs"] / found["dense"]["macs"]
        found["share_of_ideal"] = found["speedup"] * found["mac_density"]
        return found

    def times(self) -> dict[str, dict[str, float]] | None:
        """At the clock, for each of pruned and dense; None without a clock.

        Returns
        -------
        dict
            ``latency_ms`` (layers one after the other), ``sentences_per_second`` (one at a time),
            ``queue_sentences_per_second`` (several under way, the queue never dry),
            ``stream_megabytes_per_second`` (mean over the latency, three streams together),
            ``port_megabytes_per_second`` (the most that one port may take, which is assumed to be
            there), ``line_seconds`` and ``line_sentences_per_second`` (through the board's serial
            line, one question at a time, the unit's own time behind it).
        """
        if self.clock is None:
            return None
        hertz, total = 1e6 * self.clock.mhz, self.total()
        found = {}
        for kind in ("pruned", "dense"):
            work = total[kind]
            latency = work["cycles"] / hertz
            line = work["line_bytes"] * LINE_BITS / self.baud + latency
            moved = work["weight_bytes"] + work["act_bytes"] + work["result_bytes"]
            found[kind] = {
                "latency_ms": 1e3 * latency, "sentences_per_second": 1 / latency,
                "queue_sentences_per_second": hertz / work["queue_cycles"],
                "stream_megabytes_per_second": moved / latency / 1e6,
                "port_megabytes_per_second": self.config.bus_bytes * self.clock.mhz,
                "line_seconds": line, "line_sentences_per_second": 1 / line}
        return found

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "model": self.model, "tokens": self.tokens, "geometry": self.config.to_dict(),
            "covers": self.covers, "assumes": ASSUMES, "energy_rule": RULE,
            "outputs": self.outputs, "mismatches": self.mismatches,
            "cycle_model_differs": self.model_differs(),
            "clock": self.clock and self.clock.as_dict(), "baud": self.baud,
            "total": self.total(), "times": self.times(),
            "parts": {part: self.total(part) for part in PARTS if self.rows(part)},
            "cpu": self.cpu and self.cpu.as_dict(),
            "layers": [layer.as_dict() for layer in self.layers]}


def make_receipt(model: str, layers: Mapping[str, PackedLayer | Product], *, tokens: int,
                 config: ArrayConfig, measured: Measured | None = None,
                 clock: Clock | None = None, baud: int = BAUD, cpu: CpuTimes | None = None,
                 done: Callable[[], object] = lambda: None) -> Receipt:
    """Count everything of every layer.

    Parameters
    ----------
    model : str
        What the receipt calls it.
    layers : mapping of str to PackedLayer or Product
        Products are for as many tokens.
    tokens : int
        M of every layer.
    config : ArrayConfig
    measured, clock, cpu : optional
        As far as they are known.
    baud : int
    done : callable
        Called behind each layer.

    Raises
    ------
    InputError
        If a layer does not fit the unit.
    """
    found: list[LayerReceipt] = []
    whole: list[PackedLayer | Product] = []
    for name, layer in layers.items():
        if isinstance(layer, Product):
            work = product_work(layer, tokens, config, measured and measured.cycles.get(name),
                                measured.late.get(name, 0) if measured else 0)
            whole.append(layer)
            found.append(LayerReceipt(
                name=name, shape=(layer.out_features, layer.in_features), density=layer.density,
                weight_bits=layer.weight_bits, pruned=work, dense=work, heads=layer.heads))
            done()
            continue
        full = dense_layer(layer)
        whole.append(full)
        found.append(LayerReceipt(
            name=name, shape=(layer.out_features, layer.in_features), density=layer.density,
            weight_bits=layer.weight_bits,
            pruned=layer_work(layer, tokens, config, measured and measured.cycles.get(name)),
            dense=layer_work(full, tokens, config, measured and measured.dense_cycles.get(name))))
        done()
    return Receipt(
        model=model, tokens=tokens, config=config, layers=found,
        queue={"pruned": queue_cycles(layers.values(), tokens, config),
               "dense": queue_cycles(whole, tokens, config)},
        clock=clock, baud=baud, cpu=cpu, outputs=measured.outputs if measured else 0,
        mismatches=measured.mismatches if measured else 0)
