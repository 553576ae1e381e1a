"""Attention's products against plain integers, and the whole of it against floats."""
import numpy as np
import pytest
import torch
from torch import nn

from sparseloom.model.attention import UnitAttention, attend, attention_work
from sparseloom.model.errors import InputError
from sparseloom.model.integer_model import make_integer
from sparseloom.model.layers import base_model
from sparseloom.model.packed.layer import pack_layer
from sparseloom.model.products import ATTENTION_PRODUCTS, Attention
from sparseloom.model.reference import linear

from .test_integer_model import SENTENCES, quantised
from .tiny import KINDS, LAYERS

HEADS, SIZE = 2, 7


def answers(name, *, scale, zero=0, **more):
    """A layer that answers bytes of a scale; only that counts here."""
    settings = {
        "name": name, "weight": np.ones((HEADS * SIZE, 1), np.int8), "p": 1, "q": 1,
        "bias": np.zeros(HEADS * SIZE, np.int32), "mult": np.full(HEADS * SIZE, 1 << 15, np.uint16),
        "shift": np.full(HEADS * SIZE, 16, np.uint8),
        "weight_scale": np.ones(HEADS * SIZE, np.float32), "input_scale": 1.0,
        "input_zero_point": 0, "output_scale": scale, "output_zero_point": zero}
    return pack_layer(**settings | more)


def layers():
    return {"query": answers("a.q", scale=0.031, zero=-13), "key": answers("a.k", scale=0.027),
            "value": answers("a.v", scale=0.011)}


def random_parts(rng, tokens):
    """Bytes of queries, keys and values, all of them possible, and the real numbers they mean."""
    integer = [rng.integers(-128, 128, (HEADS, tokens, SIZE)).astype(np.int8) for _ in range(3)]
    for part in integer:
        part[0, 0, :2] = -128, 127
    real = [torch.from_numpy((part.astype(np.float32) - layer.output_zero_point)
                             * np.float32(layer.output_scale))
            for part, layer in zip(integer, layers().values(), strict=True)]
    return integer, real


@pytest.mark.parametrize("tokens", [1, 2, 13, 40])
def test_against_plain_integers(tokens):
    """Each step by itself in int64; both ways to compute the products give the same bits."""
    integer, real = random_parts(np.random.default_rng(tokens), tokens)
    q, k, v = (part.astype(np.int64) for part in integer)
    k, v = np.maximum(k, -127), np.maximum(v, -127)
    scores = np.einsum("hmd,hnd->hmn", q + 13, k)
    step = 0.031 * 0.027 * 0.5
    shares = np.rint(255 * np.exp(step * (scores - scores.max(axis=2, keepdims=True)))).astype(int)
    sums = np.einsum("hmt,htd->hmd", shares, v)
    expected = (sums.astype(np.float32) * np.float32(0.011)
                / shares.sum(axis=2, keepdims=True).astype(np.float32))
    assert shares.max() == 255

    seen = []

    def run(work):
        seen.extend((layer.name, layer.dense_weight().shape, x.shape) for layer, x in work)
        return [linear(layer, x) for layer, x in work]

    for way in (None, run):
        found = UnitAttention("a", **layers(), run=way).sentence(*real, scaling=0.5)
        assert found.dtype == torch.float32 and np.array_equal(found.numpy(), expected)
    assert seen == [
        *((f"a.scores.{head}", (tokens, SIZE), (tokens, SIZE)) for head in range(HEADS)),
        *((f"a.context.{head}", (SIZE, tokens), (tokens, tokens)) for head in range(HEADS))]


def test_near_floats():
    rng = np.random.default_rng(3)
    q, k, v = (torch.from_numpy(rng.standard_normal((1, HEADS, 30, SIZE)).astype(np.float32))
               for _ in range(3))
    scale = 4.0 / 127
    module = nn.Module()
    wanted, _ = attend(module, q, k, v, None)
    module.add_module("unit", UnitAttention("a", answers("q", scale=scale),
                                            answers("k", scale=scale), answers("v", scale=scale)))
    found, _ = attend(module, q, k, v, None)
    assert not torch.equal(found, wanted) and (found - wanted).abs().max() < 0.03


