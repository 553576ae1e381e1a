"""One row: its shared stages, its pruning, its integers; and the one place that calls the flow."""
from __future__ import annotations

import math
import os
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from bench.answers import compact, expand
from bench.device import git_revision
from bench.folders import Folders, read_json, write_json
from bench.locks import locked
from bench.plan import MODELS, Planned, stage_name
from bench.statistics import COUNTS_FROM, paired_bootstrap, trivial_score

HELD_OUT = 0.15
"""Share of the training rows that a trial is scored on."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a run of the flow gave.

    Parameters
    ----------
    scores : mapping of str to float
        By metric name, 1 at best.
    found : list of float
        A prediction for each validation row.
    notes : mapping
        Whatever else goes into the row: compression, cycles, dtype.
    """

    scores: Mapping[str, float]
    found: list[float]
    notes: Mapping[str, Any]


class Runner(Protocol):
    """What a row needs of the flow; tests bring their own."""

    def device(self) -> dict[str, Any]: ...
    def task(self, row: Planned, settings: Mapping[str, Any]) -> Any: ...
    def model(self, row: Planned) -> Path: ...
    def finetune(self, source: Path, task: Any, out: Path, settings: Mapping[str, Any],
                 teacher: Path | None) -> Outcome: ...
    def prune(self, source: Path, task: Any, out: Path, settings: Mapping[str, Any],
              teacher: Path) -> Outcome: ...
    def quantize(self, source: Path, task: Any, out: Path,
                 settings: Mapping[str, Any]) -> Outcome: ...


class Stages:
    """Fine-tuned and dense checkpoints that several rows share, each made by one process."""

    def __init__(self, folders: Folders, runner: Runner):
        self.folders, self.runner = folders, runner

    def folder(self, row: Planned, settings: Mapping[str, Any], stage: str) -> Path:
        """Where a stage lies, made or not."""
        return self.folders.stages / stage_name(row, settings, stage)

    def finetuned(self, row: Planned, settings: Mapping[str, Any], task: Any) -> Path:
        """Stage A: plain fine-tuning, where every row and the dense control start."""
        def make(out: Path) -> Outcome:
            return self.runner.finetune(self.runner.model(row), task, out, settings["finetune"],
                                        None)
        return self._made(row, settings, "finetune", make)

    def dense(self, row: Planned, settings: Mapping[str, Any], task: Any) -> Path:
        """Stage B: A trained on like a pruned row, with the same teacher, but not pruned."""
        start = self.finetuned(row, settings, task)

        def make(out: Path) -> Outcome:
            return self.runner.finetune(start / "checkpoint", task, out, settings["dense"],
                                        start / "checkpoint")
        return self._made(row, settings, "dense", make)

    def _made(self, row: Planned, settings: Mapping[str, Any], stage: str, make) -> Path:
        final = self.folder(row, settings, stage)
        if (final / "stage.json").is_file():
            return final
        with locked(self.folders.lock(final.name)):
            if (final / "stage.json").is_file():  # another worker made it while this one waited
                return final
            part = final.with_name(f"{final.name}.part")
            shutil.rmtree(part, ignore_errors=True)  # of a worker that died
            part.mkdir(parents=True)
            began = time.perf_counter()
            outcome = make(part / "checkpoint")
            write_json(part / "stage.json", {
                "scores": points(outcome.scores), "found": compact(outcome.found),
                "seconds": round(time.perf_counter() - began, 1), "notes": dict(outcome.notes)})
            shutil.rmtree(final, ignore_errors=True)
            os.replace(part, final)
        return final


