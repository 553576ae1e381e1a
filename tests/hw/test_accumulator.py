# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.accumulator import Accumulator
from tests.hw.bench import run


@pytest.mark.parametrize("sum_bits", [16, 19, 26])
def test_sums_of_runs(sum_bits):
    rng = random.Random(sum_bits)
    longest = 1 << (sum_bits - 16)          # of magnitude 2**15 each, so that none overflows
    cases = [(-1 << 15, int(index % longest == 0)) for index in range(2 * longest if
                                                                      longest < 32 else 32)]
    length = 0
    for _ in range(300):
        first = length == longest or rng.random() < 0.2 or not length
        length = 1 if first else length + 1
        cases.append((rng.randrange(-1 << 15, 1 << 15), int(first)))
    dut, seen, expected, total = Accumulator(product_bits=16, sum_bits=sum_bits), [], [], 0

    async def drive(ctx):
        for product, first in cases:
            ctx.set(dut.product, product)
            ctx.set(dut.first, first)
            await ctx.tick().repeat(dut.LATENCY)
            seen.append(ctx.get(dut.total))

    for product, first in cases:
        total = product + (0 if first else total)
        expected.append(total)
    run(dut, drive, max_cycles=1000)
    assert seen == expected


@pytest.mark.parametrize(("keywords", "message"), [
    ({"product_bits": 16, "sum_bits": 15}, "product_bits must be in 1..sum_bits = 15, not 16"),
    ({"product_bits": 1, "sum_bits": 2, "target": "abacus"},
     "target must be one of generic, ecp5")])
def test_refuses(keywords, message):
    with pytest.raises(ValueError, match=message):
        Accumulator(**keywords)
