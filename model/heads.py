"""What a task makes of an encoder: its answers, its loss, its score."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sparseloom.model.encode import Item
from sparseloom.model.layers import base_model
from sparseloom.model.tasks import Row, Task

TEMPERATURE = 2.0
"""Of the softened classes that a student learns from its teacher."""


class Similarity:
    """Pairs scored by the cosine of their mean-pooled sentence vectors.

    Source: Reimers and Gurevych, Sentence-BERT (arXiv 1908.10084), section 3.
    """

    def __init__(self, task: Task):
        labels = [row.label for row in task.train]
        self.low, self.high = min(labels), max(labels)

    def items(self, row: Row) -> list[Item]:
        """Each sentence is encoded by itself."""
        return [(text,) for text in row.sentences]

    def answers(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Sentence vectors, shape (items, hidden).

        Each is a mean over its own real tokens alone, so its bits do not depend on padding.
        """
        hidden = base_model(model)(**batch).last_hidden_state
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        return torch.stack([hidden[index, :length].mean(dim=0)
                            for index, length in enumerate(lengths)])

    def loss(self, answers: torch.Tensor, rows: Sequence[Row], teacher: torch.Tensor | None,
             distil: float) -> torch.Tensor:
        """Squared error of the cosines, and the angle to the teacher's vectors.

        Parameters
        ----------
        answers : Tensor of shape (2 · rows, hidden)
            First and second sentence of each row in turn.
        teacher : Tensor of the same shape, optional
        distil : float
            Weight of the teacher.
        """
        span = self.high - self.low
        wanted = torch.tensor([(row.label - self.low) / span for row in rows])
        cosine = nn.functional.cosine_similarity(answers[0::2], answers[1::2])
        loss = (cosine - wanted).square().mean()
        if teacher is None:
            return loss
        angle = 1 - nn.functional.cosine_similarity(answers, teacher)
        return (1 - distil) * loss + distil * angle.mean()

    def score(self, answers: torch.Tensor, rows: Sequence[Row]) -> float:
        """Spearman's ρ of cosines and labels, ties ranked by their mean."""
        cosine = nn.functional.cosine_similarity(answers[0::2].double(), answers[1::2].double())
        return spearman(cosine.numpy(), np.array([row.label for row in rows]))


class Classification:
    """One or two sentences to a class, by the model's own head."""

    def __init__(self, task: Task):
        self.metric = task.metric

    def items(self, row: Row) -> list[Item]:
        """A row is encoded at once."""
        return [row.sentences]

    def answers(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Logits, shape (items, classes)."""
        return model(**batch).logits

    def loss(self, answers: torch.Tensor, rows: Sequence[Row], teacher: torch.Tensor | None,
             distil: float) -> torch.Tensor:
        """Cross entropy with the labels, and with the teacher's softened classes."""
        wanted = torch.tensor([int(row.label) for row in rows])
        loss = nn.functional.cross_entropy(answers, wanted)
        if teacher is None:
            return loss
        soft = nn.functional.kl_div((answers / TEMPERATURE).log_softmax(dim=1),
                                    (teacher / TEMPERATURE).softmax(dim=1),
                                    reduction="batchmean") * TEMPERATURE**2
        return (1 - distil) * loss + distil * soft

    def score(self, answers: torch.Tensor, rows: Sequence[Row]) -> float:
        """The task's metric of the strongest classes."""
        wanted = np.array([int(row.label) for row in rows])
        return METRICS[self.metric](answers.argmax(dim=1).numpy(), wanted)


Head = Similarity | Classification


def head_of(task: Task) -> Head:
    """The head that suits a task."""
    return Similarity(task) if task.kind == "similarity" else Classification(task)


def accuracy(found: np.ndarray, wanted: np.ndarray) -> float:
    """Share of equal classes."""
    return float((found == wanted).mean())


def f1(found: np.ndarray, wanted: np.ndarray) -> float:
    """Harmonic mean of precision and recall of class 1; 0 where there is nothing to find."""
    hits = int(((found == 1) & (wanted == 1)).sum())
    total = int((found == 1).sum()) + int((wanted == 1).sum())
    return 2 * hits / total if total else 0.0


def matthews(found: np.ndarray, wanted: np.ndarray) -> float:
    """Correlation of two classes, -1 to 1; 0 where one side is constant."""
    table = [int(((found == a) & (wanted == b)).sum()) for a in (0, 1) for b in (0, 1)]
    tn, fn, fp, tp = table
    product = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    return (tp * tn - fp * fn) / math.sqrt(product) if product else 0.0


def spearman(found: np.ndarray, wanted: np.ndarray) -> float:
    """Rank correlation, -1 to 1; 0 where one side is constant."""
    from scipy.stats import rankdata
    ranks: list[Any] = [rankdata(values) - (len(values) + 1) / 2 for values in (found, wanted)]
    size = math.sqrt((ranks[0]**2).sum() * (ranks[1]**2).sum())
    return float((ranks[0] * ranks[1]).sum() / size) if size else 0.0


METRICS = {"accuracy": accuracy, "f1": f1, "matthews": matthews}
