"""The teacher: frozen, without dropout, the same answers whether kept or computed."""
import copy
import random

import pytest
import torch

from sparseloom.model.data import Collator, RowDataset
from sparseloom.model.encode import Encoder
from sparseloom.model.heads import head_of
from sparseloom.model.teacher import Teacher, hidden_loss

from .tiny import HIDDEN, LAYERS, class_task, similarity_task, tiny_model, tiny_tokenizer

CASES = {"cosine": (similarity_task(train=12), 0), "classes": (class_task(train=12), 2)}


class Setting:
    """A task's batches, and models that count how often they are called."""

    def __init__(self, name):
        task, self.labels = CASES[name]
        self.head = head_of(task)
        encoder = Encoder(tiny_tokenizer(), 32)
        self.rows = RowDataset(task.train, self.head, encoder)
        self.collate = Collator(self.head, encoder)
        self.calls = 0

    def teacher(self, **settings):
        model = tiny_model(labels=self.labels).train()
        model.register_forward_hook(lambda *_: setattr(self, "calls", self.calls + 1))
        return Teacher(model, self.head, **{"hidden": True, **settings})

    def inputs(self, rows):
        batch = self.collate([self.rows[row] for row in rows])
        return {name: batch[name] for name in batch if name not in ("labels", "rows")}, rows


@pytest.fixture(params=list(CASES))
def setting(request):
    return Setting(request.param)


def same(one, other):
    return (torch.equal(one[0], other[0]) and len(one[1]) == len(other[1])
            and all(torch.equal(a, b) for a, b in zip(one[1], other[1], strict=True)))


def test_frozen_and_without_dropout(setting):
    teacher = setting.teacher()
    assert not any(part.training for part in teacher.model.modules())
    assert not any(parameter.requires_grad for parameter in teacher.model.parameters())
    before = copy.deepcopy(teacher.model.state_dict())
    first, second = (teacher(*setting.inputs([0, 1, 2])) for _ in range(2))
    assert setting.calls == 2 and same(first, second)  # computed twice: dropout would tell
    assert not first[0].requires_grad and not any(state.requires_grad for state in first[1])
    after = teacher.model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_answers_and_states_are_the_models(setting):
    teacher, (inputs, rows) = setting.teacher(), setting.inputs([3, 0, 7])
    answers, states = teacher(inputs, rows)
    with torch.no_grad():
        outputs = teacher.model(**inputs, output_hidden_states=True)
    assert torch.equal(answers, setting.head.of_outputs(outputs, inputs["attention_mask"]))
    assert len(states) == LAYERS
    real = inputs["attention_mask"].bool()
    for state, wanted in zip(states, outputs.hidden_states[1:], strict=True):
        assert state.shape == (*real.shape, HIDDEN) and state.dtype == torch.float32
        assert torch.equal(state[real], wanted[real].to(torch.bfloat16).float())
        assert not state[~real].any()


def test_kept_answers_are_the_computed_ones(setting):
    """Bit for bit, bfloat16's rounding included."""
    inputs, rows = setting.inputs([3, 0, 7, 1])
    teacher = setting.teacher(cache_bytes=1 << 20)
    computed, recalled = teacher(inputs, rows), teacher(inputs, rows)
    assert setting.calls == 1
    assert same(computed, recalled)
    assert same(setting.teacher()(inputs, rows), recalled)


def test_kept_answers_in_other_batches(setting):
    """Other neighbours, another order, another padding: within float32 of computing them."""
    teacher, plain = setting.teacher(cache_bytes=1 << 20), setting.teacher()
    for rows in ([3, 0, 7, 1], [2, 5, 4, 6]):
        teacher(*setting.inputs(rows))
    setting.calls = 0
    for rows in ([0, 5, 2], [7], [1, 6, 3, 4, 0]):
        inputs, _ = setting.inputs(rows)
        answers, states = teacher(inputs, rows)
        assert setting.calls == 0
        wanted, wanted_states = plain(inputs, rows)
        setting.calls = 0
        assert torch.allclose(answers, wanted, atol=1e-5)
        for state, other in zip(states, wanted_states, strict=True):
            assert state.shape == other.shape
            assert torch.allclose(state, other, atol=1e-5, rtol=2**-7)  # a bfloat16 may round over
            assert not state[~inputs["attention_mask"].bool()].any()


