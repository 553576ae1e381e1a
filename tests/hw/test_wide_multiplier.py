# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.wide_multiplier import WideMultiplier
from tests.hw.bench import run


@pytest.mark.parametrize(("a_bits", "b_bits"), [(32, 18), (19, 18), (35, 1)])
def test_products(a_bits, b_bits):
    rng = random.Random(a_bits)

    def corners(bits):
        return [-1 << (bits - 1), (1 << (bits - 1)) - 1, 0, -1]

    a_corners = [*corners(a_bits), *(value for value in (1 << 17, (1 << 17) - 1, -1 << 17, 1 << 16)
                                     if value < 1 << (a_bits - 1))]
    cases = [(a, b) for a in a_corners for b in corners(b_bits)]
    cases += [(rng.randrange(-1 << (a_bits - 1), 1 << (a_bits - 1)),
               rng.randrange(-1 << (b_bits - 1), 1 << (b_bits - 1))) for _ in range(300)]
    dut, seen = WideMultiplier(a_bits=a_bits, b_bits=b_bits), []

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


@pytest.mark.parametrize(("keywords", "message"), [
    ({"a_bits": 18, "b_bits": 8}, "a_bits must be in 19..35, not 18"),
    ({"a_bits": 36, "b_bits": 8}, "a_bits must be in 19..35, not 36")])
def test_refuses(keywords, message):
    with pytest.raises(ValueError, match=message):
        WideMultiplier(**keywords)
