import ast
import dataclasses
import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparseloom.model import reference
from sparseloom.model.errors import InputError
from sparseloom.model.reference import accumulate, apply_lut, linear, requantise
from tests.layers import random_acts, random_layer, useful_share

# acc, mult, shift, zero point, result; by hand
TABLE = [
    (1, 1 << 15, 16, 0, 1),                  # 0.5 rounds up
    (-1, 1 << 15, 16, 0, 0),                 # -0.5 rounds up too: half towards plus infinity
    (3, 1 << 15, 16, 0, 2),                  # 1.5 -> 2
    (-3, 1 << 15, 16, 0, -1),                # -1.5 -> -1
    (5, 1 << 15, 17, 0, 1),                  # 1.25 -> 1
    (-5, 1 << 15, 17, 0, -1),                # -1.25 -> -1
    (-7, 1 << 15, 17, 0, -2),                # -1.75 -> -2
    (127, 1 << 15, 15, 0, 127),
    (128, 1 << 15, 15, 0, 127),              # clamped above
    (-128, 1 << 15, 15, 0, -128),
    (-129, 1 << 15, 15, 0, -128),            # clamped below
    (100, 1 << 15, 15, 27, 127),             # the clamp comes after the zero point
    (100, 1 << 15, 15, 28, 127),
    (-100, 1 << 15, 15, -28, -128),
    (-100, 1 << 15, 15, -29, -128),
    (200, 1 << 15, 15, -100, 100),           # and not before it
    (2**31 - 1, 65535, 47, 0, 1),            # 0.99998
    (-2**31, 65535, 47, 0, -1),
    (2**31 - 1, 65535, 1, 0, 127),
    (-2**31, 65535, 1, 0, -128),
    (4194303, 1 << 15, 38, 0, 0),            # just below a half
    (4194304, 1 << 15, 38, 0, 1),            # just a half
    (0, 65535, 1, -128, -128),
]


def plain(acc: int, mult: int, shift: int, zero_point: int) -> int:
    """The formula in Python's own integers, rounding written as a comparison."""
    whole, rest = divmod(acc * mult, 1 << shift)           # floor, rest >= 0
    value = whole + (2 * rest >= 1 << shift) + zero_point
    return max(-128, min(127, value))


@pytest.mark.parametrize(("acc", "mult", "shift", "zero_point", "expected"), TABLE)
def test_rounding_and_clamps_by_hand(acc, mult, shift, zero_point, expected):
    got = requantise(np.array([[acc]], np.int32), np.array([mult], np.uint16),
                     np.array([shift], np.uint8), zero_point)
    assert got.dtype == np.int8 and got.tolist() == [[expected]]
    assert plain(acc, mult, shift, zero_point) == expected


@settings(max_examples=300)
@given(acc=st.integers(-2**31, 2**31 - 1), mult=st.integers(2**15, 2**16 - 1),
       shift=st.integers(1, 47), zero_point=st.integers(-128, 127))
def test_requantise_against_plain_integers(acc, mult, shift, zero_point):
    got = requantise(np.array([acc], np.int32), np.array([mult], np.uint16),
                     np.array([shift], np.uint8), zero_point)
    assert got[0] == plain(acc, mult, shift, zero_point)


@pytest.mark.parametrize("shift", [16, 20, 24])
def test_every_tie(shift):
    """mult = 2**15 makes acc * mult / 2**shift hit exact halves."""
    half = 1 << (shift - 16)
    acc = (np.arange(-130, 131) * 2 * half + half).astype(np.int32)
    got = requantise(acc[:, None], np.array([1 << 15], np.uint16), np.array([shift], np.uint8), 0)
    assert got[:, 0].tolist() == [max(-128, min(127, n + 1)) for n in range(-130, 131)]


def test_accumulate_against_plain_integers():
    rng = np.random.default_rng(1)
    x, weight = random_acts(rng, 5, 37), random_acts(rng, 6, 37)
    x[0], weight[0] = -128, -128
    bias = rng.integers(-2**30, 2**30, 6).astype(np.int32)
    got = accumulate(x, weight, bias)
    expected = [[sum(a * b for a, b in zip(row, column, strict=True)) + offset
                 for column, offset in zip(weight.tolist(), bias.tolist(), strict=True)]
                for row in x.tolist()]
    assert got.dtype == np.int32 and got.tolist() == expected


