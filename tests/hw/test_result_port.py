# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.result_port import ResultPort
from tests.hw.bench import run, watch

GEOMETRIES = [(1, 32), (3, 32), (3, 64), (4, 64), (5, 128), (8, 32), (8, 64)]
ROOM = 12


def jobs_of(rng, lanes, count=6):
    """(raw, words) of each job; raw and int8 alternate, and twice the same follows itself."""
    kinds = [index % 2 for index in range(count - 2)] + [1, 1]
    return [(raw, [[rng.getrandbits(32) for _ in range(lanes)]
                   for _ in range(rng.choice([1, 2, rng.randint(1, 14)]))]) for raw in kinds]


def bytes_of(raw, words):
    return b"".join(value.to_bytes(4, "little")[:4 if raw else 1]
                    for word in words for value in word)


class Bench:
    """Words in while there is room for them, beats out into packets of (bytes, TUSER)."""

    def __init__(self, *, lanes, bus_bits, source_stall=0.0, sink_stall=0.0, seed=1):
        self.dut = ResultPort(lanes=lanes, bus_bits=bus_bits, room_words=ROOM)
        self.bus_bytes = bus_bits // 8
        self.rng = random.Random(seed)
        self.source_stall, self.sink_stall = source_stall, sink_stall
        self.queue, self.room = [], ROOM
        self.packets, self.rest, self.hold = [], b"", False
        self.offered = self.finished = 0

    def send(self, raw, words):
        self.queue += [{"words": word, "raw": raw, "last": at == len(words) - 1}
                       for at, word in enumerate(words)]

    async def source(self, ctx):
        dut = self.dut
        while True:
            valid = bool(self.queue and self.room and self.rng.random() >= self.source_stall)
            ctx.set(dut.valid, valid)
            if valid:
                word = self.queue.pop(0)
                ctx.set(dut.words, word["words"])
                ctx.set(dut.raw, word["raw"])
                ctx.set(dut.last, word["last"])
                self.room -= 1
            *_, returned, flush = await ctx.tick().sample(dut.returned, dut.flush)
            self.room = ROOM if flush else self.room + returned

    async def sink(self, ctx):
        o = self.dut.o
        while True:
            ctx.set(o.ready, not self.hold and self.rng.random() >= self.sink_stall)
            *_, valid, ready, beat = await ctx.tick().sample(o.valid, o.ready, o.payload)
            if valid and ready:
                width = beat.keep.bit_count()
                assert width and beat.keep == (1 << width) - 1
                assert width == self.bus_bytes or beat.last
                self.rest += beat.data.to_bytes(self.bus_bytes, "little")[:width]
                if beat.last:
                    self.packets.append((self.rest, beat.user))
                    self.rest = b""

    async def check(self, ctx):
        """What is told of the packets follows from the beats on the port."""
        dut = self.dut
        is_open, closing, new, early = 0, False, False, False
        since = dut.OFFERED_APART
        async for (_, _, valid, ready, beat, offered, finished, is_open_now, idle, close,
                   ) in ctx.tick().sample(
                dut.o.valid, dut.o.ready, dut.o.payload, dut.offered, dut.finished, dut.open,
                dut.idle, dut.close):
            arrived = new and valid                     # in the cycle before
            assert offered == (arrived and beat.last and not beat.user), "offered"
            assert arrived or closing or not early, "open, but no packet began"
            if arrived:
                is_open = int(not beat.last)
                closing = closing and not beat.user
            early = is_open_now and not is_open         # a beat is about to move in
            assert is_open_now or not is_open
            assert idle == (not valid and not closing)
            assert finished == (valid and ready and beat.last and not beat.user)
            new = not valid or ready
            assert not offered or since >= dut.OFFERED_APART, "two jobs end too close together"
            since = 1 if offered else since + 1
            closing = closing or close
            self.offered += offered
            self.finished += finished

    async def wait_for(self, ctx, packets):
        while len(self.packets) < packets:
            await ctx.tick()

    def run(self, *benches, max_cycles=20000):
        run(self.dut, *benches, max_cycles=max_cycles,
            background=[self.source, self.sink, self.check, watch(self.dut.o)])


@pytest.mark.parametrize(("source_stall", "sink_stall"), [(0, 0), (0, 0.6), (0.6, 0), (0.4, 0.4)])
@pytest.mark.parametrize(("lanes", "bus_bits"), GEOMETRIES)
def test_bytes_in_order_without_gaps(lanes, bus_bits, source_stall, sink_stall):
    bench = Bench(lanes=lanes, bus_bits=bus_bits, source_stall=source_stall,
                  sink_stall=sink_stall)
    jobs = jobs_of(random.Random(lanes + bus_bits), lanes)
    expected = [(bytes_of(raw, words), 0) for raw, words in jobs]

    async def drive(ctx):
        for job in jobs:
            bench.send(*job)
        await bench.wait_for(ctx, len(expected))
        await ctx.tick().repeat(10)

    bench.run(drive)
    assert bench.packets == expected
    assert bench.rest == b""
    assert bench.offered == bench.finished == len(jobs)
    assert bench.room == ROOM


def test_nothing_is_lost_while_the_sink_holds():
    bench = Bench(lanes=4, bus_bits=64)
    bench.hold = True
    words = [[value * 4 + lane for lane in range(4)] for value in range(30)]

    async def drive(ctx):
        bench.send(1, words)
        await ctx.tick().repeat(200)
        assert bench.room == 0              # full, and the rest waits outside
        assert bench.packets == [] and bench.rest == b""
        bench.hold = False
        await bench.wait_for(ctx, 1)

    bench.run(drive)
    assert bench.packets == [(bytes_of(1, words), 0)]


