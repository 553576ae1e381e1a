# amaranth: UnusedElaboratable=no
import itertools
import random

import pytest

from sparseloom.hw import weight_word
from sparseloom.hw.cell import Cell
from sparseloom.hw.pair_cell import PairCell
from tests.hw.bench import run
from tests.hw.test_cell import operands


def word(low, high):
    return 16 * high + low


def test_all_products():
    """Every pair of weights with every activation."""
    dut, seen, lag = PairCell(sum_bits=12), [], PairCell.SUM
    cases = list(itertools.product(range(-8, 8), range(-8, 8), range(-128, 128)))

    async def drive(ctx):
        ctx.set(dut.first, 1)
        for low, high, x in [*cases, *[(0, 0, 0)] * lag]:
            ctx.set(dut.x, x)
            ctx.set(dut.w, word(low, high))
            await ctx.tick()
            seen.append((ctx.get(dut.totals[0]), ctx.get(dut.totals[1])))

    run(dut, drive, max_cycles=len(cases) + 100)
    assert len(cases) == 16 * 16 * 256
    assert seen[lag - 1:lag - 1 + len(cases)] == [(low * x, high * x) for low, high, x in cases]


@pytest.mark.parametrize("seed", [1, 2])
def test_sums_each_run_and_the_next_one_follows_at_once(seed):
    rng = random.Random(seed)
    dut, lag = PairCell(sum_bits=17), PairCell.SUM      # holds 40 * 2**10, signed
    runs = [[(rng.randrange(-128, 128), (rng.randrange(-8, 8), rng.randrange(-8, 8)))
             for _ in range(length)] for length in (1, 2, 7, 1, 30, 3)]
    runs += [[(-128, pair)] * 40 for pair in ((-8, -8), (7, -8), (-8, 7), (7, 7))]
    columns = [(x, word(*pair), int(at == 0)) for run_ in runs
               for at, (x, pair) in enumerate(run_)]
    sums = []

    async def drive(ctx):
        for x, w, first in operands(columns, lag):
            ctx.set(dut.x, x)
            ctx.set(dut.w, w)
            ctx.set(dut.first, first)
            await ctx.tick()
            sums.append(tuple(ctx.get(total) for total in dut.totals))

    run(dut, drive, max_cycles=500)
    end = -1
    for pairs in runs:
        end += len(pairs)
        assert sums[end + lag - 1] == (sum(x * low for x, (low, _) in pairs),
                                       sum(x * high for x, (_, high) in pairs))


def test_a_pair_is_as_slow_as_a_cell():
    assert PairCell.SUM == Cell.SUM


def test_refuses():
    with pytest.raises(ValueError, match="sum_bits must be at least 12"):
        PairCell(sum_bits=11)


def test_word_counts():
    assert [weight_word.word_count(cols, 8) for cols in (1, 2, 5, 24)] == [1, 2, 5, 24]
    assert [weight_word.word_count(cols, 4) for cols in (1, 2, 5, 24)] == [1, 1, 3, 12]
