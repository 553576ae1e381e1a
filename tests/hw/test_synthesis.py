import re

import pytest

from sparseloom.hw import synthesis as module
from sparseloom.hw.errors import ToolError
from sparseloom.hw.synthesis import synthesise
from sparseloom.model.errors import InputError
from tests.hw.small_design import SOURCES


def small(tmp_path, **changes):
    return synthesise(**{"sources": SOURCES, "top": "fit_wrapper", "family": "ecp5",
                         "work": tmp_path, **changes})


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    return tmp_path_factory.mktemp("work")


def test_counts_cells_and_knows_where_they_are(work):
    found = small(work)
    assert found.cells["MULT18X18D"] == 1
    assert found.registers == {"wrapper.v": 16 + 16 + 1, "sparseloom.v": 16 + 16}
    assert found.cells["TRELLIS_FF"] == 65
    assert found.scopes == ["core", "core.unit", "core.unit.array", "core.unit.array.cell_0_0"]
    assert found.table()["dsps"] == 1
    assert found.table()["ffs"] == found.cells["TRELLIS_FF"]
    assert found.netlist.is_file()


def test_an_equal_run_costs_nothing_and_a_change_a_new_one(work, monkeypatch):
    first = small(work)
    assert first.seconds > 0
    runs = []

    def refuse(*arguments, **settings):
        runs.append(settings)
        raise ToolError("ran")

    monkeypatch.setattr(module, "run_tool", refuse)
    again = small(work)
    assert again.cached
    assert (again.cells, again.seconds) == (first.cells, first.seconds)
    changed = {**SOURCES, "wrapper.v": SOURCES["wrapper.v"].replace("^p_q", "|p_q")}
    for changes in ({"sources": changed}, {"family": "ice40"}, {"top": "sparseloom"}):
        with pytest.raises(ToolError, match="ran"):
            small(work, **changes)
    monkeypatch.setattr(module, "yosys_version", lambda: "0.1")
    with pytest.raises(ToolError, match="ran"):
        small(work)
    assert len(runs) == 4


def test_yosys_error_is_one_line_and_its_log_is_kept(tmp_path):
    broken = {"sparseloom.v": "module fit_wrapper(input a, output b);\n  assign b = nothing[;\n"}
    with pytest.raises(ToolError) as caught:
        small(tmp_path, sources=broken)
    log = re.search(r"^yosys failed with code \d+.*; its log is (\S+)$", str(caught.value))
    assert log
    with open(log[1]) as file:
        assert "syntax error" in file.read()
    assert not list(tmp_path.glob("*/netlist.json"))


def test_an_unknown_family_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"^family: expected one of ecp5, ice40, nexus, gowin, "
                                         "xilinx, found 'cyclone'$"):
        small(tmp_path, family="cyclone")
