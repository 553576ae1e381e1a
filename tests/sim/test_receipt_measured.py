"""Reports of simulations: which layers they measured, and which files are none."""
from dataclasses import replace

import pytest

from sparseloom.model.errors import InputError
from sparseloom.sim.receipt.measured import read_measured
from tests.sim.receipts import (
    CONFIG,
    TOKENS,
    cycles_of,
    dense_of,
    model_report,
    small_layers,
    write,
)

LAYERS = small_layers()


def test_pruned_and_dense_reports_of_a_model(tmp_path):
    files = [write(tmp_path / "pruned.json", model_report(LAYERS)),
             write(tmp_path / "dense.json", model_report(dense_of(LAYERS)))]
    found = read_measured(files, LAYERS)
    assert found is not None and (found.tokens, found.config) == (TOKENS, CONFIG)
    assert found.cycles == {name: cycles_of(layer) for name, layer in LAYERS.items()}
    assert found.dense_cycles == {name: cycles_of(layer)
                                  for name, layer in dense_of(LAYERS).items()}
    assert (found.outputs, found.mismatches) == (2 * TOKENS * 60, 0)


def test_the_demo_s_report_has_both(tmp_path):
    report = model_report(LAYERS)
    for row in report["layers"]:
        row |= {"dense_cycles": 2 * row["cycles"], "dense_outputs": 3, "dense_mismatches": 1}
    found = read_measured([write(tmp_path / "report.json", report)], LAYERS)
    assert found is not None and found.mismatches == 2
    assert found.dense_cycles == {name: 2 * value for name, value in found.cycles.items()}


def test_one_layer_alone(tmp_path):
    report = model_report(LAYERS)
    row = report.pop("layers")[0]
    found = read_measured([write(tmp_path / "layer.json", {**report, **row})], LAYERS)
    assert found is not None and list(found.cycles) == [row["name"]]


def test_nothing_was_measured():
    assert read_measured([], LAYERS) is None


@pytest.mark.parametrize(("change", "message"), [
    (lambda report: report["layers"][0].update(name="x"),
     "layer x: expected a layer of the artefact, found shape"),
    (lambda report: report["layers"][0].update(shape=[1, 2]), r"of shape \[40, 16\], found"),
    (lambda report: report["layers"][0].update(density=0.9), "the artefact's, or 1, found 0.9"),
    (lambda report: report["layers"][0].pop("cycles"), "found none: KeyError"),
    (lambda report: report.pop("geometry"), "expected the JSON of 'sparseloom sim layer'"),
    (lambda report: report["geometry"].update(rows=0), "rows must be an integer"),
])
def test_reports_of_something_else(tmp_path, change, message):
    report = model_report(LAYERS)
    change(report)
    with pytest.raises(InputError, match=message):
        read_measured([write(tmp_path / "report.json", report)], LAYERS)


def test_reports_that_do_not_belong_together(tmp_path):
    one = write(tmp_path / "one.json", model_report(LAYERS))
    other = write(tmp_path / "other.json", model_report(LAYERS, tokens=9))
    with pytest.raises(InputError, match=r"expected 7 tokens .* found 9"):
        read_measured([one, other], LAYERS)
    unit = write(tmp_path / "unit.json",
                 model_report(LAYERS, geometry=replace(CONFIG, queue_depth=2).to_dict()))
    with pytest.raises(InputError, match="as in the first file"):
        read_measured([one, unit], LAYERS)
    with pytest.raises(InputError, match="expected the JSON of"):
        read_measured([write(tmp_path / "list.json", [1])], LAYERS)
