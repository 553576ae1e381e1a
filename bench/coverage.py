"""Code coverage: lines and toggles of the RTL, lines of the Python: ``make coverage``."""
from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.device import git_revision, processor
from bench.folders import read_json, write_json
from bench.verification import write as write_page
from sparseloom.hw.config import ArrayConfig
from sparseloom.sim.build import COVERAGE_FILE, Build, build_simulator, cache_folder
from sparseloom.sim.cases import write_cases
from sparseloom.sim.progress import progress_bars
from sparseloom.sim.queues import BUILDS
from sparseloom.sim.regress.case import Case
from sparseloom.sim.regress.play import BENCH, Seen, make_plan, play
from sparseloom.sim.regress.run import Regression, regress
from sparseloom.sim.run import run_bench
from sparseloom.sim.verilog import unit_verilog

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "bench" / "results" / "coverage.json"
MISSED = ROOT / "build" / "coverage"
"""Points of each build that were never met, one by one: thousands, so beside the results."""
RTL = ("3x5", "4x4", "3x5w4")
"""Builds of the regression whose lines and toggles are counted."""
PARTS = ("tests/hw", "tests/model", "tests/sim", "tests/docs", "tests/bench",
         "tests/test_project.py")
"""Parts of the suite, each a process of its own, one after the other."""
KINDS = ("line", "toggle")

MOST_MODULES = 12
"""Modules on the page."""
NOTHING = "if (\\$init ) begin end"
"""What Amaranth writes into each block that drives a constant: no condition and no effect."""
REASONS = {
    "gearbox": "branches for an output that waits, which these never do; a packet that ends within "
               "a word, at sizes that have none; flags that are up from the reset on",
    "mask_fifo": "bits of the last mask word behind max_k",
    "registers": "build parameters are constants; numbers read as 32 and 16 bits have upper bits "
                 "that no run of this length reaches",
    "counters": "upper bits: runs of up to 2^32 cycles",
    "fault": "causes are 19 of 256 codes; upper bits of a strip's number",
    "strip_loader.crc": "terms of its XOR network that a constant of 0 masks: they never move",
    "strip_loader.expand": "bits of a bitmap word behind the last block of max_k",
    "strip_loader": "bits behind max_k; a second word of a bitmap, which max_k has not; fields of "
                    "a job that the loader does not read are 0; fields of the header that have one "
                    "right value",
    "act_loader": "fields of a job that the loader does not read are 0",
    "queue": "fields of a job that a stage does not read are 0; retire reads its tag alone",
    "walk": "fields of a job that the walk does not read are 0",
    "cell": "upper bits of a sum: a run of max_k extreme products",
    "multiplier": "upper bits of a product: the lane's widest sums",
    "sparseloom.unit": "wires of the parts below",
}
"""Why points are never met, by a part of the module's name; the first that fits."""

Points = Counter[tuple[str, str, str]]
"""How often a point was met, by kind, module, and place in the Verilog."""


def read_points(file: Path, verilog: Path) -> Points:
    """Points of the unit's Verilog in a file that Verilator wrote.

    Parameters
    ----------
    file : Path
    verilog : Path
        Points of other files, those of the bench, are left out.

    Raises
    ------
    ValueError
        If the file holds none.
    """
    found: Points = Counter()
    code = verilog.read_text().splitlines()
    for line in file.read_text(errors="replace").splitlines():
        entry = re.fullmatch(r"C '(.*)' (\d+)", line)
        if entry is None:
            continue
        fields = dict(part.split("\x02", 1) for part in entry[1].split("\x01") if "\x02" in part)
        kind, _, module = fields.get("page", "").partition("/")
        if Path(fields.get("f", "")).name != verilog.name or kind[2:] not in (*KINDS, "branch"):
            continue
        kind = "toggle" if kind == "v_toggle" else "line"
        of = fields.get("o", "")
        if code[int(fields["l"]) - 1].strip() == NOTHING or of.startswith("__024init"):
            continue
        place = f"{fields['l']}:{fields['n']} {of}"
        found[kind, module, place] += int(entry[2])
    if not found:
        raise ValueError(f"{file}: expected points of {verilog.name}, found none")
    return found


