"""Arithmetic of the bars; and one small layer, end to end."""
import json
from dataclasses import replace

import numpy as np
import pytest

from bench import utilisation as module
from bench.utilisation import PLAN, Row, bars, is_current, main, record, shown
from sparseloom.hw.config import ArrayConfig
from sparseloom.model.packed.artefact import write_artefact
from sparseloom.sim.layer_queues import QueueRun
from tests.layers import random_acts, random_layer


def run_of(name="all", *, cycles=1000, active=980, load=20, mismatches=0, **others):
    counters = {"busy": cycles, "active": active, "stall_weights": 0, "stall_acts": 0,
                "stall_results": 0, "other": cycles - active}
    return QueueRun(**{
        "name": name, "layers": 1, "jobs": 1, "cycles": cycles, "counters": counters,
        "counted_cycles": cycles, "predicted_cycles": cycles, "predicted": counters,
        "ideal_cycles": active, "load_cycles": load, "outputs": 60, "mismatches": mismatches,
        **others})


def row_of(kind, compression, *runs):
    row = Row(rows=8, cols=8, compression=compression, kind=kind)
    layer = random_layer(np.random.default_rng(1), inputs=40, outputs=24, p=24,
                         density=1 / compression)
    found = record({"rows": 8, "cols": 8, "compression": compression, "kind": kind},
                   {"one": [(layer, np.zeros((1, 40), np.int8))]}, runs)
    return {"row": row.name, **found}


def by_bar(rows):
    return {(bar["row"], bar["bar"].split(":")[0].split(",")[0]): bar for bar in bars(rows)}


def test_the_plan_has_every_row():
    names = [row.name for row in PLAN]
    assert len(names) == len(set(names)) == 8 + 6 + 8
    assert "12x12-5x-alone" in names and "8x8-1x-queue" in names
    for row in PLAN:
        config = row.config()
        assert (config.act_words, config.bus_bits, config.lanes) == (8192, 64, 4)
        assert config.max_k == (3072 if row.kind == "k3072" else 1536)


def test_a_bar_is_met_by_what_was_measured_and_not_by_rounding():
    found = by_bar([row_of("queue", 2.0, run_of(cycles=100_000, active=96_999))])
    bar = found["8x8-2x-queue", "queue of all layers"]
    assert bar["found"] == 0.96999 and not bar["met"]
    assert shown(bar["found"]) == "0.9699"
    found = by_bar([row_of("queue", 2.0, run_of(cycles=1000, active=970))])
    assert found["8x8-2x-queue", "queue of all layers"]["met"]


def test_speed_up_is_over_the_compression_that_is_there():
    rows = [row_of("queue", 1.0, run_of(cycles=5000)), row_of("queue", 5.0, run_of(cycles=1000))]
    real = rows[1]["weights_over_survivors"]
    assert real != 5 and rows[0]["weights_over_survivors"] == 1
    found = by_bar(rows)
    assert found["8x8-5x-queue", "speed-up over the dense model"]["found"] == 5 / real
    assert ("8x8-1x-queue", "speed-up over the dense model") not in found
    assert ("8x8-5x-queue", "speed-up over the dense model") not in by_bar(rows[1:])


def test_the_slowest_layer_counts():
    runs = run_of("fast", active=990), run_of("slow", active=840, load=160)
    row = row_of("alone", 3.0, *runs)
    assert row["least_utilisation"] == 0.84 and row["cycles"] == 2000 and row["outputs"] == 120
    # 840 of 1000 is all that load and compute allow; of the other 990 / 1010.
    assert row["least_share_of_bound"] == pytest.approx(1.0)
    assert [one["name"] for one in row["queues"]] == ["fast", "slow"]
    found = by_bar([row])
    assert not found["8x8-3x-alone", "each layer alone"]["met"]
    assert found["8x8-3x-alone", "each layer alone"]["limit"] == 0.85
    five = by_bar([row_of("alone", 5.0, *runs)])["8x8-5x-alone", "each layer alone"]
    assert five["limit"] == 0.97 and five["met"]


