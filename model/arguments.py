"""Transformers' ``TrainingArguments`` from our defaults, a YAML file and flags."""
from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sparseloom.model.config import DEFAULT_ARGUMENTS
from sparseloom.model.errors import InputError, cut, shown

SECTIONS = ("prune", "train", "quantize")
"""Parts of a file that hold our own settings, by the names of their classes' fields."""
OURS = ("output_dir", "overwrite_output_dir", "do_train", "do_eval", "do_predict", "use_cpu")
"""What a file may say and we decide."""


def read_config(path: str | Path) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """A YAML file of ``TrainingArguments``, with sections for our own settings.

    Returns
    -------
    arguments : dict
        Top-level keys.
    sections : dict of str to dict
        ``prune``, ``train`` and ``quantize``, where they are there.

    Raises
    ------
    InputError
        If it cannot be read or has keys of neither kind.
    """
    try:
        data = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"config {path}: expected YAML, found: "
                         f"{cut(' '.join(str(error).split()))}") from None
    if data is None:
        data = {}
    if not isinstance(data, dict):
        raise InputError(f"config {path}: expected names with values, found {shown(data)}")
    sections = {name: data.pop(name) for name in SECTIONS if name in data}
    for name, section in sections.items():
        if not isinstance(section, dict):
            raise InputError(f"config {path}, {name}: expected names with values, "
                             f"found {shown(section)}")
    check_names(data, f"config {path}")
    return data, sections


def check_names(arguments: Mapping[str, Any], where: str) -> None:
    """Refuse what is no field of ``TrainingArguments``.

    Raises
    ------
    InputError
        Names the first one.
    """
    from transformers import TrainingArguments
    known = {field.name for field in dataclasses.fields(TrainingArguments)}
    for name in arguments:
        if name not in known:
            raise InputError(f"{where}: expected fields of TrainingArguments or one of "
                             f"{', '.join(SECTIONS)}, found {shown(name)}")


def _with_numbers(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers where the library wants them: YAML takes ``1e-3`` for text, for want of a point.

    Raises
    ------
    InputError
        Where it is no number; the library would find out in the middle of a step.
    """
    from transformers import TrainingArguments
    found = dict(arguments)
    for field in dataclasses.fields(TrainingArguments):
        value, default = found.get(field.name), field.default
        if value is None or isinstance(default, bool) or not isinstance(default, (int, float)):
            continue
        if isinstance(value, str):
            try:
                value = float(value)
                value = int(value) if isinstance(default, int) and value.is_integer() else value
            except (ValueError, OverflowError):
                pass
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise InputError(f"training arguments, {field.name}: expected a number, "
                             f"found {shown(value)}")
        found[field.name] = value
    return found


def training_arguments(output_dir: str | Path, arguments: Mapping[str, Any], *, bfloat16: bool,
                       ) -> Any:
    """``TrainingArguments`` of a run.

    Parameters
    ----------
    output_dir : str or path
        Where the Trainer keeps its checkpoints.
    arguments : mapping
        Fields that were asked for; ours (:data:`DEFAULT_ARGUMENTS`) fill the rest.
    bfloat16 : bool
        Autocast, unless ``bf16`` or ``fp16`` was asked for.

    Raises
    ------
    InputError
        If the library refuses a value.
    """
    import torch
    from transformers import TrainingArguments
    check_names(arguments, "training arguments")
    given = {**DEFAULT_ARGUMENTS,
             "train_sampling_strategy": "group_by_length", "report_to": "none",
             "remove_unused_columns": False,
             "save_total_limit": 2, "logging_steps": 50, "dataloader_pin_memory": False,
             **arguments}
    for name in OURS:
        given.pop(name, None)
    given = _with_numbers(given)
    if not given.get("fp16") and "bf16" not in arguments:
        given["bf16"] = bfloat16
    cuda = torch.cuda.is_available()
    if not cuda and "LOCAL_RANK" in os.environ:  # torchrun and accelerate launch set it
        given.setdefault("ddp_backend", "gloo")
    try:
        made = TrainingArguments(output_dir=str(output_dir), use_cpu=not cuda, **given)
    except (ValueError, TypeError, RuntimeError, ImportError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"training arguments: expected values that transformers takes, "
                         f"found: {cut(reason)}") from None
    return made
