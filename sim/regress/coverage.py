"""Functional coverage in named bins, from what really happened: the oracle's numbers of jobs whose
results were compared, and what the observer in the bench saw of the unit."""
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np

from sparseloom.model.packed import spec
from sparseloom.model.packed.stream import strip_columns
from sparseloom.model.reference import INT8_MAX, INT8_MIN
from sparseloom.sim.regress.case import CAUSES, KINDS, PHASES, PORTS, SCALES, STALLS, STRUCTURES
from sparseloom.sim.regress.check import good_jobs
from sparseloom.sim.regress.play import Seen, Work

CODES = {code: name for code, (name, _) in spec.ERROR_CAUSES.items()}
SOURCES = ("job", "weights", "acts")
DENSITY_BINS = (0.0, 0.05, 0.2, 0.5, 0.999)
"""Upper ends of the bins of a layer's density; above the last one it is whole."""
DENSITY_NAMES = ("nothing", "to 5 %", "to 20 %", "to 50 %", "above 50 %", "whole")

NUMBERS = (
    "clamp: low", "clamp: high", "tie: positive", "tie: negative", "result: zero", "sum: zero",
    "sum: int32 high", "sum: int32 low", "shift: least", "shift: most", "mult: least", "mult: most",
    "zero point: negative", "zero point: positive")
SHAPES = (
    "strip: empty", "strip: full", "strip: one column", "strips: one", "strips: many",
    "N: below C", "N: multiple of C", "N: between", "M: below R", "M: multiple of R", "M: between",
    "K: one", "K: max_k", "K: multiple of block", "K: inside a block", "activation buffer: full",
    "queue: one job", "queue: more jobs than places", "push: while running", "table: two in a row",
    "raw behind int8", "int8 behind raw")
EVENT_NAMES = tuple(f"{kind} while {phase}" for kind in (
    *(f"error {cause}" for cause in CAUSES), "clear", "reset") for phase in PHASES)
STALL_NAMES = tuple(f"stall of {port} while {phase}" for port in PORTS for phase in PHASES)


def mandatory(builds: Iterable[str]) -> tuple[str, ...]:
    """Bins that a run must fill."""
    return (
        *NUMBERS, *SHAPES, *EVENT_NAMES, *STALL_NAMES,
        *(f"{port}: {kind}" for port in PORTS for kind in STALLS),
        *(f"build: {build}" for build in builds),
        *(f"structure: {structure}" for structure in STRUCTURES),
        *(f"density: {name}" for name in DENSITY_NAMES), *(f"results: {kind}" for kind in KINDS),
        *(f"scale: {scale}" for scale in SCALES))


def bins(seen: Seen) -> Counter[str]:
    """How often a case filled each bin."""
    found: Counter[str] = Counter()
    if seen.broken is not None:
        return found
    case = seen.plan.case
    done = good_jobs(seen)
    for work in done:
        found += numbers(work)
        found += _shapes(work, seen)
    if done:
        found[f"build: {case.build}"] += len(done)
    for job in case.jobs if done else ():
        found[f"structure: {job.structure}"] += 1
        found[f"scale: {job.scale}"] += 1
        found[f"results: {job.kind}"] += 1
    if case.event is None:
        found += _queue(seen)
    found += _events(seen)
    return found + _stalls(seen)


def numbers(work: Work) -> Counter[str]:
    """From the oracle's sums."""
    layer, sums = work.layer, work.sums.astype(np.int64)
    found: Counter[str] = Counter()
    found["sum: zero"] = int(np.count_nonzero(sums == 0))
    near = 1 << 30
    found["sum: int32 high"] = int(np.count_nonzero(sums > near))
    found["sum: int32 low"] = int(np.count_nonzero(sums < -near))
    if layer.raw:
        return +found
    product, places = sums * layer.mult.astype(np.int64), layer.shift.astype(np.int64)
    unit = np.int64(1) << places
    tie = product % unit * 2 == unit
    scaled = ((product + (unit >> 1)) >> places) + int(layer.output_zero_point)
    found["tie: positive"] = int(np.count_nonzero(tie & (product > 0)))
    found["tie: negative"] = int(np.count_nonzero(tie & (product < 0)))
    found["clamp: low"] = int(np.count_nonzero(scaled < INT8_MIN))
    found["clamp: high"] = int(np.count_nonzero(scaled > INT8_MAX))
    found["result: zero"] = int(np.count_nonzero(scaled == 0))
    found["shift: least"] = int(np.count_nonzero(places == spec.SHIFT_MIN))
    found["shift: most"] = int(np.count_nonzero(places == spec.SHIFT_MAX))
    found["mult: least"] = int(np.count_nonzero(layer.mult == spec.MULT_MIN))
    found["mult: most"] = int(np.count_nonzero(layer.mult == spec.MULT_MAX))
    found["zero point: negative"] = int(layer.output_zero_point < 0)
    found["zero point: positive"] = int(layer.output_zero_point > 0)
    return +found


