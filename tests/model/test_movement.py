"""Movement pruning of groups, against scores worked out by hand."""
import pytest
import torch
from torch import nn

from sparseloom.model.config import PruneConfig
from sparseloom.model.movement import Movement
from sparseloom.model.prune import choose_groups

# Two column groups of p = 2.
W = [[1.0, 2.0], [3.0, 4.0]]
LAYER = "layer"


def movement_of(weight, *, steps=4, **settings):
    config = PruneConfig(**{"p": 2, "q": 2, "method": "movement"} | settings)

    def choose(scores, compression):
        shapes = {name: values.shape for name, values in weights.items()}
        asked = PruneConfig(**{"p": 2, "q": 2, "pad": True} | settings
                            | {"compression": compression})
        return choose_groups(scores, shapes, asked)

    weights = {LAYER: weight}
    return Movement(weights, config, steps, choose)


def step_of(movement, step, gradient, *, rate=1.0, learn=0.1):
    """One step of plain gradient descent, as the pruner runs it."""
    weight = movement.weights[LAYER]
    weight.grad = torch.tensor(gradient)
    movement.before_step(rate)
    weight.data.add_(weight.grad, alpha=-learn)
    movement.after_step(step)


def test_one_step_by_hand():
    """S = -rate Σ g · w: -0.5 (1·1 + 1·3) = -2 and -0.5 (-1·2 + 1·4) = -1."""
    weight = nn.Parameter(torch.tensor(W))
    movement = movement_of(weight, steps=100)
    step_of(movement, 0, [[1.0, -1.0], [1.0, 1.0]], rate=0.5)
    assert movement.scores[LAYER].tolist() == [[-2.0, -1.0]]
    assert torch.allclose(movement.whole[LAYER], torch.tensor([[0.9, 2.1], [2.9, 3.9]]))


def test_scores_gather_over_steps():
    """The second step counts the weights that the first one moved: -2 - (0.9 + 2.9)."""
    weight = nn.Parameter(torch.tensor(W))
    movement = movement_of(weight, steps=1000, compression=1.0)
    step_of(movement, 0, [[1.0, 0.0], [1.0, 0.0]], rate=0.5)
    step_of(movement, 1, [[1.0, 0.0], [1.0, 0.0]], rate=1.0)
    assert movement.scores[LAYER].flatten().tolist() == pytest.approx([-5.8, 0.0])


def test_what_moves_away_from_zero_stays():
    """The small group grows and the large one shrinks: the opposite of what norms would keep."""
    weight = nn.Parameter(torch.tensor([[0.1, 2.0], [0.1, 2.0]]))
    movement = movement_of(weight, steps=1)
    step_of(movement, 0, [[-1.0, 1.0], [-1.0, 1.0]])
    assert movement.alive[LAYER].tolist() == [[True, False]]
    assert torch.allclose(weight.detach(), torch.tensor([[0.2, 0.0], [0.2, 0.0]]))


def test_compression_follows_a_cubic():
    """4 steps to 2×: after the step of index 0 to 3 there survive ½ + ½ (¾)³ and so on."""
    movement = movement_of(nn.Parameter(torch.tensor(W)), steps=4, compression=2.0)
    shares = [1 / movement.compression(step) for step in range(4)]
    assert shares == pytest.approx([0.5 + 0.5 * 27 / 64, 0.5 + 0.5 / 8, 0.5 + 0.5 / 64, 0.5])
    assert movement.compression(3) == 2.0
    assert movement.compression(9) == 2.0


def test_masked_in_the_pass_and_whole_in_the_optimiser():
    """What is masked keeps its value behind the mask and gets no gradient."""
    weight = nn.Parameter(torch.tensor(W))
    movement = movement_of(weight, steps=100)
    movement.alive[LAYER] = torch.tensor([[False, True]])
    movement.apply()
    assert weight.tolist() == [[0.0, 2.0], [0.0, 4.0]]
    assert movement.whole[LAYER].tolist() == W

    weight.grad = torch.ones(2, 2)
    movement.before_step(1.0)
    assert weight.tolist() == W
    assert weight.grad.tolist() == [[0.0, 1.0], [0.0, 1.0]]
    assert movement.scores[LAYER].tolist() == [[-4.0, -6.0]]  # of the whole ones, by the whole g


def test_a_masked_group_can_come_back():
    weight = nn.Parameter(torch.tensor([[1.0, 1.0], [1.0, 1.0]]))
    movement = movement_of(weight, steps=2, compression=2.0)
    step_of(movement, 0, [[1.0, -1.0], [1.0, -1.0]])
    assert movement.alive[LAYER].tolist() == [[False, True]]
    # It is masked, yet the loss would fall if it were there: S0 = -2 + 2 · 3 · 0.9.
    step_of(movement, 1, [[-3.0, 1.0], [-3.0, 1.0]], learn=0.0)
    assert movement.scores[LAYER][0, 0] > movement.scores[LAYER][0, 1]
    assert movement.alive[LAYER].tolist() == [[True, False]]
    assert torch.allclose(weight.detach(), torch.tensor([[0.9, 0.0], [0.9, 0.0]]))


@pytest.mark.parametrize("steps", [1, 7, 120])
@pytest.mark.parametrize("shape", [(8, 12), (7, 9)])
def test_the_last_masks_have_the_whole_compression(steps, shape):
    """Also where masks follow the scores only at some steps, and where groups are padded."""
    generator = torch.Generator().manual_seed(1)
    weight = nn.Parameter(torch.randn(shape, generator=generator))
    movement = movement_of(weight, steps=steps, compression=3.0)
    changes, before = 0, movement.alive
    for step in range(steps):
        step_of(movement, step, torch.randn(shape, generator=generator).tolist())
        changes += movement.alive is not before
        before = movement.alive
    assert changes == min(steps, 61)  # 60 at every second of 120 steps, and the last one
    kept = int((weight != 0).sum())
    assert kept <= weight.numel() / 3 < kept + 2 + 1e-9


def test_the_last_step_always_counts():
    """101 steps, masks every second one: the last, of index 100, is even; of 100 it is odd."""
    for steps in (100, 101):
        movement = movement_of(nn.Parameter(torch.tensor(W)), steps=steps)
        movement.alive = {LAYER: torch.ones(1, 2, dtype=torch.bool)}
        step_of(movement, steps - 1, [[1.0, 0.0], [1.0, 0.0]])
        assert movement.alive[LAYER].tolist() == [[False, True]]


def test_groups_of_any_size_compare_by_the_mean_of_their_weights():
    """Three outputs in blocks of two. Sums -2 · -2 = 4 and 3 · 1 = 3; by weight 2 and 3."""
    weight = nn.Parameter(torch.tensor([[2.0], [2.0], [3.0]]))
    movement = movement_of(weight, steps=1, scope="layer", compression=3.0, q=1)
    step_of(movement, 0, [[-1.0], [-1.0], [-1.0]])
    assert movement.scores[LAYER].tolist() == [[4.0], [3.0]]
    assert movement.standing()[LAYER].tolist() == [[2.0], [3.0]]
    assert movement.alive[LAYER].tolist() == [[False], [True]]


def test_without_a_gradient_scores_stay():
    weight = nn.Parameter(torch.tensor(W))
    movement = movement_of(weight, steps=100)
    movement.before_step(1.0)
    movement.after_step(1)
    assert movement.scores[LAYER].tolist() == [[0.0, 0.0]] and weight.tolist() == W
