"""An exploration: candidates to points, points to the front."""
from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.progress import Progress

from sparseloom.hw.clock import Clock, nearest_clock
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.devices import find_device
from sparseloom.hw.resources import ResourceModel, Resources
from sparseloom.model.errors import InputError
from sparseloom.model.packed.cycles import UnitShape
from sparseloom.model.progress import stage
from sparseloom.sim.explore.farm import Farm
from sparseloom.sim.explore.front import pareto_front
from sparseloom.sim.explore.masks import ModelMasks
from sparseloom.sim.explore.measure import Build, measure_build
from sparseloom.sim.explore.point import chunks_of, evaluate_chunk, point_key
from sparseloom.sim.explore.scores import NONE, Score, Scores
from sparseloom.sim.explore.space import Axes, fitting_builds
from sparseloom.sim.explore.store import PointStore
from sparseloom.sim.explore.workload import Pruning, Workload

CHUNK = 16
"""Points that a worker computes in one go: long beside a scheduler's millisecond a task, and little
to do again if the worker dies."""


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is explored.

    Parameters
    ----------
    workload : Workload
    axes : Axes
    device : str
        Key of :data:`~sparseloom.hw.devices.DEVICES`.
    tokens : int
        M of every layer.
    fill : float
        Share of look-up tables and flip-flops that may be used.
    clock_mhz : float, optional
        Of every build; by default that of the nearest measured fit.
    scores : Scores
        Measured ones.
    resources : ResourceModel

    Raises
    ------
    InputError
        For a number out of range, or an unknown device.
    """

    workload: Workload
    axes: Axes
    device: str
    resources: ResourceModel
    tokens: int = 128
    fill: float = 0.9
    clock_mhz: float | None = None
    scores: Scores = NONE

    def __post_init__(self):
        find_device(self.device)
        if not 1 <= self.tokens <= 65535:
            raise InputError(f"tokens: expected 1 to 65535, found {self.tokens}")
        if not 0 < self.fill <= 1:
            raise InputError(f"fill: expected more than 0 and at most 1, found {self.fill:g}")
        if self.clock_mhz is not None and not 0 < self.clock_mhz < float("inf"):
            raise InputError(f"clock: expected more than 0 MHz, found {self.clock_mhz:g}")

    def clock(self, config: ArrayConfig) -> Clock:
        """What a build is taken to run at.

        Raises
        ------
        InputError
            If none is given, and there is no measured fit.
        """
        if self.clock_mhz is not None:
            return Clock(mhz=self.clock_mhz, source="given")
        clock = nearest_clock(config, self.device, self.resources.clocks)
        if clock is None:
            raise InputError("--clock-mhz: expected a clock, since no measured fit is known")
        return clock


@dataclass(frozen=True, kw_only=True)
class Point:
    """A build, a pruning, and what follows from them.

    Parameters
    ----------
    config : ArrayConfig
    pruning : Pruning
    masks : str
        Kind of the masks, see :class:`~.masks.ModelMasks`.
    compression : float
        Of the masks, near the one asked for.
    cycles, ideal_cycles : int
        Of all layers, by the cycle model; of the array's work alone.
    resources : Resources
    clock : Clock
    score : Score, optional
        Measured, or none.
    measured : str, optional
        ``synth`` or ``fit`` where ``resources`` are measured, not estimated.
    """

    config: ArrayConfig
    pruning: Pruning
    masks: str
    compression: float
    cycles: int
    ideal_cycles: int
    resources: Resources
    clock: Clock
    score: Score | None = None
    measured: str | None = None

    @property
    def latency_ms(self) -> float:
        """Cycles over the clock."""
        return self.cycles / (1000 * self.clock.mhz)

    @property
    def utilisation(self) -> float:
        """The array's work over the cycles."""
        return self.ideal_cycles / self.cycles

    def costs(self, *, by_score: bool) -> tuple[float, ...]:
        """What the front makes small.

        Without scores a model that keeps more weights, and more bits of each, stands for the more
        accurate one.
        """
        quality = ((-self.score.value,) if by_score and self.score is not None
                   else (self.pruning.compression, -self.config.weight_bits))
        cells = self.resources
        return (*quality, self.latency_ms, cells.comb, cells.dsp, cells.bram)


OBJECTIVES = ("latency", "LUT", "DSP", "BRAM")


@dataclass(kw_only=True)
class Findings:
    """What an exploration found.

    Parameters
    ----------
    question : Question
    points : list of Point
        Every candidate within the device's limits.
    front : list of int
        Indices of those that no other one beats.
    refused : Counter of str
        Builds and prunings that were left out, by reason.
    distinct, computed : int
        Points of the cycle model (candidates whose cycles are equal for sure share one), and those
        of them that this run computed.
    seconds : float
        Of computing them.
    notes : list of str
        What went wrong with a build that was to be measured.
    """

    question: Question
    points: list[Point]
    front: list[int] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)
    distinct: int = 0
    computed: int = 0
    seconds: float = 0.0
    measured: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def by_score(self) -> bool:
        """Whether the front is over measured scores."""
        return any(point.score is not None for point in self.points)

    def find_front(self) -> None:
        """Set ``front``: over scores where any is known, among the points that have one."""
        chosen = [index for index, point in enumerate(self.points)
                  if point.score is not None or not self.by_score]
        costs = [self.points[index].costs(by_score=self.by_score) for index in chosen]
        found = [chosen[place] for place in pareto_front(costs)]
        self.front = sorted(found, key=lambda index: (self.points[index].latency_ms,
                                                      self.points[index].pruning, index))


