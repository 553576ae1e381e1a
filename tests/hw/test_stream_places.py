# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.stream_places import StreamPlaces
from tests.hw.bench import get, pause, put, run, watch


@pytest.mark.parametrize("slow_source", [0.0, 0.6])
@pytest.mark.parametrize("slow_sink", [0.0, 0.6])
def test_passes_all_in_order(slow_source, slow_sink):
    rng = random.Random(1)
    words = [rng.getrandbits(9) for _ in range(200)]
    dut, seen, cycles = StreamPlaces(9), [], []

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


def test_neither_side_sees_the_other_within_a_cycle():
    dut = StreamPlaces(4)

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
