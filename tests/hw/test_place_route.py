import json
import re

import pytest

from sparseloom.hw import place_route as module
from sparseloom.hw.devices import DEVICES
from sparseloom.hw.errors import ToolError
from sparseloom.hw.place_route import place_and_route
from sparseloom.hw.synthesis import synthesise
from tests.hw.small_design import SOURCES

PLACED, PLACE = "X22/Y13/MULT18_0", (22, 13)


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    return synthesise(SOURCES, top="fit_wrapper", family="ecp5",
                      work=tmp_path_factory.mktemp("work"))


def run(synthesis, **changes):
    return place_and_route(synthesis, **{"device": DEVICES["25k"], "seed": 1, "speed": 6,
                                         "placer": "static", "router": "router2",
                                         "freq_mhz": 200.0, **changes})


def test_stages_clock_cells_and_a_second_time_for_nothing(netlist, monkeypatch):
    stages = []
    found = run(netlist, entered=stages.append)
    assert stages == ["pack", "place", "route"]
    assert 50 < found.fmax_mhz < 1000
    assert found.used["MULT18X18D"] == 1
    assert found.available["MULT18X18D"] == 28
    assert found.available["TRELLIS_COMB"] == DEVICES["25k"].lut4
    assert found.available["TRELLIS_FF"] == DEVICES["25k"].ff
    assert found.available["DP16KD"] == DEVICES["25k"].bram if "DP16KD" in found.used else True
    assert sum(step["delay"] for step in found.path) == pytest.approx(1000 / found.fmax_mhz, 0.01)

    options = json.loads((found.folder / "recipe.json").read_text())["options"]
    assert options[:5] == ["--25k", "--package", "CABGA381", "--speed", "6"]
    other = run(netlist, seed=2)
    options_2 = json.loads((other.folder / "recipe.json").read_text())["options"]
    assert [pair for pair in zip(options, options_2, strict=True) if pair[0] != pair[1]] == [
        ("1", "2")]

    def refuse(*arguments, **settings):
        raise ToolError("ran")

    monkeypatch.setattr(module, "run_tool", refuse)
    again = run(netlist)
    assert again.cached and again.fmax_mhz == found.fmax_mhz
    for changes in ({"seed": 3}, {"speed": 8}, {"router": "router1"}, {"placer": "heap"},
                    {"freq_mhz": 100.0}, {"device": DEVICES["85k"]}):
        with pytest.raises(ToolError, match="ran"):
            run(netlist, **changes)


def test_a_bel_attribute_is_obeyed(tmp_path):
    """The way a floorplan enters."""
    here = SOURCES["sparseloom.v"].replace("  always @(posedge clk) p <= a * b;", f"""
      wire [15:0] q;
      (* BEL = "{PLACED}" *) MULT18X18D #(.REG_OUTPUT_CLK("CLK0")) dsp (.CLK0(clk),
      {", ".join(f".A{i}(a[{i}]), .B{i}(b[{i}])" for i in range(8))},
      {", ".join(f".P{i}(q[{i}])" for i in range(16))});
      always @* p = q;""")
    netlist = synthesise({**SOURCES, "sparseloom.v": here}, top="fit_wrapper", family="ecp5",
                         work=tmp_path)
    for placer in ("static", "heap"):
        found = run(netlist, placer=placer)
        report = json.loads((found.folder / "report.json").read_text())
        places = {tuple(end["loc"]) for path in report["critical_paths"] for step in path["path"]
                  for end in (step["from"], step["to"]) if end["cell"].endswith(".dsp")}
        assert places == {PLACE}, placer


def test_a_time_limit_is_one_line_with_the_log(netlist):
    with pytest.raises(ToolError) as caught:
        run(netlist, seed=77, seconds=0.01)
    match = re.search(r"^nextpnr took longer than 0\.01 seconds; its log is (\S+)$",
                      str(caught.value))
    assert match, str(caught.value)


def test_nextpnr_error_is_told(netlist):
    with pytest.raises(ToolError, match=r"nextpnr failed with code 1.*; its log is "):
        run(netlist, speed=5)
