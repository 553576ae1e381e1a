"""Queues of layers in RTL: every output, and cycles counted three ways."""
import dataclasses
import io
import json

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from sparseloom.model.errors import InputError
from sparseloom.sim import job_streams
from sparseloom.sim import layer_queues as module
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.layer_queues import run_layer_queues
from tests.layers import random_acts, random_layer
from tests.sim.test_unit import CONFIGS

CONFIG = CONFIGS["3x5"]


def make_queues():
    """A queue of three kinds of layers, nine jobs in all, and each of them alone."""
    rng = np.random.default_rng(7)
    layers = [random_layer(rng, name="ffn1", inputs=20, outputs=40, p=5, lut=True),
              random_layer(rng, name="ffn2", inputs=40, outputs=23, raw=True),
              random_layer(rng, name="other", inputs=33, outputs=12, p=4, density=0.2)]
    queue = [(layer, random_acts(rng, 19, layer.in_features)) for layer in layers]
    return {"all": queue, **{layer.name: [(layer, x)] for layer, x in queue}}


def test_outputs_and_cycles():
    progress = Progress(console=Console(file=io.StringIO()))
    built, queues = [], make_queues()
    runs = run_layer_queues(queues, CONFIG, progress=progress, title="some layers",
                            built=lambda: built.append(1))
    assert [(run.name, run.layers, run.jobs) for run in runs] == [
        ("all", 3, 9), ("ffn1", 1, 2), ("ffn2", 1, 4), ("other", 1, 3)]
    assert [run.outputs for run in runs] == [19 * 75, 19 * 40, 19 * 23, 19 * 12]
    for run in runs:
        assert run.problems() == []
        assert 0 < run.utilisation < 1
        assert run.counters["active"] == run.ideal_cycles
        assert json.loads(json.dumps(run.as_dict()))["utilisation"] == run.utilisation
    assert runs[0].cycles < sum(run.cycles for run in runs[1:])
    # K = 20 and 5 of the 100 words a half holds: three groups of three tokens, on a bus of 4 bytes.
    assert runs[0].load_cycles == 20 * 3 * 3 // 4
    task, = progress.tasks
    assert built == [1] and task.finished and task.description == "some layers"


def test_jobs_of_many_groups_are_pushed_when_there_is_space():
    """A job is checked a cycle for each of its groups, longer than it takes to write the next."""
    rng = np.random.default_rng(8)
    layers = [random_layer(rng, name=f"layer {number}", inputs=2, outputs=5)
              for number in range(3)]
    tokens = 50 * CONFIG.rows
    run, = run_layer_queues({"all": [(layer, random_acts(rng, tokens, 2)) for layer in layers]},
                            CONFIG)
    assert run.jobs == 3 and run.problems() == []


def test_a_wrong_output_is_counted_and_kept(monkeypatch):
    """The oracle is bent, since the unit cannot be."""
    queues = {"one": make_queues()["ffn2"]}
    right = module.linear

    def bent(layer, x):
        values = right(layer, x)
        values[0, 0] ^= 1
        return values

    monkeypatch.setattr(module, "linear", bent)
    run, = run_layer_queues(queues, CONFIG)
    assert run.mismatches == run.jobs == 4
    assert run.difference is not None
    found = run.difference.found
    assert run.problems() == [
        "mismatches: expected 0, found 4",
        f"the first in layer ffn2, token 0, output 0: expected {found ^ 1}, found {found}"]
    assert run.replay is not None and "&&" in run.replay


def test_the_first_difference_counts_tokens_over_jobs(monkeypatch):
    """The second job of four begins with token 6 or before."""
    right, calls = module.linear, []

    def bent(layer, x):
        values = right(layer, x)
        calls.append(len(x))
        if len(calls) == 2:
            values[1, 7] += 5
        return values

    monkeypatch.setattr(module, "linear", bent)
    run, = run_layer_queues({"one": make_queues()["ffn2"]}, CONFIG)
    first = run.difference
    assert first is not None
    assert (run.mismatches, first.layer, first.token, first.output) == (1, "ffn2", calls[0] + 1, 7)
    assert first.expected == first.found + 5


def test_with_pauses():
    """Every output is right; cycles lie within the model's bounds."""
    queue = make_queues()["all"]
    free, = run_layer_queues({"all": queue}, CONFIG)
    runs = [run_layer_queues({"all": queue}, CONFIG, stall=0.3, seed=seed)[0] for seed in (1, 2)]
    for run in runs:
        assert run.problems() == [] and run.predicted_cycles is None
        assert run.cycles > free.cycles and run.outputs == 19 * 75
        assert run.counters["active"] == free.counters["active"]
        assert min(run.stalls.values()) > 0
    assert runs[0].cycles != runs[1].cycles
    late = dataclasses.replace(runs[0], stalls=dict.fromkeys(runs[0].stalls, 0))
    assert "busy within the cycle model's bounds" in late.problems()[0]


def test_cycles_that_disagree_are_told(monkeypatch):
    run, = run_layer_queues({"one": make_queues()["ffn1"]}, CONFIG)
    run.counters["other"] += 1
    other = run.counters["other"]
    assert run.problems() == [
        f"sum of the counters: expected {run.counters['busy']}, found {run.counters['busy'] + 1}",
        f"other by the cycle model: expected {other}, found {other - 1}"]


def test_an_error_of_the_unit_is_told(monkeypatch, tmp_path):
    encode = job_streams.encode_weights
    monkeypatch.setattr(job_streams, "encode_weights",
                        lambda *a, **k: (lambda data: data[:-1] + bytes([data[-1] ^ 1]))(
                            encode(*a, **k)))
    layer, x = make_queues()["ffn1"][0]
    with pytest.raises(SimulationError, match=r"queue one: the unit reports crc .*; to run it "
                                              r"again: \(cd .* && .*/bench\)"):
        run_layer_queues({"one": [(layer, x[:3])], "two": [(layer, x)]}, CONFIG, folder=tmp_path)
    assert not (tmp_path / "results1.bin").exists(), "the next queue would only hang"


def test_a_hang_is_told(monkeypatch, tmp_path):
    write = module.write_beats
    monkeypatch.setattr(module, "write_beats", lambda path, packets, bus_bytes: write(
        path, packets if path.name == "weights0.bin" else [], bus_bytes))
    layer, x = make_queues()["ffn1"][0]
    with pytest.raises(SimulationError, match="queue one: the unit did not finish"):
        run_layer_queues({"one": [(layer, x[:3])]}, CONFIG, folder=tmp_path)


def test_refusals():
    (layer, x), = make_queues()["ffn1"]
    with pytest.raises(InputError, match="queue one: expected a layer, found none"):
        run_layer_queues({"one": []}, CONFIG)
    with pytest.raises(InputError, match=r"queue one, layer ffn1, activations: expected int8 of "
                                         r"shape \(M, 20\), found int32 of shape \(19, 20\)"):
        run_layer_queues({"one": [(layer, x.astype(np.int32))]}, CONFIG)
    wide = random_layer(np.random.default_rng(1), inputs=46, outputs=5)
    with pytest.raises(InputError, match="expected at most max_k = 45, found 46"):
        run_layer_queues({"one": [(wide, np.zeros((1, 46), np.int8))]}, CONFIG)
