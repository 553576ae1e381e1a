import re

import pytest
from rich.console import Console

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.synthesis import COMMANDS, KINDS
from sparseloom.hw.utilisation import LABELS, utilisation, utilisation_table
from sparseloom.hw.wrapper import ports
from sparseloom.model.errors import InputError

NOT_COUNTED = {
    # Multiplexers that come with a slice's tables.
    "ecp5": {"PFUMX", "L6MUX21"},
    "ice40": set(),
    # Constants.
    "nexus": {"VHI", "VLO"},
    "gowin": {"VCC", "GND", "MUX2_LUT5", "MUX2_LUT6", "MUX2_LUT7", "MUX2_LUT8"},
    # The clock's buffer.
    "xilinx": {"BUFG", "MUXF7", "MUXF8"},
}
"""Cells that take no room of their own."""


def small(**changes):
    return ArrayConfig(**{"rows": 1, "cols": 1, "max_k": 64, "act_words": 64, "bus_bits": 32,
                          **changes})


@pytest.mark.parametrize("family", COMMANDS)
def test_a_generic_build_synthesises_for_every_family(family, tmp_path):
    report = utilisation(small(), family, work=tmp_path)
    for kind, least in (("luts", 1000), ("ffs", 1000), ("dsps", 1), ("block_memories", 1),
                        ("carries", 50)):
        assert report[kind] >= least, kind
    for cell in report["cells"]:
        kinds = [kind for kind, name in KINDS[family].items() if re.fullmatch(name, cell)]
        assert len(kinds) == (cell not in NOT_COUNTED[family]), (cell, kinds)
    assert sum(report[kind] for kind in LABELS) == sum(
        count for cell, count in report["cells"].items() if cell not in NOT_COUNTED[family])
    # Registers in a row: Xilinx makes them of look-up tables.
    shifts = [cell for cell in report["cells"] if cell.startswith("SRL")]
    assert bool(shifts) == (family == "xilinx")
    assert all(re.fullmatch(KINDS[family]["lut_memories"], cell) for cell in shifts)
    assert not any("IBUF" in cell or "OBUF" in cell or cell.startswith("SB_IO")
                   for cell in report["cells"]), "pads"
    assert report["family"] == family
    console = Console(width=100, record=True)
    console.print(utilisation_table(report))
    assert f"{report['luts']:,}" in console.export_text()


def test_tables_count_the_same_things():
    assert set(KINDS) == set(COMMANDS)
    for kinds in KINDS.values():
        assert set(kinds) == set(LABELS)


def test_refuses_what_it_does_not_know(tmp_path):
    with pytest.raises(InputError, match="family: expected one of"):
        utilisation(small(), "cyclone", work=tmp_path)
    assert ports(small())[0]["s_axis_acts_tdata"] == 32
    assert list(tmp_path.iterdir()) == []
