# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.array import skew
from sparseloom.hw.strip_buffer import StripBuffer
from tests.hw.bench import run


def whole(seen, first, count):
    """``count`` words of what was seen in each cycle from ``first`` on, each put together again."""
    return [[seen[at + skew(c)][c] for c in range(len(seen[0]))]
            for at in range(first, first + count)]


def set_write(ctx, port, addr, data):
    ctx.set(port.en, 1)
    ctx.set(port.addr, addr)
    ctx.set(port.data, data)


@pytest.mark.parametrize("w_delay", [0, 1, 3])
@pytest.mark.parametrize(("depth", "max_k", "cols"), [(2, 1, 1), (16, 40, 5), (64, 33, 12)])
def test_index_and_weights_at_their_exact_latencies(depth, max_k, cols, w_delay):
    rng = random.Random(depth)
    dut = StripBuffer(depth=depth, max_k=max_k, cols=cols, w_delay=w_delay)
    indices = [rng.randrange(max_k) for _ in range(depth)]
    weights = [[rng.randrange(-128, 128) for _ in range(cols)] for _ in range(depth)]
    reads = [rng.randrange(depth) for _ in range(150)]
    ks, ws = [], []

    async def drive(ctx):
        # Different addresses on the two ports: neither may write the other's word.
        for at, other in zip(range(depth), reversed(range(depth)), strict=True):
            set_write(ctx, dut.k_write, at, indices[at])
            set_write(ctx, dut.w_write, other, weights[other])
            await ctx.tick()
        ctx.set(dut.k_write.en, 0)          # address and data stay: nothing may be written
        ctx.set(dut.k_write.data, max_k - 1)
        ctx.set(dut.w_write.en, 0)
        await ctx.tick().repeat(StripBuffer.WRITE_LATENCY - 1)
        for addr in reads + [0] * (StripBuffer.K_LATENCY + w_delay + skew(cols)):
            ctx.set(dut.addr, addr)
            ctx.set(dut.k_write.addr, rng.randrange(depth))
            ctx.set(dut.w_write.addr, rng.randrange(depth))
            *_, k, w = await ctx.tick().sample(dut.k, dut.w)
            ks.append(k)
            ws.append([w[c] for c in range(cols)])

    run(dut, drive, max_cycles=depth + len(reads) + 40)
    first = StripBuffer.K_LATENCY
    assert ks[first:first + len(reads)] == [indices[addr] for addr in reads]
    assert whole(ws, first + w_delay, 150) == [weights[addr] for addr in reads]


def test_pairs_of_4_bits():
    """Words of nine bits, each with a place of its own."""
    dut, words = StripBuffer(depth=4, max_k=9, cols=5, w_delay=1, weight_bits=4), []
    rng = random.Random(6)
    fill = [[rng.randrange(-136, 120) for _ in range(3)] for _ in range(4)]

    async def drive(ctx):
        for at, word in enumerate(fill):
            set_write(ctx, dut.w_write, at, word)
            await ctx.tick()
        ctx.set(dut.w_write.en, 0)
        await ctx.tick().repeat(StripBuffer.WRITE_LATENCY - 1)
        for at in range(4):
            ctx.set(dut.addr, at)
            await ctx.tick().repeat(StripBuffer.K_LATENCY + 1 + skew(2))
            words.append([ctx.get(dut.w[index]) for index in range(3)])

    run(dut, drive, max_cycles=50)
    assert words == fill


def test_one_bank_is_read_while_the_other_is_written():
    rng = random.Random(4)
    bank, cols = 8, 3               # the last word is read a cycle behind the first
    dut = StripBuffer(depth=2 * bank, max_k=64, cols=cols, w_delay=2)
    fills = [[(rng.randrange(64), [rng.randrange(-128, 128) for _ in range(cols)])
              for _ in range(bank)] for _ in range(7)]
    seen = []

    async def drive(ctx):
        for turn in range(len(fills) + 1):
            for at in range(bank):
                if turn < len(fills):
                    k, w = fills[turn][at]
                    set_write(ctx, dut.k_write, turn % 2 * bank + at, k)
                    set_write(ctx, dut.w_write, turn % 2 * bank + at, w)
                ctx.set(dut.addr, (turn + 1) % 2 * bank + at)
                *_, k, w = await ctx.tick().sample(dut.k, dut.w)
                seen.append((k, [w[c] for c in range(cols)]))
            ctx.set(dut.k_write.en, 0)
            ctx.set(dut.w_write.en, 0)
            for _ in range(6):              # the last words are read before the bank is written
                *_, k, w = await ctx.tick().sample(dut.k, dut.w)
                seen.append((k, [w[c] for c in range(cols)]))

    run(dut, drive, max_cycles=200)
    turn_cycles = bank + 6
    for turn, fill in enumerate(fills, start=1):
        k_at = turn * turn_cycles + StripBuffer.K_LATENCY
        w_at = k_at + 2
        assert [k for k, _ in seen[k_at:k_at + bank]] == [k for k, _ in fill]
        assert whole([w for _, w in seen], w_at, bank) == [w for _, w in fill]
