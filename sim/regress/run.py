"""The regression: cases until there are jobs enough, checked, failures shrunk, bins counted."""
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError
from sparseloom.sim.build import Build, build_simulator, cache_folder
from sparseloom.sim.queues import BUILDS
from sparseloom.sim.regress.case import Case, draw_case
from sparseloom.sim.regress.check import good_jobs, problems
from sparseloom.sim.regress.coverage import bins, mandatory
from sparseloom.sim.regress.play import BENCH, Seen, make_plan, play
from sparseloom.sim.regress.shrink import shrink
from sparseloom.sim.verilog import unit_verilog

AT_ONCE = 16
"""Cases of one simulation."""
MOST_SHRUNK = 3
"""Failures that are shrunk; the others are only told."""
Verilog = Callable[[ArrayConfig], Path]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """A case that failed.

    Parameters
    ----------
    index : int, optional
        Of the case, where it came from a seed.
    case : Case
    problems : list of str
    replay : str
        The command that plays it again.
    shrunk : Case, optional
        The smallest one found that fails, too.
    shrunk_problems : list of str
    """

    index: int | None
    case: Case
    problems: list[str]
    replay: str
    shrunk: Case | None = None
    shrunk_problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"index": self.index, "replay": self.replay, "problems": self.problems,
                "configuration": self.case.config.to_dict(), "case": self.case.to_json(),
                "shrunk": None if self.shrunk is None else self.shrunk.to_json(),
                "shrunk_problems": self.shrunk_problems}


@dataclass(kw_only=True)
class Report:
    """What a regression found.

    Parameters
    ----------
    seed : int
    builds : tuple of str
    cases, jobs : int
        Cases played, and random jobs in them.
    packets, results : int
        Whole result packets compared with the oracle, and integers in them.
    bins : Counter of str
        How often each bin was filled.
    failures : list of Failure
    seconds, build_seconds : float
        Wall time of all but the simulators' making, and of that.
    """

    seed: int
    builds: tuple[str, ...]
    cases: int = 0
    jobs: int = 0
    packets: int = 0
    results: int = 0
    bins: Counter[str] = field(default_factory=Counter)
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0
    build_seconds: float = 0.0

    @property
    def empty(self) -> list[str]:
        """Mandatory bins that stayed empty."""
        return [name for name in mandatory(self.builds) if not self.bins[name]]

    @property
    def events(self) -> int:
        """Errors, clears and resets that came."""
        return sum(count for name, count in self.bins.items()
                   if name.startswith(("error ", "clear while", "reset while")))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        names = mandatory(self.builds)
        return {"seed": self.seed, "builds": {name: BUILDS[name].to_dict() for name in self.builds},
                "cases": self.cases, "jobs": self.jobs, "packets": self.packets,
                "results": self.results, "events": self.events,
                "failed_cases": len(self.failures), "mandatory_bins": len(names),
                "empty_bins": self.empty, "bins": {name: self.bins[name] for name in names},
                "seconds": round(self.seconds, 1), "build_seconds": round(self.build_seconds, 1),
                "failures": [failure.as_dict() for failure in self.failures]}

    def show(self, console: Console) -> None:
        """As a table."""
        names = mandatory(self.builds)
        table = Table(show_header=False)
        for label, value in (
                ("builds", " ".join(self.builds)), ("seed", self.seed),
                ("cases", f"{self.cases:,}"),
                ("random jobs", f"{self.jobs:,}"), ("result packets compared", f"{self.packets:,}"),
                ("results compared", f"{self.results:,}"),
                ("errors, clears, resets", f"{self.events:,}"),
                ("failed cases", f"{len(self.failures):,}"),
                ("mandatory bins filled", f"{len(names) - len(self.empty)} of {len(names)}"),
                ("seconds", f"{self.seconds:.1f}")):
            table.add_row(label, str(value))
        console.print(table, highlight=False, markup=False)


class Regression:
    """Plays cases, with a simulator for each build.

    Parameters
    ----------
    verilog : callable
        Verilog of a build.
    folder : Path, optional
        For the simulations' files, which are deleted as they pass; by default in the cache.
    """

    def __init__(self, *, verilog: Verilog = unit_verilog, folder: Path | None = None):
        self.verilog = verilog
        self.folder = folder
        self.simulators: dict[str, Build] = {}
        self.build_seconds = 0.0

    def simulator(self, build: str) -> Build:
        """Of a build, compiled unless the cache has it."""
        if build not in self.simulators:
            began = time.perf_counter()
            config = BUILDS[build]
            self.simulators[build] = build_simulator(
                self.verilog(config), bus_bytes=config.bus_bytes, bench=BENCH, python=False)
            self.build_seconds += time.perf_counter() - began
        return self.simulators[build]

    def play(self, cases: Sequence[Case]) -> list[Seen]:
        """Cases of one build, by one simulation unless one of them ends it."""
        simulator = self.simulator(cases[0].build)
        parent = self.folder or cache_folder() / "runs"
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=parent, prefix=f"regress-{cases[0].build}-") as folder:
            return play(simulator, Path(folder), [make_plan(case) for case in cases])

    def shrink(self, case: Case) -> Case:
        """The smallest case found that fails as well."""
        return shrink(case, lambda cases: [bool(problems(seen)) for seen in self.play(cases)])


