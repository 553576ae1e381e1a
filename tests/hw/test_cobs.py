# amaranth: UnusedElaboratable=no
import random
from collections.abc import Sequence

import pytest

from sparseloom.hw.cobs import CobsDecoder, CobsEncoder
from sparseloom.model.packed.link import FrameError, cobs_decode, cobs_encode
from tests.hw.bench import get, pause, put, run, watch

RUN = bytes(range(1, 255))
PLAIN = [b"\1", b"\0", b"\0\0", b"\x11\0\x22", RUN[:253], RUN, RUN + b"\0", RUN + b"\xff",
         RUN + RUN, RUN + b"\0" + RUN, b"\0" + RUN, bytes(10), b"x" * 255 + b"\0",
         *(bytes(random.Random(n).choice((0, 7, 255)) for _ in range(n)) for n in (5, 40, 300))]


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_encoder_matches(stall):
    rng = random.Random(1)
    dut, seen = CobsEncoder(), bytearray()
    expected = b"".join(b"\0" + cobs_encode(plain) + b"\0" for plain in PLAIN)

    async def source(ctx):
        for plain in PLAIN:
            for index, byte in enumerate(plain):
                await pause(ctx, rng, stall)
                await put(ctx, dut.i, {"data": byte, "last": index == len(plain) - 1})

    async def sink(ctx):
        for _ in expected:
            await pause(ctx, rng, stall)
            seen.append(await get(ctx, dut.o))
        for _ in range(8):
            await ctx.tick()
            assert not ctx.get(dut.o.valid)

    run(dut, source, sink, background=[watch(dut.o)], max_cycles=12 * len(expected))
    assert bytes(seen) == expected


def decode(line: Sequence[int | str], *, idle_cycles: int = 50, stall: float = 0.0,
           ) -> list[tuple[bytes, bool]]:
    """Frames out of the decoder, and whether each was called whole.

    ``line`` holds bytes, ``idle`` (nothing for longer than the limit) and ``spoil``.
    """
    rng = random.Random(2)
    dut, frames, frame = CobsDecoder(idle_cycles=idle_cycles), [], bytearray()

    async def source(ctx):
        for item in line:
            if item == "idle":
                for _ in range(idle_cycles + 2):
                    await ctx.tick()
            elif item == "spoil":
                ctx.set(dut.spoil, 1)
                await ctx.tick()
                ctx.set(dut.spoil, 0)
            else:
                await pause(ctx, rng, stall)
                ctx.set(dut.i.payload, item)
                ctx.set(dut.i.valid, 1)
                await ctx.tick()
                ctx.set(dut.i.valid, 0)
        await ctx.tick()
        await ctx.tick()

    async def sink(ctx):
        async for _, _, valid, out in ctx.tick().sample(dut.o.valid, dut.o.payload):
            if valid and out.end:
                frames.append((bytes(frame), not out.damaged))
                frame.clear()
            elif valid:
                frame.append(out.data)

    run(dut, source, background=[sink], max_cycles=20 * len(line) + 10 * idle_cycles)
    assert not frame, "bytes that belong to no frame"
    return frames


@pytest.mark.parametrize("stall", [0.0, 0.5])
def test_decoder_matches(stall):
    line = [byte for plain in PLAIN for byte in (0, *cobs_encode(plain), 0)]
    assert decode(line, stall=stall) == [(plain, True) for plain in PLAIN]


def test_decoder_agrees_on_damaged_lines():
    rng = random.Random(9)
    lines = [bytes(rng.choice((1, 2, 3, 5, 255)) for _ in range(rng.randrange(1, 12)))
             for _ in range(100)]
    found = decode([byte for line in lines for byte in (0, *line, 0)])
    good = 0
    for line, (plain, whole) in zip(lines, found, strict=True):
        try:
            expected = cobs_decode(line)
        except FrameError:
            assert not whole
        else:
            assert whole
            assert plain == expected
            good += 1
    assert 10 < good < 90


def test_half_a_frame_ends_by_itself():
    assert decode([0, 5, 1, 2, "idle", 3, 9, 9, 0]) == [(b"\1\2", False), (b"\x09\x09", True)]
    assert decode([0, 0, "idle", 0, 0]) == [], "silence is no frame"


def test_a_lost_byte_damages_its_frame_alone():
    assert decode([0, 3, 1, "spoil", 2, 0, 2, 7, 0]) == [(b"\1\2", False), (b"\7", True)]
    assert decode([0, "spoil", 0, 2, 7, 0]) == [(b"", False), (b"\7", True)]
    assert decode(["spoil", "idle", 2, 7, 0]) == [(b"", False), (b"\7", True)]


def test_refuses_a_limit_too_small():
    with pytest.raises(ValueError, match="idle_cycles must be at least 2, not 1"):
        CobsDecoder(idle_cycles=1)
