"""The board's end of the host link: questions from a serial line become the unit's traffic."""
from amaranth.hdl import Cat, Const, Module, Mux, ResetInserter, Shape, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFOBuffered
from amaranth.lib.wiring import In, Out, connect, flipped

from sparseloom.hw.axi_lite import AxiLiteSignature, Response
from sparseloom.hw.frames import (
    HEADER_BYTES,
    FrameReceiver,
    FrameSender,
    HeaderLayout,
    check_data_bytes,
)
from sparseloom.hw.layouts import beat_layout, result_beat_layout
from sparseloom.hw.memory import SimpleDualPort
from sparseloom.hw.stream_places import StreamPlaces
from sparseloom.hw.uart import UartReceiver, UartTransmitter, line
from sparseloom.model.packed import link
from sparseloom.model.packed.codec import record_bytes

RESET_CYCLES = 16
"""Cycles for which RESET holds the unit in reset."""

ROOM_CYCLES = 3
"""Cycles until it is known whether a stream's queue has room."""

BUS_CYCLES = 256
"""Cycles after which the register bus counts as silent."""

ANSWER_BYTES = record_bytes(link.HELLO_ANSWER)
"""Longest data of an answer, results apart."""


def _unit_side(bus_bits: int) -> dict:
    """Members that face the unit, and what happens."""
    beat = beat_layout(bus_bits)
    return {
        "bus": Out(AxiLiteSignature()),
        "weights": Out(stream.Signature(beat)), "acts": Out(stream.Signature(beat)),
        "results": In(stream.Signature(result_beat_layout(bus_bits))),
        "unit_reset": Out(1),
        "session": Out(1), "asked": Out(1), "damaged": Out(1),
    }


