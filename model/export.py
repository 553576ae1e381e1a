"""A model to a folder: Hugging Face checkpoint, tokenizer, task, notes, masks, card, layers."""
from __future__ import annotations

import json
import math
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from sparseloom.model.card import (
    CARD_FILE,
    Sizes,
    make_card,
    read_source_card,
    scores_of,
    without_paths,
)
from sparseloom.model.checkpoint import Checkpoint, quiet
from sparseloom.model.errors import InputError, cut, shown
from sparseloom.model.folder import MARK, MARK_FILE, is_ours, whole_folder
from sparseloom.model.layers import base_model
from sparseloom.model.masks import check_masks, write_masks
from sparseloom.model.packed.artefact import artefact_path, write_artefact
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.tasks import HEADS, Task

TASK_FILE = MARK_FILE
PRUNING_FILE = "pruning.json"
TRAINING_FILE = "training.json"
TASK_VERSION = 2
EXAMPLE_SENTENCES = 64
"""Validation sentences kept beside the model: real input for a look at its layers."""


@dataclass(frozen=True, kw_only=True)
class TaskNote:
    """What a folder tells about its task; see :class:`~sparseloom.model.tasks.Task`."""

    name: str
    head: str
    metrics: tuple[str, ...]
    labels: tuple[str, ...]
    num_labels: int
    examples: tuple[tuple[str, ...], ...]

    @property
    def metric(self) -> str:
        """The primary metric."""
        return self.metrics[0]


def write_checkpoint(folder: Path, checkpoint: Checkpoint, task: Task) -> None:
    """Put a plain Hugging Face checkpoint, its tokenizer and ``task.json`` into a folder."""
    config = checkpoint.model.config
    config._name_or_path = checkpoint.name  # not the local path that it was loaded from
    if hasattr(checkpoint.tokenizer, "init_kwargs"):
        checkpoint.tokenizer.init_kwargs.pop("name_or_path", None)
    _name_labels(config, task)
    with quiet():
        checkpoint.model.save_pretrained(folder)
        checkpoint.tokenizer.save_pretrained(folder)
    examples = [list(row.sentences) for row in task.validation[:EXAMPLE_SENTENCES]]
    _write_json(folder / TASK_FILE, {
        **MARK, "version": TASK_VERSION, "name": task.name, "head": task.head,
        "metrics": list(task.metrics), "labels": list(task.labels),
        "num_labels": task.num_labels, "examples": examples})
    mode = stat.S_IMODE((folder / TASK_FILE).stat().st_mode)
    for path in folder.iterdir():  # safetensors lets nobody else read what it wrote
        path.chmod(mode)


def _name_labels(config: Any, task: Task) -> None:
    """What a head's outputs mean, for whoever loads the checkpoint."""
    if task.head == "classification":
        config.problem_type = "single_label_classification"
        config.id2label = dict(enumerate(task.labels))
        config.label2id = {label: index for index, label in enumerate(task.labels)}
    elif task.head == "regression":
        config.problem_type = "regression"
        config.id2label, config.label2id = {0: "score"}, {"score": 0}


def _source_card(checkpoint: Checkpoint) -> dict[str, Any]:
    """Of the folder that a model was loaded from, or of its hub name."""
    model = checkpoint.model
    for ref in (getattr(model, "name_or_path", ""), getattr(model.config, "_name_or_path", "")):
        if ref and Path(ref).is_dir():
            return read_source_card(ref)
    return read_source_card(checkpoint.name)


def count_sizes(model: nn.Module, densities: Mapping[str, float],
                masks: Mapping[str, Any] | None = None) -> Sizes:
    """Parameters in all and alive, of the encoder's Linears and of the whole model.

    Parameters
    ----------
    model : nn.Module
    densities : mapping of str to float
        Surviving share of layers, by their names in the base model; used where there is no mask.
    masks : mapping of str to Tensor or ndarray of bool, optional
        An embedding's counts for the whole model only.
    """
    weights = _weights(model, [*densities, *(masks or {})])
    dead = {name: round(weight.numel() * (1 - densities[name])) for name, weight in weights.items()
            if name in densities}
    dead |= {name: math.prod(mask.shape) - int(mask.sum())
             for name, mask in (masks or {}).items() if name in weights}
    tables = {f"{name}" for name, module in base_model(model).named_modules()
              if isinstance(module, nn.Embedding)}
    linears = [name for name in weights if name not in tables]
    encoder = sum(weights[name].numel() for name in linears)
    total = sum(parameter.numel() for parameter in model.parameters())
    return Sizes(encoder=encoder, encoder_alive=encoder - sum(dead[name] for name in linears),
                 model=total, model_alive=total - sum(dead.values()))