def test_attention_by_hand():
    """One head of size 1: weights are softmax(q k), padding has no part in it."""
    q = torch.tensor([[[[1.0], [2.0], [5.0]]]])
    k = torch.tensor([[[[0.0], [3.0], [9.0]]]])
    v = torch.tensor([[[[1.0], [2.0], [7.0]]]])
    mask = torch.tensor([True, True, False]).expand(1, 1, 3, 3)
    out, weights = attend(nn.Module(), q, k, v, mask, scaling=1.0)
    assert weights is None and out.shape == (1, 3, 1, 1)
    for index, query in enumerate((1.0, 2.0)):
        share = torch.softmax(torch.tensor([0.0, 3.0]) * query, dim=0)
        assert out[0, index, 0, 0].item() == pytest.approx((share[0] + 2 * share[1]).item())
    assert out[0, 2, 0, 0] == 0
    additive = torch.tensor([0.0, 0.0, -1e30]).expand(1, 1, 3, 3)
    assert torch.equal(attend(nn.Module(), q, k, v, additive, scaling=1.0)[0], out)
    nothing = torch.zeros(1, 1, 3, 3, dtype=torch.bool)
    assert not attend(nn.Module(), q, k, v, nothing, scaling=1.0)[0].any()


def test_layers_that_cannot_be_multiplied():
    q, k, v = layers().values()
    with pytest.raises(InputError, match=r"layer a.k, output_zero_point: expected 0, since keys "
                                         r"and values become weights of the unit, found 5; quan"):
        UnitAttention("a", q, answers("a.k", scale=1.0, zero=5), v)
    with pytest.raises(InputError, match=r"layer a.v: expected plain bytes, .*, found sums"):
        UnitAttention("a", q, k, answers("a.v", scale=1.0, raw=True))
    with pytest.raises(InputError, match=r"layer a.q: expected plain bytes, .*, found a table"):
        UnitAttention("a", answers("a.q", scale=1.0, lut=np.zeros(256, np.int8), lut_scale=1.0), k,
                      v)


@pytest.mark.parametrize("kind", KINDS)
def test_every_product_of_a_model(kind):
    """All of them pass through ``run``, in order and without padding; the answers are the same."""
    plain, other, packed, encoder = quantised(kind)
    names: list[str] = []
    tokens: set[int] = set()

    def run(work):
        names.extend(layer.name for layer, _ in work)
        tokens.update(len(x) for _, x in work)
        return [linear(layer, x) for layer, x in work]

    make_integer(plain, packed)
    other.load_state_dict(quantised(kind)[0].state_dict())
    make_integer(other, packed, run)
    batch = encoder.batch(SENTENCES)
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    with torch.inference_mode():
        assert torch.equal(base_model(plain)(**batch).last_hidden_state,
                           base_model(other)(**batch).last_hidden_state)
    assert [name for name in names if name in packed] == list(packed)
    assert tokens == {sum(lengths), *lengths}
    products = [name for name in names if name not in packed]
    assert len(products) == LAYERS * len(SENTENCES) * 2 * 4
    assert {name.split(".")[-2] for name in products} == set(ATTENTION_PRODUCTS)


@pytest.mark.parametrize("kind", KINDS)
def test_products_of_tokens_are_those_of_the_model(kind):
    """From what enters query, key and value alone: the layers and bytes that the model makes."""
    model, _, packed, encoder = quantised(kind)
    seen: list[tuple] = []

    def run(work):
        seen.extend(work)
        return [linear(layer, x) for layer, x in work]

    make_integer(model, packed, run)
    with torch.inference_mode():
        base_model(model)(**encoder.batch(SENTENCES[1:2]))
    acts = {layer.name: x for layer, x in seen if layer.name in packed}
    query, key, value = list(packed)[:3]
    name = query.rpartition(".")[0]
    found = attention_work(Attention(name=name, query=query, key=key, value=value, heads=4,
                                     head_size=12), packed, acts)
    assert list(found) == [f"{name}.{what}" for what in ATTENTION_PRODUCTS]
    wanted = [(layer, x) for layer, x in seen if layer.name.startswith(f"{name}.")
              and layer.name not in packed]
    assert len(wanted) == 2 * 4
    for (layer, x), (one, y) in zip([pair for work in found.values() for pair in work], wanted,
                                    strict=True):
        assert layer.name == one.name and np.array_equal(x, y)
        assert np.array_equal(layer.dense_weight(), one.dense_weight())
        assert np.array_equal(layer.bias, one.bias)
