"""The resource model against the unit itself, and against the builds that it was fitted to."""
import json
from pathlib import Path

import pytest
from amaranth.hdl import Fragment, Shape

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.devices import DEVICES
from sparseloom.hw.gearbox import Gearbox
from sparseloom.hw.memory import SimpleDualPort
from sparseloom.hw.resources import (
    FILE,
    FITTED,
    Resources,
    block_memories,
    features,
    gearboxes,
    memories,
    multipliers,
    resource_model,
)
from sparseloom.hw.unit import Unit
from sparseloom.model.errors import InputError

CONFIGS = [ArrayConfig(**{"target": "ecp5", **changes}) for changes in (
    {"rows": 3, "cols": 5, "max_k": 45, "act_words": 100, "bus_bits": 32},
    {"rows": 4, "cols": 4}, {"rows": 8, "cols": 3, "lanes": 8, "weight_bits": 4, "bus_bits": 128},
    {"rows": 1, "cols": 1, "max_k": 1, "act_words": 1}, {"rows": 6, "cols": 7, "act_words": 9000})]
ROOT = Path(__file__).parents[2]
MODEL = json.loads(FILE.read_text())
ROWS = [*MODEL["builds"], *MODEL["held_out"]]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: f"{config.rows}x{config.cols}")
def test_memories_and_gearboxes_are_the_units_own(config, monkeypatch):
    there, boxes = [], []
    memory, box = SimpleDualPort.__init__, Gearbox.__init__

    def note_memory(self, **settings):
        memory(self, **settings)
        there.append((settings["depth"], Shape.cast(settings["shape"]).width, self._distributed))

    def note_box(self, in_bytes, out_bytes):
        box(self, in_bytes, out_bytes)
        boxes.append((in_bytes, out_bytes))

    monkeypatch.setattr(SimpleDualPort, "__init__", note_memory)
    monkeypatch.setattr(Gearbox, "__init__", note_box)
    Fragment.get(Unit(config), None)
    assert sorted(there) == sorted(memories(config))
    assert sorted(boxes) == sorted(gearboxes(config))


def test_blocks_and_multipliers_of_known_builds():
    reference = ArrayConfig(target="ecp5")
    assert (block_memories(reference), multipliers(reference)) == (130, 152)
    least = ArrayConfig(rows=1, cols=1, max_k=1, act_words=1, target="ecp5")
    assert (block_memories(least), multipliers(least)) == (4, 3), "table, parameters, delay"
    with pytest.raises(InputError, match=r"^act_words, max_k: depth must be at most 32768, not 65"):
        block_memories(ArrayConfig(rows=2, act_words=30000))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["row"])
def test_measured_multipliers_and_memories_are_met_exactly(row):
    config = ArrayConfig(**row["config"])
    assert (multipliers(config), block_memories(config)) == (row["dsp"], row["bram"])


def test_measured_look_up_tables_and_flip_flops_are_met_within_what_is_stated():
    model = resource_model()
    assert model.builds == len(MODEL["builds"]) > len(features(ArrayConfig()))
    assert not {row["row"] for row in MODEL["builds"]} & {row["row"] for row in MODEL["held_out"]}
    for row in ROWS:
        found = model.estimate(ArrayConfig(**row["config"]))
        for kind in FITTED:
            assert getattr(found, kind) == pytest.approx(row[kind], rel=model.errors[kind])
    for row in MODEL["held_out"]:
        found = model.estimate(ArrayConfig(**row["config"]))
        for kind in FITTED:
            assert row["error"][kind] == pytest.approx(getattr(found, kind) / row[kind] - 1,
                                                       abs=3e-4)
    unseen = [*(row["left_out"] for row in MODEL["builds"]),
              *(row["error"] for row in MODEL["held_out"])]
    assert {kind: max(abs(errors[kind]) for errors in unseen)
            for kind in FITTED} == dict(model.errors)
    assert model.errors["comb"] < 0.1 and model.errors["ff"] < 0.1


def test_over_a_devices_limits():
    cells = Resources(lut4=1, comb=24288, ff=24288, dsp=28, bram=56)
    assert cells.over(DEVICES["25k"]) == []
    assert cells.over(DEVICES["25k"], 0.99) == ["TRELLIS_COMB", "flip-flops"]
    more = Resources(lut4=1, comb=24289, ff=1, dsp=29, bram=57)
    assert more.over(DEVICES["25k"]) == ["TRELLIS_COMB", "MULT18X18D", "DP16KD"]


OTHER = json.dumps({**MODEL, "coefficients": {kind: {"unit": 1} for kind in FITTED}})


@pytest.mark.parametrize("text", ["", "{}", '{"coefficients": 1, "errors": 2, "builds": 3}', OTHER])
def test_a_file_that_is_no_model(tmp_path, text):
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"expected a resource model \(make bench-resources\)"):
        resource_model(path)


def test_clocks_are_those_of_the_measured_fits():
    """``make bench-resources ARGS=--refit`` where this fails."""
    fits = json.loads((ROOT / "bench/results/fit.json").read_text())["rows"]
    fits.append(json.loads((ROOT / "bench/results/w4.json").read_text())["fit"])
    known = [(fit["config"], fit["device"]["name"], fit["fmax_mhz"]["median"]) for fit in fits]
    assert resource_model().clocks
    for clock in resource_model().clocks:
        assert (clock["config"], clock["device"], clock["mhz"]) in known
