"""The group penalty against numbers worked out by hand."""
import pytest
import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.groups import group_rms
from sparseloom.model.penalty import GroupPenalty, milestone_steps
from sparseloom.model.train import rate_at

# Two column groups of p = 2: norms 5 and 13, RMS 5/√2 and 13/√2.
W = [[3.0, 5.0], [4.0, 12.0]]


def penalty_of(weight, *, steps=8, inputs=None, **settings):
    config = PruneConfig(p=2, q=2, **settings)
    return GroupPenalty({"layer": weight}, config, steps, inputs)


def test_loss_reaches_the_gradient():
    """λ γ w / ‖w‖ with γ = 1 / (‖w‖ + ε): the trap is a penalty that trains nothing."""
    weight = torch.nn.Parameter(torch.tensor(W))
    penalty = penalty_of(weight, penalty="loss", strength=2.0, epsilon=1.0)
    penalty.at_step(0)
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
    penalty.at_step(0)
    penalty.loss().backward()
    assert weight.grad is not None
    assert weight.grad[:, 0].tolist() == [0.0, 0.0]
    assert torch.isfinite(weight.grad).all()


def test_shrink_by_hand():
    weight = torch.nn.Parameter(torch.tensor(W))
    penalty = penalty_of(weight, strength=0.5)
    penalty.at_step(0)
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
    penalty.at_step(0)
    penalty.shrink(0.05)  # γ = 1.05² / (0.1 + 0.0105) = 9.98: takes 0.499 off 0.1
    assert weight[:, 0].tolist() == [0.0, 0.0]
    assert weight[0, 1].item() == pytest.approx(2 - 0.05 * 1.05**2 / (2 + 0.0105), rel=1e-6)
    penalty.shrink(0.05)
    assert torch.isfinite(weight).all()


def test_inputs_decide_what_is_weak():
    """Equal weights, but one input is ten times as large: the other one shrinks more."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    penalty = penalty_of(weight, inputs={"layer": torch.tensor([100.0, 1.0])}, strength=1.0)
    penalty.at_step(0)
    penalty.shrink(0.1)
    assert weight[0, 1] < weight[0, 0]
    same = torch.nn.Parameter(torch.ones(2, 2))
    blind = penalty_of(same, inputs={"layer": torch.tensor([100.0, 1.0])}, strength=1.0,
                       saliency="magnitude")
    blind.at_step(0)
    blind.shrink(0.1)
    assert same[0, 1] == same[0, 0]


@pytest.mark.parametrize(("steps", "milestones", "expected"), [
    (8, 4, [0, 2, 4, 6]), (3, 4, [0, 1, 2]), (1, 4, [0]), (10, 3, [0, 3, 6]), (5, 1, [0]),
    (0, 4, []), (2, 1000, [0, 1]),
])
def test_milestones_fire_on_any_schedule(steps, milestones, expected):
    """The trap: a milestone at a fixed step that a short schedule never reaches."""
    assert milestone_steps(steps, milestones) == expected
    weight = torch.nn.Parameter(torch.tensor(W))
    penalty = penalty_of(weight, steps=steps, milestones=milestones)
    for step in range(steps):
        penalty.at_step(step)
    assert penalty.updates == len(expected)
    assert (penalty.updates > 0) == (steps > 0)


def test_gamma_is_constant_between_milestones():
    weight = torch.nn.Parameter(torch.tensor(W))
    penalty = penalty_of(weight, steps=4, milestones=2, strength=0.1)
    seen = []
    for step in range(4):
        penalty.at_step(step)
        seen.append(penalty.gamma["layer"].clone())
        penalty.shrink(0.5)
    assert torch.equal(seen[0], seen[1]) and torch.equal(seen[2], seen[3])
    assert not torch.equal(seen[1], seen[2])


@pytest.mark.parametrize("steps", [4, 40])
def test_strength_does_not_depend_on_the_schedule(steps):
    """Of two equal groups, both at the mean, λ = 0.2 takes a fifth (over 1.01) in any schedule."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    penalty = penalty_of(weight, steps=steps, milestones=1, strength=0.2)
    rates = [rate_at(step, steps, 3e-4) for step in range(steps)]
    for step, rate in enumerate(rates):
        penalty.at_step(step)
        penalty.shrink(rate / sum(rates))
    assert weight.detach().numpy() == pytest.approx(1 - 0.2 / 1.01, rel=1e-5)