@pytest.mark.parametrize("wrong", [{"mismatches": 1}, {"counted_cycles": 999},
                                   {"predicted_cycles": 1001}])
def test_what_differs_is_no_result(wrong):
    found = by_bar([row_of("k3072", 2.0, run_of()), row_of("queue", 2.0, run_of(**wrong))])
    assert found["8x8-2x-k3072", "outputs equal to the oracle"]["met"]
    assert not found["8x8-2x-queue", "outputs equal to the oracle"]["met"]


def test_any_change_makes_a_row_old():
    asked = {"rows": 8, "sha256": {"verilog": "a"}}
    assert is_current({**asked, "cycles": 1}, asked)
    assert not is_current(None, asked)
    assert not is_current({**asked, "sha256": {"verilog": "b"}}, asked)


@pytest.fixture
def small(monkeypatch, tmp_path):
    """The plan on a unit of 3 x 5, a model of two layers, few tokens."""
    rng = np.random.default_rng(2)
    layers = [random_layer(rng, name="one", inputs=40, outputs=24, p=8, q=8),
              random_layer(rng, name="two", inputs=24, outputs=13, raw=True)]
    write_artefact(tmp_path / "artefact", layers, {})
    config = ArrayConfig(rows=3, cols=5, max_k=45, act_words=100, bus_bits=32, block_inputs=8,
                         queue_depth=2)
    monkeypatch.setattr(Row, "config", lambda row: config)
    monkeypatch.setattr(module, "unit_verilog", lambda config, cache=None: tmp_path / "artefact"
                        / "sparseloom.safetensors")
    acts = {layer.name: random_acts(rng, 9, layer.in_features) for layer in layers}
    monkeypatch.setattr("sparseloom.model.capture.capture_layers",
                        lambda folder, names, *, tokens: {name: acts[name] for name in names})
    # The tests' simulators, not new ones under the scratch folder.
    run = module.run_layer_queues
    monkeypatch.setattr(module, "run_layer_queues",
                        lambda *a, cache, long_run, **settings: run(*a, **settings))
    return tmp_path


def test_end_to_end(small, capsys):
    words = ["--root", str(small), "--rows", "8", "--compression", "2"]
    prepared = []

    def prepare(compression, folders, progress):
        prepared.append(compression)
        return small / "artefact"

    def read():
        return json.loads((small / "bench/results/utilisation.json").read_text())

    assert main([*words, "--kind", "queue"], prepare=prepare) == 1, "so short a queue misses it"
    row, = read()["rows"]
    assert (row["row"], row["layers"], row["jobs"]) == ("8x8-2x-queue", 2, 3)
    assert row["outputs"] == 9 * 24 + 9 * 13 and row["mismatches"] == 0 and row["exact"]
    queue, = row["queues"]
    assert queue["counters"]["active"] == queue["ideal_cycles"]
    assert queue["predicted_cycles"] == queue["counted_cycles"] == queue["cycles"] == row["cycles"]
    assert main([*words, "--kind", "queue"], prepare=prepare) == 1
    assert main([*words, "--kind", "alone"], prepare=prepare) == 1
    assert prepared == [2.0] * 3
    table = read()
    assert [row["row"] for row in table["rows"]] == ["8x8-2x-queue", "8x8-2x-alone"]
    assert [one["name"] for one in table["rows"][1]["queues"]] == ["one", "two"]
    out = capsys.readouterr().out
    assert "8x8-2x-queue: measured already" in out and "MISSED" in out
    assert sum(bar["met"] for bar in table["bars"]) == 2, "every output and cycle is right"


def test_nothing_chosen(tmp_path, capsys):
    assert main(["--root", str(tmp_path), "--rows", "7"]) == 2
    assert "error: rows: expected some of 12x12-1x-queue" in capsys.readouterr().err


def test_wide_layer():
    layer, x = module.wide_layer(2.0)
    assert (layer.out_features, layer.in_features, layer.raw) == (768, 3072, True)
    assert layer.density == 0.5 and x.shape == (128, 3072)
    assert (x.min(), x.max()) == (-128, 127)
    assert len(np.unique(layer.weights)) > 200
    assert replace(layer, name="again").p == 24
