"""Attention's two products as metadata name them: which, of how many heads, how large.

They have no weights of their own, so an artefact holds nothing of them but this, in its metadata.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from sparseloom.model.errors import InputError, cut
from sparseloom.model.packed.layer import MAX_FEATURES

ATTENTION_PRODUCTS = ("scores", "context")
"""What the names of the two products end with, a head's number behind."""

FIELD = "attention"
"""Of an artefact's metadata: a list of :class:`Attention`, as dictionaries."""

Layer = TypeVar("Layer")


@dataclass(frozen=True, kw_only=True)
class Product:
    """One of attention's products for sentences of one length, all heads.

    Parameters
    ----------
    name : str
        ``<attention>.scores`` or ``<attention>.context``; a head's layer has its number behind.
    heads : int
        Layers that run as one queue.
    out_features, in_features : int
        N and K of each head's layer.
    """

    name: str
    heads: int
    out_features: int
    in_features: int

    @property
    def density(self) -> float:
        """Keys and values are dense whatever was pruned."""
        return 1.0

    @property
    def weight_bits(self) -> int:
        """Keys and values are bytes."""
        return 8


@dataclass(frozen=True, kw_only=True)
class Attention:
    """Attention of one encoder layer.

    Parameters
    ----------
    name : str
        The module that query, key and value layers have in common.
    query, key, value : str
        Names of these layers.
    heads, head_size : int
    """

    name: str
    query: str
    key: str
    value: str
    heads: int
    head_size: int

    def as_dict(self) -> dict[str, Any]:
        """As the metadata hold it."""
        return asdict(self)

    def products(self, tokens: int) -> tuple[Product, Product]:
        """Scores (N tokens of d inputs) and context (N = d of ``tokens`` inputs) of a sentence."""
        scores, context = (f"{self.name}.{what}" for what in ATTENTION_PRODUCTS)
        return (Product(name=scores, heads=self.heads, out_features=tokens,
                        in_features=self.head_size),
                Product(name=context, heads=self.heads, out_features=self.head_size,
                        in_features=tokens))


def read_attention(metadata: Mapping[str, Any], layers: Mapping[str, Any]) -> list[Attention]:
    """What an artefact's metadata say of attention; nothing, of one that says nothing.

    Parameters
    ----------
    metadata : mapping
    layers : mapping of str to PackedLayer
        All of the artefact's.

    Raises
    ------
    InputError
        If it does not belong to the layers.
    """
    noted = metadata.get(FIELD, [])
    try:
        found = [Attention(**one) for one in noted]
        for one in found:
            for role in ("query", "key", "value"):
                name = getattr(one, role)
                outputs = layers[name].out_features
                if type(one.heads) is not int or type(one.head_size) is not int or min(
                        one.heads, one.head_size) < 1 or one.heads * one.head_size != outputs:
                    raise InputError(f"metadata, {FIELD}, layer {cut(name)}: expected heads of "
                                     f"{outputs} outputs together, found {one.heads!r} of "
                                     f"{one.head_size!r}")
    except (TypeError, KeyError) as error:
        raise InputError(f"metadata, {FIELD}: expected heads, head_size and the artefact's query, "
                         f"key and value layers, found otherwise: {cut(repr(error))}") from None
    return found


def with_products(layers: Mapping[str, Layer], attention: Sequence[Attention], tokens: int,
                  ) -> dict[str, Layer | Product]:
    """Layers and products in an order of computation: products behind what they multiply.

    Parameters
    ----------
    layers : mapping of str to PackedLayer
    attention : sequence of Attention
    tokens : int
        Of the sentence.

    Raises
    ------
    InputError
        If a product of so many tokens is no layer of a unit.
    """
    if attention and not 1 <= tokens <= MAX_FEATURES:
        raise InputError(f"tokens: expected 1 to {MAX_FEATURES}, found {tokens}")
    order = {name: place for place, name in enumerate(layers)}
    behind = {max((one.query, one.key, one.value), key=order.__getitem__): one
              for one in attention}
    found: dict[str, Layer | Product] = {}
    for name, layer in layers.items():
        found[name] = layer
        if name in behind:
            found |= {product.name: product for product in behind[name].products(tokens)}
    return found
