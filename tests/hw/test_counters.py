# amaranth: UnusedElaboratable=no
import random

from amaranth.hdl import ResetInserter, Signal

from sparseloom.hw.counters import WIDTH, Counters
from sparseloom.hw.tile_walk import Cause
from tests.hw.bench import run

PARTS = [cause.name.lower() for cause in Cause]


def simulate(dut, cycles):
    """Counts seen in each cycle of (count, cause, clear), and in those until all is shown."""
    seen = []

    async def drive(ctx):
        for count, cause, clear in [*cycles, *[(0, Cause.OTHER, 0)] * (dut.LATENCY + 1)]:
            ctx.set(dut.count, count)
            ctx.set(dut.cause, cause)
            ctx.set(dut.clear, clear)
            _, _, *values = await ctx.tick().sample(
                *(getattr(dut, name) for name in ("busy", *PARTS)))
            seen.append(dict(zip(("busy", *PARTS), values, strict=True)))

    run(dut, drive, max_cycles=len(cycles) + 10)
    return seen


def test_each_cause_counts_busy_and_itself():
    for cause in Cause:
        seen = simulate(Counters(), [(1, cause, 0), (0, cause, 0)])
        expected = {"busy": 1, **{name: int(name == cause.name.lower()) for name in PARTS}}
        latency = Counters.LATENCY
        assert seen[latency - 1] == dict.fromkeys(expected, 0)
        assert seen[latency] == seen[latency + 1] == expected


def test_random_cycles_add_up():
    rng = random.Random(6)
    cycles = [(int(rng.random() < 0.8), rng.choice(list(Cause)), int(rng.random() < 0.01))
              for _ in range(1500)]
    seen = simulate(Counters(), cycles)
    counts = dict.fromkeys(("busy", *PARTS), 0)
    for at, (count, cause, clear) in enumerate(cycles):
        after = seen[at + Counters.LATENCY]
        if clear:
            counts = dict.fromkeys(counts, 0)
        elif count:
            counts["busy"] += 1
            counts[cause.name.lower()] += 1
        assert after == counts, f"cycle {at}"
        assert after["busy"] == sum(after[name] for name in PARTS)
    assert sum(clear for *_, clear in cycles) > 5


def test_clear_wins_over_a_count():
    seen = simulate(Counters(), [(1, Cause.ACTIVE, 1), (1, Cause.ACTIVE, 1), (0, Cause.ACTIVE, 0)])
    assert all(value == 0 for cycle in seen for value in cycle.values())


def test_counts_wrap():
    assert WIDTH == 32
    seen = simulate(Counters(width=3), [(1, Cause.STALL_ACTS, 0)] * 8)
    assert seen[-3]["busy"] == seen[-3]["stall_acts"] == 7
    assert seen[-1]["busy"] == seen[-1]["stall_acts"] == 0


def test_reset_clears():
    dut, reset, seen = Counters(), Signal(), []

    async def drive(ctx):
        ctx.set(dut.count, 1)
        await ctx.tick().repeat(9)
        ctx.set(reset, 1)
        ctx.set(dut.count, 0)
        await ctx.tick().repeat(2)
        ctx.set(reset, 0)
        await ctx.tick().repeat(Counters.LATENCY)
        seen.append(ctx.get(dut.busy))

    run(ResetInserter(reset)(dut), drive, max_cycles=30)
    assert seen == [0]
