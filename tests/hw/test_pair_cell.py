# amaranth: UnusedElaboratable=no
import itertools
import random

import pytest

from sparseloom.hw import weight_word
from sparseloom.hw.cell import Cell
from sparseloom.hw.pair_cell import PairCell
from tests.hw.bench import run
from tests.hw.test_cell import marked


def word(low, high):
    return 16 * high + low


def test_all_products():
    """Every pair of weights with every activation: both products, one after the other."""
    dut, seen, lag = PairCell(sum_bits=12), [], PairCell.CAPTURE_LATENCY
    captured = PairCell.CAPTURE % 2         # where of the two cycles of a case sums land
    cases = list(itertools.product(range(-8, 8), range(-8, 8), range(-128, 128)))

    async def drive(ctx):
        ctx.set(dut.first, 1)
        ctx.set(dut.move, 1)
        for x, low, high in [*((x, low, high) for low, high, x in cases), *[(0, 0, 0)] * lag]:
            ctx.set(dut.x, x)
            ctx.set(dut.w, word(low, high))
            for half in range(2):
                ctx.set(dut.capture, half == captured)
                await ctx.tick()
                seen.append(ctx.get(dut.drained))

    run(dut, drive, max_cycles=2 * len(cases) + 100)
    assert len(cases) == 16 * 16 * 256
    found = seen[lag - 1:lag - 1 + 2 * len(cases)]
    assert found == [product for low, high, x in cases for product in (low * x, high * x)]


@pytest.mark.parametrize("seed", [1, 2])
def test_sums_each_run_and_keeps_both_while_the_next_one_runs(seed):
    rng = random.Random(seed)
    dut = PairCell(sum_bits=17)             # holds 40 * 2**10, signed
    runs = [[(rng.randrange(-128, 128), (rng.randrange(-8, 8), rng.randrange(-8, 8)))
             for _ in range(length)] for length in (1, 2, 7, 1, 30, 3)]
    runs += [[(-128, pair)] * 40 for pair in ((-8, -8), (7, -8), (-8, 7), (7, 7))]
    columns = [(x, pair, int(i == 0), int(i == len(run_) - 1)) for run_ in runs
               for i, (x, pair) in enumerate(run_)]
    ends = [at for at, case in enumerate(columns) if case[3]]
    # The right sum is seen a cycle after the left, where no other pair lands in that cycle.
    lag = PairCell.CAPTURE_LATENCY
    shifts = {end + lag for end in ends if end + 1 not in ends}
    drained = []

    async def drive(ctx):
        operands = [*((x, pair) for x, pair, *_ in columns), *[(55, (3, -4))] * (lag + 1)]
        for at, ((x, pair), (first, capture)) in enumerate(
                zip(operands, marked(columns, lag + 1), strict=False)):
            ctx.set(dut.x, x)
            ctx.set(dut.w, word(*pair))
            ctx.set(dut.first, first)
            ctx.set(dut.capture, capture)
            ctx.set(dut.move, capture or at in shifts)
            await ctx.tick()
            drained.append(ctx.get(dut.drained))

    run(dut, drive, max_cycles=500)
    for end, pairs in zip(ends, runs, strict=True):
        assert drained[end + lag - 1] == sum(x * w for x, (w, _) in pairs)
        if end + lag in shifts:
            assert drained[end + lag] == sum(x * w for x, (_, w) in pairs)
    assert len(shifts) == len(runs) - 1         # one run of a single column ends behind another


def test_a_move_takes_both_and_a_capture_wins():
    dut = PairCell(sum_bits=20)

    async def drive(ctx):
        ctx.set(dut.drain_right, -777)
        ctx.set(dut.move, 1)
        await ctx.tick()
        ctx.set(dut.drain_right, 888)
        await ctx.tick()
        assert ctx.get(dut.drained) == -777
        await ctx.tick()
        assert ctx.get(dut.drained) == 888
        ctx.set(dut.x, 5)
        ctx.set(dut.w, word(7, -3))
        ctx.set(dut.first, 1)
        await ctx.tick().repeat(PairCell.CAPTURE)
        ctx.set(dut.capture, 1)
        await ctx.tick()
        ctx.set(dut.capture, 0)
        assert ctx.get(dut.drained) == 35
        await ctx.tick()
        assert ctx.get(dut.drained) == -15
        await ctx.tick()
        assert ctx.get(dut.drained) == 888

    run(dut, drive, max_cycles=50)


def test_a_pair_is_as_slow_as_a_cell():
    assert PairCell.CAPTURE_LATENCY == Cell.CAPTURE_LATENCY


def test_refuses():
    with pytest.raises(ValueError, match="sum_bits must be at least 12"):
        PairCell(sum_bits=11)


def test_word_counts():
    assert [weight_word.word_count(cols, 8) for cols in (1, 2, 5, 24)] == [1, 2, 5, 24]
    assert [weight_word.word_count(cols, 4) for cols in (1, 2, 5, 24)] == [1, 1, 3, 12]
