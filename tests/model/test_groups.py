"""Cutting a matrix into groups and back."""
import pytest
import torch

from sparseloom.model.errors import InputError
from sparseloom.model.groups import check_blocks, expand_groups, group_rms, sum_groups, surviving

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
    spread = expand_groups(groups, structure, 2, 3)
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
