# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.crc import Crc32
from sparseloom.hw.frames import CRC_SETTLES, NACK_LINE, FrameReceiver, FrameSender
from sparseloom.model.packed.codec import pack_record
from sparseloom.model.packed.link import HEADER, Frame, Splitter
from tests.hw.bench import run, watch

DATA = 64


def frames() -> list[Frame]:
    rng = random.Random(4)
    return [Frame(sequence=rng.randrange(256), kind=rng.randrange(1, 8), flags=rng.randrange(4),
                  status=rng.randrange(7), data=bytes(rng.choice((0, 1, 255)) for _ in range(n)))
            for n in (0, 1, 8, 63, DATA)]


async def send(ctx, dut, line):
    for byte in line:
        ctx.set(dut.i.payload, byte)
        ctx.set(dut.i.valid, 1)
        await ctx.tick()
        ctx.set(dut.i.valid, 0)


async def read_frame(ctx, dut) -> Frame:
    header = {name: ctx.get(getattr(dut.header, name)) for name, _ in HEADER}
    found = bytearray()
    for addr in range(header.pop("length")):
        ctx.set(dut.read.addr, addr)
        await ctx.tick().repeat(2)
        found.append(ctx.get(dut.read.data))
    return Frame(**header, data=bytes(found))


async def drop(ctx, dut):
    ctx.set(dut.release, 1)
    await ctx.tick()
    ctx.set(dut.release, 0)


def count_damaged(dut, counted):
    async def process(ctx):
        async for _, _, damaged in ctx.tick().sample(dut.damaged):
            if damaged:
                counted.append(1)
    return process


def test_receiver_takes_whole_frames_and_tells_of_others():
    dut, seen, damaged = FrameReceiver(data_bytes=DATA, idle_cycles=40), [], []
    bad = 0

    async def bench(ctx):
        nonlocal bad
        for frame in frames():
            line = frame.encode()
            for spoilt in (line[:4] + bytes([line[4] ^ 0x80 or 1]) + line[5:],  # a flipped bit
                           line[:5] + line[6:],                                 # a lost byte
                           line[:5] + b"\x5a" + line[5:],                       # one too many
                           line[:-3] + b"\0"):                                  # cut short
                await send(ctx, dut, spoilt)
                await ctx.tick().repeat(CRC_SETTLES)
                assert not ctx.get(dut.held)
                bad += 1
            await send(ctx, dut, line[:6])                    # half a frame, then silence
            await ctx.tick().repeat(42 + CRC_SETTLES)
            bad += 1
            assert len(damaged) == bad
            await send(ctx, dut, line)
            await ctx.tick().repeat(CRC_SETTLES)
            assert ctx.get(dut.held)
            await send(ctx, dut, Frame(sequence=99, kind=1, data=bytes(9)).encode())   # is lost
            await send(ctx, dut, b"\0\5\1\0")                                          # so is this
            seen.append(await read_frame(ctx, dut))
            await drop(ctx, dut)
            await ctx.tick()
            assert not ctx.get(dut.held)
        # Data too long for this receiver, by a byte and by many.
        for size in (DATA + 1, DATA + 5, 1024):
            await send(ctx, dut, Frame(sequence=1, kind=1, data=b"\7" * size).encode())
            await ctx.tick().repeat(CRC_SETTLES)
            assert not ctx.get(dut.held)
            bad += 1
        # Released in the middle of the next frame: that one is lost whole, the one behind is not.
        first, second, third = frames()[1:4]
        await send(ctx, dut, first.encode())
        await ctx.tick().repeat(CRC_SETTLES)
        line = second.encode()
        await send(ctx, dut, line[:5])
        await drop(ctx, dut)
        await send(ctx, dut, line[5:])
        await ctx.tick().repeat(CRC_SETTLES)
        assert not ctx.get(dut.held)
        await send(ctx, dut, third.encode())
        await ctx.tick().repeat(CRC_SETTLES)
        assert await read_frame(ctx, dut) == third
        assert len(damaged) == bad

    run(dut, bench, background=[count_damaged(dut, damaged)], max_cycles=20_000)
    assert seen == frames()
    assert len(damaged) == 5 * len(seen) + 3


def test_the_crc_is_given_the_time_that_it_takes():
    """Cycles from the last byte to a steady value and verdict."""
    dut, verdicts = Crc32(1), []
    packet = bytes(4) + (0x2144DF1C).to_bytes(4, "little")      # four zeros and their CRC

    async def bench(ctx):
        for byte in packet:
            ctx.set(dut.valid, 1)
            ctx.set(dut.data, byte)
            await ctx.tick()
        ctx.set(dut.valid, 0)
        for _ in range(10):
            verdicts.append((ctx.get(dut.value), ctx.get(dut.residue_ok)))
            await ctx.tick()

    run(dut, bench, max_cycles=50)
    assert verdicts[-1][1], "the packet is good"
    assert verdicts.index(verdicts[-1]) + 1 <= CRC_SETTLES


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_sender_sends_again_and_nacks(stall):
    rng = random.Random(5)
    dut, line = FrameSender(data_bytes=DATA), bytearray()
    idle_after = []

    async def begin(ctx, port):
        await ctx.tick().until(dut.idle)
        ctx.set(port, 1)
        await ctx.tick()
        ctx.set(port, 0)

    async def source(ctx):
        for frame in frames():
            await ctx.tick().until(dut.idle)
            plain = pack_record(HEADER, sequence=frame.sequence, kind=frame.kind,
                                flags=frame.flags, status=frame.status, length=len(frame.data))
            ctx.set(dut.write.en, 1)
            for addr, byte in enumerate(plain + frame.data):
                ctx.set(dut.write.addr, addr)
                ctx.set(dut.write.data, byte)
                await ctx.tick()
            ctx.set(dut.write.en, 0)
            ctx.set(dut.length, len(frame.data))
            await begin(ctx, dut.send)
            await begin(ctx, dut.nack)
            await begin(ctx, dut.send)
        await ctx.tick().until(dut.idle)
        idle_after.append(len(line))
        await ctx.tick().repeat(20)

    async def sink(ctx):
        async for _, _, valid, ready, byte in ctx.tick().sample(dut.o.valid, dut.o.ready,
                                                                dut.o.payload):
            if valid and ready:
                line.append(byte)
            ctx.set(dut.o.ready, rng.random() >= stall)

    run(dut, source, background=[sink, watch(dut.o)], max_cycles=40_000)
    found = [Frame.decode(piece) for piece in Splitter().feed(bytes(line))]
    nack = Frame.decode(NACK_LINE[1:-1])
    assert found == [item for frame in frames() for item in (frame, nack, frame)]
    assert idle_after[0] in (len(line), len(line) - 1), "idle before all was sent"


@pytest.mark.parametrize("size", [31, 1025])
def test_refuses_sizes_that_the_link_does_not_know(size):
    with pytest.raises(ValueError, match=f"data_bytes must be in 32..1024, not {size}"):
        FrameSender(data_bytes=size)
    with pytest.raises(ValueError, match="data_bytes"):
        FrameReceiver(data_bytes=size, idle_cycles=9)
