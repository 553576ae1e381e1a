"""Means over seeds, and paired bootstrap intervals of differences between two models."""
from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import rankdata

RESAMPLES = 2000
CONFIDENCE = 0.95
COUNTS_FROM = 10.0
"""A task counts where dense beats the trivial answer by this many points."""
_CHUNK = 250


def mean_sd(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean and sample standard deviation; None for a single value."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def trivial_score(metric: str, train: Sequence[float], validation: Sequence[float]) -> float:
    """Points of the best answer that reads no sentence: training's commonest class, or 0."""
    if metric != "accuracy":
        return 0.0
    classes, counts = np.unique(np.asarray(train), return_counts=True)
    return 100.0 * float(np.mean(np.asarray(validation) == classes[counts.argmax()]))


def scores_of(metric: str, found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The metric of each of many samples at once, × 100.

    Parameters
    ----------
    metric : str
        ``accuracy``, ``matthews`` (two classes, 0 and 1) or ``spearman``.
    found, wanted : ndarray of shape (samples, rows)

    Returns
    -------
    ndarray of float64, shape (samples,)
        0 where a correlation is not defined, since one side is constant.

    Raises
    ------
    ValueError
        For another metric.
    """
    if metric == "accuracy":
        return 100.0 * (found == wanted).mean(axis=1)
    if metric == "matthews":
        return 100.0 * _correlation((found == 1).astype(float), (wanted == 1).astype(float))
    if metric == "spearman":
        return 100.0 * _correlation(rankdata(found, axis=1), rankdata(wanted, axis=1))
    raise ValueError(f"metric: expected accuracy, matthews or spearman, found {metric!r}")


def _correlation(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Pearson's of each row; for two classes it is Matthews'."""
    x = x - x.mean(axis=1, keepdims=True)
    y = y - y.mean(axis=1, keepdims=True)
    below = np.sqrt((x * x).sum(axis=1) * (y * y).sum(axis=1))
    above = (x * y).sum(axis=1)
    return np.divide(above, below, out=np.zeros_like(above), where=below > 1e-12)


def paired_bootstrap(metric: str, wanted: Sequence[float],
                     pairs: Sequence[tuple[Sequence[float], Sequence[float]]], *,
                     resamples: int | None = None, seed: int = 0) -> dict[str, float | int]:
    """Interval of the difference between two models' scores on the same rows.

    Rows are drawn with replacement; the same draw serves both models and every seed, whose
    differences are averaged. So it says how far the choice of validation rows carries; how far
    the seed carries is in the standard deviation.

    Parameters
    ----------
    metric : str
        As for :func:`scores_of`.
    wanted : sequence of float
        Labels.
    pairs : sequence of pairs of sequences of float
        Predictions of the first and the second model, for each seed.
    resamples : int, optional
        :data:`RESAMPLES` by default.

    Returns
    -------
    dict
        ``difference`` (first minus second, in points), ``low`` and ``high`` (its 95 % interval,
        percentiles of the resamples), ``seeds``.
    """
    resamples = resamples or RESAMPLES
    labels = np.asarray(wanted, dtype=np.float64)
    models = [tuple(np.asarray(side, dtype=np.float64) for side in pair) for pair in pairs]
    random = np.random.default_rng(seed)

    def differences(indices: np.ndarray) -> np.ndarray:
        drawn = labels[indices]
        each = [scores_of(metric, first[indices], drawn) - scores_of(metric, second[indices], drawn)
                for first, second in models]
        return np.mean(each, axis=0)

    whole = differences(np.arange(len(labels))[None])[0]
    found = np.concatenate([
        differences(random.integers(0, len(labels), (min(_CHUNK, resamples - start), len(labels))))
        for start in range(0, resamples, _CHUNK)])
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return {"difference": round(float(whole), 3), "low": round(float(low), 3),
            "high": round(float(high), 3), "seeds": len(models)}