class CoveredRegression(Regression):
    """A regression whose simulators count, build by build, into ``points``."""

    def __init__(self, **arguments: Any):
        super().__init__(**arguments)
        self.points: dict[str, Points] = defaultdict(Counter)

    def simulator(self, build: str) -> Build:
        """Of a build, able to count."""
        if build not in self.simulators:
            config = BUILDS[build]
            self.simulators[build] = build_simulator(
                self.verilog(config), bus_bytes=config.bus_bytes, bench=BENCH, python=False,
                coverage=True)
        return self.simulators[build]

    def play(self, cases: Sequence[Case]) -> list[Seen]:
        """Cases of one build, counted."""
        build = cases[0].build
        with tempfile.TemporaryDirectory(dir=_runs(), prefix=f"coverage-{build}-") as folder:
            seen = play(self.simulator(build), Path(folder), [make_plan(case) for case in cases])
            for file in Path(folder).rglob(COVERAGE_FILE):
                add(self.points[build], read_points(file, self.verilog(BUILDS[build])))
        return seen


def add(points: Points, more: Points) -> None:
    """Sum up, points that were never met too."""
    for point, count in more.items():
        points[point] += count


def _runs() -> Path:
    runs = cache_folder() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    return runs


def contract_points(config: ArrayConfig) -> Points:
    """Points that the bench of the unit's contract meets, ``sim/tb_unit.py``.

    Raises
    ------
    ValueError
        If one of its tests fails.
    """
    from tests.sim.test_unit import make_cases

    verilog = unit_verilog(config)
    build = build_simulator(verilog, bus_bytes=config.bus_bytes, coverage=True)
    with tempfile.TemporaryDirectory(dir=_runs(), prefix="coverage-unit-") as folder:
        write_cases(Path(folder), config, make_cases(config))
        outcomes = run_bench(build, Path(folder), module="sparseloom.sim.tb_unit")
        if failed := [outcome.name for outcome in outcomes if outcome.failure]:
            raise ValueError(f"tb_unit: expected every test to pass, found {', '.join(failed)}")
        return read_points(Path(folder, COVERAGE_FILE), verilog)


def rtl_row(points: Points) -> dict[str, Any]:
    """Of a build, ready for JSON: counts by kind and module, and what was never met."""
    row: dict[str, Any] = {"modules": {}, "missed": defaultdict(list)}
    for (kind, module, place), count in sorted(points.items()):
        numbers = row["modules"].setdefault(module, {kind: [0, 0] for kind in KINDS})[kind]
        numbers[0] += count > 0
        numbers[1] += 1
        if not count:
            row["missed"][module].append(f"{kind} {place}")
    for kind in KINDS:
        met = sum(numbers[kind][0] for numbers in row["modules"].values())
        row[kind] = [met, sum(numbers[kind][1] for numbers in row["modules"].values())]
    return row


def rtl(build: str, jobs: int, seed: int) -> dict[str, Any]:
    """Lines and toggles of a build's RTL, over random jobs and the bench of the contract."""
    regression = CoveredRegression()
    with progress_bars(Console(stderr=True)) as progress:
        report = regress(jobs, seed, builds=(build,), regression=regression, progress=progress)
    if report.failures:
        raise ValueError(f"expected every case to pass, found {len(report.failures)} failed; "
                         f"{report.failures[0].replay}")
    points = regression.points[build]
    add(points, contract_points(BUILDS[build]))
    return {**rtl_row(points), "jobs": report.jobs, "seed": seed}


