import json

import pytest

from bench import fit as module
from bench.fit import PLAN, Row, is_current, main, wanted
from sparseloom.hw.errors import ToolError
from sparseloom.model.errors import InputError


def report(row, seeds):
    asked = wanted(row, seeds)
    return {"config": asked["config"], "device": {"name": row.device}, "options": {"seeds": seeds},
            "sha256": asked["sha256"], "versions": asked["versions"], "macs": 4, "comb": 401,
            "ff": 800, "dsp": 8, "bram": 3, "seconds": 9.0, "cached": False, "folders": {},
            "critical_paths": {}, "fmax_mhz": {"median": 100.0, "seeds": {"1": 100.0}}}


@pytest.fixture
def runs(monkeypatch):
    """The bench around a flow that only notes its calls."""
    calls = []
    monkeypatch.setattr(module, "sources", lambda config, device: {
        "sparseloom.v": f"{config.rows} {config.cols} {config.target} {device}"})

    def run(config, device, *, seeds, **settings):
        calls.append((device, config.rows, config.cols, seeds))
        if config.rows == 12:
            raise ToolError("nextpnr failed")
        if config.cols == 31:
            raise InputError("too large")
        return report(Row(device=device, rows=config.rows, cols=config.cols,
                          target=config.target), seeds)

    monkeypatch.setattr(module, "fit", run)
    return calls


def test_rows_are_kept_one_by_one_and_resumed(runs, tmp_path, capsys):
    args = ["--root", str(tmp_path), "--target", "generic"]
    assert main(args) == 1, "one of them failed"
    table = json.loads((tmp_path / "bench/results/fit.json").read_text())
    assert [row["row"] for row in table["rows"]] == ["4x4-25k-generic", "8x8-85k-generic"]
    assert table["rows"][0]["comb_per_mac"] == 100.2
    assert not {"critical_paths", "folders", "cached"} & set(table["rows"][0])
    assert runs == [("25k", 4, 4, 3), ("85k", 8, 8, 3), ("85k", 12, 12, 3)]
    runs.clear()
    assert main(args) == 1
    assert runs == [("85k", 12, 12, 3)]
    out, err = capsys.readouterr()
    assert "4x4-25k-generic: measured already" in out
    assert err.count("error: 12x12-85k-generic: nextpnr failed\n") == 2
    runs.clear()
    assert main([*args, "--device", "25k", "--seeds", "1"]) == 0
    assert runs == [("25k", 4, 4, 1)]


def test_an_array_that_the_plan_lacks(runs, tmp_path):
    args = ["--root", str(tmp_path), "--device", "45k", "--rows", "2"]
    assert main(args) == 2, "how many columns?"
    assert runs == []
    assert main([*args, "--cols", "3"]) == 0
    assert main([*args, "--cols", "31"]) == 2
    table = json.loads((tmp_path / "bench/results/fit.json").read_text())
    assert [row["row"] for row in table["rows"]] == ["2x3-45k-generic"]


def test_any_change_makes_a_row_old(runs):
    row = PLAN[0]
    found = report(row, 3)
    assert is_current(found, wanted(row, 3))
    assert not is_current(None, wanted(row, 3))
    assert not is_current(found, wanted(row, 4))
    assert not is_current({**found, "versions": {}}, wanted(row, 3))
    assert not is_current({**found, "sha256": {}}, wanted(row, 3))
