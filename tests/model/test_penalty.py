"""The group penalty against numbers worked out by hand."""
import pytest
import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.groups import group_rms
from sparseloom.model.penalty import GroupPenalty
from sparseloom.model.schedule import make_schedule

# Two column groups of p = 2: norms 5 and 13, RMS 5/√2 and 13/√2.
W = [[3.0, 5.0], [4.0, 12.0]]


def penalty_of(weight, *, inputs=None, **settings):
    config = PruneConfig(p=2, q=2, **settings)
    penalty = GroupPenalty({"layer": weight}, config, inputs)
    penalty.reweight()
    return penalty


def test_loss_reaches_the_gradient():
    """λ γ w / ‖w‖ with γ = 1 / (‖w‖ + ε): the trap is a penalty that trains nothing."""
    weight = torch.nn.Parameter(torch.tensor(W))
    penalty = penalty_of(weight, penalty="loss", strength=2.0, epsilon=1.0)
    assert torch.allclose(penalty.gamma["layer"], torch.tensor([[1 / 6, 1 / 14]]))
    loss = penalty.loss()
    assert loss.item() == pytest.approx(2 * (5 / 6 + 13 / 14))
    loss.backward()
    assert weight.grad is not None
    expected = torch.tensor([[3 / 5 / 6, 5 / 13 / 14], [4 / 5 / 6, 12 / 13 / 14]]) * 2
    assert torch.allclose(weight.grad, expected)


def test_a_dead_group_has_no_gradient_and_no_nan():
    weight = torch.nn.Parameter(torch.tensor([[0.0, 5.0], [0.0, 12.0]]))
    penalty = penalty_of(weight, penalty="loss", strength=1.0)
    penalty.loss().backward()
    assert weight.grad is not None
    assert weight.grad[:, 0].tolist() == [0.0, 0.0]
    assert torch.isfinite(weight.grad).all()


def test_shrink_by_hand():
    weight = torch.nn.Parameter(torch.tensor(W))
    penalty = penalty_of(weight, strength=0.5)
    r = torch.tensor([[5 / 2**0.5, 13 / 2**0.5]])
    mean = r.mean()
    gamma = mean**2 / (r + 0.01 * mean)
    assert torch.allclose(penalty.gamma["layer"], gamma)
    penalty.shrink(0.1)
    left = r - 0.1 * 0.5 * gamma
    assert torch.allclose(group_rms(weight.detach(), "column", 2, 2), left)
    assert torch.allclose(weight.detach(), torch.tensor(W) * left / r)  # direction is kept


def test_shrink_stops_at_zero_and_kills_weak_groups_first():
    weight = torch.nn.Parameter(torch.tensor([[0.1, 2.0], [0.1, 2.0]]))
    penalty = penalty_of(weight, strength=1.0)
    penalty.shrink(0.05)  # γ = 1.05² / (0.1 + 0.0105) = 9.98: takes 0.499 off 0.1
    assert weight[:, 0].tolist() == [0.0, 0.0]
    assert weight[0, 1].item() == pytest.approx(2 - 0.05 * 1.05**2 / (2 + 0.0105), rel=1e-6)
    penalty.shrink(0.05)
    assert torch.isfinite(weight).all()


def test_inputs_decide_what_is_weak():
    """Equal weights, but one input is ten times as large: the other one shrinks more."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    penalty = penalty_of(weight, inputs={"layer": torch.tensor([100.0, 1.0])}, strength=1.0)
    penalty.shrink(0.1)
    assert weight[0, 1] < weight[0, 0]
    same = torch.nn.Parameter(torch.ones(2, 2))
    blind = penalty_of(same, inputs={"layer": torch.tensor([100.0, 1.0])}, strength=1.0,
                       saliency="magnitude")
    blind.shrink(0.1)
    assert same[0, 1] == same[0, 0]


@pytest.mark.parametrize("penalty", ["decoupled", "loss"])
def test_gamma_is_constant_until_it_is_reweighted(penalty):
    weight = torch.nn.Parameter(torch.tensor(W))
    found = penalty_of(weight, penalty=penalty, strength=0.1)
    before = found.gamma["layer"].clone()
    with torch.no_grad():
        weight[:, 0] /= 2
    if penalty == "decoupled":
        found.shrink(0.5)
    else:
        found.loss().backward()
    assert torch.equal(found.gamma["layer"], before) and found.updates == 1
    found.reweight()
    assert found.gamma["layer"][0, 0] > before[0, 0] and found.updates == 2


def test_lasso_in_the_loss_has_gamma_one():
    weight = torch.nn.Parameter(torch.tensor(W))
    penalty = penalty_of(weight, penalty="loss", method="lasso", strength=2.0)
    assert penalty.loss().item() == pytest.approx(2 * (5 + 13))
    penalty.loss().backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, 2 * torch.tensor([[3 / 5, 5 / 13], [4 / 5, 12 / 13]]))


def test_lasso_decoupled_takes_the_same_from_all():
    """γ is the mean RMS, (5 + 13) / 2√2 = 9/√2: a tenth of half of it leaves 5/√2 and 13/√2 less
    0.45/√2."""
    weight = torch.nn.Parameter(torch.tensor(W))
    penalty = penalty_of(weight, method="lasso", strength=0.5)
    assert torch.allclose(penalty.gamma["layer"], torch.full((1, 2), 9 / 2**0.5))
    penalty.shrink(0.1)
    assert torch.allclose(weight.detach(), torch.tensor(W) * torch.tensor([4.55 / 5, 12.55 / 13]))


def unequal(*rms):
    """Three outputs in blocks of two: the second strip's groups have one weight, not two."""
    top = torch.full((2, 1), rms[0])
    return torch.nn.Parameter(torch.cat([top, torch.full((1, 1), rms[1])]))


