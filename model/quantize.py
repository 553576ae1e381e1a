"""Float weights and observed ranges to integers: one Linear at a time.

A real value is ``scale · (integer - zero_point)``. The sums of a layer,
``Σ (x - zero_x) · w · s_x · s_w[n] + b[n]``, become ``Σ x · w + bias[n]`` with the input's zero
point folded into the bias, and ``mult[n] / 2**shift[n] = s_x · s_w[n] / s_y`` takes them to int8.
``docs/numerics.md`` says how the unit rounds.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.layer import PackedLayer, pack_layer
from sparseloom.model.rounding import compensate, search_scales

Elementwise = Callable[[np.ndarray], np.ndarray]
LEVELS = 255
SMALLEST_RATIO = 2.0 ** -30
"""Least s_x · s_w / s_y that is used; mult and shift reach 2**-32."""

SMALLEST_SCALE = float(np.finfo(np.float64).tiny)


def activation_scale(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of a tensor whose values lie in low..high.

    The range is widened to hold 0, which is then exact.

    Returns
    -------
    scale : float
        Above 0; 1.0 where all values are 0, or nearer than floats can divide into levels.
    zero_point : int
        -128 to 127.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / LEVELS
    if scale < SMALLEST_SCALE:
        return 1.0, 0
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def symmetric_scale(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point, which is 0, of values that become weights: -127 to 127.

    Returns
    -------
    scale : float
        Above 0, as of :func:`activation_scale`.
    zero_point : int
    """
    scale = max(-low, high, 0.0) / spec.WEIGHT_LIMIT[8]
    return (1.0 if scale < SMALLEST_SCALE else scale), 0


