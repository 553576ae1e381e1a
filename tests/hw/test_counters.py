# amaranth: UnusedElaboratable=no
import random

import pytest
from amaranth.hdl import ResetInserter, Signal

from sparseloom.hw.counters import Counters
from sparseloom.hw.registers import COUNTERS
from sparseloom.hw.tile_walk import Cause
from tests.hw.bench import run

IDLE = (0, Cause.OTHER, 0)
LIMIT = len(COUNTERS) + 3
"""Cycles from ``read`` to ``there`` at most."""


def simulate(dut, cycles, reads):
    """Reads one after the other while (count, cause, clear) of each cycle go by.

    Answers (cycle of ``there``, index, value) of each. Cycles go on with idle ones.
    """
    seen = []

    async def drive(ctx):
        for at in range(len(cycles) + (LIMIT + 2) * len(reads)):
            count, cause, clear = cycles[at] if at < len(cycles) else IDLE
            ctx.set(dut.count, count)
            ctx.set(dut.cause, cause)
            ctx.set(dut.clear, clear)
            await ctx.tick()

    async def host(ctx):
        at = 0
        for pause, index in reads:
            ctx.set(dut.bank.index, (index + 1) % len(COUNTERS))
            await ctx.tick().repeat(pause + 1)
            ctx.set(dut.bank.index, index)
            ctx.set(dut.bank.read, 1)
            await ctx.tick()
            ctx.set(dut.bank.read, 0)
            waited = 1
            while not ctx.get(dut.bank.there):
                await ctx.tick()
                waited += 1
            assert waited <= LIMIT
            at += pause + 1 + waited
            value = ctx.get(dut.bank.value)
            seen.append((at, index, value))
            await ctx.tick()
            at += 1
            assert not ctx.get(dut.bank.there) and ctx.get(dut.bank.value) == value

    run(dut, drive, host, max_cycles=len(cycles) + 100 * len(reads) + 10)
    return seen


def totals(cycles, width=32):
    """What the counters hold behind each cycle."""
    counts, after = dict.fromkeys(COUNTERS, 0), []
    for count, cause, clear in cycles:
        if clear:
            counts = dict.fromkeys(COUNTERS, 0)
        elif count:
            counts = {name: (value + (name in ("BUSY", cause.name))) % (1 << width)
                      for name, value in counts.items()}
        after.append(counts)
    return after


ALL = [(0, index) for index in range(len(COUNTERS))]


@pytest.mark.parametrize("cause", list(Cause))
def test_each_cause_counts_busy_and_itself(cause):
    seen = simulate(Counters(), [(1, cause, 0)], [(Counters.LATENCY, 0), *ALL])
    assert [value for _, _, value in seen[1:]] == [
        int(name in ("BUSY", cause.name)) for name in COUNTERS]


@pytest.mark.parametrize("width", [8, 32])
def test_values_are_of_the_cycle_that_is_promised(width):
    rng = random.Random(6)
    cycles = [(int(rng.random() < 0.8), rng.choice(list(Cause)), int(rng.random() < 0.01))
              for _ in range(4000)]
    reads = [(rng.randrange(6), rng.randrange(len(COUNTERS))) for _ in range(300)]
    after = totals(cycles, width)
    seen = simulate(Counters(width=width), cycles, reads)
    assert len(seen) == len(reads) and len({at % len(COUNTERS) for at, *_ in seen}) > 1
    nothing = dict.fromkeys(COUNTERS, 0)
    for at, index, value in seen:
        expected = after[at - Counters.LATENCY] if at >= Counters.LATENCY else nothing
        assert value == expected[COUNTERS[index]], f"cycle {at}, {COUNTERS[index]}"
    assert sum(clear for *_, clear in cycles) > 5


def test_parts_add_up_to_busy():
    rng = random.Random(7)
    cycles = [(int(rng.random() < 0.8), rng.choice(list(Cause)), 0) for _ in range(500)]
    busy, *parts = [value for *_, value in simulate(Counters(), cycles, [(520, 0), *ALL])[1:]]
    assert busy == sum(parts) == sum(count for count, *_ in cycles)


def test_clear_wins_over_a_count():
    cycles = [(1, Cause.ACTIVE, 0)] * 9 + [(1, Cause.ACTIVE, 1)] * 2
    seen = simulate(Counters(), cycles, [(9, 0), *ALL])
    assert [value for *_, value in seen[1:]] == [0] * len(COUNTERS)


def test_counts_wrap():
    cycles = [(1, Cause.STALL_ACTS, 0)] * 19
    seen = simulate(Counters(width=4), cycles, [(30, 0), *ALL])
    assert [value for *_, value in seen[1:]] == [
        3 if name in ("BUSY", "STALL_ACTS") else 0 for name in COUNTERS]


def test_reset_clears():
    dut, reset, seen = Counters(), Signal(), []

    async def drive(ctx):
        ctx.set(dut.count, 1)
        await ctx.tick().repeat(19)
        ctx.set(reset, 1)
        ctx.set(dut.count, 0)
        await ctx.tick()
        ctx.set(reset, 0)
        for index in range(len(COUNTERS)):
            ctx.set(dut.bank.index, index)
            ctx.set(dut.bank.read, 1)
            await ctx.tick()
            ctx.set(dut.bank.read, 0)
            value, = await ctx.tick().sample(dut.bank.value).until(dut.bank.there)
            seen.append(value)

    run(ResetInserter(reset)(dut), drive, max_cycles=100)
    assert seen == [0] * len(COUNTERS)
