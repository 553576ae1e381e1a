"""Attention's two products as layers of the unit, and what the host does between them.

Queries meet a sentence's keys, and what becomes of that its values, head by head: each product is a
layer whose weights are made at run time, dense and without padding. All inputs are bytes and both
answers are the exact sums, so nothing is rounded but the bytes:

    S = Σ_d q·k                             queries and keys as their Linear layers left the unit
    E = round(255 · exp(c · (S - max S)))   on the host, 0 to 255; the stream has bytes E - 128
    Y = Σ_t E·v / Σ_t E                     the sum by the unit, the quotient on the host

``docs/decisions/0012-offload.md`` says why.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from sparseloom.model.errors import InputError
from sparseloom.model.integer_matmul import integer_bmm
from sparseloom.model.packed import spec
from sparseloom.model.packed.layer import PackedLayer, dense_layer
from sparseloom.model.products import ATTENTION_PRODUCTS, Attention
from sparseloom.model.reference import linear

Work = Sequence[tuple[PackedLayer, np.ndarray]]
"""Layers, each with what enters it: int8, shape (M, K)."""

Run = Callable[[Work], list[np.ndarray]]
"""What computes layers in place of PyTorch; answers int8, or int32 of a raw layer, shape (M, N)."""

LEVELS = 255
"""Of the exponentials: 0 to 255 in a byte."""
OFFSET = 128
"""What is subtracted from them on the stream, so that they are signed bytes."""


class UnitAttention(nn.Module):
    """Softmax attention of one encoder layer with the unit's products.

    Parameters
    ----------
    name : str
        Of the products: they are layers ``<name>.scores.<head>`` and ``<name>.context.<head>``.
    query, key, value : PackedLayer
        Linear layers whose answers are multiplied. The last two have zero point 0.
    run : Run, optional
        By default PyTorch computes the same integers.

    Raises
    ------
    InputError
        If a layer does not answer bytes, or keys or values have another zero point.
    """

    def __init__(self, name: str, query: PackedLayer, key: PackedLayer, value: PackedLayer,
                 run: Run | None = None):
        super().__init__()
        for layer in (query, key, value):
            if layer.raw or layer.lut is not None:
                found = "sums" if layer.raw else "a table"
                raise InputError(f"layer {layer.name}: expected plain bytes, since attention "
                                 f"multiplies them, found {found}")
        for layer in (key, value):
            if layer.output_zero_point:
                raise InputError(f"layer {layer.name}, output_zero_point: expected 0, since keys "
                                 f"and values become weights of the unit, found "
                                 f"{layer.output_zero_point}; quantise the checkpoint again")
        self.name, self.run = name, run
        self.query, self.key, self.value = query, key, value
        self.calls = 0

    def sentence(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
                 scaling: float) -> torch.Tensor:
        """Attention of one sentence's real tokens.

        Parameters
        ----------
        query, key, value : Tensor of float32, shape (heads, tokens, head size)
            What the Linear layers answered, dequantised.
        scaling : float
            Of the scores.

        Returns
        -------
        Tensor of float32, shape (heads, tokens, head size)
        """
        self.calls += 1
        q, k, v = (_bytes(part, layer) for part, layer in
                   ((query, self.query), (key, self.key), (value, self.value)))
        limit = spec.WEIGHT_LIMIT[8]
        k, v = (part.clamp(min=-limit).contiguous() for part in (k, v))
        zero = self.query.output_zero_point
        scores = self._product(ATTENTION_PRODUCTS[0], q, k, -zero * k.long().sum(dim=2))
        step = self.query.output_scale * self.key.output_scale * scaling
        # In double precision, so that the level does not hang on how a processor computes exp.
        below = (scores - scores.amax(dim=2, keepdim=True)).double()
        shares = torch.round(LEVELS * torch.exp(step * below)).long()
        v = v.transpose(1, 2).contiguous()
        sums = self._product(ATTENTION_PRODUCTS[1], (shares - OFFSET).to(torch.int8), v,
                             OFFSET * v.long().sum(dim=2))
        total = shares.sum(dim=2, keepdim=True).float()    # at least 255: of the largest score
        return sums.float() * self.value.output_scale / total

    def _product(self, what: str, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor,
                 ) -> torch.Tensor:
        """Sums of all heads.

        Parameters
        ----------
        x : Tensor of int8, shape (heads, M, K)
        weight : Tensor of int8, shape (heads, N, K)
        bias : Tensor of int64, shape (heads, N)

        Returns
        -------
        Tensor of int32, shape (heads, M, N)
        """
        if self.run is None:
            return (integer_bmm(x, weight) + bias[:, None]).to(torch.int32)
        layers = [dense_layer(f"{self.name}.{what}.{head}", weight[head].numpy(),
                              bias[head].to(torch.int32).numpy()) for head in range(len(x))]
        found = self.run([(layer, x[head].numpy()) for head, layer in enumerate(layers)])
        return torch.from_numpy(np.stack(found))


def _bytes(real: torch.Tensor, layer: PackedLayer) -> torch.Tensor:
    """The unit's answer again, from what it was dequantised to: int8."""
    integer = torch.round(real / layer.output_scale) + layer.output_zero_point
    return integer.clamp(-128, 127).to(torch.int8)


