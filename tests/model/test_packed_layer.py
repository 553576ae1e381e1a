import dataclasses
import tempfile
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.artefact import (
    read_artefact,
    stored_bits_per_weight,
    write_artefact,
)
from sparseloom.model.packed.codec import unpack_record
from sparseloom.model.packed.layer import PackedLayer, pack_layer
from sparseloom.model.packed.stream import encode_weights, split_packets, strip_columns
from tests.layers import random_layer, random_mask


@st.composite
def dense(draw):
    """A small integer matrix, its mask, and a block size that divides it."""
    p, q = draw(st.integers(1, 5)), draw(st.integers(1, 9))
    outputs, inputs = p * draw(st.integers(1, 4)), q * draw(st.integers(1, 4))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    keep = random_mask(rng, outputs=outputs, inputs=inputs, p=p, q=q,
                       structure=draw(st.sampled_from(["column", "block", "row"])),
                       density=draw(st.sampled_from([0.0, 0.2, 0.5, 1.0])))
    weight = rng.integers(-127, 128, (outputs, inputs)).astype(np.int8)
    weight[~keep] = 0
    return weight, keep, p, q


def pack(weight, keep=None, p=1, q=1, **changes):
    outputs = weight.shape[0]
    fields = {"name": "l", "weight": weight, "keep": keep, "p": p, "q": q,
              "bias": np.zeros(outputs, np.int32), "mult": np.full(outputs, 40000, np.uint16),
              "shift": np.full(outputs, 20, np.uint8),
              "weight_scale": np.ones(outputs, np.float32), "input_scale": 1.0,
              "input_zero_point": 0, "output_scale": 1.0, "output_zero_point": 0}
    return pack_layer(**{**fields, **changes})


