"""Speed of long simulations, beside a plain C++ loop's: ``python -m bench.simspeed``.

All 36 Linears of MiniLM at 5x and its 12 products of attention, 128 tokens, 12 x 12, by
``sparseloom sim model``, timed; then the same script and streams by its simulator alone and by a
plain loop around the same Verilog, in turn.
"""
from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.device import git_revision, processor
from bench.folders import Folders, write_json
from bench.utilisation import TOKENS, artefact
from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import artefact_path
from sparseloom.sim.build import (
    CACHE_VARIABLE,
    LONG_RUN_FLAGS,
    TOP,
    VERILATOR_FLAGS,
    Build,
    build_simulator,
    tool_environment,
)
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.long_run import LONG_RUN
from sparseloom.sim.progress import progress_bars
from sparseloom.sim.verilog import unit_verilog

ROOT = Path(__file__).resolve().parents[1]
PLAIN_LOOP = Path(__file__).with_name("plain_loop.cpp")
CONFIG = ArrayConfig(rows=12, cols=12, lanes=4)
COMPRESSION = 5.0
SPEED_BAR, SECONDS_BAR = 0.6, 60.0
RUNS = 3


def timed(words: Sequence[str | Path], folder: Path, **settings: Any) -> dict[str, float]:
    """Run a program: seconds of wall time, and of processor time with its children.

    Raises
    ------
    SimulationError
        If it fails.
    """
    began = time.perf_counter()
    process = subprocess.Popen(words, cwd=folder, **settings)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SimulationError(f"{words[0]} failed with code {process.returncode} in {folder}")
    return {"seconds": round(time.perf_counter() - began, 3),
            "processor_seconds": round(usage.ru_utime + usage.ru_stime, 3)}


def build_plain(verilog: Path, folder: Path) -> Path:
    """The plain loop's program, compiled with the simulator's own flags; kept.

    Raises
    ------
    SimulationError
        If Verilator or the compiler refuse.
    """
    recipe = [verilog.read_text(), PLAIN_LOOP.read_text(), *VERILATOR_FLAGS, *LONG_RUN_FLAGS]
    objects = folder / f"plain-{hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:20]}"
    if not (objects / "plain").is_file():
        shutil.rmtree(objects, ignore_errors=True)
        objects.mkdir(parents=True)
        log = objects / "log.txt"
        for command in (
                ["verilator", "-cc", "--exe", "-Mdir", objects, "--top-module", "sparseloom",
                 "-o", "plain", *VERILATOR_FLAGS, PLAIN_LOOP, verilog],
                ["make", "-j", str(len(os.sched_getaffinity(0))), "-C", objects, "-f",
                 "Vsparseloom.mk", *LONG_RUN_FLAGS]):
            with open(log, "a") as out:
                if subprocess.run(command, env=tool_environment(), stdout=out,
                                  stderr=subprocess.STDOUT, check=False).returncode:
                    raise SimulationError(f"{command[0]} failed; its messages are in {log}")
    return objects / "plain"


def run_command(model: Path, folder: Path, folders: Folders) -> tuple[dict[str, float], dict]:
    """``sparseloom sim model`` on a model, its data kept: seconds, and its report."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    words = [sys.executable, "-m", "sparseloom.sim.console", "sim", "model", model, "--tokens",
             str(TOKENS), "--rows", str(CONFIG.rows), "--cols", str(CONFIG.cols), "--lanes",
             str(CONFIG.post_lanes), "--keep", folder, "--json"]
    report = folder / "report.json"
    with open(report, "w") as out:
        seconds = timed(words, folders.root, stdout=out, env={
            **os.environ, CACHE_VARIABLE: str(folders.root / "build/sim-cache")})
    return seconds, json.loads(report.read_text())


def compare(simulator: Build, plain: Path, folder: Path, queues: int, runs: int,
            ) -> dict[str, list[dict[str, float]]]:
    """Simulator and plain loop in turn, on the same script and streams.

    Raises
    ------
    SimulationError
        If one fails, or their results differ in a byte.
    """
    found: dict[str, list[dict[str, float]]] = {"simulator": [], "plain_loop": []}
    for _ in range(runs):
        for name, program in (("plain_loop", plain), ("simulator", simulator.folder / TOP)):
            found[name].append(timed([program], folder, stdout=subprocess.DEVNULL))
            print(f"{name}: {found[name][-1]}", flush=True)
    for number in range(queues):
        one, other = ((folder / f"{name}{number}.bin").read_bytes()
                      for name in ("results", "plain"))
        if one != other:
            raise SimulationError(f"queue {number} in {folder}: expected the same results from the "
                                  "simulator and the plain loop, found a difference")
    return found


def speeds(cycles: int, seconds: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Cycles a second of processor time, the best run of each, and their ratio."""
    best = {name: cycles / min(run["processor_seconds"] for run in runs)
            for name, runs in seconds.items()}
    return {**{f"{name}_cycles_per_second": round(value) for name, value in best.items()},
            "ratio": round(best["simulator"] / best["plain_loop"], 4)}


