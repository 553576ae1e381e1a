"""Packed layers through the generated Verilog, queue after queue, every output compared.

A queue is any number of layers, one after the other without a pause, each with activations of its
own; layers whose tokens do not fit the activation buffer become several jobs. One simulation runs
all queues of a call, each on the idle unit.
"""
import dataclasses
import shutil
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from rich.progress import Progress

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import Job, split_tokens
from sparseloom.model.errors import InputError
from sparseloom.model.packed import timing
from sparseloom.model.packed.cycles import (
    UnitJob,
    UnitShape,
    delay_bounds,
    ideal_cycles,
    layer_jobs,
    predict,
)
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import encode_acts
from sparseloom.model.reference import linear
from sparseloom.sim.beats import write_beats
from sparseloom.sim.build import build_simulator
from sparseloom.sim.errors import SimulationError, reported
from sparseloom.sim.job_streams import decode_jobs, good_packets, job_streams
from sparseloom.sim.long_run import LONG_RUN, JobQueue, Played, replay_command, run_long
from sparseloom.sim.progress import ResultWatch
from sparseloom.sim.run import run_folder
from sparseloom.sim.verilog import unit_verilog

_GAP_SCALE = 256

LayerQueue = Sequence[tuple[PackedLayer, np.ndarray]]
"""Layers in their order, each with its activations: int8, shape (M, K)."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """A result that is not the oracle's.

    Parameters
    ----------
    layer : str
    token, output : int
        Row and column of the layer's results.
    expected, found : int
        The oracle's and the unit's.
    """

    layer: str
    token: int
    output: int
    expected: int
    found: int

    def __str__(self) -> str:
        return (f"layer {self.layer}, token {self.token}, output {self.output}: expected "
                f"{self.expected}, found {self.found}")


@dataclass(frozen=True, kw_only=True)
class QueueRun:
    """What a queue of layers gave.

    Parameters
    ----------
    name : str
    layers, jobs : int
    cycles : int
        From the first activation beat to the last result beat, both included, as the bench counted
        them.
    counters : dict of str to int
        The unit's own, cleared before the first push.
    counted_cycles : int
        ``cycles`` by the unit's ``busy``: less what it was busy before the first activation beat.
    predicted_cycles : int, optional
        ``cycles`` by the cycle model, which pushes each job as soon as there is a place; None where
        the streams paused.
    predicted : dict of str to int
        ``counters`` by the cycle model, with the pushes as they were and no pauses.
    ideal_cycles : int
        Array work alone.
    load_cycles : int
        Beats of the first job's activations: nothing can be computed before they are there.
    outputs, mismatches : int
        Results compared with the integer oracle, and those that differ.
    difference : Difference, optional
        The first of them.
    stalls : dict of str to int
        Cycles in which the bench alone held up each port.
    late_cycles : int
        What it cost, by the cycle model, that the driver pushed jobs later than there was a place
        for them: it writes four registers for each, which takes longer than the shortest jobs.
        0 where the streams paused.
    replay : str, optional
        The command that simulates it again, where the data was kept.
    """

    name: str
    layers: int
    jobs: int
    cycles: int
    counters: dict[str, int]
    counted_cycles: int
    predicted_cycles: int | None
    predicted: dict[str, int]
    ideal_cycles: int
    load_cycles: int
    outputs: int
    mismatches: int
    difference: Difference | None = None
    stalls: dict[str, int] = field(default_factory=dict)
    late_cycles: int = 0
    replay: str | None = None

    @property
    def utilisation(self) -> float:
        """Cycles in which the array took a column, by the unit's counter, over ``cycles``."""
        return self.counters["active"] / self.cycles

    @property
    def compute_over_load_and_compute(self) -> float:
        """What is left where activations load first, and only then the array works."""
        return self.ideal_cycles / (self.ideal_cycles + self.load_cycles)

    def problems(self) -> list[str]:
        """In what bench, unit, cycle model and oracle disagree: in nothing, if all is well."""
        busy, free = self.counters["busy"], self.predicted
        pairs = {
            "mismatches": (0, self.mismatches),
            "cycles by the unit's counters": (self.cycles, self.counted_cycles),
            "sum of the counters": (busy, sum(self.counters.values()) - busy)}
        if self.predicted_cycles is None:
            low, high = delay_bounds(free["busy"], self.stalls)
            pairs["active by the cycle model"] = (self.counters["active"], free["active"])
            pairs["busy within the cycle model's bounds"] = (busy, min(max(busy, low), high))
        else:
            pairs["cycles by the cycle model"] = (self.cycles,
                                                  self.predicted_cycles + self.late_cycles)
            pairs |= {f"{name} by the cycle model": (self.counters[name], value)
                      for name, value in free.items()}
        found = [f"{what}: expected {expected}, found {value}"
                 for what, (expected, value) in pairs.items() if expected != value]
        return found + ([f"the first in {self.difference}"] if self.difference else [])

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {**asdict(self), "utilisation": self.utilisation,
                "compute_over_load_and_compute": self.compute_over_load_and_compute,
                "problems": self.problems()}


