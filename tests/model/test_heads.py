"""Losses, what is copied from a teacher, and predictions, by hand."""
from dataclasses import replace

import numpy as np
import pytest
import torch

from sparseloom.model.heads import HEADS, Classification, Cosine, Regression, head_of
from sparseloom.model.tasks import Row

from .tiny import class_task, regression_task, similarity_task, tiny_model

ROWS = [Row(sentences=("a", "b"), label=5.0), Row(sentences=("c", "d"), label=0.0)]
LABELS = torch.tensor([row.label for row in ROWS])


def scored_task(head):
    """Labels from 1 to 5."""
    low, high = (Row(sentences=("a", "b"), label=label) for label in (1.0, 5.0))
    return replace(similarity_task(), head=head, train=(low, high))


@pytest.mark.parametrize(("task", "kind"), [
    (similarity_task(), Cosine), (regression_task(), Regression), (class_task(), Classification)])
def test_a_task_names_its_head(task, kind):
    assert type(head_of(task)) is HEADS[task.head] is kind


def test_cosine_by_hand():
    head = head_of(scored_task("cosine"))
    assert head.width == 2
    assert [item for row in ROWS for item in head.items(row)] == [("a",), ("b",), ("c",), ("d",)]
    answers = torch.tensor([[1.0, 0], [2.0, 0], [1.0, 0], [1.0, 1.0]])
    # Cosines 1 and √½; labels 5 and 3 of 1..5 are 1 and 0.5.
    loss = head.loss(answers, torch.tensor([5.0, 3.0]))
    assert loss.item() == pytest.approx((0.5**0.5 - 0.5) ** 2 / 2)
    assert head.predictions(answers).tolist() == pytest.approx([1, 0.5**0.5])
    assert head.scores(answers, ROWS) == pytest.approx({"spearman": 1.0, "pearson": 1.0})


def test_cosine_copies_the_direction():
    """Angles 0°, 90°, 180° and 0° to the teacher's vectors; lengths do not count."""
    head = head_of(scored_task("cosine"))
    answers = torch.tensor([[1.0, 0], [2.0, 0], [1.0, 0], [1.0, 1.0]])
    teacher = torch.tensor([[7.0, 0], [0, 1.0], [-1.0, 0], [1.0, 1.0]])
    assert head.distil_loss(answers, teacher, 2.0).item() == pytest.approx((0 + 1 + 2 + 0) / 4)


def test_cosine_pools_real_tokens_only():
    """The mean of one and two tokens; what stands at padding does not matter."""
    head = head_of(scored_task("cosine"))
    hidden = torch.tensor([[[2.0, 4.0], [99.0, 99.0]], [[1.0, 0.0], [3.0, 8.0]]])
    outputs = type("Outputs", (), {"last_hidden_state": hidden})
    mask = torch.tensor([[1, 0], [1, 1]])
    assert head.of_outputs(outputs, mask).tolist() == [[2.0, 4.0], [2.0, 4.0]]


def test_regression_by_hand():
    """Mean squared error, from the labels and from the teacher; no temperature in it."""
    head = head_of(scored_task("regression"))
    assert head.width == 1 and head.items(ROWS[0]) == [("a", "b")]
    answers = torch.tensor([[4.0], [0.5]])
    assert head.loss(answers, LABELS).item() == pytest.approx((1 + 0.25) / 2)
    teacher = torch.tensor([[1.0], [1.5]])
    for temperature in (1.0, 4.0):
        assert head.distil_loss(answers, teacher, temperature).item() == pytest.approx(
            (9 + 1) / 2)
    assert head.predictions(answers).tolist() == [4.0, 0.5]
    assert head.scores(answers, ROWS)["spearman"] == pytest.approx(1.0)


def test_classification_by_hand():
    head = head_of(class_task(pair=True))
    rows = [Row(sentences=("a", "b"), label=1.0), Row(sentences=("c", "d"), label=0.0)]
    assert head.items(rows[0]) == [("a", "b")]
    logits = torch.log(torch.tensor([[0.25, 0.75], [0.25, 0.75]]))
    loss = head.loss(logits, torch.tensor([1.0, 0.0]))
    assert loss.item() == pytest.approx(-(np.log(0.75) + np.log(0.25)) / 2)
    assert head.predictions(logits).tolist() == [1.0, 1.0]
    assert head.scores(logits, rows) == pytest.approx({"accuracy": 0.5, "f1": 2 / 3})


def test_divergence_by_hand():
    """T² Σ t log(t / s): teacher and student softened by T = 2, the mean over rows."""
    head = head_of(class_task())
    log = torch.log
    student = log(torch.tensor([[0.1, 0.9], [0.5, 0.5]]))
    teacher = log(torch.tensor([[0.8, 0.2], [0.5, 0.5]]))
    plain = 0.8 * np.log(0.8 / 0.1) + 0.2 * np.log(0.2 / 0.9)
    assert head.distil_loss(student, teacher, 1.0).item() == pytest.approx(plain / 2)
    # √0.8 : √0.2 = 2 : 1, and √0.1 : √0.9 = 1 : 3
    soft = 2 / 3 * np.log((2 / 3) / (1 / 4)) + 1 / 3 * np.log((1 / 3) / (3 / 4))
    assert head.distil_loss(student, teacher, 2.0).item() == pytest.approx(4 * soft / 2)
    assert head.distil_loss(teacher, teacher, 2.0).item() == pytest.approx(0, abs=1e-7)


@pytest.mark.parametrize("name", list(HEADS))
def test_only_the_student_has_a_gradient_towards_the_teacher(name):
    head = HEADS[name](scored_task(name))
    answers = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    before = head.distil_loss(answers, torch.ones(4, 3), 2.0)
    before.backward()
    assert answers.grad is not None
    after = head.distil_loss(answers.detach() - 0.1 * answers.grad, torch.ones(4, 3), 2.0)
    assert after < before


def test_answers_are_the_models():
    model, head = tiny_model(labels=2), head_of(class_task())
    batch = {"input_ids": torch.tensor([[2, 5, 6, 3]]),
             "attention_mask": torch.ones(1, 4, dtype=torch.int64)}
    with torch.no_grad():
        assert torch.equal(head.answers(model, batch), model(**batch).logits)
