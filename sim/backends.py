"""Where a model's matrix products are computed: layers and activations in, integers out."""
import weakref
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.host import Host
from sparseloom.hw.job import Job, split_tokens
from sparseloom.hw.serial_line import SerialLine
from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.cycles import ideal_cycles
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import decode_results, encode_acts, encode_weights
from sparseloom.model.reference import linear
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.layer_queues import Difference
from sparseloom.sim.server import RtlServer, ServedJob

Work = Sequence[tuple[PackedLayer, np.ndarray]]
"""Layers, each with what enters it: int8, shape (M, K)."""


class Backend(Protocol):
    """Computes layers."""

    def check(self, layers: Mapping[str, PackedLayer]) -> None:
        """Refuse a model's layers, before any runs, if it could not compute one; InputError."""
        ...

    def run(self, work: Work) -> list[np.ndarray]:
        """What the unit answers for each layer: int8, or int32 of a raw layer, shape (M, N)."""
        ...

    def close(self) -> None:
        """Give back what it holds."""
        ...


class OracleBackend:
    """The integer oracle, :func:`sparseloom.model.reference.linear`."""

    def check(self, layers: Mapping[str, PackedLayer]) -> None:
        """It computes every layer."""

    def run(self, work: Work) -> list[np.ndarray]:
        """As :class:`Backend` says."""
        return [linear(layer, x) for layer, x in work]

    def close(self) -> None:
        """Nothing to give back."""


class RtlBackend:
    """The generated Verilog: a process for each width of weights, kept alive.

    Parameters
    ----------
    config : ArrayConfig
        The unit; where layers have weights of another width, a second one that has that.
    **server
        As of :class:`~.server.RtlServer`.

    Attributes
    ----------
    servers : dict of int to RtlServer
        By width of weights; made when first needed.
    cycles, ideal_cycles : dict of str to int
        Measured, and of array work alone, summed over all calls, by the name of a call's first
        layer.
    """

    def __init__(self, config: ArrayConfig, *, stall: float = 0.0, seed: int = 1,
                 quiet_cycles: int | None = None, patience: float | None = None,
                 cache: Path | None = None, long_run: bool = True):
        self.config = config
        self._options: dict[str, Any] = {"stall": stall, "seed": seed, "quiet_cycles": quiet_cycles,
                         "cache": cache, "long_run": long_run,
                         **({} if patience is None else {"patience": patience})}
        self.servers: dict[int, RtlServer] = {}
        self.cycles: Counter[str] = Counter()
        self.ideal_cycles: Counter[str] = Counter()
        self._streams: weakref.WeakKeyDictionary[PackedLayer, tuple[int, bytes]] = (
            weakref.WeakKeyDictionary())
        self._tag = 0

    def server(self, weight_bits: int) -> RtlServer:
        """The process of a width of weights."""
        if weight_bits not in self.servers:
            self.servers[weight_bits] = RtlServer(
                replace(self.config, weight_bits=weight_bits), **self._options)
        return self.servers[weight_bits]

    def check(self, layers: Mapping[str, PackedLayer]) -> None:
        """As :class:`Backend` says: each layer's inputs fit the unit."""
        _check_inputs(layers, self.config, "as the unit was built")

    def run(self, work: Work) -> list[np.ndarray]:
        """All layers as one queue of jobs, on the idle unit.

        Raises
        ------
        InputError
            If a layer does not fit the unit, or layers of a call differ in their weights' width.
        SimulationError
            As of :meth:`~.server.RtlServer.play`; names the layer.
        """
        widths = {layer.weight_bits for layer, _ in work}
        if len(widths) != 1:
            raise InputError(f"weight_bits: expected one width in a queue, found {sorted(widths)}")
        server = self.server(widths.pop())
        config = server.config
        jobs: list[tuple[PackedLayer, ServedJob]] = []
        for layer, x in work:
            if x.dtype != np.int8 or x.ndim != 2 or x.shape[1] != layer.in_features or not len(x):
                raise InputError(f"layer {layer.name}, activations: expected int8 of shape "
                                 f"(M, {layer.in_features}), found {x.dtype} of shape {x.shape}")
            sizes = split_tokens(len(x), inputs=layer.in_features, config=config)
            tag, weights = self._stream(layer, config)
            for part in np.split(x, np.cumsum(sizes)[:-1]):
                jobs.append((layer, ServedJob(
                    name=layer.name, job=Job.of(layer, len(part), tag), weights=weights,
                    acts=encode_acts(part, rows=config.rows, cols=config.cols))))
        played = server.play([job for _, job in jobs])
        self.cycles[work[0][0].name] += played.cycles
        self.ideal_cycles[work[0][0].name] += sum(ideal_cycles(
            layer, rows=config.rows, cols=config.cols, tokens=len(x)) for layer, x in work)
        found: list[list[np.ndarray]] = [[] for _ in work]
        position = iter(zip(jobs, played.results, strict=True))
        for parts, (layer, x) in zip(found, work, strict=True):
            while sum(map(len, parts)) < len(x):
                (_, one), data = next(position)
                try:
                    parts.append(decode_results(
                        data, tokens=one.job.tokens, outputs=layer.out_features,
                        rows=config.rows, cols=config.cols, raw=layer.raw))
                except InputError as error:                 # not the caller's
                    raise SimulationError(f"layer {layer.name}: {error}") from None
        return [np.concatenate(parts) for parts in found]

    def _stream(self, layer: PackedLayer, config: ArrayConfig) -> tuple[int, bytes]:
        """Tag and weight stream of a layer, encoded once for as long as there is the layer."""
        known = self._streams.get(layer)
        if known is None:
            self._tag = (self._tag + 1) % (1 << spec.TAG_BITS)
            known = self._tag, encode_weights(
                layer, cols=config.cols, block_inputs=config.block_inputs, tag=self._tag,
                weight_bits=config.weight_bits)
            self._streams[layer] = known
        return known

    def close(self) -> None:
        """End the processes."""
        for server in self.servers.values():
            server.close()
        self.servers.clear()


