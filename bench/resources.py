"""The resource model's coefficients from packed builds: ``python -m bench.resources``.

Synthesises and packs what is not there yet or is of another RTL, then fits and writes
``hw/resources.json``; ``--refit`` only fits.
"""
from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.device import git_revision, processor
from bench.folders import Folders, read_json, write_json
from bench.rows import Table, asked_for
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.fit import hashes, sources, tool_versions
from sparseloom.hw.packing import packed_cells
from sparseloom.hw.resources import FILE, FITTED, features
from sparseloom.model.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
TARGET = "ecp5"
DEVICE = "85k"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One build of target ``ecp5``; what is not named is the reference build's."""

    rows: int
    cols: int
    bus_bits: int = 64
    weight_bits: int = 8
    lanes: int | None = None
    max_k: int = 1536
    act_words: int = 8192

    @property
    def name(self) -> str:
        """In the table: ``8x4-b128-w4``; what is the reference build's is left out."""
        other = ((self.bus_bits, 64, "b"), (self.weight_bits, 8, "w"), (self.lanes, None, "l"),
                 (self.max_k, 1536, "k"), (self.act_words, 8192, "a"))
        return "-".join([f"{self.rows}x{self.cols}", *(
            f"{letter}{value}" for value, usual, letter in other if value != usual)])

    def config(self) -> ArrayConfig:
        """The build."""
        return ArrayConfig(rows=self.rows, cols=self.cols, bus_bits=self.bus_bits,
                           weight_bits=self.weight_bits, lanes=self.lanes, max_k=self.max_k,
                           act_words=self.act_words, target=TARGET)


PLAN = (
    Row(rows=4, cols=4), Row(rows=8, cols=8), Row(rows=8, cols=4), Row(rows=4, cols=4, bus_bits=32),
    Row(rows=4, cols=4, bus_bits=128), Row(rows=4, cols=4, weight_bits=4),
    Row(rows=8, cols=8, weight_bits=4), Row(rows=4, cols=4, lanes=1), Row(rows=6, cols=6),
    Row(rows=2, cols=2), Row(rows=5, cols=7), Row(rows=8, cols=4, lanes=8),
    Row(rows=12, cols=12), Row(rows=8, cols=8, bus_bits=128), Row(rows=12, cols=4),
    Row(rows=4, cols=16, weight_bits=4), Row(rows=4, cols=4, max_k=3072),
)
"""Small ones first; every axis that the exploration sweeps is varied."""

HELD_OUT = (Row(rows=4, cols=12), Row(rows=6, cols=10, bus_bits=32))
"""Builds that the model is measured by and never fitted to."""


def is_current(found: Mapping[str, Any] | None, row: Row) -> bool:
    """Whether a row was measured with this Verilog, script and yosys."""
    return found is not None and wanted(row).items() <= found.items()


def wanted(row: Row) -> dict[str, Any]:
    """What a finished row must agree with to count as measured."""
    return {"config": row.config().to_dict(), "sha256": hashes(sources(row.config(), DEVICE)),
            "versions": tool_versions()}


def measure(row: Row, folders: Folders) -> dict[str, Any]:
    """Synthesise and pack one row."""
    return {**packed_cells(row.config(), DEVICE, work=folders.root / "build/fit"), **wanted(row),
            "machine": processor(), "git": git_revision(folders.root)}


def table(folders: Folders) -> Table[Row]:
    """The measured rows."""
    return Table(folders, "resources", (*PLAN, *HELD_OUT))


def coefficients(rows: Sequence[Mapping[str, Any]], kind: str) -> dict[str, float]:
    """Least squares of relative errors.

    Parameters
    ----------
    rows : sequence of mapping
        Measured rows, at least as many as there are features.
    kind : str
        One of ``FITTED``.
    """
    sizes = [features(ArrayConfig(**row["config"])) for row in rows]
    measured = np.array([row[kind] for row in rows], float)
    table = np.array([list(each.values()) for each in sizes], float) / measured[:, None]
    found = np.linalg.lstsq(table, np.ones(len(rows)), rcond=None)[0]
    return {name: round(float(value), 4) for name, value in zip(sizes[0], found, strict=True)}


def relative_error(row: Mapping[str, Any], kind: str, fitted: Mapping[str, float]) -> float:
    """Estimated over measured, less one."""
    sizes = features(ArrayConfig(**row["config"]))
    return sum(fitted[name] * size for name, size in sizes.items()) / row[kind] - 1


