"""Mutation testing of the generated design: ``python -m bench.rtl_mutants``.

Hundreds of small changes of the unit's netlist, each against the random regression's cases. What no
case notices and nobody can show to be no change at all is a survivor: a hole in the tests, or a bit
that does not matter. Not to be confused with ``bench.mutate``, which makes bad input files.
"""
from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import verification
from bench.device import git_revision, processor
from bench.folders import write_json
from bench.mutant_reasons import REASONS
from sparseloom.hw.errors import ToolError
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.mutation.design import (
    ARRAY_SHARE,
    LEAST,
    Mutant,
    MutatedDesign,
    mutated_design,
)
from sparseloom.sim.mutation.directed import FILES, directed_failure, directed_plays
from sparseloom.sim.mutation.hunt import Verdict, hunt
from sparseloom.sim.progress import progress_bars
from sparseloom.sim.queues import BUILDS
from sparseloom.sim.regress.case import draw_case
from tests.formal.in_unit import CONTRACTS, breaks_contract

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "bench/results/mutate.json"
MUTANTS, CASES, BUILD = 400, 120, "3x5"
BAR = 97.0
"""Per cent that must be killed, of those not shown to be equivalent."""


def row(mutant: Mutant, verdict: Verdict) -> dict[str, Any]:
    """One mutant, for the file."""
    fate = "killed" if verdict.killed else "equivalent" if verdict.equivalent else "survived"
    found: dict[str, Any] = {**mutant.as_dict(), "what": mutant.what, "fate": fate,
                             "case": verdict.case, "problem": verdict.problem,
                             "cases": verdict.cases, "seconds": verdict.seconds}
    if fate == "survived":
        found["reason"] = REASONS.get(f"{mutant.place}: {mutant.what}", "")
    return found