@pytest.mark.parametrize("sign", [1, -1])
def test_accumulate_raises_on_overflow(sign):
    x = np.full((1, 4), -128, np.int8)
    weight = np.full((1, 4), -sign * 127, np.int8)
    top = 2**31 - 1 if sign > 0 else -2**31
    fits = np.array([top - sign * 4 * 128 * 127], np.int32)
    assert accumulate(x, weight, fits).tolist() == [[top]]
    with pytest.raises(OverflowError, match="leaves int32"):
        accumulate(x, weight, fits + np.int32(sign))


def test_the_largest_allowed_bias_cannot_overflow():
    inputs = 64
    limit = 2**31 - 1 - inputs * 2**14
    for x, bias in ((-128, limit), (127, -limit)):
        accumulate(np.full((1, inputs), x, np.int8), np.full((1, inputs), -128, np.int8),
                   np.array([bias], np.int32))


def test_table_index():
    lut = np.arange(255, -1, -1).astype(np.uint8).view(np.int8)
    y = np.array([[-128, -1, 0, 127]], np.int8)
    assert apply_lut(y, lut).tolist() == [[lut[0], lut[127], lut[128], lut[255]]]
    assert apply_lut(y, lut).dtype == np.int8


@pytest.mark.parametrize("kind", [{}, {"lut": True}, {"raw": True}])
@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_linear_against_plain_integers(structure, kind):
    rng = np.random.default_rng(9)
    layer = random_layer(rng, inputs=24, outputs=10, p=5, q=4, structure=structure, **kind)
    x = random_acts(rng, 7, 24)
    got = linear(layer, x)
    dense = layer.dense_weight().tolist()
    for m, row in enumerate(x.tolist()):
        for n in range(10):
            acc = sum(a * b for a, b in zip(row, dense[n], strict=True)) + int(layer.bias[n])
            value = acc
            if not layer.raw:
                value = plain(acc, int(layer.mult[n]), int(layer.shift[n]),
                              layer.output_zero_point)
            if layer.lut is not None:
                value = int(layer.lut[value + 128])
            assert got[m, n] == value
    assert got.dtype == (np.int32 if layer.raw else np.int8)
    if not layer.raw:
        assert useful_share(got) > 0.5


def test_an_empty_layer_answers_its_bias():
    layer = random_layer(np.random.default_rng(1), inputs=4, outputs=3, density=0.0, raw=True)
    got = linear(layer, random_acts(np.random.default_rng(2), 2, 4))
    assert got.tolist() == [layer.bias.tolist()] * 2


def test_refusals():
    ints = np.ones(1, np.int32)
    mult, shift = np.array([40000], np.uint16), np.array([9], np.uint8)
    with pytest.raises(InputError, match=r"shift: expected values in 1\.\.47, found 0"):
        requantise(ints, mult, shift * 0, 0)
    with pytest.raises(InputError, match=r"mult: expected values in 32768\.\.65535"):
        requantise(ints, mult // 2, shift, 0)
    with pytest.raises(InputError, match="zero_point: expected values"):
        requantise(ints, mult, shift, 128)
    with pytest.raises(InputError, match="acc: expected integers, found float32"):
        requantise(ints.astype(np.float32), mult, shift, 0)
    with pytest.raises(InputError, match="acc: expected values"):
        requantise(ints.astype(np.int64) << 40, mult, shift, 0)
    x = np.ones((2, 3), np.int8)
    with pytest.raises(InputError, match="x: expected int8"):
        accumulate(x.astype(np.float32), x, np.zeros(2, np.int32))
    with pytest.raises(InputError, match="x: expected 4 inputs, found 3"):
        accumulate(x, np.ones((2, 4), np.int8), np.zeros(2, np.int32))
    with pytest.raises(InputError, match="bias: expected integers of shape"):
        accumulate(x, x, np.zeros(3, np.int32))
    with pytest.raises(InputError, match="lut: expected int8"):
        apply_lut(x, np.zeros(256, np.uint8))


def test_refuses_activations_of_another_width():
    layer = random_layer(np.random.default_rng(1), inputs=4, outputs=3)
    with pytest.raises(InputError, match="x: expected 4 inputs, found 5"):
        linear(dataclasses.replace(layer), np.ones((2, 5), np.int8))


def test_no_floating_point_in_the_oracle():
    tree = ast.parse(inspect.getsource(reference))
    for node in ast.walk(tree):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float))
        assert not isinstance(node, ast.Div)
        assert not (isinstance(node, ast.Attribute) and "float" in node.attr)