def run_layer_queues(queues: Mapping[str, LayerQueue], config: ArrayConfig, *, stall: float = 0.0,
                     seed: int = 1, folder: Path | None = None, cache: Path | None = None,
                     long_run: bool = False, progress: Progress | None = None,
                     title: str = "layers in RTL",
                     built: Callable[[], object] | None = None) -> list[QueueRun]:
    """Run queues of layers through the generated Verilog.

    Parameters
    ----------
    queues : mapping of str to sequence of (PackedLayer, ndarray of int8 of shape (M, K))
        By name.
    config : ArrayConfig
        The unit, generated and built unless the cache has it.
    stall : float
        Share of cycles in which each of the three streams pauses, 0 to 0.99.
    seed : int
        Of the pauses, 1 or more.
    folder : Path, optional
        Keep the simulation's data there; by default it is deleted where no output differs.
    cache : Path, optional
        As in :func:`~sparseloom.sim.build.build_simulator`.
    long_run : bool
        As there: for millions of cycles.
    progress : rich Progress, optional
        Gets a task ``title`` that counts result bytes.
    built : callable, optional
        Called when the simulator is there.

    Returns
    -------
    list of QueueRun
        In the order of ``queues``; look at :meth:`QueueRun.problems`.

    Raises
    ------
    InputError
        If a layer or its activations do not fit the unit.
    SimulationError
        If the unit reports an error, hangs, breaks a stream rule, or sends too little or too much.
    """
    for name, queue in queues.items():
        if not queue:
            raise InputError(f"queue {name}: expected a layer, found none")
        for layer, x in queue:
            if x.ndim != 2 or x.dtype != np.int8 or x.shape[1] != layer.in_features or not len(x):
                raise InputError(f"queue {name}, layer {layer.name}, activations: expected int8 of "
                                 f"shape (M, {layer.in_features}), found {x.dtype} of shape "
                                 f"{x.shape}")
            if layer.in_features > config.max_k:
                raise InputError(f"layer {layer.name}, in_features: expected at most max_k = "
                                 f"{config.max_k}, found {layer.in_features}")
    if not 0 <= stall <= 0.99:
        raise InputError(f"stall: expected 0 to 0.99, found {stall}")
    works = [_Work(name, queue, config) for name, queue in queues.items()]
    simulator = build_simulator(unit_verilog(config, cache), bus_bytes=config.bus_bytes,
                                cache=cache, long_run=long_run, bench=LONG_RUN, python=False)
    if built is not None:
        built()
    keep = folder is not None
    folder = run_folder(folder, "layers", cache)
    plans = [work.write(folder, number, stall, seed) for number, work in enumerate(works)]
    total = sum(work.result_bytes for work in works)
    with (ResultWatch(folder, title, total, config.bus_bytes, progress),
          ThreadPoolExecutor(1) as simulation):
        playing = simulation.submit(run_long, simulator, folder, plans)
        for work in works:                              # on the other core
            work.expect()
        played = playing.result()
    found = []
    for number, (work, one) in enumerate(zip(works, played, strict=False)):
        try:
            found.append(work.compare(one, folder / f"results{number}.bin", bool(stall)))
        except SimulationError as error:
            raise SimulationError(f"queue {work.name}: {error}; to run it again: "
                                  f"{replay_command(simulator, folder)}") from None
    if not keep and not any(run.mismatches for run in found):
        shutil.rmtree(folder)
        return found
    replay = replay_command(simulator, folder)
    return [dataclasses.replace(run, replay=replay) for run in found]


