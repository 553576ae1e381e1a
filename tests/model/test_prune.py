"""Masks: share of each strip, exact compression, ties."""
import math
import time
from itertools import pairwise

import pytest
import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.groups import check_blocks, group_grid, group_rms, group_sizes
from sparseloom.model.prune import (
    MIN_SHARE,
    choose_groups,
    compression_of,
    densities_of,
    prune_masks,
    rank_groups,
)


def prune_layers(weights, config, inputs=None):
    """Masks by the root mean square of each group, as the pruner has them."""
    seen = (inputs or {}) if config.saliency == "activation" else {}
    strengths = {}
    for name, weight in weights.items():
        check_blocks(name, weight.shape, config.p, config.q, config.pad)
        strengths[name] = group_rms(weight, config.structure, config.p, config.q, seen.get(name))
    return prune_masks(strengths, {name: weight.shape for name, weight in weights.items()}, config)


def prune_layer(name, weight, config, inputs=None):
    return prune_layers({name: weight}, config, None if inputs is None else {name: inputs})[name]


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
    with pytest.raises(InputError, match=r"^compression: expected at most 8 for layer, which "
                                         r"leaves one group, found 100$"):
        prune_layer("layer", torch.ones(4, 4), PruneConfig(p=2, q=2, compression=100))


def uneven(seed=4):
    """Strengths of three layers of different size, one strong, one weak, all odd."""
    shapes = {"strong": (50, 33), "weak": (24, 70), "whole": (48, 32)}
    generator = torch.Generator().manual_seed(seed)

    def of(config):
        return {name: factor * torch.rand(
                    group_grid(shape, config.structure, config.p, config.q, pad=True),
                    generator=generator)
                for (name, shape), factor in zip(shapes.items(), (9.0, 0.1, 1.0), strict=True)}

    return shapes, of


def kept_weights(alive, shapes, config):
    return {name: int((group_sizes(shapes[name], config.structure, config.p, config.q)
                       * grid).sum()) for name, grid in alive.items()}


@pytest.mark.parametrize("scope", ["strip", "layer", "global"])
@pytest.mark.parametrize("structure", ["column", "block", "row"])
@pytest.mark.parametrize("compression", [1.0, 1.5, 3.0, 4.4])
def test_compression_counts_weights(scope, structure, compression):
    """Each competition keeps at most its share, and less by no more than a group."""
    config = PruneConfig(structure=structure, p=12, q=8, scope=scope, compression=compression,
                         pad=True)
    shapes, of = uneven()
    strengths = of(config)
    kept = kept_weights(choose_groups(strengths, shapes, config), shapes, config)
    group = {"column": 12, "block": 96, "row": 8}[structure]
    totals = {name: n * k for name, (n, k) in shapes.items()}
    if scope == "global":
        kept, totals = {"all": sum(kept.values())}, {"all": sum(totals.values())}
    for name, total in totals.items():
        assert total / compression - group < kept[name] <= total / compression + 1e-6


@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_padded_strips_keep_equal_shares(structure):
    config = PruneConfig(structure=structure, p=12, q=8, compression=2.5, pad=True)
    shapes, of = uneven()
    for name, grid in choose_groups(of(config), shapes, config).items():
        rows = 12 if structure == "row" else 1
        shares = [part.float().mean().item() for part in grid.split(rows)]
        sizes = [part.numel() for part in grid.split(rows)]
        assert max(shares) - min(shares) <= 1 / sizes[0] + 1 / sizes[-1], name


def test_layers_compete_only_in_scope_global():
    shapes, of = uneven()
    config = PruneConfig(p=12, q=8, scope="layer", compression=4, pad=True)
    strengths = of(config)
    densities = densities_of(prune_masks(strengths, shapes, config))
    assert all(0.2 < density <= 0.25 for density in densities.values())
    densities = densities_of(prune_masks(strengths, shapes,
                                         PruneConfig(p=12, q=8, scope="global", compression=4,
                                                     pad=True)))
    assert densities["strong"] > 2 * densities["whole"] > 0 < densities["weak"] < 0.05


def test_layer_scope_leaves_strips_free():
    strength = torch.tensor([[5.0, 6, 7, 8], [1, 2, 3, 4]])
    shapes = {"a": (4, 4)}
    config = PruneConfig(p=2, q=2, scope="layer", compression=2)
    assert choose_groups({"a": strength}, shapes, config)["a"].tolist() == [[True] * 4, [False] * 4]
    config = PruneConfig(p=2, q=2, scope="strip", compression=2)
    assert choose_groups({"a": strength}, shapes, config)["a"].tolist() == \
        [[False, False, True, True]] * 2


