"""A random case: jobs, how the ports are held up, and what goes wrong; all of it from one seed.

A case is plain numbers and is played behind a reset, so that it says everything about a run.
"""
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.layer import PackedLayer, pack_layer
from sparseloom.sim.queues import BUILDS, DENSITIES, random_mask

PORTS = ("weights", "acts", "results")
PHASES = ("idle", "loading", "computing", "draining")
"""In the order of the observer's numbers, see ``bench.v``."""
STRUCTURES = ("column", "block", "row")
KINDS = ("int8", "lut", "raw")
SCALES = ("spread", "ties", "clamps", "extreme")
"""What multipliers and shifts aim at: results all over int8, exact halves, both clamps, the ends of
the permitted ranges."""
STALLS = ("free", "light", "heavy", "freeze")
CAUSES = tuple(name for name, _ in spec.ERROR_CAUSES.values() if name != "none")
ANY_SHIFT = "shifts"
"""Scale of directed cases: every shift, with biases that bring results around the clamps."""
EVENTS = tuple((kind, cause, phase) for kind, cause in (
    *(("error", cause) for cause in CAUSES), ("clear", ""), ("reset", "")) for phase in PHASES)
"""Everything that can go wrong, in each phase: kind, error cause, phase."""
ROUND = EVENTS + 2 * tuple(event for event in EVENTS if event[0] != "error")
"""Of a round: clears and resets thrice, since all depends on the cycle in which they come."""
LARGE = 0.35
"""Share of cases without event whose jobs fill the unit."""
WIDE = 0.04
"""Share of cases without event with a job of up to 65,535 outputs: sizes and counts of 16 bits."""
LATE = 0.4
"""Share of errors of weights while computing that come in a job of up to 300 strips."""

