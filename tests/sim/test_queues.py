"""The cycle model against the RTL's counters: seeded random queues, free and stalled."""
import pytest

from sparseloom.model.packed.cycles import delay_bounds
from sparseloom.sim.queues import BUILDS, SMALL, random_queue, run_queues

FREE, STALLED = 26, 8
"""Queues of each build: 234 of them without pauses."""


def different(found):
    """Each queue that the model misses, and the command that runs it again."""
    return [f"{queue.replay()}: measured {queue.measured}, model {queue.predicted}, "
            f"held up {queue.stalls}" for queue in found if not queue.holds]


@pytest.mark.parametrize("build", SMALL)
def test_every_counter_is_exact(build):
    found = run_queues([random_queue(build, seed) for seed in range(FREE)])
    assert len(found) == FREE and not any(queue.stalled for queue in found)
    assert different(found) == []
    for queue in found:
        counters = dict(queue.measured)
        assert counters["busy"] == sum(counters[name] for name in (
            "active", "stall_weights", "stall_acts", "stall_results", "other"))


@pytest.mark.parametrize("build", SMALL)
def test_stalls_stay_within_the_bounds(build):
    found = run_queues([random_queue(build, seed, stalled=True)
                        for seed in range(1000, 1000 + STALLED)])
    assert all(queue.stalled for queue in found)
    # a short queue with rare pauses may meet none
    assert sum(any(queue.stalls.values()) for queue in found) > STALLED // 2
    assert different(found) == []
    assert any(queue.measured["busy"] > queue.predicted["busy"] for queue in found)


def test_queues_differ_and_repeat():
    one, same, other = (random_queue("4x4", seed) for seed in (1, 1, 2))
    assert one.tokens == same.tokens and one.tokens != other.tokens
    jobs = [job for build in BUILDS for seed in range(FREE)
            for job in random_queue(build, seed).jobs()]
    assert any(job.raw for job in jobs) and any(job.lut for job in jobs)
    assert any(0 in job.columns for job in jobs)
    assert any(job.inputs in job.columns for job in jobs if job.inputs > 8)


def test_a_difference_is_reported():
    found = run_queues([random_queue("1x1", 1)])[0]
    found.predicted["busy"] += 1
    assert not found.holds and "sparseloom.sim.queues 1x1 1" in different([found])[0]


def test_bounds():
    stalls = {"weights": 1, "acts": 2, "results": 4}
    assert delay_bounds(100, stalls) == (100, 107)
