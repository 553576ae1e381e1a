"""Answers of a model to many items, and its score on a task."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.progress import Progress
from torch import nn

from sparseloom.model.encode import Encoder, Item, by_length
from sparseloom.model.heads import Head
from sparseloom.model.progress import stage
from sparseloom.model.tasks import Row


@torch.no_grad()
def predict(model: nn.Module, head: Head, encoder: Encoder, items: Sequence[Item], *, batch: int,
            progress: Progress | None = None, title: str = "evaluate") -> dict[Item, torch.Tensor]:
    """A model's answer to each distinct item, in float32.

    Items are encoded once however often they occur, sorted by length to keep padding low.
    """
    distinct = list(dict.fromkeys(items))
    encoder.add(distinct)
    training = model.training
    model.eval()
    found: dict[Item, torch.Tensor] = {}
    with stage(progress, title, len(distinct)) as advance:
        for indices in by_length([encoder.length(item) for item in distinct], batch):
            chosen = [distinct[index] for index in indices]
            answers = head.answers(model, encoder.batch(chosen)).float()
            found |= dict(zip(chosen, answers, strict=True))
            advance(len(chosen))
    model.train(training)
    return found


def score(model: nn.Module, head: Head, encoder: Encoder, rows: Sequence[Row], *, batch: int,
          progress: Progress | None = None, title: str = "evaluate") -> float:
    """A model's score on rows: see the head's ``score``."""
    items = [item for row in rows for item in head.items(row)]
    found = predict(model, head, encoder, items, batch=batch, progress=progress, title=title)
    return head.score(torch.stack([found[item] for item in items]), rows)
