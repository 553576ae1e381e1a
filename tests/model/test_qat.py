"""Fake-quantised layers against the integer ones, and what training through them does."""
import numpy as np
import pytest
import torch
from torch import nn

from sparseloom.model.encode import Encoder
from sparseloom.model.integer_model import ATTENTION, IntegerLinear, make_integer
from sparseloom.model.layers import base_model, encoder_layers
from sparseloom.model.observe import activation_function, value_ranges
from sparseloom.model.qat import fake_quantize
from sparseloom.model.quantize import layer_scales, quantize_linear

from .tiny import KINDS, similarity_rows, tiny_model, tiny_tokenizer

ITEMS = [(text,) for row in similarity_rows(30, 1) for text in row.sentences]
SENTENCES = [("a dog runs",), ("the old man sings slowly under a red tree",), ("cat",)]


def prepared(kind="bert", calibration="mse", *, dead=True):
    """A tiny model with some rows and columns of zeros, and its ranges."""
    model, encoder = tiny_model(kind), Encoder(tiny_tokenizer(), 32)
    linears = encoder_layers(model)
    with torch.no_grad():
        for linear in linears if dead else []:
            linear.module.weight[3] = 0                       # an output of nothing but its bias
            linear.module.weight[:, 5:9] = 0
            linear.module.weight[7] = 0
            linear.module.bias[7] = 0                         # an output of nothing at all
    ranges = value_ranges(model, linears, encoder, ITEMS, calibration=calibration)
    return model, linears, encoder, ranges


def packed(model, linears, ranges, weight_bits=8):
    return {linear.name: quantize_linear(
        name=linear.name, weight=linear.module.weight.detach().numpy(),
        bias=linear.module.bias.detach().numpy(), keep=linear.module.weight.numpy(force=True) != 0,
        structure="column", p=1, q=1, input_range=ranges[linear.name]["input"],
        output_range=ranges[linear.name]["output"],
        raw=linear.residual and linear.activation is None,
        activation=activation_function(model, linear),
        activation_range=ranges[linear.name].get("activation"), weight_bits=weight_bits,
        operand=linear.operand)
        for linear in linears}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_a_layer_answers_what_its_integers_answer(kind, weight_bits):
    model, linears, _, ranges = prepared(kind)
    layers = packed(model, linears, ranges, weight_bits)
    torch.manual_seed(1)
    for linear in linears:
        layer = layers[linear.name]
        low, high = ranges[linear.name]["input"]
        x = torch.empty(200, layer.in_features).uniform_(1.2 * low, 1.2 * high)  # some are clamped
        with fake_quantize(model, linears, ranges, weight_bits), torch.no_grad():
            found = linear.module(x)
            if linear.activation is not None:
                found = base_model(model).get_submodule(linear.activation)(found)
        wanted = IntegerLinear(layer)(x)
        if layer.raw:
            assert torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * wanted.abs().max().item())
            continue
        # A sum that is half a step may round either way; GELU is nowhere steeper than 1.13.
        step = 1.01 * layer.output_scale
        if layer.lut is not None:
            step = 1.13 * step + layer.lut_scale
        apart = (found - wanted).abs()
        # The integers' bias is rounded to the sums' unit, 18 times as coarse with 4 bits.
        most = 2e-3 if weight_bits == 8 else 2e-2
        assert apart.max() < step and (apart > 0.01 * step).float().mean() < most
        assert len(wanted.unique()) > 50


@pytest.mark.parametrize("kind", KINDS)
def test_a_model_answers_what_its_integers_answer(kind):
    model, linears, encoder, ranges = prepared(kind)
    batch = encoder.batch(ITEMS[:20])
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        exact = model(**batch).last_hidden_state[real]
        with fake_quantize(model, linears, ranges):
            found = model(**batch).last_hidden_state[real]
        make_integer(model, packed(model, linears, ranges))
        for part in model.modules():                      # retraining leaves attention in floats
            part._modules.pop(ATTENTION, None)
        wanted = model(**batch).last_hidden_state[real]
    # A half that rounds apart spreads over its sentence; the others are equal.
    assert (found - wanted).norm() < 0.8 * (exact - wanted).norm()
    apart, off = ((other - wanted).abs().amax(dim=1).min() for other in (found, exact))
    assert apart < 1e-3 < 1e-2 < off


