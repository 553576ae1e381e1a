# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.act_buffer import ActBuffer
from sparseloom.hw.array import skew
from sparseloom.hw.memory import SimpleDualPort
from tests.hw.bench import run


def whole(seen, count):
    """``count`` words of what was seen in each cycle, each put together again."""
    rows = len(seen[0])
    return [[seen[at + ActBuffer.LATENCY + skew(r)][r] for r in range(rows)]
            for at in range(count)]


def set_write(ctx, port, addr, data):
    ctx.set(port.en, 1)
    ctx.set(port.addr, addr)
    ctx.set(port.data, data)


@pytest.mark.parametrize(("depth", "max_k", "rows"), [(2, 1, 1), (64, 24, 3), (256, 100, 8)])
def test_base_plus_index_at_the_exact_latency(depth, max_k, rows):
    rng = random.Random(depth)
    dut = ActBuffer(depth=depth, max_k=max_k, rows=rows)
    assert ActBuffer.LATENCY == 3 + SimpleDualPort.LATENCY
    words = [[rng.randrange(-128, 128) for _ in range(rows)] for _ in range(depth)]
    reads = [(0, 0), (depth - max_k, max_k - 1)]
    while len(reads) < 200:
        k = rng.randrange(max_k)
        reads.append((rng.randrange(depth - k), k))
    seen = []

    async def drive(ctx):
        for addr in range(depth):
            set_write(ctx, dut.write, addr, words[addr])
            await ctx.tick()
        set_write(ctx, dut.write, 0, [99] * rows)
        ctx.set(dut.write.en, 0)
        for base, k in reads + [(0, 0)] * (ActBuffer.LATENCY + skew(rows)):
            ctx.set(dut.base, base)
            ctx.set(dut.k, k)
            *_, x = await ctx.tick().sample(dut.x)
            seen.append([x[r] for r in range(rows)])

    run(dut, drive, max_cycles=depth + len(reads) + 20)
    assert whole(seen, 200) == [words[base + k] for base, k in reads]


def test_one_half_is_read_while_the_other_is_written():
    rng = random.Random(2)
    dut = ActBuffer(depth=32, max_k=16, rows=3)
    old, new = ([[rng.randrange(-128, 128) for _ in range(3)] for _ in range(16)]
                for _ in range(2))
    seen = []

    async def drive(ctx):
        for at in range(16):
            set_write(ctx, dut.write, at, old[at])
            await ctx.tick()
        for half, fill in ((0, new), (16, None)):
            for at in range(16):
                set_write(ctx, dut.write, 16 + at, new[at])
                ctx.set(dut.write.en, fill is not None)
                ctx.set(dut.base, half)
                ctx.set(dut.k, at)
                *_, x = await ctx.tick().sample(dut.x)
                seen.append([x[r] for r in range(3)])
        for _ in range(ActBuffer.LATENCY + skew(2)):
            *_, x = await ctx.tick().sample(dut.x)
            seen.append([x[r] for r in range(3)])

    run(dut, drive, max_cycles=100)
    assert whole(seen, len(old + new)) == old + new
