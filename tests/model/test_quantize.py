"""Scales, fixed-point ratios, folded biases and tables."""
import math

import numpy as np
import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.artefact import stored_bits_per_weight
from sparseloom.model.quantize import (
    activation_scale,
    fixed_point,
    layer_scales,
    quantize_linear,
    trim_range,
)
from sparseloom.model.reference import linear

ERF = np.vectorize(math.erf)


def gelu(x):
    return x * 0.5 * (1 + ERF(x / math.sqrt(2)))


@pytest.mark.parametrize(("low", "high", "scale", "zero"), [
    (-1.0, 1.55, 0.01, -28), (0.0, 255.0, 1.0, -128), (-255.0, 0.0, 1.0, 127),
    (2.0, 5.1, 0.02, -128), (-5.1, -2.0, 0.02, 127), (0.0, 0.0, 1.0, 0),
    (0.0, 5e-324, 1.0, 0), (-1e-310, 2e-310, 1.0, 0),
])
def test_activation_scale(low, high, scale, zero):
    assert activation_scale(low, high) == (pytest.approx(scale), zero)


def test_fixed_point():
    ratio = np.array([1.0, 0.5, 0.75, 1 / 3, 2**-31 * 1.5, 2.0**14 * 1.99, 1 - 2**-20])
    mult, shift = fixed_point(ratio)
    assert mult.dtype == np.uint16 and shift.dtype == np.uint8
    assert mult.min() >= spec.MULT_MIN
    assert np.abs(mult / 2.0**shift / ratio - 1).max() <= 2**-16
    assert (mult[0], shift[0]) == (1 << 15, 15)
    assert (mult[-1], shift[-1]) == (1 << 15, 15)  # 65535.94 carries


@pytest.mark.parametrize("ratio", [2.0**-34, 2.0**16, 0.0])
def test_fixed_point_out_of_reach(ratio):
    with pytest.raises(InputError, match="layer odd: expected output scales"):
        fixed_point(np.array([1.0, ratio]), "odd")


def layer_of(rng, *, n=12, k=40, keep=None, act=None, **more):
    weight, bias = rng.normal(0, 0.05, (n, k)), rng.normal(0, 0.5, n)
    x = rng.normal(0.3, 1.0, (500, k))
    if keep is not None:
        weight = weight * keep
    y = x @ weight.T + bias
    if act is not None:
        more["activation_range"] = (act(y).min(), act(y).max())
    settings = {"name": "layer", "weight": weight, "bias": bias,
                "keep": np.ones((n, k), bool) if keep is None else keep, "structure": "column",
                "p": 4, "q": 8, "input_range": (x.min(), x.max()),
                "output_range": (y.min(), y.max()), "activation": act, **more}
    return quantize_linear(**settings), x, y


def run(layer, x):
    """Float in, float out, through the integer oracle."""
    integer = np.clip(np.rint(x / layer.input_scale) + layer.input_zero_point, -128, 127)
    out = linear(layer, integer.astype(np.int8))
    if layer.raw:
        return out * (layer.input_scale * layer.weight_scale.astype(np.float64))
    if layer.lut is not None:
        return (out.astype(float) - layer.lut_zero_point) * layer.lut_scale
    return (out.astype(float) - layer.output_zero_point) * layer.output_scale


@pytest.mark.parametrize("raw", [False, True])
def test_answers_are_near_the_floats(raw):
    layer, x, y = layer_of(np.random.default_rng(1), raw=raw)
    error = np.abs(run(layer, x) - y)
    assert error.max() < 0.03 * np.abs(y).max()
    assert layer.raw is raw and layer.lut is None
    assert layer.dense_weight().max() == 127 or layer.dense_weight().min() == -127


def test_zero_point_is_folded_into_the_bias():
    """An input of real zero gives the bias, whatever the zero point."""
    rng = np.random.default_rng(2)
    layer, _, _ = layer_of(rng, raw=True, input_range=(-0.5, 7.0))
    assert layer.input_zero_point != 0
    zero = np.full((1, 40), layer.input_zero_point, np.int8)
    real = linear(layer, zero)[0] * layer.input_scale * layer.weight_scale.astype(float)
    again = np.random.default_rng(2)
    again.normal(0, 0.05, (12, 40))
    assert real == pytest.approx(again.normal(0, 0.5, 12), abs=1e-3)


def test_gelu_through_the_table():
    layer, x, y = layer_of(np.random.default_rng(3), act=gelu)
    error = np.abs(run(layer, x) - gelu(y))
    assert error.max() < 0.03 * np.abs(gelu(y)).max()
    assert layer.lut is not None
    table = layer.lut.astype(float)
    index = np.arange(-128, 128)
    expected = gelu((index - layer.output_zero_point) * layer.output_scale)
    assert np.abs((table - layer.lut_zero_point) * layer.lut_scale - expected).max() <= (
        layer.lut_scale * 0.51)


def test_trimmed_range_keeps_what_matters():
    low, high = trim_range(-40.0, 5.0, gelu, 0.02)
    assert -5 < low < -2.5 and high == 5.0
    assert abs(gelu(low) - gelu(-40.0)) < 0.01
    assert trim_range(-1.0, 1.0, gelu, 0.001) == pytest.approx((-1.0, 1.0), abs=0.01)
    low, high = trim_range(-9.0, 9.0, np.tanh, 0.01)
    assert low == pytest.approx(-high, abs=0.01) and 2 < high < 4


