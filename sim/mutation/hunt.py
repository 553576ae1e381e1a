"""Mutants against the random regression's cases: killed by the first that fails, or survived."""
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from sparseloom.hw.work_folder import key_of
from sparseloom.sim.build import Build, build_simulator, cache_folder
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.mutation.design import CONTROL, Mutant, MutatedDesign
from sparseloom.sim.mutation.equivalence import shown_equivalent
from sparseloom.sim.regress.case import Case
from sparseloom.sim.regress.check import problems
from sparseloom.sim.regress.play import Plan, make_plan, read_seen, simulate, write_plans

BATCHES = (2, 4, 8, 16)
"""Cases of the first simulations; all further ones have as many as the last."""
EARLY = 30
"""Cases after which one asks whether the mutant can be told from the unchanged design at all.
Behind the last case one asks again, and searches."""
MOST_SECONDS = 60.0
"""After which a simulation is stopped; one of the unchanged design takes less than a tenth."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What became of a mutant.

    Parameters
    ----------
    number : int
        Of the mutant.
    killed : bool
    equivalent : bool
        Shown to be equal to the unchanged design.
    case : int, optional
        Index of the case that noticed it.
    problem : str
        What that case said; empty if it survived.
    cases : int
        Cases that were played.
    seconds : float
        Wall time.
    prover : str
        What looked for equivalence; a survivor of another one is asked again.
    """

    number: int
    killed: bool
    equivalent: bool
    case: int | None
    problem: str
    cases: int
    seconds: float
    prover: str


class Hunt:
    """The cases, ready to be played against any mutant of a design.

    Parameters
    ----------
    design : MutatedDesign
    cases : sequence of Case
        All of the design's build.
    folder : Path
        For streams and scripts; kept by the caller as long as this is used.
    """

    def __init__(self, design: MutatedDesign, cases: Sequence[Case], folder: Path):
        self.design = design
        self.mutants = {one.number: one for one in design.mutants}
        self.folder = folder
        self.simulator: Build = build_simulator(
            design.verilog, bus_bytes=design.config.bus_bytes, bench=design.bench, python=False)
        self.batches: list[tuple[Path, list[Plan]]] = []
        rest = iter(cases)
        sizes = _sizes()
        while some := list(islice(rest, next(sizes))):
            batch = folder / f"batch{len(self.batches)}"
            batch.mkdir(parents=True)
            plans = [make_plan(case) for case in some]
            write_plans(batch, plans)
            self.batches.append((batch, plans))

    def play(self, number: int) -> Verdict:
        """All cases, until one fails. Number 0 is the unchanged design."""
        began, played, equivalent, killer = time.perf_counter(), 0, False, None
        asked, mutant = False, self.mutants.get(number)     # none: unchanged
        for batch, plans in self.batches:
            if mutant and played >= EARLY and not asked:
                asked, equivalent = True, shown_equivalent(self.design, mutant, search=False)
                if equivalent:
                    break
            with tempfile.TemporaryDirectory(dir=self.folder, prefix=f"mutant{number}-") as name:
                run = Path(name)
                for file in batch.iterdir():
                    os.symlink(file, run / file.name)
                why = simulate(self.simulator, run, plusargs=[f"+{CONTROL}={number}"],
                               seconds=MOST_SECONDS)
                killer = first_problem(run, plans, why)
            if killer is not None:
                break
            played += len(plans)
        if mutant and killer is None and not equivalent:
            equivalent = shown_equivalent(self.design, mutant)
        case, problem = (None, "") if killer is None else (played + killer[0], killer[1])
        return Verdict(number=number, killed=killer is not None, equivalent=equivalent, case=case,
                       problem=problem, cases=played if case is None else case + 1,
                       seconds=round(time.perf_counter() - began, 2), prover=prover())


def _sizes() -> Iterator[int]:
    yield from BATCHES
    while True:
        yield BATCHES[-1]


def first_problem(run: Path, plans: Sequence[Plan], why: str) -> tuple[int, str] | None:
    """Place of the first case that failed, and what it said; None if none did."""
    try:
        seen = read_seen(run, plans, why)
    except (OSError, ValueError) as error:
        return 0, f"records of the simulation: {error}"
    for index, one in enumerate(seen):
        try:
            wrong = problems(one)
        except (LookupError, ValueError) as error:       # what should be in the records is not
            wrong = [f"records of the case: {error!r}"]
        if wrong:
            return index, wrong[0]
    return None


def hunt(design: MutatedDesign, cases: Sequence[Case], *, jobs: int = 2,
         only: Sequence[int] | None = None, records: Path | None = None,
         told: Callable[[Mutant, Verdict], object] = lambda *_: None) -> list[Verdict]:
    """Every mutant against the cases.

    A verdict is written as soon as it is there, so that a run that was stopped goes on.

    Parameters
    ----------
    design : MutatedDesign
    cases : sequence of Case
    jobs : int
        Simulations at a time.
    only : sequence of int, optional
        Numbers of mutants.
    records : Path, optional
        Folder of the verdicts; by default in the cache.
    told : callable
        Called with each verdict.

    Raises
    ------
    SimulationError
        If a case fails on the unchanged design.
    """
    records = records or cache_folder() / "mutants"
    records.mkdir(parents=True, exist_ok=True)
    key = key_of({"design": design.folder.name, "mutants": [one.command for one in design.mutants],
                  "cases": [case.to_json() for case in cases], "checks": _checks()})
    file = records / f"verdicts-{key}.jsonl"
    known = {number: verdict for number, verdict in read_verdicts(file).items()
             if verdict.killed or verdict.prover == prover()}
    mutants = {one.number: one for one in design.mutants if only is None or one.number in only}
    for number in known.keys() & mutants.keys():
        told(mutants[number], known[number])
    left = [number for number in mutants if number not in known]
    if left:
        with tempfile.TemporaryDirectory(dir=records, prefix="hunt-") as folder:
            ready = Hunt(design, cases, Path(folder))
            unchanged = ready.play(0)
            if unchanged.killed:
                raise SimulationError(f"case {unchanged.case}: expected the unchanged design to "
                                      f"pass, found: {unchanged.problem}")
            with ThreadPoolExecutor(jobs) as pool, open(file, "a", encoding="utf-8") as out:
                for done in as_completed([pool.submit(ready.play, number) for number in left]):
                    verdict = done.result()
                    out.write(json.dumps(asdict(verdict)) + "\n")
                    out.flush()
                    known[verdict.number] = verdict
                    told(mutants[verdict.number], verdict)
    return [known[number] for number in mutants]


def _checks() -> dict[str, str]:
    """What a verdict depends on beside design and cases: the checks' own text."""
    from sparseloom.sim import faults
    from sparseloom.sim.regress import case, check, play

    return {module.__name__: Path(str(module.__file__)).read_text()
            for module in (case, check, play, faults)}


def prover() -> str:
    """A name for the way in which equivalence is looked for."""
    from sparseloom.sim.mutation import equivalence

    return key_of({"text": Path(str(equivalence.__file__)).read_text()})


def read_verdicts(file: Path) -> dict[int, Verdict]:
    """Verdicts of an earlier run; a line that was cut off is left out."""
    known: dict[int, Verdict] = {}
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except OSError:
        return known
    for line in lines:
        try:
            data: dict[str, Any] = json.loads(line)
            known[data["number"]] = Verdict(**data)
        except (ValueError, TypeError, KeyError):
            continue
    return known