@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_no_layer_dies_in_scope_global(structure):
    shapes = {"strong": (48, 800), "weak": (48, 800)}
    config = PruneConfig(structure=structure, p=12, q=8, scope="global", compression=2)
    generator = torch.Generator().manual_seed(1)
    strengths = {name: factor * torch.rand(group_grid(shape, structure, 12, 8),
                                           generator=generator)
                 for (name, shape), factor in zip(shapes.items(), (1000, 1), strict=True)}
    weak = choose_groups(strengths, shapes, config)["weak"]
    strips = [part.any() for part in weak.split(12 if structure == "row" else 1)]
    assert all(strips)
    assert weak.sum() in range(math.ceil(MIN_SHARE * weak.numel()),
                               math.ceil(MIN_SHARE * weak.numel()) + len(strips) + 1)
    with pytest.raises(InputError, match=r"^compression: expected at most [\d.]+ for these layers, "
                                         r"which keep a group in each strip and 2% of their "
                                         r"groups, found 1000$"):
        rank_groups(strengths, shapes, config).alive(1000)


@pytest.mark.parametrize("scope", ["strip", "layer", "global"])
@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_harder_pruning_keeps_a_part_of_what_survived(scope, structure):
    config = PruneConfig(structure=structure, p=12, q=8, scope=scope, pad=True)
    shapes, of = uneven()
    standings = rank_groups(of(config), shapes, config)
    steps = [standings.alive(1 + (standings.most - 1) * step / 8) for step in range(9)]
    assert all(grid.all() for grid in steps[0].values())
    assert all(grid.any() for grid in steps[-1].values())
    for more, less in pairwise(steps):
        assert all((more[name] | ~less[name]).all() for name in shapes)
    assert sum(int(grid.sum()) for grid in steps[-1].values()) \
        < sum(int(grid.sum()) for grid in steps[1].values())


@pytest.mark.parametrize("scope", ["strip", "layer", "global"])
def test_ties_go_to_the_lower_index_in_any_scope(scope):
    config = PruneConfig(p=2, q=2, scope=scope, compression=2)
    alive = choose_groups({"a": torch.ones(2, 100), "b": torch.ones(2, 100)},
                          {"a": (4, 100), "b": (4, 100)}, config)
    if scope == "strip":
        assert all(torch.equal(grid[row].nonzero()[:, 0], torch.arange(50))
                   for grid in alive.values() for row in range(2))
    elif scope == "layer":
        assert all(grid[0].all() and not grid[1].any() for grid in alive.values())
    else:
        spared = 5  # of b: its first group of each strip, and 2 % of its groups
        assert int(alive["a"].sum()) == 200 - spared and int(alive["b"].sum()) == spared


def test_masks_of_a_padded_layer():
    weight = torch.randn(50, 33, generator=torch.Generator().manual_seed(5))
    with pytest.raises(InputError, match=r"^p: expected a divisor of the 50 outputs of layer"):
        prune_layer("layer", weight, PruneConfig(p=12, q=8))
    config = PruneConfig(p=12, q=8, pad=True, compression=3)
    mask = prune_layer("layer", weight, config)
    assert mask.shape == weight.shape
    counts = [int(part[0].sum()) for part in mask.split(12)]
    assert max(counts) - min(counts) <= 1 and compression_of({"layer": mask}) >= 3
    rms = group_rms(weight, "column", 12, 8)
    for strip, part in enumerate(mask.split(12)):
        assert torch.equal(part.any(dim=0), part.all(dim=0))
        assert rms[strip][part[0]].min() > rms[strip][~part[0]].max()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_training_that_diverged(bad):
    strength = torch.ones(2, 4)
    strength[1, 2] = bad
    with pytest.raises(InputError, match=rf"^strength of layer: expected finite numbers, "
                                         rf"found {bad}$"):
        choose_groups({"layer": strength}, {"layer": (4, 4)}, PruneConfig(p=2, q=2))


@pytest.mark.parametrize("scope", ["strip", "global"])
def test_a_large_encoder_is_quick(scope):
    """BERT-base: 72 matrices, 3.5 million columns; 0.4 s and 0.9 s where this was written."""
    shapes = {f"{layer}.{index}": shape for layer in range(12)
              for index, shape in enumerate([(768, 768)] * 4 + [(3072, 768), (768, 3072)])}
    strengths = {name: torch.rand(group_grid(shape, "column", 24, 16))
                 for name, shape in shapes.items()}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)        # on a busy machine, threads that wait cost time too
    try:
        start = time.process_time()
        alive = choose_groups(strengths, shapes, PruneConfig(scope=scope, compression=3))
        assert time.process_time() - start < 4
    finally:
        torch.set_num_threads(threads)
    assert sum(int(grid.sum()) for grid in alive.values()) == sum(
        grid.numel() for grid in alive.values()) // 3
