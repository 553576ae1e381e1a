"""Layers and activations for a bench, as files in its folder."""
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.packed.artefact import read_artefact, write_artefact
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import encode_acts, encode_results, encode_weights
from sparseloom.model.reference import linear

ACTS = "acts.npz"
CONFIG = "config.json"


@dataclass(frozen=True, eq=False)
class Case:
    """One layer with activations.

    Parameters
    ----------
    layer : PackedLayer
        Its name is the case's.
    x : ndarray of int8, shape (M, K)
    config : ArrayConfig
        The unit.
    """

    layer: PackedLayer
    x: np.ndarray
    config: ArrayConfig

    @property
    def name(self) -> str:
        """The layer's name."""
        return self.layer.name

    @property
    def tokens(self) -> int:
        """M."""
        return len(self.x)

    @property
    def groups(self) -> int:
        """Token groups: ceil(M / R)."""
        return -(-self.tokens // self.config.rows)

    def weights(self, tag: int) -> bytes:
        """The job's weight stream."""
        return encode_weights(self.layer, cols=self.config.cols, tag=tag,
                              block_inputs=self.config.block_inputs,
                              weight_bits=self.config.weight_bits)

    def acts(self) -> bytes:
        """The job's activation stream."""
        return encode_acts(self.x, rows=self.config.rows, cols=self.config.cols)

    def expected(self) -> np.ndarray:
        """What the oracle answers: shape (M, N)."""
        return linear(self.layer, self.x)

    def results(self) -> bytes:
        """The result stream that is right."""
        return encode_results(self.expected(), rows=self.config.rows, cols=self.config.cols,
                              raw=self.layer.raw)


def write_cases(folder: Path, config: ArrayConfig,
                cases: list[tuple[PackedLayer, np.ndarray]]) -> list[Case]:
    """Write cases for :func:`read_cases`.

    Parameters
    ----------
    folder : Path
    config : ArrayConfig
    cases : list of (PackedLayer, ndarray of int8 of shape (M, K))
        Layers of different names.
    """
    write_artefact(folder, [layer for layer, _ in cases], {})
    np.savez(folder / ACTS, **{layer.name: x for layer, x in cases})  # type: ignore[arg-type]
    (folder / CONFIG).write_text(json.dumps(config.to_dict()))
    return [Case(layer, x, config) for layer, x in cases]


def read_cases(folder: Path) -> dict[str, Case]:
    """Cases of a folder by name, in the order they were written."""
    config = ArrayConfig(**json.loads((folder / CONFIG).read_text()))
    with np.load(folder / ACTS) as acts:
        return {name: Case(layer, acts[name], config)
                for name, layer in read_artefact(folder).layers.items()}
