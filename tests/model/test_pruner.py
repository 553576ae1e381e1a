"""What pruning does along a run, on a small model under plain torch optimisers."""
import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from sparseloom.model.budget import Geometry, model_cycles
from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.groups import expand_groups, group_rms
from sparseloom.model.prune import compression_of
from sparseloom.model.pruner import STATE_FILE, GroupPruner
from sparseloom.model.schedule import make_schedule

STEPS = 16
LINEARS = ("up", "down")
METHODS = ("reweighted", "lasso", "magnitude", "movement", "random")


class Net(nn.Module):
    """Words to one number: a table, two Linear layers and a LayerNorm."""

    def __init__(self, *, words=17, width=6, inner=8):
        super().__init__()
        generator = torch.Generator().manual_seed(3)
        self.table = nn.Embedding(words, width)
        self.up, self.down = nn.Linear(width, inner), nn.Linear(inner, width)
        self.norm = nn.LayerNorm(width)
        self.words = torch.randint(0, words, (64,), generator=generator)
        self.wanted = torch.randn(64, width, generator=generator)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.5)

    def inner(self):
        return torch.relu(self.up(self.table(self.words)))

    def forward(self):
        return (self.norm(self.down(self.inner())) - self.wanted).square().mean()

    @torch.no_grad()
    def measure(self, full):
        """As :func:`sparseloom.model.observe.input_moments` does."""
        found = {}
        for name, x in (("up", self.table(self.words)), ("down", self.inner())):
            whole = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
            found[name] = whole.T @ whole if full else x.square().mean(dim=0)
        return found


def pruner_of(net, *, steps=STEPS, table=False, penalty_rate=1.0, seed=0, **settings):
    config = PruneConfig(**{"p": 2, "q": 2, "prune_at": 0.5, "embeddings": table} | settings)
    schedule = make_schedule(config, steps, 4, penalty_rate=penalty_rate, warmup=0.1)
    return GroupPruner({name: getattr(net, name) for name in LINEARS}, config, schedule,
                       net.measure, table=("table", net.table) if table else None, seed=seed)


def optimizer_of(net, kind="adamw", rate=0.02):
    if kind == "adamw":
        return torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=0.1)
    return torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9, weight_decay=0.1)


def run(net, pruner, optimizer, first=0, last=STEPS, *, after=None, begun=None):
    """The loop that the Trainer is otherwise."""
    for step in range(first, last):
        pruner.begin_step(step, optimizer)
        if begun:
            begun(step)
        loss = net()
        if (penalty := pruner.loss()) is not None:
            loss = loss + penalty
        optimizer.zero_grad()
        loss.backward()
        pruner.before_optimizer(step)
        optimizer.step()
        pruner.after_optimizer(step)
        if after:
            after(step)


def state_of(net):
    return {name: value.clone() for name, value in net.state_dict().items()}


# Pruned weights

