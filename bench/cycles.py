"""The cycle model against the RTL's counters, and how fast it is: ``python -m bench.cycles``."""
from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.device import git_revision, processor
from bench.folders import write_json
from sparseloom.model.packed.cycles import UnitJob, UnitShape, layer_jobs, predict
from sparseloom.model.packed.strip_load import block_counts
from sparseloom.sim.queues import BUILDS, random_queue, run_queues

ROOT = Path(__file__).resolve().parents[1]
SEED_STALLED = 1000
"""First seed of the queues with pauses, away from those without."""
LAYERS, TOKENS, P = 6, 128, 24
SHAPES = ((384, 384, ""),) * 3 + ((384, 384, "raw"), (1536, 384, "lut"), (384, 1536, "raw"))
"""N, K and kind of results of the Linears of a MiniLM-L6 layer, as the integer model runs them."""


def compare(builds: list[str], *, free: int, stalled: int) -> dict[str, Any]:
    """Random queues of each build in RTL: how many the model meets, how tight the bounds are."""
    rows, misses = {}, []
    for build in builds:
        began = time.perf_counter()
        queues = [random_queue(build, seed) for seed in range(free)]
        queues += [random_queue(build, SEED_STALLED + seed, stalled=True)
                   for seed in range(stalled)]
        found = run_queues(queues)
        misses += [one.replay() for one in found if not one.holds]
        paused = [one for one in found if one.stalled]
        rows[build] = {
            "free": free, "exact": sum(one.holds for one in found if not one.stalled),
            "stalled": stalled, "in_bounds": sum(one.holds for one in paused),
            "jobs": sum(one.jobs for one in found),
            "cycles": sum(one.measured["busy"] for one in found),
            # Cycles that pauses really cost, over those that they may cost.
            "delay_over_stalls": round(
                sum(one.measured["busy"] - one.predicted["busy"] for one in paused)
                / max(1, sum(sum(one.stalls.values()) for one in paused)), 3),
            "seconds": round(time.perf_counter() - began, 1)}
        print(f"{build}: {rows[build]}", flush=True)
    return {"builds": rows, "misses": misses,
            "free": sum(row["free"] for row in rows.values()),
            "exact": sum(row["exact"] for row in rows.values()),
            "stalled": sum(row["stalled"] for row in rows.values()),
            "in_bounds": sum(row["in_bounds"] for row in rows.values())}


def masks_of(rng: np.random.Generator, density: float, cols: int) -> list[np.ndarray]:
    """Inputs that the strips of each Linear run, columns of p outputs pruned at random."""
    masks = []
    for _ in range(LAYERS):
        for outputs, inputs, _ in SHAPES:
            blocks = rng.random((outputs // P, inputs)) < density
            masks.append(blocks[np.arange(0, outputs, cols) // P])
    return masks


def speed(*, rows: int, cols: int, points: int) -> dict[str, Any]:
    """Seconds of one core for a model's cycles, masks to counts included, by density."""
    shape = UnitShape(rows=rows, cols=cols, lanes=4)
    result = {}
    for density in (1.0, 0.5, 1 / 3, 0.2, 0.1):
        masks = masks_of(np.random.default_rng(1), density, cols)
        times = []
        for _ in range(points):
            began = time.process_time()
            for mask, (outputs, inputs, kind) in zip(masks, SHAPES * LAYERS, strict=True):
                job = UnitJob(inputs=inputs, outputs=outputs, tokens=TOKENS,
                              counts=block_counts(mask, shape.block_inputs),
                              raw=kind == "raw", lut=kind == "lut")
                predict(layer_jobs(job, shape), shape)
            times.append(time.process_time() - began)
        seconds = sorted(times)[len(times) // 2]
        result[f"{density:.2f}"] = {"seconds_per_point": round(seconds, 5),
                                    "points_per_minute_and_core": int(60 / seconds)}
    return result


def main() -> None:
    """Compare, time, write ``bench/results/cycles.json``; exit code 1 if the model missed."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--builds", nargs="+", default=list(BUILDS), choices=BUILDS)
    parser.add_argument("--free", type=int, default=30, help="queues of each without pauses")
    parser.add_argument("--stalled", type=int, default=15, help="queues of each with pauses")
    parser.add_argument("--points", type=int, default=9, help="models timed of each density")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results" / "cycles.json")
    chosen = parser.parse_args()
    speeds = {f"{rows}x{cols}": speed(rows=rows, cols=cols, points=chosen.points)
              for rows, cols in ((12, 12), (8, 8))}
    found = compare(chosen.builds, free=chosen.free, stalled=chosen.stalled)
    write_json(chosen.out, {**git_revision(ROOT), "processor": processor(), **found,
                            "speed": speeds, "model": "MiniLM-L6: 36 Linears, 128 tokens"},
               indent=1)
    print(f"{found['exact']} of {found['free']} queues exact, {found['in_bounds']} of "
          f"{found['stalled']} with pauses within the bounds")
    sys.exit(bool(found["misses"]))


if __name__ == "__main__":
    main()
