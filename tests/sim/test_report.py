import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from sparseloom.model.packed.cycles import ideal_cycles
from sparseloom.model.packed.layer import pack_layer
from sparseloom.sim.layer import LayerRun
from sparseloom.sim.report import DemoReport, layer_figures

ROWS, COLS, TOKENS = 3, 4, 7


def layers():
    """A layer of two strips with 3 and 2 columns, and the same unpruned."""
    keep = np.zeros((8, 6), bool)
    keep[:4, :3] = keep[4:, 3:5] = True
    constants = {
        "name": "layer", "structure": "column", "p": 4, "q": 1,
        "bias": np.zeros(8, np.int32), "mult": np.full(8, 1 << 15, np.uint16),
        "shift": np.full(8, 15, np.uint8), "weight_scale": np.ones(8, np.float32),
        "input_scale": 1.0, "input_zero_point": 0, "output_scale": 1.0, "output_zero_point": 0,
        "lut": None, "raw": False}
    return tuple(pack_layer(weight=mask.astype(np.int8), keep=mask, **constants)
                 for mask in (keep, np.ones_like(keep)))


def run(layer, *, cycles, tokens=TOKENS, **changes):
    results = np.zeros((tokens, layer.out_features), np.int8)
    found = LayerRun(
        name=layer.name, results=results, expected=results, cycles=cycles,
        ideal_cycles=ideal_cycles(layer, rows=ROWS, cols=COLS, tokens=tokens), counters={},
        outputs=results.size, mismatches=0, tokens=tokens, jobs=1, seconds=0.1)
    return replace(found, **changes)


def figures(*, cycles=30, dense_cycles=60, **changes):
    pruned, dense = layers()
    return layer_figures(pruned, run(pruned, cycles=cycles, **changes),
                         run(dense, cycles=dense_cycles))


def report(*layers):
    return DemoReport(task="stsb", model="tiny", metric="spearman",
                      score={"dense": 0.867, "pruned": 0.8611, "integer": 0.86},
                      compression=2.01, stored_bits_per_weight=8.1, seconds=12.5,
                      stages={"prune": 3.0}, tokens=TOKENS, seed=1,
                      geometry={"rows": ROWS, "cols": COLS}, layers=list(layers), versions={})


def test_figures_by_hand():
    found = figures()
    assert found.density == pytest.approx(20 / 48)
    assert found.ideal_cycles == (3 + 2) * 3          # columns of both strips, three groups
    assert found.utilisation == pytest.approx(15 / 30)
    assert found.dense_utilisation == pytest.approx(2 * 6 * 3 / 60)
    assert found.speedup_vs_dense == 2
    assert found.speedup_over_compression == pytest.approx(2 * 20 / 48)
    assert found.exact


@pytest.mark.parametrize("changes", [{"mismatches": 1}, {"outputs": TOKENS * 8 - 1},
                                     {"outputs": TOKENS * 8 + 1}])
def test_a_wrong_missing_or_spare_output_is_not_exact(changes):
    assert not figures(**changes).exact
    assert not report(figures(), figures(**changes)).exact


def test_the_dense_run_counts_as_well():
    assert not replace(figures(), dense_mismatches=1).exact
    assert not replace(figures(), dense_outputs=0).exact


def test_a_report_without_layers_is_not_exact():
    assert not report().exact


def test_runs_must_be_of_the_same_layer():
    pruned, dense = layers()
    for other in (run(dense, cycles=9, name="other"), run(dense, cycles=9, tokens=TOKENS + 1)):
        with pytest.raises(ValueError, match="runs differ"):
            layer_figures(pruned, run(pruned, cycles=5), other)


def test_json_has_the_promised_keys(tmp_path):
    path = tmp_path / "new" / "report.json"
    report(figures()).write(path)
    (path.parent / "other").touch()
    assert path.stat().st_mode == (path.parent / "other").stat().st_mode  # others may read it
    (path.parent / "other").unlink()
    found = json.loads(path.read_text())
    assert {"task", "model", "score", "compression", "seconds", "layers"} <= set(found)
    assert set(found["score"]) == {"dense", "pruned", "integer"}
    assert {"name", "shape", "density", "ideal_cycles", "cycles", "utilisation",
            "speedup_vs_dense", "speedup_over_compression", "outputs",
            "mismatches"} <= set(found["layers"][0])
    assert found["exact"] is True
    assert found["total"]["outputs"] == TOKENS * 8
    assert [file.name for file in path.parent.iterdir()] == ["report.json"]


def test_table_says_what_differs():
    out = io.StringIO()
    report(figures(), figures(mismatches=3)).show(Console(file=out, width=160))
    text = out.getvalue()
    assert "NO: 3 differ" in text
    assert "dense 86.7   pruned 86.1   integer 86.0" in text
    assert "8×6" in text


def test_a_narrow_terminal_shows_fewer_columns_and_cuts_none():
    out = io.StringIO()
    console = Console(file=out, width=80, force_terminal=True, color_system=None)
    report(figures(), figures(mismatches=3)).show(console)
    text = out.getvalue()
    assert "…" not in text.split("…", 1)[1]     # but for the one behind the layers' common name
    assert "8×6" not in text
    assert "NO: 3 differ" in text
    assert max(map(len, text.splitlines())) <= 80
