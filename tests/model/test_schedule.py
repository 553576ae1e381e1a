"""When γ is computed and groups are pruned, against steps counted by hand."""
import pytest

from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.schedule import Schedule, make_schedule, milestone_steps


def schedule_of(steps=80, epoch_steps=20, *, penalty_rate=0.5, warmup=0.05, **settings):
    return make_schedule(PruneConfig(**settings), steps, epoch_steps, penalty_rate=penalty_rate,
                         warmup=warmup)


@pytest.mark.parametrize(("milestones", "steps", "epoch_steps", "expected"), [
    (("0", "0.25", "0.5", "0.75"), 8, 100, [0, 2, 4, 6]),
    (("0", "0.25", "0.5", "0.75"), 4, 100, [0, 1, 2, 3]),
    (("0.5", "0"), 5, 100, [0, 2]),
    (("0.7",), 10, 100, [7]),                   # 0.7 × 10 is a little under 7
    (("0", "0.999"), 3, 100, [0, 2]),
    (("0ep", "1ep", "1.5ep"), 40, 20, [0, 20, 30]),
    (("0", "0.1ep"), 40, 12.5, [0, 1]),
    (("0.3ep",), 4, 10, [3]),                   # 0.3 × 10 likewise
    (("0.5", "1ep"), 40, 12, [12, 20]),
])
def test_milestones_by_hand(milestones, steps, epoch_steps, expected):
    assert milestone_steps(milestones, steps, epoch_steps) == expected


@pytest.mark.parametrize(("milestones", "steps", "epoch_steps", "message"), [
    (("0", "2ep"), 40, 20,
     "expected steps below 40, the length of the penalised stage, found 2ep, which is step 40"),
    (("3.5ep",), 40, 20,
     "expected steps below 40, the length of the penalised stage, found 3.5ep, which is step 70"),
    (("0",), 0, 20,
     "expected steps below 0, the length of the penalised stage, found 0, which is step 0"),
    (("0", "0.25", "0.5", "0.75"), 3, 20,
     "expected a step of its own for each, found 0 and 0.25 at step 0 of 3; "
     "train longer or name fewer"),
    (("0.5", "1ep"), 40, 20,
     "expected a step of its own for each, found 0.5 and 1ep at step 20 of 40; "
     "train longer or name fewer"),
])
def test_a_milestone_that_never_fires_is_refused(milestones, steps, epoch_steps, message):
    """The trap: γ that is meant to follow the weights and, on a short schedule, does not."""
    with pytest.raises(InputError) as problem:
        milestone_steps(milestones, steps, epoch_steps)
    assert str(problem.value) == f"milestones: {message}"
    if steps:  # and so in a whole run, of which the stage is a quarter
        with pytest.raises(InputError, match="milestones: expected"):
            schedule_of(4 * steps, epoch_steps, milestones=milestones)


@pytest.mark.parametrize("steps", [16, 17, 100, 12345])
def test_all_milestones_of_a_run_are_in_its_stage(steps):
    schedule = schedule_of(steps)
    assert len(schedule.milestones) == 4 and schedule.milestones[0] == 0
    assert max(schedule.milestones) < schedule.prune_step == steps // 4


def test_a_run_too_short_for_a_stage_is_refused():
    with pytest.raises(InputError) as problem:
        schedule_of(3, method="reweighted")
    assert str(problem.value) == ("prune_at: expected at least one step before the prune, found "
                                  "0.25 of 3 steps")


@pytest.mark.parametrize("prune_at", [0.25, 0.0])
def test_movement_needs_a_stage(prune_at):
    """Without one all scores are nothing, and the prune would go by something else."""
    with pytest.raises(InputError) as problem:
        schedule_of(3, method="movement", prune_at=prune_at)
    assert str(problem.value) == ("prune_at: expected at least one step before the prune, found "
                                  f"{prune_at:g} of 3 steps")


def test_parts_of_a_run():
    """80 steps: 20 before the prune."""
    assert schedule_of().prune_step == 20
    assert schedule_of().milestones == (0, 5, 10, 15)
    assert schedule_of().events == ((20, 2.0),)
    assert schedule_of(prune_at=0.7).prune_step == 56  # 0.7 × 80 is a little under 56
    assert schedule_of(method="lasso").milestones == (0,)
    assert schedule_of(method="movement").milestones == ()


@pytest.mark.parametrize("method", ["magnitude", "random"])
def test_one_shot_methods_prune_at_once(method):
    """And train as many steps as the others, all of them after it."""
    schedule = schedule_of(method=method, gradual=3, compression=4.0)
    assert (schedule.steps, schedule.prune_step, schedule.milestones) == (80, 0, ())
    assert schedule.events == ((0, 4.0),)


def test_gradual_prunes():
    """Even in time and in the factor between: 2, 4 and 8 at thirds of 20 steps."""
    schedule = schedule_of(gradual=3, compression=8.0)
    assert [step for step, _ in schedule.events] == [6, 13, 20]
    assert [found for _, found in schedule.events] == pytest.approx([2.0, 4.0, 8.0])
    assert schedule.events[-1][1] == 8.0
    every = schedule_of(gradual=20, compression=8.0)
    assert [step for step, _ in every.events] == list(range(1, 21))
    with pytest.raises(InputError) as problem:
        schedule_of(gradual=21)
    assert str(problem.value) == ("gradual: expected at most 20, the steps before the prune, "
                                  "found 21")


def test_movement_has_its_own_way_to_the_compression():
    assert schedule_of(method="movement", gradual=3).events == ((20, 2.0),)


def test_rate_by_hand():
    """Before the prune a half of it: up in two steps, down to nothing at its end; then again."""
    schedule = Schedule(steps=30, prune_step=10, events=((10, 2.0),), milestones=(0,),
                        penalty_rate=0.5, warmup=0.2)
    assert [schedule.rate(step) for step in range(10)] == pytest.approx(
        [0.25, 0.45, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15, 0.1, 0.05])
    assert [schedule.rate(step) for step in (10, 11, 12, 13, 14, 20, 29)] == pytest.approx(
        [0.25, 0.5, 0.75, 0.85, 0.8, 0.5, 0.05])
    assert schedule.rate(30) == 0.0


@pytest.mark.parametrize("steps", [16, 80, 1000])
@pytest.mark.parametrize("warmup", [0.0, 0.05, 1.0])
@pytest.mark.parametrize("penalty_rate", [0.1, 2.0])
def test_shares_of_the_penalty_sum_to_one(steps, warmup, penalty_rate):
    """So that λ means the same on any schedule; a step takes as its learning rate says."""
    schedule = schedule_of(steps, warmup=warmup, penalty_rate=penalty_rate)
    shares = [schedule.share(step) for step in range(schedule.prune_step)]
    assert sum(shares) == pytest.approx(1)
    assert min(shares) > 0
    assert shares[1] / shares[0] == pytest.approx(schedule.rate(1) / schedule.rate(0))


def test_nothing_to_share_without_a_stage():
    schedule = Schedule(steps=5, prune_step=0, events=(), milestones=())
    assert schedule.share(0) == 0.0
