"""Packed layers through the generated Verilog, queue after queue, every output compared.

A queue is any number of layers, one after the other without a pause, each with activations of its
own; layers whose tokens do not fit the activation buffer become several jobs. One simulation runs
all queues of a call, each on the idle unit.
"""
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.progress import Progress

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import split_tokens
from sparseloom.model.errors import InputError
from sparseloom.model.packed import timing
from sparseloom.model.packed.cycles import UnitJob, UnitShape, ideal_cycles, layer_jobs, predict
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import encode_acts
from sparseloom.model.reference import linear
from sparseloom.sim.beats import write_beats
from sparseloom.sim.build import build_simulator
from sparseloom.sim.errors import SimulationError, reported
from sparseloom.sim.job_streams import decode_jobs, good_packets, job_streams
from sparseloom.sim.layer import unit_verilog
from sparseloom.sim.progress import ResultWatch
from sparseloom.sim.queue_plans import run_plans
from sparseloom.sim.run import replay_command, run_folder

POLL = 200
"""Cycles between two looks for a place in the queue: Python is slow, jobs are long."""
QUIET = 64
"""Nothing may come in so many cycles after the last result."""

LayerQueue = Sequence[tuple[PackedLayer, np.ndarray]]
"""Layers in their order, each with its activations: int8, shape (M, K)."""


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
    predicted_cycles : int
        ``cycles`` by the cycle model, which pushes each job as soon as there is a place.
    predicted : dict of str to int
        ``counters`` by the cycle model, with the pushes as they were.
    ideal_cycles : int
        Array work alone.
    load_cycles : int
        Beats of the first job's activations: nothing can be computed before they are there.
    outputs, mismatches : int
        Results compared with the integer oracle, and those that differ.
    """

    name: str
    layers: int
    jobs: int
    cycles: int
    counters: dict[str, int]
    counted_cycles: int
    predicted_cycles: int
    predicted: dict[str, int]
    ideal_cycles: int
    load_cycles: int
    outputs: int
    mismatches: int

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
        found = {
            "mismatches": (0, self.mismatches),
            "cycles by the unit's counters": (self.cycles, self.counted_cycles),
            "cycles by the cycle model": (self.cycles, self.predicted_cycles),
            "sum of the counters": (self.counters["busy"], sum(self.counters.values())
                                    - self.counters["busy"]),
            **{f"{name} by the cycle model": (self.counters[name], value)
               for name, value in self.predicted.items()}}
        return [f"{what}: expected {expected}, found {value}"
                for what, (expected, value) in found.items() if expected != value]

    def as_dict(self) -> dict[str, object]:
        """JSON-ready."""
        return {**asdict(self), "utilisation": self.utilisation,
                "compute_over_load_and_compute": self.compute_over_load_and_compute,
                "problems": self.problems()}


def run_layer_queues(queues: Mapping[str, LayerQueue], config: ArrayConfig, *, poll: int = POLL,
                     folder: Path | None = None, cache: Path | None = None,
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
    poll : int
        Cycles between two looks for a place in the queue, when it is full. It only has to be short
        against ``queue_depth`` jobs.
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
    sizes = {name: [split_tokens(len(x), inputs=layer.in_features, config=config)
                    for layer, x in queue] for name, queue in queues.items()}
    simulator = build_simulator(unit_verilog(config, cache), bus_bytes=config.bus_bytes,
                                cache=cache, long_run=long_run)
    if built is not None:
        built()
    keep = folder is not None
    folder = run_folder(folder, "layers", cache)
    plans = [_write(folder, number, queue, sizes[name], config, poll)
             for number, (name, queue) in enumerate(queues.items())]
    total = sum(plan["expect"]["result_bytes"] for plan in plans)
    with ResultWatch(folder, title, total, config.bus_bytes, progress):
        outcomes = run_plans(simulator, folder, plans, [f"queue {name}" for name in queues])
    found = []
    for (name, queue), plan, outcome in zip(queues.items(), plans, outcomes, strict=True):
        try:
            if problem := _problem(plan, outcome):
                raise SimulationError(problem)
            found.append(_found(name, queue, sizes[name], config, outcome,
                                folder / plan["results"]))
        except SimulationError as error:
            raise SimulationError(f"queue {name}: {error}; to run it again: "
                                  f"{replay_command(folder)}") from None
    if not keep and not any(run.mismatches for run in found):
        shutil.rmtree(folder)
    return found


def _jobs(queue: LayerQueue, sizes: list[list[int]]) -> list[tuple[PackedLayer, np.ndarray]]:
    """Each job's layer and its part of the activations."""
    jobs = []
    for (layer, x), parts in zip(queue, sizes, strict=True):
        ends = np.cumsum(parts)
        jobs += [(layer, x[end - part:end]) for end, part in zip(ends, parts, strict=True)]
    return jobs


