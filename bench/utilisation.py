"""Utilisation of the array on real pruned layers, in RTL: ``python -m bench.utilisation``.

All 36 Linears of MiniLM's encoder with the integers that really enter them, through the generated
Verilog in one queue without a pause, and each alone. Every output is compared with the integer
oracle, every counter with the cycle model.
"""
from __future__ import annotations

import argparse
import hashlib
import math
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from bench.device import git_revision, processor
from bench.folders import Folders, read_json, write_json
from bench.locks import locked
from bench.rows import asked_for, find_row, with_row
from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import artefact_path, read_artefact
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.layer_queues import LayerQueue, QueueRun, run_layer_queues
from sparseloom.sim.packages import MODEL_NAME, TASK_NAME, fetch_packages
from sparseloom.sim.progress import progress_bars
from sparseloom.sim.verilog import unit_verilog

ROOT = Path(__file__).resolve().parents[1]
ARRAYS = ((12, 12), (8, 8))
COMPRESSIONS = (1.0, 2.0, 3.0, 5.0)
"""1 is the dense model on the same RTL."""
TOKENS = 128
P = 24
STEPS = 8
"""Training steps behind the one-shot prune. Scores are not what is measured here: masks are
balanced by strip, so that cycles hardly depend on training."""
SEED = 1
KINDS = ("queue", "alone", "k3072")
WIDE = (768, 3072)
"""N and K of the ``k3072`` rows: the second FFN matrix of BERT-base, seeded random weights."""
QUEUE_BAR, ALONE_BAR, BOUND_BAR, SPEED_BAR = 0.97, 0.85, 0.97, 0.97


@dataclass(frozen=True, kw_only=True)
class Row:
    """What runs on one build; all of the build that is not named is the reference build's.

    Parameters
    ----------
    rows, cols : int
        R and C of the array.
    compression : float
        Weights over survivors; 1 for the dense model.
    kind : str
        ``queue`` (all layers back to back), ``alone`` (each one by itself) or ``k3072`` (one layer
        of 3072 inputs, on a build for them).
    """

    rows: int
    cols: int
    compression: float
    kind: str

    @property
    def name(self) -> str:
        """In the table."""
        return f"{self.rows}x{self.cols}-{self.compression:g}x-{self.kind}"

    def config(self) -> ArrayConfig:
        """The build."""
        return ArrayConfig(rows=self.rows, cols=self.cols, max_k=WIDE[1] if self.kind == "k3072"
                           else 1536, lanes=4)


PLAN = tuple(Row(rows=rows, cols=cols, compression=compression, kind=kind)
             for kind in KINDS for rows, cols in ARRAYS for compression in COMPRESSIONS
             if kind != "alone" or compression > 1)


# What runs

def artefact(compression: float, folders: Folders, progress: Progress) -> Path:
    """MiniLM at a compression, quantised: made on first use, kept in ``build/bench``.

    Groups are those of p outputs that one-shot pruning by magnitude times input leaves, balanced by
    strip; survivors are refit to the layer's old outputs, and trained a few steps.
    """
    folder = folders.scratch / "utilisation" / f"{compression:g}x-{STEPS}-steps"
    if artefact_path(folder).is_file():
        return folder
    from sparseloom.model.config import PruneConfig, TrainConfig
    from sparseloom.model.export import EXAMPLE_SENTENCES
    from sparseloom.model.flow import prune_checkpoint, quantize_checkpoint
    from sparseloom.model.tasks import load_task

    packages = fetch_packages(folders.root / "build/packages")
    task = load_task(packages.task, name=TASK_NAME, head="cosine")
    # Only the rows that are kept as examples, whose tokens run: nothing is scored.
    task = replace(task, validation=task.validation[:EXAMPLE_SENTENCES])
    source: Path = packages.model
    if compression > 1:
        source = folder.with_name(f"{folder.name}-checkpoint")
        prune_checkpoint(
            packages.model, task, source, name=MODEL_NAME, dense_score=False, progress=progress,
            prune=PruneConfig(compression=compression, method="magnitude", p=P, scope="strip"),
            train=TrainConfig(arguments={"max_steps": STEPS, "seed": SEED}, distil_hidden=0.0))
    quantize_checkpoint(source, task, folder, evaluate=False, structure="column", p=P,
                        name=MODEL_NAME, progress=progress)
    return folder


