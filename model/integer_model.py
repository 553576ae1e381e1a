"""Run an encoder with integers: what the unit computes, inside the PyTorch model.

The Linear layers give the integers of :func:`sparseloom.model.reference.linear`, bit for bit, and
so do attention's two products where attention can be taken apart (:mod:`.attention`). The rest of
the encoder is float32, and each float result of a sentence is computed from that sentence alone, so
its bits do not depend on its batch or padding. Padding is not computed: it stays zero.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from sparseloom.model.attention import Run, UnitAttention, attend, attention_name
from sparseloom.model.errors import InputError
from sparseloom.model.integer_matmul import integer_matmul
from sparseloom.model.layers import attention_layers, base_model, encoder_layers
from sparseloom.model.packed.layer import PackedLayer

ATTENTION = "sparseloom"
"""Name of our attention function in transformers' registry."""


class RealTokens:
    """Which tokens of the batch that a model just reads are no padding."""

    def __init__(self):
        self.mask: torch.Tensor | None = None

    def __call__(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Before the encoder runs: note its attention mask, (batch, tokens); None: all are real."""
        mask = kwargs.get("attention_mask", args[1] if len(args) > 1 else None)
        self.mask = mask.bool() if isinstance(mask, torch.Tensor) and mask.ndim == 2 else None

    def rows(self, x: torch.Tensor) -> torch.Tensor:
        """Rows of ``x``, shape (batch, tokens, K), seen as (batch · tokens, K), that are real."""
        if self.mask is None or x.shape[:-1] != self.mask.shape:
            return torch.ones(x.shape[:-1].numel(), dtype=torch.bool)
        return self.mask.reshape(-1)


class IntegerLinear(nn.Module):
    """A Linear layer that computes in integers between a quantiser and a dequantiser.

    Parameters
    ----------
    layer : PackedLayer
    run : Run, optional
        What computes the integers; by default PyTorch does.
    real : RealTokens, optional
        Which tokens are computed; by default all.

    Attributes
    ----------
    tap : callable, optional
        Shown the int8 inputs, shape (real tokens, K), of each call.
    """

    def __init__(self, layer: PackedLayer, run: Run | None = None,
                 real: RealTokens | None = None):
        super().__init__()
        self.layer, self.run, self.real = layer, run, real or RealTokens()
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.tap: Callable[[torch.Tensor], None] | None = None
        tensors = {"weight": layer.dense_weight(), "bias": layer.bias.astype(np.int64),
                   "mult": layer.mult.astype(np.int64), "places": layer.shift.astype(np.int64),
                   "step": np.float32(layer.input_scale) * layer.weight_scale}
        if layer.lut is not None:
            tensors["lut"] = layer.lut
        for name, values in tensors.items():
            self.register_buffer(name, torch.from_numpy(np.array(values)))

    def quantize(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 to int8: round half to even, add the zero point, clamp."""
        integer = torch.round(x / self.layer.input_scale) + self.layer.input_zero_point
        return integer.clamp(-128, 127).to(torch.int8)

    def integers(self, x: torch.Tensor) -> torch.Tensor:
        """What the unit answers to int8 of shape (M, K): int8 or, raw, int32 of shape (M, N)."""
        buffers: Any = self
        acc = integer_matmul(x, buffers.weight).long() + buffers.bias
        if self.layer.raw:
            return acc.to(torch.int32)
        half = torch.ones_like(buffers.places) << (buffers.places - 1)
        y = ((acc * buffers.mult + half) >> buffers.places) + self.layer.output_zero_point
        y = y.clamp(-128, 127)
        return y.to(torch.int8) if self.layer.lut is None else buffers.lut[y + 128]

    def dequantize(self, y: torch.Tensor) -> torch.Tensor:
        """The unit's answer as float32; sums per channel, bytes per tensor."""
        buffers: Any = self
        layer = self.layer
        if layer.raw:
            return y.float() * buffers.step
        if layer.lut is not None:
            return (y.float() - layer.lut_zero_point) * layer.lut_scale
        return (y.float() - layer.output_zero_point) * layer.output_scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Float32 to float32, shape (..., K) to (..., N); zero at padding."""
        real = self.real.rows(x)
        integer = self.quantize(x.reshape(-1, self.in_features)[real])
        if self.tap is not None:
            self.tap(integer)
        if self.run is None:
            found = self.integers(integer)
        else:
            found = torch.from_numpy(self.run([(self.layer, integer.numpy())])[0])
        out = torch.zeros(len(real), self.out_features)
        out[real] = self.dequantize(found)
        return out.reshape(*x.shape[:-1], self.out_features)


def make_integer(model: nn.Module, layers: Mapping[str, PackedLayer], run: Run | None = None,
                 ) -> dict[str, IntegerLinear]:
    """Replace an encoder's Linear layers and attention, in place, by integer ones.

    An activation that a layer's table computes is replaced by nothing. Attention is computed for
    each sentence by itself: in the unit's integers where query, key and value of each encoder layer
    come straight from Linear layers (:func:`~sparseloom.model.layers.attention_layers`) and
    transformers lets its function be chosen, else in float32.

    Parameters
    ----------
    run : Run, optional
        What computes the integers; by default PyTorch does.

    Returns
    -------
    dict of str to IntegerLinear
        By layer name.

    Raises
    ------
    InputError
        If the layers are not exactly the model's, or keys or values have a zero point.
    """
    base = base_model(model)
    linears = encoder_layers(model)
    names = [linear.name for linear in linears]
    for one, other, which in ((names, layers, "the artefact"), (layers, names, "the checkpoint")):
        missing = [name for name in one if name not in other]
        if missing:
            raise InputError(f"layer {missing[0]}: expected in {which}, found none")
    for linear in linears:
        layer = layers[linear.name]
        shape = (layer.out_features, layer.in_features)
        if shape != tuple(linear.module.weight.shape):
            raise InputError(f"layer {linear.name}, shape: expected "
                             f"{tuple(linear.module.weight.shape)} as in the checkpoint, found "
                             f"{shape}")
        if (layer.lut is not None) != (linear.activation is not None):
            raise InputError(f"layer {linear.name}, lut: expected one exactly where an activation "
                             "follows in the checkpoint, found otherwise")
    attention = {}
    if hasattr(base, "set_attn_implementation"):
        attention = {block: {role: linear.name for role, linear in roles.items()}
                     for block, roles in attention_layers(linears).items()}
    units = {attention_name(roles): UnitAttention(
        attention_name(roles), layers[roles["query"]], layers[roles["key"]],
        layers[roles["value"]], run) for roles in attention.values()}
    real = RealTokens()
    done: dict[str, IntegerLinear] = {}
    for linear in linears:
        done[linear.name] = IntegerLinear(layers[linear.name], run, real)
        base.set_submodule(linear.name, done[linear.name])
        if linear.activation is not None:
            base.set_submodule(linear.activation, nn.Identity())
    for name, unit in units.items():
        base.get_submodule(name).add_module(ATTENTION, unit)
    base.register_forward_pre_hook(real, with_kwargs=True)
    _attend_alone(base)
    return done


def _attend_alone(base: Any) -> None:
    """Have the model's attention use :func:`.attention.attend`, where it can be chosen."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, attend)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    if hasattr(base, "set_attn_implementation"):
        base.set_attn_implementation(ATTENTION)
