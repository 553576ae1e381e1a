"""Bounds of the quantiser, each derived from the rounding that docs/numerics.md tells."""
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from sparseloom.model import reference
from sparseloom.model.quantize import SMALLEST_RATIO, activation_scale, fixed_point, quantize_linear
from sparseloom.model.reference import accumulate, requantise
from sparseloom.model.rounding import RATIOS, search_scales
from tests.strategies import CASES, cuts, grids, grow

FLOAT32 = 1 + 2.0 ** -22
"""Room for scales that are kept in float32."""


RATIOS_OF_SUMS = st.one_of(
    st.floats(2.0 ** -31, 2.0 ** 14),
    # Just below a power of two, where 16 bits of the mantissa carry.
    st.builds(lambda exponent, below: 2.0 ** exponent * (1 - below), st.integers(-30, 14),
              st.floats(0, 2.0 ** -15)))


@CASES
@given(st.lists(RATIOS_OF_SUMS, min_size=1, max_size=5).map(np.array))
def test_ratios_keep_16_significant_bits(ratio):
    mult, shift = fixed_point(ratio)
    assert mult.dtype == np.uint16 and shift.dtype == np.uint8
    for m, s, r in zip(mult.tolist(), shift.tolist(), ratio.tolist(), strict=True):
        assert 2**15 <= m < 2**16 and 1 <= s <= 47
        # Half a unit of a mantissa of at least 2**15.
        assert abs(Fraction(m, 2**s) / Fraction(r) - 1) <= Fraction(1, 2**16)


@CASES
@given(acc=st.integers(-2**31, 2**31 - 1), ratio=RATIOS_OF_SUMS,
       zero_point=st.integers(-128, 127))
def test_requantised_sums_are_near_the_real_ones(acc, ratio, zero_point):
    """Half a unit of the result's rounding, and the sum's share of the ratio's."""
    mult, shift = fixed_point(np.array([ratio]))
    found = int(requantise(np.array([acc], np.int32), mult, shift, zero_point)[0])
    real = Fraction(acc) * Fraction(ratio)
    wanted = min(max(real + zero_point, -128), 127)
    assert abs(found - wanted) <= Fraction(1, 2) + abs(real) / 2**16


@CASES
@example(low=0.0, width=5e-324, share=1.0)
@given(low=st.floats(-1e6, 1e6), width=st.floats(0, 1e6), share=st.floats(0, 1))
def test_activations_are_off_by_half_a_step_at_most(low, width, share):
    scale, zero_point = activation_scale(low, low + width)
    assert scale > 0 and -128 <= zero_point <= 127
    for value in (low + share * width, low, low + width, 0.0):
        byte = np.clip(np.rint(value / scale) + zero_point, -128, 127)
        real = scale * (byte - zero_point)
        assert abs(real - value) <= scale * (0.5 + 1e-6)
        if value == 0:
            assert real == 0


@st.composite
def linears(draw) -> dict[str, Any]:
    """What ``quantize_linear`` takes, with rows of weights of very different size."""
    shape, structure, p, q = draw(cuts())
    keep = grow(draw(grids(shape, structure, p, q)), shape, structure, p, q)
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    weight = rng.standard_normal(shape) * 10.0 ** rng.integers(-3, 4, (shape[0], 1))
    low, high = draw(st.floats(-20, 20)), draw(st.floats(-20, 20))
    reach = max(20 * np.abs(weight * keep).sum(axis=1).max(), 1e-3)
    return {"name": "layer", "weight": weight, "keep": keep, "structure": structure, "p": p, "q": q,
            "bias": rng.standard_normal(shape[0]) * 10.0 ** draw(st.integers(-3, 3)),
            "input_range": (min(low, high), max(low, high) + 0.1), "output_range": (-reach, reach),
            "weight_bits": draw(st.sampled_from((8, 4))), "raw": draw(st.booleans())}


