"""One packed layer through the generated Verilog, every output compared with the oracle."""
import dataclasses
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import split_tokens
from sparseloom.model.errors import InputError
from sparseloom.model.packed.cycles import UnitJob, UnitShape, ideal_cycles, layer_jobs, predict
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import check_weight_bits, encode_acts
from sparseloom.model.reference import linear
from sparseloom.sim.beats import write_beats
from sparseloom.sim.build import build_simulator
from sparseloom.sim.errors import SimulationError, reported
from sparseloom.sim.job_streams import (
    JobStreams,
    decode_jobs,
    good_packets,
    job_streams,
    wrong_beats,
)
from sparseloom.sim.progress import ResultWatch
from sparseloom.sim.run import WAVES, first_failure, replay_command, run_bench, run_folder
from sparseloom.sim.verilog import unit_verilog

MAX_TOKENS = 0xFFFF
_GAP_SCALE = 256


@dataclass(frozen=True, kw_only=True)
class LayerRun:
    """What a simulated layer gave.

    Parameters
    ----------
    name : str
        The layer.
    results : ndarray of int8 or (raw) int32, shape (M, N)
        From the RTL.
    expected : ndarray, same shape and dtype
        From the integer oracle.
    cycles : int
        From the first activation beat to the last result beat, both included, as the bench
        counted them.
    ideal_cycles : int
        Array work alone: columns that must run, times token groups.
    counters : dict of str to int
        The unit's own cycle counters.
    outputs : int
        Results compared: M * N.
    mismatches : int
        Results that differ.
    tokens, jobs : int
        M, and the jobs that it was split into.
    seconds : float
        Wall time of the simulation, the build not counted.
    folder : Path, optional
        Data of the run, where it was kept.
    waves : Path, optional
        The waveform file, where one was asked for.
    predicted_cycles : int, optional
        ``cycles`` by the cycle model, which is exact; None where the streams paused.
    """

    name: str
    results: np.ndarray
    expected: np.ndarray
    cycles: int
    ideal_cycles: int
    counters: dict[str, int]
    outputs: int
    mismatches: int
    tokens: int
    jobs: int
    seconds: float
    folder: Path | None = None
    waves: Path | None = None
    predicted_cycles: int | None = None

    @property
    def utilisation(self) -> float:
        """Ideal over measured cycles."""
        return self.ideal_cycles / self.cycles

    def as_dict(self) -> dict[str, object]:
        """JSON-ready, without the arrays."""
        plain = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)
                 if field.name not in ("results", "expected")}
        for key in ("folder", "waves"):
            plain[key] = None if plain[key] is None else str(plain[key])
        return {**plain, "utilisation": self.utilisation, "first_mismatch": self.first_mismatch()}

    def first_mismatch(self) -> dict[str, int] | None:
        """Token, output, expected and found of the first result that differs."""
        where = np.argwhere(self.results != self.expected)
        if not len(where):
            return None
        token, output = (int(index) for index in where[0])
        return {"token": token, "output": output, "expected": int(self.expected[token, output]),
                "found": int(self.results[token, output])}


