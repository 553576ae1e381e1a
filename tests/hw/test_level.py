import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.level import counted
from tests.hw.bench import run


class Counter(wiring.Component):
    """A level by itself."""

    def __init__(self, most):
        super().__init__({"more": In(1), "less": In(1), "level": Out(most)})

    def elaborate(self, platform):
        m = Module()
        level = Signal.like(self.level)
        m.d.sync += level.eq(counted(level, self.more, self.less))
        m.d.comb += self.level.eq(level)
        return m


@pytest.mark.parametrize("most", [2, 3])
def test_every_step_from_every_level(most):
    dut = Counter(most)
    steps = [(1, 0)] * most + [(1, 1), (0, 0)] + [(0, 1)] * most + [(1, 1), (0, 0), (1, 0), (0, 1)]

    async def bench(ctx):
        count = 0
        for more, less in steps:
            ctx.set(dut.more, more)
            ctx.set(dut.less, less)
            await ctx.tick()
            count += more - less
            assert ctx.get(dut.level) == (1 << count) - 1

    run(dut, bench, max_cycles=100)
