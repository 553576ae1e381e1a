import re

import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.devices import DEVICES, cell_multipliers, check_arithmetic, check_cells
from sparseloom.hw.devices import find_device as find
from sparseloom.model.errors import InputError


@pytest.mark.parametrize(("device", "rows", "cols", "changes"), [
    ("85k", 12, 12, {}), ("85k", 12, 12, {"lanes": 6}), ("85k", 8, 8, {"lanes": 8}),
    ("45k", 8, 8, {}), ("25k", 4, 4, {}), ("25k", 2, 8, {}),
])
def test_what_the_multipliers_allow_passes(device, rows, cols, changes):
    check_arithmetic(ArrayConfig(rows=rows, cols=cols, **changes), DEVICES[device])


@pytest.mark.parametrize(("device", "rows", "cols", "changes", "message"), [
    ("85k", 12, 12, {"lanes": 12},
     "lanes: expected at most 6 (LFE5U-85F has 156 MULT18X18D, 12 x 12 cells take 144 and a lane "
     "2), found 12"),
    ("85k", 13, 12, {"lanes": 1}, "lanes: expected at most 0 (LFE5U-85F has 156 MULT18X18D, "
                                  "13 x 12 cells take 156 and a lane 2), found 1"),
    ("85k", 13, 13, {}, "13 x 13 cells: expected at most 156 MULT18X18D (LFE5U-85F), found 169"),
    ("25k", 8, 4, {}, "8 x 4 cells: expected at most 28 MULT18X18D (LFE5U-25F), found 32"),
    ("25k", 4, 4, {"act_words": 20000},
     "act_words: expected at most 56 DP16KD (LFE5U-25F), found 70 for two halves of 20000 words "
     "of 4 bytes"),
])
def test_refuses_by_arithmetic_with_the_numbers(device, rows, cols, changes, message):
    with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
        check_arithmetic(ArrayConfig(rows=rows, cols=cols, **changes), DEVICES[device])


def test_cells_that_fit_exactly_pass_and_one_more_does_not():
    device = DEVICES["25k"]
    full = {"MULT18X18D": 28, "DP16KD": 56, "LUT4": 24288 - 2 * 100 - 4 * 10, "CCU2C": 100,
            "TRELLIS_DPR16X4": 10, "TRELLIS_FF": 24288}
    check_cells(full, device)
    check_cells({}, device)
    for name, message in (
            ("MULT18X18D", "LFE5U-25F: expected at most 28 MULT18X18D, found 29 MULT18X18D"),
            ("DP16KD", "LFE5U-25F: expected at most 56 DP16KD, found 57 DP16KD"),
            ("LUT4", "LFE5U-25F: expected at most 24288 LUT4, found 24289 LUT4"),
            ("CCU2C", "LFE5U-25F: expected at most 24288 LUT4, found 24290 LUT4"),
            ("TRELLIS_DPR16X4", "LFE5U-25F: expected at most 24288 LUT4, found 24292 LUT4"),
            ("TRELLIS_FF",
             "LFE5U-25F: expected at most 24288 flip-flops, found 24289 flip-flops")):
        with pytest.raises(InputError, match=f"^{re.escape(message)}$"):
            check_cells({**full, name: full[name] + 1}, device)
    with pytest.raises(InputError, match="at most 28 MULT18X18D, 56 DP16KD, found 30 MULT18X18D, "
                                         "60 DP16KD"):
        check_cells({"MULT18X18D": 30, "DP16KD": 60}, device)


def test_places_of_multipliers_are_as_many_as_lattice_says():
    assert {name: device.dsp for name, device in DEVICES.items()} == {"25k": 28, "45k": 72,
                                                                      "85k": 156}


def test_device_by_name():
    assert find("45k").part == "LFE5U-45F"
    with pytest.raises(InputError, match=r"^device: expected one of 25k, 45k, 85k, found '12k'$"):
        find("12k")


def test_every_cell_has_a_multiplier():
    assert cell_multipliers(ArrayConfig(rows=3, cols=5)) == 15


def test_two_columns_of_4_bits_share_one_and_an_odd_one_has_its_own():
    assert cell_multipliers(ArrayConfig(rows=3, cols=5, weight_bits=4)) == 9
    assert cell_multipliers(ArrayConfig(rows=12, cols=24, weight_bits=4)) == 144
    check_arithmetic(ArrayConfig(rows=12, cols=24, weight_bits=4, lanes=6), find("85k"))
    with pytest.raises(InputError, match=r"12 x 24 cells: expected at most 156 MULT18X18D "
                                         r"\(LFE5U-85F\), found 288"):
        check_arithmetic(ArrayConfig(rows=12, cols=24), find("85k"))
    with pytest.raises(InputError, match=r"lanes: expected at most 6 .* 12 x 24 cells take 144 "):
        check_arithmetic(ArrayConfig(rows=12, cols=24, weight_bits=4, lanes=12),
                         find("85k"))
