"""Bitstreams: what is refused before any tool runs, timing, and that failing tools are told."""
import json

import pytest

from sparseloom.hw import bitstream
from sparseloom.hw.bitstream import STEPS, build_bitstream, check_timing
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.errors import ToolError
from sparseloom.model.errors import InputError

CONFIG = ArrayConfig(rows=2, cols=2, max_k=16, act_words=32, bus_bits=32)

# Stand-ins for the tools: they check that their input is there, and leave what the real ones do.
YOSYS = """
import pathlib, sys
assert sys.argv[1:] == ["script sparseloom_board.ys"]
assert "synth_ecp5" in pathlib.Path("sparseloom_board.ys").read_text()
text = pathlib.Path("sparseloom_board.il").read_text()
assert "EHXPLLL" in text and "module \\\\sparseloom_board" in text
pathlib.Path("sparseloom_board.json").write_text("{}")
"""
NEXTPNR = """
import json, pathlib, sys
limits = pathlib.Path(sys.argv[sys.argv.index("--lpf") + 1]).read_text()
for line in ('LOCATE COMP "clk25_0__io" SITE "G2"', 'LOCATE COMP "uart_0__rx__io" SITE "M1"',
             'LOCATE COMP "uart_0__tx__io" SITE "L4"', 'FREQUENCY PORT "clk25_0__io" 25000000'):
    assert line in limits, line
assert "--85k" in sys.argv and pathlib.Path("sparseloom_board.json").exists()
pathlib.Path("sparseloom_board.config").write_text("x")
pathlib.Path("report.json").write_text(json.dumps({
    "fmax": {"$glbnet$clk": {"achieved": ACHIEVED, "constraint": 100.0}},
    "utilization": {"DP16KD": {"used": 3, "available": 208}, "DCUA": {"used": 0, "available": 2}}}))
"""
ECPPACK = """
import pathlib
assert pathlib.Path("sparseloom_board.config").read_text() == "x"
pathlib.Path("sparseloom_board.bit").write_bytes(b"bits")
"""


@pytest.fixture
def tools(monkeypatch):
    def use(achieved=130.0, **others):
        codes = {"YOSYS": YOSYS, "NEXTPNR": NEXTPNR.replace("ACHIEVED", str(achieved)),
                 "ECPPACK": ECPPACK, **others}
        for name, code in codes.items():
            monkeypatch.setattr(bitstream, name, code)
    return use


def test_report_and_steps(tools, tmp_path):
    tools()
    steps = []
    report = build_bitstream(CONFIG, tmp_path / "a.bit", work=tmp_path / "work", seed=3,
                             baud=2_000_000, entered=steps.append)
    assert (tmp_path / "a.bit").read_bytes() == b"bits"
    assert steps == list(STEPS)
    assert json.loads(json.dumps(report)) == report
    assert (report["bytes"], report["fmax_mhz"], report["divisor"], report["seed"]) == (
        4, 130.0, 50, 3)
    assert report["utilisation"] == {"DP16KD": {"used": 3, "available": 208}}
    assert set(report["seconds"]) == set(STEPS)
    assert ArrayConfig(**report["config"]) == CONFIG


def test_timing_that_is_missed_leaves_no_bitstream(tools, tmp_path):
    tools(achieved=99.9)
    with pytest.raises(ToolError, match=r"timing, clock glbnet\$clk: expected 100.00 MHz, found "
                                         r"99.90; no bitstream was written"):
        build_bitstream(CONFIG, tmp_path / "a.bit", work=tmp_path / "work")
    assert not (tmp_path / "a.bit").exists()


def test_a_tool_that_fails_or_hangs_is_told(tools, tmp_path):
    tools(YOSYS="print('ERROR: no such cell'); raise SystemExit(3)")
    with pytest.raises(ToolError, match=r"synthesis failed with code 3: no such cell; its "
                                        r"log is .*synthesis\.log"):
        build_bitstream(CONFIG, tmp_path / "a.bit", work=tmp_path / "work")
    tools(YOSYS="import time; time.sleep(60)")
    with pytest.raises(ToolError, match=r"synthesis took longer than 0\.5 seconds"):
        build_bitstream(CONFIG, tmp_path / "a.bit", work=tmp_path / "work", seconds=0.5)
    assert not (tmp_path / "a.bit").exists()


def test_a_clock_that_nobody_held_to_the_frequency_is_no_proof():
    with pytest.raises(ToolError, match=r"timing: expected a clock held to 100 MHz, found 25.0"):
        check_timing({"clk": {"achieved": 300.0, "constraint": 25.0}}, clock_mhz=100)
    with pytest.raises(ToolError, match="found none"):
        check_timing({}, clock_mhz=100)


@pytest.mark.parametrize(("settings", "says"), [
    ({"device": "12k"}, "device: expected one of 25k, 45k, 85k, found '12k'"),
    ({"clock_mhz": 75.0}, "clock_mhz: expected at least 100, found 75"),
    ({"clock_mhz": 101.0}, "clock_mhz: expected a frequency that the PLL makes of 25 MHz"),
    ({"baud": 4_000_000}, "baud: expected 1 to 3000000, found 4000000"),
    ({"baud": 0}, "baud: expected 1 to 3000000, found 0"),
])
def test_settings_that_no_board_has_are_refused(settings, says, tmp_path):
    with pytest.raises(InputError, match=says):
        build_bitstream(CONFIG, tmp_path / "a.bit", work=tmp_path / "work", **settings)
    assert not (tmp_path / "work").exists()


def test_a_unit_that_the_device_cannot_hold_is_refused_before_any_tool_runs(tmp_path):
    config = ArrayConfig(rows=8, cols=8, max_k=16, act_words=32, bus_bits=32)
    with pytest.raises(InputError, match=r"expected at most 28 MULT18X18D \(LFE5U-25F\), found 64"):
        build_bitstream(config, tmp_path / "a.bit", work=tmp_path / "work", device="25k")
    assert not (tmp_path / "work").exists()
