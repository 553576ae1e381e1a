"""Masks that meet a budget of cycles."""
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from sparseloom.model.budget import Geometry, columns_per_strip, masks_for_cycles, model_cycles
from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.groups import group_grid
from sparseloom.model.packed.cycles import layer_cycles
from sparseloom.model.packed.stream import strip_columns
from sparseloom.model.prune import compression_of, prune_masks
from tests.model.test_packed_layer import pack

SHAPES = {"query": (96, 96), "up": (192, 96), "down": (90, 200)}
ARRAY = Geometry(rows=4, cols=8, lanes=4, tokens=32)


def strengths_for(config, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.rand(group_grid(shape, config.structure, config.p, config.q, pad=True),
                             generator=generator) + index
            for index, (name, shape) in enumerate(SHAPES.items())}


@pytest.mark.parametrize("structure", ["column", "block", "row"])
@pytest.mark.parametrize("p", [5, 8, 24])
@pytest.mark.parametrize("cols", [1, 3, 8, 12, 24, 100])
def test_strips_are_those_of_the_format(structure, p, cols):
    """Whatever C and p, the count is that of the packed layer's strips, padded or not."""
    config = PruneConfig(structure=structure, p=p, q=16, compression=6, pad=True)
    for name, mask in prune_masks(strengths_for(config), SHAPES, config).items():
        packed = pack(mask.numpy().astype(np.int8), mask.numpy(), p, 16, structure=structure)
        wanted = [len(strip) for strip in strip_columns(packed, cols)]
        assert columns_per_strip(mask, cols, p) == wanted, name
        if structure != "row":
            assert columns_per_strip(mask, cols) == wanted, name


@pytest.mark.parametrize("scope", ["strip", "layer", "global"])
@pytest.mark.parametrize(("structure", "p"), [("column", 24), ("column", 5), ("block", 8),
                                              ("row", 8), ("row", 12)])
@pytest.mark.parametrize("share", [0.9, 0.6])
def test_the_budget_is_met_and_used(scope, structure, p, share):
    config = PruneConfig(structure=structure, p=p, q=8, scope=scope, pad=True)
    strengths = strengths_for(config)
    dense = {name: torch.ones(shape, dtype=torch.bool) for name, shape in SHAPES.items()}
    budget = int(share * sum(model_cycles(dense, ARRAY, p=p).values()))
    masks, compression = masks_for_cycles(strengths, SHAPES, config, ARRAY, budget)
    assert sum(model_cycles(masks, ARRAY, p=p).values()) <= budget
    # that compression gives these masks, and a little less does not meet the budget
    def at(factor):
        return prune_masks(strengths, SHAPES, PruneConfig(
            structure=structure, p=p, q=8, scope=scope, pad=True,
            compression=max(compression * factor, 1.0)))
    assert all(torch.equal(masks[name], mask) for name, mask in at(1.0).items())
    assert sum(model_cycles(at(0.995), ARRAY, p=p).values()) > budget
    assert compression_of(masks) >= compression - 1e-9


def test_cycles_are_the_model_s():
    masks = {"a": torch.ones(90, 40, dtype=torch.bool)}
    masks["a"][8:16] = False
    columns = [40, 0, *[40] * 10]
    options: dict[str, Any] = {"rows": 4, "cols": 8, "lanes": 4, "tokens": 32, "in_features": 40,
               "out_features": 90}
    assert model_cycles(masks, ARRAY) == {"a": layer_cycles(columns, **options)}
    assert model_cycles(masks, ARRAY, raw={"a"}) == {"a": layer_cycles(columns, **options,
                                                                       raw=True)}


def test_a_loose_budget_prunes_nothing():
    config = PruneConfig(p=24, q=8, pad=True)
    masks, compression = masks_for_cycles(strengths_for(config), SHAPES, config, ARRAY, 10**9)
    assert compression == 1.0 and all(mask.all() for mask in masks.values())


def test_a_budget_that_no_mask_meets():
    config = PruneConfig(p=24, q=8, pad=True)
    with pytest.raises(InputError, match=r"^cycles: expected at least \d+ \(the sparsest masks; "
                                         r"\d+ without pruning\) for an array of 4 x 8 and 32 "
                                         r"tokens, found 50$"):
        masks_for_cycles(strengths_for(config), SHAPES, config, ARRAY, 50)


def test_geometry():
    assert Geometry.of(PruneConfig(rows=6, cols=7, tokens=9)) == Geometry(
        rows=6, cols=7, lanes=3, tokens=9)
    assert Geometry.of(PruneConfig()) == Geometry()
    assert Geometry.of(PruneConfig(weight_bits=4)) == Geometry(weight_bits=4)
    with pytest.raises(InputError, match=r"^lanes: expected a divisor of rows = 12, found 5$"):
        Geometry(lanes=5)
    with pytest.raises(InputError, match=r"^tokens: expected an integer of 1 or more, found 0$"):
        Geometry(tokens=0)
    with pytest.raises(InputError, match=r"^bus_bytes: expected 4, 8 or 16, found 5$"):
        Geometry(bus_bytes=5)
    with pytest.raises(InputError, match=r"^weight_bits: expected 8 or 4, found 5$"):
        Geometry(weight_bits=5)


def test_narrow_weights_load_faster():
    """One group of tokens waits for its weights, of which a strip of 4 bits has half."""
    masks = {"layer": torch.ones(48, 64, dtype=torch.bool)}
    config = PruneConfig(rows=4, cols=16, tokens=4)
    cycles = {bits: model_cycles(masks, Geometry.of(replace(config, weight_bits=bits)))["layer"]
              for bits in (8, 4)}
    # 16 columns: two beats for each input, or one.
    assert cycles[8] - cycles[4] == pytest.approx(3 * 64, rel=0.05)
