"""Which fit's clock is a build's."""
import json
from dataclasses import replace
from pathlib import Path

import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError
from sparseloom.sim.receipt.clock import ALIKE, find_clock, read_fits
from tests.sim.receipts import CONFIG, fit_row, write

TABLE = Path(__file__).parents[2] / "bench/results/fit.json"


def test_the_fastest_fit_of_the_same_build():
    slow = fit_row(row="slow", fmax_mhz={"median": 50.0, "seeds": {"1": 50.0}})
    other = fit_row(row="other", config={**CONFIG.to_dict(), "rows": 6},
                    fmax_mhz={"median": 500.0, "seeds": {}})
    found = find_clock([slow, fit_row(), other], CONFIG)
    assert found is not None and (found.mhz, found.part) == (100.0, "LFE5U-85F")
    assert found.row == "3x5-85k-ecp5" and len(found.seeds) == 3


@pytest.mark.parametrize("changes", [
    {"rows": 6}, {"cols": 6}, {"lanes": 1}, {"bus_bits": 64}, {"weight_bits": 4}, {"max_k": 64},
    {"act_words": 100}, {"block_inputs": 16}, {"queue_depth": 2}])
def test_another_build_has_another_clock(changes):
    assert find_clock([fit_row()], replace(CONFIG, **changes)) is None


def test_every_setting_but_the_target_counts():
    assert {*ALIKE, "target"} == set(ArrayConfig().to_dict())
    assert find_clock([fit_row()], replace(CONFIG, target="generic")) is not None


def test_every_build_of_the_table_finds_its_fit():
    fits = read_fits(TABLE)
    for row in fits:
        found = find_clock(fits, ArrayConfig(**row["config"]))
        assert found is not None and found.mhz >= row["fmax_mhz"]["median"]
    assert find_clock(fits, ArrayConfig(max_k=3072)) is None, "BERT-base's inputs were not fitted"


def test_the_reference_build_is_in_the_table():
    found = find_clock(read_fits(TABLE), ArrayConfig())
    rows = {row["row"]: row for row in json.loads(TABLE.read_text())["rows"]}
    assert found is not None and found.row is not None
    assert found.mhz == rows[found.row]["fmax_mhz"]["median"] and found.part == "LFE5U-85F"


def test_one_fit_alone(tmp_path):
    assert read_fits(write(tmp_path / "fit.json", fit_row())) == [fit_row()]


@pytest.mark.parametrize(("text", "message"), [
    ("{", "fit.json: expected a JSON file, found"),
    ("[]", "expected rows as 'sparseloom hw fit --json' writes them, found no row"),
    ('{"rows": []}', "found no row"),
    ('{"rows": [{"fmax_mhz": {"median": 3}}]}', "found a row without 'config'"),
])
def test_what_is_no_table(tmp_path, text, message):
    path = tmp_path / "fit.json"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read_fits(path)
    with pytest.raises(InputError, match=r"absent\.json: expected a JSON file"):
        read_fits(tmp_path / "absent.json")
