# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.multiplier import Multiplier
from tests.hw.bench import run


@pytest.mark.parametrize(("a_bits", "b_bits"), [(8, 8), (18, 17), (1, 3)])
def test_products(a_bits, b_bits):
    rng = random.Random(a_bits)

    def corners(bits):
        return [-1 << (bits - 1), (1 << (bits - 1)) - 1, 0, -1]

    cases = [(a, b) for a in corners(a_bits) for b in corners(b_bits)]
    cases += [(rng.randrange(-1 << (a_bits - 1), 1 << (a_bits - 1)),
               rng.randrange(-1 << (b_bits - 1), 1 << (b_bits - 1))) for _ in range(100)]
    dut, seen = Multiplier(a_bits=a_bits, b_bits=b_bits), []

    async def bench(ctx):
        for cycle in range(len(cases) + dut.LATENCY):
            a, b = cases[min(cycle, len(cases) - 1)]
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            if cycle >= dut.LATENCY:
                seen.append(ctx.get(dut.product))
            await ctx.tick()

    run(dut, bench, max_cycles=1000)
    assert seen == [a * b for a, b in cases]


def test_refuses_bad_parameters():
    with pytest.raises(ValueError, match=r"b_bits must be in 1\.\.18, not 0"):
        Multiplier(a_bits=8, b_bits=0)
    with pytest.raises(ValueError, match=r"a_bits must be in 1\.\.18, not 19"):
        Multiplier(a_bits=19, b_bits=8)
    with pytest.raises(ValueError, match="bel must be None for target generic"):
        Multiplier(a_bits=8, b_bits=8, bel="X4/Y10/MULT18_0")
    with pytest.raises(ValueError, match="target must be one of generic"):
        Multiplier(a_bits=8, b_bits=8, target="abacus")
