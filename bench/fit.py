"""Clock and cells of complete units on ECP5 devices: ``python -m bench.fit``."""
from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.device import git_revision, processor
from bench.folders import Folders
from bench.rows import Table, asked_for
from sparseloom.hw.config import TARGETS, ArrayConfig
from sparseloom.hw.fit import fit, hashes, sources, tool_versions

ROOT = Path(__file__).resolve().parents[1]
SEEDS = 3
SPEED = 6


@dataclass(frozen=True, kw_only=True)
class Row:
    """One build on one device; all else is the reference build."""

    device: str
    rows: int
    cols: int
    target: str = "generic"

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.rows}x{self.cols}-{self.device}-{self.target}"

    def config(self) -> ArrayConfig:
        """Of the reference build's buffers, streams and lanes."""
        return ArrayConfig(rows=self.rows, cols=self.cols, target=self.target)


PLAN = tuple(Row(device=device, rows=rows, cols=cols, target=target)
             for target in TARGETS
             for device, rows, cols in (("25k", 4, 4), ("85k", 8, 8), ("85k", 12, 12)))


def wanted(row: Row, seeds: int) -> dict[str, Any]:
    """What a finished row must agree with to count as measured."""
    return {"config": row.config().to_dict(), "device_name": row.device, "seeds": seeds,
            "sha256": hashes(sources(row.config(), row.device)), "versions": tool_versions()}


def is_current(found: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> bool:
    """Whether a row was measured with these sources, options and tools."""
    return found is not None and asked == {
        "config": found["config"], "device_name": found["device"]["name"],
        "seeds": found["options"]["seeds"], "sha256": found["sha256"],
        "versions": found["versions"]}


def measure(row: Row, seeds: int, folders: Folders) -> dict[str, Any]:
    """Place and route one row."""
    print(f"{row.name}:", flush=True)
    report = measured_fit(
        row.config(), row.device, seeds=seeds, root=folders.root,
        command=f"make bench-fit ARGS='--device {row.device} --rows {row.rows} "
                f"--cols {row.cols} --target {row.target} --seeds {seeds}'")
    del report["critical_paths"]
    return report


def measured_fit(config: ArrayConfig, device: str, *, seeds: int, root: Path, command: str,
                 ) -> dict[str, Any]:
    """A fit for a table: cells by MAC, and where and how it was made; runs of before serve."""
    report = fit(config, device, seeds=seeds, speed=SPEED, work=root / "build/fit", entered=_tell)
    macs = report["macs"]
    return {"comb_per_mac": round(report["comb"] / macs, 1),
            "ff_per_mac": round(report["ff"] / macs, 1),
            **{key: value for key, value in report.items() if key not in ("folders", "cached")},
            "machine": processor(), "git": git_revision(root), "command": command}


def _tell(seed: int, stage: str) -> None:
    print(f"  {time.strftime('%H:%M:%S')}  {f'seed {seed}: ' if seed else ''}{stage}", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Entry of ``python -m bench.fit``: every row that is asked for and not there yet."""
    parser = argparse.ArgumentParser(prog="python -m bench.fit", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--device", help="only rows on this device")
    parser.add_argument("--rows", type=int, help="only rows of so many; with --cols and --device "
                                                 "also an array that the plan lacks")
    parser.add_argument("--cols", type=int)
    parser.add_argument("--target", help=f"only rows of this target: {', '.join(TARGETS)}")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = parser.parse_args(words)
    folders = Folders(options.root)
    asked, chosen = asked_for(PLAN, options, ("device", "rows", "cols", "target"))
    if not chosen and {"device", "rows", "cols"} <= set(asked):
        chosen = [Row(**asked)]
    if not chosen:
        print("error: rows: expected some of "
              f"{', '.join(row.name for row in PLAN)}, found none", file=sys.stderr)
        return 2
    return Table(folders, "fit", PLAN).fill(
        chosen, is_current=lambda found, row: is_current(found, wanted(row, options.seeds)),
        measure=lambda row: measure(row, options.seeds, folders),
        line=lambda found: (
            f"{found['fmax_mhz']['median']:.1f} MHz, {found['comb']:,} TRELLIS_COMB, "
            f"{found['ff']:,} flip-flops, {found['dsp']} MULT18X18D, {found['bram']} DP16KD, "
            f"{found['seconds']:.0f} s"))


if __name__ == "__main__":
    raise SystemExit(main())