def points(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores × 100."""
    return {name: round(100 * float(value), 3) for name, value in scores.items()}


def measure(row: Planned, settings: Mapping[str, Any], folders: Folders, runner: Runner, *,
            root: Path, keep: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make one row from what its settings say.

    Parameters
    ----------
    settings : mapping
        As ``row.settings()``; with ``held_out`` a trial on a part of the training rows.
    root : Path
        The repository, for its revision.
    keep : bool
        Leave the pruned checkpoint and the artefact in build/bench/work.

    Returns
    -------
    row, predictions : dict
        JSON-ready.
    """
    revision = git_revision(root)  # of the sources that this process runs
    began = time.perf_counter()
    task = runner.task(row, settings)
    stages = Stages(folders, runner)
    start = stages.finetuned(row, settings, task)
    control = read_json(stages.dense(row, settings, task) / "stage.json")
    waited = time.perf_counter() - began

    began = time.perf_counter()
    work = folders.scratch / "work" / row.name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    try:
        pruned = runner.prune(start / "checkpoint", task, work / "pruned", settings,
                              start / "checkpoint")
        integer = runner.quantize(work / "pruned", task, work / "artefact", settings)
    finally:
        if not keep:
            shutil.rmtree(work, ignore_errors=True)
    seconds = time.perf_counter() - began

    metric = task.metrics[0]
    wanted = compact([one.label for one in task.validation])
    trivial = trivial_score(metric, [one.label for one in task.train], expand(wanted))
    answers = {"wanted": wanted, "dense": control["found"], "pruned": compact(pruned.found),
               "int8": compact(integer.found)}
    scores = {"dense": control["scores"], "pruned": points(pruned.scores),
              "int8": points(integer.scores)}
    primary = {stage: found[metric] for stage, found in scores.items()}
    prune = settings["prune"]
    notes = {**pruned.notes, **integer.notes}
    record = {
        "row": row.name, "must": row.must, "model": row.model, "model_is": MODELS[row.model],
        "task": row.task, "head": task.head, "method": row.method, "label": row.label,
        "structure": prune["structure"], "p": prune["p"], "q": prune["q"], "seed": row.seed,
        "metric": metric, **primary,
        "loss": {"pruned": round(primary["dense"] - primary["pruned"], 3),
                 "int8": round(primary["dense"] - primary["int8"], 3)},
        "int8_minus_dense": paired_bootstrap(
            metric, expand(wanted), [(expand(answers["int8"]), expand(answers["dense"]))]),
        "trivial": round(trivial, 3), "counts": primary["dense"] - trivial >= COUNTS_FROM,
        "compression": {"asked": row.compression, **notes.pop("compression")},
        "cycles": notes.pop("cycles"), "scores": scores,
        "rows": {"train": len(task.train), "validation": len(task.validation)},
        "seconds": round(seconds, 1),
        "stage_seconds": round(read_json(start / "stage.json")["seconds"] + control["seconds"], 1),
        "waited_seconds": round(waited, 1),
        "device": runner.device(),
        "git": revision, "command": f"make bench-glue ROW={row.name}",
        "settings": settings, **({"notes": notes} if notes else {})}
    return record, answers


def measure_into(row: Planned, folders: Folders, runner: Runner, *, root: Path,
                 keep: bool = False) -> dict[str, Any] | None:
    """Make a row and write it whole; None if another process is at it."""
    with locked(folders.lock(f"row-{row.name}"), wait=False) as mine:
        if not mine:
            return None
        record, answers = measure(row, row.settings(), folders, runner, root=root, keep=keep)
        write_json(folders.predictions(row.name), answers)  # first: a row has its predictions
        write_json(folders.row(row.name), record)
        return record


def with_changes(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with some replaced, each named by its path: ``prune.strength``.

    Raises
    ------
    KeyError
        If a path's first part is no part of the settings.
    """
    result = {key: dict(value) if isinstance(value, Mapping) else value
              for key, value in settings.items()}
    for path, value in changes.items():
        part, _, rest = path.partition(".")
        if part not in result or not rest:
            raise KeyError(path)
        inner = result[part]
        *parents, last = rest.split(".")
        for parent in parents:
            inner[parent] = dict(inner.get(parent, {}))
            inner = inner[parent]
        inner[last] = value
    return result


class Flow:
    """The real runner: tasks, checkpoints and the calls of ``sparseloom.model.flow``."""

    def __init__(self, folders: Folders, data_dir: Path | None = None):
        self.folders, self.data_dir = folders, data_dir

    def device(self) -> dict[str, Any]:
        """Device, threads, versions, and what training computes in."""
        from bench.device import device_note

        return {**device_note(), "dtype": self.precision()}

    def precision(self) -> str:
        """What ``auto`` means on this machine, tried once: all its rows are to agree."""
        from sparseloom.model.bfloat16 import bfloat16_is_faster

        path = self.folders.scratch / "precision" / f"{platform.node() or 'here'}.json"
        with locked(self.folders.lock("precision")):
            if (known := read_json(path)) is None:
                known = "bfloat16" if bfloat16_is_faster() else "float32"
                write_json(path, known)
        return known

    def _train(self, settings: Mapping[str, Any]) -> Any:
        from sparseloom.model.config import TrainConfig

        config = TrainConfig(**settings)
        return replace(config, precision=self.precision()) if config.precision == "auto" else config

    def task(self, row: Planned, settings: Mapping[str, Any]) -> Any:
        from sparseloom.model import tasks

        task = tasks.load_task(row.task, data_dir=self.data_dir,
                               head=None if row.head == "glue" else row.head)
        if settings.get("train_rows"):
            task = tasks.subset(task, settings["train_rows"], row.seed)
        if settings.get("held_out"):
            task = tasks.split(task, settings["held_out"], row.seed)
        return task

    def model(self, row: Planned) -> Path:
        from bench.checkpoints import model_folder

        return model_folder(row.model, self.folders.root / "build")

    def finetune(self, source: Path, task: Any, out: Path, settings: Mapping[str, Any],
                 teacher: Path | None) -> Outcome:
        from sparseloom.model.flow import finetune_checkpoint

        report = finetune_checkpoint(source, task, out, train=self._train(settings),
                                     teacher=teacher)
        return Outcome(scores=report.scores, found=report.found.tolist(),
                       notes={"steps": report.steps})

    def prune(self, source: Path, task: Any, out: Path, settings: Mapping[str, Any],
              teacher: Path) -> Outcome:
        from sparseloom.model.config import PruneConfig
        from sparseloom.model.flow import prune_checkpoint

        fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value
                                  for key, value in settings["prune"].items()}
        config = PruneConfig(**fields)  # its rows, cols and tokens: the reference build
        report = prune_checkpoint(source, task, out, prune=config,
                                  train=self._train(settings["train"]), teacher=teacher,
                                  dense_score=False)  # the control's predictions are stored
        return Outcome(scores=report.pruned_scores, found=report.found.tolist(),
                       notes={"steps": report.steps, "reweightings": report.reweightings,
                              "compression": checkpoint_compression(out),
                              "cycles": {"rows": config.rows, "cols": config.cols,
                                         "tokens": config.tokens,
                                         "encoder": sum(report.cycles.values()),
                                         "dense": sum(report.dense_cycles.values())}})

    def quantize(self, source: Path, task: Any, out: Path,
                 settings: Mapping[str, Any]) -> Outcome:
        from sparseloom.model.config import QuantizeConfig
        from sparseloom.model.flow import quantize_checkpoint

        report = quantize_checkpoint(source, task, out, evaluate=True,
                                     quantize=QuantizeConfig(**settings["quantize"]),
                                     train=self._train(settings["train"]))
        if report.integer_scores is None or report.found is None:
            raise ValueError(f"{out}: the integer model was not scored")
        return Outcome(scores=report.integer_scores, found=report.found.tolist(),
                       notes={"stored_bits_per_weight": round(report.stored_bits_per_weight, 3)})


def checkpoint_compression(folder: Path) -> dict[str, float]:
    """Of the encoder and of the whole model, counted from the stored masks and tensors, not taken
    from the report that came with them."""
    from safetensors import safe_open

    from sparseloom.model.masks import read_masks

    masks = read_masks(folder) or {}
    if not masks:
        raise ValueError(f"{folder}: a pruned checkpoint without masks")
    with safe_open(folder / "model.safetensors", "pt") as file:
        total = sum(math.prod(file.get_slice(name).get_shape()) for name in file.keys())  # noqa: SIM118
    prunable = sum(mask.size for mask in masks.values())
    alive = sum(int(mask.sum()) for mask in masks.values())
    return {"encoder": round(prunable / alive, 4),
            "model": round(total / (total - prunable + alive), 4)}