class BoardBackend:
    """A unit on a board, with weights of 8 bits.

    Weights of 4 bits are also weights of 8 bits, so layers that have them are sent as such: the
    same integers, twice the bytes.

    Parameters
    ----------
    host : Host
    line : SerialLine, optional
        To be closed with the backend; by default the line is the caller's.
    """

    def __init__(self, host: Host, line: SerialLine | None = None):
        self.host, self._line = host, line
        self._wide: weakref.WeakKeyDictionary[PackedLayer, PackedLayer] = (
            weakref.WeakKeyDictionary())

    @classmethod
    def open(cls, port: str, *, baud: int = 1_000_000) -> "BoardBackend":
        """The unit behind a serial port.

        Raises
        ------
        InputError
            If the port cannot be opened.
        LinkError
            If nobody answers there, or it is no unit of ours.
        """
        line = SerialLine(port, baud=baud)
        try:
            return cls(Host(line), line)
        except BaseException:
            line.close()
            raise

    def check(self, layers: Mapping[str, PackedLayer]) -> None:
        """As :class:`Backend` says, by what the board's registers tell of its unit."""
        if self.host.config.weight_bits != 8:
            raise InputError(f"board, register GEOMETRY, weight_bits: expected 8, since keys and "
                             f"values become weights of 8 bits, found "
                             f"{self.host.config.weight_bits}")
        _check_inputs(layers, self.host.config, "as the board's register MAX_K says")

    def run(self, work: Work) -> list[np.ndarray]:
        """As :class:`Backend` says, layer by layer.

        Raises
        ------
        InputError, UnitError, LinkError
            As of :meth:`~sparseloom.hw.host.Host.run_layer`.
        """
        return [self.host.run_layer(self._widened(layer), x) for layer, x in work]

    def _widened(self, layer: PackedLayer) -> PackedLayer:
        if layer.weight_bits == 8:
            return layer
        if layer not in self._wide:
            self._wide[layer] = replace(layer, weight_bits=8)
        return self._wide[layer]

    def close(self) -> None:
        """Give the line back, if it came with it."""
        if self._line is not None:
            self._line.close()


def _check_inputs(layers: Mapping[str, PackedLayer], config: ArrayConfig, why: str) -> None:
    """No layer has more inputs than a unit takes."""
    for layer in layers.values():
        if layer.in_features > config.max_k:
            raise InputError(f"layer {layer.name}, inputs: expected at most max_k = "
                             f"{config.max_k}, {why}, found {layer.in_features}")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What a backend's integers were, beside the oracle's.

    Parameters
    ----------
    products, integers, mismatches : int
        Layers run, results compared, and those that differ.
    difference : Difference, optional
        The first of them.
    """

    products: int = 0
    integers: int = 0
    mismatches: int = 0
    difference: Difference | None = None


class ComparedBackend:
    """Another backend, every integer of which is compared with the oracle's.

    What the other answers is passed on, right or wrong.

    Parameters
    ----------
    backend : Backend

    Attributes
    ----------
    found : Comparison
        Since the beginning.
    names : set of str
        Layers that ran.
    """

    def __init__(self, backend: Backend):
        self.backend = backend
        self.found = Comparison()
        self.names: set[str] = set()

    def check(self, layers: Mapping[str, PackedLayer]) -> None:
        """As the other."""
        self.backend.check(layers)

    def run(self, work: Work) -> list[np.ndarray]:
        """As :class:`Backend` says.

        Raises
        ------
        SimulationError
            If the backend's answer has another shape or type.
        """
        answers = self.backend.run(work)
        mismatches, first = 0, self.found.difference
        for (layer, x), values in zip(work, answers, strict=True):
            self.names.add(layer.name)
            right = linear(layer, x)
            if values.shape != right.shape or values.dtype != right.dtype:
                raise SimulationError(f"layer {layer.name}: expected {right.dtype} of shape "
                                      f"{right.shape}, found {values.dtype} of shape "
                                      f"{values.shape}")
            wrong = np.argwhere(values != right)
            mismatches += len(wrong)
            if len(wrong) and first is None:
                token, output = map(int, wrong[0])
                first = Difference(layer=layer.name, token=token, output=output,
                                   expected=int(right[token, output]),
                                   found=int(values[token, output]))
        self.found = Comparison(
            products=self.found.products + len(work),
            integers=self.found.integers + sum(values.size for values in answers),
            mismatches=self.found.mismatches + mismatches, difference=first)
        return answers

    def close(self) -> None:
        """Close the other."""
        self.backend.close()