def _weights(model: nn.Module, names: list[str]) -> dict[str, Any]:
    modules = dict(base_model(model).named_modules())
    return {name: modules[name].weight for name in names
            if name in modules and hasattr(modules[name], "weight")}


def _noted(checkpoint: Checkpoint, pruning: Mapping[str, Any],
           masks: Mapping[str, Any] | None) -> tuple[dict[str, Any], Sizes]:
    """``pruning.json`` without local paths and with both compressions; masks that hold."""
    if masks is not None:
        check_masks(_weights(checkpoint.model, list(masks)), masks)
    sizes = count_sizes(checkpoint.model, pruning.get("densities") or {}, masks)
    note = without_paths(pruning)
    note["model_compression"] = sizes.model_compression
    return note, sizes


def write_finetuned(out_dir: str | Path, checkpoint: Checkpoint, task: Task,
                    training: Mapping[str, Any]) -> Path:
    """Write a dense, fine-tuned checkpoint, whole or not at all.

    Parameters
    ----------
    training : mapping
        For ``training.json``, plain JSON data: ``version``, ``source`` (``model``, ``sha256``),
        ``score`` (by metric, or by ``dense`` and ``finetuned`` and then by metric) and ``train``,
        the resolved settings. Local paths in it are cut to their last part.

    Raises
    ------
    InputError
        If the output holds something else, or the system refuses to write.
    """
    source = _source_card(checkpoint)
    with whole_folder(out_dir) as folder:
        write_checkpoint(folder, checkpoint, task)
        _write_json(folder / TRAINING_FILE, without_paths(training))
        _write_card(folder, make_card(checkpoint.name, task, source=source, training=training))
    return Path(out_dir)


def write_pruned(out_dir: str | Path, checkpoint: Checkpoint, task: Task,
                 pruning: Mapping[str, Any], masks: Mapping[str, Any] | None = None) -> Path:
    """Write a pruned checkpoint, whole or not at all.

    Parameters
    ----------
    pruning : mapping
        For ``pruning.json``, plain JSON data: ``version``, ``structure``, ``p``, ``q``,
        ``compression`` (of the encoder's Linears), ``densities``, ``source``, ``score`` (by
        ``dense`` and ``pruned``, then by metric), ``prune`` and ``train``, the resolved settings.
        ``model_compression`` is added; local paths are cut to their last part.
    masks : mapping of str to Tensor or ndarray of bool, shape (N, K), optional
        By layer name in the base model, for ``masks.safetensors``.

    Raises
    ------
    InputError
        If a dead weight is not zero, the output holds something else, or the system refuses to
        write.
    """
    source = _source_card(checkpoint)
    note, sizes = _noted(checkpoint, pruning, masks)
    with whole_folder(out_dir) as folder:
        write_checkpoint(folder, checkpoint, task)
        _write_pruning(folder, note, masks)
        _write_card(folder, make_card(checkpoint.name, task, source=source, pruning=note,
                                      sizes=sizes))
    return Path(out_dir)


def write_export(out_dir: str | Path, checkpoint: Checkpoint, task: Task,
                 layers: list[PackedLayer], *, pruning: Mapping[str, Any] | None,
                 metadata: Mapping[str, Any], masks: Mapping[str, Any] | None = None) -> Path:
    """Write an artefact folder, whole or not at all.

    Parameters
    ----------
    pruning : mapping, optional
        What ``pruning.json`` says; None for a dense model.
    metadata : mapping
        For ``sparseloom.safetensors``; plain JSON data.
    masks : mapping, optional
        As in :func:`write_pruned`; only with ``pruning``.

    Raises
    ------
    InputError
        As in :func:`write_pruned`.
    """
    source = _source_card(checkpoint)
    note, sizes = (None, None) if pruning is None else _noted(checkpoint, pruning, masks)
    with whole_folder(out_dir) as folder:
        write_checkpoint(folder, checkpoint, task)
        if note is not None:
            _write_pruning(folder, note, masks)
        write_artefact(folder, layers, without_paths(metadata))
        _write_card(folder, make_card(checkpoint.name, task, source=source, pruning=note,
                                      metadata=metadata, sizes=sizes))
    return Path(out_dir)


