from dataclasses import FrozenInstanceError

import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError


def test_the_reference_build():
    config = ArrayConfig()
    assert config.to_dict() == {
        "rows": 12, "cols": 12, "max_k": 1536, "act_words": 8192, "bus_bits": 64, "lanes": 4,
        "queue_depth": 4, "block_inputs": 16, "weight_bits": 8, "target": "generic"}
    assert config.bus_bytes == 8
    assert config.max_blocks == 96
    assert config.result_words == 4 * 12 * 3
    assert config.sum_bits == 26


@pytest.mark.parametrize(("rows", "lanes"), [
    (1, 1), (2, 2), (3, 3), (4, 4), (5, 1), (6, 3), (7, 1), (8, 4), (9, 3), (10, 2), (12, 4),
    (31, 1), (32, 4)])
def test_lanes_by_default(rows, lanes):
    config = ArrayConfig(rows=rows)
    assert config.lanes == config.post_lanes == lanes
    assert config.to_dict()["lanes"] == lanes


@pytest.mark.parametrize("max_k", [1, 2, 3, 40, 255, 256, 257, 1536, 3072, 32768])
def test_an_accumulator_just_holds_the_largest_sum(max_k):
    config = ArrayConfig(max_k=max_k, act_words=max(max_k, 8192))
    largest = max_k * 128 * 128
    assert largest <= 2 ** (config.sum_bits - 1) - 1
    assert largest > 2 ** (config.sum_bits - 2) - 1
    narrow = ArrayConfig(max_k=max_k, act_words=max(max_k, 8192), weight_bits=4)
    largest = max_k * 128 * 8
    assert 2 ** (narrow.sum_bits - 2) - 1 < largest <= 2 ** (narrow.sum_bits - 1) - 1


@pytest.mark.parametrize(("max_k", "block_inputs", "blocks"), [
    (1, 8, 1), (8, 8, 1), (9, 8, 2), (40, 32, 2), (3072, 16, 192)])
def test_blocks_round_up(max_k, block_inputs, blocks):
    assert ArrayConfig(max_k=max_k, block_inputs=block_inputs).max_blocks == blocks


@pytest.mark.parametrize(("rows", "cols", "lanes", "words"), [
    (3, 5, 1, 60), (3, 5, 3, 20), (8, 4, 2, 64), (1, 1, 1, 4)])
def test_results_of_four_tiles_are_held(rows, cols, lanes, words):
    assert ArrayConfig(rows=rows, cols=cols, lanes=lanes).result_words == words


LIMITS = {"rows": (1, 32), "cols": (1, 32), "max_k": (1, 32768), "act_words": (1, 1 << 20),
          "queue_depth": (1, 16)}
CHOICES = {"bus_bits": ("32, 64, 128", (32, 64, 128)), "block_inputs": ("8, 16, 32", (8, 16, 32)),
           "weight_bits": ("8, 4", (8, 4)), "target": ("generic, ecp5", ("generic", "ecp5"))}


def refused(message, **settings):
    """The whole line is compared, so that no message matches by accident."""
    with pytest.raises(InputError) as error:
        ArrayConfig(**settings)
    assert str(error.value) == message


@pytest.mark.parametrize("name", LIMITS)
def test_limits(name):
    low, high = LIMITS[name]
    for value in (low, high):
        others: dict = {"max_k": 1} if name == "act_words" else {"act_words": 1 << 20}
        assert getattr(ArrayConfig(**{**others, name: value}), name) == value
    for value in (low - 1, high + 1, -1, 2.0, "4", None, True):
        refused(f"{name} must be an integer in {low}..{high}, not {value!r}", **{name: value})


@pytest.mark.parametrize("name", CHOICES)
def test_choices(name):
    told, allowed = CHOICES[name]
    for value in allowed:
        assert getattr(ArrayConfig(**{name: value}), name) == value
    for value in (0, 5, 7, 24, 256, "ecp6", None, True):
        refused(f"{name} must be one of {told}, not {value!r}", **{name: value})


def test_an_activation_half_holds_the_longest_input():
    assert ArrayConfig(max_k=40, act_words=40).act_words == 40
    refused("act_words must be at least max_k = 40 (one token group of the longest input), "
            "not 39", max_k=40, act_words=39)


def test_lanes_divide_the_rows():
    for lanes in (1, 2, 3, 4, 6, 12):
        assert ArrayConfig(rows=12, lanes=lanes).post_lanes == lanes
    refused("lanes must divide rows = 12, not 5", rows=12, lanes=5)
    for lanes in (0, 13, -1, 1.0, False):
        refused(f"lanes must be an integer in 1..12, not {lanes!r}", rows=12, lanes=lanes)


def test_frozen_comparable_hashable():
    config = ArrayConfig(rows=8)
    assert config == ArrayConfig(rows=8, lanes=4) != ArrayConfig(rows=4)
    assert hash(config) == hash(ArrayConfig(rows=8))
    with pytest.raises(FrozenInstanceError):
        config.rows = 4
    with pytest.raises(TypeError):
        ArrayConfig(8, 8)  # pyright: ignore[reportCallIssue]
