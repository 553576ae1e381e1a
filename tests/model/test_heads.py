"""Scores and losses by hand."""
import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from sparseloom.model.heads import Similarity, accuracy, f1, head_of, matthews, spearman
from sparseloom.model.tasks import Row

from .tiny import class_task, similarity_task

FOUND, WANTED = np.array([1, 1, 0, 1, 0, 0]), np.array([1, 0, 0, 1, 1, 0])


def test_metrics_by_hand():
    assert accuracy(FOUND, WANTED) == pytest.approx(4 / 6)
    assert f1(FOUND, WANTED) == pytest.approx(2 * 2 / (3 + 3))
    assert matthews(FOUND, WANTED) == pytest.approx((2 * 2 - 1 * 1) / 9)
    assert matthews(np.ones(6), WANTED) == 0
    assert f1(np.zeros(2), np.zeros(2)) == 0


def test_spearman_is_scipys():
    rng = np.random.default_rng(1)
    found, wanted = rng.integers(0, 9, 200), rng.integers(0, 9, 200)  # many ties
    wanted = wanted + found
    assert spearman(found, wanted) == pytest.approx(float(spearmanr(found, wanted)[0]))  # pyright: ignore
    assert spearman(np.ones(3), np.arange(3)) == 0


def test_similarity_by_hand():
    head = head_of(similarity_task())
    assert isinstance(head, Similarity)
    head.low, head.high = 0.0, 5.0
    rows = [Row(sentences=("a", "b"), label=5.0), Row(sentences=("c", "d"), label=0.0)]
    assert [item for row in rows for item in head.items(row)] == [("a",), ("b",), ("c",), ("d",)]
    answers = torch.tensor([[1.0, 0], [2.0, 0], [1.0, 0], [1.0, 1.0]])
    label = (0 + (0.5**0.5) ** 2) / 2
    assert head.loss(answers, rows, None, 0.5).item() == pytest.approx(label)
    teacher = torch.tensor([[1.0, 0], [0, 1.0], [-1.0, 0], [1.0, 1.0]])
    loss = head.loss(answers, rows, teacher, 0.25)
    assert loss.item() == pytest.approx(0.75 * label + 0.25 * (0 + 1 + 2 + 0) / 4)
    assert head.score(answers, rows) == pytest.approx(1.0)


def test_classification_by_hand():
    head = head_of(class_task(pair=True))
    rows = [Row(sentences=("a", "b"), label=1.0), Row(sentences=("c", "d"), label=0.0)]
    assert head.items(rows[0]) == [("a", "b")]
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.25, 0.75]]))
    label = -(np.log(0.75) + np.log(0.25)) / 2
    assert head.loss(logits, rows, None, 0.5).item() == pytest.approx(label)
    assert head.loss(logits, rows, logits, 0.5).item() == pytest.approx(label / 2)
    assert head.loss(logits, rows, -logits, 1.0).item() > 0.1
    assert head.score(logits, rows) == pytest.approx(2 / 3)
