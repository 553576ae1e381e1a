"""``make bench-glue``: measure one row of the plan, or all that are missing."""
from __future__ import annotations

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from bench.collect import collect, finished_rows, missing_rows
from bench.folders import Folders, read_json
from bench.locks import locked
from bench.plan import PLAN, Planned, is_current, planned, stage_name
from sparseloom.model.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
ATTEMPTS = 2
"""How often one call tries a row that fails."""
NICE = 10
POLL_SECONDS = 0.2


def main(words: Sequence[str] | None = None) -> int:
    """Entry of ``python -m bench.glue``; returns the exit code."""
    options = _parser().parse_args(words)
    folders = Folders(options.root)
    try:
        return {"run": _run, "all": _all, "collect": _collect, "plan": _show, "tune": _tune,
                }[options.command](options, folders)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench.glue", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where build/ and results go")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, says in (("run", "measure one row"), ("all", "measure all missing rows"),
                       ("tune", "try a row with other settings on a part of its training rows"),
                       ("collect", "merge finished rows; write the page"),
                       ("plan", "list the rows and whether they are measured")):
        command = commands.add_parser(name, help=says)
        if name in ("run", "tune"):
            command.add_argument("row")
        if name in ("run", "all", "tune"):
            command.add_argument("--data-dir", type=Path, default=None,
                                 help="folder with GLUE's files; otherwise the hub")
            command.add_argument("--runner", default="", help=argparse.SUPPRESS)  # for tests
        if name in ("run", "tune"):
            command.add_argument("--keep", action="store_true",
                                 help="leave checkpoint and artefact in build/bench/work")
        if name == "run":
            command.add_argument("--no-collect", action="store_true", help=argparse.SUPPRESS)
        if name == "tune":
            command.add_argument("--set", action="append", default=[], metavar="PATH=JSON",
                                 help="for instance prune.strength=0.2")
        if name == "all":
            command.add_argument("--jobs", type=int, default=2, help="rows at a time")
            command.add_argument("--must", action="store_true", help="only rows asked for")
            command.add_argument("--match", default="", help="only rows whose name holds this")
    return parser


def _row(name: str) -> Planned:
    row = planned(name)
    if row is None:
        raise InputError(f"row: expected a name of the plan (python -m bench.glue plan), "
                         f"found {name!r}")
    return row


def _prepare(options: argparse.Namespace, folders: Folders) -> Any:
    """A polite process with one thread, whatever starts it: threads change the last digits."""
    os.nice(NICE)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if options.runner:
        module, _, name = options.runner.partition(":")
        return getattr(importlib.import_module(module), name)(folders, options.data_dir)
    import torch

    from bench.measure import Flow

    torch.set_num_threads(1)
    return Flow(folders, options.data_dir)


def _run(options: argparse.Namespace, folders: Folders) -> int:
    from bench.measure import measure_into

    row = _row(options.row)
    runner = _prepare(options, folders)
    record = measure_into(row, folders, runner, root=ROOT, keep=options.keep)
    if record is None:
        print(f"{row.name}: another process is measuring it")
        return 3
    print(_line(record))
    if not options.no_collect:
        collect(folders)
    return 0


def _line(record: dict[str, Any]) -> str:
    return (f"{record['row']}: {record['metric']} dense {record['dense']:.1f}, "
            f"pruned {record['pruned']:.1f}, int8 {record['int8']:.1f}, "
            f"{record['compression']['encoder']:.2f}×, {record['seconds']:.0f} s")


def _tune(options: argparse.Namespace, folders: Folders) -> int:
    from bench.measure import HELD_OUT, measure, with_changes

    row = _row(options.row)
    changes = {}
    for text in options.set:
        path, sign, value = text.partition("=")
        try:
            changes[path] = json.loads(value)
        except ValueError:
            changes[path] = value
        if not sign:
            raise InputError(f"--set: expected PATH=VALUE, found {text!r}")
    try:
        settings = {**with_changes(row.settings(), changes), "held_out": HELD_OUT}
    except KeyError as error:
        raise InputError(f"--set: expected a path such as prune.strength, found {error}") from None
    runner = _prepare(options, folders)
    with locked(folders.lock(f"row-{row.name}")):
        record, _ = measure(row, settings, folders, runner, root=ROOT, keep=options.keep)
    trial = {"row": row.name, "changes": changes, "git": record["git"],
             **{key: record[key] for key in ("metric", "dense", "pruned", "int8", "seconds")}}
    with locked(folders.lock("tuning")):
        folders.tuning.parent.mkdir(parents=True, exist_ok=True)
        with folders.tuning.open("a") as file:
            file.write(json.dumps(trial, ensure_ascii=False) + "\n")
    print(f"held-out {_line(record)}")
    return 0


