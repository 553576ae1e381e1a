"""The model that is explored: its layers' masks for any pruning."""
from __future__ import annotations

import os
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import artefact_path, read_artefact
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.products import read_attention
from sparseloom.sim.explore.encoders import EncoderShape, find_encoder
from sparseloom.sim.explore.masks import Heads, LayerMask, ModelMasks

STRUCTURES = ("column", "block")
"""Groups that the unit skips at full speed."""


@dataclass(frozen=True, order=True, kw_only=True)
class Pruning:
    """How a model is pruned.

    Parameters
    ----------
    structure : str
        One of ``STRUCTURES``.
    p, q : int
        Outputs and inputs of a block.
    compression : float
        Weights over survivors, 1 or more.

    Raises
    ------
    InputError
        If a number is out of range.
    """

    structure: str
    p: int
    q: int
    compression: float

    def __post_init__(self):
        if self.structure not in STRUCTURES:
            raise InputError(f"structure: expected one of {', '.join(STRUCTURES)}, "
                             f"found {self.structure!r}")
        if min(self.p, self.q) < 1:
            raise InputError(f"block: expected 1 x 1 or more, found {self.p} x {self.q}")
        if not 1 <= self.compression < float("inf"):
            raise InputError(f"compression: expected 1 or more, found {self.compression:g}")

    @property
    def groups(self) -> tuple[int, int]:
        """Outputs and inputs of a group that lives or dies as one."""
        return self.p, self.q if self.structure == "block" else 1


class Workload(Protocol):
    """A model by name, whose masks can be had for any pruning."""

    @property
    def name(self) -> str:
        """Of the folder or the shapes."""
        ...

    @property
    def max_inputs(self) -> int:
        """The largest K of its layers."""
        ...

    @property
    def attention(self) -> tuple[Heads, ...]:
        """Of its encoder layers; none where it does not tell its heads."""
        ...

    def masks(self, pruning: Pruning) -> ModelMasks:
        """Its layers, pruned so.

        Raises
        ------
        InputError
            If it cannot be pruned so.
        """
        ...


def find_workload(ref: str, *, seed: int = 0) -> Workload:
    """By a folder (an artefact, or a checkpoint), or the name of an encoder's shapes.

    Raises
    ------
    InputError
        If there is no such thing.
    """
    folder = Path(ref)
    if folder.is_dir():
        if artefact_path(folder).is_file():
            return ArtefactWorkload(folder)
        if not (folder / "config.json").is_file():
            raise InputError(f"model {ref}: expected an artefact or a checkpoint in the folder, "
                             "found neither")
        return CheckpointWorkload(folder)
    if os.sep in ref or ref.startswith((".", "~")) or folder.exists():
        raise InputError(f"model {ref}: expected a folder, found none")
    return ShapeWorkload(name=ref, shape=find_encoder(ref), seed=seed)


