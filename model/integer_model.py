"""Run an encoder with integer Linear layers: what the unit computes, inside the PyTorch model.

The Linear layers give the integers of :func:`sparseloom.model.reference.linear`, bit for bit.
The rest of the encoder is float32, and each float result of a sentence is computed from that
sentence alone, so its bits do not depend on its batch or padding.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

from sparseloom.model.errors import InputError
from sparseloom.model.integer_matmul import integer_matmul
from sparseloom.model.layers import base_model, encoder_layers
from sparseloom.model.packed.layer import PackedLayer

ATTENTION = "sparseloom"
"""Name of our attention function in transformers' registry."""


class IntegerLinear(nn.Module):
    """A Linear layer that computes in integers between a quantiser and a dequantiser.

    Parameters
    ----------
    layer : PackedLayer

    Attributes
    ----------
    tap : callable, optional
        Shown the int8 inputs, shape (tokens, K), of each call.
    """

    def __init__(self, layer: PackedLayer):
        super().__init__()
        self.layer = layer
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
        """Float32 to float32, shape (..., K) to (..., N)."""
        integer = self.quantize(x.reshape(-1, self.in_features))
        if self.tap is not None:
            self.tap(integer)
        return self.dequantize(self.integers(integer)).reshape(*x.shape[:-1], self.out_features)


def make_integer(model: nn.Module, layers: Mapping[str, PackedLayer]) -> dict[str, IntegerLinear]:
    """Replace an encoder's Linear layers, in place, by integer ones.

    An activation that a layer's table computes is replaced by nothing. Attention is computed for
    each sentence by itself.

    Returns
    -------
    dict of str to IntegerLinear
        By layer name.

    Raises
    ------
    InputError
        If the layers are not exactly the model's.
    """
    base = base_model(model)
    linears = encoder_layers(model)
    names = [linear.name for linear in linears]
    for one, other, which in ((names, layers, "the artefact"), (layers, names, "the checkpoint")):
        missing = [name for name in one if name not in other]
        if missing:
            raise InputError(f"layer {missing[0]}: expected in {which}, found none")
    done: dict[str, IntegerLinear] = {}
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
        done[linear.name] = IntegerLinear(layer)
        base.set_submodule(linear.name, done[linear.name])
        if linear.activation is not None:
            base.set_submodule(linear.activation, nn.Identity())
    _attend_alone(base)
    return done


def _attend_alone(base: Any) -> None:
    """Have the model's attention use :func:`sentence_attention`, where it can be chosen."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(ATTENTION, sentence_attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)
    if hasattr(base, "set_attn_implementation"):
        base.set_attn_implementation(ATTENTION)


def sentence_attention(module: nn.Module, query: torch.Tensor, key: torch.Tensor,
                       value: torch.Tensor, attention_mask: torch.Tensor | None,
                       scaling: float | None = None, dropout: float = 0.0, **others: Any,
                       ) -> tuple[torch.Tensor, None]:
    """Softmax attention of each sentence over its own real tokens alone.

    A product's rounding depends on its shape; here the shape is the sentence's own.

    Parameters
    ----------
    query, key, value : Tensor of shape (batch, heads, tokens, head size)
    attention_mask : Tensor of bool, shape (batch, 1, tokens, tokens), optional
        True where a key is real; none at all where every one is.

    Returns
    -------
    Tensor of shape (batch, tokens, heads, head size)
        Zero at padding.
    None
        No attention weights.
    """
    scale = query.shape[-1]**-0.5 if scaling is None else scaling
    out = torch.zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[-1])
    for index in range(query.shape[0]):
        if attention_mask is None:
            real = torch.arange(key.shape[2])
        else:
            keys = attention_mask[index, 0, 0]
            real = (keys if keys.dtype == torch.bool else keys == 0).nonzero()[:, 0]
        q, k, v = (part[index][:, real].contiguous() for part in (query, key, value))
        weights = torch.softmax(torch.bmm(q, k.transpose(1, 2).contiguous()) * scale, dim=-1)
        out[index, real] = torch.bmm(weights, v).transpose(0, 1)
    return out, None
