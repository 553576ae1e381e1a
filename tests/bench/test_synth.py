"""The table of synthesis: rows are kept one by one, and measured again when they are old."""
import json

import pytest

from bench import synth as module
from bench.synth import PLAN, is_current, main, wanted
from sparseloom.hw.errors import ToolError
from sparseloom.hw.synthesis import COMMANDS
from sparseloom.hw.utilisation import LABELS


@pytest.fixture
def runs(monkeypatch):
    """The bench around a synthesis that only notes its calls; the Verilog is small."""
    calls = []
    monkeypatch.setattr("sparseloom.hw.generate.to_verilog", lambda config: f"{config.rows}")

    def run(config, family, *, work):
        calls.append((config.rows, family))
        if family == "gowin":
            raise ToolError("yosys failed")
        return {**dict.fromkeys(LABELS, 1234), "macs": 16, "cells": {"LUT": 7}, "seconds": 2.0}

    monkeypatch.setattr(module, "utilisation", run)
    return calls


def test_rows_are_kept_one_by_one_and_resumed(runs, tmp_path, capsys):
    args = ["--root", str(tmp_path), "--rows", "4"]
    assert main(args) == 1, "one of them failed"
    assert runs == [(4, family) for family in COMMANDS]
    table = json.loads((tmp_path / "bench/results/synth.json").read_text())
    assert [row["family"] for row in table["rows"]] == [
        family for family in COMMANDS if family != "gowin"]
    assert table["rows"][0]["luts"] == 1234
    runs.clear()
    assert main(args) == 1
    assert runs == [(4, "gowin")]
    out, err = capsys.readouterr()
    assert "4x4-ecp5: 1,234 look-up tables, 1,234 carry cells" in out
    assert "4x4-ice40: measured already" in out
    assert err == "error: 4x4-gowin: yosys failed\n" * 2
    assert main(["--root", str(tmp_path), "--family", "cyclone"]) == 2


def test_any_change_makes_a_row_old(runs):
    row = PLAN[0]
    found = {**wanted(row), "luts": 5}
    assert is_current(found, row)
    assert not is_current(None, row)
    for key in wanted(row):
        assert not is_current({**found, key: "another"}, row), key