def _collect(options: argparse.Namespace, folders: Folders) -> int:
    table = collect(folders)
    print(f"{len(table['rows'])} rows, {len(missing_rows(folders))} of {len(PLAN)} missing")
    return 0


def _show(options: argparse.Namespace, folders: Folders) -> int:
    rows = finished_rows(folders)
    for row in PLAN:
        state = ("done" if is_current(rows.get(row.name), row)
                 else "old settings" if row.name in rows else "missing")
        print(f"{row.name:45} {'must' if row.must else 'should':7} {state}")
    return 0


def next_row(waiting: Sequence[Planned], running: Sequence[Planned],
             folders: Folders) -> Planned | None:
    """The first row that would not wait for a stage which a running one is about to make.

    None if every row would.
    """
    def stages(row: Planned) -> set[str]:
        settings = row.settings()
        return {name for stage in ("finetune", "dense")
                if not (folders.stages / (name := stage_name(row, settings, stage))
                        / "stage.json").is_file()}
    busy = {name for row in running for name in stages(row)}
    return next((row for row in waiting if not stages(row) & busy), None)


def _all(options: argparse.Namespace, folders: Folders) -> int:
    if options.jobs < 1:
        raise InputError(f"--jobs: expected 1 or more, found {options.jobs}")
    waiting = [row for row in missing_rows(folders)
               if options.match in row.name and (row.must or not options.must)]
    print(f"{len(waiting)} rows to measure, {options.jobs} at a time", flush=True)
    crew = _Crew(options, folders, len(waiting))
    previous = signal.signal(signal.SIGTERM, _interrupt)
    try:
        return crew.work(waiting)
    except KeyboardInterrupt:
        print("stopped; finished rows are kept", flush=True)
        return 130
    finally:
        crew.stop()
        signal.signal(signal.SIGTERM, previous)
        collect(folders)


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


class _Crew:
    """Processes that each measure one row, and what became of them."""

    def __init__(self, options: argparse.Namespace, folders: Folders, total: int):
        self.options, self.folders, self.total = options, folders, total
        self.running: dict[subprocess.Popen, Planned] = {}
        self.done = 0

    def work(self, waiting: list[Planned]) -> int:
        """Measure all; a row that fails is tried again after the others."""
        tries = dict.fromkeys((row.name for row in waiting), 0)
        failed: list[str] = []
        while waiting or self.running:
            while waiting and len(self.running) < self.options.jobs:
                row = next_row(waiting, list(self.running.values()), self.folders)
                if row is None:
                    break
                waiting.remove(row)
                tries[row.name] += 1
                self.start(row)
            for process, row in [(process, row) for process, row in self.running.items()
                                 if process.poll() is not None]:
                del self.running[process]
                if self.finished(process, row):
                    continue
                if tries[row.name] < ATTEMPTS:
                    waiting.append(row)
                else:
                    failed.append(row.name)
            time.sleep(POLL_SECONDS)
        if failed:
            print(f"failed, to be tried by the next call: {', '.join(failed)}", flush=True)
        return 1 if failed else 0

    def start(self, row: Planned) -> None:
        """A process of its own, so that whatever happens to it concerns one row."""
        log = self.folders.log(row.name)
        log.parent.mkdir(parents=True, exist_ok=True)
        words = [sys.executable, "-m", "bench.glue", "--root", str(self.folders.root), "run",
                 row.name, "--no-collect"]
        if self.options.data_dir is not None:
            words += ["--data-dir", str(self.options.data_dir.resolve())]
        if self.options.runner:
            words += ["--runner", self.options.runner]
        with log.open("w") as file:
            process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=file,
                                       stderr=subprocess.STDOUT,
                                       env={**os.environ, "OMP_NUM_THREADS": "1"})
        self.running[process] = row

    def finished(self, process: subprocess.Popen, row: Planned) -> bool:
        """Report one; collect the rows there are now."""
        record = read_json(self.folders.row(row.name))
        if process.returncode == 3:
            print(f"{row.name}: measured by another process", flush=True)
            return True
        if process.returncode or not is_current(record, row):
            lines = self.folders.log(row.name).read_text(errors="replace").strip().splitlines()
            print(f"{row.name}: failed ({process.returncode}): {lines[-1] if lines else ''} "
                  f"[{self.folders.log(row.name)}]", flush=True)
            return False
        self.done += 1
        print(f"[{self.done}/{self.total}] {_line(record)}", flush=True)
        collect(self.folders)
        return True

    def stop(self) -> None:
        """End what this run started."""
        for process in self.running:
            process.terminate()
        for process in self.running:
            process.wait()


if __name__ == "__main__":
    raise SystemExit(main())
