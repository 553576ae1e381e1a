"""Cycles that were counted in RTL, from the JSON that the simulating commands write."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError, cut
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.products import Attention, Product, with_products
from sparseloom.sim.receipt.clock import read_json


@dataclass
class Measured:
    """What simulations of an artefact's layers counted.

    Parameters
    ----------
    tokens : int
        That went through each layer.
    config : ArrayConfig
        The unit that was simulated.
    cycles, dense_cycles : dict of str to int
        By layer, as pruned and with every weight.
    late : dict of str to int
        Cycles more than the cycle model's, by layer, that late pushes explain.
    outputs, mismatches : int
        Results compared with the integer oracle, and those that differ.
    """

    tokens: int
    config: ArrayConfig
    cycles: dict[str, int] = field(default_factory=dict)
    dense_cycles: dict[str, int] = field(default_factory=dict)
    late: dict[str, int] = field(default_factory=dict)
    outputs: int = 0
    mismatches: int = 0


def read_measured(paths: Sequence[Path], layers: Mapping[str, PackedLayer],
                  attention: Sequence[Attention] = ()) -> Measured | None:
    """Read reports of ``sim layer``, ``sim model`` or the demo; None without a path.

    A layer whose density is the artefact's was measured as pruned; one with every weight is the
    same layer unpruned. Attention's products are dense, and measured as both.

    Raises
    ------
    InputError
        If a file is no such report, is of another artefact, or two are of different tokens or
        units.
    """
    found: Measured | None = None
    for path in paths:
        report = read_json(path)
        try:
            rows = report.get("layers", [report])
            config = ArrayConfig(**report["geometry"])
            one = found or Measured(tokens=int(report["tokens"]), config=config)
            if (one.tokens, one.config) != (int(report["tokens"]), config):
                raise InputError(f"measured {path}: expected {one.tokens} tokens and {one.config}, "
                                 f"as in the first file, found {report['tokens']} and {config}")
            known = with_products(layers, attention, one.tokens)
            for row in rows:
                _add(one, row, known, path)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            if isinstance(error, InputError):
                raise
            raise InputError(f"measured {path}: expected the JSON of 'sparseloom sim layer', 'sim "
                             f"model' or the demo's report.json, found none: {cut(repr(error))}"
                             ) from None
        found = one
    return found


def _add(one: Measured, row: Mapping[str, Any], layers: Mapping[str, PackedLayer | Product],
         path: Path) -> None:
    name, density = str(row["name"]), float(row["density"])
    layer = layers.get(name)
    shape = [layer.out_features, layer.in_features] if layer else None
    if layer is None or list(row["shape"]) != shape:
        raise InputError(f"measured {path}, layer {cut(name)}: expected a layer of the artefact"
                         + (f", of shape {shape}" if shape else "")
                         + f", found shape {cut(str(row['shape']))}")
    pruned = abs(density - layer.density) < 1e-9
    if pruned:
        one.cycles[name] = int(row["cycles"])
    if density == 1:
        one.dense_cycles[name] = int(row["cycles"])
    elif not pruned:
        raise InputError(f"measured {path}, layer {cut(name)}: expected density "
                         f"{layer.density:.6f}, the artefact's, or 1, found {density:.6f}")
    if isinstance(layer, Product):
        one.late[name] = int(row.get("late_cycles", 0))
    one.outputs += int(row["outputs"]) + int(row.get("dense_outputs", 0))
    one.mismatches += int(row["mismatches"]) + int(row.get("dense_mismatches", 0))
    if "dense_cycles" in row:
        one.dense_cycles[name] = int(row["dense_cycles"])
