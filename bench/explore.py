"""Points of the cycle model a minute, on Dask and in one process: ``python -m bench.explore``.

Two sweeps: shapes of MiniLM with balanced masks, and 36 different layers of its size pruned by
norms, as a real checkpoint has them. The bar is the first one's: points a minute of ``CORES`` cores
by the processor time of all processes, and, where the machine does nothing else (its load is below
``QUIET``), by the clock on the wall as well. Both figures, the load and by which the bar was judged
are recorded.
"""
from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.device import git_revision, processor
from bench.folders import Folders, read_json, write_json
from sparseloom.hw.resources import resource_model
from sparseloom.sim.explore.encoders import find_encoder
from sparseloom.sim.explore.farm import Dask, Farm, Serial, open_farm
from sparseloom.sim.explore.masks import Heads, LayerMask, ModelMasks
from sparseloom.sim.explore.run import Findings, Question, explore
from sparseloom.sim.explore.space import Axes
from sparseloom.sim.explore.store import PointStore
from sparseloom.sim.explore.workload import (
    Pruning,
    ShapeWorkload,
    Workload,
    columns_by_norm,
    find_workload,
)

ROOT = Path(__file__).resolve().parents[1]
CORES = 2
BAR = 5000
"""Points a minute on ``CORES`` cores."""
QUIET = 1.0
"""Load below which the clock on the wall tells of this run alone."""
MODEL, DEVICE, TOKENS, SEED = "minilm", "85k", 128, 1
SWEEP = Axes(arrays=tuple((rows, cols) for rows in (4, 8, 12, 16) for cols in range(4, 25, 2)),
             blocks=((12, 16), (24, 16)), compressions=(1.0, 2.0, 3.0, 5.0),
             bus_bits=(32, 64, 128))
"""Arrays that fit the device, three buses, two heights of blocks, four compressions."""


@dataclass(frozen=True)
class NormWorkload:
    """Every layer of an encoder with random weights of its own, pruned by norms."""

    name: str

    @property
    def max_inputs(self) -> int:
        """The largest K."""
        return find_workload(self.name).max_inputs

    @property
    def attention(self) -> tuple[Heads, ...]:
        """Of the encoder's shapes."""
        return find_encoder(self.name).attention()

    def masks(self, pruning: Pruning) -> ModelMasks:
        """By norms of seeded weights."""
        import torch

        generator = torch.Generator().manual_seed(SEED)
        kinds = [(outputs, inputs, kind) for outputs, inputs, kind, count
                 in find_encoder(self.name).linears() for _ in range(count)]
        weights = {f"layer.{place}": torch.randn((outputs, inputs), generator=generator)
                   for place, (outputs, inputs, _) in enumerate(kinds)}
        columns = columns_by_norm(weights, pruning)
        return ModelMasks(kind="norms", attention=self.attention, layers=tuple(
            LayerMask.of(columns[name], outputs=outputs, p=pruning.p, raw=kind == "raw",
                         lut=kind == "lut")
            for name, (outputs, _, kind) in zip(weights, kinds, strict=True)))


def timed(workload: Workload, axes: Axes, farm: Farm, store: PointStore,
          ) -> tuple[Findings, dict[str, Any]]:
    """A sweep, and its points a minute."""
    began, cpu = time.perf_counter(), processor_seconds(farm)
    found = explore(Question(workload=workload, axes=axes, device=DEVICE, tokens=TOKENS,
                             resources=resource_model()), farm, store)
    cpu = processor_seconds(farm) - cpu
    return found, {
        "points": found.distinct, "computed": found.computed, "front": len(found.front),
        "seconds": round(found.seconds, 2), "seconds_in_all": round(time.perf_counter() - began, 2),
        "cpu_seconds": round(cpu, 2),
        "points_per_minute": int(60 * found.computed / found.seconds) if found.computed else None,
        "points_per_minute_by_cpu": int(60 * CORES * found.computed / cpu) if found.computed
        else None}


def processor_seconds(farm: Farm) -> float:
    """Processor time so far: of this process, masks and front included, and of all workers."""
    workers = farm.client.run(time.process_time) if isinstance(farm, Dask) else {}
    return time.process_time() + sum(workers.values())


def workloads() -> dict[str, Workload]:
    """What is swept, by name."""
    return {"balanced": ShapeWorkload(name=MODEL, shape=find_encoder(MODEL)),
            "norms": NormWorkload(MODEL)}


def measure(name: str, farm: Farm, axes: Axes, every: int) -> dict[str, Any]:
    """One workload: on a cluster, once more, and a part of it in this process.

    ``every`` thins out the arrays of that part.
    """
    workload = workloads()[name]
    part = Axes(arrays=axes.arrays[::every], blocks=axes.blocks, compressions=axes.compressions,
                bus_bits=axes.bus_bits)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as kept, tempfile.TemporaryDirectory() as other:
        store = PointStore(Path(kept))
        first, fast = timed(workload, axes, farm, store)
        again, repeat = timed(workload, axes, farm, store)
        alone, serial = timed(workload, part, Serial(), PointStore(Path(other)))
    cycles = {(point.config, point.pruning): point.cycles for point in first.points}
    return {"dask": fast, "repeat": repeat, "serial": serial, "load_before": round(load, 1),
            "same_again": first.points == again.points and first.front == again.front,
            "same_serial": all(cycles[point.config, point.pruning] == point.cycles
                               for point in alone.points)}


def judged_by(found: Mapping[str, Any]) -> list[str]:
    """Figures that the bar is held against: the clock's only on a quiet machine."""
    clock = ["points_per_minute"] if found["load_before"] < QUIET else []
    return ["points_per_minute_by_cpu", *clock]


def holds(name: str, found: Mapping[str, Any]) -> bool:
    """Whether a workload keeps what is promised of it."""
    return (found["repeat"]["computed"] == 0 and found["same_again"] and found["same_serial"]
            and (name != "balanced" or all(found["dask"][figure] >= BAR
                                           for figure in judged_by(found))))


def main(words: Sequence[str] | None = None) -> int:
    """Measure and write ``bench/results/explore.json``; exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.explore", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--workload", choices=list(workloads()), help="only this one")
    parser.add_argument("--workers", type=int, default=CORES, help="processes of the cluster")
    parser.add_argument("--every", type=int, default=6,
                        help="in one process only each so many-th array")
    options = parser.parse_args(words)
    path = Folders(options.root).results / "explore.json"
    table = {"bar": BAR, "model": f"{MODEL}, {TOKENS} tokens", **(read_json(path) or {})}
    code = 0
    with open_farm(workers=options.workers) as farm:
        for name in [options.workload] if options.workload else workloads():
            found = measure(name, farm, SWEEP, options.every)
            table[name] = {**found, "holds": holds(name, found),
                           "judged_by": judged_by(found), "workers": options.workers,
                           "processor": processor(), "git": git_revision(ROOT),
                           "command": f"make bench-explore ARGS='--workload {name}'"}
            write_json(path, table, indent=1)
            print(f"{name}: {found['dask']['points_per_minute_by_cpu']:,} points a minute of "
                  f"{CORES} cores by processor time, {found['dask']['points_per_minute']:,} by the "
                  f"clock; {found['repeat']['computed']} computed by a repeat", flush=True)
            if not table[name]["holds"]:
                print(f"error: {name}: a bar is missed", file=sys.stderr)
                code = 1
    return code


if __name__ == "__main__":
    raise SystemExit(main())
