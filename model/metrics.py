"""What predictions are worth: GLUE's metrics, by name, from scikit-learn and scipy. No torch."""
from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from scipy import stats
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef

from sparseloom.model.errors import InputError, cut

Metric = Callable[[np.ndarray, np.ndarray], float]


def accuracy(found: np.ndarray, wanted: np.ndarray) -> float:
    """Share of equal classes."""
    return float(accuracy_score(wanted, found))


def f1(found: np.ndarray, wanted: np.ndarray) -> float:
    """Harmonic mean of precision and recall of class 1; 0 where there is nothing to find."""
    # One label and its mean, not average="binary", which refuses rows without that class.
    return _f1(found, wanted, [1])


def f1_macro(found: np.ndarray, wanted: np.ndarray) -> float:
    """Mean of the F1 of every class that occurs, for more than two of them."""
    return _f1(found, wanted, None)


def matthews(found: np.ndarray, wanted: np.ndarray) -> float:
    """Correlation of classes, -1 to 1; 0 where one side is constant."""
    if _constant(found) or _constant(wanted):  # scikit-learn warns of it
        return 0.0
    return float(matthews_corrcoef(wanted, found))


def pearson(found: np.ndarray, wanted: np.ndarray) -> float:
    """Linear correlation of scores, -1 to 1; 0 where one side is constant, NaN where one is NaN."""
    return _correlation(stats.pearsonr, found, wanted)


def spearman(found: np.ndarray, wanted: np.ndarray) -> float:
    """Correlation of ranks, -1 to 1, ties ranked by their mean; 0 and NaN as for Pearson's."""
    return _correlation(stats.spearmanr, found, wanted)


METRICS: dict[str, Metric] = {
    "accuracy": accuracy, "f1": f1, "f1_macro": f1_macro, "matthews": matthews,
    "pearson": pearson, "spearman": spearman}
"""All of them 1 at best; of classes the first four, of scores the last two."""


def compute(names: Iterable[str], found: np.ndarray, wanted: np.ndarray) -> dict[str, float]:
    """Score predictions by several metrics.

    Parameters
    ----------
    names : iterable of str
        Out of :data:`METRICS`.
    found, wanted : ndarray of shape (rows,)
        Class indices, or scores.

    Returns
    -------
    dict of str to float
        In the order of the names.

    Raises
    ------
    InputError
        If a metric is unknown, or the arrays are not two columns of the same, not zero, length.
    """
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape or found.ndim != 1 or not found.size:
        raise InputError("metrics: expected as many predictions as labels, one or more, found "
                         f"shapes {found.shape} and {wanted.shape}")
    scores = {}
    for name in names:
        if name not in METRICS:
            raise InputError(f"metric {cut(name)}: expected one of {', '.join(METRICS)}")
        scores[name] = METRICS[name](found, wanted)
    return scores


def _f1(found: np.ndarray, wanted: np.ndarray, classes: list[int] | None) -> float:
    silent: Any = 0.0  # typed as text, documented as a number
    return float(f1_score(wanted, found, labels=classes, average="macro", zero_division=silent))


def _constant(values: np.ndarray) -> bool:
    return bool((values == values[0]).all())


def _correlation(function: Callable, found: np.ndarray, wanted: np.ndarray) -> float:
    found, wanted = found.astype(np.float64), wanted.astype(np.float64)
    if not (np.isfinite(found).all() and np.isfinite(wanted).all()):
        return math.nan  # a model that broke must not look like one that guesses
    if _constant(found) or _constant(wanted):
        return 0.0
    with warnings.catch_warnings():  # of values that differ in their last bits only
        warnings.simplefilter("ignore", category=stats.ConstantInputWarning)
        warnings.simplefilter("ignore", category=stats.NearConstantInputWarning)
        value = float(function(found, wanted).statistic)
    return value if math.isfinite(value) else 0.0
