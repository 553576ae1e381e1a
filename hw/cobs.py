"""Byte stuffing of the host link (COBS), byte by byte; see :mod:`sparseloom.model.packed.link`."""
from amaranth.hdl import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.memory import SimpleDualPort
from sparseloom.model.packed.link import BLOCK, DELIMITER


class CobsDecoder(wiring.Component):
    """Takes what comes from the line, gives a frame's bytes and its end.

    Latency 1 cycle, a byte a cycle, no back-pressure either way. Matches
    :func:`~sparseloom.model.packed.link.cobs_decode` between two delimiters; nothing between two
    delimiters is no frame. A frame of which no byte comes for ``idle_cycles`` ends there, damaged,
    and so does one in which ``spoil`` was raised.

    Parameters
    ----------
    idle_cycles : int
        At least 2.

    Members
    -------
    i : In(stream of 8 bits, always_ready)
    spoil : In(1)
        A byte of the line was lost: the frame under way, or begun by the lost byte, is damaged.
    o : Out(stream of {data: 8, end: 1, damaged: 1}, always_ready)
        A byte, or with ``end`` the end of a frame, that carries no byte; ``damaged`` belongs to it.

    Raises
    ------
    ValueError
        If ``idle_cycles`` is too small.
    """

    def __init__(self, *, idle_cycles: int):
        if idle_cycles < 2:
            raise ValueError(f"idle_cycles must be at least 2, not {idle_cycles!r}")
        self.idle_cycles = idle_cycles
        super().__init__({
            "i": In(stream.Signature(8, always_ready=True)),
            "spoil": In(1),
            "o": Out(stream.Signature(data.StructLayout({"data": 8, "end": 1, "damaged": 1}),
                                      always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        begun, spoilt = Signal(), Signal()
        run = Signal(8)                         # bytes of the run still to come
        zero = Signal()                         # a zero stands between this run and the next
        idle = Signal(range(self.idle_cycles))
        over = Signal()
        out = self.o.payload
        m.d.comb += over.eq(begun & (idle == self.idle_cycles - 1))
        m.d.sync += [
            self.o.valid.eq(0), out.end.eq(0), out.damaged.eq(0), out.data.eq(self.i.payload),
            idle.eq(idle + 1),
        ]
        with m.If(self.i.valid):
            m.d.sync += idle.eq(0)
        with m.If(self.spoil):
            m.d.sync += [begun.eq(1), spoilt.eq(1), idle.eq(0)]
        with m.If(over | (self.i.valid & (self.i.payload == DELIMITER))):
            m.d.sync += [
                self.o.valid.eq(begun), out.end.eq(1), out.damaged.eq(over | spoilt | (run != 0)),
                begun.eq(0), spoilt.eq(0), run.eq(0), zero.eq(0),
            ]
        with m.Elif(self.i.valid):
            m.d.sync += begun.eq(1)
            with m.If(run != 0):
                m.d.sync += [self.o.valid.eq(1), run.eq(run - 1)]
            with m.Else():
                m.d.sync += [run.eq(self.i.payload - 1), zero.eq(self.i.payload <= BLOCK),
                             self.o.valid.eq(zero), out.data.eq(0)]
        return m


class CobsEncoder(wiring.Component):
    """Takes a frame's bytes, gives what goes on the line, a delimiter before and behind.

    Matches :func:`~sparseloom.model.packed.link.cobs_encode`. Bytes of a run are held until its
    length is known; meanwhile a byte is taken in each cycle, and none while a run leaves, a byte
    in three cycles: faster than any line.

    Members
    -------
    i : In(stream of {data: 8, last: 1})
        A frame has one byte at least.
    o : Out(stream of 8 bits)
    """

    def __init__(self):
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"data": 8, "last": 1}))),
            "o": Out(stream.Signature(8)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.held = held = SimpleDualPort(shape=8, depth=BLOCK)
        length, at = Signal(8), Signal(8)
        wait = Signal(range(SimpleDualPort.LATENCY))
        # What comes behind the run that leaves: nothing, or an empty run for a zero at the end.
        ending, empty_run = Signal(), Signal()
        byte = self.i.payload
        m.d.comb += [held.write.addr.eq(length), held.write.data.eq(byte.data),
                     held.read.addr.eq(at)]
        with m.FSM():
            with m.State("BEFORE"):
                m.d.comb += [self.o.valid.eq(self.i.valid), self.o.payload.eq(DELIMITER)]
                with m.If(self.o.valid & self.o.ready):
                    m.next = "COLLECT"
            with m.State("COLLECT"):
                m.d.comb += self.i.ready.eq(1)
                with m.If(self.i.valid):
                    m.d.sync += [ending.eq(byte.last),
                                 empty_run.eq(byte.last & (byte.data == 0))]
                    with m.If(byte.data == 0):
                        m.next = "CODE"
                    with m.Else():
                        m.d.comb += held.write.en.eq(1)
                        m.d.sync += length.eq(length + 1)
                        with m.If(byte.last | (length == BLOCK - 1)):
                            m.next = "CODE"
            with m.State("CODE"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(length + 1)]
                m.d.sync += [at.eq(0), wait.eq(0)]
                with m.If(self.o.ready):
                    with m.If(length != 0):
                        m.next = "READ"
                    with m.Else():
                        self._next_run(m, ending, empty_run, length)
            with m.State("READ"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == SimpleDualPort.LATENCY - 1):
                    m.d.sync += wait.eq(0)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(held.read.data)]
                with m.If(self.o.ready):
                    m.d.sync += at.eq(at + 1)
                    m.next = "READ"
                    with m.If(at == length - 1):
                        self._next_run(m, ending, empty_run, length)
            with m.State("AFTER"):
                m.d.comb += [self.o.valid.eq(1), self.o.payload.eq(DELIMITER)]
                with m.If(self.o.ready):
                    m.next = "BEFORE"
        return m

    def _next_run(self, m, ending, empty_run, length):
        m.d.sync += [length.eq(0), empty_run.eq(0)]
        with m.If(empty_run):
            m.next = "CODE"
        with m.Elif(ending):
            m.next = "AFTER"
        with m.Else():
            m.next = "COLLECT"