@dataclass(frozen=True, kw_only=True)
class RandomJob:
    """A layer and its activations by what they follow from.

    Parameters
    ----------
    inputs, outputs, tokens : int
        K, N and M.
    structure : str
        Of :data:`STRUCTURES`; with blocks of ``p`` outputs by ``q`` inputs.
    p, q : int
    density : float
        Share of groups that survive.
    extremes : float
        Share of strips that are empty, and as many that are full.
    kind : str
        Of :data:`KINDS`.
    scale : str
        Of :data:`SCALES`, or :data:`ANY_SHIFT`.
    seed : int
        Of weights, masks, parameters and activations.
    """

    inputs: int
    outputs: int
    tokens: int
    structure: str
    p: int
    q: int
    density: float
    extremes: float
    kind: str
    scale: str
    seed: int

    def layer(self, config: ArrayConfig, name: str) -> PackedLayer:
        """The layer, for a build's width of weights and of strips."""
        rng = np.random.default_rng([self.seed, 1])
        keep = random_mask(rng, inputs=self.inputs, outputs=self.outputs,
                           p=min(self.p, self.outputs), q=min(self.q, self.inputs),
                           structure=self.structure, density=self.density)
        for first in range(0, self.outputs, config.cols):
            kind = rng.random()
            if kind < 2 * self.extremes:
                keep[first:first + config.cols] = kind < self.extremes
        limit = spec.WEIGHT_LIMIT[config.weight_bits]
        weight = rng.integers(-limit, limit + 1, (self.outputs, self.inputs)).astype(np.int8)
        weight[~keep] = 0
        survivors = np.maximum(1, keep.sum(axis=1))
        spread = 74 * (73 if config.weight_bits == 8 else 4.3) * np.sqrt(survivors)
        bias, mult, shift = self._parameters(rng, spread)
        table = self.kind == "lut"
        return pack_layer(
            name=name, weight=weight, keep=keep, structure=self.structure,
            p=min(self.p, self.outputs), q=min(self.q, self.inputs), bias=bias, mult=mult,
            shift=shift, weight_scale=np.ones(self.outputs, np.float32), input_scale=1.0,
            input_zero_point=0, output_scale=1.0, output_zero_point=int(rng.integers(-128, 128)
                                                                        if self.scale == "extreme"
                                                                        else rng.integers(-20, 20)),
            lut=rng.integers(-128, 128, spec.LUT_ENTRIES).astype(np.int8) if table else None,
            raw=self.kind == "raw", lut_scale=float(table), weight_bits=config.weight_bits)

    def _parameters(self, rng: np.random.Generator, spread: np.ndarray,
                    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Bias, mult and shift of each output."""
        count, most = self.outputs, spec.BIAS_LIMIT - (self.inputs << spec.PRODUCT_BITS)
        bias = (rng.standard_normal(count) * spread / 2).astype(np.int64)
        bias[rng.random(count) < 0.1] = 0
        if self.scale == "extreme":
            mult = rng.choice([spec.MULT_MIN, spec.MULT_MAX], count)
            shift = rng.choice([spec.SHIFT_MIN, 16, 31, 32, spec.SHIFT_MAX], count)
            bias = np.where(rng.random(count) < 0.3, rng.choice([-most, most], count), bias)
        elif self.scale == ANY_SHIFT:
            mult = rng.integers(spec.MULT_MIN, spec.MULT_MAX + 1, count)
            shift = rng.integers(spec.SHIFT_MIN, spec.SHIFT_MAX + 1, count)
            # Around the clamps; or a product with one bit far above what the shift leaves.
            far = 2.0 ** rng.integers(0, spec.SHIFT_MAX + 2 - shift)
            aim = rng.choice((-1, 1), count) * np.where(rng.random(count) < 0.3, 0, far)
            aim += rng.uniform(-200, 200, count)
            bias = np.clip(np.rint(aim * 2.0 ** shift / mult), -most, most)
        else:
            # Ties need few places behind the point, clamps a gain above one.
            aim = {"spread": 60, "ties": 90, "clamps": 400}[self.scale]
            gain = aim / spread / np.sqrt(1.25)
            exponent = np.floor(np.log2(gain)).astype(int)
            mult = np.floor(gain / 2.0 ** exponent * spec.MULT_MIN).astype(np.int64)
            shift = np.clip(15 - exponent, spec.SHIFT_MIN, spec.SHIFT_MAX)
            if self.scale == "ties":
                mult[:] = spec.MULT_MIN
        return bias.astype(np.int32), mult.astype(np.uint16), shift.astype(np.uint8)

    def activations(self) -> np.ndarray:
        """Activations: int8, shape (M, K)."""
        rng = np.random.default_rng([self.seed, 2])
        return rng.integers(-128, 128, (self.tokens, self.inputs), np.int8)


@dataclass(frozen=True, kw_only=True)
class Stall:
    """How a port is held up.

    Parameters
    ----------
    gap : int
        Share of cycles, in 256ths.
    stop, cycles : int
        Beat at which it stops once, and for how long; never if 0 cycles.
    """

    gap: int = 0
    stop: int = 0
    cycles: int = 0

    @property
    def kind(self) -> str:
        """Of :data:`STALLS`."""
        if self.cycles:
            return "freeze"
        return "heavy" if self.gap > 64 else "light" if self.gap else "free"


@dataclass(frozen=True, kw_only=True)
class Event:
    """What goes wrong, and when.

    Parameters
    ----------
    kind : str
        ``error``, ``clear`` or ``reset``.
    cause : str
        Name of the error's cause, else empty.
    phase : str
        In which it is tried; in which it came is observed.
    pick : int
        Which of the ways to cause that error; cycles of a reset, less one, modulo 4.
    delay : int
        Cycles behind the phase's begin.
    fault : str
        Name of the spoilt packet, where it is not picked.
    """

    kind: str
    cause: str
    phase: str
    pick: int
    delay: int = 0
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Case:
    """All of one run.

    Parameters
    ----------
    build : str
        Key of :data:`~sparseloom.sim.queues.BUILDS`.
    jobs : tuple of RandomJob
        In the queue's order. With an event all are the same one, so that the ports go on with what
        is right, whatever was discarded.
    early : int
        Jobs pushed before the first beat.
    wait : int
        Cycles between them and the first beat.
    stalls : dict of str to Stall
        Of each of :data:`PORTS`.
    event : Event, optional
    seed : int
        Of the pauses, not 0.
    """

    build: str
    jobs: tuple[RandomJob, ...]
    early: int
    wait: int
    stalls: Mapping[str, Stall]
    event: Event | None
    seed: int

    @property
    def config(self) -> ArrayConfig:
        """The build."""
        return BUILDS[self.build]

    @property
    def free(self) -> bool:
        """No port is held up."""
        return all(stall.kind == "free" for stall in self.stalls.values())

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> "Case":
        """Back from :meth:`to_json`.

        Raises
        ------
        InputError
            If something is missing or unknown, or the jobs do not fit the build.
        """
        try:
            case = cls(**{
                **data, "jobs": tuple(RandomJob(**job) for job in data["jobs"]),
                "stalls": {port: Stall(**data["stalls"][port]) for port in PORTS},
                "event": None if data["event"] is None else Event(**data["event"])})
            config = case.config
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(f"case: expected the fields of a case, found {error!r}") from None
        for job in case.jobs:
            words = job.inputs * -(-job.tokens // config.rows)
            if not (1 <= job.inputs <= config.max_k and job.outputs >= 1 and job.tokens >= 1
                    and words <= config.act_words):
                raise InputError(f"case: expected jobs that fit build {case.build}, found {job}")
        return case


def draw_case(seed: int, index: int, builds: Sequence[str] = tuple(BUILDS)) -> Case:
    """Case ``index`` of a seed: depends on nothing else but the builds to choose from.

    Parameters
    ----------
    seed, index : int
        0 or more.
    builds : sequence of str
        Keys of :data:`~sparseloom.sim.queues.BUILDS`.
    """
    rng = np.random.default_rng([seed, index])
    # Every build in turn, and in every other case every event, each round in an order of its own.
    turn, place = divmod(index, len(builds))
    order = np.random.default_rng([seed, turn, 7]).permutation(len(builds)).tolist()
    build = builds[int(order[place])]
    if index % 2:
        turn, place = divmod(index // 2, len(ROUND))
        order = np.random.default_rng([seed, turn, 8]).permutation(len(ROUND)).tolist()
        return _event_case(rng, build, builds, *ROUND[order[place]],
                           rare=np.random.default_rng([seed, index, 9]))
    return _plain_case(rng, build, np.random.default_rng([seed, index, 9]))


def _stall(rng: np.random.Generator, kind: str, beats: int) -> Stall:
    if kind == "freeze":
        return Stall(gap=int(rng.choice((0, 0, 60))), stop=int(rng.integers(0, max(1, beats))),
                     cycles=int(rng.integers(300, 3000)))
    return Stall(gap={"free": 0, "light": int(rng.integers(8, 65)),
                      "heavy": int(rng.integers(128, 246))}[kind])


def _stalls(rng: np.random.Generator, jobs: Sequence[RandomJob], config: ArrayConfig, *,
            free: float) -> dict[str, Stall]:
    """Each port free, light, heavy or stopped for long; all free with the given share."""
    beats = {"weights": 0, "acts": 0, "results": 0}
    for job in jobs:
        words = -(-job.tokens // config.rows) * config.rows
        beats["weights"] += int(job.outputs * (job.inputs * job.density + 8)) // config.bus_bytes
        beats["acts"] += words * job.inputs // config.bus_bytes
        beats["results"] += words * job.outputs // config.bus_bytes
    all_free = rng.random() < free
    return {port: _stall(rng, "free" if all_free else str(rng.choice(STALLS)), beats[port])
            for port in PORTS}


def _job(rng: np.random.Generator, config: ArrayConfig, *, large: bool) -> RandomJob:
    most = int(rng.choice((config.max_k, min(config.max_k, 24)), p=(0.6, 0.4)))
    inputs = int(rng.choice([1, config.max_k, int(rng.integers(1, most + 1))],
                            p=[0.03, 0.05, 0.92]))
    outputs = int(rng.integers(1, 1 + config.cols * rng.integers(1, 25 if large else 7)))
    most = config.act_words // inputs
    groups = int(rng.integers(1, 1 + (min(most, 160) if large else min(most, 6))))
    return RandomJob(
        inputs=inputs, outputs=outputs,
        tokens=int(rng.integers((groups - 1) * config.rows + 1, groups * config.rows + 1)),
        structure=str(rng.choice(STRUCTURES)), p=int(rng.integers(1, min(outputs, 30) + 1)),
        q=int(rng.integers(1, min(inputs, 32) + 1)), density=float(rng.choice(DENSITIES)),
        extremes=0.1, kind=str(rng.choice(KINDS)),
        scale=str(rng.choice(SCALES, p=(0.55, 0.2, 0.15, 0.1))), seed=int(rng.integers(1 << 31)))


def _wide_job(rng: np.random.Generator, config: ArrayConfig) -> RandomJob:
    """Few inputs, one token group, up to all outputs that a job may have."""
    inputs = int(rng.integers(1, min(config.max_k, 3) + 1))
    return RandomJob(
        inputs=inputs, outputs=int(2 ** rng.uniform(9, 16)),
        tokens=int(rng.integers(1, config.rows + 1)), structure="column", p=1, q=1,
        density=float(rng.choice((0.3, 0.8))), extremes=0.0, kind=str(rng.choice(KINDS)),
        scale="spread", seed=int(rng.integers(1 << 31)))


def _plain_case(rng: np.random.Generator, build: str, rare: np.random.Generator) -> Case:
    config = BUILDS[build]
    large = rng.random() < LARGE
    jobs = tuple(_job(rng, config, large=large)
                 for _ in range(rng.integers(1, min(config.queue_depth, 4) + 3)))
    if rare.random() < WIDE:
        jobs = (_wide_job(rare, config), *jobs[1:])
    full = min(len(jobs), config.queue_depth)
    early = full if rng.random() < 0.7 else int(rng.integers(1, full + 1))
    return Case(build=build, jobs=jobs, early=early, wait=int(rng.integers(2) * rng.integers(60)),
                stalls=_stalls(rng, jobs, config, free=0.35), event=None,
                seed=int(rng.integers(1, 1 << 31)))


def _event_case(rng: np.random.Generator, build: str, builds: Sequence[str],
                kind: str, cause: str, phase: str, *, rare: np.random.Generator) -> Case:
    """A job that takes long enough for the event to come in its phase."""
    if (kind == "error" and phase in ("computing", "draining")) or cause == "job":
        # A second job is pushed while the first is there, if any build may.
        deep = [name for name in builds if BUILDS[name].queue_depth > 1]
        build = build if build in deep or not deep else str(rng.choice(deep))
    config = BUILDS[build]
    block = config.block_inputs
    # K ends inside a block, so that a mask may have bits beyond it.
    inputs = int(rng.integers(2, min(config.max_k, 80) + 1))
    if inputs % block == 0:
        inputs -= 1
    if phase in ("computing", "draining"):
        inputs = max(inputs, min(config.max_k, 40) - (min(config.max_k, 40) % block == 0))
    most = max(1, min(config.act_words // inputs, 30))
    groups = most if phase == "computing" else int(rng.integers(1, min(most, 6) + 1))
    # One strip, so that a fault at the stream's end comes before the array could start.
    # While results are held up, a strip can be loaded only behind one of another job.
    strips = 1 if phase == "draining" else int(rng.choice((1, 1, 1, 2)))
    if phase == "computing" and cause.startswith("acts"):
        strips = int(rng.integers(2, 7))
    outputs = int(rng.integers((strips - 1) * config.cols + 1, strips * config.cols + 1))
    if (kind == "error" and phase == "computing" and cause != "job"
            and not cause.startswith("acts") and rare.random() < LATE):
        inputs, groups = int(rare.integers(1, min(config.max_k, 4) + 1)), 1
        outputs = int(2 ** rare.uniform(3, 8.25)) * config.cols
    dense = phase in ("computing", "draining")
    job = RandomJob(
        inputs=inputs, outputs=outputs,
        tokens=int(rng.integers((groups - 1) * config.rows + 1, groups * config.rows + 1)),
        structure=str(rng.choice(STRUCTURES)), p=int(rng.integers(1, min(outputs, 8) + 1)),
        q=int(rng.integers(1, min(inputs, 8) + 1)),
        density=float(rng.choice((0.6, 0.9) if dense else (0.3, 0.6, 0.9))), extremes=0.0,
        kind=str(rng.choice(("int8", "lut", "raw") if phase != "draining" else ("int8", "lut"))),
        scale="spread", seed=int(rng.integers(1 << 31)))
    event = Event(kind=kind, cause=cause, phase=phase, pick=int(rng.integers(1 << 16)),
                  delay=int(rng.integers(0, 12)) if phase == "computing" else int(
                      rng.integers(0, 60)))
    return Case(build=build, jobs=(job,), early=1, wait=int(rng.integers(0, 60)),
                stalls={port: _stall(rng, str(rng.choice(("free", "free", "light"))), 0)
                        for port in PORTS},
                event=event, seed=int(rng.integers(1, 1 << 31)))
