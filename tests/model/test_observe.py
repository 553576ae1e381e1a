"""What is measured on real rows: without padding, whatever the batches."""
import pytest
import torch

from sparseloom.model.encode import Encoder
from sparseloom.model.heads import head_of
from sparseloom.model.layers import base_model, encoder_layers
from sparseloom.model.observe import draw_items, input_moments, mean_squares, value_ranges

from .tiny import similarity_task, tiny_model, tiny_tokenizer

TASK = similarity_task()
ITEMS = draw_items(TASK.train, head_of(TASK), 12, seed=3)


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


def test_draw():
    head = head_of(TASK)
    assert draw_items(TASK.train, head, 12, seed=3) == ITEMS
    assert draw_items(TASK.train, head, 12, seed=4) != ITEMS
    assert len(ITEMS) == len(set(ITEMS)) and 12 < len(ITEMS) <= 24
    assert len(draw_items(TASK.train, head, 10**6, seed=0)) > 40


def test_no_hooks_remain(setting):
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in setting[0].modules())
