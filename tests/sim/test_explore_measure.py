"""Builds measured by the real tools, on a design of a few cells."""
import dataclasses

import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.sim.explore import measure as module
from sparseloom.sim.explore.measure import Build, measure_build
from tests.hw.small_design import SOURCES


@pytest.fixture
def build(monkeypatch, tmp_path):
    for place in ("packing", "fit"):
        monkeypatch.setattr(f"sparseloom.hw.{place}.sources", lambda config, device: SOURCES)
    return Build(config=ArrayConfig(rows=1, cols=1, max_k=8, act_words=8, bus_bits=32),
                 device="25k", kind="synth", seeds=1, work=tmp_path)


def test_cells_and_with_a_fit_the_clock(build):
    cells = measure_build(build)
    placed = measure_build(dataclasses.replace(build, kind="fit"))
    names = ("lut4", "comb", "ff", "dsp", "bram")
    assert {name: cells[name] for name in names} == {name: placed[name] for name in names}
    assert (cells["ff"], cells["dsp"], cells["kind"]) == (32, 1, "synth")
    assert "mhz" not in cells and placed["mhz"] > 50
    assert cells["key"] == build.key != placed["key"]


def test_what_does_not_fit_says_why(build):
    large = dataclasses.replace(build, config=ArrayConfig(rows=8, cols=8))
    found = measure_build(large)
    assert set(found) == {"key", "kind", "refused"}
    assert "expected at most 28 MULT18X18D" in found["refused"]


def test_a_key_knows_everything_that_decides_a_measurement(build, monkeypatch):
    fit = dataclasses.replace(build, kind="fit")
    keys = {build.key, fit.key, dataclasses.replace(fit, seeds=2).key,
            dataclasses.replace(build, device="45k").key,
            dataclasses.replace(build, config=ArrayConfig(rows=2)).key}
    assert len(keys) == 5
    assert dataclasses.replace(build, seeds=2).key == build.key, "packing knows no seed"
    monkeypatch.setattr(module, "hardware_digest", lambda: "another RTL")
    assert build.key not in keys