def python(parts: Sequence[str], seen: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Lines of the Python that the suite runs, part by part.

    Parameters
    ----------
    parts : sequence of str
        Of :data:`PARTS`.
    seen : mapping, optional
        What was found before; parts that are not run again stay.
    """
    data = cache_folder().parent / "coverage"
    data.mkdir(parents=True, exist_ok=True)
    passed = dict((seen or {}).get("parts", {}))
    call = [sys.executable, "-m", "coverage"]
    for part in parts:
        file = data / re.sub(r"\W", "_", part)
        file.unlink(missing_ok=True)
        done = subprocess.run(
            [*call, "run", f"--data-file={file}", "--source=model,hw,sim", "-m", "pytest", "-q",
             "-p", "no:cacheprovider", part], cwd=ROOT, check=False)
        passed[part] = done.returncode == 0
    files = [str(data / re.sub(r"\W", "_", part)) for part in PARTS
             if (data / re.sub(r"\W", "_", part)).is_file()]
    whole = data / "whole"
    subprocess.run([*call, "combine", "--keep", f"--data-file={whole}", *files], cwd=ROOT,
                   check=True)
    report = data / "report.json"
    subprocess.run([*call, "json", f"--data-file={whole}", "-o", str(report)], cwd=ROOT,
                   check=True)
    found = json.loads(report.read_text())
    return {"parts": passed, "lines": [found["totals"]["covered_lines"],
                                       found["totals"]["num_statements"]],
            "files": {name: [one["summary"]["covered_lines"], one["summary"]["num_statements"]]
                      for name, one in sorted(found["files"].items())}}


def percent(numbers: Sequence[Any]) -> float:
    """Met, of all."""
    return 100 * numbers[0] / max(1, numbers[1])


def page_part(found: Mapping[str, Any]) -> str:
    """What docs/verification.md says of it, as Markdown."""
    lines = []
    rows: Mapping[str, Any] = found.get("rtl", {})
    if not rows:
        lines.append("RTL: not measured.")
    else:
        lines += [
            "RTL, as Verilator counts it over `sim/tb_unit.py` and random jobs of the regression; "
            f"points that are no code (`{NOTHING}`) are left out. A toggle is a bit's rise or "
            "fall.",
            "", "| build | jobs | lines | % | toggles | % |", "|---|---:|---:|---:|---:|---:|",
            *(f"| {build} | {row['jobs']:,} | {row['line'][0]:,} of {row['line'][1]:,} "
              f"| {percent(row['line']):.1f} | {row['toggle'][0]:,} of {row['toggle'][1]:,} "
              f"| {percent(row['toggle']):.1f} |" for build, row in rows.items()),
            "", "Modules with the most points that were never met, all builds together:",
            "", "| module | never met | of | why |", "|---|---:|---:|---|"]
        missed: Counter[str] = Counter()
        of: Counter[str] = Counter()
        for row in rows.values():
            for module, kinds in row["modules"].items():
                for met, every in kinds.values():
                    missed[module] += every - met
                    of[module] += every
        lines += [f"| `{module}` | {count:,} | {of[module]:,} | {reason_of(module)} |"
                  for module, count in missed.most_common(MOST_MODULES) if count]
    python_found = found.get("python")
    if python_found is None:
        lines += ["", "Python: not measured."]
    else:
        numbers = python_found["lines"]
        low = sorted((percent(one), name) for name, one in python_found["files"].items()
                     if one[1])[:8]
        parts = [part for part in PARTS if part in python_found["parts"]]
        lines += ["", f"Python: {percent(numbers):.1f} % of the lines of `model/`, `hw/` and "
                  f"`sim/` ({numbers[0]:,} of {numbers[1]:,}), by {', '.join(parts)}; processes "
                  "that a test starts are not counted. Least: "
                  + ", ".join(f"`{name}` {share:.0f} %" for share, name in low) + "."]
    return "\n".join([*lines, ""])


def reason_of(module: str) -> str:
    """Why points of a module are never met."""
    return next((reason for part, reason in REASONS.items() if part in module), "")


def main() -> None:
    """Count what tests reach, of the RTL and of the Python; exit code 1 if a test fails."""
    parser = argparse.ArgumentParser(prog="python -m bench.coverage", description=main.__doc__)
    parser.add_argument("what", nargs="?", choices=("all", "rtl", "python"), default="all")
    parser.add_argument("--build", nargs="+", choices=list(BUILDS), default=list(RTL))
    parser.add_argument("-n", "--jobs", type=int, default=600, help="random jobs in RTL")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS),
                        help="parts of the suite; those left out keep their last count")
    parser.add_argument("--out", type=Path, default=OUT)
    chosen = parser.parse_args()
    found: dict[str, Any] = dict(read_json(chosen.out) or {})
    about = git_revision(ROOT) | {"processor": processor()}
    if chosen.what in ("all", "rtl"):
        for build in chosen.build:      # each is kept as it is known
            row = rtl(build, chosen.jobs, chosen.seed) | about
            write_json(MISSED / f"{build}.json", row.pop("missed"), indent=1)
            found["rtl"] = {**found.get("rtl", {}), build: row}
            write_json(chosen.out, found, indent=1)
    if chosen.what in ("all", "python"):
        found["python"] = python(chosen.part, found.get("python")) | about
        write_json(chosen.out, found, indent=1)
    if chosen.out == OUT:
        write_page()
    table = Table("what", "met", "of", "%")
    for build, row in found.get("rtl", {}).items():
        for kind in KINDS:
            table.add_row(f"RTL {build}, {kind}s", f"{row[kind][0]:,}", f"{row[kind][1]:,}",
                          f"{percent(row[kind]):.1f}")
    if "python" in found:
        met, every = found["python"]["lines"]
        table.add_row("Python, lines", f"{met:,}", f"{every:,}", f"{percent([met, every]):.1f}")
    Console().print(table)
    sys.exit(not all(found.get("python", {}).get("parts", {}).values()))


if __name__ == "__main__":
    main()