@pytest.mark.parametrize("raw", [0, 1])
@pytest.mark.parametrize("held", range(8, 40))
def test_short_jobs_behind_a_sink_that_held(held, raw):
    """However full the registers are when the sink goes on, whoever counts jobs sees each."""
    bench = Bench(lanes=2, bus_bits=64)
    jobs = [(raw, [[at, at + 1]]) for at in range(6)]

    async def drive(ctx):
        for job in jobs:
            bench.send(*job)
        bench.hold = True
        await ctx.tick().repeat(held)
        bench.hold = False
        await bench.wait_for(ctx, len(jobs))

    bench.run(drive)
    assert bench.packets == [(bytes_of(*job), 0) for job in jobs]
    assert bench.offered == len(jobs)


@pytest.mark.parametrize("is_error", [True, False])
@pytest.mark.parametrize("hold", [True, False])
@pytest.mark.parametrize(("lanes", "bus_bits", "raw"), [(3, 32, 0), (5, 128, 1)])
def test_close_keeps_the_offered_beat_and_ends_with_one_byte(lanes, bus_bits, raw, hold, is_error):
    """As after an error (the cause) or a clear (cause 0), in every cycle of a job."""
    bench = Bench(lanes=lanes, bus_bits=bus_bits, sink_stall=0.3)
    rng, kept, begun = random.Random(2), 0, set()
    words = [[rng.getrandbits(32) for _ in range(lanes)] for _ in range(14)]
    whole, job = bytes_of(raw, words), (raw, words)

    async def drive(ctx):
        nonlocal kept
        dut = bench.dut
        for at in range(1, 17):
            cause = rng.randint(1, 19) if is_error else 0
            bench.packets.clear()
            assert bench.rest == b""
            bench.send(*job)
            await ctx.tick().repeat(at)
            bench.hold = hold
            closes = is_error or ctx.get(dut.open)
            ctx.set(dut.close, closes)
            ctx.set(dut.halt, 1)
            ctx.set(dut.close_cause, cause if closes else 0xEE)
            before = ctx.get(dut.o.valid)
            await ctx.tick()
            bench.queue.clear()
            offered = ctx.get(dut.o.valid)
            if hold:
                assert offered == before, "a beat came after the halt"
            ctx.set(dut.close, 0)
            ctx.set(dut.close_cause, 0xEE)
            ctx.set(dut.flush, 1)
            if hold:
                await ctx.tick().repeat(8)
                assert ctx.get(dut.o.valid) == (offered or closes)
                assert ctx.get(dut.idle) == (not offered and not closes)
                kept += offered
                bench.hold = False
            while not ctx.get(dut.idle):
                await ctx.tick()
            await ctx.tick().repeat(3)
            assert not ctx.get(dut.open)
            await ctx.tick().repeat(5)
            ctx.set(dut.halt, 0)
            await ctx.tick()
            ctx.set(dut.flush, 0)
            if closes:
                data, user = bench.packets.pop()
                assert user == 1
                assert data[-1] == cause
                if data[:-1]:               # the packet that was open, as far as it went
                    begun.add(len(data))
                    assert whole.startswith(data[:-1])
                    assert len(data[:-1]) % bench.bus_bytes == 0
            assert bench.packets in ([], [(whole, 0)])
            count = len(bench.packets)
            bench.send(*job)                # and the next job is whole
            await bench.wait_for(ctx, count + 1)
            assert bench.packets[count:] == [(whole, 0)]

    bench.run(drive)
    assert len(begun) > 3
    assert bool(kept) == hold


def test_flush_drops_what_was_not_offered():
    """Without a close the offered beat is the last one."""
    bench = Bench(lanes=4, bus_bits=32)
    words = [[value * 4 + lane for lane in range(4)] for value in range(20)]

    async def drive(ctx):
        bench.hold = True
        bench.send(0, words)
        await ctx.tick().repeat(30)
        bench.queue.clear()
        ctx.set(bench.dut.flush, 1)
        await ctx.tick().repeat(5)
        assert ctx.get(bench.dut.o.valid)
        assert not ctx.get(bench.dut.idle)
        bench.hold = False
        await ctx.tick().repeat(10)
        assert bench.rest == bytes_of(0, words[:1])
        assert ctx.get(bench.dut.idle)
        assert ctx.get(bench.dut.open)
        bench.rest = b""
        ctx.set(bench.dut.flush, 0)
        bench.send(0, words)
        await bench.wait_for(ctx, 1)

    bench.run(drive)
    assert bench.packets == [(bytes_of(0, words), 0)]


def test_close_when_idle_is_one_beat():
    bench = Bench(lanes=3, bus_bits=64)
    beats = []

    async def drive(ctx):
        dut = bench.dut
        await ctx.tick().repeat(3)
        assert ctx.get(dut.idle)
        ctx.set(dut.close, 1)
        ctx.set(dut.close_cause, 0x12)
        await ctx.tick()
        ctx.set(dut.close, 0)
        assert not ctx.get(dut.idle)
        async for _, _, valid, beat in ctx.tick().sample(dut.o.valid, dut.o.payload):
            if valid:
                beats.append((beat.data, beat.keep, beat.last, beat.user))
            if len(beats) and not valid:
                break
        await ctx.tick().repeat(20)

    bench.run(drive)
    assert beats == [(0x12, 1, 1, 1)]
    assert bench.packets == [(b"\x12", 1)]
    assert bench.offered == bench.finished == 0
