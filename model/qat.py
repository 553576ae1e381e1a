"""Train with the integers' rounding in place: quantisation-aware retraining.

Inside :func:`fake_quantize` a model's Linear layers answer, up to rare halves, what their integer
forms will answer, in floats and with gradients: a rounding passes its gradient on as if it were not
there, and a clamped value gets none. Parameters keep their names and identity, so that any training
loop, optimiser and mask works on them as before.

Source: Jacob et al., arXiv 1712.05877, section 3.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from sparseloom.model.layers import EncoderLinear, base_model
from sparseloom.model.observe import activation_function
from sparseloom.model.packed import spec
from sparseloom.model.quantize import SMALLEST_RATIO, Scales, layer_scales
from sparseloom.model.rounding import search_scales

SEARCH_EVERY = 8
"""Forward passes between two searches for the scales of 4-bit weights."""


def _levels(x: torch.Tensor, zero: int, low: int, high: int) -> torch.Tensor:
    """Round x to integers and clamp it to low - zero … high - zero, with straight-through gradient.

    The zero point is that of the integers; what comes out is integer - zero, as float32.
    """
    return torch.fake_quantize_per_tensor_affine(x.float(), 1.0, zero, low, high)


def _rounded(x: torch.Tensor, scale: float, zero: int) -> torch.Tensor:
    """An activation, rounded to its 256 levels."""
    return _levels(x.float() / scale, zero, -128, 127) * scale


def _round_output(scale: float, zero: int):
    def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor,
             ) -> torch.Tensor:
        return _rounded(output, scale, zero)
    return hook


class _FakeLinear:
    """What a Linear's forward becomes: integer products in floats.

    Products are of integers below 2**8, which bfloat16 holds exactly; float16 cannot hold their
    sums, so it is not used.
    """

    def __init__(self, module: nn.Linear, scales: Scales, weight_bits: int, raw: bool):
        self.module, self.scales, self.raw = module, scales, raw
        self.limit = spec.WEIGHT_LIMIT[weight_bits]
        bias_limit = spec.BIAS_LIMIT - (module.in_features << spec.PRODUCT_BITS)
        self.least = SMALLEST_RATIO * scales.output[0] / scales.input[0]
        self.least_per_bias = 2 / (scales.input[0] * bias_limit)
        self.weight_bits, self.passes = weight_bits, 0
        self.ratio: torch.Tensor | None = None      # of searched scales to those that clip nothing

    def weight_scale(self) -> torch.Tensor:
        """Scale of each output, float32 of shape (N, 1), as :func:`quantize_linear` sets it."""
        weight, bias = self.module.weight.detach().float(), self.module.bias
        scale = weight.abs().amax(dim=1, keepdim=True) / self.limit
        if self.weight_bits != 8:
            whole = weight.double().abs().amax(dim=1, keepdim=True).clamp_min(1e-30) / self.limit
            if self.passes % SEARCH_EVERY == 0 or self.ratio is None:
                self.ratio = search_scales(weight.double(), self.limit)[:, None] / whole
            self.passes += 1
            scale = (whole * self.ratio).float()
        scale = scale.clamp_min(self.least)
        if bias is not None:
            scale = scale.maximum(bias.detach().float().abs()[:, None] * self.least_per_bias)
        return scale

    def __call__(self, input: torch.Tensor) -> torch.Tensor:
        (scale, zero), weight_scale = self.scales.input, self.weight_scale()
        device = input.device.type
        half = torch.is_autocast_enabled(device) and torch.get_autocast_dtype(device) is torch.half
        with torch.autocast(device, enabled=False) if half else nullcontext():
            y = nn.functional.linear(
                _levels(input.float() / scale, zero, -128, 127),
                _levels(self.module.weight.float() / weight_scale, 0, -self.limit, self.limit))
        y = y.float() * (weight_scale[:, 0] * scale)
        if self.module.bias is not None:
            y = y + self.module.bias.float()
        return y if self.raw else _rounded(y, *self.scales.output)


@contextmanager
def fake_quantize(model: nn.Module, linears: Sequence[EncoderLinear],
                  ranges: Mapping[str, Mapping[str, tuple[float, float]]],
                  weight_bits: int = 8) -> Iterator[None]:
    """Have a model's Linear layers compute with the rounding of their integer forms.

    Weights are rounded anew in each forward pass, with a scale for each output that follows them;
    the activations' scales stay as given, so quantise with the same ranges afterwards. A weight of
    zero is zero in the rounded form, too.

    Parameters
    ----------
    linears : sequence of EncoderLinear
        Found before the block: inside it the model cannot be traced.
    ranges : mapping
        What :func:`sparseloom.model.observe.value_ranges` returned.
    weight_bits : int
        8 or 4.
    """
    base = base_model(model)
    handles, wrapped = [], []
    try:
        for linear in linears:
            scales = layer_scales(ranges[linear.name], activation_function(model, linear),
                                  operand=linear.operand)
            raw = linear.residual and linear.activation is None
            # An attribute of the instance goes before the class's forward; hooks still run.
            linear.module.forward = _FakeLinear(linear.module, scales, weight_bits, raw)
            wrapped.append(linear.module)
            if linear.activation is not None and scales.table is not None:
                handles.append(base.get_submodule(linear.activation).register_forward_hook(
                    _round_output(*scales.table)))
        yield
    finally:
        for module in wrapped:
            del module.forward
        for handle in handles:
            handle.remove()