def _shapes(work: Work, seen: Seen) -> Counter[str]:
    config, layer = seen.plan.case.config, work.layer
    inputs, outputs, tokens = layer.in_features, layer.out_features, len(work.x)
    lengths = [len(columns) for columns in strip_columns(layer, config.cols)]
    groups = -(-tokens // config.rows)
    place = int(np.searchsorted(DENSITY_BINS, layer.density))
    return +Counter({
        "strip: empty": lengths.count(0), "strip: full": lengths.count(inputs),
        "strip: one column": lengths.count(1),
        "strips: one": int(len(lengths) == 1), "strips: many": int(len(lengths) > 2),
        "N: below C": int(outputs < config.cols),
        "N: multiple of C": int(outputs % config.cols == 0),
        "N: between": int(outputs > config.cols and outputs % config.cols != 0),
        "M: below R": int(tokens < config.rows), "M: multiple of R": int(tokens % config.rows == 0),
        "M: between": int(tokens > config.rows and tokens % config.rows != 0),
        "K: one": int(inputs == 1), "K: max_k": int(inputs == config.max_k),
        "K: multiple of block": int(inputs % config.block_inputs == 0),
        "K: inside a block": int(inputs % config.block_inputs != 0),
        "activation buffer: full": int(inputs * (groups + 1) > config.act_words),
        f"density: {DENSITY_NAMES[place]}": 1})


def _queue(seen: Seen) -> Counter[str]:
    case, works = seen.plan.case, seen.plan.works
    pairs = [(one.job, other.job) for one, other in pairwise(works)]
    return +Counter({
        "queue: one job": int(len(works) == 1),
        "queue: more jobs than places": int(len(works) > case.config.queue_depth),
        "push: while running": sum(
            seen.log[f"push{index}"][0] > seen.note("note")["first_cycle"]
            for index in range(case.early, len(works))),
        "table: two in a row": sum(one.lut and other.lut for one, other in pairs),
        "raw behind int8": sum(other.raw and not one.raw for one, other in pairs),
        "int8 behind raw": sum(one.raw and not other.raw for one, other in pairs)})


def _events(seen: Seen) -> Counter[str]:
    """Errors, clears and resets, in the phase that the observer saw."""
    found: Counter[str] = Counter()
    event = seen.plan.case.event
    resets = [rest for kind, *rest in seen.events if kind == "reset"]
    if event is not None and event.kind == "reset" and len(resets) > 1:     # not the opening one
        found[f"reset while {PHASES[int(resets[1][0])]}"] += 1
    for kind, *rest in seen.events:
        if kind == "clear":
            found[f"clear while {PHASES[int(rest[0])]}"] += 1
        elif kind == "error":
            found[f"error {CODES[int(rest[2])]} while {_error_phase(seen, rest)}"] += 1
    return found


def _error_phase(seen: Seen, values: Sequence[str]) -> str:
    """The observer's phase; loading only if something else than the spoilt packet was there.

    Parameters
    ----------
    values : sequence of str
        Phase, source, code, and beats of weights and of activations that were loaded.
    """
    phase, source, _, weights, acts = map(int, values[:5])
    strip = seen.read("ERROR:raised")["strip"] if "ERROR:raised" in seen.log else 0
    other = {"job": weights or acts, "weights": acts or strip, "acts": weights}[SOURCES[source]]
    return "idle" if PHASES[phase] == "loading" and not other else PHASES[phase]


def _stalls(seen: Seen) -> Counter[str]:
    case, stalls = seen.plan.case, seen.stalls()
    found = +Counter({f"stall of {port} while {phase}": int(stalls[row, column])
                      for row, port in enumerate(PORTS) for column, phase in enumerate(PHASES)})
    for row, port in enumerate(PORTS):
        kind = case.stalls[port].kind
        if kind == "free" or stalls[row].any():
            found[f"{port}: {kind}"] += 1
    return found
