"""Cells of complete units on five device families, by synthesis: ``python -m bench.synth``."""
from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.device import git_revision, processor
from bench.folders import Folders
from bench.rows import Table, asked_for
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.synthesis import COMMANDS, yosys_version
from sparseloom.hw.utilisation import LABELS, utilisation

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One build of target ``generic`` on one family; all else is the reference build."""

    family: str
    rows: int
    cols: int

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.rows}x{self.cols}-{self.family}"

    def config(self) -> ArrayConfig:
        """Of the reference build's buffers, streams and lanes."""
        return ArrayConfig(rows=self.rows, cols=self.cols)


PLAN = tuple(Row(family=family, rows=side, cols=side) for side in (4, 8) for family in COMMANDS)


def is_current(found: Mapping[str, Any] | None, row: Row) -> bool:
    """Whether a row was measured with this Verilog, script and yosys."""
    return found is not None and wanted(row).items() <= found.items()


def wanted(row: Row) -> dict[str, Any]:
    """What a finished row must agree with to count as measured."""
    from sparseloom.hw.generate import to_verilog  # a second to load

    text = to_verilog(row.config())
    return {"config": row.config().to_dict(), "sha256": hashlib.sha256(text.encode()).hexdigest(),
            "script": COMMANDS[row.family], "pyosys": yosys_version()}


def measure(row: Row, folders: Folders) -> dict[str, Any]:
    """Synthesise one row."""
    report = utilisation(row.config(), row.family, work=folders.root / "build/fit")
    return {"family": row.family, **{key: report[key] for key in LABELS},
            "macs": report["macs"], "cells": report["cells"], "seconds": report["seconds"],
            **wanted(row), "machine": processor(), "git": git_revision(folders.root),
            "command": f"make bench-synth ARGS='--family {row.family} --rows {row.rows}'"}


def main(words: Sequence[str] | None = None) -> int:
    """Entry of ``python -m bench.synth``: every row that is asked for and not there yet."""
    parser = argparse.ArgumentParser(prog="python -m bench.synth", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--family", help=f"only rows of one of {', '.join(COMMANDS)}")
    parser.add_argument("--rows", type=int, help="only arrays of so many rows")
    options = parser.parse_args(words)
    folders = Folders(options.root)
    chosen = asked_for(PLAN, options, ("family", "rows"))[1]
    if not chosen:
        print(f"error: rows: expected some of {', '.join(row.name for row in PLAN)}, found none",
              file=sys.stderr)
        return 2
    return Table(folders, "synth", PLAN).fill(
        chosen, is_current=is_current, measure=lambda row: measure(row, folders),
        line=lambda found: ", ".join(f"{found[key]:,} {label}" for key, label in LABELS.items()))


if __name__ == "__main__":
    raise SystemExit(main())