def real_layers(folder: Path) -> LayerQueue:
    """Every layer of an artefact, with the first integers that enter it in the integer model."""
    from sparseloom.model.capture import capture_layers

    layers = read_artefact(folder).layers
    acts = capture_layers(folder, list(layers), tokens=TOKENS)
    return [(layer, acts[name]) for name, layer in layers.items()]


def wide_layer(compression: float) -> tuple[PackedLayer, np.ndarray]:
    """A random layer of 3072 inputs, pruned by norms, that leaves as sums; random activations."""
    import torch

    from bench.pack import pack, prune
    from sparseloom.model.config import PruneConfig

    weights = {"ffn2": torch.randn(WIDE, generator=torch.Generator().manual_seed(SEED))}
    config = PruneConfig(compression=compression, method="magnitude", saliency="magnitude", p=P)
    layer, = pack(weights, prune(weights, config), config)
    rng = np.random.default_rng(SEED)
    bias = rng.integers(-100_000, 100_000, WIDE[0]).astype(np.int32)
    return (replace(layer, raw=True, bias=bias),
            rng.integers(-128, 128, (TOKENS, WIDE[1])).astype(np.int8))


def queues_of(row: Row, folder: Path | None) -> dict[str, LayerQueue]:
    """The queues of a row, by name."""
    if folder is None:
        layer, x = wide_layer(row.compression)
        return {layer.name: [(layer, x)]}
    queue = real_layers(folder)
    if row.kind == "queue":
        return {"all layers": queue}
    return {layer.name: [(layer, x)] for layer, x in queue}


# Rows and bars

def wanted(row: Row, folder: Path | None) -> dict[str, Any]:
    """What a finished row must agree with to count as measured."""
    files = {"verilog": unit_verilog(row.config())}
    if folder is not None:
        files["artefact"] = artefact_path(folder)
    return {**asdict(row), "config": row.config().to_dict(), "tokens": TOKENS, "p": P,
            "sha256": {name: hashlib.sha256(path.read_bytes()).hexdigest()
                       for name, path in files.items()}}


def is_current(found: Mapping[str, Any] | None, asked: Mapping[str, Any]) -> bool:
    """Whether a row was measured with these layers, tokens and Verilog."""
    return found is not None and all(found.get(key) == value for key, value in asked.items())


def record(asked: Mapping[str, Any], queues: Mapping[str, LayerQueue], runs: Sequence[QueueRun],
           ) -> dict[str, Any]:
    """A row of the table: what was found, summed over its queues, and each of them."""
    layers = [layer for queue in queues.values() for layer, _ in queue]
    weights = sum(layer.in_features * layer.out_features for layer in layers)
    each = []
    for run in runs:
        found = run.as_dict()
        if len(runs) > 1:                               # the rest is equal, or in the problems
            found = {key: found[key] for key in (
                "name", "jobs", "cycles", "ideal_cycles", "load_cycles", "utilisation",
                "compute_over_load_and_compute", "problems")}
        each.append(found)
    return {**asked, "weights_over_survivors":
            weights / sum(layer.surviving_weights for layer in layers),
            "layers": len(layers), "jobs": sum(run.jobs for run in runs),
            "cycles": sum(run.cycles for run in runs),
            "outputs": sum(run.outputs for run in runs),
            "mismatches": sum(run.mismatches for run in runs),
            "exact": not any(run.problems() for run in runs),
            "least_utilisation": min(run.utilisation for run in runs),
            "least_share_of_bound": min(run.utilisation / run.compute_over_load_and_compute
                                        for run in runs),
            "queues": each}


