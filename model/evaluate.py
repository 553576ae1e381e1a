"""Answers of a model to many items, and its scores on a task."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.progress import Progress
from torch import nn

from sparseloom.model.encode import Encoder, Item, by_length
from sparseloom.model.heads import Head
from sparseloom.model.progress import stage
from sparseloom.model.tasks import Row


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """What a model scored on rows.

    Parameters
    ----------
    scores : dict of str to float
        By metric; 1 is best.
    found : ndarray of float64, shape (rows,)
        Predictions: classes, or numbers.
    """

    scores: dict[str, float]
    found: np.ndarray

    @property
    def rows(self) -> int:
        """How many rows were scored."""
        return len(self.found)


@torch.no_grad()
def predict(model: nn.Module, head: Head, encoder: Encoder, items: Sequence[Item], *, batch: int,
            progress: Progress | None = None, title: str = "evaluate") -> dict[Item, torch.Tensor]:
    """A model's answer to each distinct item, in float32.

    Items are encoded once however often they occur, sorted by length to keep padding low.
    """
    distinct = list(dict.fromkeys(items))
    encoder.add(distinct)
    device = next(model.parameters()).device
    training = model.training
    model.eval()
    found: dict[Item, torch.Tensor] = {}
    with stage(progress, title, len(distinct)) as advance:
        for indices in by_length([encoder.length(item) for item in distinct], batch):
            chosen = [distinct[index] for index in indices]
            inputs = {name: value.to(device) for name, value in encoder.batch(chosen).items()}
            answers = head.answers(model, inputs).float().cpu()
            found |= dict(zip(chosen, answers, strict=True))
            advance(len(chosen))
    model.train(training)
    return found


def score(model: nn.Module, head: Head, encoder: Encoder, rows: Sequence[Row], *, batch: int,
          progress: Progress | None = None, title: str = "evaluate") -> Evaluation:
    """A model's scores on rows."""
    items = [item for row in rows for item in head.items(row)]
    found = predict(model, head, encoder, items, batch=batch, progress=progress, title=title)
    answers = torch.stack([found[item] for item in items])
    return Evaluation(scores=head.scores(answers, rows),
                      found=head.predictions(answers).numpy())
