import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.codec import unpack_record
from sparseloom.model.packed.cycles import ideal_cycles
from sparseloom.model.packed.stream import (
    PARAMS_DTYPE,
    decode_results,
    encode_acts,
    encode_results,
    encode_weights,
    reseal,
    result_bytes,
    split_packets,
    strip_columns,
    to_beats,
)
from tests.layers import random_layer

LAYERS = [
    {"inputs": 1, "outputs": 1},
    {"inputs": 40, "outputs": 24, "p": 24, "q": 8},
    {"inputs": 40, "outputs": 24, "p": 3, "q": 8, "structure": "block"},
    {"inputs": 33, "outputs": 20, "p": 5, "q": 3, "structure": "row"},
    {"inputs": 40, "outputs": 22, "p": 2, "q": 8, "lut": True},
    {"inputs": 40, "outputs": 24, "p": 8, "q": 8, "density": 0.0},
    {"inputs": 40, "outputs": 24, "p": 8, "q": 8, "density": 1.0},
]


def slow_decode(packet: bytes, cols: int, block_inputs: int):
    """One strip packet read byte by byte, as the format page says; no numpy tricks."""
    head = unpack_record(spec.HEADER, packet[:16])
    at = 16

    def section(size):
        nonlocal at
        data = packet[at:at + size]
        padding = packet[at + size:at + size + -size % 16]
        assert not any(padding)
        at += size + -size % 16
        return data

    blocks = -(-head["inputs"] // block_inputs)
    bitmap = section(-(-blocks // 8))
    present = [b for b in range(blocks) if bitmap[b // 8] >> (b % 8) & 1]
    masks = section(len(present) * block_inputs // 8)
    indices = [block * block_inputs + bit
               for i, block in enumerate(present) for bit in range(block_inputs)
               if masks[(i * block_inputs + bit) // 8] >> ((i * block_inputs + bit) % 8) & 1]
    if head["weight_bits"] == 8:
        data = section(head["columns"] * cols)
        weights = [[int.from_bytes(data[c * cols + n:c * cols + n + 1], "little", signed=True)
                    for n in range(cols)] for c in range(head["columns"])]
    else:
        step = (cols + 1) // 2
        data = section(head["columns"] * step)
        halves = [[data[c * step + n // 2] >> 4 * (n % 2) & 15 for n in range(2 * step)]
                  for c in range(head["columns"])]
        assert not any(any(column[cols:]) for column in halves)     # of an odd column
        weights = [[half - 16 * (half > 7) for half in column[:cols]] for column in halves]
    params = np.frombuffer(section(8 * cols), PARAMS_DTYPE)
    assert len(packet) == at + 16 and not any(packet[at:at + 12])
    assert int.from_bytes(packet[-4:], "little") == zlib.crc32(packet[:-4])
    return head, present, indices, weights, params


@pytest.mark.parametrize(("cols", "block_inputs"), [(1, 8), (5, 16), (12, 16), (8, 32)])
@pytest.mark.parametrize("shape", LAYERS, ids=str)
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_weight_stream(shape, cols, block_inputs, weight_bits):
    layer = random_layer(np.random.default_rng(7), weight_bits=weight_bits, **shape)
    stream = encode_weights(layer, cols=cols, block_inputs=block_inputs, tag=201,
                            weight_bits=weight_bits)
    assert len(stream) % spec.ALIGN_BYTES == 0
    packets = split_packets(stream)
    assert all(zlib.crc32(packet) == spec.CRC_RESIDUE for packet in packets)
    common = {"version": 1, "tag": 201, "weight_bits": weight_bits, "cols": cols,
              "block_inputs": block_inputs, "inputs": layer.in_features, "reserved": 0}
    if layer.lut is not None:
        table = packets.pop(0)
        assert unpack_record(spec.HEADER, table[:16]) == {
            **common, "kind": spec.KIND_LUT, "strip": 0, "columns": 0, "blocks": 0}
        assert table[16:272] == layer.lut.tobytes() and len(table) == 288
    dense = layer.dense_weight()
    assert len(packets) == -(-layer.out_features // cols)
    rebuilt = np.zeros((len(packets) * cols, layer.in_features), np.int8)
    for strip, packet in enumerate(packets):
        head, present, indices, weights, params = slow_decode(packet, cols, block_inputs)
        assert head == {**common, "kind": spec.KIND_STRIP, "strip": strip,
                        "columns": len(indices), "blocks": len(present)}
        assert indices == sorted(set(indices))
        for k, column in zip(indices, weights, strict=True):
            rebuilt[strip * cols:(strip + 1) * cols, k] = column
        assert indices == strip_columns(layer, cols)[strip].tolist()
        here = slice(strip * cols, min((strip + 1) * cols, layer.out_features))
        count = here.stop - here.start
        assert (params["bias"][:count] == layer.bias[here]).all()
        assert (params["mult"][:count] == layer.mult[here]).all()
        assert (params["shift"][:count] == layer.shift[here]).all()
        assert not params["bias"][count:].any() and not params["reserved"].any()
        assert (params["mult"][count:] == 32768).all() and (params["shift"][count:] == 1).all()
    assert (rebuilt[:layer.out_features] == dense).all()
    assert not rebuilt[layer.out_features:].any()


def test_strips_take_the_union_of_straddled_blocks():
    layer = random_layer(np.random.default_rng(3), inputs=32, outputs=12, p=4, q=16, density=0.3)
    mask = layer.column_mask()
    strips = strip_columns(layer, 6)
    assert strips[0].tolist() == np.flatnonzero(mask[0] | mask[1]).tolist()
    assert strips[1].tolist() == np.flatnonzero(mask[1] | mask[2]).tolist()


def test_ideal_cycles():
    layer = random_layer(np.random.default_rng(3), inputs=32, outputs=12, p=4, q=16, density=0.3)
    mask = layer.column_mask()
    assert ideal_cycles(layer, rows=3, cols=4, tokens=7) == 3 * mask.sum()
    union = int((mask[0] | mask[1]).sum() + (mask[1] | mask[2]).sum())
    assert ideal_cycles(layer, rows=8, cols=6, tokens=8) == union
    full = random_layer(np.random.default_rng(3), inputs=10, outputs=7, density=1.0)
    assert ideal_cycles(full, rows=3, cols=5, tokens=4) == 2 * 2 * 10
    empty = random_layer(np.random.default_rng(3), inputs=10, outputs=7, density=0.0)
    assert ideal_cycles(empty, rows=3, cols=5, tokens=4) == 0


def test_activation_order():
    x = np.arange(1, 36, dtype=np.int8).reshape(5, 7)          # M = 5, K = 7
    groups = [[0, 1], [2, 3], [4, None]]
    expected = [0 if token is None else int(x[token, k])
                for block in ([0, 1, 2], [3, 4, 5], [6]) for group in groups
                for k in block for token in group]
    assert list(encode_acts(x, rows=2, cols=3)) == expected


@settings(max_examples=60, deadline=None)
@given(tokens=st.integers(1, 9), outputs=st.integers(1, 20), rows=st.integers(1, 6),
       cols=st.integers(1, 7), raw=st.booleans(), seed=st.integers(0, 1 << 32))
def test_results_inverse(tokens, outputs, rows, cols, raw, seed):
    rng = np.random.default_rng(seed)
    low, high, kind = (-2**31, 2**31, np.int32) if raw else (-128, 128, np.int8)
    values = rng.integers(low, high, (tokens, outputs)).astype(kind)
    data = encode_results(values, rows=rows, cols=cols, raw=raw)
    assert len(data) == result_bytes(tokens=tokens, outputs=outputs, rows=rows, raw=raw)
    read = decode_results(data, tokens=tokens, outputs=outputs, rows=rows, cols=cols, raw=raw)
    assert read.dtype == kind and (read == values).all()
    if not raw:
        assert data == encode_acts(values, rows=rows, cols=cols)   # layers chain


def test_raw_results_are_little_endian():
    data = encode_results(np.array([[0x01020304]], np.int32), rows=2, cols=1, raw=True)
    assert data == bytes([4, 3, 2, 1, 0, 0, 0, 0])


def test_wrong_results():
    fields = {"tokens": 1, "outputs": 2, "rows": 2, "cols": 2, "raw": False}
    with pytest.raises(InputError, match="results: expected 4 bytes, found 3"):
        decode_results(bytes(3), **fields)
    with pytest.raises(InputError, match="expected zero in lanes beyond token 0, found 9"):
        decode_results(bytes([0, 0, 1, 9]), **fields)
    with pytest.raises(InputError, match="activations: expected int8"):
        encode_acts(np.zeros((2, 2), np.int32), rows=1, cols=1)


def test_other_weight_widths_are_refused():
    for found, built in ((8, 4), (4, 8)):
        layer = random_layer(np.random.default_rng(3), inputs=4, outputs=4, weight_bits=found)
        with pytest.raises(InputError, match=f"layer layer, weight_bits: expected {built}, as the "
                                             f"unit was built, found {found}"):
            encode_weights(layer, cols=4, block_inputs=16, tag=0, weight_bits=built)
    with pytest.raises(ValueError, match="tag must fit in 8 bits"):
        encode_weights(layer, cols=4, block_inputs=16, tag=256, weight_bits=4)


def test_damage_and_reseal():
    layer = random_layer(np.random.default_rng(3), inputs=20, outputs=4)
    packet, = split_packets(encode_weights(layer, cols=4, block_inputs=16, tag=0))
    damaged = bytes([packet[0] ^ 2]) + packet[1:]
    assert zlib.crc32(damaged) != spec.CRC_RESIDUE
    assert zlib.crc32(reseal(damaged)) == spec.CRC_RESIDUE
    assert reseal(packet) == packet
    for cut in (8, 30, len(packet) - 1):
        with pytest.raises(InputError, match="weight stream: ends inside"):
            split_packets(packet[:cut])


def test_beats():
    assert to_beats(bytes([1, 2, 3, 4, 5]), 4) == [(bytes([1, 2, 3, 4]), 15),
                                                   (bytes([5, 0, 0, 0]), 1)]
    assert to_beats(b"", 4) == []
