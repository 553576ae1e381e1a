"""Real integers that enter a layer of the integer model, for the simulator to feed its unit."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sparseloom.model.errors import InputError
from sparseloom.model.export import read_task_note
from sparseloom.model.packed.artefact import read_artefact

if TYPE_CHECKING:
    import numpy as np


def capture_layers(artefact_dir: str | Path, layers: Sequence[str], *, tokens: int = 32,
                   sentences: Sequence[str] | None = None) -> dict[str, np.ndarray]:
    """The first real tokens that enter each of some layers.

    Sentences run one by one, without padding, until there are enough tokens.

    Parameters
    ----------
    artefact_dir : str or path
        An artefact folder with its checkpoint.
    layers : sequence of str
        Layer names.
    tokens : int
        How many rows are wanted; special tokens count, they are as real as words.
    sentences : sequence of str, optional
        What to run; by default the examples noted in the folder.

    Returns
    -------
    dict of str to ndarray of int8, shape (tokens, K)

    Raises
    ------
    InputError
        If the artefact or its checkpoint cannot be used, a layer is not in it, or the sentences
        hold too few tokens.
    """
    if tokens < 1:
        raise InputError(f"tokens: expected 1 or more, found {tokens}")
    artefact = read_artefact(artefact_dir)
    for name in layers:
        artefact.layer(name)
    note = read_task_note(artefact_dir)
    items = [(text,) for text in sentences] if sentences is not None else list(note.examples)
    if note.head == "cosine":
        items = [(text,) for item in items for text in item]

    import torch

    from sparseloom.model.checkpoint import load_checkpoint
    from sparseloom.model.encode import Encoder
    from sparseloom.model.integer_model import make_integer
    from sparseloom.model.layers import base_model

    checkpoint = load_checkpoint(artefact_dir)
    modules = make_integer(checkpoint.model, artefact.layers)
    encoder = Encoder(checkpoint.tokenizer, checkpoint.max_tokens)
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in layers}
    for name in layers:
        modules[name].tap = seen[name].append
    count = 0
    with torch.inference_mode():
        for item in dict.fromkeys(items):
            batch = encoder.batch([item])
            base_model(checkpoint.model)(**batch)
            count += batch["input_ids"].shape[1]
            if count >= tokens:
                break
    if count < tokens:
        raise InputError(f"tokens: expected at most {count}, all that the sentences hold, found "
                         f"{tokens}")
    return {name: torch.cat(parts)[:tokens].numpy().copy() for name, parts in seen.items()}


def capture_activations(artefact_dir: str | Path, layer: str, *, tokens: int = 32,
                        sentences: Sequence[str] | None = None) -> np.ndarray:
    """The first real tokens that enter one layer: int8 of shape (tokens, K).

    See :func:`capture_layers`.
    """
    return capture_layers(artefact_dir, [layer], tokens=tokens, sentences=sentences)[layer]
