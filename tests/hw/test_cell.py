# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.cell import Cell
from tests.hw.bench import run


def test_sums_each_run_and_keeps_it_while_the_next_one_runs():
    rng = random.Random(3)
    dut = Cell(sum_bits=26)
    runs = [[(rng.randrange(-128, 128), rng.randrange(-127, 128)) for _ in range(length)]
            for length in (1, 2, 7, 1, 30, 3)]
    runs.append([(-128, -127)] * 40)
    columns = [(x, w, i == 0, i == len(run_) - 1) for run_ in runs for i, (x, w) in enumerate(run_)]
    ends = [at for at, column in enumerate(columns) if column[3]]
    drained = []

    async def drive(ctx):
        for x, w, first, last in [*columns, *[(55, 66, 0, 0)] * 6]:
            ctx.set(dut.x, x)
            ctx.set(dut.w, w)
            ctx.set(dut.first, first)
            ctx.set(dut.last, last)
            await ctx.tick()
            assert ctx.get(dut.x_right) == x
            assert ctx.get(dut.w_down) == w
            assert ctx.get(dut.first_right) == first
            assert ctx.get(dut.last_right) == last
            drained.append(ctx.get(dut.drained))

    run(dut, drive, max_cycles=500)
    for end, column_run in zip(ends, runs, strict=True):
        assert drained[end + Cell.CAPTURE_LATENCY - 1] == sum(x * w for x, w in column_run)


def test_shift_takes_the_right_neighbour_and_a_capture_wins():
    dut = Cell(sum_bits=20)

    async def drive(ctx):
        ctx.set(dut.drain_right, -777)
        ctx.set(dut.shift, 1)
        await ctx.tick()
        assert ctx.get(dut.drained) == -777
        assert ctx.get(dut.shift_right) == 1
        ctx.set(dut.x, 5)
        ctx.set(dut.w, 7)
        ctx.set(dut.first, 1)
        ctx.set(dut.last, 1)
        for _ in range(Cell.CAPTURE_LATENCY):
            await ctx.tick()
        assert ctx.get(dut.drained) == 35

    run(dut, drive, max_cycles=50)


def test_refuses():
    with pytest.raises(ValueError, match="sum_bits"):
        Cell(sum_bits=15)