class LinkEngine(wiring.Component):
    """Answers one question at a time, as :mod:`sparseloom.model.packed.link` has it.

    A question is looked at when it is there whole and its CRC held, and the answer before it has
    left. The same sequence number as before means that the answer was lost: it is sent again, and
    nothing else happens. Every question ends in a bounded time: stream data is taken only if
    the stream's queue has room for all of it, results are those that wait, and a register bus
    that does not answer counts as silent, until RESET.

    Parameters
    ----------
    bus_bits : int
        Width of a beat.
    data_bytes : int
        Most data in a frame, 32 to ``link.MAX_DATA``.
    stream_bytes : int
        Room in each of the three streams' queues; at least ``data_bytes``, a multiple of a beat,
        below 65536.
    idle_cycles : int
        Cycles without a byte after which a frame that is not whole is given up.

    Members
    -------
    i : In(stream of 8 bits, always_ready)
    spoil : In(1)
    o : Out(stream of 8 bits)
        Bytes of the line, and that one was lost.
    bus : Out(AxiLiteSignature())
    weights, acts : Out(stream of beat_layout(bus_bits))
    results : In(stream of result_beat_layout(bus_bits))
        TKEEP must be contiguous, and full but on the last beat, as the unit keeps it.
    unit_reset : Out(1)
        Reset the unit; the queues here are reset too.
    session, asked, damaged : Out(1)
        A HELLO was heard; for one cycle each: a question is acted upon, a frame came damaged.

    Raises
    ------
    ValueError
        For sizes outside their limits.
    """

    def __init__(self, *, bus_bits: int, data_bytes: int = link.MAX_DATA,
                 stream_bytes: int = 2048, idle_cycles: int = 1 << 24):
        bus_bytes = bus_bits // 8
        check_data_bytes(data_bytes)
        if not data_bytes <= stream_bytes < 1 << 16 or stream_bytes % bus_bytes:
            raise ValueError(f"stream_bytes must be a multiple of {bus_bytes} in "
                             f"{data_bytes}..65535, not {stream_bytes!r}")
        self.bus_bytes, self.data_bytes, self.stream_bytes = bus_bytes, data_bytes, stream_bytes
        self.idle_cycles = idle_cycles
        super().__init__({
            "i": In(stream.Signature(8, always_ready=True)), "spoil": In(1),
            "o": Out(stream.Signature(8)), **_unit_side(bus_bits),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.frame = frame = FrameReceiver(data_bytes=self.data_bytes,
                                                   idle_cycles=self.idle_cycles)
        m.submodules.answer = answer = FrameSender(data_bytes=self.data_bytes)
        connect(m, flipped(self.i), frame.i)
        connect(m, answer.o, flipped(self.o))
        m.d.comb += [frame.spoil.eq(self.spoil), self.damaged.eq(frame.damaged)]
        nack = Signal()                         # a frame came damaged and nobody was told
        damaged = Signal(16)
        m.d.comb += answer.nack.eq(nack)
        with m.If(frame.damaged):
            m.d.sync += [nack.eq(1), damaged.eq(Mux(damaged == 0xFFFF, damaged, damaged + 1))]
        with m.Elif(answer.idle & ~answer.send):
            m.d.sync += nack.eq(0)

        queues, results = self._queues(m)
        header = frame.header
        kind, flags = header.kind, header.flags
        sequence = Signal(8)                    # of the answer that is kept
        status, last, user = Signal(8), Signal(), Signal()
        args = Signal(64)                       # data of a short question
        # Data of a short answer, or a beat of results.
        words = Signal(8 * max(ANSWER_BYTES, self.bus_bytes))
        left = Signal(range(max(ANSWER_BYTES, self.bus_bytes) + 1))   # bytes in it
        at = Signal(range(self.data_bytes + 1))  # bytes of the question read
        wait = Signal(range(SimpleDualPort.LATENCY))
        length = Signal.like(answer.length)     # bytes of the answer
        clock = Signal(range(max(RESET_CYCLES, BUS_CYCLES)))
        head = Signal(range(HEADER_BYTES + 1))
        beat = Signal(beat_layout(self.bus_bytes * 8))
        lane = Signal(range(self.bus_bytes))
        room = Signal()
        fresh = Signal()
        m.d.comb += [
            frame.read.addr.eq(at), answer.length.eq(length),
            fresh.eq((kind == link.HELLO) | ~self.session | (header.sequence != sequence)),
        ]
        expected = Signal(range(9))             # length of a short question
        with m.Switch(kind):
            for code, size in link.QUESTION_BYTES.items():
                with m.Case(code):
                    m.d.comb += expected.eq(size)
            with m.Default():
                m.d.comb += expected.eq(0)

        more = Signal()                         # one more beat of results is within the limit
        m.d.sync += more.eq(length + self.bus_bytes <= args[:len(length) + 1])

        bus = self.bus
        lost = Signal()                         # the bus was silent: an answer may still come
        m.d.comb += [bus.araddr.eq(args), bus.awaddr.eq(args), bus.wdata.eq(args[32:]),
                     bus.wstrb.eq(0xF)]
        # In steps, for the clock's sake. Queues only get emptier meanwhile, so late is safe.
        needed = Signal(range(self.data_bytes // self.bus_bytes + 2))
        m.d.sync += needed.eq((header.length + self.bus_bytes - 1) // self.bus_bytes)
        for code, name in ((link.WEIGHTS, "weights"), (link.ACTS, "acts")):
            beats = self.stream_bytes // self.bus_bytes
            level = queues[name].level
            free = Signal(range(beats + 1), name=f"{name}_free")
            fits = Signal(name=f"{name}_fits")
            m.d.sync += [free.eq(beats - level), fits.eq(needed <= free)]
            m.d.comb += queues[name].w_data.eq(beat)
            with m.If(kind == code):
                m.d.comb += room.eq(fits)

        m.d.sync += self.unit_reset.eq(0)       # a register: it reaches all of the unit
        with m.FSM():
            with m.State("IDLE"):
                m.d.sync += [at.eq(0), wait.eq(0), head.eq(0), lane.eq(0)]
                with m.If(frame.held & answer.idle & ~fresh):
                    m.d.comb += [answer.send.eq(1), frame.release.eq(1)]
                with m.Elif(frame.held & answer.idle & ~nack):
                    m.d.comb += self.asked.eq(1)
                    m.d.sync += [status.eq(link.OK), last.eq(0), user.eq(0), left.eq(0),
                                 length.eq(0), clock.eq(0)]
                    with m.If(~self.session & (kind != link.HELLO)):
                        m.d.sync += status.eq(link.STRANGER)
                        m.next = "HEADER"
                    with m.Elif((kind == link.WEIGHTS) | (kind == link.ACTS)):
                        m.next = "ROOM"
                    with m.Elif(kind.matches(*link.QUESTION_BYTES)
                                & (header.length == expected)):
                        m.next = "ARGS"
                    with m.Else():
                        m.d.sync += status.eq(link.BAD)
                        m.next = "HEADER"

            # Short questions.
            with m.State("ARGS"):
                with m.If(at == header.length):
                    with m.Switch(kind):
                        with m.Case(link.HELLO):
                            m.d.sync += [words.eq(self._hello(args, damaged)),
                                         left.eq(ANSWER_BYTES), self.session.eq(1)]
                            m.next = "WORDS"
                        with m.Case(link.READ, link.WRITE):
                            with m.If(lost):
                                m.d.sync += status.eq(link.SILENT)
                                m.next = "HEADER"
                            with m.Elif(args[len(bus.araddr):32] != 0):
                                m.d.sync += status.eq(link.REFUSED)
                                m.next = "HEADER"
                            with m.Elif(kind == link.READ):
                                m.d.sync += bus.arvalid.eq(1)
                                m.next = "READ"
                            with m.Else():
                                m.d.sync += [bus.awvalid.eq(1), bus.wvalid.eq(1)]
                                m.next = "WRITE"
                        with m.Case(link.RESULTS):
                            m.next = "RESULTS"
                            with m.If((args[:32] > self.data_bytes)
                                      | (args[:32] < self.bus_bytes)):
                                m.d.sync += status.eq(link.BAD)
                                m.next = "HEADER"
                        with m.Default():
                            m.next = "RESET"
                with m.Else():
                    m.d.sync += wait.eq(wait + 1)
                    with m.If(wait == SimpleDualPort.LATENCY - 1):
                        m.d.sync += wait.eq(0)
                        m.next = "ARG"
            with m.State("ARG"):
                m.d.sync += [args.word_select(at[:3], 8).eq(frame.read.data), at.eq(at + 1)]
                m.next = "ARGS"

            with m.State("READ"):
                with m.If(bus.arready):
                    m.d.sync += bus.arvalid.eq(0)
                m.d.comb += bus.rready.eq(1)
                m.d.sync += clock.eq(clock + 1)
                with m.If(bus.rvalid):
                    m.d.sync += [words.eq(bus.rdata), left.eq(4)]
                    with m.If(bus.rresp != Response.OKAY):
                        m.d.sync += [status.eq(link.REFUSED), left.eq(0)]
                    m.next = "WORDS"
                with m.Elif(clock == BUS_CYCLES - 1):
                    m.d.sync += [status.eq(link.SILENT), bus.arvalid.eq(0), lost.eq(1)]
                    m.next = "HEADER"
            with m.State("WRITE"):
                with m.If(bus.awready):
                    m.d.sync += bus.awvalid.eq(0)
                with m.If(bus.wready):
                    m.d.sync += bus.wvalid.eq(0)
                m.d.comb += bus.bready.eq(1)
                m.d.sync += clock.eq(clock + 1)
                with m.If(bus.bvalid):
                    with m.If(bus.bresp != Response.OKAY):
                        m.d.sync += status.eq(link.REFUSED)
                    m.next = "HEADER"
                with m.Elif(clock == BUS_CYCLES - 1):
                    m.d.sync += [status.eq(link.SILENT), bus.awvalid.eq(0), bus.wvalid.eq(0),
                                 lost.eq(1)]
                    m.next = "HEADER"
            with m.State("RESET"):
                m.d.sync += [self.unit_reset.eq(1), clock.eq(clock + 1), lost.eq(0)]
                with m.If(clock == RESET_CYCLES - 1):
                    m.next = "HEADER"

            # Streams in: all of it or nothing.
            with m.State("ROOM"):
                whole = (header.length % self.bus_bytes == 0) | (flags & link.FLAG_LAST).any()
                with m.If((header.length == 0) | ~whole):
                    m.d.sync += status.eq(link.BAD)
                    m.next = "HEADER"
                with m.Elif(clock < ROOM_CYCLES):
                    m.d.sync += clock.eq(clock + 1)
                with m.Elif(room):
                    m.next = "FETCH"
                with m.Else():
                    m.d.sync += status.eq(link.BUSY)
                    m.next = "HEADER"
            with m.State("FETCH"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(lane == 0):
                    m.d.sync += beat.eq(0)
                with m.If(wait == SimpleDualPort.LATENCY - 1):
                    m.d.sync += wait.eq(0)
                    m.next = "BYTE"
            with m.State("BYTE"):
                ends = Signal()
                m.d.comb += ends.eq(at == header.length - 1)
                m.d.sync += [
                    beat.data.word_select(lane, 8).eq(frame.read.data),
                    beat.keep.bit_select(lane, 1).eq(1),
                    beat.last.eq(ends & (flags & link.FLAG_LAST).any()),
                    at.eq(at + 1),
                    lane.eq(Mux(lane == self.bus_bytes - 1, 0, lane + 1)),
                ]
                m.next = "FETCH"
                with m.If(ends | (lane == self.bus_bytes - 1)):
                    m.next = "PUSH"
            with m.State("PUSH"):
                m.d.comb += [queues["weights"].w_en.eq(kind == link.WEIGHTS),
                             queues["acts"].w_en.eq(kind == link.ACTS)]
                m.next = "FETCH"
                with m.If(at == header.length):
                    m.next = "HEADER"

            # Results: whole beats, as many as are wanted and there.
            with m.State("RESULTS"):
                found = results.payload
                m.next = "HEADER"
                with m.If(~last & results.valid & more):
                    m.d.comb += results.ready.eq(1)
                    m.d.sync += [words.eq(found.data), last.eq(found.last), user.eq(found.user),
                                 left.eq(sum(found.keep[i] for i in range(self.bus_bytes)))]
                    m.next = "WORDS"

            # Answers: data, then the header, then off it goes.
            with m.State("WORDS"):
                m.d.comb += [answer.write.addr.eq(HEADER_BYTES + length),
                             answer.write.data.eq(words[:8])]
                with m.If(left != 0):
                    m.d.comb += answer.write.en.eq(1)
                    m.d.sync += [left.eq(left - 1), length.eq(length + 1),
                                 words.eq(words >> 8)]
                with m.Elif(kind == link.RESULTS):
                    m.next = "RESULTS"
                with m.Else():
                    m.next = "HEADER"
            with m.State("HEADER"):
                answered = Signal(HeaderLayout)
                m.d.comb += [
                    answered.sequence.eq(header.sequence),
                    answered.kind.eq(kind | link.ANSWER),
                    answered.flags.eq(Mux(last, link.FLAG_LAST, 0) | Mux(user, link.FLAG_USER, 0)),
                    answered.status.eq(status), answered.length.eq(length),
                    answer.write.addr.eq(head),
                    answer.write.data.eq(answered.as_value().word_select(head, 8)),
                    answer.write.en.eq(head < HEADER_BYTES),
                ]
                m.d.sync += head.eq(head + 1)
                with m.If(head == HEADER_BYTES):
                    m.d.comb += [answer.send.eq(1), frame.release.eq(1)]
                    m.d.sync += sequence.eq(header.sequence)
                    m.next = "IDLE"
        return m

    def _queues(self, m) -> tuple:
        """A queue for each stream, emptied with the unit's reset.

        Connected on the unit's side, and for results on the other too: their stream.
        """
        beats = self.stream_bytes // self.bus_bytes
        queues, found = {}, None
        for name in ("weights", "acts", "results"):
            port = getattr(self, name)
            queue = SyncFIFOBuffered(width=Shape.cast(port.payload.shape()).width,
                                     depth=beats)
            m.submodules[f"{name}_queue"] = ResetInserter(self.unit_reset)(queue)
            queues[name] = queue
            # A block memory's words come late in the cycle, and so does the unit's readiness.
            behind = StreamPlaces(port.payload.shape())
            m.submodules[f"{name}_behind"] = ResetInserter(self.unit_reset)(behind)
            m.d.comb += [behind.i.payload.eq(queue.r_data), behind.i.valid.eq(queue.r_rdy),
                         queue.r_en.eq(behind.i.ready)]
            if name == "results":
                m.d.comb += [queue.w_data.eq(port.payload), queue.w_en.eq(port.valid),
                             port.ready.eq(queue.w_rdy & ~self.unit_reset)]
                found = behind.o
            else:
                connect(m, behind.o, flipped(port))
        return queues, found

    def _hello(self, args, damaged):
        values = {"nonce": args[:32], "version": link.LINK_VERSION, "bus_bytes": self.bus_bytes,
                  "max_data": self.data_bytes, "stream_bytes": self.stream_bytes,
                  "damaged": damaged}
        return Cat(Const(value, bits) if isinstance(value := values[name], int) else value
                   for name, bits in link.HELLO_ANSWER)


class HostLink(wiring.Component):
    """:class:`LinkEngine` behind a serial line.

    Parameters
    ----------
    divisor : int
        Cycles of a bit on the line.
    bus_bits, data_bytes, stream_bytes, idle_cycles : int
        As in :class:`LinkEngine`, whose members but the bytes of the line are this component's.

    Members
    -------
    rx : In(1)
    tx : Out(1)
        The line; ``rx`` belongs to no clock of ours.
    """

    def __init__(self, *, bus_bits: int, divisor: int, **sizes: int):
        self.divisor, self.bus_bits, self.sizes = divisor, bus_bits, sizes
        super().__init__({"rx": line(In), "tx": line(Out), **_unit_side(bus_bits)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.receive = receive = UartReceiver(divisor=self.divisor)
        m.submodules.transmit = transmit = UartTransmitter(divisor=self.divisor)
        m.submodules.engine = engine = LinkEngine(bus_bits=self.bus_bits, **self.sizes)
        connect(m, receive.o, engine.i)
        connect(m, engine.o, transmit.i)
        for name in ("bus", "weights", "acts", "results"):
            connect(m, getattr(engine, name), flipped(getattr(self, name)))
        m.d.comb += [
            receive.rx.eq(self.rx), self.tx.eq(transmit.tx),
            engine.spoil.eq(receive.broken),
            *(getattr(self, name).eq(getattr(engine, name))
              for name in ("unit_reset", "session", "asked", "damaged")),
        ]
        return m
