"""Cutting a matrix into groups and back."""
import pytest
import torch

from sparseloom.model.errors import InputError
from sparseloom.model.groups import (
    check_blocks,
    expand_groups,
    group_grid,
    group_rms,
    group_size,
    group_sizes,
    sum_groups,
    surviving,
)

W = torch.arange(24, dtype=torch.float32).reshape(4, 6)  # p = 2, q = 3


@pytest.mark.parametrize(("structure", "sums"), [
    ("column", [[6, 8, 10, 12, 14, 16], [30, 32, 34, 36, 38, 40]]),
    ("block", [[24, 42], [96, 114]]),
    ("row", [[3, 12], [21, 30], [39, 48], [57, 66]]),
])
def test_sums_by_hand(structure, sums):
    assert sum_groups(W, structure, 2, 3).tolist() == sums


@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_expand_is_the_inverse(structure):
    groups = torch.arange(sum_groups(W, structure, 2, 3).numel()).reshape(
        sum_groups(W, structure, 2, 3).shape)
    spread = expand_groups(groups, structure, 2, 3, W.shape)
    assert spread.shape == W.shape
    size = W.numel() // groups.numel()
    assert torch.equal(sum_groups(spread, structure, 2, 3), groups * size)


def test_rms_by_hand():
    w = torch.tensor([[3.0, 0.0], [4.0, 2.0]])
    assert torch.allclose(group_rms(w, "column", 2, 2), torch.tensor([[12.5**0.5, 2**0.5]]))
    # inputs with mean squares 1 and 3, a mean of 2: weights count by 1/2 and 3/2
    rms = group_rms(w, "column", 2, 2, torch.tensor([1.0, 3.0]))
    assert torch.allclose(rms, torch.tensor([[6.25**0.5, 3**0.5]]))


def test_one_weight_keeps_its_group():
    w = torch.zeros(4, 6)
    w[1, 4] = 1e-30
    assert surviving(w, "column", 2, 3).nonzero().tolist() == [[0, 4], [1, 4]]
    assert surviving(w, "block", 2, 3).sum() == 6
    assert surviving(w, "row", 2, 3).nonzero().tolist() == [[1, 3], [1, 4], [1, 5]]


def test_blocks_that_do_not_divide():
    check_blocks("layer", (48, 32), 24, 16)
    with pytest.raises(InputError, match=r"^p: expected a divisor of the 128 outputs of layer "
                                         r"\(such as 16 or 32\), found 24$"):
        check_blocks("layer", (128, 32), 24, 16)
    with pytest.raises(InputError, match=r"^q: expected a divisor of the 40 inputs of layer"):
        check_blocks("layer", (48, 40), 24, 16)
    check_blocks("layer", (128, 40), 24, 16, pad=True)
    with pytest.raises(InputError, match=r"^p: expected at most the 12 outputs of layer, found"):
        check_blocks("layer", (12, 40), 24, 16, pad=True)


def slow_groups(shape, structure, p, q):
    """Row and column slices of each group, one after the other."""
    rows, cols = group_size(structure, p, q)
    return [[(slice(r, min(r + rows, shape[0])), slice(c, min(c + cols, shape[1])))
             for c in range(0, shape[1], cols)] for r in range(0, shape[0], rows)]


@pytest.mark.parametrize("structure", ["column", "block", "row"])
@pytest.mark.parametrize("shape", [(4, 6), (5, 6), (4, 7), (5, 8), (1, 1)])
def test_edges_hold_smaller_groups(structure, shape):
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(shape, generator=generator)
    inputs = torch.rand(shape[1], generator=generator) + 0.1
    slices = slow_groups(shape, structure, 2, 3)
    assert group_grid(shape, structure, 2, 3, pad=True) == (len(slices), len(slices[0]))

    def of_each(function):
        return torch.tensor([[function(group) for group in row] for row in slices])

    assert torch.equal(group_sizes(shape, structure, 2, 3), of_each(lambda g: weight[g].numel()))
    assert torch.allclose(sum_groups(weight, structure, 2, 3),
                          of_each(lambda g: weight[g].sum().item()))
    assert torch.allclose(group_rms(weight, structure, 2, 3),
                          of_each(lambda g: weight[g].square().mean().sqrt().item()))
    scaled = weight * (inputs / inputs.mean()).sqrt()
    assert torch.allclose(group_rms(weight, structure, 2, 3, inputs),
                          of_each(lambda g: scaled[g].square().mean().sqrt().item()))
    numbers = torch.arange(len(slices) * len(slices[0])).reshape(len(slices), -1)
    spread = expand_groups(numbers, structure, 2, 3, shape)
    assert spread.shape == shape
    assert torch.equal(of_each(lambda g: int(spread[g].min())), numbers)
    assert torch.equal(of_each(lambda g: int(spread[g].max())), numbers)
    last = torch.zeros(shape)
    last[-1, -1] = 1
    assert torch.equal(surviving(last, structure, 2, 3), spread == numbers.max())


def test_grid_of_whole_groups_only():
    assert group_grid((4, 7), "column", 2, 3) == (2, 7)     # q does not cut columns
    with pytest.raises(InputError, match=r"^q: expected a divisor of the 7 inputs of the matrix"):
        group_grid((4, 7), "block", 2, 3)
    with pytest.raises(ValueError, match=r"a grid of \(2, 6\) groups"):
        expand_groups(torch.zeros(2, 6), "column", 2, 3, (4, 5))
