"""What a task makes of an encoder: its answers, its losses, its predictions."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sparseloom.model import metrics
from sparseloom.model.encode import Item
from sparseloom.model.tasks import Row, Task


class Head:
    """How rows become items, and a model's outputs answers.

    A subclass says what an answer is. One row has :attr:`width` items, and as many answers.
    """

    width = 1

    def __init__(self, task: Task):
        self.metrics = task.metrics

    def items(self, row: Row) -> list[Item]:
        """What the encoder reads of a row."""
        return [row.sentences]

    def of_outputs(self, outputs: Any, attention_mask: torch.Tensor) -> torch.Tensor:
        """Answers, shape (items, …), of what the model returned."""
        return outputs.logits

    def answers(self, model: nn.Module, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """A model's answers to a batch of items, shape (items, …)."""
        return self.of_outputs(model(**batch), batch["attention_mask"])

    def loss(self, answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Mean over rows of the task's own loss.

        Parameters
        ----------
        answers : Tensor of float32, shape (rows · width, …)
        labels : Tensor of float32, shape (rows,)
        """
        raise NotImplementedError

    def distil_loss(self, answers: torch.Tensor, teacher: torch.Tensor,
                    temperature: float) -> torch.Tensor:
        """Mean over rows of how far the answers are from a teacher's, of the same shape."""
        raise NotImplementedError

    def predictions(self, answers: torch.Tensor) -> torch.Tensor:
        """One number a row, comparable with the labels: shape (rows,)."""
        raise NotImplementedError

    def scores(self, answers: torch.Tensor, rows: Sequence[Row]) -> dict[str, float]:
        """Every metric of the task."""
        wanted = np.array([row.label for row in rows])
        return metrics.compute(self.metrics, self.predictions(answers).numpy(), wanted)


class Cosine(Head):
    """Pairs scored by the cosine of their mean-pooled sentence vectors.

    Source: Reimers and Gurevych, Sentence-BERT (arXiv 1908.10084), section 3.
    """

    width = 2

    def __init__(self, task: Task):
        super().__init__(task)
        labels = [row.label for row in task.train] or [0.0, 1.0]
        self.low, self.high = min(labels), max(labels)

    def items(self, row: Row) -> list[Item]:
        """Each sentence is encoded by itself."""
        return [(text,) for text in row.sentences]

    def of_outputs(self, outputs: Any, attention_mask: torch.Tensor) -> torch.Tensor:
        """Sentence vectors, shape (items, hidden).

        Each is a mean over its own real tokens alone, so its bits do not depend on padding.
        """
        hidden = outputs.last_hidden_state
        lengths = attention_mask.sum(dim=1).tolist()
        return torch.stack([hidden[index, :length].mean(dim=0)
                            for index, length in enumerate(lengths)])

    def loss(self, answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Squared error of the cosines, labels scaled to 0..1."""
        wanted = (labels - self.low) / (self.high - self.low)
        cosine = nn.functional.cosine_similarity(answers[0::2], answers[1::2])
        return (cosine - wanted).square().mean()

    def distil_loss(self, answers: torch.Tensor, teacher: torch.Tensor,
                    temperature: float) -> torch.Tensor:
        """The angle to the teacher's vectors: 1 - cosine."""
        return 1 - nn.functional.cosine_similarity(answers, teacher).mean()

    def predictions(self, answers: torch.Tensor) -> torch.Tensor:
        """The cosines."""
        return nn.functional.cosine_similarity(answers[0::2].double(), answers[1::2].double())


class Regression(Head):
    """One or two sentences, read together, to a number."""

    def loss(self, answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Squared error."""
        return (answers[:, 0] - labels).square().mean()

    def distil_loss(self, answers: torch.Tensor, teacher: torch.Tensor,
                    temperature: float) -> torch.Tensor:
        """Squared error against the teacher's number."""
        return (answers - teacher).square().mean()

    def predictions(self, answers: torch.Tensor) -> torch.Tensor:
        """The numbers."""
        return answers[:, 0].double()


class Classification(Head):
    """One or two sentences, read together, to a class."""

    def loss(self, answers: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Cross entropy."""
        return nn.functional.cross_entropy(answers, labels.long())

    def distil_loss(self, answers: torch.Tensor, teacher: torch.Tensor,
                    temperature: float) -> torch.Tensor:
        """Divergence from the teacher's softened classes, times the temperature's square.

        Source: Hinton, Vinyals and Dean, arXiv 1503.02531, section 2.
        """
        return nn.functional.kl_div((answers / temperature).log_softmax(dim=1),
                                    (teacher / temperature).softmax(dim=1),
                                    reduction="batchmean") * temperature**2

    def predictions(self, answers: torch.Tensor) -> torch.Tensor:
        """The strongest class of each row."""
        return answers.argmax(dim=1).double()


HEADS: dict[str, type[Head]] = {"cosine": Cosine, "regression": Regression,
                                "classification": Classification}


def head_of(task: Task) -> Head:
    """The head that a task names."""
    return HEADS[task.head](task)