def left_out(rows: Sequence[Mapping[str, Any]], kind: str) -> list[float]:
    """Relative error of each row by a fit to all the others."""
    return [relative_error(row, kind, coefficients([other for other in rows if other is not row],
                                                   kind)) for row in rows]


def clocks(folders: Folders) -> list[dict[str, Any]]:
    """What real fits reached, from the tables of ``bench.fit`` and ``bench.w4``.

    Those of this RTL; only where there is none, those of another.
    """
    rows = [*(read_json(folders.results / "fit.json") or {"rows": []})["rows"]]
    wide = (read_json(folders.results / "w4.json") or {}).get("fit")
    if wide is not None:
        rows.append({"row": f"{wide['config']['rows']}x{wide['config']['cols']}-"
                            f"{wide['device']['name']}-w{wide['config']['weight_bits']}", **wide})
    rows = [row for row in rows if row["config"]["target"] == TARGET]
    current = [row for row in rows if row["sha256"] == hashes(
        sources(ArrayConfig(**row["config"]), row["device"]["name"]))]
    return [{"name": row["row"], "config": row["config"], "device": row["device"]["name"],
             "speed": row["device"]["speed"], "mhz": row["fmax_mhz"]["median"],
             "seeds": len(row["fmax_mhz"]["seeds"]), "git": row["git"]} for row in current or rows]


def write_model(folders: Folders) -> dict[str, Any]:
    """Fit, and write ``hw/resources.json``.

    Raises
    ------
    InputError
        If there are too few rows.
    """
    by_name = {row["row"]: row for row in table(folders).rows()}
    rows, held = ([by_name[row.name] for row in plan if row.name in by_name]
                  for plan in (PLAN, HELD_OUT))
    few = len(features(ArrayConfig())) + 1
    if len(rows) <= few:
        raise InputError(f"resources.json: expected more than {few} measured builds, found "
                         f"{len(rows)}")
    fitted = {kind: coefficients(rows, kind) for kind in FITTED}
    alone = {kind: left_out(rows, kind) for kind in FITTED}
    unseen = {kind: [relative_error(row, kind, fitted[kind]) for row in held] for kind in FITTED}
    model = {
        "command": "make bench-resources",
        "coefficients": fitted,
        "errors": {kind: round(max(map(abs, alone[kind] + unseen[kind])), 4) for kind in FITTED},
        "builds": [_told(row, "left_out", {kind: alone[kind][place] for kind in FITTED})
                   for place, row in enumerate(rows)],
        "held_out": [_told(row, "error", {kind: unseen[kind][place] for kind in FITTED})
                     for place, row in enumerate(held)],
        "clocks": clocks(folders),
    }
    write_json(folders.root / "hw" / FILE.name, model, indent=1)
    return model


def _told(row: Mapping[str, Any], name: str, errors: Mapping[str, float]) -> dict[str, Any]:
    """A measured build in the model's file."""
    return {"row": row["row"], "config": row["config"],
            **{kind: row[kind] for kind in (*FITTED, "dsp", "bram")},
            name: {kind: round(error, 4) for kind, error in errors.items()}, "git": row["git"]}


def main(words: Sequence[str] | None = None) -> int:
    """Entry of ``python -m bench.resources``: what is asked for and not there yet."""
    parser = argparse.ArgumentParser(prog="python -m bench.resources", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--rows", type=int, help="only arrays of so many rows")
    parser.add_argument("--cols", type=int, help="and so many columns")
    parser.add_argument("--refit", action="store_true", help="fit to what is there")
    options = parser.parse_args(words)
    folders = Folders(options.root)
    chosen = [] if options.refit else asked_for(
        (*PLAN, *HELD_OUT), options, ("rows", "cols"))[1]
    code = table(folders).fill(
        chosen, is_current=is_current, measure=lambda row: measure(row, folders),
        line=lambda found: (
            f"{found['comb']:,} TRELLIS_COMB, {found['ff']:,} flip-flops, {found['dsp']} "
            f"MULT18X18D, {found['bram']} DP16KD, {found['seconds']:.0f} s"))
    try:
        model = write_model(folders)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return max(code, 2)
    print(f"{len(model['builds'])} builds, {len(model['held_out'])} held out; largest error of one "
          "that its fit did not see: " + ", ".join(
              f"{kind} {error:.1%}" for kind, error in model["errors"].items()), flush=True)
    return code


if __name__ == "__main__":
    raise SystemExit(main())
