"""Weights of 4 bits: the unit on a device, the score beside 8 bits: ``python -m bench.w4``."""
from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.device import device_note, git_revision
from bench.fit import measured_fit
from bench.folders import Folders, read_json, write_json
from bench.locks import locked
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.errors import ToolError
from sparseloom.model.errors import InputError

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ArrayConfig(rows=12, cols=24, weight_bits=4, target="ecp5")
DEVICE = "85k"
VARIANTS = ((8, "nearest"), (4, "nearest"), (4, "compensated"))
"""Bits of a weight and rounding, as ``quantize`` has them; 4 bits are compensated by default."""
CHECKPOINT = "build/demo/checkpoint"


def measure_fit(seeds: int) -> dict[str, Any]:
    """Place and route the unit; runs of before are used again."""
    report = measured_fit(CONFIG, DEVICE, seeds=seeds, root=ROOT,
                          command=f"make bench-w4 ARGS='fit --seeds {seeds}'")
    return {"macs_per_dsp": round(report["macs"] / report["dsp"], 2), **report}


def measure_score(checkpoint: str, task: str, name: str | None, bits: int, rounding: str,
                  ) -> dict[str, Any]:
    """Quantise a checkpoint and score its integers on all validation rows."""
    from sparseloom.model.config import QuantizeConfig
    from sparseloom.model.export import known_task
    from sparseloom.model.flow import quantize_checkpoint
    from sparseloom.model.tasks import load_task

    note = known_task(checkpoint)
    rows = load_task(task, name=name or (note.name if note else None),
                     head=note.head if note else None)
    with tempfile.TemporaryDirectory() as folder:
        report = quantize_checkpoint(
            checkpoint, rows, Path(folder, "integers"),
            quantize=QuantizeConfig(weight_bits=bits, rounding=rounding))
    assert report.integer_scores is not None
    return {"model": report.model, "task": report.task, "metric": report.metric,
            "compression": round(report.compression, 3),
            "weight_bits": bits, "rounding": rounding,
            "float_scores": report.float_scores, "scores": report.integer_scores,
            "stored_bits_per_weight": round(report.stored_bits_per_weight, 3),
            "seconds": round(report.seconds, 1), **device_note(), "git": git_revision(ROOT),
            "command": "make bench-w4 ARGS='scores --model MODEL --task TASK'"}


def keep_score(folders: Folders, row: Mapping[str, Any]) -> None:
    """Put a row into the table; one of the same model, task and rounding goes."""
    def key(one: Mapping[str, Any]) -> tuple:
        return (one["model"], one["task"], one["compression"], -one["weight_bits"],
                one["rounding"] == "compensated")

    with locked(folders.lock("w4")):
        table = read_table(folders)
        kept = [old for old in table["scores"] if key(old) != key(row)]
        table["scores"] = sorted([*kept, dict(row)], key=key)
        write_json(folders.results / "w4.json", table, indent=2)


def read_table(folders: Folders) -> dict[str, Any]:
    """The committed table; an empty one if there is none."""
    return read_json(folders.results / "w4.json") or {"fit": None, "scores": []}


def _fit(options: argparse.Namespace, folders: Folders) -> None:
    found = measure_fit(options.seeds)
    with locked(folders.lock("w4")):
        write_json(folders.results / "w4.json", {**read_table(folders), "fit": found}, indent=2)
    print(f"{CONFIG.rows} x {CONFIG.cols} on {DEVICE}: {found['macs']} MACs, {found['dsp']} "
          f"MULT18X18D, {found['comb']:,} TRELLIS_COMB, {found['ff']:,} flip-flops, "
          f"{found['fmax_mhz']['median']:.1f} MHz", flush=True)


def _scores(options: argparse.Namespace, folders: Folders) -> None:
    task, name = options.task, options.task_name
    if task is None:
        from sparseloom.sim.packages import fetch_packages
        task, name = str(fetch_packages(ROOT / "build/packages").task), "stsb"
    for bits, rounding in VARIANTS:
        if options.weight_bits not in (None, bits) or options.rounding not in (None, rounding):
            continue
        row = measure_score(options.model, task, name, bits, rounding)
        keep_score(folders, row)
        print(f"{row['model']}, {row['task']}, {row['compression']}x: {bits} bits, {rounding}: "
              f"{row['metric']} {row['scores'][row['metric']]:.4f}, "
              f"{row['stored_bits_per_weight']} bits a weight", flush=True)


def main(words: Sequence[str] | None = None) -> int:
    """Entry of ``python -m bench.w4``: the unit, the scores, or both."""
    parser = argparse.ArgumentParser(prog="python -m bench.w4", description=__doc__)
    parser.add_argument("part", nargs="?", choices=("fit", "scores"), help="both without it")
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--seeds", type=int, default=1, help="of place and route")
    parser.add_argument("--model", default=str(ROOT / CHECKPOINT),
                        help="checkpoint, the demo's by default; run the demo before")
    parser.add_argument("--task", help="folder of its task's rows, the demo's by default")
    parser.add_argument("--task-name", help="which task that is, if the checkpoint does not know")
    parser.add_argument("--weight-bits", type=int, choices=(8, 4), help="only these")
    parser.add_argument("--rounding", choices=("nearest", "compensated"), help="only this")
    options = parser.parse_args(words)
    folders = Folders(options.root)
    try:
        if options.part != "scores":
            _fit(options, folders)
        if options.part != "fit":
            _scores(options, folders)
    except (InputError, ToolError) as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2 if isinstance(error, InputError) else 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
