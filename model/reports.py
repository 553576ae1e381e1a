"""What each call of the flow found, as plain data. No torch."""
from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np


class Report:
    """A frozen dataclass that JSON can hold; predictions stay out."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data: paths as text, no arrays."""
        found = {field.name: getattr(self, field.name)
                 for field in fields(self)}  # pyright: ignore[reportArgumentType]
        return {name: str(value) if isinstance(value, Path) else value
                for name, value in found.items() if not isinstance(value, np.ndarray)}


@dataclass(frozen=True, kw_only=True, eq=False)
class FinetuneReport(Report):
    """What fine-tuning did.

    Parameters
    ----------
    scores : dict of str to float
        By metric, on the validation rows; 1 is best.
    found : ndarray of float64, shape (rows,)
        Predictions for the validation rows.
    steps : int
        Optimiser steps.
    seconds : float
        Wall time, scores and writing included.
    """

    task: str
    model: str
    metric: str
    scores: dict[str, float]
    found: np.ndarray
    steps: int
    seconds: float
    checkpoint: Path


@dataclass(frozen=True, kw_only=True, eq=False)
class PruneReport(Report):
    """What pruning did.

    Parameters
    ----------
    dense_scores, pruned_scores : dict of str to float
        By metric; the dense model is the one that pruning began with. None where it was not
        scored.
    found : ndarray of float64, shape (rows,)
        The pruned model's predictions for the validation rows.
    compression : float
        All weights of the encoder's Linear layers over the surviving ones, counted in the result.
    model_compression : float
        The same for all parameters of the model, embeddings and head included.
    densities : dict of str to float
        Surviving share of each layer.
    cycles, dense_cycles : dict of str to int
        Of each Linear layer by the cycle model, on the array that the settings name.
    reweightings : int
        How often γ was computed.
    steps : int
        Optimiser steps of all stages.
    seconds : float
        Wall time, scores and writing included.
    """

    task: str
    model: str
    metric: str
    dense_scores: dict[str, float] | None
    pruned_scores: dict[str, float]
    found: np.ndarray
    compression: float
    model_compression: float
    densities: dict[str, float]
    cycles: dict[str, int]
    dense_cycles: dict[str, int]
    reweightings: int
    steps: int
    seconds: float
    checkpoint: Path

    @property
    def pruned_score(self) -> float:
        """By the task's metric."""
        return self.pruned_scores[self.metric]

    @property
    def dense_score(self) -> float | None:
        """By the task's metric."""
        return self.dense_scores[self.metric] if self.dense_scores else None


@dataclass(frozen=True, kw_only=True, eq=False)
class QuantizeReport(Report):
    """What quantisation did.

    Parameters
    ----------
    float_scores, integer_scores : dict of str to float, optional
        Of the checkpoint, as its training noted it, and of the integer model. The latter is None
        where none was asked for.
    found : ndarray of float64, shape (rows,), optional
        The integer model's predictions for the validation rows.
    stored_bits_per_weight : float
        Weights and masks over surviving weights, of the worst layer.
    """

    task: str
    model: str
    metric: str
    float_scores: dict[str, float] | None
    integer_scores: dict[str, float] | None
    found: np.ndarray | None
    compression: float
    densities: dict[str, float]
    stored_bits_per_weight: float
    qat_steps: int
    seconds: float
    artefact: Path

    @property
    def integer_score(self) -> float | None:
        """By the task's metric."""
        return self.integer_scores[self.metric] if self.integer_scores else None
