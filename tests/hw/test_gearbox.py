# amaranth: UnusedElaboratable=no
import random
import re

import pytest
from amaranth.back import verilog

from sparseloom.hw.gearbox import Gearbox, choices
from tests.hw.bench import get, pause, put, run, watch

WIDTHS = [(1, 1), (4, 4), (8, 12), (12, 8), (8, 5), (5, 8), (16, 1), (1, 16), (3, 4), (12, 4),
          (4, 12), (16, 8), (4, 8), (16, 31), (8, 1), (8, 3), (31, 16), (16, 12), (4, 20), (4, 14)]


def pack(packets, in_bytes, out_bytes):
    """The contract: bytes of each packet, cut anew; [(value, count, last)]."""
    words = []
    for packet in packets:
        octets = b"".join(word.to_bytes(in_bytes, "little") for word in packet)
        pieces = [octets[at:at + out_bytes] for at in range(0, len(octets), out_bytes)]
        words += [(int.from_bytes(piece, "little"), len(piece), number == len(pieces))
                  for number, piece in enumerate(pieces, start=1)]
    return words


def make_packets(rng, in_bytes, lengths):
    return [[rng.randrange(1 << (8 * in_bytes)) for _ in range(length)] for length in lengths]


@pytest.mark.parametrize("stall", [(0, 0), (0.5, 0), (0, 0.6), (0.4, 0.4)],
                         ids=["free", "slow-in", "slow-out", "both"])
@pytest.mark.parametrize(("in_bytes", "out_bytes"), WIDTHS)
def test_repacks_bytes(in_bytes, out_bytes, stall):
    rng = random.Random(in_bytes * 100 + out_bytes)
    packets = make_packets(rng, in_bytes, [1, 2, 3, out_bytes] + [rng.randrange(1, 12)
                                                                 for _ in range(4)])
    expected = pack(packets, in_bytes, out_bytes)
    dut, seen = Gearbox(in_bytes, out_bytes), []

    async def source(ctx):
        for packet in packets:
            for index, word in enumerate(packet):
                await pause(ctx, rng, stall[0])
                await put(ctx, dut.i, {"data": word, "last": index == len(packet) - 1})

    async def sink(ctx):
        for _ in expected:
            await pause(ctx, rng, stall[1])
            word = await get(ctx, dut.o)
            seen.append((word.data, word.count, bool(word.last)))
        for _ in range(8):
            await ctx.tick()
            assert not ctx.get(dut.o.valid), "a word too many"
        assert ctx.get(dut.level) == 0
        assert ctx.get(dut.empty)

    run(dut, source, sink, max_cycles=10000, background=[watch(dut.o)])
    assert seen == expected


@pytest.mark.parametrize(("in_bytes", "out_bytes"), WIDTHS)
def test_full_throughput(in_bytes, out_bytes):
    """Within a packet the narrower side moves a word in every cycle."""
    words = 40
    dut, taken, given = Gearbox(in_bytes, out_bytes), [], []

    async def bench(ctx):
        ctx.set(dut.i.valid, 1)
        ctx.set(dut.o.ready, 1)
        for _ in range(words):
            taken.append(ctx.get(dut.i.ready))
            given.append(ctx.get(dut.o.valid))
            await ctx.tick()

    run(dut, bench, max_cycles=100)
    if out_bytes >= in_bytes:
        assert all(taken)
    if in_bytes >= out_bytes:
        assert all(given[dut.LATENCY:])


def test_level_counts_bytes():
    dut, levels = Gearbox(8, 12), []

    async def bench(ctx):
        for word in (1, 2):
            await put(ctx, dut.i, {"data": word, "last": 0})
            levels.append(ctx.get(dut.level))
        assert not ctx.get(dut.empty)
        await get(ctx, dut.o)
        levels.append(ctx.get(dut.level))

    run(dut, bench, max_cycles=20)
    assert levels == [8, 16, 4]


def test_takes_a_word_while_its_output_is_taken():
    """Full, it takes the next word in the cycle in which the one at the output goes."""
    dut = Gearbox(4, 4)

    async def bench(ctx):
        await put(ctx, dut.i, {"data": 1, "last": 0})
        assert not ctx.get(dut.i.ready)
        ctx.set(dut.o.ready, 1)
        await ctx.delay(1e-7)
        assert ctx.get(dut.i.ready)
        await put(ctx, dut.i, {"data": 2, "last": 0})
        assert ctx.get(dut.o.payload.data) == 2

    run(dut, bench, max_cycles=20)


@pytest.mark.parametrize("widths", [(0, 4), (4, 0)])
def test_refuses_bad_parameters(widths):
    with pytest.raises(ValueError, match="bytes must be at least 1, not 0"):
        Gearbox(*widths)


@pytest.mark.parametrize(("in_bytes", "out_bytes"), [*WIDTHS[:10], (4, 20), (16, 31)])
def test_choices_are_as_many_as_their_codes_tell_apart(in_bytes, out_bytes):
    text = verilog.convert(Gearbox(in_bytes, out_bytes), emit_src=False)
    codes = {int(high or 0) + 1
             for high in re.findall(r"reg (?:\[(\d+):0\] )?choice_\d+\b", text)}
    places = choices(in_bytes, out_bytes) // (8 * out_bytes) + 1
    assert codes == ({(places - 1).bit_length()} if places > 1 else set())
