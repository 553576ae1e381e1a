"""What is measured on real rows: without padding, whatever the batches."""
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from sparseloom.model.encode import Encoder
from sparseloom.model.layers import base_model, encoder_layers
from sparseloom.model.observe import (
    activation_function,
    draw_items,
    input_moments,
    mean_squares,
    value_ranges,
)

from .tiny import similarity_rows, tiny_model, tiny_tokenizer

ROWS = similarity_rows(40, 1)
HEAD: Any = SimpleNamespace(items=lambda row: [(text,) for text in row.sentences])
ITEMS = draw_items(ROWS, HEAD, 12, seed=3)


def by_hand(model, linears, encoder):
    """Inputs and outputs of each layer, one sentence at a time."""
    seen: dict = {linear.name: ([], []) for linear in linears}

    def watch(name):
        def hook(module, args, out):
            seen[name][0].append(args[0][0])
            seen[name][1].append(out[0])
        return hook

    handles = [linear.module.register_forward_hook(watch(linear.name)) for linear in linears]
    with torch.no_grad():
        for item in ITEMS:
            base_model(model)(**encoder.batch([item]))
    for handle in handles:
        handle.remove()
    return {name: (torch.cat(x), torch.cat(y)) for name, (x, y) in seen.items()}


@pytest.fixture(scope="module")
def setting():
    model = tiny_model()
    linears, encoder = encoder_layers(model), Encoder(tiny_tokenizer(), 32)
    return model, linears, encoder, by_hand(model, linears, encoder)


def test_moments(setting):
    model, linears, encoder, expected = setting
    full = input_moments(model, linears, encoder, ITEMS, full=True, batch=5)
    mean = input_moments(model, linears, encoder, ITEMS, full=False, batch=5)
    assert list(full) == [linear.name for linear in linears]
    for name, (x, _) in expected.items():
        x1 = torch.cat([x, torch.ones(len(x), 1)], dim=1)
        assert torch.allclose(full[name], x1.T @ x1, rtol=1e-4, atol=1e-3)
        assert torch.allclose(mean[name], x.square().mean(dim=0), rtol=1e-4, atol=1e-5)
        assert torch.allclose(mean_squares(full[name]), mean[name], rtol=1e-4, atol=1e-5)


def near(values):
    return pytest.approx((values.min().item(), values.max().item()), rel=1e-4, abs=1e-5)


def test_ranges(setting):
    model, linears, encoder, expected = setting
    found = value_ranges(model, linears, encoder, ITEMS, batch=5)
    for linear in linears:
        x, y = expected[linear.name]
        assert found[linear.name]["input"] == near(x)
        assert found[linear.name]["output"] == near(y)
        assert ("activation" in found[linear.name]) == (linear.activation is not None)
        if linear.activation:
            z = torch.nn.functional.gelu(y)
            assert found[linear.name]["activation"] == near(z)


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_cut_ranges(setting, batch):
    """A percentile against the values themselves, in any batches; some ends are never cut."""
    model, linears, encoder, expected = setting
    found = value_ranges(model, linears, encoder, ITEMS, batch=batch, calibration="percentile",
                         percentile=98.0)

    def middle(values):
        return pytest.approx(tuple(np.quantile(values.numpy(), (0.01, 0.99))), rel=0.02, abs=0.01)

    cut = 0
    for linear in linears:
        x, y = expected[linear.name]
        ranges = found[linear.name]
        assert ranges["input"] == middle(x) != near(x)
        if linear.activation is not None:
            assert ranges["activation"] == middle(torch.nn.functional.gelu(y))
        whole = linear.residual or linear.activation is not None
        assert ranges["output"] == (near(y) if whole else middle(y))
        cut += not whole
    assert 0 < cut < len(linears)


def test_least_error_ranges(setting):
    model, linears, encoder, expected = setting
    found = value_ranges(model, linears, encoder, ITEMS, batch=5, calibration="mse")
    again = value_ranges(model, linears, encoder, ITEMS[::-1], batch=3, calibration="mse")
    for linear in linears:
        x, _ = expected[linear.name]
        low, high = found[linear.name]["input"]
        assert 1.01 * x.min() <= low < 0.3 * x.min() and 0.3 * x.max() < high <= 1.01 * x.max()
        assert (low, high) == pytest.approx(again[linear.name]["input"], rel=0.1)


def test_activation_function(setting):
    model, linears, _, _ = setting
    x = np.linspace(-3, 3, 7)
    for linear in linears:
        function = activation_function(model, linear)
        assert (function is None) == (linear.activation is None)
        if function is not None:
            assert function(x).dtype == np.float64
            assert function(x) == pytest.approx(torch.nn.functional.gelu(torch.tensor(x)).numpy())


def test_draw():
    assert draw_items(ROWS, HEAD, 12, seed=3) == ITEMS
    assert draw_items(ROWS, HEAD, 12, seed=4) != ITEMS
    assert len(ITEMS) == len(set(ITEMS)) and 12 < len(ITEMS) <= 24
    assert len(draw_items(ROWS, HEAD, 10**6, seed=0)) > 40


def test_no_hooks_remain(setting):
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in setting[0].modules())
