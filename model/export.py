"""A model to a folder: Hugging Face checkpoint, tokenizer, task, notes, card, packed layers."""
from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseloom.model.checkpoint import Checkpoint, quiet
from sparseloom.model.errors import InputError, cut, shown
from sparseloom.model.folder import MARK, MARK_FILE, whole_folder
from sparseloom.model.packed.artefact import write_artefact
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.tasks import Task

TASK_FILE = MARK_FILE
PRUNING_FILE = "pruning.json"
CARD_FILE = "README.md"
EXAMPLE_SENTENCES = 64
"""Validation sentences kept beside the model: real input for a look at its layers."""


@dataclass(frozen=True, kw_only=True)
class TaskNote:
    """What a folder tells about its task."""

    name: str
    kind: str
    metric: str
    num_labels: int
    examples: tuple[tuple[str, ...], ...]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, task: Task,
                     pruning: Mapping[str, Any] | None) -> None:
    """Put a plain Hugging Face checkpoint, its tokenizer and the notes into a folder."""
    config = checkpoint.model.config
    config._name_or_path = checkpoint.name  # not the local path that it was loaded from
    if hasattr(checkpoint.tokenizer, "init_kwargs"):
        checkpoint.tokenizer.init_kwargs.pop("name_or_path", None)
    with quiet():
        checkpoint.model.save_pretrained(folder)
        checkpoint.tokenizer.save_pretrained(folder)
    examples = [list(row.sentences) for row in task.validation[:EXAMPLE_SENTENCES]]
    _write_json(folder / TASK_FILE, {
        **MARK, "version": 1, "name": task.name, "kind": task.kind, "metric": task.metric,
        "num_labels": task.num_labels, "examples": examples})
    if pruning is not None:
        _write_json(folder / PRUNING_FILE, dict(pruning))


def write_pruned(out_dir: str | Path, checkpoint: Checkpoint, task: Task,
                 pruning: Mapping[str, Any]) -> Path:
    """Write a pruned checkpoint, whole or not at all."""
    with whole_folder(out_dir) as folder:
        write_checkpoint(folder, checkpoint, task, pruning)
        (folder / CARD_FILE).write_text(card(checkpoint.name, task, pruning), encoding="utf-8")
    return Path(out_dir)


def write_export(out_dir: str | Path, checkpoint: Checkpoint, task: Task,
                 layers: list[PackedLayer], *, pruning: Mapping[str, Any] | None,
                 metadata: Mapping[str, Any]) -> Path:
    """Write an artefact folder, whole or not at all.

    Parameters
    ----------
    pruning : mapping, optional
        What ``pruning.json`` says; None for a dense model.
    metadata : mapping
        For ``sparseloom.safetensors``; plain JSON data.
    """
    with whole_folder(out_dir) as folder:
        write_checkpoint(folder, checkpoint, task, pruning)
        write_artefact(folder, layers, dict(metadata))
        (folder / CARD_FILE).write_text(card(checkpoint.name, task, pruning, metadata),
                                        encoding="utf-8")
    return Path(out_dir)


def _write_json(path: Path, data: Mapping[str, Any]) -> None:
    path.write_bytes(_json(data))


def _json(data: object) -> bytes:
    text = json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False)
    return text.encode() + b"\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        _json(data)  # it can be written again: no NaN, no half characters
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data


def read_pruning(ref: str | Path) -> dict[str, Any] | None:
    """The ``pruning.json`` of a checkpoint folder; None for a dense one or a hub name.

    Raises
    ------
    InputError
        If it is damaged: all that is needed later is looked at here.
    """
    path = Path(ref) / PRUNING_FILE
    if not path.is_file():
        return None
    data = _read_json(path)
    for key, kind in (("structure", str), ("p", int), ("q", int), ("source", dict),
                      ("score", dict)):
        if not isinstance(data.get(key), kind):
            raise InputError(f"{path}, {key}: expected {kind.__name__}, "
                             f"found {shown(data.get(key))}")
    for key in ("model", "sha256"):
        if not isinstance(data["source"].get(key), (str, type(None))):
            raise InputError(f"{path}, source {key}: expected str, "
                             f"found {shown(data['source'][key])}")
    numbers = {f"score {name}": value for name, value in data["score"].items()}
    for key, value in {"compression": data.get("compression"), **numbers}.items():
        if not _is_number(value):
            raise InputError(f"{path}, {cut(key)}: expected a number, found {shown(value)}")
    return data


def _is_number(value: object) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and (
            math.isfinite(value))
    except OverflowError:  # an integer beyond any float
        return False


def read_task_note(folder: str | Path) -> TaskNote:
    """What a pruned checkpoint or artefact folder tells about its task.

    Raises
    ------
    InputError
        If the folder tells nothing, or something else.
    """
    path = Path(folder) / TASK_FILE
    if not path.is_file():
        raise InputError(f"{folder}: expected {TASK_FILE} in the folder, found none")
    data = _read_json(path)
    try:
        return TaskNote(name=str(data["name"]), kind=str(data["kind"]),
                        metric=str(data["metric"]), num_labels=int(data["num_labels"]),
                        examples=tuple(tuple(map(str, item)) for item in data["examples"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: expected name, kind, metric, num_labels and examples, found: "
                         f"{shown(error)}") from None


def card(name: str, task: Task, pruning: Mapping[str, Any] | None,
         metadata: Mapping[str, Any] | None = None) -> str:
    """The model card, in Markdown."""
    scores: dict[str, float] = dict((pruning or {}).get("score", {}))
    scores |= {key: value for key, value in ((metadata or {}).get("score") or {}).items()
               if value is not None}
    lines = ["---", "library_name: transformers", "tags: [sparseloom, pruned]", "---", "",
             f"# {name}, for {task.name}", ""]
    if pruning:
        lines += [
            f"Pruned by Sparseloom to 1/{pruning['compression']:.2f} of the encoder's Linear "
            f"weights, in {pruning['structure']} groups of blocks of {pruning['p']} outputs by "
            f"{pruning['q']} inputs. The checkpoint loads with plain `from_pretrained`; pruned "
            "weights are zeros in place.", ""]
    else:
        lines += ["A dense checkpoint: nothing is pruned.", ""]
    if metadata:
        lines += ["`sparseloom.safetensors` holds the encoder's Linear layers as integers: int8 "
                  "weights per channel, int8 activations per tensor.", ""]
    if scores:
        lines += [f"| | {task.metric} |", "|---|---|",
                  *(f"| {key} | {value:.4f} |" for key, value in scores.items()), ""]
    densities = (metadata or pruning or {}).get("densities") or {}
    if densities:
        lines += ["| layer | surviving weights |", "|---|---|",
                  *(f"| {layer} | {share:.1%} |" for layer, share in densities.items()), ""]
    return "\n".join(lines)
