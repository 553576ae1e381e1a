import pytest

from sparseloom.hw import layouts
from sparseloom.model.packed import spec


def test_layouts_follow_the_spec():
    for layout, fields in ((layouts.Header, spec.HEADER), (layouts.Trailer, spec.TRAILER),
                           (layouts.OutputParams, spec.OUTPUT_PARAMS)):
        offset = 0
        for name, bits in fields:
            field = layout[name]
            assert (field.offset, field.width) == (offset, bits), name
            offset += bits
        assert layout.size == offset
    assert layouts.Header.size == layouts.Trailer.size == 8 * spec.ALIGN_BYTES
    assert layouts.OutputParams.const({"bias": -2}).bias == -2


@pytest.mark.parametrize("bus_bits", [32, 64, 128])
def test_beats(bus_bits):
    assert layouts.beat_layout(bus_bits).size == bus_bits + bus_bits // 8 + 1
    assert layouts.result_beat_layout(bus_bits).size == bus_bits + bus_bits // 8 + 2


def test_refuses_a_width_that_is_not_whole_bytes():
    with pytest.raises(ValueError, match="bus_bits must be a positive multiple of 8, not 20"):
        layouts.result_beat_layout(20)


def test_addresses_of_a_single_word_have_no_bits():
    assert layouts.address_shape(1).width == 0
    assert layouts.address_shape(13).width == 4
