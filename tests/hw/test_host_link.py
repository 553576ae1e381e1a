# amaranth: UnusedElaboratable=no
"""The board's end of the link, byte by byte, and through its serial pins."""
import random

import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from sparseloom.hw.axi_lite import AxiLiteRegisters
from sparseloom.hw.frames import CRC_SETTLES
from sparseloom.hw.host_link import HostLink, LinkEngine
from sparseloom.hw.registers import REGISTERS
from sparseloom.model.packed import link
from sparseloom.model.packed.codec import pack_record, unpack_record
from sparseloom.model.packed.link import Frame, Splitter
from tests.hw.bench import run

DATA, ROOM, IDLE = 64, 96, 500
OFFSET = {register.name: register.offset for register in REGISTERS}


class Rig(wiring.Component):
    """The link with a real register endpoint; streams stay open for the bench."""

    def __init__(self, bus_bits=64, registers=True):
        self.link = LinkEngine(bus_bits=bus_bits, data_bytes=DATA, stream_bytes=ROOM,
                               idle_cycles=IDLE)
        self.endpoint = AxiLiteRegisters() if registers else None
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.link = self.link
        if self.endpoint is not None:
            m.submodules.endpoint = self.endpoint
            wiring.connect(m, self.link.bus, self.endpoint.bus)
        return m


class Line:
    """The host's side of the line: bytes as close as they may come, with pauses if asked."""

    def __init__(self, dut, stall=0.3):
        self.dut = dut
        self.frames: list[Frame] = []
        self._splitter = Splitter()
        self._rng, self._stall = random.Random(0), stall

    async def send(self, ctx, octets: bytes):
        for byte in octets:
            while self._rng.random() < self._stall:
                await ctx.tick()
            ctx.set(self.dut.i.payload, byte)
            ctx.set(self.dut.i.valid, 1)
            await ctx.tick()
            ctx.set(self.dut.i.valid, 0)
            await ctx.tick().repeat(CRC_SETTLES)

    async def listen(self, ctx):
        """Background: frames from the board."""
        out = self.dut.o
        async for _, _, valid, ready, byte in ctx.tick().sample(out.valid, out.ready, out.payload):
            if valid and ready:
                self.frames += [Frame.decode(piece) for piece in self._splitter.feed(
                    bytes([byte]))]
            ctx.set(out.ready, self._rng.random() >= self._stall)

    async def answer(self, ctx, most=2000) -> Frame:
        for _ in range(most):
            if self.frames:
                return self.frames.pop(0)
            await ctx.tick()
        raise AssertionError("no answer")

    async def ask(self, ctx, sequence, kind, data=b"", flags=0, status=link.OK) -> Frame:
        await self.send(ctx, Frame(sequence=sequence, kind=kind, data=data, flags=flags).encode())
        found = await self.answer(ctx)
        assert (found.sequence, found.kind) == (sequence, kind | link.ANSWER)
        assert found.status == status, link.STATUSES[found.status]
        return found


def quiet(line):
    """Nothing more comes."""
    async def process(ctx):
        await ctx.tick().repeat(200)
        assert not line.frames
    return process


def word(value: int) -> bytes:
    return value.to_bytes(4, "little")


async def hello(ctx, line, sequence=7) -> dict[str, int]:
    found = await line.ask(ctx, sequence, link.HELLO, b"\1\2\3\4")
    return unpack_record(link.HELLO_ANSWER, found.data)


def play(rig, line, *benches, max_cycles=400_000, background=()):
    run(rig, *benches, background=[line.listen, *background], max_cycles=max_cycles)


