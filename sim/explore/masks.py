"""What the cycles of a pruned model depend on: for each layer, which inputs its blocks run."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from sparseloom.model.packed.cycles import UnitJob, UnitShape
from sparseloom.model.packed.strip_load import block_counts


@dataclass(frozen=True, kw_only=True, eq=False)
class LayerMask:
    """One Linear layer, and layers equal to it.

    Parameters
    ----------
    outputs, inputs : int
        N and K.
    p : int
        Outputs of a block.
    bits : bytes
        Inputs that each of ceil(N / p) blocks of outputs runs, K bits each, packed row by row.
    raw, lut : bool
        Results are int32; they pass a table.
    count : int
        Layers like this one.
    """

    outputs: int
    inputs: int
    p: int
    bits: bytes
    raw: bool = False
    lut: bool = False
    count: int = 1

    @classmethod
    def of(cls, columns: np.ndarray, *, outputs: int, p: int, raw: bool = False,
           lut: bool = False, count: int = 1) -> LayerMask:
        """From a mask of bool, shape (ceil(N / p), K)."""
        return cls(outputs=outputs, inputs=columns.shape[1], p=p, raw=raw, lut=lut, count=count,
                   bits=np.packbits(columns, axis=1).tobytes())

    def columns(self) -> np.ndarray:
        """The mask again: bool, shape (ceil(N / p), K)."""
        packed = np.frombuffer(self.bits, np.uint8).reshape(-(-self.outputs // self.p), -1)
        return np.unpackbits(packed, axis=1, count=self.inputs).astype(bool)

    def strips(self, cols: int) -> np.ndarray:
        """Inputs that each strip of C outputs runs, the union of the blocks that it touches.

        Returns
        -------
        ndarray of bool, shape (ceil(N / C), K)
        """
        blocks, starts = self.columns(), np.arange(0, self.outputs, cols)
        first, last = starts // self.p, (np.minimum(starts + cols, self.outputs) - 1) // self.p
        union = blocks[first]
        for step in range(1, int((last - first).max()) + 1):
            union |= blocks[np.minimum(first + step, last)]
        return union

    def job(self, shape: UnitShape, tokens: int) -> UnitJob:
        """The layer on so many tokens, as the cycle model takes it."""
        return UnitJob(inputs=self.inputs, outputs=self.outputs, tokens=tokens, raw=self.raw,
                       lut=self.lut, counts=block_counts(self.strips(shape.cols),
                                                         shape.block_inputs))

    def alive(self) -> int:
        """Weights that survive, of one such layer."""
        per_block = self.columns().sum(axis=1)
        heights = np.full(len(per_block), self.p)
        heights[-1] = self.outputs - (len(per_block) - 1) * self.p
        return int((per_block * heights).sum())


@dataclass(frozen=True, kw_only=True)
class Heads:
    """Attention of an encoder layer, and of layers equal to it.

    Parameters
    ----------
    heads, size : int
        How many, and inputs of each.
    count : int
        Encoder layers like this one.
    """

    heads: int
    size: int
    count: int = 1

    def head_layers(self, tokens: int) -> tuple[LayerMask, LayerMask]:
        """One head's layer of scores, and of context: keys or values are its dense weights."""
        scores, context = (
            LayerMask.of(np.ones((1, inputs), bool), outputs=outputs, p=outputs, raw=True)
            for outputs, inputs in ((tokens, self.size), (self.size, tokens)))
        return scores, context


@dataclass(frozen=True, kw_only=True, eq=False)
class ModelMasks:
    """All layers of a model.

    Parameters
    ----------
    layers : tuple of LayerMask
    kind : str
        Where they come from: ``artefact`` (trained), ``norms`` (one shot, by norms of the
        checkpoint's weights), ``balanced`` (seeded; strips of equal length).
    attention : tuple of Heads
        Its products, dense whatever was pruned; none where the model does not tell its heads.
    """

    layers: tuple[LayerMask, ...]
    kind: str
    attention: tuple[Heads, ...] = ()

    @cached_property
    def digest(self) -> str:
        """Equal for masks that give equal cycles everywhere."""
        told = hashlib.sha256()
        for layer in self.layers:
            told.update(json.dumps([layer.outputs, layer.inputs, layer.p, layer.raw, layer.lut,
                                    layer.count, len(layer.bits)]).encode())
            told.update(layer.bits)
        told.update(json.dumps(["attention", *([one.heads, one.size, one.count]
                                               for one in self.attention)]).encode())
        return told.hexdigest()

    @cached_property
    def compression(self) -> float:
        """Weights over survivors."""
        total = sum(layer.count * layer.outputs * layer.inputs for layer in self.layers)
        alive = sum(layer.count * layer.alive() for layer in self.layers)
        return total / alive if alive else float("inf")

    @property
    def most_inputs(self) -> int:
        """The largest K."""
        return most_inputs(self.layers)


def most_inputs(layers: Sequence[LayerMask]) -> int:
    """The largest K of any layer."""
    return max(layer.inputs for layer in layers)
