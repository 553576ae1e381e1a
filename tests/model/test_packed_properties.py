"""Layers of any shape, structure and width through file and stream; what their masks add up to."""
import dataclasses
import math
import tempfile

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sparseloom.model.packed import spec
from sparseloom.model.packed.artefact import (
    read_artefact,
    stored_bits_per_weight,
    write_artefact,
)
from sparseloom.model.packed.codec import unpack_record
from sparseloom.model.packed.cycles import ideal_cycles
from sparseloom.model.packed.decode import decode_weights
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import encode_weights, split_packets, strip_columns
from tests.strategies import CASES, cuts, grids, grow, layers, pack


def same(found: PackedLayer, wanted: PackedLayer) -> None:
    for field in dataclasses.fields(PackedLayer):
        one, two = getattr(found, field.name), getattr(wanted, field.name)
        if isinstance(two, np.ndarray):
            assert one.dtype == two.dtype and one.shape == two.shape, field.name
            assert one.tobytes() == two.tobytes(), field.name
        else:
            assert type(one) is type(two) and one == two, field.name


@CASES
@given(st.lists(layers(), max_size=3))
def test_every_field_survives_the_file(some):
    named = [dataclasses.replace(layer, name=f"l.{i}") for i, layer in enumerate(some)]
    with tempfile.TemporaryDirectory() as folder:
        path = write_artefact(folder, named, {"count": len(named)})
        found = read_artefact(path)
        assert list(found.layers) == [layer.name for layer in named]
        assert found.metadata == {"count": len(named)}
        for layer in named:
            same(found.layer(layer.name), layer)
        first = path.read_bytes()
        assert write_artefact(folder, list(found.layers.values()), found.metadata
                              ).read_bytes() == first


@CASES
@given(layer=layers(), cols=st.integers(1, 9), block_inputs=st.sampled_from([8, 16, 32]),
       tag=st.integers(0, 255))
def test_the_stream_is_undone(layer, cols, block_inputs, tag):
    unit = {"cols": cols, "block_inputs": block_inputs, "weight_bits": layer.weight_bits}
    stream = encode_weights(layer, tag=tag, **unit)
    outputs, inputs = layer.out_features, layer.in_features
    table, strips = decode_weights(stream, inputs=inputs, outputs=outputs, tag=tag,
                                   lut=layer.lut is not None, **unit)
    if table is None or layer.lut is None:
        assert table is layer.lut
    else:
        assert np.array_equal(table, layer.lut)
    weight = np.zeros((len(strips) * cols, inputs), np.int8)
    for index, strip in enumerate(strips):
        weight[index * cols:(index + 1) * cols, strip.columns] = strip.weights.T
    assert np.array_equal(weight[:outputs], layer.dense_weight()) and not weight[outputs:].any()
    for field in ("bias", "mult", "shift"):
        found = np.concatenate([getattr(strip, field) for strip in strips])
        assert np.array_equal(found[:outputs], getattr(layer, field))
        assert set(found[outputs:].tolist()) <= {
            {"bias": 0, "mult": spec.MULT_MIN, "shift": spec.SHIFT_MIN}[field]}
    # Its length, by the page's table.
    whole = [spec.LUT_ENTRIES + 32] if layer.lut is not None else []
    for strip in strips:
        present = len(set((strip.columns // block_inputs).tolist()))
        sections = (-(-inputs // block_inputs) / 8, present * block_inputs / 8,
                    len(strip.columns) * math.ceil(cols * layer.weight_bits / 8), 8 * cols)
        whole.append(32 + sum(16 * math.ceil(size / 16) for size in sections))
    assert [len(packet) for packet in split_packets(stream)] == whole
    heads = [unpack_record(spec.HEADER, packet[:16]) for packet in split_packets(stream)]
    assert [head["columns"] for head in heads if head["kind"] == spec.KIND_STRIP] == [
        len(columns) for columns in strip_columns(layer, cols)]


@CASES
@given(layers())
def test_counts_and_popcounts(layer):
    columns = layer.column_mask()
    assert layer.block_mask.sum() == len(layer.column_masks)
    assert layer.column_masks.sum() == len(layer.weights) == columns.sum()
    assert layer.column_masks.any(axis=1).all()
    # A block is present if and only if one of its columns is.
    for row, blocks in zip(columns, layer.block_mask, strict=True):
        for block, present in enumerate(blocks):
            assert row[block * layer.q:(block + 1) * layer.q].any() == present
    stored = layer.weights.size * layer.weight_bits
    bits = 8 * math.ceil(layer.block_mask.size / 8) + 8 * math.ceil(layer.column_masks.size / 8)
    bits += 8 * math.ceil(stored / 8)
    if layer.surviving_weights:
        assert stored_bits_per_weight(layer) == bits / layer.surviving_weights
    else:
        assert stored_bits_per_weight(layer) == float("inf")


@st.composite
def two_grids(draw):
    cut = draw(cuts())
    return cut, draw(grids(*cut)), draw(grids(*cut))


@CASES
@given(two_grids(), st.integers(1, 9))
def test_a_mask_is_what_is_counted(drawn, cols):
    (shape, structure, p, q), one, two = drawn
    masks = [grow(grid, shape, structure, p, q) for grid in (one, two, one | two, one & two)]
    packed = [pack(mask.astype(np.int8), mask, structure, p, q) for mask in masks]
    for layer, mask in zip(packed, masks, strict=True):
        assert np.array_equal(layer.surviving_mask(), mask)
        assert layer.surviving_weights == mask.sum()
        assert layer.density == mask.mean()
    counts = [layer.surviving_weights for layer in packed]
    assert counts[0] + counts[1] == counts[2] + counts[3]
    # Strips of the union run the union, strips of the intersection at most what both run.
    for a, b, union, both in zip(*(strip_columns(layer, cols) for layer in packed), strict=True):
        assert union.tolist() == sorted({*a.tolist(), *b.tolist()})
        assert set(both.tolist()) <= set(a.tolist()) & set(b.tolist())


@CASES
@given(layer=layers(), cols=st.integers(1, 5), times=st.integers(1, 4), tokens=st.integers(1, 9),
       rows=st.integers(1, 5))
def test_a_wide_strip_runs_the_union_of_narrow_ones(layer, cols, times, tokens, rows):
    narrow, wide = strip_columns(layer, cols), strip_columns(layer, cols * times)
    assert len(wide) == math.ceil(len(narrow) / times)
    for index, columns in enumerate(wide):
        parts = narrow[index * times:(index + 1) * times]
        assert columns.tolist() == sorted(set().union(*(part.tolist() for part in parts)))
    # Outputs one by one: exactly the stored columns of each one's block row.
    assert [columns.tolist() for columns in strip_columns(layer, 1)] == [
        np.flatnonzero(layer.column_mask()[n // layer.p]).tolist()
        for n in range(layer.out_features)]
    groups = math.ceil(tokens / rows)
    assert ideal_cycles(layer, rows=rows, cols=cols, tokens=tokens) == groups * sum(
        map(len, narrow))