def test_a_caller_cannot_spoil_what_is_kept(setting):
    teacher, (inputs, rows) = setting.teacher(cache_bytes=1 << 20), setting.inputs([2, 3])
    wanted = copy.deepcopy(teacher(inputs, rows))
    for _ in range(2):
        answers, states = teacher(inputs, rows)
        answers.zero_()
        for state in states:
            state.zero_()
    assert same(teacher(inputs, rows), wanted)


def test_a_full_cache(setting):
    """What does not fit is computed again, and what is kept stays within the limit."""
    lengths, items = setting.rows.lengths, setting.head.width
    room = 5 * items * max(lengths) * HIDDEN * 2 * LAYERS
    teacher, plain = setting.teacher(cache_bytes=room), setting.teacher()
    generator = random.Random(1)
    orders = [generator.sample(range(len(setting.rows)), 4) for _ in range(12)]
    for rows in orders:
        inputs, _ = setting.inputs(rows)
        found, wanted = teacher(inputs, rows), plain(inputs, rows)
        assert torch.allclose(found[0], wanted[0], atol=1e-5)
        assert all(torch.allclose(a, b, atol=1e-5, rtol=2**-7)
                   for a, b in zip(found[1], wanted[1], strict=True))
    kept = sum(part.numel() * part.element_size() for answer, states in teacher._known.values()
               for part in (answer, *states))
    assert 0 < len(teacher._known) < len(setting.rows)
    assert kept == room - teacher.left <= room


def test_no_cache_and_no_hidden_states(setting):
    teacher = setting.teacher(hidden=False, cache_bytes=1 << 20)
    inputs, rows = setting.inputs([1, 2])
    computed, recalled = teacher(inputs, rows), teacher(inputs, rows)
    assert computed[1] == recalled[1] == [] and torch.equal(computed[0], recalled[0])
    assert setting.calls == 1
    setting.teacher(cache_bytes=0)(inputs, rows)
    bare = setting.teacher(cache_bytes=0)
    bare(inputs, rows)
    assert not bare._known


def test_hidden_loss_by_hand():
    """Squared error over the teacher's square, a row and layer at a time."""
    mask = torch.tensor([[1, 1], [1, 0]])
    teacher = [torch.tensor([[[3.0], [4.0]], [[2.0], [0.0]]]), torch.ones(2, 2, 1)]
    student = [torch.tensor([[[3.0], [9.0]], [[1.0], [77.0]]]), torch.zeros(2, 2, 1)]
    # First layer: 25/25 and 1/4; second: 2/2 and 1/1.
    found = hidden_loss(student, teacher, mask, 1)
    assert found.item() == pytest.approx((1 + 0.25 + 1 + 1) / 4)
    assert hidden_loss(student, teacher, mask, 2).item() == pytest.approx(found.item())
    assert hidden_loss(teacher, teacher, mask, 1).item() == 0


def test_hidden_loss_does_not_depend_on_padding_or_batch():
    """The mean over rows of each row's own loss, and junk at padding does not count."""
    generator = torch.Generator().manual_seed(1)
    lengths, width = [5, 2, 4, 3], 2
    parts = [(torch.randn(1, length, 6, generator=generator),
              torch.randn(1, length, 6, generator=generator)) for length in lengths]

    def loss(items, longest):
        mask = torch.zeros(len(items), longest)
        states = [torch.full((len(items), longest, 6), 1e3) for _ in range(2)]
        for place, item in enumerate(items):
            mask[place, :lengths[item]] = 1
            for state, part in zip(states, parts[item], strict=True):
                state[place, :lengths[item]] = part
        states[1] = states[1] * mask[..., None]
        return hidden_loss([states[0]], [states[1]], mask, width).item()
    whole = loss([0, 1, 2, 3], 5)
    assert loss([0, 1, 2, 3], 11) == pytest.approx(whole, rel=1e-6)
    assert (loss([0, 1], 5) + loss([2, 3], 4)) / 2 == pytest.approx(whole, rel=1e-6)


def test_hidden_loss_reaches_the_student_alone():
    student = torch.ones(2, 3, 4, requires_grad=True)
    mask = torch.tensor([[1, 1, 0], [1, 1, 1]])
    hidden_loss([student], [torch.zeros(2, 3, 4)], mask, 1)  # a teacher of zeros: no division by 0
    hidden_loss([student], [2 * torch.ones(2, 3, 4)], mask, 1).backward()
    assert student.grad is not None and torch.isfinite(student.grad).all()
    assert not student.grad[0, 2].any() and bool((student.grad[1] < 0).all())