def replay_command(seed: int, index: int, builds: Sequence[str]) -> str:
    """The command that plays a case again."""
    some = () if tuple(builds) == tuple(BUILDS) else builds
    chosen = "".join(f" --build {name}" for name in some)
    return f"sparseloom sim regress --replay {seed}:{index}{chosen}"


def regress(jobs: int, seed: int, *, builds: Sequence[str] = tuple(BUILDS),
            regression: Regression | None = None, progress: Progress | None = None,
            told: Callable[[Failure], object] = lambda _: None) -> Report:
    """Random cases until there are so many jobs.

    Parameters
    ----------
    jobs : int
    seed : int
        Of everything: case ``i`` is :func:`~.case.draw_case` of it and ``i``.
    builds : sequence of str
        Keys of :data:`~sparseloom.sim.queues.BUILDS`.
    regression : Regression, optional
    progress : Progress, optional
    told : callable
        Called with each failure as it is found.
    """
    regression = regression or Regression()
    report = Report(seed=seed, builds=tuple(builds))
    waiting: dict[str, list[tuple[int, Case]]] = {}
    began = time.perf_counter()
    task = progress and progress.add_task("random jobs in RTL", total=jobs)
    drawn = index = 0
    while drawn < jobs or waiting:
        if drawn < jobs:
            case = draw_case(seed, index, builds)
            waiting.setdefault(case.build, []).append((index, case))
            drawn, index = drawn + len(case.jobs), index + 1
        for build in list(waiting):
            if len(waiting[build]) == AT_ONCE or drawn >= jobs:
                some = waiting.pop(build)
                _take(report, regression, some, told)
                if progress is not None and task is not None:
                    progress.advance(task, sum(len(case.jobs) for _, case in some))
    report.build_seconds = regression.build_seconds
    report.seconds = time.perf_counter() - began - report.build_seconds
    return report


def _take(report: Report, regression: Regression, some: list[tuple[int, Case]],
          told: Callable[[Failure], object]) -> None:
    """Play cases of one build and add what they gave."""
    for (index, case), seen in zip(some, regression.play([case for _, case in some]), strict=True):
        report.cases += 1
        report.jobs += len(case.jobs)
        if wrong := problems(seen):
            failure = look_into(case, wrong, regression, index=index,
                                replay=replay_command(report.seed, index, report.builds),
                                small=len(report.failures) < MOST_SHRUNK)
            report.failures.append(failure)
            told(failure)
            continue
        good = good_jobs(seen)
        report.packets += len(good)
        report.results += sum(work.outputs for work in good)
        report.bins += bins(seen)


def look_into(case: Case, wrong: list[str], regression: Regression, *, index: int | None,
              replay: str, small: bool = True) -> Failure:
    """A failure, shrunk if ``small``."""
    if not small:
        return Failure(index=index, case=case, problems=wrong, replay=replay)
    shrunk = regression.shrink(case)
    return Failure(index=index, case=case, problems=wrong, replay=replay, shrunk=shrunk,
                   shrunk_problems=problems(regression.play([shrunk])[0]))


def play_case(case: Case, *, replay: str, index: int | None = None,
              regression: Regression | None = None) -> tuple[Seen, Failure | None]:
    """One case by itself; shrunk where it fails."""
    regression = regression or Regression()
    seen = regression.play([case])[0]
    wrong = problems(seen)
    return seen, look_into(case, wrong, regression, index=index, replay=replay) if wrong else None


def chosen_builds(names: Sequence[str] | None) -> tuple[str, ...]:
    """Builds by name; all of them where none is named.

    Raises
    ------
    InputError
        For a name that is none.
    """
    for name in names or ():
        if name not in BUILDS:
            raise InputError(f"build: expected one of {', '.join(BUILDS)}, found {name!r}")
    return tuple(names or BUILDS)


def case_to_play(replay: str | None, file: Path | None, builds: Sequence[str]) -> tuple[Case, str]:
    """A case by SEED:INDEX or from a file, and the command that plays it again.

    Raises
    ------
    InputError
        If both are given, or what is given is no case.
    """
    if replay is not None and file is not None:
        raise InputError("case: expected --replay or --case, found both")
    if file is not None:
        try:
            data = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: expected a case as JSON, found: {error}") from None
        return Case.from_json(data), f"sparseloom sim regress --case {file}"
    seed, _, index = (replay or "").partition(":")
    if not (seed.isdecimal() and index.isdecimal()):
        raise InputError(f"replay: expected SEED:INDEX, found {replay!r}")
    return (draw_case(int(seed), int(index), builds),
            replay_command(int(seed), int(index), builds))


def tell(failure: Failure, console: Console) -> None:
    """A failure in full: configuration, case, command, and the same shrunk."""
    def plain(text: str) -> None:
        console.print(text, highlight=False, markup=False, soft_wrap=True)

    plain(f"failed: case {failure.index} on build {failure.case.build}: "
          f"{'; '.join(failure.problems)}")
    plain(f"  configuration: {json.dumps(failure.case.config.to_dict())}")
    plain(f"  to play it again: {failure.replay}")
    if failure.shrunk is not None:
        plain(f"  shrunk, a file for --case: {json.dumps(failure.shrunk.to_json())}")
        plain(f"  which says: {'; '.join(failure.shrunk_problems)}")
