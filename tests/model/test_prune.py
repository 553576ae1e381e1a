"""Masks: share of each strip, exact compression, ties."""
import pytest
import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.prune import compression_of, densities_of, prune_layer, prune_layers


def strips(mask, p):
    return mask.reshape(mask.shape[0] // p, -1).sum(dim=1).tolist()


def test_by_hand():
    """Two strips of p = 2: the second is ten times the first, which must not starve the first.

    Squares of columns: strip 0: 2, 8, 18, 32; strip 1: 100 times those, backwards. One threshold
    over the matrix would keep 0 columns of strip 0 and 4 of strip 1.
    """
    row = torch.tensor([1.0, 2, 3, 4])
    weight = torch.stack([row, row, 10 * row.flip(0), 10 * row.flip(0)])
    mask = prune_layer("layer", weight, PruneConfig(p=2, q=2, compression=2))
    assert mask.tolist() == [[False, False, True, True]] * 2 + [[True, True, False, False]] * 2


@pytest.mark.parametrize("structure", ["column", "block", "row"])
@pytest.mark.parametrize("compression", [1.0, 1.3, 2.0, 2.5, 3.7, 5.0])
def test_compression_is_reached_and_strips_are_balanced(structure, compression):
    generator = torch.Generator().manual_seed(1)
    weight = torch.randn(96, 160, generator=generator)
    weight[:24] *= 50  # would take everything under one threshold
    config = PruneConfig(structure=structure, p=24, q=16, compression=compression)
    mask = prune_layer("layer", weight, config)
    kept = strips(mask, 24)
    group = {"column": 24, "block": 24 * 16, "row": 16}[structure]
    assert max(kept) - min(kept) <= group
    assert compression_of({"layer": mask}) >= compression - 1e-9
    assert (int(mask.sum()) + group) * compression > mask.numel()  # and no group too few
    groups = mask.reshape(4, 24, 10, 16)
    if structure == "column":
        assert torch.equal(groups.any(dim=1), groups.all(dim=1))
    elif structure == "block":
        assert torch.equal(groups.any(dim=(1, 3)), groups.all(dim=(1, 3)))
    else:
        assert torch.equal(groups.any(dim=3), groups.all(dim=3))


def test_strongest_survive_in_each_strip():
    weight = torch.randn(48, 64, generator=torch.Generator().manual_seed(2))
    mask = prune_layer("layer", weight, PruneConfig(p=24, q=16, compression=4))
    rms = weight.reshape(2, 24, 64).square().mean(dim=1)
    alive = mask.reshape(2, 24, 64)[:, 0]
    for strip in range(2):
        assert rms[strip][alive[strip]].min() > rms[strip][~alive[strip]].max()


def test_ties_go_to_the_lower_index():
    mask = prune_layer("layer", torch.ones(4, 8), PruneConfig(p=2, q=2, compression=2))
    assert mask[0].tolist() == [True] * 4 + [False] * 4
    uneven = prune_layer("layer", torch.ones(4, 3), PruneConfig(p=2, q=3, compression=2))
    assert strips(uneven, 2) == [4, 2]


def test_inputs_count():
    weight = torch.ones(2, 4)
    inputs = torch.tensor([1.0, 9.0, 4.0, 1.0])
    config = PruneConfig(p=2, q=2, compression=2)
    assert prune_layer("layer", weight, config, inputs)[0].tolist() == [False, True, True, False]
    blind = PruneConfig(p=2, q=2, compression=2, saliency="magnitude")
    assert prune_layer("layer", weight, blind, inputs)[0].tolist() == [True, True, False, False]


def test_layers_together():
    weights = {"a": torch.randn(4, 8), "b": torch.randn(8, 4)}
    masks = prune_layers(weights, PruneConfig(p=2, q=2, compression=4))
    assert compression_of(masks) == 4
    assert densities_of(masks) == {"a": 0.25, "b": 0.25}


def test_too_much():
    with pytest.raises(InputError, match=r"^compression: expected at most 8 for layer, which has "
                                         r"that many groups, found 100$"):
        prune_layer("layer", torch.ones(4, 4), PruneConfig(p=2, q=2, compression=100))