@dataclass(frozen=True)
class ShapeWorkload:
    """Shapes alone: each strip of p outputs keeps the same number of groups, drawn by a seed.

    Pruning balances its strips as well (``scope="strip"``), so cycles are those of a trained model
    within a fraction of a percent; which groups they are is drawn at random, as independent
    from strip to strip as trained ones nearly are. Layers of the same shape are pruned alike.

    Parameters
    ----------
    name : str
    shape : EncoderShape
    seed : int
    """

    name: str
    shape: EncoderShape
    seed: int = 0

    @property
    def max_inputs(self) -> int:
        """The largest K."""
        return max(inputs for _, inputs, _, _ in self.shape.linears())

    @property
    def attention(self) -> tuple[Heads, ...]:
        """Of the shapes."""
        return self.shape.attention()

    def masks(self, pruning: Pruning) -> ModelMasks:
        """Balanced masks; see the class."""
        return ModelMasks(kind="balanced", attention=self.attention, layers=tuple(
            LayerMask.of(self._columns(outputs, inputs, pruning), outputs=outputs, p=pruning.p,
                         raw=kind == "raw", lut=kind == "lut", count=count)
            for outputs, inputs, kind, count in self.shape.linears()))

    def _columns(self, outputs: int, inputs: int, pruning: Pruning) -> np.ndarray:
        """Inputs that each block of outputs runs: bool, (ceil(N / p), K)."""
        p, width = pruning.groups
        strips, groups = -(-outputs // p), -(-inputs // width)
        # Of strips and groups as if each were whole; 1e-9 as model.prune has it: 96 / 1.2 is 80.
        kept = int(strips * groups / pruning.compression + 1e-9)
        if kept < 1:
            raise InputError(f"compression: expected at most {strips * groups:g} for a layer of "
                             f"{outputs} x {inputs} in groups of {p} x {width}, "
                             f"found {pruning.compression:g}")
        each, more = divmod(kept, strips)
        words = f"{self.seed} {outputs} {inputs} {p} {width} {pruning.compression!r}"
        rng = np.random.default_rng(zlib.crc32(words.encode()))
        order = rng.random((strips, groups)).argsort(axis=1).argsort(axis=1)
        counts = each + (np.arange(strips) < more)
        return (order < counts[:, None]).repeat(width, axis=1)[:, :inputs]


class CheckpointWorkload:
    """A checkpoint's own weights, pruned in one shot by the norms of their groups.

    Strips are balanced as in training (``scope="strip"``).

    Parameters
    ----------
    folder : Path
    """

    def __init__(self, folder: Path):
        self.folder, self.name = folder, folder.resolve().name
        self._weights: dict[str, Any] | None = None
        self._kinds: dict[str, tuple[bool, bool]] = {}
        self._attention: tuple[Heads, ...] = ()

    def _load(self) -> dict[str, Any]:
        """Weights of the encoder's Linear layers, by name."""
        if self._weights is None:
            # Only now: these load the model's libraries.
            from sparseloom.model.checkpoint import load_checkpoint
            from sparseloom.model.layers import attention_layers, base_model, encoder_layers

            model = load_checkpoint(self.folder).model
            base: Any = base_model(model)
            layers = encoder_layers(model)
            if hasattr(base, "set_attn_implementation"):    # else they do not run on the unit
                heads = int(base.config.num_attention_heads)
                self._attention = gathered(
                    (heads, roles["key"].module.out_features // heads)
                    for roles in attention_layers(layers).values())
            self._weights = {layer.name: layer.module.weight.detach() for layer in layers}
            self._kinds = {layer.name: (layer.residual, layer.activation is not None)
                           for layer in layers}
        return self._weights

    @property
    def max_inputs(self) -> int:
        """The largest K."""
        return max(weight.shape[1] for weight in self._load().values())

    @property
    def attention(self) -> tuple[Heads, ...]:
        """Heads by its configuration."""
        self._load()
        return self._attention

    def masks(self, pruning: Pruning) -> ModelMasks:
        """Masks by norms; see the class."""
        weights = self._load()
        columns = columns_by_norm(weights, pruning)
        return ModelMasks(kind="norms", attention=self._attention, layers=tuple(
            LayerMask.of(columns[name], outputs=weight.shape[0], p=pruning.p,
                         raw=self._kinds[name][0], lut=self._kinds[name][1])
            for name, weight in weights.items()))


def gathered(each: Iterable[tuple[int, int]]) -> tuple[Heads, ...]:
    """Heads and their size of each encoder layer, equal ones together."""
    return tuple(Heads(heads=heads, size=size, count=count)
                 for (heads, size), count in Counter(each).items())


def columns_by_norm(weights: Mapping[str, Any], pruning: Pruning) -> dict[str, np.ndarray]:
    """Inputs that each block of outputs runs, the groups of the largest norms kept.

    Parameters
    ----------
    weights : mapping of str to Tensor of shape (N, K)
    pruning : Pruning

    Returns
    -------
    dict of str to ndarray of bool, shape (ceil(N / p), K)

    Raises
    ------
    InputError
        If nothing of a layer would survive, or a block is larger than a layer.
    """
    from sparseloom.model.groups import group_rms
    from sparseloom.model.prune import choose_groups

    config = PruneConfig(compression=pruning.compression, structure=pruning.structure,
                         p=pruning.p, q=pruning.q, method="magnitude", scope="strip")
    shapes = {name: tuple(weight.shape) for name, weight in weights.items()}
    strengths = {name: group_rms(weight, pruning.structure, pruning.p, pruning.q)
                 for name, weight in weights.items()}
    grids = choose_groups(strengths, shapes, config)
    width = pruning.groups[1]
    return {name: grid.numpy().repeat(width, axis=1)[:, :shapes[name][1]]
            for name, grid in grids.items()}


class ArtefactWorkload:
    """An artefact's layers as they are; another pruning is by norms of the checkpoint beside them.

    Parameters
    ----------
    folder : Path
    name : str, optional
        By default the folder's.

    Raises
    ------
    InputError
        If the artefact is damaged.
    """

    TOLERANCE = 0.01
    """Of compression: what the masks have, where a little more or less than that was asked for."""

    def __init__(self, folder: Path, name: str | None = None):
        self.name = name or folder.resolve().name
        found = read_artefact(folder)
        self._layers: list[PackedLayer] = list(found.layers.values())
        self.attention = gathered((one.heads, one.head_size)
                                  for one in read_attention(found.metadata, found.layers))
        self._checkpoint = CheckpointWorkload(folder)
        self._own = ModelMasks(kind="artefact", attention=self.attention, layers=tuple(
            LayerMask.of(layer.column_mask(), outputs=layer.out_features, p=layer.p, raw=layer.raw,
                         lut=layer.lut is not None) for layer in self._layers))

    @property
    def max_inputs(self) -> int:
        """The largest K."""
        return self._own.most_inputs

    @property
    def pruning(self) -> Pruning | None:
        """How it was pruned; None if that is not one of ``STRUCTURES``, or differs by layer."""
        cuts = {(layer.structure, layer.p, layer.q) for layer in self._layers}
        structure, p, q = cuts.pop()
        if cuts or structure not in STRUCTURES:
            return None
        return Pruning(structure=structure, p=p, q=q, compression=self.compression)

    @property
    def compression(self) -> float:
        """Of its masks."""
        return self._own.compression

    @property
    def weight_bits(self) -> set[int]:
        """Bits of its weights."""
        return {layer.weight_bits for layer in self._layers}

    def masks(self, pruning: Pruning) -> ModelMasks:
        """Its own, or by norms of what it has left."""
        own = self.pruning
        close = abs(pruning.compression / self.compression - 1) <= self.TOLERANCE
        if own is not None and close and pruning.groups == own.groups:
            return self._own
        if pruning.compression < self.compression * (1 - self.TOLERANCE):
            raise InputError(f"compression: expected {self.compression:.3g} or more, as the "
                             f"artefact has it (less needs the dense checkpoint), found "
                             f"{pruning.compression:g}")
        return replace(self._checkpoint.masks(pruning), attention=self.attention)
