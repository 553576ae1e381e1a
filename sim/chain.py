"""Two layers on two units, the result port of one wired to the activation port of the other.

A result stream is a valid activation stream: same order of words, same packing, TLAST at a job's
end. So nothing lies between the units, and the host never sees what passes. The first layer's
results must be bytes on the scale on which the second one reads its inputs: for a feed-forward
block, the table's scale and zero point are those of the second matrix's inputs, in whose bias the
zero point is folded.
"""
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from rich.progress import Progress

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import split_tokens
from sparseloom.model.errors import InputError
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import encode_acts
from sparseloom.model.reference import linear
from sparseloom.sim.beats import write_beats
from sparseloom.sim.build import build_simulator
from sparseloom.sim.errors import SimulationError, reported
from sparseloom.sim.job_streams import decode_jobs, good_packets, job_streams, wrong_beats
from sparseloom.sim.progress import ResultWatch
from sparseloom.sim.run import first_failure, replay_command, run_bench, run_folder
from sparseloom.sim.tb_chain import GAPS, OUTCOME, PLAN, UNITS
from sparseloom.sim.verilog import unit_verilog

CHAIN = Path(__file__).with_name("chain.v")
_GAP_SCALE = 256


@dataclass(frozen=True, kw_only=True)
class ChainRun:
    """What two chained layers gave.

    Parameters
    ----------
    names : tuple of str
        The layers.
    results : ndarray of int8 or (raw) int32, shape (M, N)
        Of the second unit.
    expected : ndarray, same shape and dtype
        The integer oracle's second layer behind its first.
    tokens, jobs : int
        M, and the jobs that each unit ran.
    outputs, mismatches : int
        Results compared, and those that differ.
    wire_bytes, wire_mismatches : int
        Bytes that passed between the units, and those that differ from the activation stream that a
        host would have sent; counted up to the shorter one's end, and what is beyond it.
    cycles : int
        First activation beat of the first unit to last result beat of the second, both included.
    link_waits : int
        Cycles in which the second unit did not take an offered beat.
    seconds : float
        Wall time of the simulation, the build not counted.
    folder : Path, optional
        Data of the run, where it was kept.
    """

    names: tuple[str, str]
    results: np.ndarray
    expected: np.ndarray
    tokens: int
    jobs: int
    outputs: int
    mismatches: int
    wire_bytes: int
    wire_mismatches: int
    cycles: int
    link_waits: int
    seconds: float
    folder: Path | None = None

    @property
    def exact(self) -> bool:
        """Whether no output and no byte between the units differs."""
        return not self.mismatches and not self.wire_mismatches

    def as_dict(self) -> dict[str, object]:
        """JSON-ready, without the arrays."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)
                 if field.name not in ("results", "expected")}
        return {**plain, "folder": None if self.folder is None else str(self.folder),
                "exact": self.exact}


def check_chain(first: PackedLayer, second: PackedLayer) -> None:
    """Whether a layer's results are another one's activations as they are.

    Raises
    ------
    InputError
        If the first leaves as sums, the widths differ, or scale or zero point do.
    """
    where = f"layers {first.name} and {second.name}"
    if first.raw:
        raise InputError(f"layer {first.name}, raw: expected int8 results for the next layer, "
                         "found int32 sums")
    if first.out_features != second.in_features:
        raise InputError(f"{where}: expected as many outputs as inputs, found "
                         f"{first.out_features} and {second.in_features}")
    last = "output" if first.lut is None else "lut"
    for field in ("scale", "zero_point"):
        leaves, enters = getattr(first, f"{last}_{field}"), getattr(second, f"input_{field}")
        if leaves != enters:
            raise InputError(f"{where}, {field} between them: expected the same on both sides, "
                             f"found {leaves} and {enters}")


def run_chain(first: PackedLayer, second: PackedLayer, x: np.ndarray, config: ArrayConfig, *,
              stall: float = 0.0, seed: int = 1, folder: Path | None = None,
              cache: Path | None = None, progress: Progress | None = None,
              built: Callable[[], object] | None = None) -> ChainRun:
    """Run two layers through two units of the generated Verilog, wired together.

    Parameters
    ----------
    first, second : PackedLayer
        See :func:`check_chain`.
    x : ndarray of int8, shape (M, K)
        Activations of the first. Tokens that do not fit either unit's activation buffer become
        several jobs, the same ones on both.
    config : ArrayConfig
        Both units.
    stall : float
        Share of cycles in which each stream pauses, that between the units included, 0 to 0.99.
    seed : int
        Of the pauses, 1 or more.
    folder : Path, optional
        Keep the run's data there; by default it is deleted where nothing differs.
    cache, progress, built
        As in :func:`~sparseloom.sim.layer.run_layer`.

    Returns
    -------
    ChainRun
        Also where results differ: look at ``exact``.

    Raises
    ------
    InputError
        If the layers cannot be chained, or they or the activations do not fit the unit.
    SimulationError
        If a unit reports an error, hangs, breaks a stream rule, or sends too little or too much.
    """
    check_chain(first, second)
    where = f"layers {first.name} and {second.name}"
    if x.ndim != 2 or x.dtype != np.int8 or x.shape[1] != first.in_features or not len(x):
        raise InputError(f"layer {first.name}, activations: expected int8 of shape (M, "
                         f"{first.in_features}), found {x.dtype} of shape {x.shape}")
    if not 0 <= stall <= 0.99:
        raise InputError(f"stall: expected 0 to 0.99, found {stall}")
    sizes = split_tokens(len(x), inputs=max(first.in_features, second.in_features), config=config)
    simulator = build_simulator(unit_verilog(config, cache), bus_bytes=config.bus_bytes,
                                cache=cache, bench=CHAIN)
    if built is not None:
        built()
    keep = folder is not None
    folder = run_folder(folder, second.name, cache)
    began = time.perf_counter()
    beats, total = _write_plan(folder, first, second, x, sizes, config, stall, seed)
    with ResultWatch(folder, f"{second.name} behind {first.name} in RTL", total, config.bus_bytes,
                     progress):
        outcomes = run_bench(simulator, folder, module="sparseloom.sim.tb_chain")
    try:
        if failure := first_failure(outcomes):
            raise SimulationError(failure)
        outcome = json.loads((folder / OUTCOME).read_text())
        if problem := _problem(outcome, beats, len(sizes)):
            raise SimulationError(problem)
        wire, packets = (good_packets(folder / name, len(sizes), config.bus_bytes)
                         for name in ("link0.bin", "results0.bin"))
        results = np.concatenate(decode_jobs(packets, [(second, size) for size in sizes], config))
    except SimulationError as error:
        raise SimulationError(f"{where}: {error}; to run it again: {replay_command(folder)}"
                              ) from None
    hidden = linear(first, x)
    expected = linear(second, hidden)
    right = [encode_acts(part, rows=config.rows, cols=config.cols)
             for part in _parts(hidden, sizes)]
    mismatches = int(np.count_nonzero(results != expected))
    wrong = sum(_different(one, other) for one, other in zip(wire, right, strict=True))
    keep = keep or bool(mismatches or wrong)
    if not keep:
        shutil.rmtree(folder)
    return ChainRun(
        names=(first.name, second.name), results=results, expected=expected, tokens=len(x),
        jobs=len(sizes), outputs=int(results.size), mismatches=mismatches,
        wire_bytes=sum(map(len, wire)), wire_mismatches=wrong, cycles=outcome["cycles"],
        link_waits=outcome["link_waits"], seconds=time.perf_counter() - began,
        folder=folder if keep else None)


def _parts(values: np.ndarray, sizes: list[int]) -> list[np.ndarray]:
    return np.split(values, np.cumsum(sizes)[:-1])


def _different(one: bytes, other: bytes) -> int:
    """Bytes that differ, and those that only one has."""
    return sum(a != b for a, b in zip(one, other, strict=False)) + abs(len(one) - len(other))


def _write_plan(folder: Path, first: PackedLayer, second: PackedLayer, x: np.ndarray,
                sizes: list[int], config: ArrayConfig, stall: float, seed: int,
                ) -> tuple[dict[str, int], int]:
    """Stream files and plan; beats that must pass, and result bytes that the second unit gives."""
    beats, each = {}, {}
    for unit, layer, leaves in zip(UNITS, (first, second), ("link", "result"), strict=True):
        each[unit] = streams = job_streams([(layer, size) for size in sizes], config)
        beats[f"{unit}_weight_beats"] = write_beats(folder / f"{unit}_weights0.bin",
                                                    streams.weights, config.bus_bytes)
        beats[f"{leaves}_beats"] = sum(-(-size // config.bus_bytes)
                                       for size in streams.result_bytes)
    acts = [encode_acts(part, rows=config.rows, cols=config.cols) for part in _parts(x, sizes)]
    beats["act_beats"] = write_beats(folder / "acts0.bin", acts, config.bus_bytes)
    # Generous: units that take longer than every word on every port after the other hang.
    words = sum(beats.values()) + sum(streams.work + sum(streams.result_bytes)
                                      for streams in each.values())
    limit = int((20_000 + 10 * words) / (1 - stall) ** 2)
    gap = round(stall * _GAP_SCALE)
    (folder / PLAN).write_text(json.dumps({
        "jobs": {unit: streams.descriptors for unit, streams in each.items()}, "seed": seed,
        "limit": limit, "gaps": dict.fromkeys(GAPS, gap)}))
    return beats, sum(each["second"].result_bytes)


def _problem(outcome: dict, beats: dict[str, int], jobs: int) -> str | None:
    """What is wrong about a run, its values aside; the unit that was wrong first."""
    for name in UNITS:
        error = outcome["units"][name]["error"]
        if error["cause"]:
            return f"the {name} unit {reported(error['cause'])} in strip {error['strip']}"
    if not outcome["finished"]:
        return f"the units did not finish: {outcome['units']}"
    if outcome["late_beats"]:
        return f"{outcome['late_beats']} beats came after the last result"
    for name in UNITS:
        count = outcome["units"][name]["done"]["count"]
        if count != jobs:
            return f"expected {jobs} finished jobs of the {name} unit, found {count}"
    return wrong_beats(outcome, beats)
