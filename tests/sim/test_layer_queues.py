"""Queues of layers in RTL: every output, and cycles counted three ways."""
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
    runs = run_layer_queues(queues, CONFIG, poll=5, progress=progress, title="some layers",
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
    assert run.problems() == ["mismatches: expected 0, found 4"]


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
                                              r"again: python"):
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
