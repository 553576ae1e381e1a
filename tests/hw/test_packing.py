import pytest

from sparseloom.hw import packing as module
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.fit import fit
from sparseloom.hw.packing import packed_cells
from sparseloom.model.errors import InputError
from tests.hw.small_design import SOURCES

SMALL = ArrayConfig(rows=1, cols=1, max_k=8, act_words=8, bus_bits=32)


@pytest.fixture
def quick(monkeypatch):
    """The real tools on a design of a few cells."""
    monkeypatch.setattr(module, "sources", lambda config, device: SOURCES)
    monkeypatch.setattr("sparseloom.hw.fit.sources", lambda config, device: SOURCES)


def test_counts_what_a_fit_counts(quick, tmp_path, monkeypatch):
    found = packed_cells(SMALL, "25k", work=tmp_path)
    placed = fit(SMALL, "25k", work=tmp_path)
    assert {name: placed[name] for name in ("lut4", "comb", "ff", "dsp", "bram")} == {
        name: value for name, value in found.items() if name != "seconds"}
    assert (found["ff"], found["dsp"], found["bram"]) == (32, 1, 0)
    monkeypatch.setattr(module, "run_tool", None)
    assert packed_cells(SMALL, "25k", work=tmp_path) == found, "kept"


def test_what_does_not_fit_is_refused_before_any_tool_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "synthesise", None)
    with pytest.raises(InputError, match="expected at most 28 MULT18X18D"):
        packed_cells(ArrayConfig(rows=8, cols=8), "25k", work=tmp_path)
    with pytest.raises(InputError, match="device: expected one of"):
        packed_cells(SMALL, "12k", work=tmp_path)
