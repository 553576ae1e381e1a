"""Arithmetic of speeds and bars; that a program that does something else is found."""
import json

import pytest

from bench import simspeed as module
from bench.simspeed import bars, compare, main, speeds, timed
from sparseloom.sim.build import Build
from sparseloom.sim.errors import SimulationError


def program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_the_best_run_of_each_counts():
    def runs(*seconds):
        return [{"seconds": 99.0, "processor_seconds": value} for value in seconds]

    found = speeds(1_000_000, {"simulator": runs(5.0, 4.0), "plain_loop": runs(3.0, 2.0, 8.0)})
    assert found == {"simulator_cycles_per_second": 250_000,
                     "plain_loop_cycles_per_second": 500_000, "ratio": 0.5}


@pytest.mark.parametrize(("ratio", "seconds", "met"), [
    (0.6, 60.0, [True, True]), (0.5999, 12.0, [False, True]), (1.1, 60.1, [True, False])])
def test_bars(ratio, seconds, met):
    assert [bar["met"] for bar in bars(ratio, seconds)] == met


def test_processor_time_is_that_of_the_program_and_its_children(tmp_path):
    found = timed(["sh", "-c", "sleep 0.2"], tmp_path)
    assert found["seconds"] >= 0.2 > found["processor_seconds"]
    with pytest.raises(SimulationError, match="sh failed with code 3 in "):
        timed(["sh", "-c", "exit 3"], tmp_path)


@pytest.mark.parametrize("other", ["same", "wrong"])
def test_both_must_give_the_same_results(tmp_path, other):
    simulator = program(tmp_path / "build" / "bench", "printf same > results0.bin")
    plain = program(tmp_path / "plain", f"printf {other} > plain0.bin")
    build = Build(folder=simulator.parent, waves=False, cached=True)
    if other == "wrong":
        with pytest.raises(SimulationError, match=r"queue 0 in .*: expected the same results"):
            compare(build, plain, tmp_path, 1, 1)
    else:
        found = compare(build, plain, tmp_path, 1, 2)
        assert {name: len(runs) for name, runs in found.items()} == {"simulator": 2,
                                                                    "plain_loop": 2}


def test_a_failure_is_one_line_and_no_table(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise SimulationError("make failed")

    monkeypatch.setattr(module, "measure", fail)
    assert main(["--root", str(tmp_path)]) == 1
    assert capsys.readouterr().err == "error: make failed\n"
    assert not (tmp_path / "bench").exists()


@pytest.mark.parametrize(("ratio", "code"), [(0.7, 0), (0.5, 1)])
def test_a_missed_bar_is_exit_code_1(tmp_path, monkeypatch, capsys, ratio, code):
    found = {"cycles": 10, "simulator_cycles_per_second": 7, "plain_loop_cycles_per_second": 10,
             "bars": bars(ratio, 20.0)}
    monkeypatch.setattr(module, "measure", lambda *_: found)
    assert main(["--root", str(tmp_path)]) == code
    assert json.loads((tmp_path / "bench/results/simspeed.json").read_text()) == found
    assert ("MISSED" in capsys.readouterr().out) == bool(code)
