"""Train with the integers' rounding in place: quantisation-aware retraining.

Inside :func:`fake_quantize` a model's Linear layers and its attention answer, up to rare halves,
what their integer forms will answer, in floats and with gradients: a rounding passes its gradient
on as if it were not there, and a clamped value gets none. Parameters keep their names and identity,
so that any training loop, optimiser and mask works on them as before.

Source: Jacob et al., arXiv 1712.05877, section 3.
"""
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from sparseloom.model.attention import LEVELS, attention_name
from sparseloom.model.layers import EncoderLinear, attention_layers, base_model
from sparseloom.model.observe import activation_function
from sparseloom.model.packed import spec
from sparseloom.model.quantize import SMALLEST_RATIO, Scales, layer_scales
from sparseloom.model.rounding import search_scales

ATTENTION = "sparseloom-retraining"
"""Name of this file's attention function in transformers' registry."""
SCALES = "sparseloom_scales"
"""Attribute of an attention module inside the block: its :class:`_OperandScales`."""
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


@dataclass(frozen=True)
class _OperandScales:
    """Scales of the keys and values of an attention."""

    key: float
    value: float


def fake_attend(module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                attention_mask: torch.Tensor | None, scaling: float | None = None,
                dropout: float = 0.0, **others: Any) -> tuple[torch.Tensor, None]:
    """What :meth:`~.attention.UnitAttention.sentence` answers, in floats and with gradients.

    Queries, keys and values are rounded already, by their Linear layers. Here keys and values get
    their clamp, and the exponentials their 256 levels; the quotient is taken as there.

    Parameters
    ----------
    module : nn.Module
        Has the attribute ``SCALES``.
    query, key, value : Tensor of shape (batch, heads, tokens, head size)
    attention_mask : Tensor of bool, shape (batch, 1, tokens, tokens), optional
        True where a key is real; none at all where every one is.
    dropout : float
        Share of the exponentials that count as 0, for the sum but not for its divisor.

    Returns
    -------
    Tensor of float32, shape (batch, tokens, heads, head size)
    None
        No attention weights.
    """
    scales: _OperandScales = getattr(module, SCALES)
    limit = spec.WEIGHT_LIMIT[8]
    with torch.autocast(query.device.type, enabled=False):
        k = key.float().clamp(min=-limit * scales.key)
        v = value.float().clamp(min=-limit * scales.value)
        scale = query.shape[-1]**-0.5 if scaling is None else scaling
        scores = query.float() @ k.transpose(2, 3) * scale
        if attention_mask is not None:
            real = attention_mask if attention_mask.dtype == torch.bool else attention_mask == 0
            scores = scores.masked_fill(~real, float("-inf"))
        below = scores - scores.amax(dim=-1, keepdim=True).detach()
        shares = _levels(LEVELS * torch.exp(below), 0, 0, LEVELS)
        total = shares.sum(dim=-1, keepdim=True)           # at least 255: of the largest score
        if dropout:
            shares = nn.functional.dropout(shares, dropout)
        out = shares @ v / total
    return out.transpose(1, 2).contiguous(), None


@contextmanager
def _fake_attention(base: Any, linears: Sequence[EncoderLinear], scales: Mapping[str, Scales],
                    ) -> Iterator[None]:
    """Have a model's attention be :func:`fake_attend` where it will run on the unit."""
    attention = list(attention_layers(linears).values())
    if not attention or not hasattr(base, "set_attn_implementation"):
        yield
        return
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, fake_attend)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    before = base.config._attn_implementation
    modules = []
    try:
        for roles in attention:
            names = {role: linear.name for role, linear in roles.items()}
            modules.append(base.get_submodule(attention_name(names)))
            setattr(modules[-1], SCALES, _OperandScales(
                *(scales[names[role]].output[0] for role in ("key", "value"))))
        base.set_attn_implementation(ATTENTION)
        yield
    finally:
        base.set_attn_implementation(before)
        for module in modules:
            delattr(module, SCALES)


@contextmanager
def fake_quantize(model: nn.Module, linears: Sequence[EncoderLinear],
                  ranges: Mapping[str, Mapping[str, tuple[float, float]]],
                  weight_bits: int = 8) -> Iterator[None]:
    """Have a model's Linear layers and attention compute with the rounding of their integer forms.

    Weights are rounded anew in each forward pass, with a scale for each output that follows them;
    the activations' scales stay as given, so quantise with the same ranges afterwards. A weight of
    zero is zero in the rounded form, too. Attention stays in floats where it does so in integer
    models, see :func:`~.integer_model.make_integer`.

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
    scales = {linear.name: layer_scales(ranges[linear.name], activation_function(model, linear),
                                        operand=linear.operand) for linear in linears}
    handles, wrapped = [], []
    try:
        with _fake_attention(base, linears, scales):
            for linear in linears:
                raw = linear.residual and linear.activation is None
                # An attribute of the instance goes before the class's forward; hooks still run.
                linear.module.forward = _FakeLinear(linear.module, scales[linear.name],
                                                    weight_bits, raw)
                wrapped.append(linear.module)
                table = scales[linear.name].table
                if linear.activation is not None and table is not None:
                    handles.append(base.get_submodule(linear.activation).register_forward_hook(
                        _round_output(*table)))
            yield
    finally:
        for module in wrapped:
            del module.forward
        for handle in handles:
            handle.remove()
