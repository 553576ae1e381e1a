"""Tokens, padding, and batches of similar length."""
import torch

from sparseloom.model.encode import Encoder, by_length

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


def test_pairs_and_single_sentences_in_one_call():
    """Items of both widths are tokenised apart; each keeps its own place."""
    encoder = Encoder(tiny_tokenizer(), 16)
    items = [("a dog",), ("a", "dog"), ("the man sings",)]
    encoder.add(items)
    assert [encoder.length(item) for item in items] == [4, 5, 5]
    lengths = encoder.batch(items)["attention_mask"].sum(dim=1)
    assert lengths.tolist() == [4, 5, 5]


def test_tokenizer_is_left_alone():
    tokenizer = tiny_tokenizer()
    Encoder(tokenizer, 6).add([("a dog",)])
    assert tokenizer.backend_tokenizer.truncation is None


def test_by_length():
    batches = by_length([3, 9, 1, 9, 4], 2)
    assert batches == [[1, 3], [4, 0], [2]]