def test_outside_the_block_nothing_has_changed():
    model, linears, encoder, ranges = prepared()
    batch = encoder.batch(SENTENCES)
    names, parameters = list(model.state_dict()), list(model.parameters())
    before = model(**batch).last_hidden_state
    with fake_quantize(model, linears, ranges):
        assert list(model.state_dict()) == names
        assert all(one is two for one, two in zip(model.parameters(), parameters, strict=True))
        assert not torch.equal(model(**batch).last_hidden_state, before)
    with pytest.raises(IndexError), fake_quantize(model, linears, ranges):
        model(input_ids=torch.tensor([[10**6]]))
    assert torch.equal(model(**batch).last_hidden_state, before)
    assert not any("forward" in vars(part) or part._forward_hooks for part in model.modules())


def test_padding_does_not_matter():
    model, linears, encoder, ranges = prepared()
    with fake_quantize(model, linears, ranges), torch.no_grad():
        together = model(**encoder.batch(SENTENCES)).last_hidden_state
        for index, item in enumerate(SENTENCES):
            alone = model(**encoder.batch([item])).last_hidden_state[0]
            assert torch.allclose(together[index, :len(alone)], alone, atol=0.1)
            assert (together[index, :len(alone)] - alone).abs().mean() < 5e-3


def test_gradients():
    """A rounding passes its gradient on; a clamped input or output gets none."""
    model, linears, _, ranges = prepared(dead=False)
    linear = next(found for found in linears if not found.residual and not found.activation)
    module, scales = linear.module, layer_scales(ranges[linear.name])
    (scale, zero), x = scales.input, torch.zeros(1, module.in_features)
    x[0, :4] = torch.tensor([0.3, -0.2, scale * (127 - zero) * 1.5, scale * (-128 - zero) * 1.5])
    x.requires_grad_()
    with fake_quantize(model, linears, {**ranges, linear.name: {
            **ranges[linear.name], "output": (-1e3, 1e3)}}):
        module(x)[0, 2].backward()
    assert x.grad is not None and module.weight.grad is not None
    wanted = module.weight.detach()[2]
    assert torch.allclose(x.grad[0, :2], wanted[:2], atol=float(wanted.abs().max()) / 200)
    assert x.grad[0, 2:4].tolist() == [0.0, 0.0]
    assert module.weight.grad[2, :2].tolist() == pytest.approx([0.3, -0.2], abs=scale)
    assert module.weight.grad[2, 2].item() == pytest.approx(scale * (127 - zero), rel=1e-5)
    module.weight.grad = None
    with fake_quantize(model, linears, {**ranges, linear.name: {
            **ranges[linear.name], "output": (-1e-6, 1e-6)}}):
        module(torch.ones(1, module.in_features))[0].sum().backward()
    grad = module.weight.grad
    assert isinstance(grad, torch.Tensor) and not grad.any()


def test_training_keeps_zeros_and_brings_the_integers_nearer():
    model, linears, encoder, ranges = prepared(dead=True)
    batch = encoder.batch(ITEMS[:16])
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        wanted = model(**batch).last_hidden_state[real]
    masks = [linear.module.weight != 0 for linear in linears]
    optimizer = torch.optim.Adam([linear.module.weight for linear in linears], lr=3e-4)
    losses = []
    with fake_quantize(model, linears, ranges):
        for _ in range(16):
            loss = nn.functional.mse_loss(model(**batch).last_hidden_state[real], wanted)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            with torch.no_grad():
                for linear, mask in zip(linears, masks, strict=True):
                    linear.module.weight.mul_(mask)
            losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.9 * np.mean(losses[:2])
    for linear, layer in zip(linears, packed(model, linears, ranges).values(), strict=True):
        weight = layer.dense_weight()
        assert not weight[linear.module.weight.numpy(force=True) == 0].any()
        assert not weight[3].any() and not weight[:, 5:9].any() and weight.any()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_under_autocast(dtype):
    model, linears, _, ranges = prepared()
    linear = linears[0]
    x = torch.randn(50, linear.module.in_features)
    with fake_quantize(model, linears, ranges), torch.no_grad():
        wanted = linear.module(x)
        with torch.autocast("cpu", dtype=dtype):
            found = linear.module(x)
    step = layer_scales(ranges[linear.name]).output[0]
    assert ((found - wanted).abs() / step).max() < 1.01
    if dtype == torch.float16:
        assert torch.equal(found, wanted)