@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("penalty", ["decoupled", "loss"])
def test_pruned_weights_are_zero_after_every_step(method, kind, penalty):
    """Whatever momentum and weight decay want."""
    net = Net()
    pruner = pruner_of(net, method=method, penalty=penalty, compression=3.0)
    optimizer = optimizer_of(net, kind)
    held = []

    def after(step):
        for name, mask in pruner.masks().items():
            weight = getattr(net, name).weight
            if pruner.pruned:
                assert (weight[~mask] == 0).all(), step
                assert (weight[mask] != 0).all(), step
            else:
                assert mask.all()
        held.append(pruner.pruned)

    run(net, pruner, optimizer, after=after)
    before = 0 if method in ("magnitude", "random") else STEPS // 2
    assert held == [False] * before + [True] * (STEPS - before)
    assert compression_of(pruner.masks()) >= 3.0
    assert pruner.compression == 3.0


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
@pytest.mark.parametrize("method", ["reweighted", "movement"])
def test_moments_of_dead_weights_are_forgotten_at_the_prune(kind, method):
    """And those of survivors are kept."""
    net = Net()
    pruner = pruner_of(net, method=method)
    optimizer = optimizer_of(net, kind)
    names = ("exp_avg", "exp_avg_sq") if kind == "adamw" else ("momentum_buffer",)
    run(net, pruner, optimizer, last=STEPS // 2)
    kept = {(name, part): optimizer.state[getattr(net, name).weight][part].clone()
            for name in LINEARS for part in names}
    assert pruner.begin_step(STEPS // 2, optimizer)
    for (name, part), before in kept.items():
        mask, now = pruner.masks()[name], optimizer.state[getattr(net, name).weight][part]
        assert before[~mask].any() and not now[~mask].any()
        assert torch.equal(now[mask], before[mask])


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_an_optimizer_that_remembers_moves_no_pruned_weight(kind):
    """Even where its moments could not be reached: what it does to the dead is undone."""
    net = Net()
    pruner = pruner_of(net)
    optimizer = optimizer_of(net, kind)
    run(net, pruner, optimizer, last=STEPS // 2)
    pruner.begin_step(STEPS // 2)
    net().backward()
    pruner.before_optimizer(STEPS // 2)
    optimizer.step()
    mask = pruner.masks()["up"]
    assert net.up.weight[~mask].any()
    pruner.after_optimizer(STEPS // 2)
    assert not net.up.weight[~mask].any()


def test_moments_of_a_wrapped_optimizer_are_forgotten():
    """As accelerate wraps it."""
    class Wrapped:
        def __init__(self, inner):
            self.optimizer = inner

    net = Net()
    pruner = pruner_of(net)
    optimizer = optimizer_of(net)
    run(net, pruner, optimizer, last=STEPS // 2)
    pruner.begin_step(STEPS // 2, Wrapped(optimizer))  # pyright: ignore[reportArgumentType]
    mask = pruner.masks()["up"]
    assert not optimizer.state[net.up.weight]["exp_avg"][~mask].any()


def test_gradients_of_dead_weights_are_zero():
    """So that no momentum gathers behind them."""
    net = Net()
    pruner = pruner_of(net, method="magnitude")
    pruner.begin_step(0)
    net().backward()
    gradient = net.up.weight.grad
    assert gradient is not None
    before = gradient.clone()
    pruner.before_optimizer(0)
    mask = pruner.masks()["up"]
    assert before[~mask].any() and not gradient[~mask].any()
    assert torch.equal(gradient[mask], before[mask])


# The penalty

@pytest.mark.parametrize("table", [False, True])
def test_only_matrices_are_shrunk(table):
    """A strong λ takes weights away and leaves biases, LayerNorm and other tables bit for bit."""
    net = Net()
    pruner = pruner_of(net, table=table, pad=table, strength=1.0)
    before = state_of(net)
    pruner.begin_step(0)
    pruner.after_optimizer(0)
    changed = {name for name, value in state_of(net).items()
               if not torch.equal(value, before[name])}
    assert changed == {"up.weight", "down.weight"} | ({"table.weight"} if table else set())


@pytest.mark.parametrize("method", ["reweighted", "lasso"])
def test_the_penalty_in_the_loss_reaches_the_gradient(method):
    """The trap: a term that trains nothing. Its gradient is λ γ w / ‖w‖."""
    net = Net()
    pruner = pruner_of(net, method=method, penalty="loss", strength=0.5, epsilon=0.1)
    pruner.begin_step(0)
    term = pruner.loss()
    assert term is not None
    term.backward()
    for name in LINEARS:
        weight = getattr(net, name).weight
        norms = group_rms(weight.detach(), "column", 2, 2) * math.sqrt(2)
        gamma = 1 / (norms + 0.1) if method == "reweighted" else torch.ones_like(norms)
        wanted = 0.5 * weight.detach() * expand_groups(gamma / norms, "column", 2, 2, weight.shape)
        assert torch.allclose(weight.grad, wanted, atol=1e-6)
        assert getattr(net, name).bias.grad is None
    before = net.up.weight.detach().clone()
    pruner.after_optimizer(0)
    assert torch.equal(net.up.weight, before)  # and is not taken twice


@pytest.mark.parametrize("penalty", ["decoupled", "loss"])
def test_the_penalty_ends_at_the_prune(penalty):
    net = Net()
    pruner = pruner_of(net, penalty=penalty)
    assert pruner.loss() is None  # not begun
    run(net, pruner, optimizer_of(net), last=STEPS // 2)
    assert (pruner.loss() is not None) == (penalty == "loss")
    pruner.begin_step(STEPS // 2)
    assert pruner.loss() is None
    before = state_of(net)
    pruner.after_optimizer(STEPS // 2)
    assert all(torch.equal(value, before[name]) for name, value in state_of(net).items())


@pytest.mark.parametrize(("method", "milestones", "expected"), [
    ("reweighted", ("0", "0.25", "0.5", "0.75"), [1, 1, 2, 2, 3, 3, 4, 4]),
    ("reweighted", ("0", "1ep", "1.5ep"), [1, 1, 1, 1, 2, 2, 3, 3]),
    ("reweighted", ("0.5",), [0, 0, 0, 0, 1, 1, 1, 1]),
    ("lasso", ("0", "0.5"), [1] * 8),
    ("movement", ("0", "0.5"), [0] * 8),
])
def test_every_milestone_fires(method, milestones, expected):
    """The trap: γ that is never computed again. An epoch has 4 steps, the stage 8."""
    net = Net()
    pruner = pruner_of(net, method=method, milestones=milestones)
    seen, gammas = [], []

    def begun(step):
        seen.append(pruner.reweightings)
        if pruner.penalty is not None:
            gammas.append(tuple(pruner.penalty.gamma["up"].flatten().tolist()))

    run(net, pruner, optimizer_of(net), begun=begun)
    assert seen[:8] == expected and seen[-1] == expected[-1]
    assert len(set(gammas)) == expected[-1]  # and each was another


def test_inputs_are_measured_once_for_the_penalty_and_again_for_the_prune():
    net = Net()
    asked = []
    pruner = pruner_of(net)
    pruner.measure = lambda full: asked.append(full) or net.measure(full)
    run(net, pruner, optimizer_of(net))
    assert asked == [False, True]


@pytest.mark.parametrize(("settings", "asked"), [
    ({"saliency": "magnitude", "reconstruct": False}, []),
    ({"saliency": "magnitude"}, [True]),
    ({"method": "random", "reconstruct": False}, []),
    ({"method": "movement", "reconstruct": False}, []),
    ({"method": "magnitude", "reconstruct": False}, [True]),
])
def test_nothing_is_measured_in_vain(settings, asked):
    net = Net()
    pruner = pruner_of(net, **settings)
    found = []
    pruner.measure = lambda full: found.append(full) or net.measure(full)
    run(net, pruner, optimizer_of(net))
    assert found == asked


def test_a_strong_penalty_kills_groups_before_the_prune():
    net = Net()
    pruner = pruner_of(net, strength=5.0)
    run(net, pruner, optimizer_of(net, rate=1e-4), last=STEPS // 2)
    assert (group_rms(net.up.weight.detach(), "column", 2, 2) < 1e-3).float().mean() > 0.5


# Which groups

@pytest.mark.parametrize("scope", ["strip", "layer"])
def test_strips_are_loaded_evenly(scope):
    """The trap: one threshold over a matrix whose first outputs are large starves the others.

    Four strips of 2 outputs and 6 inputs, half of 24 groups: 3 in each strip, or the first two
    strips whole.
    """
    net = Net()
    with torch.no_grad():
        net.up.weight[:4].add_(100)
    pruner = pruner_of(net, method="magnitude", scope=scope, saliency="magnitude",
                       reconstruct=False)
    pruner.begin_step(0)
    assert pruner.alive is not None
    assert pruner.alive["up"].sum(dim=1).tolist() == ([3] * 4 if scope == "strip" else [6, 6, 0, 0])


def test_one_shot_goes_by_norms_at_once():
    """Columns 1, 3 and 5 are the largest of each strip, before anything is trained."""
    net = Net()
    with torch.no_grad():
        net.up.weight.copy_(torch.tensor([1.0, 9, 2, 8, 3, 7]).repeat(8, 1))
    pruner = pruner_of(net, method="magnitude", saliency="magnitude", reconstruct=False)
    assert pruner.begin_step(0)
    assert net.up.weight[0].tolist() == [0, 9, 0, 8, 0, 7]
    assert pruner.pruned and not pruner.begin_step(1)


def test_saliency_counts_what_enters():
    net = Net()
    with torch.no_grad():
        net.up.weight.fill_(1.0)
        net.table.weight.copy_(torch.tensor([5.0, 1, 5, 1, 5, 1]).expand(17, 6))
    pruner = pruner_of(net, method="magnitude", reconstruct=False)
    pruner.begin_step(0)
    assert net.up.weight[0].tolist() == [1, 0, 1, 0, 1, 0]


def test_random_is_seeded():
    def masks(seed):
        net = Net()
        pruner = pruner_of(net, method="random", seed=seed)
        pruner.begin_step(0)
        return pruner.masks()

    first, again, other = masks(1), masks(1), masks(2)
    assert all(torch.equal(first[name], again[name]) for name in LINEARS)
    assert any(not torch.equal(first[name], other[name]) for name in LINEARS)
    assert compression_of(first) == compression_of(other) == 2.0


def test_survivors_are_refitted():
    """Of two equal inputs the weaker one is pruned, and the other takes over its weights."""
    errors = []
    for fit in (False, True):
        net = Net()
        with torch.no_grad():
            net.table.weight[:, 1] = net.table.weight[:, 0]
            net.up.weight.fill_(1.0)[:, 1] = 0.5
            before = net.up(net.table(net.words))
        pruner = pruner_of(net, method="magnitude", reconstruct=fit, compression=1.2,
                           saliency="magnitude")
        pruner.begin_step(0)
        assert pruner.masks()["up"].all(dim=0).tolist() == [True, False, True, True, True, True]
        assert not net.up.weight[:, 1].any()
        with torch.no_grad():
            errors.append((net.up(net.table(net.words)) - before).square().mean().item())
    assert errors[1] < 0.01 * errors[0]


# Gradual prunes

@pytest.mark.parametrize("method", ["reweighted", "lasso"])
@pytest.mark.parametrize("scope", ["strip", "layer", "global"])
@pytest.mark.parametrize(("structure", "pad"), [("column", False), ("row", True)])
def test_dead_groups_never_come_back(method, scope, structure, pad):
    """Four prunes in 8 steps: each leaves its compression, and its dead are dead in the next."""
    net = Net()
    p, q = (3, 4) if pad else (2, 2)
    pruner = pruner_of(net, method=method, scope=scope, gradual=4, compression=3.0, pad=pad,
                       structure=structure, p=p, q=q)
    seen, found = [], []

    def begun(step):
        if pruner.alive is not None:
            seen.append({name: alive.clone() for name, alive in pruner.alive.items()})
            found.append(compression_of(pruner.masks()))

    def after(step):
        for name, mask in pruner.masks().items():
            assert not getattr(net, name).weight[~mask].any(), step

    run(net, pruner, optimizer_of(net, rate=0.3), begun=begun, after=after)
    for before, now in pairwise(seen):
        assert not any((now[name] & ~before[name]).any() for name in LINEARS)
    assert sorted(found) == found and found[-1] >= 3.0
    assert len(set(found)) == 4
    assert pruner.pruned


def test_a_checkpoint_counts_only_after_the_last_prune():
    net = Net()
    pruner = pruner_of(net, gradual=2)
    states = []
    run(net, pruner, optimizer_of(net), begun=lambda step: states.append(
        (pruner.alive is not None, pruner.pruned)))
    assert states == [(False, False)] * 4 + [(True, False)] * 4 + [(True, True)] * 8


# Movement

def test_movement_masks_passes_and_keeps_whole_weights():
    net = Net()
    pruner = pruner_of(net, method="movement", reconstruct=False, compression=3.0)
    shares = []

    def begun(step):
        if (movement := pruner.movement) is None:
            return
        for name in LINEARS:
            mask = expand_groups(movement.alive[name], "column", 2, 2, movement.whole[name].shape)
            weight = getattr(net, name).weight.detach()
            assert not weight[~mask].any() and (movement.whole[name] != 0).all()
            assert torch.equal(weight[mask], movement.whole[name][mask])
        shares.append(int((net.up.weight != 0).sum()) / net.up.weight.numel())

    run(net, pruner, optimizer_of(net), begun=begun)
    wanted = [1 / 3 + 2 / 3 * (1 - step / 8)**3 for step in range(8)]
    for share, most in zip(shares, wanted, strict=True):
        assert most - 2 / 48 < share <= most + 1e-9
    assert compression_of(pruner.masks()) >= 3.0 and pruner.movement is None


def test_the_prune_takes_the_masks_that_movement_ended_with():
    net = Net()
    pruner = pruner_of(net, method="movement", reconstruct=False)
    run(net, pruner, optimizer_of(net), last=STEPS // 2)
    assert pruner.movement is not None
    alive, before = pruner.movement.alive, state_of(net)
    pruner.begin_step(STEPS // 2)
    assert pruner.alive is not None
    assert all(torch.equal(pruner.alive[name], alive[name]) for name in LINEARS)
    assert all(torch.equal(value, before[name]) for name, value in state_of(net).items())


def test_movement_under_a_budget_in_cycles_brings_weights_back():
    """The way to it led over 4×, and the budget needs no pruning: whole weights return."""
    net = Net()
    pruner = pruner_of(net, method="movement", reconstruct=False, compression=4.0, cycles=10**6)
    run(net, pruner, optimizer_of(net), last=STEPS // 2)
    assert pruner.movement is not None
    whole = {name: value.clone() for name, value in pruner.movement.whole.items()}
    assert (net.up.weight == 0).any()
    pruner.begin_step(STEPS // 2)
    assert pruner.compression == 1.0
    assert all(torch.equal(getattr(net, name).weight, whole[name]) for name in LINEARS)


# Budgets and tables

@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("table", [False, True])
def test_a_budget_in_cycles(method, table):
    net = Net(width=24, inner=48)
    geometry = Geometry(rows=4, cols=4, lanes=4, tokens=8)
    dense = {name: torch.ones(getattr(net, name).weight.shape, dtype=torch.bool)
             for name in LINEARS}
    budget = int(0.6 * sum(model_cycles(dense, geometry, p=4).values()))
    pruner = pruner_of(net, method=method, cycles=budget, rows=4, cols=4, tokens=8, p=4, q=4,
                       table=table, steps=8)
    run(net, pruner, optimizer_of(net), last=8)
    masks = pruner.masks()
    layers = {name: masks[name] for name in LINEARS}
    assert 0.9 * budget < sum(model_cycles(layers, geometry, p=4).values()) <= budget
    assert pruner.compression > 1 and pruner.compression != 2.0
    if table:  # as hard as the layers
        assert compression_of({"table": masks["table"]}) == pytest.approx(pruner.compression,
                                                                          rel=0.05)


def test_a_budget_that_no_mask_meets():
    net = Net()
    pruner = pruner_of(net, method="magnitude", cycles=1)
    with pytest.raises(InputError, match="cycles: expected at least"):
        pruner.begin_step(0)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("scope", ["strip", "layer", "global"])
def test_a_table_of_odd_size(method, scope):
    """17 words in strips of 2: the last has one, and it is counted as one."""
    net = Net()
    pruner = pruner_of(net, method=method, scope=scope, table=True, compression=2.5)
    before = net.table.weight.detach().clone()
    run(net, pruner, optimizer_of(net))
    masks = pruner.masks()
    assert list(masks) == ["up", "down", "table"]
    assert masks["table"].shape == (17, 6)
    assert torch.equal(masks["table"][0:16:2], masks["table"][1:16:2])
    assert not net.table.weight[~masks["table"]].any()
    assert not torch.equal(net.table.weight[masks["table"]], before[masks["table"]])  # it learns
    kept = int(masks["table"].sum())
    assert 17 * 6 / 2.5 - 2 < kept <= 17 * 6 / 2.5  # a competition of its own
    assert compression_of({name: masks[name] for name in LINEARS}) >= 2.5


# Checkpoints

PHASES = [("reweighted", 0), ("reweighted", 3), ("reweighted", 8), ("reweighted", 12),
          ("lasso", 5), ("magnitude", 0), ("magnitude", 4), ("movement", 0), ("movement", 5),
          ("movement", 8), ("movement", 9), ("random", 2)]


@pytest.mark.parametrize(("method", "at"), PHASES)
@pytest.mark.parametrize("settings", [{}, {"penalty": "loss", "saliency": "magnitude"},
                                      {"gradual": 2, "table": True}])
def test_a_run_goes_on_where_it_was_saved(method, at, settings, tmp_path):
    """Masks, γ and scores are taken up: the same weights bit for bit, in each phase."""
    whole = Net()
    run(whole, pruner := pruner_of(whole, method=method, strength=0.5, **settings),
        optimizer_of(whole))

    first = Net()
    early, optimizer = pruner_of(first, method=method, strength=0.5, **settings), None
    run(first, early, optimizer := optimizer_of(first), last=at)
    early.save(tmp_path)

    second = Net()
    late = pruner_of(second, method=method, strength=0.5, **settings)
    second.load_state_dict(first.state_dict())
    other = optimizer_of(second)
    other.load_state_dict(optimizer.state_dict())
    late.load(tmp_path)
    assert (late.pruned, late.reweightings, late.compression) == (
        early.pruned, early.reweightings, early.compression)
    assert (late.penalty is None, late.movement is None) == (
        early.penalty is None, early.movement is None)
    run(second, late, other, first=at)
    wanted = whole.state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in second.state_dict().items())
    for name, mask in pruner.masks().items():
        assert torch.equal(late.masks()[name], mask)
    assert late.reweightings == pruner.reweightings


def saved(folder, *, at=5, **settings):
    net = Net()
    pruner = pruner_of(net, **settings)
    run(net, pruner, optimizer_of(net), last=at)
    pruner.save(folder)
    return folder / STATE_FILE


def refused(folder, **settings):
    """What is said of the file."""
    with pytest.raises(InputError) as problem:
        pruner_of(Net(), **settings).load(folder)
    start = f"{folder / STATE_FILE}: expected the pruning of this model, found: "
    assert str(problem.value).startswith(start)
    return str(problem.value).removeprefix(start)


@pytest.mark.parametrize("at", [5, 10])
@pytest.mark.parametrize("method", ["reweighted", "movement"])
def test_a_file_cut_short_is_refused(method, at, tmp_path):
    path = saved(tmp_path, at=at, method=method)
    data = path.read_bytes()
    for size in (0, 4, 40, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:size])
        assert refused(tmp_path, method=method)


@pytest.mark.parametrize(("old", "new"), [
    (b"alive/up", b"alive/xx"), (b"alive/up", b"gamma/up"), (b'\\"pruned\\"', b'\\"prunes\\"'),
    (b'"sparseloom"', b'"sparselook"'), (b'\\"parts\\"', b'\\"party\\"'),
])
def test_a_damaged_file_is_refused(old, new, tmp_path):
    path = saved(tmp_path, at=10)
    data = path.read_bytes()
    assert old in data
    path.write_bytes(data.replace(old, new))
    assert refused(tmp_path)


def test_a_missing_file_is_refused(tmp_path):
    assert "No such file" in refused(tmp_path)


@pytest.mark.parametrize("at", [5, 10])
@pytest.mark.parametrize(("method", "settings"), [
    ("reweighted", {"p": 1}), ("movement", {"p": 1}), ("reweighted", {"table": True}),
    ("movement", {"structure": "row"}),
])
def test_the_file_of_another_run_is_refused(method, settings, at, tmp_path):
    """Of other groups or other layers: at once, not in some later step."""
    saved(tmp_path, at=at, method=method)
    message = refused(tmp_path, method=method, **settings)
    assert "with shape" in message or "of other layers" in message


def test_the_old_file_survives_a_failed_write(tmp_path, monkeypatch):
    path = saved(tmp_path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match="No space"):
        saved(tmp_path, at=10)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


# Masks of an earlier run

@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_adopted_masks_are_held_and_nothing_is_pruned(structure, tmp_path):
    first = Net()
    pruner = pruner_of(first, method="magnitude", structure=structure)
    pruner.begin_step(0)
    masks = pruner.masks()

    net = Net()
    net.load_state_dict(first.state_dict())
    later = pruner_of(net, structure=structure)
    later.adopt(masks)
    assert later.pruned
    moved = state_of(net)

    def after(step):
        assert not any(getattr(net, name).weight[~mask].any() for name, mask in masks.items())

    run(net, later, optimizer_of(net), after=after)
    assert later.reweightings == 0
    assert all(torch.equal(later.masks()[name], mask) for name, mask in masks.items())
    assert not torch.equal(net.up.weight, moved["up.weight"])
    later.save(tmp_path)
    again = pruner_of(Net(), structure=structure)
    again.load(tmp_path)
    assert again.pruned
    assert all(torch.equal(again.masks()[name], mask) for name, mask in masks.items())
