"""Layers of a model, each by itself, in RTL."""
import io
import json

import numpy as np
import pytest
from rich.console import Console

from sparseloom.model.errors import InputError
from sparseloom.model.packed.layer import dense_layer
from sparseloom.model.products import Attention
from sparseloom.sim import build, layer_queues
from sparseloom.sim import model as module
from sparseloom.sim.model import choose_layers, run_model
from sparseloom.sim.receipt.measured import Measured
from sparseloom.sim.receipt.receipt import make_receipt
from tests.layers import random_acts, random_layer
from tests.sim.test_unit import CONFIGS

CONFIG = CONFIGS["3x5"]


@pytest.fixture(autouse=True)
def quick_build(monkeypatch):
    """The simulator that other tests have, not one for millions of cycles."""
    monkeypatch.setattr(build, "LONG_RUN_FLAGS", build.COMPILER_FLAGS)


def make_model(*, weight_bits=8):
    rng = np.random.default_rng(5)
    layers = [random_layer(rng, name="encoder.0.up", inputs=20, outputs=40, p=5, lut=True),
              random_layer(rng, name="encoder.0.down", inputs=40, outputs=23, raw=True),
              random_layer(rng, name="encoder.1.up", inputs=33, outputs=12, p=4, density=0.2,
                           weight_bits=weight_bits)]
    return ({layer.name: layer for layer in layers},
            {layer.name: random_acts(rng, 19, layer.in_features) for layer in layers})


def shown(run) -> str:
    out = io.StringIO()
    run.show(Console(file=out, width=100))
    return out.getvalue()


def test_every_layer():
    layers, acts = make_model()
    run = run_model(layers, acts, CONFIG)
    assert run.exact and [one.name for one in run.runs] == list(layers)
    assert [one.outputs for one in run.runs] == [19 * 40, 19 * 23, 19 * 12]
    found = json.loads(json.dumps(run.as_dict()))
    assert found["total"]["outputs"] == 19 * 75 and found["total"]["mismatches"] == 0
    assert found["total"]["cycles"] == sum(one["cycles"] for one in found["layers"])
    for one, layer in zip(found["layers"], layers.values(), strict=True):
        assert one["shape"] == [layer.out_features, layer.in_features]
        assert one["cycles"] == one["predicted_cycles"] > one["ideal_cycles"]
        assert one["density"] == layer.density and one["problems"] == []
    table = shown(run)
    assert "layer encoder.…" in table and "0.down" in table and "23×40" in table
    assert "in 3 of 3 layers" in table and "19 tokens through each layer" in table


def test_pauses_and_no_prediction():
    layers, acts = make_model()
    one = choose_layers(layers, ["*.1.up"])
    run = run_model(one, acts, CONFIG, stall=0.4, seed=2)
    assert run.exact and run.runs[0].predicted_cycles is None
    assert "cycle model" not in shown(run)


def test_a_wrong_output(monkeypatch):
    layers, acts = make_model()
    right = layer_queues.linear

    def bent(layer, x):
        values = right(layer, x)
        if layer.name == "encoder.0.down":
            values[0, 3] ^= 1
        return values

    monkeypatch.setattr(layer_queues, "linear", bent)
    run = run_model(layers, acts, CONFIG)
    assert not run.exact and [bool(one.problems()) for one in run.runs] == [False, True, False]
    assert run.total()["mismatches"] == run.runs[1].jobs
    first = run.runs[1].difference
    assert first is not None and (first.token, first.output) == (0, 3)


def test_widths_of_weights_are_units_of_their_own(monkeypatch):
    layers, acts = make_model(weight_bits=4)
    units = []

    def run_queues(queues, config, *, folder, built, **settings):
        units.append((config.weight_bits, list(queues), folder.name, settings["long_run"]))
        built()
        return list(queues)

    monkeypatch.setattr(module, "run_layer_queues", run_queues)
    run = run_model(layers, acts, CONFIG, folder=module.Path("kept"))
    assert units == [(8, ["encoder.0.up", "encoder.0.down"], "weights-8", True),
                     (4, ["encoder.1.up"], "weights-4", True)]
    assert run.runs == list(layers), "in the model's order"


@pytest.mark.parametrize(("patterns", "chosen"), [
    ([], "up down up"), (["*.down"], "down"), (["encoder.0.*", "*.down"], "up down"),
    (["encoder.1.up", "encoder.0.up"], "up up")])
def test_patterns(patterns, chosen):
    layers, _ = make_model()
    found = choose_layers(layers, patterns)
    assert [name.rpartition(".")[2] for name in found] == chosen.split()
    assert list(found) == [name for name in layers if name in found]


def test_a_pattern_that_matches_nothing():
    layers, _ = make_model()
    with pytest.raises(InputError, match=r"layers up: expected the pattern of a layer's name, "
                                         r"found none that matches among encoder\.0\.up, "):
        choose_layers(layers, ["*.up", "up"])


@pytest.mark.parametrize(("tokens", "late"), [(1, True), (19, False)])
def test_products_run_behind_the_layers(tokens, late):
    """Heads of a token are shorter than the driver's writes; that is told, and no fault."""
    rng = np.random.default_rng(3)
    layers, acts = make_model()
    one = choose_layers(layers, ["*.0.down"])
    acts = {name: x[:tokens] for name, x in acts.items()}
    attention = Attention(name="a", query="q", key="k", value="v", heads=4, head_size=12)
    products = {product.name: (product, [(dense_layer(
        f"{product.name}.{head}", rng.integers(-127, 128, (
            product.out_features, product.in_features)).astype(np.int8),
        np.zeros(product.out_features, np.int32)), random_acts(rng, tokens, product.in_features))
        for head in range(4)]) for product in attention.products(tokens)}
    run = run_model(one, acts, CONFIG, products=products)
    assert run.exact and [row.name for row in run.runs] == ["encoder.0.down", "a.scores",
                                                            "a.context"]
    assert [row.outputs for row in run.runs[1:]] == [4 * tokens * tokens, 4 * tokens * 12]
    scores = run.runs[1]
    assert scores.predicted_cycles is not None
    assert (scores.late_cycles > 0) == (scores.cycles > scores.predicted_cycles) == late
    text = " ".join(shown(run).split())
    assert f"4 × {tokens}×12" in text and ("pushed later" in text) == late
    found = run.as_dict()
    assert found["total"]["density"] == one["encoder.0.down"].density
    assert [row["heads"] for row in found["layers"]] == [None, 4, 4]
    seen = Measured(tokens=tokens, config=CONFIG, cycles={row.name: row.cycles for row in run.runs},
                    late={row.name: row.late_cycles for row in run.runs})
    rows = {**one, **{name: product for name, (product, _) in products.items()}}
    receipt = make_receipt("tiny", rows, tokens=tokens, config=CONFIG, measured=seen)
    assert receipt.model_differs() == []
    seen.late.clear()
    receipt = make_receipt("tiny", rows, tokens=tokens, config=CONFIG, measured=seen)
    assert bool(receipt.model_differs()) == late
