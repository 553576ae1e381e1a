"""Random queues of jobs, and their cycles in RTL beside those of the cycle model.

Everything about a queue follows from its build and seed: ``python -m sparseloom.sim.queues BUILD
SEED`` runs one again and prints what the unit counted and what the model says.
"""
import argparse
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.packed import spec
from sparseloom.model.packed.cycles import (
    UnitJob,
    UnitShape,
    delay_bounds,
    predict,
)
from sparseloom.model.packed.layer import PackedLayer, pack_layer
from sparseloom.model.packed.stream import encode_acts
from sparseloom.sim.beats import write_beats
from sparseloom.sim.build import build_simulator
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.job_streams import job_streams
from sparseloom.sim.queue_plans import run_plans
from sparseloom.sim.run import replay_command, run_folder
from sparseloom.sim.verilog import unit_verilog

BUILDS = {
    "1x1": ArrayConfig(rows=1, cols=1, max_k=40, act_words=130, bus_bits=64, queue_depth=1),
    "1x7": ArrayConfig(rows=1, cols=7, max_k=150, act_words=150, bus_bits=32, block_inputs=8),
    "2x1": ArrayConfig(rows=2, cols=1, max_k=300, act_words=400, bus_bits=128, lanes=1,
                       queue_depth=3),
    "3x5": ArrayConfig(rows=3, cols=5, max_k=45, act_words=100, bus_bits=32, block_inputs=8,
                       queue_depth=2),
    "4x4": ArrayConfig(rows=4, cols=4, max_k=256, act_words=512, bus_bits=64),
    "5x2": ArrayConfig(rows=5, cols=2, max_k=200, act_words=600, bus_bits=64, lanes=5,
                       queue_depth=16),
    "6x2": ArrayConfig(rows=6, cols=2, max_k=500, act_words=900, bus_bits=32, lanes=6,
                       block_inputs=32, queue_depth=8),
    "8x4": ArrayConfig(rows=8, cols=4, max_k=72, act_words=144, bus_bits=128, block_inputs=32),
    "9x2": ArrayConfig(rows=9, cols=2, max_k=700, act_words=900, bus_bits=64, lanes=9,
                       queue_depth=8),
    "12x6": ArrayConfig(rows=12, cols=6, max_k=384, act_words=1536, bus_bits=64, lanes=2),
    "12x12": ArrayConfig(rows=12, cols=12, max_k=384, act_words=1536, bus_bits=64),
    "3x5w4": ArrayConfig(rows=3, cols=5, max_k=120, act_words=240, bus_bits=32, block_inputs=8,
                         weight_bits=4),
    "2x8w4": ArrayConfig(rows=2, cols=8, max_k=300, act_words=600, bus_bits=128, weight_bits=4),
}
"""Builds of the comparison: every bus width, both widths of weights, one lane to all rows."""
SMALL = ("1x1", "1x7", "2x1", "3x5", "4x4", "6x2", "8x4", "3x5w4", "2x8w4")
"""Those that compile in seconds; of two with a lane a row and one width of weights, one."""

WORK = 2500
"""Cycles of work, about, that a random job has at most."""
DENSITIES = (0.0, 0.02, 0.1, 0.3, 0.6, 1.0)


@dataclass(frozen=True, kw_only=True, eq=False)
class Queue:
    """Jobs for one build, how they are pushed, and pauses of the streams.

    Parameters
    ----------
    build : str
        Key of :data:`BUILDS`.
    seed : int
    layers : list of PackedLayer
    tokens : list of int
    early : int
        Jobs pushed before the first beat; the first ``queue_depth`` at most.
    wait, late_wait : int
        Cycles between the early pushes and the first beat, and before each later push.
    gaps : dict of str to int
        Pauses of each stream in 256ths; all 0 for the exact comparison.
    """

    build: str
    seed: int
    layers: list[PackedLayer]
    tokens: list[int]
    early: int
    wait: int
    late_wait: int
    gaps: dict[str, int]

    @property
    def config(self) -> ArrayConfig:
        """The build."""
        return BUILDS[self.build]

    def jobs(self) -> list[UnitJob]:
        """As the cycle model wants them."""
        shape = UnitShape.of(self.config)
        return [UnitJob.of(layer, tokens, shape)
                for layer, tokens in zip(self.layers, self.tokens, strict=True)]