def test_unequal_groups_by_hand_in_the_loss():
    """Sizes 2 and 1 have mean 1.5, so s = 4/3 and 2/3.

    Norms of (3, 3) and (3): 3√2 and 3. ‖w‖ / √s is 3√2 · √3/2 = 3√1.5 for the first and
    3 · √1.5 for the second: the same γ for the same RMS, and per weight the same gradient
    λ γ √s w / ‖w‖, √(4/3) / √2 = √(2/3) / 1.
    """
    weight = unequal(3.0, 3.0)
    penalty = penalty_of(weight, penalty="loss", strength=2.0, epsilon=1.0)
    gamma = 1 / (3 * 1.5**0.5 + 1)
    assert torch.allclose(penalty.gamma["layer"], torch.full((2, 1), gamma))
    loss = penalty.loss()
    assert loss.item() == pytest.approx(
        2 * gamma * ((4 / 3)**0.5 * 3 * 2**0.5 + (2 / 3)**0.5 * 3))
    loss.backward()
    assert weight.grad is not None
    assert torch.allclose(weight.grad, torch.full((3, 1), 2 * gamma * (2 / 3)**0.5))


def test_unequal_groups_by_hand_in_the_lasso():
    """γ = 1, so only √s is left: λ (√(4/3) · 3√2 + √(2/3) · 6)."""
    weight = unequal(3.0, 6.0)
    penalty = penalty_of(weight, penalty="loss", method="lasso", strength=1.0)
    assert penalty.loss().item() == pytest.approx((4 / 3)**0.5 * 3 * 2**0.5 + (2 / 3)**0.5 * 6)


@pytest.mark.parametrize("method", ["reweighted", "lasso"])
def test_unequal_groups_by_hand_in_the_shrink(method):
    """A group's RMS divides by the weights that it has: (1, 1) is 1 and (3) is 3, mean 2."""
    weight = unequal(1.0, 3.0)
    penalty = penalty_of(weight, method=method, strength=0.5)
    gamma = [4 / 1.02, 4 / 3.02] if method == "reweighted" else [2.0, 2.0]
    assert penalty.gamma["layer"].flatten().tolist() == pytest.approx(gamma)
    penalty.shrink(0.2)
    assert weight.flatten().tolist() == pytest.approx(
        [1 - 0.1 * gamma[0], 1 - 0.1 * gamma[0], 3 - 0.1 * gamma[1]])


def test_sizes_are_compared_over_all_layers():
    """A block of 2 × 2 next to one of 2 × 1: mean 3, s = 4/3 and 2/3."""
    config = PruneConfig(structure="block", p=2, q=2, penalty="loss", strength=1.0,
                         method="lasso")
    weights = {"whole": torch.nn.Parameter(torch.ones(2, 2)),
               "edge": torch.nn.Parameter(torch.ones(2, 1))}
    penalty = GroupPenalty(weights, config)
    penalty.reweight()
    assert penalty.loss().item() == pytest.approx((4 / 3)**0.5 * 2 + (2 / 3)**0.5 * 2**0.5)


@pytest.mark.parametrize("penalty", ["decoupled", "loss"])
def test_strength_of_each_layer(penalty):
    """λ = 4 where a pattern says so, 0 by another, else 1."""
    names = ("0.output.dense", "1.output.dense", "0.query")
    weights = {name: torch.nn.Parameter(torch.tensor([[3.0], [4.0]])) for name in names}
    config = PruneConfig(p=2, q=1, penalty=penalty, method="lasso", strength=1.0,
                         layer_strengths=(("0.out*", 4.0), ("*.output.dense", 0.0)))
    found = GroupPenalty(weights, config)
    found.reweight()
    if penalty == "loss":
        assert found.loss().item() == pytest.approx(5 * (4 + 0 + 1))
        return
    found.shrink(0.1)  # γ is the RMS itself: a share of λ / 10
    for name, left in zip(names, (0.6, 1.0, 0.9), strict=True):
        assert torch.allclose(weights[name], torch.tensor([[3.0], [4.0]]) * left)


@pytest.mark.parametrize("steps", [4, 40, 400])
@pytest.mark.parametrize("penalty_rate", [1.0, 0.3])
def test_strength_does_not_depend_on_the_schedule(steps, penalty_rate):
    """Of two equal groups, both at the mean, λ = 0.2 takes a fifth (over 1.01) in any schedule."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    penalty = penalty_of(weight, strength=0.2)
    schedule = make_schedule(PruneConfig(prune_at=0.5, milestones=("0",)), 2 * steps, steps,
                             penalty_rate=penalty_rate, warmup=0.05)
    for step in range(schedule.prune_step):
        penalty.shrink(schedule.share(step))
    assert weight.detach().numpy() == pytest.approx(1 - 0.2 / 1.01, rel=1e-5)
