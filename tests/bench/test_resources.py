"""The calibration: rows are kept one by one, the fit finds what made them, the file is read."""
import json

import pytest

from bench import resources as module
from bench.folders import Folders, write_json
from bench.resources import (
    HELD_OUT,
    PLAN,
    Row,
    clocks,
    coefficients,
    is_current,
    left_out,
    main,
    wanted,
)
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.errors import ToolError
from sparseloom.hw.fit import hashes
from sparseloom.hw.resources import FITTED, features, resource_model

TRUE = {"unit": 3000.0, "cells": 60.0, "pairs": 100.0, "edge": 50.0, "lanes": 300.0,
        "bus_bits": 12.0, "gearbox_choices": 0.5}


def cells(config):
    return round(sum(TRUE[name] * size for name, size in features(config).items()))


@pytest.fixture
def runs(monkeypatch):
    """The bench around tools that only note their calls and answer by a formula."""
    calls = []
    monkeypatch.setattr(module, "sources", lambda config, device: {"x.v": f"{config}"})

    def pack(config, device, *, work):
        calls.append((config.rows, config.cols))
        if (config.rows, config.cols) == (12, 4):
            raise ToolError("yosys failed")
        return {**dict.fromkeys(FITTED, cells(config)), "dsp": 1, "bram": 2, "seconds": 3.0}

    monkeypatch.setattr(module, "packed_cells", pack)
    return calls


def test_measures_what_is_missing_and_fits(runs, tmp_path, capsys):
    assert main(["--root", str(tmp_path)]) == 1, "one of them failed"
    assert len(runs) == len(PLAN) + len(HELD_OUT)
    out, err = capsys.readouterr()
    assert err == "error: 12x4: yosys failed\n"
    assert (f"{len(PLAN) - 1} builds, {len(HELD_OUT)} held out; largest error of one that its fit "
            "did not see: lut4 0.") in out
    model = resource_model(tmp_path / "hw/resources.json")
    assert model.builds == len(PLAN) - 1
    for kind in FITTED:
        assert model.coefficients[kind] == pytest.approx(TRUE, rel=0.05)
        assert model.errors[kind] < 0.01
    assert model.clocks == ()
    runs.clear()
    assert main(["--root", str(tmp_path), "--rows", "12", "--cols", "4"]) == 1
    assert main(["--root", str(tmp_path), "--refit"]) == 0
    assert runs == [(12, 4)]


def test_what_is_held_out_is_in_no_fit_and_in_the_stated_error(runs, tmp_path, monkeypatch):
    honest = module.packed_cells
    main(["--root", str(tmp_path)])
    before = json.loads((tmp_path / "hw/resources.json").read_text())
    assert [row["row"] for row in before["held_out"]] == [row.name for row in HELD_OUT]
    (tmp_path / "bench/results/resources.json").unlink()
    monkeypatch.setattr(module, "packed_cells", lambda config, device, *, work: {
        **(found := honest(config, device, work=work)),
        "comb": found["comb"] * (2 if config == HELD_OUT[0].config() else 1)})
    main(["--root", str(tmp_path)])
    after = json.loads((tmp_path / "hw/resources.json").read_text())
    assert after["coefficients"] == before["coefficients"]
    assert after["held_out"][0]["error"]["comb"] == pytest.approx(-0.5, abs=0.01)
    assert after["errors"]["comb"] == -after["held_out"][0]["error"]["comb"]
    assert after["errors"]["ff"] == before["errors"]["ff"] < 0.01


def fit_row(name, mhz, *, sha256=None, device="85k", **changes):
    config = ArrayConfig(**{"target": "ecp5", **changes})
    return {"row": name, "config": config.to_dict(), "device": {"name": device, "speed": 6},
            "sha256": sha256 or hashes({"x.v": f"{config}"}), "git": {},
            "fmax_mhz": {"median": mhz, "seeds": {"1": mhz, "2": mhz + 1}}}


def test_clocks_are_those_of_fits_of_this_rtl(runs, tmp_path):
    folders = Folders(tmp_path)
    assert clocks(folders) == []
    old = fit_row("8x8-old", 90.0, rows=8, cols=8, sha256={"x.v": "another"})
    wide = fit_row("", 70.0, cols=24, weight_bits=4)
    del wide["row"]
    write_json(folders.results / "fit.json", {"rows": [
        old, fit_row("4x4", 99.0, rows=4, device="25k"), fit_row("any", 50.0, target="generic")]})
    write_json(folders.results / "w4.json", {"fit": wide})
    assert [(clock["name"], clock["mhz"], clock["seeds"], clock["device"])
            for clock in clocks(folders)] == [
        ("4x4", 99.0, 2, "25k"), ("12x24-85k-w4", 70.0, 2, "85k")]
    (folders.results / "w4.json").unlink()
    write_json(folders.results / "fit.json", {"rows": [old]})
    assert [clock["name"] for clock in clocks(folders)] == ["8x8-old"], "better than none"


def test_too_few_builds_are_refused(runs, tmp_path, capsys):
    assert main(["--root", str(tmp_path), "--rows", "2"]) == 2
    assert capsys.readouterr().err == (
        "error: resources.json: expected more than 8 measured builds, found 1\n")


def test_a_row_that_is_left_out_does_not_help_its_own_fit():
    rows = [{"config": row.config().to_dict(), "comb": cells(row.config())} for row in PLAN]
    assert max(map(abs, left_out(rows, "comb"))) < 0.001
    assert coefficients(rows, "comb") == pytest.approx(TRUE, rel=0.02)
    rows[0]["comb"] *= 2
    assert left_out(rows, "comb")[0] == pytest.approx(-0.5, abs=0.01)


def test_any_change_makes_a_row_old(runs):
    row = PLAN[0]
    found = {**wanted(row), "comb": 5}
    assert is_current(found, row)
    assert not is_current(None, row)
    for key in wanted(row):
        assert not is_current({**found, key: "another"}, row), key


def test_names_say_what_is_not_the_reference_builds():
    assert Row(rows=4, cols=8, bus_bits=128, weight_bits=4, lanes=2).name == "4x8-b128-w4-l2"
    assert len({row.name for row in (*PLAN, *HELD_OUT)}) == len(PLAN) + len(HELD_OUT)