def attend(module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
           attention_mask: torch.Tensor | None, scaling: float | None = None,
           dropout: float = 0.0, **others: Any) -> tuple[torch.Tensor, None]:
    """Attention of each sentence over its own real tokens alone, as transformers calls it.

    A product's rounding depends on its shape; here the shape is the sentence's own. Where the
    module has a :class:`UnitAttention`, that computes it, else float32.

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
    unit = next((part for part in module.children() if isinstance(part, UnitAttention)), None)
    sentence = float_sentence if unit is None else unit.sentence
    scale = query.shape[-1]**-0.5 if scaling is None else scaling
    out = torch.zeros(query.shape[0], query.shape[2], query.shape[1], value.shape[-1])
    for index in range(query.shape[0]):
        if attention_mask is None:
            real = torch.arange(key.shape[2])
        else:
            keys = attention_mask[index, 0, 0]
            real = (keys if keys.dtype == torch.bool else keys == 0).nonzero()[:, 0]
        if len(real):
            parts = (part[index][:, real].contiguous() for part in (query, key, value))
            out[index, real] = sentence(*parts, scale).transpose(0, 1)
    return out, None


def float_sentence(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float,
                   ) -> torch.Tensor:
    """What :meth:`UnitAttention.sentence` is near to, in float32."""
    weights = torch.softmax(torch.bmm(query, key.transpose(1, 2).contiguous()) * scaling, dim=-1)
    return torch.bmm(weights, value)


def attention_work(attention: Attention, layers: Mapping[str, PackedLayer],
                   acts: Mapping[str, np.ndarray]) -> dict[str, Work]:
    """Attention's products of one sentence, as layers with what enters them.

    Parameters
    ----------
    attention : Attention
    layers : mapping of str to PackedLayer
        Query, key and value among them.
    acts : mapping of str to ndarray of int8, shape (tokens, K)
        What enters these three.

    Returns
    -------
    dict of str to Work
        By the product's name, a layer for each head. Scores are scaled by d**-0.5.
    """
    heads, size, parts = attention.heads, attention.head_size, []
    for name in (attention.query, attention.key, attention.value):
        layer = layers[name]
        real = (torch.from_numpy(linear(layer, acts[name])).float()
                - layer.output_zero_point) * layer.output_scale
        parts.append(real.reshape(-1, heads, size).transpose(0, 1).contiguous())
    found: list[Work] = []

    def run(work: Work) -> list[np.ndarray]:
        found.append(work)
        return [linear(layer, x) for layer, x in work]

    query, key, value = parts
    UnitAttention(attention.name, layers[attention.query], layers[attention.key],
                  layers[attention.value], run).sentence(query, key, value, size**-0.5)
    return {f"{attention.name}.{what}": work
            for what, work in zip(ATTENTION_PRODUCTS, found, strict=True)}


def attention_name(layers: Mapping[str, str]) -> str:
    """The module that query, key and value layers, given by role, have in common."""
    return layers["query"].rpartition(".")[0]