class _Work:
    """A queue on its way through the unit.

    Parameters
    ----------
    name : str
    queue : LayerQueue
    config : ArrayConfig

    Attributes
    ----------
    jobs : list of (PackedLayer, int, ndarray)
        Each job's layer, its first token, and its part of the activations.
    result_bytes, beats : int, dict of str to int
        Of all its results; that the unit must take. Known once it was written.
    expected : list of ndarray
        Each job's results by the oracle, once it was asked.
    """

    def __init__(self, name: str, queue: LayerQueue, config: ArrayConfig):
        self.name, self.queue, self.config = name, queue, config
        self.jobs: list[tuple[PackedLayer, int, np.ndarray]] = []
        for layer, x in queue:
            ends = np.cumsum(split_tokens(len(x), inputs=layer.in_features, config=config))
            self.jobs += [(layer, start, x[start:end])
                          for start, end in zip([0, *ends[:-1]], ends, strict=True)]
        self.result_bytes = 0
        self.beats: dict[str, int] = {}
        self.expected: list[np.ndarray] = []

    def write(self, folder: Path, number: int, stall: float, seed: int) -> JobQueue:
        """Files of the streams; what the script is to do."""
        config = self.config
        streams = job_streams([(layer, len(x)) for layer, _, x in self.jobs], config)
        acts = [encode_acts(x, rows=config.rows, cols=config.cols) for _, _, x in self.jobs]
        self.result_bytes = sum(streams.result_bytes)
        self.beats = {
            "weights": write_beats(folder / f"weights{number}.bin", streams.weights,
                                   config.bus_bytes),
            "acts": write_beats(folder / f"acts{number}.bin", acts, config.bus_bytes)}
        jobs = [Job(**job) for job in streams.descriptors]
        early = min(len(jobs), config.queue_depth)
        # Generous: a unit that takes longer than every word on every port after the other hangs.
        words = streams.work + self.result_bytes + sum(self.beats.values())
        return JobQueue(
            jobs=jobs, early=early, seed=seed,
            # The last descriptor is still being checked, a cycle a group of tokens.
            wait=4 + max(-(-job.tokens // config.rows) for job in jobs[:early]),
            limit=int((20_000 + 10 * words) / (1 - stall) ** 2),
            gaps=dict.fromkeys(("weights", "acts", "results"), round(stall * _GAP_SCALE)))

    def expect(self) -> None:
        """What the oracle says."""
        self.expected = [linear(layer, x) for layer, _, x in self.jobs]

    def compare(self, played: Played, file: Path, stalled: bool) -> QueueRun:
        """Results beside the oracle's, cycles beside the model's.

        Raises
        ------
        SimulationError
            If something else than results or cycles is wrong.
        """
        if problem := self._problem(played):
            raise SimulationError(problem)
        packets = good_packets(file, len(self.jobs), self.config.bus_bytes)
        results = decode_jobs(packets, [(layer, len(x)) for layer, _, x in self.jobs], self.config)
        first, mismatches = None, 0
        for (layer, start, _), values, right in zip(self.jobs, results, self.expected, strict=True):
            wrong = np.argwhere(values != right)
            mismatches += len(wrong)
            if len(wrong) and first is None:
                token, output = map(int, wrong[0])
                first = Difference(layer=layer.name, token=int(start) + token, output=output,
                                   expected=int(right[token, output]),
                                   found=int(values[token, output]))
        config, shape = self.config, UnitShape.of(self.config)
        units = [job for layer, x in self.queue
                 for job in layer_jobs(UnitJob.of(layer, len(x), shape), shape)]
        groups = -(-units[0].tokens // config.rows)
        # The unit is busy from the cycle after the queue took the first descriptor.
        early = played.first_act - (played.pushes[0] + timing.PUSH + 1)
        soon, pushed = predict(units, shape), predict(units, shape, pushes=played.pushes)
        return QueueRun(
            name=self.name, layers=len(self.queue), jobs=len(self.jobs),
            cycles=played.end - played.first_act + 1, counters=played.counters,
            counted_cycles=played.counters["busy"] - early,
            predicted_cycles=None if stalled else soon.cycles, predicted=pushed.counters(),
            late_cycles=0 if stalled else pushed.cycles - soon.cycles,
            ideal_cycles=sum(ideal_cycles(layer, rows=config.rows, cols=config.cols,
                                          tokens=len(x)) for layer, _, x in self.jobs),
            load_cycles=-(-units[0].inputs * groups * config.rows // config.bus_bytes),
            outputs=sum(values.size for values in results), mismatches=mismatches,
            difference=first, stalls=played.stalls)

    def _problem(self, played: Played) -> str | None:
        """What is wrong, results and cycles aside; what the rest follows from comes first."""
        if played.refused:
            return f"the unit refused {played.refused} accesses to its registers"
        if played.error["cause"]:
            return f"the unit {reported(played.error['cause'])} in strip {played.error['strip']}"
        if not played.finished:
            return f"the unit did not finish: {played.counters}"
        if played.late_beats:
            return f"{played.late_beats} beats came after the last result"
        for stream, count in self.beats.items():
            if played.beats[stream] != count:
                return f"expected {count} {stream} beats, found {played.beats[stream]}"
        return None
