# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.cell import Cell
from tests.hw.bench import run


def operands(columns, lag):
    """``x``, ``w``, ``first`` in each cycle of columns ``(x, w, first)``, and ``lag`` more.

    ``first`` comes when the products do.
    """
    firsts = [0] * Cell.FIRST + [first for *_, first in columns] + [0] * lag
    return [(x, w, first) for (x, w, *_), first in zip(
        [*columns, *[(55, 66)] * lag], firsts, strict=False)]


def test_sums_each_run_and_the_next_one_follows_at_once():
    rng = random.Random(3)
    dut, lag = Cell(sum_bits=26), Cell.SUM
    runs = [[(rng.randrange(-128, 128), rng.randrange(-127, 128)) for _ in range(length)]
            for length in (1, 2, 7, 1, 30, 3)]
    runs.append([(-128, -127)] * 40)
    columns = [(x, w, int(at == 0)) for run_ in runs for at, (x, w) in enumerate(run_)]
    sums = []

    async def drive(ctx):
        for x, w, first in operands(columns, lag):
            ctx.set(dut.x, x)
            ctx.set(dut.w, w)
            ctx.set(dut.first, first)
            await ctx.tick()
            sums.append(ctx.get(dut.totals[0]))

    run(dut, drive, max_cycles=500)
    end = -1
    for column_run in runs:
        end += len(column_run)
        assert sums[end + lag - 1] == sum(x * w for x, w in column_run)


def test_refuses():
    with pytest.raises(ValueError, match="sum_bits"):
        Cell(sum_bits=15)
