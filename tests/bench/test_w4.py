"""What the bench of 4-bit weights keeps, around flows that only note their calls."""
import json

import pytest

from bench import fit as bench_fit
from bench import w4 as module
from bench.w4 import CONFIG, VARIANTS, main
from sparseloom.hw.devices import cell_multipliers
from sparseloom.hw.errors import ToolError


@pytest.fixture
def runs(monkeypatch):
    calls = []

    def fit(config, device, *, seeds, speed, work, entered):
        calls.append((device, config.rows, config.cols, seeds, speed))
        entered(1, "place")
        if seeds > 8:
            raise ToolError("nextpnr failed")
        return {"macs": 288, "comb": 28800, "ff": 57600, "dsp": 152, "fmax_mhz": {"median": 100.0},
                "folders": {}, "cached": False}

    def score(checkpoint, task, name, bits, rounding):
        calls.append((checkpoint, task, name, bits, rounding))
        return {"model": checkpoint, "task": "stsb", "metric": "spearman", "compression": 2.0,
                "weight_bits": bits, "rounding": rounding,
                "scores": {"spearman": len(calls) / 100}, "stored_bits_per_weight": 4.1}

    monkeypatch.setattr(bench_fit, "fit", fit)
    monkeypatch.setattr(module, "measure_score", score)
    return calls


def table(folder):
    return json.loads((folder / "bench/results/w4.json").read_text())


def test_the_unit_has_twice_the_macs_of_its_multipliers():
    assert CONFIG.rows * CONFIG.cols == 2 * cell_multipliers(CONFIG) == 288


def test_parts_are_kept_beside_each_other(runs, tmp_path, capsys):
    args = ["--root", str(tmp_path), "--model", "tiny", "--task", "rows"]
    assert main(["scores", *args, "--weight-bits", "4", "--rounding", "nearest"]) == 0
    assert table(tmp_path)["fit"] is None
    assert main(["fit", *args]) == 0
    found = table(tmp_path)
    assert (found["fit"]["comb_per_mac"], found["fit"]["ff_per_mac"]) == (100.0, 200.0)
    assert found["fit"]["macs_per_dsp"] == 1.89 and "folders" not in found["fit"]
    assert [row["scores"]["spearman"] for row in found["scores"]] == [0.01]
    runs.clear()
    assert main(args) == 0
    assert runs == [("85k", 12, 24, 1, 6),
                    *(("tiny", "rows", None, bits, rounding) for bits, rounding in VARIANTS)]
    found = table(tmp_path)["scores"]
    assert [(row["weight_bits"], row["rounding"]) for row in found] == list(VARIANTS)
    assert [row["scores"]["spearman"] for row in found] == [0.02, 0.03, 0.04], "measured anew"
    assert main(["scores", *args[:2], "--model", "other", "--task", "rows"]) == 0
    assert [row["model"] for row in table(tmp_path)["scores"]] == ["other"] * 3 + ["tiny"] * 3
    assert "4 bits, compensated: spearman" in capsys.readouterr().out


def test_a_failed_tool_keeps_what_was_there(runs, tmp_path, capsys):
    assert main(["fit", "--root", str(tmp_path)]) == 0
    assert main(["fit", "--root", str(tmp_path), "--seeds", "9"]) == 1
    assert table(tmp_path)["fit"]["dsp"] == 152
    assert "error: nextpnr failed" in capsys.readouterr().err
