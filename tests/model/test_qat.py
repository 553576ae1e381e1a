"""Fake-quantised layers against the integer ones, and what training through them does."""
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sparseloom.model import qat
from sparseloom.model.attention import UnitAttention
from sparseloom.model.encode import Encoder
from sparseloom.model.integer_model import IntegerLinear, make_integer
from sparseloom.model.layers import base_model, encoder_layers
from sparseloom.model.observe import activation_function, value_ranges
from sparseloom.model.qat import ATTENTION, SCALES, _OperandScales, fake_attend, fake_quantize
from sparseloom.model.quantize import layer_scales, quantize_linear
from tests.layers import random_layer

from .tiny import KINDS, LAYERS, similarity_rows, tiny_model, tiny_tokenizer

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
        wanted = model(**batch).last_hidden_state[real]
    # A half that rounds apart spreads over its sentence; the others are equal.
    assert (found - wanted).norm() < 0.8 * (exact - wanted).norm()
    apart, off = ((other - wanted).abs().amax(dim=1).min() for other in (found, exact))
    assert apart < 1e-3 < 1e-2 < off


def attention(seed=3):
    """Random queries, keys and values of two sentences, the second with padding, as rounded."""
    rng, scales = np.random.default_rng(seed), {"query": (0.03, 9), "key": (0.025, 0),
                                                "value": (0.04, 0)}
    integers = {role: torch.from_numpy(rng.integers(-128, 128, (2, 3, 11, 8))) for role in scales}
    real = {role: ((integers[role] - zero) * scale).float()
            for role, (scale, zero) in scales.items()}
    layers = {role: replace(random_layer(rng, name=role, inputs=4, outputs=24), output_scale=scale,
                            output_zero_point=zero) for role, (scale, zero) in scales.items()}
    module = nn.Module()
    setattr(module, SCALES, _OperandScales(scales["key"][0], scales["value"][0]))
    mask = torch.ones(2, 1, 11, 11, dtype=torch.bool)
    mask[1, :, :, 7:] = False
    unit = UnitAttention("a", layers["query"], layers["key"], layers["value"])
    return module, real, unit, mask


def ask(module, real, mask, **more):
    answer, weights = fake_attend(module, real["query"], real["key"], real["value"], mask,
                                  scaling=0.1, **more)
    assert weights is None
    return answer


def floats_of(real, mask):
    return nn.functional.scaled_dot_product_attention(
        real["query"], real["key"], real["value"], attn_mask=mask, scale=0.1).transpose(1, 2)


def test_attention_answers_what_its_integers_answer():
    module, real, unit, mask = attention()
    found, floats = ask(module, real, mask), floats_of(real, mask)
    additive = torch.zeros(mask.shape).masked_fill(~mask, -1e9)
    assert torch.equal(ask(module, real, additive), found)
    assert found.shape == (2, 11, 3, 8)
    for index, tokens in enumerate((11, 7)):
        q, k, v = (part[index, :, :tokens] for part in real.values())
        wanted = unit.sentence(q, k, v, scaling=0.1).transpose(0, 1)
        got = found[index, :tokens]
        # An exponential at a half may round either way; nearly none does.
        assert torch.isclose(got, wanted, atol=1e-5, rtol=1e-5).float().mean() > 0.95
        assert (got - wanted).abs().mean() < 0.1 * (floats[index, :tokens] - wanted).abs().mean()
    first = {role: part[:1] for role, part in real.items()}
    assert torch.equal(ask(module, first, None), found[:1])


def test_attention_passes_gradients_on():
    """Those of softmax, near enough; none for keys and values that are clamped."""
    module, real, _, mask = attention()
    found = {role: part.clone().requires_grad_() for role, part in real.items()}
    wanted = {role: part.clone().requires_grad_() for role, part in real.items()}
    direction = torch.randn(2, 11, 3, 8, generator=torch.Generator().manual_seed(1))
    (ask(module, found, mask) * direction).sum().backward()
    (floats_of(wanted, mask) * direction).sum().backward()
    for role, scale in (("query", None), ("key", 0.025), ("value", 0.04)):
        one, other = found[role].grad, wanted[role].grad
        assert one is not None and other is not None and torch.isfinite(one).all()
        clamped = torch.zeros_like(one, dtype=torch.bool)
        if scale is not None:
            clamped = real[role] < -127.5 * scale
            assert clamped.any() and not one[clamped].any()
            assert not one[1, :, 7:].any()                # of padding
        assert (one - other)[~clamped].norm() < 0.05 * other.norm() > 0


def test_attention_s_dropout():
    module, real, _, mask = attention()
    torch.manual_seed(1)
    runs = torch.stack([ask(module, real, mask, dropout=0.3) for _ in range(300)])
    wanted = ask(module, real, mask)
    assert not torch.equal(runs[0], runs[1])
    assert (runs.mean(dim=0) - wanted).abs().mean() < 0.2 * (runs[0] - wanted).abs().mean()


@pytest.mark.parametrize("kind", KINDS)
def test_attention_goes_through_it_and_back(kind, monkeypatch, tmp_path):
    """Once for each encoder layer; what is saved inside does not tell of it."""
    model, linears, encoder, ranges = prepared(kind)
    before, calls = model.config._attn_implementation, []
    monkeypatch.setattr(qat, "fake_attend", lambda *args, **more: (
        calls.append(more.get("dropout")), fake_attend(*args, **more))[1])
    with fake_quantize(model, linears, ranges):
        model.train()
        model(**encoder.batch(SENTENCES))
        assert calls == [0.1] * LAYERS
        model.save_pretrained(tmp_path)
    assert model.config._attn_implementation == before != ATTENTION
    assert ATTENTION not in (tmp_path / "config.json").read_text()
    assert not any(hasattr(part, SCALES) for part in model.modules())
    model(**encoder.batch(SENTENCES))
    assert len(calls) == LAYERS


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
