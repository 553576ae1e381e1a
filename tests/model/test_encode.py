"""Tokens, padding, and batches of similar length."""
import random

import torch

from sparseloom.model.encode import Encoder, by_length, training_batches

from .tiny import VOCABULARY, tiny_tokenizer


def test_batch_is_padded_on_the_right():
    encoder = Encoder(tiny_tokenizer(), 16)
    batch = encoder.batch([("a dog",), ("the man sings",)])
    ids = [[2, VOCABULARY["a"], VOCABULARY["dog"], 3, 0],
           [2, VOCABULARY["the"], VOCABULARY["man"], VOCABULARY["sings"], 3]]
    assert batch["input_ids"].tolist() == ids
    assert batch["attention_mask"].tolist() == [[1, 1, 1, 1, 0], [1] * 5]
    assert all(value.dtype == torch.int64 for value in batch.values())


def test_pairs_and_truncation():
    encoder = Encoder(tiny_tokenizer(), 6)
    ids = encoder.batch([("a dog", "the man")])["input_ids"][0].tolist()
    assert len(ids) == 6 and ids[0] == 2 and ids.count(3) == 2
    assert encoder.length(("dog " * 20,)) == 6


def test_tokenizer_is_left_alone():
    tokenizer = tiny_tokenizer()
    Encoder(tokenizer, 6).add([("a dog",)])
    assert tokenizer.backend_tokenizer.truncation is None


def test_by_length():
    batches = by_length([3, 9, 1, 9, 4], 2)
    assert batches == [[1, 3], [4, 0], [2]]


def test_training_batches():
    generator = random.Random(0)
    lengths = [generator.randint(3, 60) for _ in range(403)]
    batches = training_batches(lengths, 8, 120, seed=5)
    assert len(batches) == 120 and all(len(rows) == 8 for rows in batches)
    first = [row for rows in batches[:50] for row in rows]  # an epoch has 50 whole batches
    assert len(set(first)) == 400
    padding = sum(max(lengths[row] for row in rows) * 8 - sum(lengths[row] for row in rows)
                  for rows in batches) / sum(sum(lengths[row] for row in rows) for rows in batches)
    assert padding < 0.1
    assert batches[:50] != batches[50:100]
    assert training_batches(lengths, 8, 120, seed=5) == batches
    assert training_batches(lengths, 8, 120, seed=6) != batches
    assert training_batches([5, 6], 8, 3, seed=0)[0] in ([0, 1], [1, 0])
