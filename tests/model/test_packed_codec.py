import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparseloom.model.packed import spec
from sparseloom.model.packed.codec import (
    align,
    join_sections,
    pack_bits,
    pack_record,
    record_bytes,
    unpack_bits,
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