def trim_range(low: float, high: float, activation: Elementwise, step: float,
               ) -> tuple[float, float]:
    """Cut the ends of a range where an activation has long been flat.

    GELU answers the same integer for everything far below zero; levels spent there are wasted,
    since a value beyond the range is clamped to its end.

    Parameters
    ----------
    activation : callable
        Element-wise.
    step : float
        Scale of the activation's own integers: less than a quarter of it is no change. Half of it
        would be none either, but a range's end moves a little as its zero point is rounded, and an
        end that answers with the next integer answers so for all that lies beyond.
    """
    x = np.linspace(low, high, 4097)
    y = activation(x)
    below = np.abs(y - y[0]) < step / 4
    above = np.abs(y - y[-1]) < step / 4
    first = int(np.argmin(below)) if not below.all() else 1
    last = len(x) - int(np.argmin(above[::-1])) if not above.all() else len(x)
    return float(x[max(0, first - 1)]), float(x[min(len(x), last + 1) - 1])


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Scales and zero points of what enters and leaves a layer.

    Parameters
    ----------
    input, output : pair of float and int
    table : pair of float and int, optional
        Of the entries of an activation's table; ``output`` is then what the table reads.
    """

    input: tuple[float, int]
    output: tuple[float, int]
    table: tuple[float, int] | None


def layer_scales(ranges: Mapping[str, tuple[float, float]], activation: Elementwise | None = None,
                 *, operand: bool = False) -> Scales:
    """Scales and zero points for chosen ranges.

    Parameters
    ----------
    ranges : mapping of str to pair of float
        ``input``, ``output`` and, with an activation, ``activation``.
    activation : callable, optional
    operand : bool
        The output becomes weights of the unit: attention's keys and values.
    """
    output, table = ranges["output"], None
    if activation is not None:
        table = activation_scale(*ranges["activation"])
        lowest, highest = (table[0] * (end - table[1]) for end in (-128, 127))
        # Where the table's entries are clamped they are flat, too.
        output = trim_range(*output, lambda x: np.clip(activation(x), lowest, highest), table[0])
    return Scales(input=activation_scale(*ranges["input"]),
                  output=(symmetric_scale if operand else activation_scale)(*output), table=table)


def fixed_point(ratio: np.ndarray, name: str = "layer") -> tuple[np.ndarray, np.ndarray]:
    """``mult`` and ``shift`` with ``mult / 2**shift`` next to a positive ratio.

    Parameters
    ----------
    ratio : ndarray of float64, shape (N,)

    Returns
    -------
    mult : ndarray of uint16, 2**15 to 2**16 - 1
    shift : ndarray of uint8, 1 to 47

    Raises
    ------
    InputError
        If a ratio is out of reach.
    """
    mantissa, exponent = np.frexp(ratio)                 # ratio = mantissa · 2**exponent
    mult = np.rint(mantissa * (1 << 16)).astype(np.int64)
    shift = 16 - exponent.astype(np.int64)
    carried = mult > spec.MULT_MAX                       # 65535.5 and more rounds to 2**16
    mult, shift = np.where(carried, mult >> 1, mult), np.where(carried, shift - 1, shift)
    fits = (ratio > 0) & (shift >= spec.SHIFT_MIN) & (shift <= spec.SHIFT_MAX)
    if not fits.all():
        raise InputError(f"layer {name}: expected output scales from 2**-32 to 2**15 of the "
                         f"sums', found a ratio of {ratio[~fits][0]:g}")
    return mult.astype(np.uint16), shift.astype(np.uint8)


def quantize_linear(*, name: str, weight: np.ndarray, bias: np.ndarray | None, keep: np.ndarray,
                    structure: str, p: int, q: int, input_range: tuple[float, float],
                    output_range: tuple[float, float], raw: bool = False,
                    activation: Elementwise | None = None,
                    activation_range: tuple[float, float] | None = None,
                    weight_bits: int = 8, moments: np.ndarray | None = None,
                    operand: bool = False) -> PackedLayer:
    """A Linear layer in integers.

    Parameters
    ----------
    weight : ndarray of float, shape (N, K)
    bias : ndarray of float, shape (N,), optional
    keep : ndarray of bool, shape (N, K)
        What pruning kept.
    input_range, output_range : pair of float
        Smallest and largest value seen.
    raw : bool
        The layer leaves as int32 sums.
    activation : callable, optional
        Element-wise float64 function that becomes the layer's table.
    activation_range : pair of float, optional
        Of the table's values; needed with ``activation``.
    weight_bits : int
        8, and the largest weight of each output sets its scale; or 4, and the scale has the least
        squared error (:func:`~sparseloom.model.rounding.search_scales`).
    moments : ndarray of float, shape (K + 1, K + 1), optional
        Of the inputs; the rounding of one weight then makes up for that of others
        (:func:`~sparseloom.model.rounding.compensate`).
    operand : bool
        The output becomes weights of the unit, so its zero point is 0.

    Raises
    ------
    InputError
        If a value is not finite, or a scale or bias does not fit the unit's numbers.
    """
    n, k = weight.shape
    w = np.where(keep, weight, 0).astype(np.float64)
    b = np.zeros(n) if bias is None else bias.astype(np.float64)
    if not (np.isfinite(w).all() and np.isfinite(b).all()
            and np.isfinite([*input_range, *output_range]).all()):
        raise InputError(f"layer {name}: expected finite weights and activations, found NaN or "
                         "infinity")
    limit = spec.WEIGHT_LIMIT[weight_bits]
    ranges = {"input": input_range, "output": output_range}
    if activation is not None:
        assert activation_range is not None
        if not np.isfinite(activation_range).all():
            raise InputError(f"layer {name}: expected finite activations, found NaN or infinity")
        ranges["activation"] = activation_range
    scales = layer_scales(ranges, activation, operand=operand)
    (input_scale, input_zero), (output_scale, output_zero) = scales.input, scales.output
    lut, lut_scale, lut_zero = None, 0.0, 0
    if activation is not None and scales.table is not None:
        lut_scale, lut_zero = scales.table
        real = output_scale * (np.arange(-128, 128) - output_zero)
        lut = np.clip(np.rint(activation(real) / lut_scale) + lut_zero, -128, 127).astype(np.int8)

    bias_limit = spec.BIAS_LIMIT - (k << spec.PRODUCT_BITS)
    # With 8 bits the smallest scale: weights fill them. Rows of next to nothing take a larger one,
    # so that their ratio and their bias stay within the unit's numbers.
    scale = np.maximum.reduce([
        np.abs(w).max(axis=1) / limit if weight_bits == 8 else
        search_scales(torch.from_numpy(w), limit).numpy(),
        np.full(n, SMALLEST_RATIO * output_scale / input_scale),
        np.abs(b) / (input_scale * (bias_limit // 2)),
    ])
    empty = ~w.any(axis=1)
    scale[empty] = np.maximum(scale[empty], np.abs(b[empty]) / (input_scale * (1 << 20)))
    weight_scale = scale.astype(np.float32)
    scale = weight_scale.astype(np.float64)              # what the artefact holds is what counts
    if moments is None:
        rounded = np.clip(np.rint(w / scale[:, None]), -limit, limit)
    else:
        rounded, b = (part.numpy() for part in compensate(
            torch.from_numpy(w), torch.from_numpy(b), torch.from_numpy(keep),
            torch.from_numpy(scale), limit, torch.from_numpy(moments)))
    integer = rounded.astype(np.int64)
    folded = np.rint(b / (input_scale * scale)).astype(np.int64) - input_zero * integer.sum(axis=1)
    if (np.abs(folded) > bias_limit).any():
        raise InputError(f"layer {name}, bias: expected at most {bias_limit} in the sums' units, "
                         f"found {np.abs(folded).max()}")
    mult, shift = fixed_point(input_scale * scale / output_scale, name)
    return pack_layer(
        name=name, weight=integer.astype(np.int8), keep=keep, structure=structure, p=p, q=q,
        bias=folded.astype(np.int32), mult=mult, shift=shift, weight_scale=weight_scale,
        input_scale=input_scale, input_zero_point=input_zero, output_scale=output_scale,
        output_zero_point=output_zero, lut=lut, raw=raw, lut_scale=lut_scale,
        lut_zero_point=lut_zero, weight_bits=weight_bits)
