"""What every part must do that stands in the way of a stream and holds two payloads of it."""
import random

from tests.hw.bench import get, pause, put, run, watch


def passes_all_in_order(dut, slow_source, slow_sink):
    """200 words come out as they went in, one a cycle where nobody is slow."""
    rng = random.Random(1)
    words = [rng.getrandbits(9) for _ in range(200)]
    seen, cycles = [], []

    async def source(ctx):
        for word in words:
            await pause(ctx, rng, slow_source)
            await put(ctx, dut.i, word)

    async def sink(ctx):
        for _ in words:
            await pause(ctx, rng, slow_sink)
            seen.append(await get(ctx, dut.o))

    async def count(ctx):
        async for _ in ctx.tick():
            cycles.append(1)

    run(dut, source, sink, background=[watch(dut.o), watch(dut.i), count], max_cycles=2000)
    assert seen == words
    if not slow_source and not slow_sink:
        assert len(cycles) <= len(words) + 2, "a word a cycle"


def neither_side_sees_the_other(dut):
    """Filled with two payloads, it answers from registers, whatever either side does."""
    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        for word in (1, 2):                     # nobody takes: two go in
            assert ctx.get(dut.i.ready)
            ctx.set(dut.i.payload, word)
            await ctx.tick()
        for level in (1, 0, 1):                 # within a cycle neither side sees the other
            ctx.set(dut.o.ready, level)
            assert not ctx.get(dut.i.ready)
            ctx.set(dut.i.valid, level)
            assert (ctx.get(dut.o.valid), ctx.get(dut.o.payload)) == (1, 1)

    run(dut, bench, max_cycles=20)
