"""Whole frames of the host link in memory: received and checked, or sent."""
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from sparseloom.hw.cobs import CobsDecoder, CobsEncoder
from sparseloom.hw.crc import Crc32
from sparseloom.hw.layouts import read_signature, write_signature
from sparseloom.hw.memory import SimpleDualPort
from sparseloom.model.packed import link
from sparseloom.model.packed.codec import record_bytes

HeaderLayout = data.StructLayout(dict(link.HEADER))
"""A frame's header."""

HEADER_BYTES = record_bytes(link.HEADER)

CRC_SETTLES = Crc32.VERDICT_LATENCY
"""Cycles from a byte until the CRC shows it, and whether it holds; at least what Crc32 needs."""

NACK_LINE = link.Frame(sequence=0, kind=link.NACK | link.ANSWER, status=link.DAMAGED).encode()
"""What goes on the line when a frame came damaged."""


def check_data_bytes(data_bytes: int) -> None:
    """Refuse a size of data that the link does not know.

    Raises
    ------
    ValueError
        Unless it lies in 32..link.MAX_DATA.
    """
    if not 32 <= data_bytes <= link.MAX_DATA:
        raise ValueError(f"data_bytes must be in 32..{link.MAX_DATA}, not {data_bytes!r}")


class FrameReceiver(wiring.Component):
    """Holds one frame whose stuffing, size, length and CRC-32 hold, until it is released.

    A frame that begins while one is held, or within ``CRC_SETTLES`` cycles of the end of the one
    before, is lost, as if the line had lost it; the sender asks again. (Bytes of a line come
    further apart.) A frame that is damaged, too long or incomplete is told by a pulse.

    Parameters
    ----------
    data_bytes : int
        Most data in a frame, 32 to ``link.MAX_DATA``.
    idle_cycles : int
        As in :class:`~.cobs.CobsDecoder`.

    Members
    -------
    i : In(stream of 8 bits, always_ready)
    spoil : In(1)
        As in :class:`~.cobs.CobsDecoder`.
    held : Out(1)
        There is a frame; ``header`` and ``read`` show it.
    header : Out(HeaderLayout)
    read : In(read_signature(data_bytes, 8))
        Data of the frame; ``SimpleDualPort.LATENCY`` cycles.
    release : In(1)
        The frame is not needed any more.
    damaged : Out(1)
        For one cycle.

    Raises
    ------
    ValueError
        If ``data_bytes`` is outside its limits.
    """

    def __init__(self, *, data_bytes: int, idle_cycles: int):
        check_data_bytes(data_bytes)
        self.data_bytes, self.idle_cycles = data_bytes, idle_cycles
        super().__init__({
            "i": In(stream.Signature(8, always_ready=True)), "spoil": In(1),
            "held": Out(1), "header": Out(HeaderLayout),
            "read": In(read_signature(data_bytes, 8)),
            "release": In(1), "damaged": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.decoder = decoder = CobsDecoder(idle_cycles=self.idle_cycles)
        m.submodules.crc = crc = Crc32(1)
        m.submodules.words = words = SimpleDualPort(shape=8, depth=self.data_bytes)
        connect(m, flipped(self.i), decoder.i)
        connect(m, flipped(self.read), words.read)
        byte = decoder.o.payload
        most = link.OVERHEAD + self.data_bytes
        count = Signal(range(most + 2))         # bytes of the frame so far
        header = Signal(HEADER_BYTES * 8)
        deaf, begun = Signal(), Signal()        # the frame under way began while one was held
        drop = Signal()
        judging = Signal(CRC_SETTLES - 1)       # a frame ended so many cycles before
        sized, spoilt = Signal(), Signal()      # of that frame
        m.d.comb += [
            decoder.spoil.eq(self.spoil),
            self.header.eq(header),
            drop.eq(Mux(begun, deaf, self.held | judging.any())),
            crc.valid.eq(decoder.o.valid & ~byte.end & ~drop),
            crc.data.eq(byte.data),
            # CRC and what is too long are written too, where there is room: nobody reads them.
            words.write.addr.eq(count - HEADER_BYTES),
            words.write.data.eq(byte.data),
            words.write.en.eq(crc.valid & (count >= HEADER_BYTES)
                              & (count < HEADER_BYTES + self.data_bytes)),
        ]
        m.d.sync += [self.damaged.eq(0), judging.eq(judging << 1)]
        with m.If(self.release):
            m.d.sync += self.held.eq(0)
        with m.If(decoder.o.valid):
            m.d.sync += [begun.eq(~byte.end), deaf.eq(drop)]
            with m.If(byte.end):
                m.d.sync += count.eq(0)
                with m.If(~drop):
                    m.d.sync += [
                        judging[0].eq(1), spoilt.eq(byte.damaged),
                        sized.eq((count >= link.OVERHEAD) & (count <= most)
                                 & (self.header.length == count - link.OVERHEAD)),
                    ]
            with m.Elif(~drop):
                with m.If(count <= most):
                    m.d.sync += count.eq(count + 1)
                with m.If(count < HEADER_BYTES):
                    m.d.sync += header.eq(Cat(header[8:], byte.data))
        with m.If(judging[-1]):
            whole = Signal()
            m.d.comb += [whole.eq(~spoilt & sized & crc.residue_ok), crc.start.eq(1)]
            m.d.sync += [self.held.eq(whole), self.damaged.eq(~whole)]
        return m


class FrameSender(wiring.Component):
    """Keeps one frame and sends it as often as it is told, or the frame that says "damaged".

    Parameters
    ----------
    data_bytes : int
        Most data in a frame, 32 to ``link.MAX_DATA``.

    Members
    -------
    write : In(write_signature(HEADER_BYTES + data_bytes, 8))
        Bytes of header and data, while idle.
    length : In(range(data_bytes + 1))
        Bytes of data; stays while the frame may be sent again.
    send, nack : In(1)
        Begin to send the frame, or the other one, which leaves the frame alone; looked at when
        idle, ``send`` first.
    idle : Out(1)
        Nothing is being sent.
    o : Out(stream of 8 bits)

    Raises
    ------
    ValueError
        If ``data_bytes`` is outside its limits.
    """

    def __init__(self, *, data_bytes: int):
        check_data_bytes(data_bytes)
        self.data_bytes = data_bytes
        super().__init__({
            "write": In(write_signature(HEADER_BYTES + data_bytes, 8)),
            "length": In(range(data_bytes + 1)),
            "send": In(1), "nack": In(1), "idle": Out(1),
            "o": Out(stream.Signature(8)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = SimpleDualPort(shape=8, depth=HEADER_BYTES + self.data_bytes)
        m.submodules.crc = crc = Crc32(1)
        m.submodules.encoder = encoder = CobsEncoder()
        connect(m, flipped(self.write), words.write)
        at = Signal(range(HEADER_BYTES + self.data_bytes + 1))
        wait = Signal(range(SimpleDualPort.LATENCY))
        behind = Signal(range(max(link.CRC_BYTES, len(NACK_LINE))))
        m.d.comb += [
            words.read.addr.eq(at),
            crc.data.eq(words.read.data),
            self.o.valid.eq(encoder.o.valid), self.o.payload.eq(encoder.o.payload),
            encoder.o.ready.eq(self.o.ready),
        ]
        with m.FSM() as fsm:
            m.d.comb += self.idle.eq(fsm.ongoing("IDLE"))
            with m.State("IDLE"):
                m.d.sync += [at.eq(0), wait.eq(0), behind.eq(0)]
                m.d.comb += crc.start.eq(1)
                with m.If(self.send):
                    m.next = "READ"
                with m.Elif(self.nack):
                    m.next = "NACK"
            with m.State("READ"):
                m.d.sync += wait.eq(wait + 1)
                with m.If(wait == SimpleDualPort.LATENCY - 1):
                    m.d.sync += wait.eq(0)
                    m.next = "BYTE"
            with m.State("BYTE"):
                m.d.comb += [encoder.i.valid.eq(1), encoder.i.payload.data.eq(words.read.data)]
                with m.If(encoder.i.ready):
                    m.d.comb += crc.valid.eq(1)
                    m.d.sync += at.eq(at + 1)
                    m.next = "READ"
                    with m.If(at == HEADER_BYTES - 1 + self.length):
                        m.next = "SETTLE"
            with m.State("SETTLE"):
                m.d.sync += behind.eq(behind + 1)
                with m.If(behind == CRC_SETTLES - 1):
                    m.d.sync += behind.eq(0)
                    m.next = "CRC"
            with m.State("CRC"):
                m.d.comb += [
                    encoder.i.valid.eq(1),
                    encoder.i.payload.data.eq(crc.value.word_select(behind, 8)),
                    encoder.i.payload.last.eq(behind == link.CRC_BYTES - 1),
                ]
                with m.If(encoder.i.ready):
                    m.d.sync += behind.eq(behind + 1)
                    with m.If(encoder.i.payload.last):
                        m.d.sync += behind.eq(0)
                        m.next = "LEAVE"
            with m.State("LEAVE"):
                # The delimiter behind is the second zero since the frame began to leave; the
                # encoder holds at least one run when the last byte is in, so it is the next.
                with m.If(self.o.valid & self.o.ready & (self.o.payload == link.DELIMITER)):
                    m.next = "IDLE"
            with m.State("NACK"):
                m.d.comb += self.o.valid.eq(1)
                with m.Switch(behind):
                    for place, byte in enumerate(NACK_LINE):
                        with m.Case(place):
                            m.d.comb += self.o.payload.eq(byte)
                with m.If(self.o.ready):
                    m.d.sync += behind.eq(behind + 1)
                    with m.If(behind == len(NACK_LINE) - 1):
                        m.next = "IDLE"
        return m
