"""Masks as an algebra: groups and their weights, unions, counts, files, and pruning's promises."""
import tempfile

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.groups import (
    expand_groups,
    group_grid,
    group_sizes,
    sum_groups,
    surviving,
)
from sparseloom.model.masks import check_masks, group_mask, read_groups, read_masks, write_masks
from sparseloom.model.prune import compression_of, densities_of, prune_masks
from tests.strategies import CASES, cuts, grid_of, grids, grow


@st.composite
def two_grids(draw):
    cut = draw(cuts())
    return cut, draw(grids(*cut)), draw(grids(*cut))


@CASES
@given(two_grids())
def test_groups_grow_and_shrink(drawn):
    (shape, structure, p, q), alive, _ = drawn
    assert group_grid(shape, structure, p, q, pad=True) == alive.shape
    grown = expand_groups(torch.from_numpy(alive), structure, p, q, shape)
    assert np.array_equal(grown.numpy(), grow(alive, shape, structure, p, q))
    assert np.array_equal(group_mask("layer", grown, structure, p, q), alive)
    # Sizes are those of the groups' own weights: they add up to the matrix, and to any mask.
    sizes = group_sizes(shape, structure, p, q)
    assert int(sizes.sum()) == grown.numel() and int(sizes.min()) >= 1
    assert int((sizes * torch.from_numpy(alive)).sum()) == int(grown.sum())
    assert torch.equal(sum_groups(grown.long(), structure, p, q), sizes * torch.from_numpy(alive))


@CASES
@given(two_grids())
def test_growing_commutes_with_and_or_not(drawn):
    (shape, structure, p, q), one, two = drawn

    def grown(grid):
        return expand_groups(torch.from_numpy(grid), structure, p, q, shape)

    a, b = grown(one), grown(two)
    assert torch.equal(grown(one | two), a | b)
    assert torch.equal(grown(one & two), a & b)
    assert torch.equal(grown(~one), ~a)


@CASES
@given(two_grids(), st.integers(0, 1 << 32))
def test_surviving_weights_are_the_least_mask_of_whole_groups(drawn, seed):
    (shape, structure, p, q), alive, _ = drawn
    mask = torch.from_numpy(grow(alive, shape, structure, p, q))
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(shape, generator=generator) * mask
    weight[torch.rand(shape, generator=generator) < 0.5] = 0
    found = surviving(weight, structure, p, q)
    assert not (found & ~mask).any() and not ((weight != 0) & ~found).any()
    group_mask("layer", found, structure, p, q)            # refuses groups alive in part
    assert torch.equal(surviving(found.float(), structure, p, q), found)
    for group in np.argwhere(group_mask("layer", found, structure, p, q)):
        one = np.zeros(alive.shape, bool)
        one[tuple(group)] = True
        assert (weight != 0)[grow(one, shape, structure, p, q)].any()
    check_masks({"layer": weight}, {"layer": found})


@CASES
@given(st.data(), cuts())
def test_masks_survive_their_file(data, cut):
    _, structure, p, q = cut
    masks = {}
    for index in range(data.draw(st.integers(0, 3))):
        shape = data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
        masks[f"l.{index}"] = grow(data.draw(grids(shape, structure, p, q)), shape, structure, p, q)
    with tempfile.TemporaryDirectory() as folder:
        write_masks(folder, masks, structure=structure, p=p, q=q)
        found = read_masks(folder)
        assert read_groups(folder) == (structure, p, q)
    assert found is not None and list(found) == list(masks)
    assert all(np.array_equal(found[name], mask) for name, mask in masks.items())


def masks_of(strengths, shapes, how, compression):
    return prune_masks(strengths, shapes, PruneConfig(
        **how, pad=True, method="magnitude", compression=compression))


@st.composite
def pruned(draw):
    """Strengths of one to three layers, and how they are pruned."""
    _, structure, p, q = draw(cuts(outputs=6, inputs=6))
    shapes = draw(st.lists(st.tuples(st.integers(p, 14), st.integers(q, 20)), min_size=1,
                           max_size=3))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    ties = draw(st.booleans())
    shapes = {f"l.{index}": shape for index, shape in enumerate(shapes)}
    strengths = {name: torch.from_numpy(
        rng.integers(0, 4, grid).astype(float) if ties else rng.random(grid))
        for name, shape in shapes.items() for grid in [grid_of(shape, structure, p, q)]}
    return shapes, strengths, {"structure": structure, "p": p, "q": q,
                               "scope": draw(st.sampled_from(["strip", "layer", "global"]))}


@CASES
@given(drawn=pruned(), compression=st.floats(1, 8), more=st.floats(1, 3))
def test_compression_is_kept_by_whole_groups(drawn, compression, more):
    shapes, strengths, how = drawn
    structure, p, q, scope = how.values()
    group = group_sizes((p, q), structure, p, q).max().item()
    total = {name: shape[0] * shape[1] for name, shape in shapes.items()}
    try:
        masks = masks_of(strengths, shapes, how, compression)
    except InputError:                  # only where a layer would lose its last group
        assert scope == "global" or min(total.values()) / compression < group
        return
    alive = {name: int(mask.sum()) for name, mask in masks.items()}
    for name, mask in masks.items():
        assert mask.shape == shapes[name] and mask.any()
        group_mask(name, mask, structure, p, q)
    slack = 1e-6 * group
    if scope == "global":
        assert sum(alive.values()) <= sum(total.values()) / compression + slack
    else:
        for name, count in alive.items():
            assert total[name] / compression - group < count <= total[name] / compression + slack
    assert compression_of(masks) == sum(total.values()) / sum(alive.values())
    assert compression_of(masks) >= compression * (1 - 1e-6)
    for name, density in densities_of(masks).items():
        assert density == alive[name] / total[name]
    # Harder pruning takes from what is left.
    try:
        fewer = masks_of(strengths, shapes, how, compression * more)
    except InputError:
        return
    assert all(not (fewer[name] & ~masks[name]).any() for name in masks)


@CASES
@given(drawn=pruned(), compression=st.floats(1, 8))
def test_the_strongest_survive_where_they_compete(drawn, compression):
    shapes, strengths, how = drawn
    structure, p, q, scope = how.values()
    try:
        masks = masks_of(strengths, shapes, how, compression)
    except InputError:
        return
    for name, mask in masks.items():
        alive = group_mask(name, mask, structure, p, q)
        strength = strengths[name].numpy()
        if scope == "layer":
            assert strength[alive].min() >= strength[~alive].max(initial=-1)
        if scope == "strip" and structure != "row":
            for row, kept in zip(strength, alive, strict=True):
                assert not kept.any() or row[kept].min() >= row[~kept].max(initial=-1)
            counts = alive.sum(axis=1)
            assert counts.max() - counts.min() <= 1
        if scope == "global" and structure != "row":
            assert alive.any(axis=1).all()                 # the strongest group of each strip