@dataclass(frozen=True, kw_only=True)
class Found:
    """One queue in RTL and by the model.

    Parameters
    ----------
    build, seed : str, int
        Which queue.
    jobs : int
    stalled : bool
        The streams paused.
    measured, predicted : dict of str to int
        The unit's counters, and ``first_act`` and ``end`` as the bench saw them: first activation
        beat and last result beat, cycle 0 being the first in which beats may be offered.
    stalls : dict of str to int
        Cycles in which the bench alone held up each port.
    """

    build: str
    seed: int
    jobs: int
    stalled: bool
    measured: dict[str, int]
    predicted: dict[str, int]
    stalls: dict[str, int]

    @property
    def holds(self) -> bool:
        """Equal without pauses; within the bounds with them."""
        if not self.stalled:
            return self.measured == self.predicted
        # First to last beat: the first may be late as well.
        late = self.measured["first_act"] - self.predicted["first_act"]
        return (self.measured["active"] == self.predicted["active"]
                and 0 <= late <= self.stalls["acts"]
                and all(low <= self.measured[name] <= high
                        for name, (low, high) in self.bounds().items()))

    def bounds(self) -> dict[str, tuple[int, int]]:
        """What pauses allow: ``busy`` and the ``end``."""
        return {name: delay_bounds(self.predicted[name], self.stalls) for name in ("busy", "end")}

    def replay(self) -> str:
        """The command that runs it again."""
        return (f"{Path(sys.executable).name} -m sparseloom.sim.queues {self.build} {self.seed}"
                + (" --stalled" if self.stalled else ""))