def test_registers_hello_and_refusals():
    rig = Rig()
    line = Line(rig.link)

    async def bench(ctx):
        await line.ask(ctx, 3, link.READ, word(0), status=link.STRANGER)
        assert await hello(ctx, line) == {
            "nonce": 0x04030201, "version": link.LINK_VERSION, "bus_bytes": 8, "max_data": DATA,
            "stream_bytes": ROOM, "damaged": 0}
        shape = word(OFFSET["JOB_SHAPE"])
        await line.ask(ctx, 8, link.WRITE, shape + word(0xA1B200C4))
        assert (await line.ask(ctx, 9, link.READ, shape)).data == word(0xA1B200C4)
        await line.ask(ctx, 10, link.WRITE, word(OFFSET["ID"]) + word(1), status=link.REFUSED)
        found = await line.ask(ctx, 11, link.READ, word(OFFSET["CONTROL"]), status=link.REFUSED)
        assert found.data == b""
        await line.ask(ctx, 12, link.READ, word(0x100 + OFFSET["JOB_SHAPE"]), status=link.REFUSED)
        for sequence, (kind, data, flags) in enumerate((
                (link.READ, b"123", 0), (link.READ, b"", 0), (link.WRITE, bytes(4), 0),
                (link.WRITE, bytes(9), 0), (link.RESET, b"\0", 0), (0, b"", 0), (77, b"x", 0),
                (link.RESULTS, word(DATA + 1), 0), (link.RESULTS, word(7), 0),
                (link.RESULTS, word(1 << 16 | 8), 0),
                (link.WEIGHTS, b"", link.FLAG_LAST), (link.ACTS, b"seven..", 0)), start=20):
            await line.ask(ctx, sequence, kind, data, flags, status=link.BAD)
        assert (await line.ask(ctx, 99, link.READ, shape)).data == word(0xA1B200C4)
        await quiet(line)(ctx)

    play(rig, line, bench)


@pytest.mark.parametrize(("bus_bits", "stall"), [(32, 0.0), (64, 0.9), (128, 0.0), (128, 0.9)])
def test_streams_keep_bytes_and_ends(bus_bits, stall):
    rig = Rig(bus_bits)
    line, rng = Line(rig.link), random.Random(bus_bits)
    size = bus_bits // 8
    sent = {"weights": [], "acts": []}
    taken = {"weights": [], "acts": []}

    def sink(name):
        async def process(ctx):
            port = getattr(rig.link, name)
            async for _, _, valid, ready, beat in ctx.tick().sample(port.valid, port.ready,
                                                                    port.payload):
                if valid and ready:
                    taken[name].append((beat.data, beat.keep, beat.last))
                ctx.set(port.ready, rng.random() >= stall)
        return process

    async def bench(ctx):
        await hello(ctx, line, 255)
        for sequence in range(14):
            name = rng.choice(("weights", "acts"))
            last = sequence % 3 == 2
            length = rng.randrange(1, DATA + 1) if last else size * rng.randrange(1, DATA // size)
            data = rng.randbytes(length)
            kind = link.WEIGHTS if name == "weights" else link.ACTS
            await line.ask(ctx, sequence, kind, data, link.FLAG_LAST * last)
            for at in range(0, length, size):
                part = data[at:at + size]
                sent[name].append((int.from_bytes(part, "little"), (1 << len(part)) - 1,
                                   int(last and at + size >= length)))
        await ctx.tick().repeat(400)

    play(rig, line, bench, background=[sink("weights"), sink("acts")])
    assert taken == sent
    assert len(sent["weights"]) > 5 < len(sent["acts"])


def test_a_full_queue_is_busy_and_takes_nothing():
    rig = Rig()
    line = Line(rig.link)
    taken = []

    async def bench(ctx):
        await hello(ctx, line)
        port = rig.link.weights
        await line.ask(ctx, 1, link.WEIGHTS, bytes(range(64)))
        await line.ask(ctx, 2, link.WEIGHTS, bytes(64), status=link.BUSY)   # 8 beats, 6 places
        await line.ask(ctx, 3, link.WEIGHTS, bytes(range(64, 112)))
        await line.ask(ctx, 4, link.WEIGHTS, b"x" * 8, status=link.BUSY)
        await line.ask(ctx, 5, link.ACTS, b"y" * 64)                        # the other has room
        ctx.set(port.ready, 1)
        async for _, _, valid, beat in ctx.tick().sample(port.valid, port.payload):
            if not valid:
                break
            taken.append(beat.data.to_bytes(8, "little"))
        ctx.set(port.ready, 0)
        await line.ask(ctx, 6, link.WEIGHTS, b"z" * 8)
        # RESET drops what the queues hold.
        await line.ask(ctx, 7, link.RESET)
        assert not ctx.get(port.valid) and not ctx.get(rig.link.acts.valid)
        await line.ask(ctx, 8, link.WEIGHTS, b"w" * 8)
        assert ctx.get(port.payload.data) == int.from_bytes(b"w" * 8, "little")

    play(rig, line, bench)
    assert b"".join(taken) == bytes(range(112))


def test_results_keep_bytes_ends_and_marks():
    rig = Rig()
    line, rng = Line(rig.link), random.Random(3)
    packets = [(rng.randbytes(n), user) for n, user in
               ((20, 0), (8, 0), (200, 0), (1, 1), (64, 0), (72, 0))]
    found = []

    async def source(ctx):
        port = rig.link.results
        for octets, user in packets:
            for at in range(0, len(octets), 8):
                part = octets[at:at + 8]
                end = at + 8 >= len(octets)
                ctx.set(port.payload, {"data": int.from_bytes(part, "little"),
                                       "keep": (1 << len(part)) - 1, "last": end,
                                       "user": user and end})
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)

    async def bench(ctx):
        await hello(ctx, line)
        packet, sequence = bytearray(), 8
        for _ in range(60):
            limit = rng.choice((8, 33, DATA))
            piece = await line.ask(ctx, sequence, link.RESULTS, word(limit))
            assert len(piece.data) <= limit
            packet += piece.data
            if piece.flags & link.FLAG_LAST:
                found.append((bytes(packet), int(bool(piece.flags & link.FLAG_USER))))
                packet.clear()
            else:
                assert not piece.flags
            sequence = (sequence + 1) % 256
            if len(found) == len(packets):
                break
        empty = await line.ask(ctx, sequence, link.RESULTS, word(DATA))
        assert (empty.data, empty.flags) == (b"", 0)

    play(rig, line, source, bench, max_cycles=900_000)
    assert found == packets


