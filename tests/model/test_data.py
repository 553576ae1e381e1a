"""Rows, their batches, and the order in which they come."""
import random
from itertools import pairwise

import pytest
import torch
from accelerate.data_loader import BatchSamplerShard
from torch.utils.data import BatchSampler

from sparseloom.model.data import Collator, LengthSampler, RowDataset
from sparseloom.model.encode import Encoder
from sparseloom.model.heads import head_of

from .tiny import class_task, similarity_task, tiny_tokenizer


def lengths_of(count, seed=0):
    generator = random.Random(seed)
    return [generator.randint(3, 60) for _ in range(count)]


def steps_of(order, size):
    return [order[start:start + size] for start in range(0, len(order), size)]


def padding_of(lengths, steps):
    """Padding over real tokens."""
    real = sum(lengths[row] for step in steps for row in step)
    return sum(max(lengths[row] for row in step) * len(step) for step in steps) / real - 1


def test_dataset_knows_the_longest_item():
    task = similarity_task(train=6)
    encoder = Encoder(tiny_tokenizer(), 8)
    rows = RowDataset(task.train, head_of(task), encoder)
    assert len(rows) == 6 and rows[3] == {"row": task.train[3], "index": 3}
    assert rows.lengths == [min(8, 2 + max(len(text.split()) for text in row.sentences))
                            for row in task.train]


@pytest.mark.parametrize(("task", "width"), [(similarity_task(train=6), 2),
                                             (class_task(train=6, pair=True), 1)])
def test_collator(task, width):
    head, encoder = head_of(task), Encoder(tiny_tokenizer(), 32)
    rows = RowDataset(task.train, head, encoder)
    batch = Collator(head, encoder)([rows[4], rows[1]])
    assert batch["rows"].tolist() == [4, 1]
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == pytest.approx([task.train[4].label, task.train[1].label])
    items = [item for index in (4, 1) for item in head.items(task.train[index])]
    wanted = encoder.batch(items)
    assert batch["input_ids"].shape == (2 * width, max(rows.lengths[4], rows.lengths[1]))
    assert set(batch) == {*wanted, "labels", "rows"}
    assert all(torch.equal(batch[name], wanted[name]) for name in wanted)


@pytest.mark.parametrize(("count", "size", "used"), [
    (403, 8, 400), (400, 8, 400), (7, 8, 7), (8, 8, 8), (1, 4, 1), (9, 8, 8), (1030, 4, 1028)])
def test_an_epoch_has_each_row_once(count, size, used):
    """The rest that fills no step is left out, unless there is nothing else."""
    sampler = LengthSampler(lengths_of(count), size, seed=5)
    order = list(sampler)
    assert len(order) == len(sampler) == used
    assert len(set(order)) == used and set(order) <= set(range(count))


def test_little_padding():
    lengths = lengths_of(403)
    order = list(LengthSampler(lengths, 8, seed=5))
    shuffled = random.Random(1).sample(order, len(order))
    assert padding_of(lengths, steps_of(order, 8)) < 0.1
    assert padding_of(lengths, steps_of(shuffled, 8)) > 0.5


def test_lengths_do_not_come_in_order():
    """A short step is as likely at the start of an epoch as at its end."""
    lengths = lengths_of(800)
    steps = steps_of(list(LengthSampler(lengths, 8, seed=5)), 8)
    means = [sum(lengths[row] for row in step) / 8 for step in steps]
    half = len(means) // 2
    assert abs(sum(means[:half]) / half - sum(means[half:]) / (len(means) - half)) < 8
    rises = sum(later > earlier for earlier, later in pairwise(means))
    assert 0.3 < rises / (len(means) - 1) < 0.7


def test_seed_and_epoch_decide():
    def order(seed, epoch):
        sampler = LengthSampler(lengths_of(403), 8, seed)
        sampler.set_epoch(epoch)
        return list(sampler)
    orders = [order(seed, epoch) for seed in (5, 6) for epoch in (0, 1)]
    assert all(one != other for place, one in enumerate(orders) for other in orders[:place])
    steps = [{frozenset(step) for step in steps_of(one, 8)} for one in orders[:2]]
    assert len(steps[0] & steps[1]) < 5  # other steps, not the same ones in another order
    assert order(6, 1) == orders[3]


def test_an_epoch_does_not_depend_on_what_was_read_before():
    """So that a resumed run goes on as it would have."""
    sampler = LengthSampler(lengths_of(100), 8, seed=5)
    first = list(sampler)
    assert list(sampler) == first
    sampler.set_epoch(3)
    third = list(sampler)
    fresh = LengthSampler(lengths_of(100), 8, seed=5)
    fresh.set_epoch(3)
    assert list(fresh) == third != first


@pytest.mark.parametrize(("batch", "processes"), [(16, 1), (16, 2), (8, 2), (8, 4)])
def test_a_step_has_the_same_rows_however_it_is_made_up(batch, processes):
    """32 at once, or in accumulated batches, or on several processes, as accelerate deals them."""
    lengths = lengths_of(333)
    whole = steps_of(list(LengthSampler(lengths, 32, seed=5)), 32)
    shards = [list(BatchSamplerShard(
        BatchSampler(LengthSampler(lengths, 32, seed=5), batch, False),
        num_processes=processes, process_index=index)) for index in range(processes)]
    accumulated = 32 // batch // processes
    found = [{row for shard in shards for rows in shard[at * accumulated:(at + 1) * accumulated]
              for row in rows or ()} for at in range(len(whole))]
    assert [len(step) for step in found] == [32] * 10
    assert found == [set(step) for step in whole]