def random_queue(build: str, seed: int, *, stalled: bool = False) -> Queue:
    """A queue of random shapes, masks, flags and pushes.

    Parameters
    ----------
    build : str
        Key of :data:`BUILDS`.
    seed : int
        0 or more.
    stalled : bool
        The same queue with pauses of random length on random ports.
    """
    config = BUILDS[build]
    rng = np.random.default_rng([list(BUILDS).index(build), seed])
    count = int(rng.integers(1, min(config.queue_depth, 5) + 3))
    layers, tokens = [], []
    for number in range(count):
        layers.append(_layer(rng, config, f"job{number}"))
        most = min(config.act_words // layers[-1].in_features, 40,
                   1 + WORK // (1 + layers[-1].out_features * config.rows // 4))
        groups = int(rng.integers(1, max(2, most + 1)))
        tokens.append(int(rng.integers((groups - 1) * config.rows + 1, groups * config.rows + 1)))
    full = min(count, config.queue_depth)
    early = full if rng.random() < 0.7 else int(rng.integers(1, full + 1))
    gaps: dict[str, int] = dict.fromkeys(("weights", "acts", "results"), 0)
    if stalled:
        ports = rng.random(3) < 0.6
        ports[rng.integers(3)] = True
        for port, used in zip(gaps, ports, strict=True):
            gaps[port] = int(rng.choice((20, 100, 200, 245))) if used else 0
    return Queue(build=build, seed=seed, layers=layers, tokens=tokens, early=early,
                 wait=int(rng.integers(0, 2) * rng.integers(0, 60)),
                 late_wait=int(rng.integers(0, 2) * rng.integers(0, 400)), gaps=gaps)


def _layer(rng: np.random.Generator, config: ArrayConfig, name: str) -> PackedLayer:
    inputs = int(rng.integers(1, config.max_k + 1) if rng.random() < 0.6
                 else rng.integers(1, min(config.max_k, 24) + 1))
    outputs = int(rng.integers(1, 1 + config.cols * rng.integers(1, 7)))
    p, q = int(rng.integers(1, min(outputs, 30) + 1)), int(rng.integers(1, min(inputs, 32) + 1))
    structure = str(rng.choice(("column", "block", "row")))
    density = rng.choice(DENSITIES)
    keep = random_mask(rng, inputs=inputs, outputs=outputs, p=p, q=q, structure=structure,
                       density=density)
    for first in range(0, outputs, config.cols):    # empty and full strips among the others
        kind = rng.random()
        if kind < 0.2:
            keep[first:first + config.cols] = kind < 0.08
    limit = spec.WEIGHT_LIMIT[config.weight_bits]
    weight = rng.integers(-limit, limit + 1, (outputs, inputs)).astype(np.int8)
    weight[~keep] = 0
    kind = rng.random()
    lut = rng.integers(-128, 128, 256).astype(np.int8) if kind < 0.3 else None
    return pack_layer(
        name=name, weight=weight, keep=keep, structure=structure, p=p, q=q,
        bias=rng.integers(-1000, 1000, outputs).astype(np.int32),
        mult=np.full(outputs, 1 << 15, np.uint16), shift=np.full(outputs, 20, np.uint8),
        weight_scale=np.ones(outputs, np.float32), input_scale=1.0, input_zero_point=0,
        output_scale=1.0, output_zero_point=int(rng.integers(-20, 20)), lut=lut,
        raw=bool(kind > 0.6), lut_scale=0.0 if lut is None else 1.0,
        weight_bits=config.weight_bits)


def random_mask(rng: np.random.Generator, *, inputs: int, outputs: int, p: int, q: int,
                structure: str, density: float) -> np.ndarray:
    """Which weights survive, in groups that may reach beyond the matrix: bool, shape (N, K)."""
    grid = (-(-outputs // p), -(-inputs // q))
    if structure == "column":
        keep = np.repeat(rng.random((grid[0], inputs)) < density, p, axis=0)[:outputs]
    elif structure == "block":
        keep = np.kron(rng.random(grid) < density, np.ones((p, q), bool))[:outputs, :inputs]
    else:
        keep = np.repeat(rng.random((outputs, grid[1])) < density, q, axis=1)[:, :inputs]
    return keep.astype(bool)


def run_queues(queues: list[Queue], *, folder: Path | None = None, cache: Path | None = None,
               ) -> list[Found]:
    """Run queues of one build in RTL, one simulation for all, and predict each.

    Parameters
    ----------
    queues : list of Queue
        Of the same build.
    folder : Path, optional
        Keep the simulation's data there; by default it is deleted where all went well.
    cache : Path, optional
        As in :func:`~sparseloom.sim.build.build_simulator`.

    Raises
    ------
    SimulationError
        If the unit reports an error, hangs or breaks a stream rule.
    """
    config = queues[0].config
    simulator = build_simulator(unit_verilog(config, cache), bus_bytes=config.bus_bytes,
                                cache=cache)
    keep = folder is not None
    folder = run_folder(folder, f"queues-{queues[0].build}", cache)
    plans = [_write(folder, number, queue) for number, queue in enumerate(queues)]
    outcomes = run_plans(simulator, folder, plans,
                         [f"build {queue.build}, seed {queue.seed}" for queue in queues])
    found = []
    for queue, outcome in zip(queues, outcomes, strict=True):
        if outcome["error"]:
            raise SimulationError(f"build {queue.build}, seed {queue.seed}: error "
                                  f"{outcome['error']}; to run it again: {replay_command(folder)}")
        free = predict(queue.jobs(), UnitShape.of(config), pushes=outcome["pushes"])
        found.append(Found(
            build=queue.build, seed=queue.seed, jobs=len(queue.layers),
            stalled=any(queue.gaps.values()), stalls=outcome["stalls"],
            measured={**outcome["counters"], "first_act": outcome["first_act"],
                      "end": outcome["end"]},
            predicted={**free.counters(), "first_act": free.first_act, "end": free.ends[-1]}))
    if not keep:
        shutil.rmtree(folder)
    return found


def _write(folder: Path, number: int, queue: Queue) -> dict:
    """Stream files of a queue; its entry in the plan."""
    config, rng = queue.config, np.random.default_rng(queue.seed)
    jobs = list(zip(queue.layers, queue.tokens, strict=True))
    streams = job_streams(jobs, config)
    acts = [encode_acts(rng.integers(-128, 128, (tokens, layer.in_features), np.int8),
                        rows=config.rows, cols=config.cols) for layer, tokens in jobs]
    size = (sum(map(len, streams.weights)) + sum(map(len, acts))
            + 10 * sum(streams.result_bytes) + streams.work)
    write_beats(folder / f"weights{number}.bin", streams.weights, config.bus_bytes)
    write_beats(folder / f"acts{number}.bin", acts, config.bus_bytes)
    slow = 1 + max(queue.gaps.values()) // 8
    return {"jobs": streams.descriptors, "early": queue.early, "wait": queue.wait,
            "late_wait": queue.late_wait, "poll": 1, "quiet": 0, "gaps": queue.gaps,
            "seed": 1 + queue.seed, "limit": slow * (20_000 + 10 * size)}


def main() -> None:
    """Run one queue again and print both sides."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("build", choices=BUILDS)
    parser.add_argument("seed", type=int)
    parser.add_argument("--stalled", action="store_true", help="with pauses on the streams")
    chosen = parser.parse_args()
    queue = random_queue(chosen.build, chosen.seed, stalled=chosen.stalled)
    for layer, tokens in zip(queue.layers, queue.tokens, strict=True):
        job = UnitJob.of(layer, tokens, UnitShape.of(queue.config))
        print(f"K {job.inputs}, N {job.outputs}, M {job.tokens}"
              f"{', raw' * job.raw}{', lut' * job.lut}: columns {job.columns}")
    found = run_queues([queue])[0]
    print(f"{'':14}{'measured':>10}{'model':>10}")
    for name, value in found.measured.items():
        note = "" if value == found.predicted[name] else "   differs"
        if found.stalled:
            low, high = found.bounds().get(name, (0, 0))
            note = f"   {low} to {high}" if high else ""
        print(f"{name:14}{value:10}{found.predicted[name]:10}{note}")
    print(f"held up by the bench: {found.stalls}")
    sys.exit(not found.holds)


if __name__ == "__main__":
    main()