def test_a_question_asked_again_acts_once():
    rig = Rig()
    line, pushes, beats = Line(rig.link), [], []
    assert rig.endpoint is not None
    pushed = rig.endpoint.job_push.strobe

    async def count(ctx):
        async for _, _, strobe, valid, ready in ctx.tick().sample(
                pushed, rig.link.acts.valid, rig.link.acts.ready):
            pushes.append(strobe)
            beats.append(valid and ready)

    async def bench(ctx):
        await hello(ctx, line, 30)
        ctx.set(rig.link.acts.ready, 1)
        port = rig.link.results
        ctx.set(port.payload, {"data": 0x1122, "keep": 3, "last": 1, "user": 0})
        ctx.set(port.valid, 1)
        await ctx.tick()
        ctx.set(port.valid, 0)
        for sequence, kind, data in ((31, link.WRITE, word(OFFSET["JOB_PUSH"]) + word(1)),
                                     (32, link.ACTS, bytes(16)),
                                     (33, link.RESULTS, word(DATA))):
            answers = [await line.ask(ctx, sequence, kind, data, link.FLAG_LAST)
                       for _ in range(3)]
            # and once more, twice without waiting: the second may be lost, never acts
            ask = Frame(sequence=sequence, kind=kind, data=data, flags=link.FLAG_LAST).encode()
            await line.send(ctx, ask + ask)
            answers.append(await line.answer(ctx))
            await ctx.tick().repeat(1000)
            answers += line.frames
            line.frames.clear()
            assert all(answer == answers[0] for answer in answers)
            if kind == link.RESULTS:
                assert answers[0].data == b"\x22\x11"
        # A damaged frame in between is told, and does not disturb what is kept.
        await line.send(ctx, b"\0\5damaged\0")
        assert (await line.answer(ctx)).status == link.DAMAGED
        assert await line.ask(ctx, 33, link.RESULTS, word(DATA)) == answers[0]
        assert (await line.ask(ctx, 34, link.RESULTS, word(DATA))).data == b""
        assert (await hello(ctx, line, 34))["damaged"] == 1

    play(rig, line, bench, background=[count])
    assert sum(pushes) == 1
    assert sum(beats) == 2


