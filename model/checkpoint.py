"""Load a Hugging Face encoder and its tokenizer from a folder or the hub."""
from __future__ import annotations

import hashlib
import os
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparseloom.model.errors import InputError
from sparseloom.model.layers import base_model
from sparseloom.model.tasks import Task

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A model with what belongs to it.

    Parameters
    ----------
    name : str
        The hub name, or the last part of the folder's path: no local path is written anywhere.
    model : nn.Module
        In float32 and evaluation mode.
    tokenizer
    new_head : bool
        The checkpoint brought no head for this task; it has random weights.
    max_tokens : int
        Longest input of the model.
    """

    name: str
    model: Any
    tokenizer: Any
    new_head: bool
    max_tokens: int


def load_checkpoint(ref: str | Path, task: Task | None = None, *, name: str | None = None,
                    seed: int = 0) -> Checkpoint:
    """Load a model for a task.

    Parameters
    ----------
    ref : str or path
        A local checkpoint folder, or a hub name (which needs a network or the local cache).
    task : Task, optional
        Classification and regression bring a head; otherwise the bare encoder is loaded.
    name : str, optional
        What to call it in notes and reports; see :class:`Checkpoint`.
    seed : int
        Of a new head's weights.

    Raises
    ------
    InputError
        If there is no such checkpoint, or it cannot be loaded.
    """
    from transformers import (
        AutoModel,
        AutoModelForSequenceClassification,
        AutoTokenizer,
    )

    folder = Path(ref)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise InputError(f"checkpoint {ref}: expected config.json in the folder, found none")
    if not folder.is_dir() and (str(ref).startswith((".", "/", "~")) or folder.is_file()):
        raise InputError(f"checkpoint {ref}: expected a folder, found none")
    source = str(folder) if folder.is_dir() else str(ref)
    torch.manual_seed(seed)
    new_head = False
    with _quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(source)
            if task is not None and task.head != "cosine":
                model, report = AutoModelForSequenceClassification.from_pretrained(
                    source, num_labels=task.num_labels, ignore_mismatched_sizes=True,
                    output_loading_info=True)
                new_head = _misses_head(model, report)
            else:
                model, report = AutoModel.from_pretrained(source, output_loading_info=True)
            missing = _missing_encoder(model, report)
        except InputError:
            raise
        except Exception as error:  # whatever a damaged or foreign folder makes the library raise
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise InputError(f"checkpoint {ref}: expected a Hugging Face encoder with its "
                             f"tokenizer, found: {lines[0]}") from None
    if missing:
        raise InputError(f"checkpoint {ref}: expected weights for {missing[0]}, found none "
                         f"({len(missing)} tensors missing)")
    name = name or (folder.resolve().name if folder.is_dir() else str(ref))
    return Checkpoint(name=name, model=model.float().eval(), tokenizer=tokenizer,
                      new_head=new_head, max_tokens=_max_tokens(model, tokenizer))


class _quiet:
    """Keep the library's progress bars and notes off the console for a while."""

    def __enter__(self):
        from transformers.utils import logging
        self.logging, self.level = logging, logging.get_verbosity()
        self.bars = logging.is_progress_bar_enabled()
        logging.set_verbosity_error()
        logging.disable_progress_bar()
        self.warnings = warnings.catch_warnings()
        self.warnings.__enter__()
        warnings.simplefilter("ignore")

    def __exit__(self, *problem):
        self.warnings.__exit__(*problem)
        self.logging.set_verbosity(self.level)
        if self.bars:
            self.logging.enable_progress_bar()


def quiet() -> _quiet:
    """A ``with`` block in which transformers draws no bars and warns of nothing."""
    return _quiet()


def _names(report: dict[str, Any], key: str) -> list[str]:
    return [item if isinstance(item, str) else item[0] for item in report.get(key, ())]


def _in_base(model: nn.Module, name: str) -> bool:
    prefix = getattr(model, "base_model_prefix", "")
    return base_model(model) is model or name.startswith(f"{prefix}.")


def _misses_head(model: nn.Module, report: dict[str, Any]) -> bool:
    absent = _names(report, "missing_keys") + _names(report, "mismatched_keys")
    return any(not _in_base(model, name) for name in absent)


def _missing_encoder(model: nn.Module, report: dict[str, Any]) -> list[str]:
    """Weights below the head that the checkpoint lacks; a pooler may be new, like the head."""
    absent = _names(report, "missing_keys") + _names(report, "mismatched_keys")
    return sorted(name for name in absent if _in_base(model, name) and "pooler." not in name)


def _max_tokens(model: nn.Module, tokenizer: Any) -> int:
    limits = [int(min(getattr(tokenizer, "model_max_length", 1 << 30), 1 << 30))]
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions:
        # RoBERTa counts positions from behind its padding index.
        offset = max((part.padding_idx + 1 for part in model.modules()
                      if isinstance(part, nn.Embedding) and part.num_embeddings == positions
                      and part.padding_idx is not None), default=0)
        limits.append(positions - offset)
    return min(limits)


def state_hash(model: nn.Module) -> str:
    """SHA-256 of the model's tensors, by name, dtype, shape and bytes."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        data = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {data.dtype} {tuple(data.shape)}\n".encode())
        digest.update(data.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()
