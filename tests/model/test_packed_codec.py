import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparseloom.model.packed import spec
from sparseloom.model.packed.codec import (
    align,
    join_sections,
    pack_bits,
    pack_nibbles,
    pack_record,
    record_bytes,
    unpack_bits,
    unpack_nibbles,
    unpack_record,
)

LAYOUTS = {"HEADER": 16, "OUTPUT_PARAMS": 8, "TRAILER": 16}


@pytest.mark.parametrize(("name", "size"), LAYOUTS.items())
def test_sizes_of_the_format(name, size):
    assert record_bytes(getattr(spec, name)) == size


@pytest.mark.parametrize("name", LAYOUTS)
@given(data=st.data())
def test_records_inverse(name, data):
    layout = getattr(spec, name)
    fields = {field: data.draw(st.integers(0, (1 << bits) - 1)) for field, bits in layout}
    assert unpack_record(layout, pack_record(layout, **fields)) == fields


def test_record_bytes_in_order():
    layout = (("low", 4), ("high", 4), ("word", 16))
    assert pack_record(layout, low=0x1, high=0x2, word=0x3456) == bytes([0x21, 0x56, 0x34])
    assert pack_record(spec.OUTPUT_PARAMS, bias=-2, mult=0x8001, shift=9) == bytes(
        [0xFE, 0xFF, 0xFF, 0xFF, 0x01, 0x80, 9, 0])


def test_record_refusals():
    with pytest.raises(ValueError, match="mult must fit in 16 bits, not 65536"):
        pack_record(spec.OUTPUT_PARAMS, mult=1 << 16)
    with pytest.raises(ValueError, match="unknown field 'scale'"):
        pack_record(spec.OUTPUT_PARAMS, scale=1)
    with pytest.raises(ValueError, match="a record of 8 bytes expected, not 7"):
        unpack_record(spec.OUTPUT_PARAMS, bytes(7))
    with pytest.raises(ValueError, match="not 9 bits"):
        record_bytes((("odd", 9),))


@given(bits=st.lists(st.booleans(), max_size=70))
def test_bits_inverse(bits):
    mask = np.array(bits, bool)
    data = pack_bits(mask)
    assert data.dtype == np.uint8 and data.shape == (-(-len(bits) // 8),)
    assert (unpack_bits(data, mask.shape) == mask).all()
    # written out by hand: bit i of the mask is bit i % 8 of byte i // 8
    for i, bit in enumerate(bits):
        assert data[i // 8] >> (i % 8) & 1 == bit


def test_bit_refusals():
    with pytest.raises(ValueError, match="2 bytes expected"):
        unpack_bits(np.zeros(3, np.uint8), (3, 3))
    with pytest.raises(ValueError, match="left-over bits"):
        unpack_bits(np.array([0x10], np.uint8), (2, 2))


@pytest.mark.parametrize(("size", "padded"), [(0, 0), (1, 16), (16, 16), (17, 32)])
def test_sections_fill_whole_beats(size, padded):
    section = bytes(range(1, size + 1))
    assert align(section) == section + bytes(padded - size)
    assert join_sections([section, section]) == align(section) * 2


@given(values=st.lists(st.integers(-8, 7), max_size=33))
def test_nibbles_inverse(values):
    data = pack_nibbles(np.array(values, np.int8))
    assert data.dtype == np.uint8 and data.shape == (-(-len(values) // 2),)
    # written out by hand: value i is half i % 2 of byte i // 2, the lower half first
    assert [data[i // 2] >> 4 * (i % 2) & 15 for i in range(len(values))] == [
        value % 16 for value in values]
    assert len(values) % 2 == 0 or not data[-1] >> 4
    assert unpack_nibbles(data, len(values)).tolist() == values


def test_each_column_of_nibbles_begins_on_a_byte():
    columns = np.array([[1, -2, 3], [-4, 5, -6]], np.int8)
    assert pack_nibbles(columns).tolist() == [[0xE1, 0x03], [0x5C, 0x0A]]
    assert (unpack_nibbles(pack_nibbles(columns), 3) == columns).all()
    assert [spec.column_bytes(cols, bits) for bits in (8, 4) for cols in (1, 2, 5)] == [
        1, 2, 5, 1, 1, 3]


@pytest.mark.parametrize("shape", [(0, 3), (2, 0), (0,)])
def test_no_nibbles(shape):
    values = np.zeros(shape, np.int8)
    found = unpack_nibbles(pack_nibbles(values), shape[-1])
    assert found.dtype == np.int8 and found.shape == shape


def test_nibble_refusals():
    with pytest.raises(ValueError, match=r"values must fit in 4 bits, not -9\.\.3"):
        pack_nibbles(np.array([3, -9], np.int8))
    with pytest.raises(ValueError, match="2 bytes expected, not 1"):
        unpack_nibbles(np.zeros(1, np.uint8), 3)
    with pytest.raises(ValueError, match="left-over half of the last byte is not zero"):
        unpack_nibbles(np.array([0x11], np.uint8), 1)
