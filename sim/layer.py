"""One packed layer through the generated Verilog, every output compared with the oracle."""
import contextlib
import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from rich.progress import Progress

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import split_tokens
from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.cycles import UnitJob, UnitShape, ideal_cycles, predict
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import (
    check_weight_bits,
    decode_results,
    encode_acts,
    encode_weights,
    result_bytes,
)
from sparseloom.model.reference import linear
from sparseloom.sim.beats import read_beats, write_beats
from sparseloom.sim.build import build_simulator, cache_folder
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.progress import ResultWatch
from sparseloom.sim.run import WAVES, replay_command, run_bench

MAX_TOKENS = 0xFFFF
VERILOG = "sparseloom.v"
_GAP_SCALE = 256
_verilog_lock = threading.Lock()
_verilog: dict[tuple[ArrayConfig, Path], Path] = {}


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


def unit_verilog(config: ArrayConfig, cache: Path | None = None) -> Path:
    """The unit's Verilog, generated once per configuration and process.

    Parameters
    ----------
    config : ArrayConfig
    cache : Path, optional
        Its ``rtl`` folder takes the file; :func:`~sparseloom.sim.build.cache_folder` by default.
    """
    cache = cache or cache_folder()
    with _verilog_lock:
        found = _verilog.get((config, cache))
        if found is None or not found.is_file():
            from sparseloom.hw.generate import generate

            (cache / "rtl").mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=cache / "rtl", prefix="part-") as part:
                generate(config, Path(part, "whole"))
                text = Path(part, "whole", VERILOG).read_bytes()
                folder = cache / "rtl" / hashlib.sha256(text).hexdigest()[:20]
                with contextlib.suppress(OSError):      # the same is there already
                    os.replace(Path(part, "whole"), folder)
            found = _verilog[config, cache] = folder / VERILOG
        return found


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
    if folder is None:
        runs = (cache or cache_folder()) / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=runs, prefix=f"{layer.name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    expected = linear(layer, x)
    start = time.perf_counter()
    beats = _write_plan(folder, layer, x, sizes, config, stall, seed)
    total = sum(result_bytes(tokens=size, outputs=layer.out_features, rows=config.rows,
                             raw=layer.raw) for size in sizes)
    with ResultWatch(folder, f"{layer.name} in RTL", total, config.bus_bytes, progress):
        outcomes = run_bench(build, folder, module="sparseloom.sim.tb_layer", waves=waves)
    failures = [outcome.failure for outcome in outcomes if outcome.failure]
    if failures:
        raise SimulationError(f"layer {layer.name}: {failures[0].splitlines()[0]}; to run it "
                              f"again: {replay_command(folder)}")
    outcome = json.loads((folder / "outcome.json").read_text())
    _check(layer, outcome, beats, len(sizes), folder)
    results = _results(layer, folder, sizes, config)
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
        predicted_cycles=None if stall else _predicted(layer, sizes, config, outcome["pushes"]))


def _predicted(layer: PackedLayer, sizes: list[int], config: ArrayConfig,
               pushes: list[int]) -> int:
    """Cycles of a layer's jobs by the cycle model."""
    shape = UnitShape.of(config)
    whole = UnitJob.of(layer, sizes[0], shape)
    return predict([replace(whole, tokens=size) for size in sizes], shape, pushes=pushes).cycles


def _write_plan(folder: Path, layer: PackedLayer, x: np.ndarray, sizes: list[int],
                config: ArrayConfig, stall: float, seed: int) -> dict[str, int]:
    """Stream files and plan of a run; the beats that the unit must take."""
    weights, acts, jobs = [], [], []
    done = 0
    for index, size in enumerate(sizes):
        tag = index % (1 << spec.TAG_BITS)
        weights.append(encode_weights(layer, cols=config.cols, block_inputs=config.block_inputs,
                                      tag=tag, weight_bits=config.weight_bits))
        acts.append(encode_acts(x[done:done + size], rows=config.rows, cols=config.cols))
        jobs.append({"inputs": layer.in_features, "outputs": layer.out_features, "tokens": size,
                     "tag": tag, "zero_point": layer.output_zero_point, "raw": layer.raw,
                     "lut": layer.lut is not None})
        done += size
    beats = {"weight_beats": write_beats(folder / "weights.bin", weights, config.bus_bytes),
             "act_beats": write_beats(folder / "acts.bin", acts, config.bus_bytes)}
    # Generous: a unit that takes longer than every word on every port after the other hangs.
    work = sum(-(-size // config.rows) for size in sizes) * layer.in_features * -(
        -layer.out_features // config.cols)
    words = len(x) * layer.out_features * 8 + sum(beats.values()) + work
    limit = int((10_000 + 10 * words) / (1 - stall) ** 2)
    (folder / "plan.json").write_text(json.dumps({
        "jobs": jobs, "seed": seed, "limit": limit,
        "wait": 4 + max(-(-size // config.rows) for size in sizes),
        "gaps": dict.fromkeys(("weights", "acts", "results"), round(stall * _GAP_SCALE))}))
    return beats


def _check(layer: PackedLayer, outcome: dict, beats: dict[str, int], jobs: int,
           folder: Path) -> None:
    """Everything about a run but its results."""
    problem = None
    cause = outcome["error"]["cause"]
    if cause:
        name, meaning = spec.ERROR_CAUSES.get(cause, ("?", "unknown cause"))
        problem = f"the unit reports {name} ({meaning}) in strip {outcome['error']['strip']}"
    elif not outcome["finished"]:
        problem = f"the unit did not finish: {outcome['status']}, {outcome['counters']}"
    elif outcome["violations"]:
        problem = f"the unit broke a rule of AXI4-Stream {outcome['violations']} times"
    elif outcome["late_beats"]:
        problem = f"{outcome['late_beats']} beats came after the last result"
    elif outcome["done"]["count"] != jobs:
        problem = f"expected {jobs} finished jobs, found {outcome['done']['count']}"
    else:
        for stream, count in beats.items():
            if outcome[stream] != count:
                problem = f"expected {count} {stream.replace('_', ' ')}, found {outcome[stream]}"
    if problem:
        raise SimulationError(f"layer {layer.name}: {problem}; to run it again: "
                              f"{replay_command(folder)}")


def _results(layer: PackedLayer, folder: Path, sizes: list[int], config: ArrayConfig,
             ) -> np.ndarray:
    packets = read_beats(folder / "results.hex", config.bus_bytes)
    if len(packets) != len(sizes) or any(user for _, user in packets):
        raise SimulationError(f"layer {layer.name}: expected {len(sizes)} good result packets, "
                              f"found {len(packets)}; to run it again: {replay_command(folder)}")
    try:
        return np.concatenate([
            decode_results(data, tokens=size, outputs=layer.out_features, rows=config.rows,
                           cols=config.cols, raw=layer.raw)
            for (data, _), size in zip(packets, sizes, strict=True)])
    except InputError as error:
        raise SimulationError(f"layer {layer.name}: {error}; to run it again: "
                              f"{replay_command(folder)}") from None
