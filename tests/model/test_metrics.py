"""Metrics against their formulas, written out; and what they say of useless answers."""
import math

import numpy as np
import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.metrics import METRICS, compute

FOUND = np.array([1, 0, 1, 1, 0, 1])
WANTED = np.array([1, 0, 0, 1, 1, 0])
"""Two true positives, two false ones, one false negative, one true negative."""


def test_of_classes_by_hand():
    scores = compute(("accuracy", "f1", "matthews"), FOUND, WANTED)
    assert list(scores) == ["accuracy", "f1", "matthews"]
    assert scores["accuracy"] == pytest.approx(3 / 6)
    assert scores["f1"] == pytest.approx(2 * 2 / (2 * 2 + 2 + 1))
    assert scores["matthews"] == pytest.approx((2 * 1 - 2 * 1) / math.sqrt(4 * 3 * 3 * 2))
    assert METRICS["matthews"](WANTED[:5], FOUND[:5]) == pytest.approx(1 / 6)


def test_f1_of_more_classes():
    """The mean over the classes; `f1` itself stays that of class 1."""
    found, wanted = np.array([0, 1, 2, 2]), np.array([0, 1, 2, 0])
    scores = compute(("f1_macro", "f1"), found, wanted)
    assert scores == pytest.approx({"f1_macro": (2 / 3 + 1 + 2 / 3) / 3, "f1": 1.0})


def test_correlations_by_hand():
    found, wanted = np.array([1.0, 2.0, 4.0]), np.array([0.0, 5.0, 3.0])
    scores = compute(("spearman", "pearson"), found, wanted)
    assert scores["spearman"] == pytest.approx(1 - 6 * (0 + 1 + 1) / (3 * 8))
    x, y = found - found.mean(), wanted - wanted.mean()
    size = math.sqrt((x * x).sum() * (y * y).sum())
    assert scores["pearson"] == pytest.approx((x * y).sum() / size)


def test_ties_share_their_rank():
    found, wanted = np.array([1.0, 1.0, 2.0]), np.array([1.0, 2.0, 3.0])
    assert METRICS["spearman"](found, wanted) == pytest.approx(1.5 / math.sqrt(1.5 * 2))


@pytest.mark.parametrize("name", METRICS)
def test_perfect_is_one(name):
    wanted = np.array([0, 1, 0, 1, 1])
    assert METRICS[name](wanted, wanted) == pytest.approx(1)


@pytest.mark.parametrize("name", ["matthews", "spearman", "pearson"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_constant_answers_are_worth_nothing(name, size):
    """Neither a warning, which these tests would fail on, nor NaN."""
    constant, other = np.ones(size), np.arange(size) % 2
    for found, wanted in ((constant, other), (other, constant), (constant, constant)):
        assert compute([name], found, wanted) == {name: 0.0}


def test_f1_where_there_is_nothing_to_find():
    zeros = np.zeros(4, int)
    assert compute(("f1", "accuracy"), zeros, zeros) == {"f1": 0.0, "accuracy": 1.0}
    assert compute(("f1",), zeros, zeros + 1) == {"f1": 0.0}
    assert compute(("f1_macro",), zeros, zeros + 1) == {"f1_macro": 0.0}


@pytest.mark.parametrize("name", ["spearman", "pearson"])
def test_broken_and_nearly_constant_answers(name):
    wanted = np.array([1.0, 2.0, 3.0])
    assert math.isnan(METRICS[name](np.array([1.0, math.nan, 2.0]), wanted))
    assert math.isnan(METRICS[name](np.array([1.0, math.inf, 2.0]), wanted))
    assert -1 <= METRICS[name](1 + np.array([0, 0, 2**-52]), wanted) <= 1


def test_single_precision_is_widened():
    found, wanted = np.random.default_rng(1).random((2, 99), np.float32)
    assert METRICS["pearson"](found, wanted) == pytest.approx(
        np.corrcoef(found.astype(float), wanted.astype(float))[0, 1], rel=1e-12)


def test_bad_input():
    with pytest.raises(InputError, match="metric bleu: expected one of accuracy, f1"):
        compute(("bleu",), FOUND, WANTED)
    for found, wanted in ((FOUND, WANTED[:3]), (FOUND[:0], WANTED[:0]),
                          (FOUND[None], WANTED[None])):
        with pytest.raises(InputError, match="expected as many predictions as labels"):
            compute(("accuracy",), found, wanted)