def run_layer(layer: PackedLayer, x: np.ndarray, config: ArrayConfig, *, waves: bool = False,
              stall: float = 0.0, seed: int = 1, folder: Path | None = None,
              cache: Path | None = None, progress: Progress | None = None,
              built: Callable[[], object] | None = None) -> LayerRun:
    """Run a layer through the generated Verilog.

    Generates and builds what is not in the cache. Safe to call from several threads.

    Parameters
    ----------
    layer : PackedLayer
    x : ndarray of int8, shape (M, K)
        Activations.
    config : ArrayConfig
        The unit.
    waves : bool
        Keep the run and its waveform.
    stall : float
        Share of cycles in which each of the three streams pauses, 0 to 0.99.
    seed : int
        Of the pauses, 1 or more.
    folder : Path, optional
        Keep the run's data there; by default it is deleted, unless waves are kept.
    cache : Path, optional
        As in :func:`~sparseloom.sim.build.build_simulator`.
    progress : rich Progress, optional
        Gets a task that counts result bytes.
    built : callable, optional
        Called when the simulator is there.

    Returns
    -------
    LayerRun
        Also where results differ: look at ``mismatches``.

    Raises
    ------
    InputError
        If the activations or the layer do not fit the unit.
    SimulationError
        If the unit reports an error, hangs, breaks a stream rule, or sends too little or too much.
    """
    if x.ndim != 2 or x.dtype != np.int8 or x.shape[1] != layer.in_features:
        raise InputError(f"layer {layer.name}, activations: expected int8 of shape (M, "
                         f"{layer.in_features}), found {x.dtype} of shape {x.shape}")
    if not 1 <= len(x) <= MAX_TOKENS:
        raise InputError(f"layer {layer.name}, activations: expected 1..{MAX_TOKENS} tokens, "
                         f"found {len(x)}")
    if layer.in_features > config.max_k:
        raise InputError(f"layer {layer.name}, in_features: expected at most max_k = "
                         f"{config.max_k}, found {layer.in_features}")
    check_weight_bits(layer, config.weight_bits)
    if not 0 <= stall <= 0.99:
        raise InputError(f"stall: expected 0 to 0.99, found {stall}")
    sizes = split_tokens(len(x), inputs=layer.in_features, config=config)
    build = build_simulator(unit_verilog(config, cache), bus_bytes=config.bus_bytes, waves=waves,
                            cache=cache)
    if built is not None:
        built()
    keep = folder is not None or waves
    folder = run_folder(folder, layer.name, cache)
    expected = linear(layer, x)
    start = time.perf_counter()
    streams = job_streams([(layer, size) for size in sizes], config)
    beats = _write_plan(folder, layer, x, sizes, streams, config, stall, seed)
    with ResultWatch(folder, f"{layer.name} in RTL", sum(streams.result_bytes), config.bus_bytes,
                     progress):
        outcomes = run_bench(build, folder, module="sparseloom.sim.tb_layer", waves=waves)
    try:
        if failure := first_failure(outcomes):
            raise SimulationError(failure)
        outcome = json.loads((folder / "outcome.json").read_text())
        if problem := _problem(outcome, beats, len(sizes)):
            raise SimulationError(problem)
        packets = good_packets(folder / "results0.bin", len(sizes), config.bus_bytes)
        results = np.concatenate(decode_jobs(packets, [(layer, size) for size in sizes], config))
    except SimulationError as error:
        raise SimulationError(f"layer {layer.name}: {error}; to run it again: "
                              f"{replay_command(folder)}") from None
    seconds = time.perf_counter() - start
    mismatches = int(np.count_nonzero(results != expected))
    keep = keep or mismatches > 0
    if not keep:
        shutil.rmtree(folder)
    return LayerRun(
        name=layer.name, results=results, expected=expected, cycles=outcome["cycles"],
        ideal_cycles=ideal_cycles(layer, rows=config.rows, cols=config.cols, tokens=len(x)),
        counters=outcome["counters"], outputs=int(results.size), mismatches=mismatches,
        tokens=len(x), jobs=len(sizes), seconds=seconds, folder=folder if keep else None,
        waves=folder / WAVES if waves else None,
        predicted_cycles=None if stall else _predicted(layer, len(x), config, outcome["pushes"]))


def _predicted(layer: PackedLayer, tokens: int, config: ArrayConfig, pushes: list[int]) -> int:
    """Cycles of a layer's jobs by the cycle model."""
    shape = UnitShape.of(config)
    return predict(layer_jobs(UnitJob.of(layer, tokens, shape), shape), shape,
                   pushes=pushes).cycles


def _write_plan(folder: Path, layer: PackedLayer, x: np.ndarray, sizes: list[int],
                streams: JobStreams, config: ArrayConfig, stall: float, seed: int,
                ) -> dict[str, int]:
    """Stream files and plan of a run; the beats that the unit must take."""
    acts = [encode_acts(part, rows=config.rows, cols=config.cols)
            for part in np.split(x, np.cumsum(sizes)[:-1])]
    beats = {"weight_beats": write_beats(folder / "weights0.bin", streams.weights,
                                         config.bus_bytes),
             "act_beats": write_beats(folder / "acts0.bin", acts, config.bus_bytes)}
    # Generous: a unit that takes longer than every word on every port after the other hangs.
    words = len(x) * layer.out_features * 8 + sum(beats.values()) + streams.work
    limit = int((10_000 + 10 * words) / (1 - stall) ** 2)
    (folder / "plan.json").write_text(json.dumps({
        "jobs": streams.descriptors, "seed": seed, "limit": limit,
        "wait": 4 + max(-(-size // config.rows) for size in sizes),
        "gaps": dict.fromkeys(("weights", "acts", "results"), round(stall * _GAP_SCALE))}))
    return beats


def _problem(outcome: dict, beats: dict[str, int], jobs: int) -> str | None:
    """What is wrong about a run, its results aside."""
    if outcome["error"]["cause"]:
        return (f"the unit {reported(outcome['error']['cause'])} in strip "
                f"{outcome['error']['strip']}")
    if not outcome["finished"]:
        return f"the unit did not finish: {outcome['status']}, {outcome['counters']}"
    if outcome["late_beats"]:
        return f"{outcome['late_beats']} beats came after the last result"
    if outcome["done"]["count"] != jobs:
        return f"expected {jobs} finished jobs, found {outcome['done']['count']}"
    return wrong_beats(outcome, beats)
