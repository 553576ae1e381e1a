import pytest

from sparseloom.hw.pll import DETECTOR_MHZ, OSCILLATOR_MHZ, Ecp5Pll, pll_settings
from sparseloom.model.errors import InputError


@pytest.mark.parametrize("mhz", [12.5, 25, 87.5, 100, 112.5, 125, 200, 400])
def test_settings_keep_the_limits(mhz):
    found = pll_settings(input_mhz=25, output_mhz=mhz)
    assert found.output_mhz == mhz
    assert DETECTOR_MHZ[0] <= 25 / found.input_divisor <= DETECTOR_MHZ[1]
    assert OSCILLATOR_MHZ[0] <= found.oscillator_mhz <= OSCILLATOR_MHZ[1]
    assert 1 <= found.output_divisor <= 128 >= found.feedback_divisor


@pytest.mark.parametrize("mhz", [0, 101, 500, 3])
def test_what_it_cannot_make_is_refused(mhz):
    with pytest.raises(InputError, match=rf"clock_mhz: .* makes of 25 MHz, found {mhz}; near are"):
        pll_settings(input_mhz=25, output_mhz=mhz)


def test_the_cell_gets_its_divisors():
    from amaranth.back import rtlil
    text = rtlil.convert(Ecp5Pll(pll_settings(input_mhz=25, output_mhz=112.5)))
    assert "cell \\EHXPLLL" in text
    for line in ("parameter \\CLKI_DIV 2", "parameter \\CLKFB_DIV 9",
                 "parameter \\CLKOP_DIV 7", 'attribute \\FREQUENCY_PIN_CLKOP "112.5"'):
        assert line in text.replace("parameter signed", "parameter"), line
