"""A case that fails, made as small as it gets while it still fails.

Hypothesis shrinks what it drew itself, one example at a time. A case comes from a seed, among many
of one simulation, so it is shrunk here, on its own fields, several candidates to a simulation.
"""
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice

from sparseloom.sim.regress.case import Case, RandomJob, Stall

AT_ONCE = 12
"""Candidates of one simulation."""
MOST_ROUNDS = 60


def shrink(case: Case, fails: Callable[[Sequence[Case]], Sequence[bool]], *,
           rounds: int = MOST_ROUNDS) -> Case:
    """The smallest case found that fails, too: each step changes one thing.

    Parameters
    ----------
    case : Case
        Fails.
    fails : callable
        Which of some cases fail.
    rounds : int
        How often ``fails`` is asked at most.
    """
    asked = 0
    while asked < rounds:
        candidates = smaller(case)
        for some in iter(lambda: list(islice(candidates, AT_ONCE)), []):   # noqa: B023
            asked += 1
            better = [one for one, failed in zip(some, fails(some), strict=True) if failed]
            if better:
                case = better[0]
                break
            if asked >= rounds:
                return case
        else:
            return case
    return case


def smaller(case: Case) -> Iterator[Case]:
    """Cases that are simpler in one way, the boldest first."""
    jobs = case.jobs
    if case.event is None:
        half = len(jobs) // 2
        for some in (jobs[:1], jobs[-1:], jobs[:half], jobs[half:],
                     *(jobs[:at] + jobs[at + 1:] for at in range(len(jobs)))):
            if some and len(some) < len(jobs):
                yield replace(case, jobs=some, early=min(case.early, len(some)))
    elif case.event.delay:
        yield replace(case, event=replace(case.event, delay=0))
    for port, stall in case.stalls.items():
        if stall.kind != "free":
            yield replace(case, stalls={**case.stalls, port: Stall()})
    if case.wait:
        yield replace(case, wait=0)
    full = min(len(jobs), case.config.queue_depth)
    if case.event is None and case.early != full:
        yield replace(case, early=full)
    for at, job in enumerate(jobs):
        for other in _smaller_jobs(job, case.config.rows):
            yield replace(case, jobs=(*jobs[:at], other, *jobs[at + 1:]))


def _smaller_jobs(job: RandomJob, rows: int) -> Iterator[RandomJob]:
    for name in ("tokens", "outputs", "inputs"):
        size = getattr(job, name)
        whole = [rows] if name == "tokens" and size > rows else []
        for less in dict.fromkeys((1, *whole, size // 2, size - 1)):
            if 0 < less < size:
                yield replace(job, **{name: less})
    for name, plain in (("kind", "int8"), ("scale", "spread"), ("structure", "column"),
                        ("extremes", 0.0), ("density", 1.0), ("density", 0.0), ("p", 1), ("q", 1)):
        # Between two densities it would go to and fro.
        if getattr(job, name) != plain and (name != "density" or 0 < job.density < 1):
            yield replace(job, **{name: plain})