def _write_pruning(folder: Path, note: Mapping[str, Any],
                   masks: Mapping[str, Any] | None) -> None:
    _write_json(folder / PRUNING_FILE, note)
    if masks is not None:
        write_masks(folder, masks, structure=note["structure"], p=note["p"], q=note["q"])


def _write_card(folder: Path, text: str) -> None:
    (folder / CARD_FILE).write_text(text, encoding="utf-8")


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
    numbers = {f"score {state} {metric}".rstrip(): value for state, score in data["score"].items()
               for metric, value in (score if isinstance(score, dict) else {"": score}).items()}
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


def read_training(ref: str | Path) -> dict[str, Any] | None:
    """The ``training.json`` of a fine-tuned checkpoint folder; None where there is none.

    Raises
    ------
    InputError
        If it is not JSON, or its scores are no numbers.
    """
    path = Path(ref) / TRAINING_FILE
    if not path.is_file():
        return None
    data = _read_json(path)
    try:
        scores_of(data, "")
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}, score: expected numbers, found: {shown(error)}") from None
    return data


def read_task_note(folder: str | Path) -> TaskNote:
    """What a checkpoint or artefact folder of ours tells about its task.

    A note of the first version has one metric, and its ``similarity`` is now the head ``cosine``.

    Raises
    ------
    InputError
        If the folder tells nothing, or something else.
    """
    path = Path(folder) / TASK_FILE
    if not path.is_file():
        raise InputError(f"{folder}: expected {TASK_FILE} in the folder, found none")
    data = _read_json(path)
    version = data.get("version")
    if type(version) is not int or not 1 <= version <= TASK_VERSION:  # True is no version
        raise InputError(f"{path}, version: expected 1 to {TASK_VERSION}, found {shown(version)}")
    try:
        count = int(data["num_labels"])
        if version == 1:
            head = {"similarity": "cosine"}.get(data["kind"], data["kind"])
            metrics = (str(data["metric"]),)
            labels = tuple(map(str, range(count if head == "classification" else 0)))
        else:
            head = data["head"]
            metrics = tuple(map(str, _list(data["metrics"])))
            labels = tuple(map(str, _list(data["labels"])))
        if head not in HEADS or not metrics or count != (len(labels) or 1):
            raise ValueError(f"head {head}, {len(metrics)} metrics, {len(labels)} labels and "
                             f"num_labels {count}")
        return TaskNote(name=str(data["name"]), head=head, metrics=metrics, labels=labels,
                        num_labels=count,
                        examples=tuple(tuple(map(str, item)) for item in data["examples"]))
    except (KeyError, TypeError, ValueError) as error:
        expected = ("name, kind, metric, num_labels and examples" if version == 1 else
                    "name, head, metrics, labels, num_labels and examples")
        raise InputError(f"{path}: expected {expected}, found: {shown(error)}") from None


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__} where a list belongs")
    return value


@dataclass(frozen=True, kw_only=True)
class KnownTask:
    """What a checkpoint itself says of the task that it was trained for.

    Parameters
    ----------
    name, head : str, optional
        Only a folder of ours says them.
    labels : tuple of str
        Class names in the order of the head's outputs; none where there are none, or numbers only.
    """

    name: str | None
    head: str | None
    labels: tuple[str, ...]


def known_task(ref: str | Path) -> KnownTask | None:
    """What a folder says of its task; None for a hub name, or a folder that says nothing.

    Raises
    ------
    InputError
        If a note of ours is damaged.
    """
    folder = Path(ref)
    if is_ours(folder):
        note = read_task_note(folder)
        return KnownTask(name=note.name, head=note.head, labels=note.labels)
    try:
        names = json.loads((folder / "config.json").read_text(encoding="utf-8"))["id2label"]
        labels = tuple(str(names[str(index)]) for index in range(len(names)))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if len(labels) < 2 or all(label == f"LABEL_{index}" for index, label in enumerate(labels)):
        return None
    return KnownTask(name=None, head=None, labels=labels)


def is_artefact(ref: str | Path) -> bool:
    """Whether a folder holds an integer model."""
    return Path(ref).is_dir() and artefact_path(ref).is_file()
