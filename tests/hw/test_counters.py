# amaranth: UnusedElaboratable=no
import random

from sparseloom.hw.counters import WIDTH, Counters
from sparseloom.hw.tile_walk import Cause
from tests.hw.bench import run

PARTS = [cause.name.lower() for cause in Cause]


def simulate(dut, cycles, before=()):
    """Counts seen in each cycle of (count, cause, clear), and in two more."""
    seen = []

    async def drive(ctx):
        for name, value in before:
            ctx.set(getattr(dut, name), value)
        for count, cause, clear in [*cycles, (0, Cause.OTHER, 0), (0, Cause.OTHER, 0)]:
            ctx.set(dut.count, count)
            ctx.set(dut.cause, cause)
            ctx.set(dut.clear, clear)
            _, _, *values = await ctx.tick().sample(
                *(getattr(dut, name) for name in ("busy", *PARTS)))
            seen.append(dict(zip(("busy", *PARTS), values, strict=True)))

    run(dut, drive, max_cycles=len(cycles) + 10)
    return seen


def test_each_cause_counts_busy_and_itself_two_cycles_later():
    for cause in Cause:
        seen = simulate(Counters(), [(1, cause, 0), (0, cause, 0)])
        expected = {"busy": 1, **{name: int(name == cause.name.lower()) for name in PARTS}}
        assert seen[1] == dict.fromkeys(expected, 0)
        assert seen[2] == seen[3] == expected


def test_random_cycles_add_up():
    rng = random.Random(6)
    cycles = [(int(rng.random() < 0.8), rng.choice(list(Cause)), int(rng.random() < 0.01))
              for _ in range(1500)]
    seen = simulate(Counters(), cycles)
    counts = dict.fromkeys(("busy", *PARTS), 0)
    for at, after in enumerate(seen[2:], start=1):      # a clear acts at once, a count a cycle on
        count, cause, _ = cycles[at - 1]
        clear = at < len(cycles) and cycles[at][2]
        if clear:
            counts = dict.fromkeys(counts, 0)
        elif count:
            counts["busy"] += 1
            counts[cause.name.lower()] += 1
        assert after == counts, f"cycle {at}"
        assert after["busy"] == sum(after[name] for name in PARTS)
    assert sum(clear for *_, clear in cycles) > 5


def test_clear_wins_over_a_count():
    seen = simulate(Counters(), [(1, Cause.ACTIVE, 0), (1, Cause.ACTIVE, 1), (0, Cause.ACTIVE, 1)])
    assert all(value == 0 for cycle in seen for value in cycle.values())


def test_counts_wrap():
    top = (1 << WIDTH) - 1
    seen = simulate(Counters(), [(1, Cause.STALL_ACTS, 0)],
                    before=[("busy", top), ("stall_acts", top)])
    assert seen[1]["busy"] == seen[1]["stall_acts"] == top
    assert seen[2]["busy"] == seen[2]["stall_acts"] == 0