def bars(ratio: float, seconds: float) -> list[dict[str, Any]]:
    """Limits, what was found, whether they are met."""
    return [{"bar": "cycles a second over the plain loop's, at least", "limit": SPEED_BAR,
             "found": ratio, "met": ratio >= SPEED_BAR},
            {"bar": "seconds for all layers, build excluded, at most", "limit": SECONDS_BAR,
             "found": seconds, "met": seconds <= SECONDS_BAR}]


def measure(folders: Folders, runs: int) -> dict[str, Any]:
    """Everything, as the committed file has it."""
    scratch, cache = folders.scratch / "simspeed", folders.root / "build/sim-cache"
    with progress_bars(Console(stderr=True)) as progress:
        model = artefact(COMPRESSION, folders, progress)
        progress.add_task("Verilog, simulator and plain loop, kept for the next run", total=None)
        verilog = unit_verilog(CONFIG, cache)
        simulator = build_simulator(verilog, bus_bytes=CONFIG.bus_bytes, cache=cache,
                                    bench=LONG_RUN, long_run=True, python=False)
        plain = build_plain(verilog, scratch)
    command, report = run_command(model, scratch / "run", folders)
    print(f"sparseloom sim model: {command}, of them {report['seconds']:.1f} s from streams to "
          "comparison", flush=True)
    total, layers = report["total"], len(report["layers"])
    seconds = compare(simulator, plain, scratch / "run" / "weights-8", layers, runs)
    found = speeds(total["cycles"], seconds)
    without_build = round(command["seconds"] - report["build_seconds"], 3)
    return {
        "model": f"all-MiniLM-L6-v2, every matrix product of its encoder at {COMPRESSION:g}x, "
                 f"each by itself; {TOKENS} tokens",
        "array": f"{CONFIG.rows}x{CONFIG.cols}", "layers": layers, "cycles": total["cycles"],
        "outputs": total["outputs"], "mismatches": total["mismatches"], "exact": report["exact"],
        "bars": bars(found["ratio"], without_build), **found,
        "command": {**command, "build": round(report["build_seconds"], 3),
                    "streams_to_comparison": round(report["seconds"], 3)},
        "runs": seconds, "verilator": list(VERILATOR_FLAGS), "compiler": list(LONG_RUN_FLAGS),
        "sha256": {name: hashlib.sha256(path.read_bytes()).hexdigest()
                   for name, path in (("verilog", verilog), ("artefact", artefact_path(model)))},
        "machine": processor(), "cores": len(os.sched_getaffinity(0)),
        "load": [round(value, 1) for value in os.getloadavg()], "git": git_revision(folders.root)}


def main(words: Sequence[str] | None = None) -> int:
    """Measure, write ``bench/results/simspeed.json``; exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.simspeed", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--runs", type=int, default=RUNS, help="of each program, in turn")
    options = parser.parse_args(words)
    folders = Folders(options.root)
    try:
        found = measure(folders, options.runs)
    except (InputError, SimulationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    write_json(folders.results / "simspeed.json", found, indent=1)
    print(f"{found['cycles']:,} cycles: {found['simulator_cycles_per_second']:,} a second, plain "
          f"loop {found['plain_loop_cycles_per_second']:,}")
    for bar in found["bars"]:
        print(f"{'met   ' if bar['met'] else 'MISSED'}  {bar['bar']} {bar['limit']:g}: "
              f"{bar['found']:g}")
    return int(not all(bar["met"] for bar in found["bars"]))


if __name__ == "__main__":
    raise SystemExit(main())