def explore(question: Question, farm: Farm, store: PointStore,
            progress: Progress | None = None) -> Findings:
    """Every candidate within the limits, and the front.

    Parameters
    ----------
    question : Question
    farm : Farm
        What computes; the findings do not depend on it.
    store : PointStore
        Points that are there are not computed; new ones are added as they come.
    progress : rich Progress, optional

    Raises
    ------
    InputError
        If no candidate is left, with the reasons.
    """
    workload, axes = question.workload, question.axes
    device = find_device(question.device)
    # A context has as many inputs as the sentence has tokens.
    most = max([workload.max_inputs, *(max(question.tokens, one.size)
                                       for one in workload.attention)])
    builds, refused = fitting_builds(axes, most, device, question.resources, question.fill)
    masks, failed = _masks(workload, axes.prunings(), progress)
    refused.update(failed)
    if not builds or not masks:
        raise InputError(f"no candidate for {device.part} is left: "
                         + "; ".join(f"{count} × {reason}" for reason, count in refused.items()))
    shapes = [UnitShape.of(config) for config, _ in builds]
    keys = {pruning: [point_key(found, shape, question.tokens) for shape in shapes]
            for pruning, found in masks.items()}
    cycles, computed, seconds = _cycles(question, masks, shapes, keys, farm, store, progress)
    clocks = [question.clock(config) for config, _ in builds]
    findings = Findings(question=question, refused=refused, distinct=len(cycles),
                        computed=computed, seconds=seconds, points=[
                            Point(config=config, pruning=pruning, masks=found.kind,
                                  compression=found.compression, cycles=cycles[key]["cycles"],
                                  ideal_cycles=cycles[key]["ideal_cycles"], resources=resources,
                                  clock=clock,
                                  score=question.scores.find(pruning, config.weight_bits))
                            for pruning, found in masks.items()
                            for (config, resources), clock, key in zip(
                                builds, clocks, keys[pruning], strict=True)])
    findings.find_front()
    return findings


def _masks(workload: Workload, prunings: Sequence[Pruning], progress: Progress | None,
           ) -> tuple[dict[Pruning, ModelMasks], Counter[str]]:
    """Masks of each pruning that the workload allows; why not, of the others."""
    masks: dict[Pruning, ModelMasks] = {}
    shared: dict[Any, ModelMasks] = {}
    refused: Counter[str] = Counter()
    with stage(progress, "masks", len(prunings)) as advance:
        for pruning in prunings:
            # q is no part of a column's group.
            alike = (pruning.structure, pruning.groups, pruning.compression)
            try:
                if alike not in shared:
                    shared[alike] = workload.masks(pruning)
                masks[pruning] = shared[alike]
            except InputError as error:
                refused[str(error)] += 1
            advance(1)
    return masks, refused


def _cycles(question: Question, masks: Mapping[Pruning, ModelMasks], shapes: Sequence[UnitShape],
            keys: Mapping[Pruning, Sequence[str]], farm: Farm, store: PointStore,
            progress: Progress | None) -> tuple[dict[str, dict[str, Any]], int, float]:
    """Records of all points by key, how many were computed, and in how many seconds."""
    there = store.read(key for each in keys.values() for key in each)
    distinct = set().union(*keys.values())
    chunks, planned = [], set(there)
    for pruning, found in masks.items():
        missing = {key: shape for key, shape in zip(keys[pruning], shapes, strict=True)
                   if key not in planned}
        planned |= set(missing)
        chunks += chunks_of(found, question.tokens, missing.items(), CHUNK)
    count = sum(len(chunk.keys) for chunk in chunks)
    began = time.perf_counter()
    with stage(progress, "points", count) as advance:
        for records in farm.results(evaluate_chunk, chunks) if chunks else ():
            store.add(records)
            there |= {record["key"]: record for record in records}
            advance(len(records))
    assert distinct <= set(there)
    return there, count, time.perf_counter() - began


def measure_front(findings: Findings, farm: Farm, store: PointStore, *, kind: str, most: int,
                  seeds: int, work: Path, progress: Progress | None = None) -> None:
    """Measure builds of the front, the fastest first, and find the front again.

    A build that turns out not to fit is left out from then on.

    Parameters
    ----------
    findings : Findings
        Changed in place.
    farm, store
        As in :func:`explore`; what was measured before is not measured again.
    kind : str
        ``synth`` or ``fit``.
    most : int
        Builds.
    seeds : int
        Of place and route.
    work : Path
        Folder of runs of the tools, where the workers are.
    """
    points, device = findings.points, findings.question.device
    configs = list(dict.fromkeys(points[index].config for index in findings.front))[:most]
    builds = {config: Build(config=config, device=device, kind=kind, seeds=seeds, work=work)
              for config in configs}
    keys = {config: build.key for config, build in builds.items()}
    there = store.read(keys.values())
    missing = [build for config, build in builds.items() if keys[config] not in there]
    with stage(progress, f"builds: {kind}", len(missing)) as advance:
        for record in farm.results(measure_build, missing) if missing else ():
            store.add([record])
            there[record["key"]] = record
            advance(1)
    findings.measured = len(missing)
    kept = []
    for point in points:
        record = there[keys[point.config]] if point.config in keys else None
        if record is None:
            kept.append(point)
        elif "refused" not in record:
            cells = Resources(**{name: record[name]
                                 for name in ("lut4", "comb", "ff", "dsp", "bram")})
            given = findings.question.clock_mhz is not None
            clock = (Clock(mhz=record["mhz"], source="measured")
                     if "mhz" in record and not given else point.clock)
            kept.append(replace(point, resources=cells, clock=clock, measured=kind))
    for config in configs:
        if "refused" in (record := there[keys[config]]):
            findings.notes.append(f"{config.rows} × {config.cols}: {record['refused']}")
            findings.refused["measured: does not fit"] += 1
    findings.points = kept
    findings.find_front()