def _write(folder: Path, number: int, queue: LayerQueue, sizes: list[list[int]],
           config: ArrayConfig, poll: int) -> dict:
    """Stream files of a queue; its entry in the bench's plan, and what must come out."""
    parts = _jobs(queue, sizes)
    streams = job_streams([(layer, len(x)) for layer, x in parts], config)
    acts = [encode_acts(x, rows=config.rows, cols=config.cols) for _, x in parts]
    jobs, results = streams.descriptors, sum(streams.result_bytes)
    files = {stream: f"{stream}{number}.bin" for stream in ("weights", "acts")}
    beats = {"weights": write_beats(folder / files["weights"], streams.weights, config.bus_bytes),
             "acts": write_beats(folder / files["acts"], acts, config.bus_bytes), "late": 0}
    early = min(len(jobs), config.queue_depth)
    return {
        **files, "jobs": jobs, "early": early, "late_wait": 0, "poll": poll, "quiet": QUIET,
        # The last descriptor is still being checked, a cycle a group of tokens.
        "wait": 4 + max(-(-job["tokens"] // config.rows) for job in jobs[:early]),
        "gaps": dict.fromkeys(("weights", "acts", "results"), 0), "seed": 1,
        # Generous: a unit that takes longer than every word on every port after the other hangs.
        "limit": (20_000 + 10 * (streams.work + results + sum(beats.values()))
                  + 10 * poll * len(jobs)),
        "results": f"results{number}.hex", "expect": {"beats": beats, "result_bytes": results}}


def _problem(plan: dict, outcome: dict) -> str | None:
    """What is wrong about a queue, its results and cycles aside."""
    if outcome["error"]:
        return f"the unit {reported(outcome['error'])}"
    if outcome["violations"]:
        return f"the unit broke a rule of AXI4-Stream {outcome['violations']} times"
    for stream, count in plan["expect"]["beats"].items():
        if outcome["beats"][stream] != count:
            return f"expected {count} {stream} beats, found {outcome['beats'][stream]}"
    return None


def _found(name: str, queue: LayerQueue, sizes: list[list[int]], config: ArrayConfig,
           outcome: dict, file: Path) -> QueueRun:
    """A queue's results beside the oracle's, its cycles beside the model's."""
    jobs = _jobs(queue, sizes)
    packets = good_packets(file, len(jobs), config.bus_bytes)
    results = decode_jobs(packets, [(layer, len(x)) for layer, x in jobs], config)
    outputs = mismatches = 0
    for (layer, x), values in zip(jobs, results, strict=True):
        outputs += values.size
        mismatches += int(np.count_nonzero(values != linear(layer, x)))
    shape = UnitShape.of(config)
    units = [job for layer, x in queue
             for job in layer_jobs(UnitJob.of(layer, len(x), shape), shape)]
    groups = -(-units[0].tokens // config.rows)
    # The unit is busy from the cycle after the queue took the first descriptor.
    early = outcome["first_act"] - (outcome["pushes"][0] + timing.PUSH + 1)
    return QueueRun(
        name=name, layers=len(queue), jobs=len(jobs),
        cycles=outcome["end"] - outcome["first_act"] + 1, counters=outcome["counters"],
        counted_cycles=outcome["counters"]["busy"] - early,
        predicted_cycles=predict(units, shape).cycles,
        predicted=predict(units, shape, pushes=outcome["pushes"]).counters(),
        ideal_cycles=sum(ideal_cycles(layer, rows=config.rows, cols=config.cols, tokens=len(x))
                         for layer, x in jobs),
        load_cycles=-(-units[0].inputs * groups * config.rows // config.bus_bytes),
        outputs=outputs, mismatches=mismatches)
