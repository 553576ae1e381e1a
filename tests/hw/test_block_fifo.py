# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.block_fifo import BlockFifo
from tests.hw.bench import get, pause, run, watch


@pytest.mark.parametrize("stall", [(0.0, 0.0), (0.6, 0.0), (0.0, 0.6), (0.4, 0.4)])
@pytest.mark.parametrize("depth", [1, 5, 40])
@pytest.mark.parametrize("ahead", [False, True])
def test_in_order_and_all(depth, stall, ahead):
    rng = random.Random(depth)
    words = [rng.randrange(1 << 12) for _ in range(300)]
    dut, seen, held = BlockFifo(shape=12, depth=depth, ahead=ahead), [], [0]

    async def source(ctx):
        for word in words:
            await pause(ctx, rng, stall[0])
            while held[0] == depth:
                await ctx.tick()
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, word)
            held[0] += 1
            await ctx.tick()
            ctx.set(dut.i.valid, 0)

    async def sink(ctx):
        if ahead:
            ready = 0
            while len(seen) < len(words):
                will = rng.random() >= stall[1]
                ctx.set(dut.o.ready, will)
                _, _, valid, word = await ctx.tick().sample(dut.o.valid, dut.o.payload)
                if valid and ready:
                    seen.append(word)
                    held[0] -= 1
                ready = will
            return
        for _ in words:
            await pause(ctx, rng, stall[1])
            seen.append(await get(ctx, dut.o))
            held[0] -= 1
        for _ in range(5):
            await ctx.tick()
            assert not ctx.get(dut.o.valid)

    run(dut, source, sink, max_cycles=5000, background=[] if ahead else [watch(dut.o)])
    assert seen == words


@pytest.mark.parametrize("ahead", [False, True])
def test_latency_and_throughput(ahead):
    dut, offered = BlockFifo(shape=8, depth=20, ahead=ahead), []

    async def bench(ctx):
        ctx.set(dut.o.ready, 1)
        for cycle in range(40):
            ctx.set(dut.i.valid, cycle < 20)
            ctx.set(dut.i.payload, cycle)
            offered.append(ctx.get(dut.o.payload) if ctx.get(dut.o.valid) else None)
            await ctx.tick()

    run(dut, bench, max_cycles=100)
    late = dut.LATENCY
    assert offered == [None] * late + list(range(20)) + [None] * (20 - late)


def test_refuses():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        BlockFifo(shape=8, depth=0)