def test_noise_of_every_kind_never_blocks():
    rig = Rig()
    line, rng = Line(rig.link), random.Random(11)

    async def bench(ctx):
        await hello(ctx, line)
        good = Frame(sequence=0, kind=link.WRITE,
                     data=word(OFFSET["JOB_SHAPE"]) + word(0xDEAD)).encode()
        for round_ in range(40):
            noise = bytearray(good)
            if round_ % 3 == 0:
                noise = noise[:rng.randrange(1, len(noise) - 1)]
            elif round_ % 3 == 1:
                noise[rng.randrange(1, len(noise) - 1)] ^= 1 << rng.randrange(8)
            else:
                noise = bytearray(rng.randbytes(rng.randrange(1, 30)))
            await line.send(ctx, bytes(noise))
            if round_ % 5 == 0:                              # a byte that was lost
                ctx.set(rig.link.spoil, 1)
                await ctx.tick()
                ctx.set(rig.link.spoil, 0)
            await ctx.tick().repeat(rng.choice((CRC_SETTLES, 50, IDLE + 3)))
            await line.send(ctx, Frame(sequence=round_ + 8, kind=link.READ,
                                       data=word(OFFSET["JOB_SHAPE"])).encode())
            while (answer := await line.answer(ctx)).kind == link.NACK | link.ANSWER:
                pass
            assert (answer.sequence, answer.status, answer.data) == (round_ + 8, link.OK, word(0))

    play(rig, line, bench, max_cycles=900_000)


def test_a_silent_bus_is_told_until_reset():
    rig = Rig(registers=False)
    line = Line(rig.link)

    async def bench(ctx):
        await hello(ctx, line)
        bus = rig.link.bus
        await line.ask(ctx, 1, link.READ, word(0), status=link.SILENT)
        ctx.set(bus.rvalid, 1)                               # late: belongs to no question
        await line.ask(ctx, 2, link.READ, word(0), status=link.SILENT)
        ctx.set(bus.rvalid, 0)
        await line.ask(ctx, 3, link.RESET)
        await line.ask(ctx, 4, link.WRITE, bytes(8), status=link.SILENT)
        await line.ask(ctx, 5, link.RESET)
        ctx.set(bus.rvalid, 1)
        ctx.set(bus.rdata, 5)
        assert (await line.ask(ctx, 6, link.READ, word(0))).data == word(5)

    play(rig, line, bench)


def test_serial_pins_reach_the_engine():
    divisor, listened = 9, []
    dut = HostLink(bus_bits=32, divisor=divisor, data_bytes=32, stream_bytes=32, idle_cycles=5000)
    splitter = Splitter()

    async def send(ctx, octets, stop=1):
        for byte in octets:
            for bit in (0, *(byte >> i & 1 for i in range(8)), stop):
                ctx.set(dut.rx, bit)
                await ctx.tick().repeat(divisor)
            ctx.set(dut.rx, 1)

    async def listen(ctx):
        count = byte = 0
        async for _, _, level in ctx.tick().sample(dut.tx):
            if count % divisor == divisor // 2 and 1 <= count // divisor <= 8:
                byte = byte >> 1 | level << 7
            count += bool(count or not level)
            if count == 10 * divisor - 1:
                listened.extend(Frame.decode(piece) for piece in splitter.feed(bytes([byte])))
                count = 0

    async def bench(ctx):
        ask = Frame(sequence=9, kind=link.HELLO, data=b"abcd").encode()
        await send(ctx, ask[:5])
        await send(ctx, ask[5:6], stop=0)                  # this byte has no stop bit
        await ctx.tick().repeat(2 * divisor)
        await send(ctx, ask[6:])
        await ctx.tick().repeat(200 * divisor)
        await send(ctx, ask)
        await ctx.tick().repeat(350 * divisor)

    run(dut, bench, background=[listen], max_cycles=20_000)
    assert [frame.status for frame in listened] == [link.DAMAGED, link.OK]
    assert listened[1].sequence == 9
    assert listened[1].data[:4] == b"abcd"


def test_refuses_sizes():
    with pytest.raises(ValueError, match=r"stream_bytes must be a multiple of 8 in 64\.\.65535"):
        LinkEngine(bus_bits=64, data_bytes=64, stream_bytes=60)
    assert len(pack_record(link.HELLO_ANSWER, max_data=link.MAX_DATA)) == 12
