# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.cell import Cell
from tests.hw.bench import run


def marked(columns, lag):
    """``first``, ``capture`` in each cycle of columns ``(..., first, last)``, and ``lag`` more."""
    firsts, captures = ([0] * delay + [column[at] for column in columns] + [0] * lag
                        for at, delay in ((-2, Cell.FIRST), (-1, Cell.CAPTURE)))
    return zip(firsts, captures, strict=False)


def test_sums_each_run_and_keeps_it_while_the_next_one_runs():
    rng = random.Random(3)
    dut, lag = Cell(sum_bits=26), Cell.CAPTURE_LATENCY
    runs = [[(rng.randrange(-128, 128), rng.randrange(-127, 128)) for _ in range(length)]
            for length in (1, 2, 7, 1, 30, 3)]
    runs.append([(-128, -127)] * 40)
    columns = [(x, w, int(i == 0), int(i == len(run_) - 1))
               for run_ in runs for i, (x, w) in enumerate(run_)]
    ends = [at for at, column in enumerate(columns) if column[3]]
    drained = []

    async def drive(ctx):
        operands = [*((x, w) for x, w, *_ in columns), *[(55, 66)] * lag]
        for (x, w), (first, capture) in zip(operands, marked(columns, lag), strict=False):
            ctx.set(dut.x, x)
            ctx.set(dut.w, w)
            ctx.set(dut.first, first)
            ctx.set(dut.capture, capture)
            ctx.set(dut.move, capture)
            await ctx.tick()
            drained.append(ctx.get(dut.drained))

    run(dut, drive, max_cycles=500)
    for end, column_run in zip(ends, runs, strict=True):
        assert drained[end + lag - 1] == sum(x * w for x, w in column_run)


def test_a_move_takes_the_right_neighbour_and_a_capture_the_sum():
    dut = Cell(sum_bits=20)

    async def drive(ctx):
        ctx.set(dut.drain_right, -777)
        ctx.set(dut.move, 1)
        await ctx.tick()
        assert ctx.get(dut.drained) == -777
        ctx.set(dut.drain_right, 11)
        ctx.set(dut.move, 0)
        ctx.set(dut.x, 5)
        ctx.set(dut.w, 7)
        ctx.set(dut.first, 1)
        await ctx.tick().repeat(Cell.CAPTURE)
        assert ctx.get(dut.drained) == -777
        ctx.set(dut.move, 1)
        ctx.set(dut.capture, 1)
        await ctx.tick()
        assert ctx.get(dut.drained) == 35

    run(dut, drive, max_cycles=50)


def test_refuses():
    with pytest.raises(ValueError, match="sum_bits"):
        Cell(sum_bits=15)
