# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.drain_link import LINK_SUMS, DrainLink, Take
from tests.hw.bench import run


class Model:
    """What a link shows, cycle by cycle."""

    def __init__(self, sums):
        self.waiting, self.shown = [0] * sums, 0

    def step(self, totals, capture, take, right):
        if take is not None:
            self.shown = {Take.FIRST: totals[0], Take.RIGHT: right}.get(take)
            if self.shown is None:
                self.shown = self.waiting[{Take.SECOND: 1, Take.THIRD: 2}[take]]
        self.waiting = [total if capture >> column & 1 else old for column, (total, old) in
                        enumerate(zip(totals, self.waiting, strict=True))]


@pytest.mark.parametrize("sums", range(1, LINK_SUMS + 1))
@pytest.mark.parametrize("end", [False, True])
def test_takes_what_it_is_told(sums, end):
    bits = 6
    rng = random.Random(10 * sums + end)
    dut, model, taken = DrainLink(sums=sums, sum_bits=bits, end=end), Model(sums), set()
    choices = [Take.FIRST, Take.SECOND, Take.THIRD][:sums] + [Take.RIGHT] * (not end) + [None]

    def number():
        return rng.randrange(-(1 << bits - 1), 1 << bits - 1)

    async def drive(ctx):
        for _ in range(600):
            totals, right = [number() for _ in range(sums)], number()
            capture, take = rng.getrandbits(sums), rng.choice(choices)
            ctx.set(dut.totals, totals)
            ctx.set(dut.right, right)
            ctx.set(dut.capture, capture)
            ctx.set(dut.move, take is not None)
            ctx.set(dut.take, rng.choice(choices[:-1]) if take is None else take)
            await ctx.tick()
            model.step(totals, capture, take, right)
            taken.add(take)
            assert ctx.get(dut.shown) == model.shown

    run(dut, drive, max_cycles=700)
    assert taken == set(choices)


@pytest.mark.parametrize("sums", [0, LINK_SUMS + 1])
def test_refuses(sums):
    with pytest.raises(ValueError, match=f"sums must be in 1..3, not {sums}"):
        DrainLink(sums=sums, sum_bits=20)
