"""The integer model against the oracle, and a sentence against its neighbours."""
import numpy as np
import pytest
import torch
from torch import nn

from sparseloom.model.encode import Encoder
from sparseloom.model.errors import InputError
from sparseloom.model.heads import head_of
from sparseloom.model.integer_model import IntegerLinear, make_integer
from sparseloom.model.layers import base_model, encoder_layers
from sparseloom.model.observe import draw_items, value_ranges
from sparseloom.model.packed.layer import pack_layer
from sparseloom.model.quantize import quantize_linear
from sparseloom.model.reference import linear
from tests.layers import random_acts, random_layer

from .tiny import KINDS, LAYER_NAMES, similarity_task, tiny_model, tiny_tokenizer

SENTENCES = [("a dog runs",), ("the old man sings slowly under a red tree",), ("cat",),
             ("the woman plays guitar on the river with a young horse",), ("a dog",)]


def quantised(kind="bert"):
    """A tiny encoder, its float twin, and its packed layers."""
    task, model = similarity_task(), tiny_model(kind)
    encoder = Encoder(tiny_tokenizer(), 32)
    linears = encoder_layers(model)
    ranges = value_ranges(model, linears, encoder, draw_items(task.train, head_of(task), 40, 1))
    layers = {}
    for found in linears:
        activation = found.activation
        module = base_model(model).get_submodule(activation) if activation else None
        seen = ranges[found.name]
        weight = found.module.weight.detach().numpy()
        layers[found.name] = quantize_linear(
            name=found.name, weight=weight, bias=found.module.bias.detach().numpy(),
            keep=np.ones(weight.shape, bool), structure="column", p=24, q=16,
            input_range=seen["input"], output_range=seen["output"], raw=found.residual,
            activation=(lambda x, m=module: m(torch.from_numpy(x)).numpy()) if module else None,
            activation_range=seen.get("activation"), operand=found.operand)
    return model, tiny_model(kind), layers, encoder


@pytest.mark.parametrize("more", [{}, {"raw": True}, {"lut": True}], ids=["bytes", "sums", "table"])
@pytest.mark.parametrize("tokens", [1, 7])
def test_layer_is_the_oracle(more, tokens):
    rng = np.random.default_rng(11)
    layer = random_layer(rng, inputs=1040, outputs=24, p=4, q=16, **more)
    x = random_acts(rng, tokens, 1040)
    found = IntegerLinear(layer).integers(torch.from_numpy(x)).numpy()
    expected = linear(layer, x)
    assert found.dtype == expected.dtype and found.size == tokens * 24
    assert np.array_equal(found, expected)
    assert layer.raw or len(np.unique(found)) > 10


def test_halves_round_up():
    """Sums of 1, -1, 3, -3 times a half: ties go towards plus infinity."""
    layer = pack_layer(
        name="half", weight=np.array([[1]], np.int8), p=1, q=1, bias=np.zeros(1, np.int32),
        mult=np.array([1 << 15], np.uint16), shift=np.array([16], np.uint8),
        weight_scale=np.ones(1, np.float32), input_scale=1.0, input_zero_point=0, output_scale=1.0,
        output_zero_point=0)
    x = np.array([[1], [-1], [3], [-3]], np.int8)
    assert IntegerLinear(layer).integers(torch.from_numpy(x)).tolist() == [[1], [0], [2], [-1]]
    assert linear(layer, x).tolist() == [[1], [0], [2], [-1]]


@pytest.mark.parametrize("kind", KINDS)
def test_every_layer_of_a_model_is_the_oracle(kind):
    """What enters a layer is tapped; what leaves is compared with the oracle, dequantised."""
    model, _, layers, encoder = quantised(kind)
    modules = make_integer(model, layers)
    inputs, outputs = {}, {}
    for name, module in modules.items():
        module.tap = lambda x, name=name: inputs.__setitem__(name, x.numpy().copy())
        module.register_forward_hook(
            lambda module, args, out, name=name: outputs.__setitem__(name, out))
    batch = encoder.batch(SENTENCES)
    with torch.inference_mode():
        base_model(model)(**batch)
    kept = batch["attention_mask"].reshape(-1).bool()
    assert 0 < int(kept.sum()) < len(kept)
    assert list(outputs) == list(layers)
    for first, second in zip(LAYER_NAMES[kind][4::6], LAYER_NAMES[kind][5::6], strict=True):
        assert np.array_equal(linear(layers[first], inputs[first]), inputs[second])
    for name, layer in layers.items():
        y = linear(layer, inputs[name]).astype(np.float32)
        if layer.raw:
            real = y * (np.float32(layer.input_scale) * layer.weight_scale)
        else:
            scale, zero = ((layer.lut_scale, layer.lut_zero_point) if layer.lut is not None
                           else (layer.output_scale, layer.output_zero_point))
            real = (y - zero) * np.float32(scale)
        found = outputs[name].reshape(-1, layer.out_features)
        assert np.array_equal(found[kept].numpy(), real), name
        assert not found[~kept].any(), name              # padding is not computed
        clamped = np.isin(inputs[name], (-128, 127)).mean()  # GELU rests at its lowest value
        assert clamped < 0.2 and len(np.unique(inputs[name])) > 20, name


@pytest.mark.parametrize("kind", KINDS)
def test_near_the_float_model(kind):
    model, twin, layers, encoder = quantised(kind)
    make_integer(model, layers)
    batch = encoder.batch(SENTENCES)
    real = batch["attention_mask"].bool()
    with torch.inference_mode():
        found = model(**batch).last_hidden_state[real]
        wanted = twin(**batch).last_hidden_state[real]
    cosine = nn.functional.cosine_similarity(found, wanted)
    assert cosine.min() > 0.97 and not torch.equal(found, wanted)


@pytest.mark.parametrize("kind", KINDS)
def test_a_sentence_does_not_see_its_batch(kind):
    """Bit for bit: alone, among others, in another order, with more padding."""
    model, _, layers, encoder = quantised(kind)
    make_integer(model, layers)
    head = head_of(similarity_task())

    def vectors(items, pad=0):
        batch = encoder.batch(items)
        if pad:
            batch = {key: nn.functional.pad(value, (0, pad)) for key, value in batch.items()}
        with torch.inference_mode():
            return head.answers(model, batch)

    alone = torch.cat([vectors([item]) for item in SENTENCES])
    assert torch.equal(vectors(SENTENCES), alone)
    assert torch.equal(vectors(SENTENCES[::-1]), alone.flip(0))
    assert torch.equal(vectors(SENTENCES, pad=9), alone)
    assert torch.equal(vectors(SENTENCES * 7)[5:10], alone)
    assert len({tuple(row.tolist()) for row in alone}) == len(SENTENCES)


def test_layers_that_do_not_fit_the_model():
    model, _, layers, _ = quantised()
    first = next(iter(layers))
    rest = {name: layer for name, layer in layers.items() if name != first}
    with pytest.raises(InputError, match=f"layer {first}: expected in the artefact, found none"):
        make_integer(model, rest)
    with pytest.raises(InputError, match="layer other: expected in the checkpoint, found none"):
        make_integer(model, {**layers, "other": layers[first]})
    rng = np.random.default_rng(1)
    with pytest.raises(InputError, match=r"shape: expected \(48, 48\) as in the checkpoint, found "
                                         r"\(24, 48\)"):
        make_integer(model, {**layers, first: random_layer(rng, inputs=48, outputs=24)})
    with pytest.raises(InputError, match="lut: expected one exactly where an activation follows"):
        make_integer(quantised()[0], {
            **layers, first: random_layer(rng, inputs=48, outputs=48, lut=True)})
