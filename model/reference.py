"""The integer oracle: what the unit must answer, bit for bit. No floating point in here.

Rounding and saturation are tabulated in ``docs/numerics.md``.
"""
import numpy as np

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.layer import PackedLayer

INT32_MIN, INT32_MAX = -(1 << 31), (1 << 31) - 1
INT8_MIN, INT8_MAX = -128, 127


def accumulate(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Exact sums ``x · weightᵀ + bias``.

    Parameters
    ----------
    x : ndarray of int8, shape (M, K)
    weight : ndarray of int8, shape (N, K)
    bias : ndarray of int32, shape (N,)

    Returns
    -------
    ndarray of int32, shape (M, N)

    Raises
    ------
    OverflowError
        If a sum leaves int32.
    InputError
        If dtypes or shapes do not fit.
    """
    for field, value in (("x", x), ("weight", weight)):
        if value.dtype != np.int8 or value.ndim != 2:
            raise InputError(f"{field}: expected int8 of two dimensions, found {value.dtype} "
                             f"of shape {value.shape}")
    if x.shape[1] != weight.shape[1]:
        raise InputError(f"x: expected {weight.shape[1]} inputs, found {x.shape[1]}")
    if bias.shape != weight.shape[:1] or bias.dtype.kind not in "iu":
        raise InputError(f"bias: expected integers of shape {weight.shape[:1]}, found "
                         f"{bias.dtype} of shape {bias.shape}")
    sums = x.astype(np.int64) @ weight.astype(np.int64).T + bias.astype(np.int64)
    if sums.size and not INT32_MIN <= sums.min() <= sums.max() <= INT32_MAX:
        raise OverflowError(f"a sum leaves int32: {sums.min()} to {sums.max()}")
    return sums.astype(np.int32)


def requantise(acc: np.ndarray, mult: np.ndarray, shift: np.ndarray, zero_point: int,
               ) -> np.ndarray:
    """Sums to int8: multiply, round half towards plus infinity, add the zero point, clamp.

    ``clamp(((acc * mult + (1 << (shift - 1))) >> shift) + zero_point, -128, 127)``, with an
    arithmetic shift (floor).

    Parameters
    ----------
    acc : ndarray of int32, shape (..., N)
    mult : ndarray of uint16, shape (N,)
        2**15 to 2**16 - 1.
    shift : ndarray of uint8, shape (N,)
        1 to 47.
    zero_point : int
        Of the result, -128 to 127.

    Returns
    -------
    ndarray of int8, shape (..., N)

    Raises
    ------
    InputError
        If a value is outside its range.
    """
    for field, value, low, high in (
            ("acc", acc, INT32_MIN, INT32_MAX),
            ("mult", mult, spec.MULT_MIN, spec.MULT_MAX),
            ("shift", shift, spec.SHIFT_MIN, spec.SHIFT_MAX),
            ("zero_point", np.asarray(zero_point), INT8_MIN, INT8_MAX)):
        if value.dtype.kind not in "iu":
            raise InputError(f"{field}: expected integers, found {value.dtype}")
        if value.size and not low <= value.min() <= value.max() <= high:
            raise InputError(f"{field}: expected values in {low}..{high}, found "
                             f"{value.min()} to {value.max()}")
    product = acc.astype(np.int64) * mult.astype(np.int64)  # below 2**47: exact
    places = shift.astype(np.int64)
    rounded = (product + (np.int64(1) << (places - 1))) >> places
    return np.clip(rounded + int(zero_point), INT8_MIN, INT8_MAX).astype(np.int8)


def apply_lut(y: np.ndarray, lut: np.ndarray) -> np.ndarray:
    """Table look-up: entry ``i`` serves ``y = i - 128``.

    Parameters
    ----------
    y : ndarray of int8, any shape
    lut : ndarray of int8, shape (256,)
    """
    if y.dtype != np.int8 or lut.dtype != np.int8 or lut.shape != (spec.LUT_ENTRIES,):
        raise InputError(f"lut: expected int8 of shape (256,) and int8 values, found {lut.dtype} "
                         f"of shape {lut.shape} and {y.dtype}")
    return lut[y.astype(np.int64) + 128]


def linear(layer: PackedLayer, x: np.ndarray) -> np.ndarray:
    """What the unit answers for a layer.

    Parameters
    ----------
    layer : PackedLayer
    x : ndarray of int8, shape (M, K)

    Returns
    -------
    ndarray, shape (M, N)
        int32 for a raw layer, else int8.
    """
    return from_sums(layer, accumulate(x, layer.dense_weight(), layer.bias))


def from_sums(layer: PackedLayer, acc: np.ndarray) -> np.ndarray:
    """What the unit makes of a layer's sums.

    Parameters
    ----------
    layer : PackedLayer
    acc : ndarray of int32, shape (M, N)
        As :func:`accumulate` gives them.

    Returns
    -------
    ndarray, shape (M, N)
        int32 for a raw layer, else int8.
    """
    if layer.raw:
        return acc
    y = requantise(acc, layer.mult, layer.shift, layer.output_zero_point)
    return y if layer.lut is None else apply_lut(y, layer.lut)