def summary(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Counts of all and of each component; the rate is of mutants not shown to be equivalent."""
    def count(some: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        fates = {fate: sum(one["fate"] == fate for one in some)
                 for fate in ("killed", "equivalent", "survived")}
        rest = fates["killed"] + fates["survived"]
        return {"mutants": len(some), **fates,
                "kill_rate": round(100 * fates["killed"] / rest, 2) if rest else None}

    names = sorted({one["component"] for one in rows})
    return {**count(rows), "array": sum(one["array"] for one in rows),
            "unexplained": sum(one["fate"] == "survived" and not one["reason"] for one in rows),
            "components": {name: count([one for one in rows if one["component"] == name])
                           for name in names}}


def page_part(result: Mapping[str, Any]) -> str:
    """What ``docs/verification.md`` says of it."""
    total = result["summary"]
    by = {name: sum(one["fate"] == "killed" and _killer(one, result["cases"]) == name
                    for one in result["mutants"]) for name in KILLERS}
    lines = [
        f"Build {result['build']}, seed {result['seed']}: **{total['mutants']} mutants, "
        f"{total['equivalent']} shown equivalent, {total['killed']} of the other "
        f"{total['killed'] + total['survived']} killed: {total['kill_rate']} %.** "
        f"{total['array']} of them are in the array. Each met up to {result['cases']} cases of the "
        f"random regression ({by[RANDOM]} killed), then {result['directed_cases']} directed ones "
        f"and, where it is of those, the tests of registers and queue ({by[DIRECTED]}), then the "
        f"contract that its component is proved to keep, asked of the netlist with the mutant in "
        f"it ({by[CONTRACT]}).", "",
        "| file of `hw/` | mutants | equivalent | killed | survived |", "|---|--:|--:|--:|--:|"]
    lines += [f"| {name} | {one['mutants']} | {one['equivalent']} | {one['killed']} | "
              f"{one['survived']} |" for name, one in total["components"].items()]
    survivors = [one for one in result["mutants"] if one["fate"] == "survived"]
    if survivors:
        lines += ["", "Survivors:", ""]
        lines += [f"- `{one['place']}`: {one['what'].replace('$', '')}. "
                  f"{one['reason'] or 'Not explained yet.'}" for one in survivors]
    return "\n".join([*lines, ""])


RANDOM, DIRECTED, CONTRACT = KILLERS = ("random", "directed", "contract")
"""What a mutant may be killed by, in this order."""


def _killer(one: Mapping[str, Any], cases: int) -> str:
    if one["problem"].startswith("the contract of"):
        return CONTRACT
    return RANDOM if one["case"] is not None and one["case"] < cases else DIRECTED


def by_contract(design: MutatedDesign, mutants: Sequence[Mutant],
                tick: Callable[[], object]) -> dict[int, str]:
    """Which promise of its component each breaks, if it does, by number.

    Raises
    ------
    SimulationError
        If an unchanged component breaks one.
    """
    for place in sorted({mutant.place for mutant in mutants}):
        if wrong := breaks_contract(design, None, place):
            raise SimulationError(f"{place}: expected the unchanged component to keep what it "
                                  f"promises, found: {wrong}")
    found = {}
    for mutant in mutants:
        with suppress(ToolError):       # no answer in time: it lives
            found[mutant.number] = breaks_contract(design, mutant, mutant.place)
        tick()
    return found


def main(words: Sequence[str] | None = None) -> int:
    """Entry of ``python -m bench.rtl_mutants``; exit code 1 below the bar."""
    parser = argparse.ArgumentParser(prog="python -m bench.rtl_mutants", description=__doc__)
    parser.add_argument("--mutants", type=int, default=MUTANTS)
    parser.add_argument("--cases", type=int, default=CASES, help="that a survivor meets")
    parser.add_argument("--seed", type=int, default=1, help="of the choice and of the cases")
    parser.add_argument("--build", choices=list(BUILDS), default=BUILD)
    parser.add_argument("--least", type=int, default=LEAST, help="mutants of each file of hw/")
    parser.add_argument("--jobs", type=int, default=2, help="simulations at a time")
    parser.add_argument("--number", type=int, action="append", help="only these mutants")
    parser.add_argument("--random-only", action="store_true",
                        help="survivors meet no directed cases and tests, and no contract")
    parser.add_argument("--json", type=Path, help="where the figures go; by default nowhere, or "
                        "bench/results/mutate.json and docs/verification.md for a whole run")
    options = parser.parse_args(words)
    whole = not options.number and not options.random_only and (
        options.mutants, options.cases, options.build) == (MUTANTS, CASES, BUILD)
    began, log = time.monotonic(), Console(stderr=True)
    rows: list[dict[str, Any]] = []
    with progress_bars(log) as progress:
        task = progress.add_task("netlist with all mutants", total=None)
        design = mutated_design(BUILDS[options.build], count=options.mutants, seed=options.seed,
                                least=options.least)
        cases = [draw_case(options.seed, index, (options.build,))
                 for index in range(options.cases)]
        if not options.random_only:
            cases += directed_plays(options.build)
        progress.update(task, description="mutants",
                        total=len(options.number or design.mutants))

        def count(*_: object) -> None:
            progress.advance(task)

        def told(mutant: Mutant, verdict: Verdict) -> None:
            rows.append(row(mutant, verdict))
            if rows[-1]["fate"] == "survived" or options.number:
                log.print(f"{rows[-1]['fate']}: {mutant.number}, {mutant.place}: {mutant.what} "
                          f"{verdict.problem}", highlight=False, markup=False, soft_wrap=True)

        verdicts = {one.number: one for one in hunt(design, cases, jobs=options.jobs,
                                                    only=options.number, told=count)}
        mutants = {one.number: one for one in design.mutants}
        left = [] if options.random_only else [
            mutants[number] for number, one in verdicts.items()
            if not one.killed and not one.equivalent]
        tested = [one for one in left if one.component in FILES]
        asked = [one for one in left if one.component in CONTRACTS]
        progress.update(task, description="survivors in directed tests",
                        total=len(tested) + len(asked), completed=0)
        if tested and (failure := directed_failure(design, 0)):
            raise SimulationError(f"directed tests: expected the unchanged design to pass, "
                                  f"found: {failure}")
        problems = {}
        for one in tested:
            problems[one.number] = directed_failure(design, one.number)
            count()
        progress.update(task, description="survivors' contracts")
        problems |= by_contract(design, asked, count)
        for number, one in verdicts.items():
            if problem := problems.get(number):
                one = replace(one, killed=True, problem=problem)
            told(mutants[number], one)
    rows.sort(key=lambda one: one["number"])
    total = summary(rows)
    result = {**git_revision(ROOT), "machine": processor(), "cores": os.cpu_count(),
              "command": f"python -m bench.rtl_mutants --mutants {options.mutants} --cases "
                         f"{options.cases} --seed {options.seed} --build {options.build}",
              "build": options.build, "configuration": BUILDS[options.build].to_dict(),
              "seed": options.seed, "cases": options.cases,
              "directed_cases": len(cases) - options.cases, "least": options.least,
              "array_share": round(float(ARRAY_SHARE), 4),
              "seconds": round(time.monotonic() - began, 1),
              "simulation_seconds": round(sum(one["seconds"] for one in rows), 1),
              "summary": total, "mutants": rows}
    out = options.json or (RESULTS if whole else None)
    if out is not None:
        write_json(out, result, indent=1)
    if whole:
        verification.write(ROOT)
    print(f"{total['mutants']} mutants: {total['killed']} killed, {total['equivalent']} shown "
          f"equivalent, {total['survived']} survived; kill rate {total['kill_rate']} %")
    return int(total["kill_rate"] is None or total["kill_rate"] < BAR)


if __name__ == "__main__":
    sys.exit(main())