def test_end_of_a_trimmed_range_answers_like_all_beyond():
    """As integers: what is far below zero must not come back from GELU as -1 step."""
    for high in np.geomspace(1, 200, 60):
        ranges = {"input": (-1.0, 1.0), "output": (-20.0, high), "activation": (-0.17, high)}
        scales = layer_scales(ranges, gelu)
        assert scales.table is not None
        (scale, zero), (step, point) = scales.output, scales.table
        lowest = gelu(np.array([scale * (-128 - zero)]))
        assert np.rint(lowest / step) == 0, high
        assert scale * (-128 - zero) > -4 and -128 <= point <= 127


def test_table_that_is_clamped_trims_what_it_reads():
    ranges = {"input": (-1.0, 1.0), "output": (-9.0, 90.0), "activation": (-0.17, 5.0)}
    scale, zero = layer_scales(ranges, gelu).output
    assert 4.9 < scale * (127 - zero) < 5.2


@pytest.mark.parametrize("more", [{}, {"raw": True}, {"act": gelu}], ids=["bytes", "sums", "table"])
def test_rows_of_zeros(more):
    """With and without a bias, pruned or merely zero: their integers are zero, their answers b."""
    rng = np.random.default_rng(9)
    weight, bias = rng.normal(0, 0.05, (12, 40)), rng.normal(0, 0.5, 12)
    weight[[0, 5, 6]] = 0
    bias[[5, 6]] = 0
    keep = np.ones((12, 40), bool)
    keep[[5]] = False
    layer, x, _ = layer_of(rng, weight=weight, bias=bias, structure="row", p=1,
                           output_range=(-3.0, 3.0),
                           activation_range=(-0.17, 3.0), **{"keep": keep, **more})
    assert not layer.dense_weight()[[0, 5, 6]].any()
    assert np.isfinite(layer.weight_scale).all() and (layer.weight_scale > 0).all()
    found = run(layer, x)[:, [0, 5, 6]]
    wanted = gelu(bias) if "act" in more else bias
    assert found == pytest.approx(np.tile(wanted[[0, 5, 6]], (len(x), 1)), abs=0.03)


def test_dead_outputs_and_tiny_weights():
    """A row of zeros leaves its bias; a row of nothing much stays within mult and shift."""
    rng = np.random.default_rng(4)
    weight, bias = rng.normal(0, 0.05, (4, 8)), np.array([0.4, -0.3, 1e-12, 90.0])
    weight[0] = 0
    weight[1] *= 1e-14
    weight[2] *= 1e-30
    weight[3] *= 1e-7
    layer, _, _ = layer_of(rng, n=4, k=8, weight=weight, bias=bias, output_range=(-100.0, 100.0),
                           keep=np.ones((4, 8), bool))
    found = run(layer, np.zeros((1, 8)))[0]
    assert found == pytest.approx(bias, abs=layer.output_scale)
    raw, _, _ = layer_of(rng, n=4, k=8, weight=weight, bias=bias, output_range=(-1.0, 1.0),
                         raw=True)
    assert run(raw, np.zeros((1, 8)))[0] == pytest.approx(bias, abs=1e-3)


def test_keep_is_stored_even_where_weights_round_to_zero():
    rng = np.random.default_rng(5)
    keep = np.zeros((8, 16), bool)
    keep[:4, [1, 9]] = True
    keep[4:, 3] = True
    layer, _, _ = layer_of(rng, n=8, k=16, keep=keep)
    assert layer.density == pytest.approx((4 * 2 + 4) / 128)
    assert np.array_equal(layer.column_mask().nonzero()[1], [1, 9, 3])


@pytest.mark.parametrize("structure", ["column", "block"])
def test_storage_at_five_times(structure):
    rng = np.random.default_rng(6)
    keep = np.zeros((16, 384), bool) if structure == "column" else np.zeros((16, 24), bool)
    for row in keep:
        row[rng.permutation(len(row))[:len(row) // 5]] = True
    wide = np.repeat(keep, 24, axis=0)
    if structure == "block":
        wide = np.repeat(wide, 16, axis=1)
    assert wide.shape == (384, 384)
    layer, _, _ = layer_of(rng, n=384, k=384, keep=wide, structure=structure, p=24, q=16)
    assert layer.density <= 0.2
    assert stored_bits_per_weight(layer) < 8.5


def test_values_that_are_no_numbers():
    with pytest.raises(InputError, match="layer layer: expected finite weights and activations"):
        layer_of(np.random.default_rng(7), input_range=(0.0, float("inf")))


def test_four_bits():
    rng = np.random.default_rng(8)
    layer, x, y = layer_of(rng, n=24, k=200, weight_bits=4)
    assert np.abs(layer.dense_weight()).max() == 7 and layer.weight_bits == 4
    clipped = np.abs(layer.dense_weight()) == 7
    assert 0.005 < clipped.mean() < 0.1                     # not the largest of each row alone
    error = np.abs(run(layer, x) - y)
    assert error.max() < 0.25 * np.abs(y).max()
    ones = np.concatenate([x, np.ones((len(x), 1))], axis=1)
    fitted, *_ = layer_of(np.random.default_rng(8), n=24, k=200, weight_bits=4,
                          moments=ones.T @ ones)
    assert np.square(run(fitted, x) - y).sum() < 0.9 * np.square(error).sum()
    assert (fitted.dense_weight() != layer.dense_weight()).any()
