# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.uart import UartReceiver, UartTransmitter
from tests.hw.bench import pause, put, run


def bits_of(byte: int) -> list[int]:
    return [0, *(byte >> i & 1 for i in range(8)), 1]


async def hold(ctx, line, value, cycles):
    ctx.set(line, value)
    for _ in range(cycles):
        await ctx.tick()


@pytest.mark.parametrize("speed", [0.97, 1.0, 1.03])
@pytest.mark.parametrize("divisor", [8, 33, 50])
def test_receives_from_a_clock_that_is_off(divisor, speed):
    rng = random.Random(divisor)
    sent = [0, 255, 0x55, 0xAA, 1, 128, *rng.randbytes(20)]
    dut, seen, broken = UartReceiver(divisor=divisor), [], []

    async def line(ctx):
        begun = now = 0
        for byte in sent:                         # back to back: errors do not add up over bytes
            for index, bit in enumerate(bits_of(byte), start=1):
                end = begun + round(index * divisor * speed)
                await hold(ctx, dut.rx, bit, end - now)
                now = end
            begun = now
        await hold(ctx, dut.rx, 1, 2 * divisor)

    async def sink(ctx):
        async for _, _, valid, byte, bad in ctx.tick().sample(dut.o.valid, dut.o.payload,
                                                              dut.broken):
            if valid:
                seen.append(byte)
            broken.append(bad)

    run(dut, line, background=[sink], max_cycles=12 * divisor * len(sent) + 100)
    assert seen == sent
    assert not any(broken)


def test_glitches_breaks_and_lost_stop_bits():
    divisor = 16
    dut, seen, broken = UartReceiver(divisor=divisor), [], []

    async def line(ctx):
        await hold(ctx, dut.rx, 1, 20)
        await hold(ctx, dut.rx, 0, 5)              # shorter than half a bit
        await hold(ctx, dut.rx, 1, 40)
        for bit in bits_of(0x5A):                  # each bit begins with a spike
            await hold(ctx, dut.rx, 1 - bit if bit else bit, 1)
            await hold(ctx, dut.rx, bit, divisor - 1)
        for bit in bits_of(0xC3):                  # one of the three samples is wrong
            await hold(ctx, dut.rx, bit, 9)
            await hold(ctx, dut.rx, 1 - bit, 1)
            await hold(ctx, dut.rx, bit, divisor - 10)
        await hold(ctx, dut.rx, 0, 40 * divisor)   # a break is one broken byte
        await hold(ctx, dut.rx, 1, 3)
        for bit in bits_of(0x42):
            await hold(ctx, dut.rx, bit, divisor)
        await hold(ctx, dut.rx, 1, divisor)

    async def sink(ctx):
        async for _, _, valid, byte, bad in ctx.tick().sample(dut.o.valid, dut.o.payload,
                                                              dut.broken):
            if valid:
                seen.append(byte)
            if bad:
                broken.append(len(seen))

    run(dut, line, background=[sink], max_cycles=3000)
    assert seen == [0x5A, 0xC3, 0x42]
    assert broken == [2]


@pytest.mark.parametrize("stall", [0.0, 0.99])
@pytest.mark.parametrize("divisor", [8, 11])
def test_sends_what_was_put(divisor, stall):
    rng = random.Random(1)
    sent = [0, 255, *rng.randbytes(12)]
    dut, levels = UartTransmitter(divisor=divisor), []

    async def source(ctx):
        for byte in sent:
            await pause(ctx, rng, stall)
            await put(ctx, dut.i, byte)
        for _ in range(12 * divisor):
            await ctx.tick()

    async def record(ctx):
        async for _, _, level in ctx.tick().sample(dut.tx):
            levels.append(level)

    run(dut, source, background=[record], max_cycles=400 * divisor * len(sent))
    seen, at = [], 0
    while at < len(levels):
        if levels[at]:
            at += 1
            continue
        bits = [levels[at + divisor * i:at + divisor * (i + 1)] for i in range(10)]
        assert all(len(bit) == divisor and len(set(bit)) == 1 for bit in bits)
        assert (bits[0][0], bits[9][0]) == (0, 1)
        seen.append(sum(bit[0] << i for i, bit in enumerate(bits[1:9])))
        at += 10 * divisor
    assert seen == sent
    if not stall:
        assert levels.index(0) + 10 * divisor * len(sent) <= len(levels)
        first = levels.index(0)
        # without a pause: each byte's start bit follows the stop bit before it
        assert [levels[first + 10 * divisor * i] for i in range(len(sent))] == [0] * len(sent)


@pytest.mark.parametrize("component", [UartReceiver, UartTransmitter])
def test_refuses_a_divisor_too_small(component):
    with pytest.raises(ValueError, match="divisor must be at least 8, not 7"):
        component(divisor=7)