def bars(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Every bar of which the rows are there: limit, what was found, whether it is met."""
    by_key = {(row["kind"], row["rows"], row["cols"], row["compression"]): row for row in rows}
    found = []

    def add(row: Mapping[str, Any], what: str, limit: float, value: float) -> None:
        found.append({"bar": what, "row": row["row"], "limit": limit, "found": value,
                      "met": value >= limit})

    for row in rows:
        if row["kind"] == "queue":
            add(row, "queue of all layers: active over cycles", QUEUE_BAR,
                row["least_utilisation"])
            dense = by_key.get(("queue", row["rows"], row["cols"], 1.0))
            if row["compression"] > 1 and dense:
                add(row, "speed-up over the dense model, over compression", SPEED_BAR,
                    dense["cycles"] / row["cycles"] / row["weights_over_survivors"])
        elif row["kind"] == "alone":
            if row["compression"] < 5:
                add(row, "each layer alone: active over cycles", ALONE_BAR,
                    row["least_utilisation"])
            else:
                add(row, "each layer alone: utilisation over compute / (load + compute)",
                    BOUND_BAR, row["least_share_of_bound"])
        add(row, "outputs equal to the oracle, cycles to counters and model", 1.0,
            float(row["exact"]))
    return found


def shown(value: float) -> str:
    """Four digits, never rounded up."""
    return f"{math.floor(value * 10_000) / 10_000:.4f}"


def measure(row: Row, asked: Mapping[str, Any], folder: Path | None, folders: Folders,
            progress: Progress) -> dict[str, Any]:
    """Run a row and put it into the table."""
    queues = queues_of(row, folder)
    task = progress.add_task("Verilog and its simulator, kept for the next run", total=None)
    began = time.perf_counter()
    runs = run_layer_queues(queues, row.config(), cache=folders.root / "build/sim-cache",
                            long_run=True, progress=progress, title=f"{row.name} in RTL",
                            built=lambda: progress.remove_task(task))
    found = {"row": row.name, **record(asked, queues, runs),
             "seconds": round(time.perf_counter() - began, 1), "machine": processor(),
             "git": git_revision(folders.root),
             "command": f"make bench-utilisation ARGS='--rows {row.rows} --cols {row.cols} "
                        f"--compression {row.compression:g} --kind {row.kind}'"}
    with locked(folders.lock("utilisation")):
        table = with_row(read_table(folders)["rows"], found, PLAN)
        write_json(folders.results / "utilisation.json", {
            "model": f"{MODEL_NAME}: the Linear layers of its encoder, {TOKENS} tokens of "
                     f"{TASK_NAME}",
            "pruning": f"one shot, magnitude times input, columns of p = {P}, balanced by strip, "
                       f"survivors refit, {STEPS} training steps; not scored",
            "bars": bars(table), "rows": table}, indent=1)
    return found


def read_table(folders: Folders) -> dict[str, Any]:
    """The committed table; an empty one if there is none."""
    return read_json(folders.results / "utilisation.json") or {"rows": []}


def main(words: Sequence[str] | None = None, *,
         prepare: Callable[[float, Folders, Progress], Path] = artefact) -> int:
    """Entry of ``python -m bench.utilisation``: every row that is asked for and not there yet.

    Exit code 1 if an output or a cycle differs, or a bar is missed.
    """
    parser = argparse.ArgumentParser(prog="python -m bench.utilisation", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--rows", type=int, help="only arrays of so many rows")
    parser.add_argument("--cols", type=int)
    parser.add_argument("--compression", type=float, help="only this one; 1 is the dense model")
    parser.add_argument("--kind", choices=KINDS)
    options = parser.parse_args(words)
    folders, console = Folders(options.root), Console(stderr=True)
    _, chosen = asked_for(PLAN, options, ("rows", "cols", "compression", "kind"))
    if not chosen:
        print(f"error: rows: expected some of {', '.join(row.name for row in PLAN)}, found none",
              file=sys.stderr)
        return 2
    for row in chosen:
        try:
            with progress_bars(console) as progress:
                folder = None if row.kind == "k3072" else prepare(row.compression, folders,
                                                                  progress)
                settings = wanted(row, folder)
                found = find_row(read_table(folders)["rows"], row.name)
                if is_current(found, settings):
                    print(f"{row.name}: measured already", flush=True)
                    continue
                found = measure(row, settings, folder, folders, progress)
        except (InputError, SimulationError) as error:
            print(f"error: {row.name}: {error}", file=sys.stderr, flush=True)
            return 2 if isinstance(error, InputError) else 1
        print(f"{row.name}: {found['cycles']:,} cycles, utilisation at least "
              f"{shown(found['least_utilisation'])}, {found['mismatches']} of "
              f"{found['outputs']:,} outputs differ, {found['seconds']:.0f} s", flush=True)
    names = {row.name for row in chosen}
    missed = [bar for bar in bars(read_table(folders)["rows"]) if bar["row"] in names]
    for bar in missed:
        print(f"{'met   ' if bar['met'] else 'MISSED'}  {bar['row']:18} {bar['bar']}: "
              f"{shown(bar['found'])}, at least {bar['limit']:g}")
    return int(not all(bar["met"] for bar in missed))


if __name__ == "__main__":
    raise SystemExit(main())