@given(dense())
def test_pack_and_unpack_are_inverse(case):
    weight, keep, p, q = case
    layer = pack(weight, keep, p, q)
    assert (layer.dense_weight() == weight).all()
    assert layer.dense_weight().dtype == np.int8
    outputs, inputs = weight.shape
    expected = keep.reshape(outputs // p, p, inputs).any(axis=1)
    assert (layer.column_mask() == expected).all()
    assert layer.block_mask.shape == (outputs // p, inputs // q)
    assert len(layer.weights) == expected.sum()


@st.composite
def padded(draw):
    """A matrix of any size, pruned in groups of blocks that need not divide it."""
    outputs, inputs = draw(st.integers(1, 14)), draw(st.integers(1, 20))
    p, q = draw(st.integers(1, outputs)), draw(st.integers(1, inputs))
    structure = draw(st.sampled_from(["column", "block", "row"]))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    keep = random_mask(rng, outputs=-(-outputs // p) * p, inputs=-(-inputs // q) * q, p=p, q=q,
                       structure=structure, density=draw(st.sampled_from([0.0, 0.3, 1.0])))
    keep = keep[:outputs, :inputs]
    weight = rng.integers(1, 128, keep.shape).astype(np.int8) * keep
    return weight.astype(np.int8), keep, p, q, structure


@given(padded())
def test_blocks_that_reach_beyond_the_matrix(case):
    weight, keep, p, q, structure = case
    outputs, inputs = weight.shape
    layer = pack(weight, keep, p, q, structure=structure)
    assert (layer.dense_weight() == weight).all()
    assert layer.block_mask.shape == (-(-outputs // p), -(-inputs // q))
    expected = np.array([keep[first:first + p].any(axis=0) for first in range(0, outputs, p)])
    assert (layer.column_mask() == expected).all()
    assert len(layer.weights) == expected.sum()
    assert layer.surviving_weights == keep.sum()
    # one strip for each output and for any other width: the union of the blocks it touches
    for cols in (1, 3, p, outputs):
        for first, columns in zip(range(0, outputs, cols), strip_columns(layer, cols),
                                  strict=True):
            last = min(first + cols, outputs) - 1
            wanted = expected[first // p:last // p + 1].any(axis=0)
            assert columns.tolist() == np.flatnonzero(wanted).tolist()


@given(padded())
def test_padded_layers_survive_file_and_stream(case):
    weight, keep, p, q, structure = case
    layer = pack(weight, keep, p, q, structure=structure)
    with tempfile.TemporaryDirectory() as folder:
        write_artefact(folder, [layer], {})
        read = read_artefact(folder).layer("l")
    assert (read.dense_weight() == weight).all()
    assert (read.column_mask() == layer.column_mask()).all()
    cols = 3
    for strip, (packet, columns) in enumerate(zip(
            split_packets(encode_weights(read, cols=cols, block_inputs=8, tag=0)),
            strip_columns(read, cols), strict=True)):
        blocks = -(-weight.shape[1] // 8)
        head = unpack_record(spec.HEADER, packet[:16])
        start = 16 + -(-blocks // 128) * 16 + -(-head["blocks"] // 16) * 16
        stored = np.frombuffer(packet[start:start + len(columns) * cols], np.int8)
        there = weight[strip * cols:(strip + 1) * cols, columns].T
        assert (stored.reshape(-1, cols)[:, :there.shape[1]] == there).all()
        assert not stored.reshape(-1, cols)[:, there.shape[1]:].any()


def test_order_of_weights():
    weight = np.arange(1, 17, dtype=np.int8).reshape(4, 4)     # rows 1-4, 5-8, 9-12, 13-16
    weight[:2, 2] = weight[2:, 0] = weight[2:, 1] = 0
    layer = pack(weight, p=2, q=2)
    assert layer.block_mask.tolist() == [[True, True], [False, True]]
    assert layer.column_masks.tolist() == [[True, True], [False, True], [True, True]]
    assert layer.weights.tolist() == [[1, 5], [2, 6], [4, 8], [11, 15], [12, 16]]


def test_kept_zeros_are_stored():
    weight = np.zeros((2, 4), np.int8)
    keep = np.zeros((2, 4), bool)
    keep[:, 1] = True
    layer = pack(weight, keep, p=2, q=4)
    assert layer.column_masks.tolist() == [[False, True, False, False]]
    assert layer.density == 0.25
    assert pack(weight, p=2, q=4).density == 0.0


def test_dead_rows_of_a_row_layer_do_not_count_as_survivors():
    weight = np.zeros((4, 8), np.int8)
    weight[1, :4] = 1                                    # one row of one 4 x 4 block
    layer = pack(weight, p=4, q=4, structure="row")
    assert layer.weights.size == 16
    assert layer.surviving_weights == 4
    assert layer.density == 4 / 32


@pytest.mark.parametrize("structure", ["column", "block"])
def test_bits_per_surviving_weight_at_five_times(structure):
    rng = np.random.default_rng(5)
    layer = random_layer(rng, inputs=384, outputs=1536, p=24, q=16, structure=structure,
                         density=0.2)
    assert 0.18 < layer.density < 0.22
    assert 8.0 < stored_bits_per_weight(layer) <= 8.5


def test_large_layers_pack_quickly():
    rng = np.random.default_rng(6)
    weight = rng.integers(-127, 128, (3072, 768)).astype(np.int8)
    keep = random_mask(rng, outputs=3072, inputs=768, p=24, q=16, structure="column", density=0.2)
    weight[~keep] = 0
    start = time.perf_counter()
    layer = pack(weight, keep, p=24, q=16)
    assert (layer.dense_weight() == weight).all()
    assert time.perf_counter() - start < 2               # 0.05 s on the slowest machine at hand


WRONG = [
    ({"in_features": 7}, "layer layer, column_masks: expected no column beyond in_features = 7, "
                         "found 2"),
    ({"out_features": 5, "bias": np.zeros(5, np.int32),
      "mult": np.full(5, 40000, np.uint16), "shift": np.full(5, 20, np.uint8),
      "weight_scale": np.ones(5, np.float32)},
     "layer layer, weights: expected zero beyond out_features = 5, found"),
    ({"in_features": 0}, r"layer layer, in_features: expected an integer in 1\.\.65535, found 0"),
    ({"out_features": 1 << 16}, "layer layer, out_features: expected an integer in"),
    ({"structure": "diagonal"}, "structure: expected one of column, block, row, found diagonal"),
    ({"p": 7}, r"layer layer, p: expected an integer in 1\.\.6, found 7"),
    ({"p": 5}, r"layer layer, weights: expected shape \(16, 5\)"),
    ({"weight_bits": 3}, "layer layer, weight_bits: expected 8 or 4, found 3"),
    ({"weight_bits": 4}, r"layer layer, weights: expected values in -7\.\.7, found"),
    ({"raw": 1}, "layer layer, raw: expected true or false, found 1"),
    ({"raw": True, "lut": np.zeros(256, np.int8)}, "lut: expected no table in a raw layer"),
    ({"lut": np.zeros(255, np.int8)}, r"lut: expected shape \(256,\), found shape \(255,\)"),
    ({"block_mask": np.zeros((2, 2), np.uint8)}, "block_mask: expected bool, found uint8"),
    ({"block_mask": np.zeros((2, 2), bool)}, r"column_masks: expected shape \(0, 4\) \(popcount"),
    ({"column_masks": np.zeros((4, 4), bool)}, "column_masks: expected a bit set for each present"),
    ({"weights": np.zeros((3, 3), np.int8)}, r"weights: expected shape \(16, 3\) \(popcount"),
    ({"weights": np.full((16, 3), -128, np.int8)}, r"values in -127\.\.127, found -128"),
    ({"bias": np.zeros(6, np.int64)}, "bias: expected int32, found int64"),
    ({"bias": [0] * 6}, "bias: expected int32, found list"),
    ({"bias": np.full(6, 2**31 - 8 * 2**14, np.int32)}, "bias: expected values in"),
    ({"mult": np.full(6, 2**15 - 1, np.uint16)}, r"mult: expected values in 32768\.\.65535, found"),
    ({"shift": np.full(6, 0, np.uint8)}, r"shift: expected values in 1\.\.47, found 0"),
    ({"shift": np.full(6, 48, np.uint8)}, r"shift: expected values in 1\.\.47, found 48"),
    ({"weight_scale": np.full(6, np.nan, np.float32)}, "weight_scale: expected finite values"),
    ({"input_scale": -1.0}, "input_scale: expected a finite number"),
    ({"output_scale": float("inf")}, "output_scale: expected a finite number"),
    ({"lut_scale": 10**400}, r"lut_scale: expected a finite number, 0 or more, found 10{78}…$"),
    ({"input_scale": 10**5000}, "input_scale: expected a finite number, 0 or more, found a int too "
                               "large to show"),
    ({"input_scale": -(1 << 70)}, "input_scale: expected a finite number"),
    ({"name": "x" * 300, "p": 7}, r"^layer x{79}…, p: expected an integer"),
    ({"input_zero_point": 128}, r"input_zero_point: expected an integer in -128\.\.127, found 128"),
    ({"name": "a/b"}, "layer name: expected a non-empty string"),
]


@pytest.mark.parametrize(("change", "message"), WRONG,
                         ids=lambda v: next(iter(v)) if isinstance(v, dict) else "")
def test_refusals_name_layer_and_field(change, message):
    layer = random_layer(np.random.default_rng(1), inputs=8, outputs=6, p=3, q=4, density=1.0)
    with pytest.raises(InputError, match=message):
        dataclasses.replace(layer, **change)


def test_a_layer_of_nothing_takes_no_room_for_what_it_might_hold():
    """The grid of its columns alone would take 98 MB, of those of the largest layer 2 GB."""
    n, k = 3001, 65535
    tracemalloc.start()
    try:
        layer = PackedLayer(
            name="tall", in_features=k, out_features=n, structure="column", p=2, q=k,
            block_mask=np.zeros((1501, 1), bool), column_masks=np.zeros((0, k), bool),
            weights=np.zeros((0, 2), np.int8), bias=np.zeros(n, np.int32),
            mult=np.full(n, 40000, np.uint16), shift=np.full(n, 20, np.uint8), lut=None, raw=True,
            input_scale=1.0, input_zero_point=0, output_scale=1.0, output_zero_point=0,
            lut_scale=0.0, lut_zero_point=0, weight_scale=np.ones(n, np.float32))
        assert tracemalloc.get_traced_memory()[1] < 1e6
    finally:
        tracemalloc.stop()
    assert not layer.block_mask.any()


def test_scales_that_are_whole_numbers_are_taken():
    layer = random_layer(np.random.default_rng(1), inputs=8, outputs=6, p=3, q=4)
    dataclasses.replace(layer, input_scale=1 << 70)


def test_the_largest_bias_is_taken():
    layer = random_layer(np.random.default_rng(1), inputs=8, outputs=6, p=3, q=4)
    dataclasses.replace(layer, bias=np.full(6, 2**31 - 1 - 8 * 2**14, np.int32))


def test_packing_refusals():
    weight = np.ones((4, 6), np.int8)
    with pytest.raises(InputError, match=r"layer l, p: expected an integer in 1\.\.4, found 5"):
        pack(weight, p=5)
    with pytest.raises(InputError, match=r"layer l, q: expected an integer in 1\.\.6, found 0"):
        pack(weight, q=0)
    with pytest.raises(InputError, match="layer l, weight: expected int8"):
        pack(weight.astype(np.int32))
    with pytest.raises(InputError, match=r"layer l, keep: expected bool of shape \(4, 6\)"):
        pack(weight, np.ones((4, 5), bool))
    with pytest.raises(InputError, match="layer l, keep: expected every non-zero weight kept"):
        pack(weight, np.zeros((4, 6), bool))


@settings(max_examples=20)
@given(st.integers(0, 1 << 32))
def test_random_layers_are_deterministic(seed):
    one, two = (random_layer(np.random.default_rng(seed), inputs=8, outputs=6, p=3, q=4)
                for _ in range(2))
    assert (one.weights == two.weights).all() and (one.mult == two.mult).all()
