"""Training: masks hold, the teacher teaches, the penalty works, embeddings rest."""
from typing import Any

import pytest
import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.encode import Encoder
from sparseloom.model.evaluate import predict, score
from sparseloom.model.groups import group_rms
from sparseloom.model.heads import head_of
from sparseloom.model.layers import encoder_layers
from sparseloom.model.penalty import GroupPenalty
from sparseloom.model.prune import prune_layers
from sparseloom.model.train import Lesson, draw_batches, hold_masks, rate_at, train

from .tiny import class_task, similarity_task, tiny_model, tiny_tokenizer

PRUNE = PruneConfig(p=24, q=16, compression=2.0)


def lesson_of(task, steps, *, teacher=None, distil=0.5):
    head, encoder = head_of(task), Encoder(tiny_tokenizer(), 32)
    batches = draw_batches(task.train, head, encoder, batch=8, steps=steps, seed=1)
    if teacher is not None:
        items = [item for row in task.train for item in head.items(row)]
        teacher = predict(teacher, head, encoder, items, batch=16)
    return Lesson(head=head, encoder=encoder, batches=batches, teacher=teacher, distil=distil)


def weights_of(model) -> dict[str, Any]:
    return {linear.name: linear.module.weight for linear in encoder_layers(model)}


def test_dead_weights_and_their_moments_stay_zero():
    model = tiny_model()
    weights = weights_of(model)
    masks = prune_layers(weights, PRUNE)
    hold_masks(weights, masks)
    alive = {name: weight.detach().clone() for name, weight in weights.items()}
    checks = []

    def check(step, optimizer):
        for name, weight in weights.items():
            dead = ~masks[name]
            assert (weight[dead] == 0).all()
            moments = [value for value in optimizer.state[weight].values()
                       if value.shape == weight.shape]
            assert len(moments) == 2
            for moment in moments:
                assert (moment[dead] == 0).all() and (moment[~dead] != 0).any()
        checks.append(step)

    train(model, lesson_of(similarity_task(), 6), rate=1e-3, weights=weights, masks=masks,
          after_step=check)
    assert checks == list(range(6))
    assert all(not torch.equal(weight, alive[name]) for name, weight in weights.items())


def test_moments_from_before_the_prune_are_zeroed():
    weight = torch.nn.Parameter(torch.ones(2, 4))
    optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=0.0)
    weight.square().sum().backward()
    optimizer.step()
    mask = torch.tensor([[True, True, False, False]]).expand(2, 4)
    hold_masks({"layer": weight}, {"layer": mask}, optimizer)
    optimizer.zero_grad()
    (weight.sum() * 0).backward()
    optimizer.step()  # moves what has moments, even with no gradient
    assert (weight[:, 2:] == 0).all()
    assert (optimizer.state[weight]["exp_avg"][:, :2] != 0).all()


def test_embeddings_rest_and_everything_is_trainable_afterwards():
    model = tiny_model()
    before = model.embeddings.word_embeddings.weight.detach().clone()
    train(model, lesson_of(similarity_task(), 2), rate=1e-3)
    assert torch.equal(model.embeddings.word_embeddings.weight, before)
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not model.training


def test_labels_are_learned():
    task = class_task()
    model = tiny_model(labels=2)
    lesson = lesson_of(task, 60)
    before = score(model, lesson.head, lesson.encoder, task.validation, batch=8)
    train(model, lesson, rate=3e-3)
    after = score(model, lesson.head, lesson.encoder, task.validation, batch=8)
    assert before < 0.8 < 0.9 < after


def test_teacher_is_followed():
    """With the labels' weight at zero, the student's vectors turn to the teacher's."""
    task, teacher, student = similarity_task(), tiny_model(seed=1), tiny_model(seed=2)
    lesson = lesson_of(task, 30, teacher=teacher, distil=1.0)
    items = [item for row in task.train for item in lesson.head.items(row)]

    def angle():
        found = predict(student, lesson.head, lesson.encoder, items, batch=16)
        assert lesson.teacher is not None
        return torch.stack([1 - torch.cosine_similarity(found[item], lesson.teacher[item], dim=0)
                            for item in items]).mean()

    before = angle()
    train(student, lesson, rate=2e-3)
    assert angle() < 0.5 * before


@pytest.mark.parametrize("penalty", ["decoupled", "loss"])
def test_penalty_shrinks_groups_in_training(penalty):
    """Twins in the same training, with and without the penalty."""
    task, sizes = similarity_task(), {}
    for strength in (0.0, 0.3 if penalty == "decoupled" else 3.0):
        model = tiny_model()
        config = PruneConfig(p=24, q=16, strength=strength, penalty=penalty, milestones=3)
        held = GroupPenalty(weights_of(model), config, 8)
        train(model, lesson_of(task, 8), rate=1e-3, penalty=held)
        assert held.updates == 3
        sizes[strength] = {name: group_rms(weight.detach(), "column", 24, 16).mean()
                           for name, weight in weights_of(model).items()}
    plain, penalised = sizes.values()
    assert all(penalised[name] < plain[name] for name in plain)


def test_same_seed_same_weights():
    states = []
    for _ in range(2):
        model = tiny_model()
        train(model, lesson_of(similarity_task(), 3), rate=1e-3)
        states.append(model.state_dict())
    assert all(torch.equal(value, states[1][name]) for name, value in states[0].items())


def test_rates():
    rates = [rate_at(step, 40, 1.0) for step in range(40)]
    assert rates[0] == 0.5 and max(rates) == rates[1] == pytest.approx(39 / 40)
    assert rates[-1] == pytest.approx(1 / 40)
    assert [rate_at(step, 1, 1.0) for step in range(1)] == [1.0]


def test_bfloat16_trains_float32_weights():
    model = tiny_model()
    loss = train(model, lesson_of(similarity_task(), 2), rate=1e-3, bfloat16=True)
    assert 0 < loss < 10
    assert all(parameter.dtype == torch.float32 and torch.isfinite(parameter).all()
               for parameter in model.parameters())


def test_no_steps():
    model = tiny_model()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert train(model, lesson_of(similarity_task(), 0), rate=1e-3) == 0
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