@pytest.mark.parametrize(("bits", "compensated"), [(8, False), (8, True), (4, False), (4, True)])
@CASES
@given(linear=linears())
def test_integers_stay_within_their_width(bits, compensated, linear):
    linear["weight_bits"] = bits
    weight, keep = linear["weight"], linear["keep"]
    x = np.random.default_rng(1).standard_normal((40, weight.shape[1] + 1))
    x[:, -1] = 1
    layer = quantize_linear(**linear, moments=x.T @ x if compensated else None)
    integer = layer.dense_weight().astype(np.int64)
    assert np.abs(integer).max() <= {8: 127, 4: 7}[bits]
    assert not integer[~keep].any()
    assert layer.mult.min() >= 2**15 and layer.shift.min() >= 1 and layer.shift.max() <= 47
    assert np.abs(layer.bias.astype(np.int64)).max() <= 2**31 - 1 - (weight.shape[1] << 14)
    # The ratio is what mult and shift say, to 16 significant bits.
    ratio = layer.input_scale * layer.weight_scale.astype(float) / layer.output_scale
    assert (ratio >= SMALLEST_RATIO / FLOAT32).all()
    assert (np.abs(layer.mult / 2.0 ** layer.shift / ratio - 1) <= 2.0 ** -16).all()


@CASES
@given(linears())
def test_weights_are_off_by_half_a_step_at_most(linear):
    layer = quantize_linear(**{**linear, "weight_bits": 8})
    weight = np.where(linear["keep"], linear["weight"], 0)
    integer, step = layer.dense_weight(), layer.weight_scale.astype(float)
    error = np.abs(integer * step[:, None] - weight)
    assert (error <= step[:, None] / 2 * FLOAT32).all()
    # No coarser than need be: the largest weight of a row has the last level, where it alone
    # sets the scale, and no row has a finer one.
    rows = np.abs(weight).max(axis=1) / 127
    own = np.isclose(step, rows, rtol=1e-6, atol=0)
    assert (np.abs(integer.astype(np.int64)).max(axis=1)[own] == 127).all()
    assert (step * FLOAT32 >= rows).all()


@CASES
@given(cuts(), st.integers(0, 1 << 32))
def test_scales_of_4_bits_are_the_best_that_are_tried(cut, seed):
    weight = torch.from_numpy(np.random.default_rng(seed).standard_normal(cut[0]) ** 3)
    scales = search_scales(weight, 7)
    assert ((scales >= 0.3 * weight.abs().amax(dim=1) / 7 * (1 - 1e-9))
            & (scales <= weight.abs().amax(dim=1) / 7 * (1 + 1e-9))).all()

    def error(scale):
        integer = (weight / scale[:, None]).round().clamp(-7, 7)
        return (integer * scale[:, None] - weight).square().sum(dim=1)

    for ratio in RATIOS:
        assert (error(scales) <= error(weight.abs().amax(dim=1) / 7 * ratio) * (1 + 1e-9)).all()
    inside = weight.abs() <= 7 * scales[:, None]
    integer = (weight / scales[:, None]).round().clamp(-7, 7)
    off = (integer * scales[:, None] - weight).abs()
    assert (off[inside] <= (scales[:, None] / 2 * (1 + 1e-9)).expand_as(off)[inside]).all()


@CASES
@given(linears(), st.integers(0, 1 << 32))
def test_zero_point_is_folded_exactly(linear, seed):
    """Σ x·w + bias is Σ (x - z)·w + round(b / (s·t)): an identity of integers, nothing is lost."""
    layer = quantize_linear(**linear)
    weight = layer.dense_weight().astype(np.int64)
    x = np.random.default_rng(seed).integers(-128, 128, (4, weight.shape[1])).astype(np.int8)
    unit = layer.input_scale * layer.weight_scale.astype(float)
    wanted = (x.astype(np.int64) - layer.input_zero_point) @ weight.T
    wanted += np.rint(linear["bias"] / unit).astype(np.int64)
    assert (accumulate(x, layer.dense_weight(), layer.bias) == wanted).all()


@CASES
@given(linears(), st.integers(0, 1 << 32))
def test_a_layer_is_off_by_its_roundings_at_most(linear, seed):
    """Against floats, for inputs that are levels: half a step of each weight and of the bias."""
    layer = quantize_linear(**{**linear, "weight_bits": 8, "raw": True})
    weight = np.where(linear["keep"], linear["weight"], 0)
    x = np.random.default_rng(seed).integers(-128, 128, (4, weight.shape[1])).astype(np.int8)
    real = layer.input_scale * (x.astype(float) - layer.input_zero_point)
    step = layer.weight_scale.astype(float)
    wanted = real @ weight.T + linear["bias"]
    found = layer.input_scale * step * reference.linear(layer, x)
    bound = (np.abs(real).sum(axis=1, keepdims=True) + layer.input_scale) * step / 2
    room = 1e-9 * (np.abs(real) @ np.abs(weight).T + np.abs(linear["bias"]))   # of the floats here
    assert (np.abs(found - wanted) <= bound * FLOAT32 + room).all()
