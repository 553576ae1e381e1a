"""A queue in a memory with an output register."""
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.memory import SimpleDualPort

DISTRIBUTED = 16
"""Words up to which a queue is made of look-up tables: its words are wide."""


def places(depth: int) -> int:
    """Words of the memory of a queue of ``depth``: a power of two, so that pointers wrap."""
    return 1 << (depth - 1).bit_length()


class BlockFifo(wiring.Component):
    """First in, first out; its last register is the memory's own.

    A word is offered ``LATENCY`` cycles after its write, one leaves in every cycle. ``o.payload``
    comes from registers; no back-pressure on ``i``: whoever writes has counted.

    Parameters
    ----------
    shape : ShapeLike
        Shape of a word.
    depth : int
        Words that it holds, at least 1.
    target : str
        Technology body of the memory.
    ahead : bool
        ``o.ready`` tells of the cycle behind, so that the queue moves by registers alone.

    Members
    -------
    i : In(stream of shape, always ready)
    o : Out(stream of shape)

    Raises
    ------
    ValueError
        If ``depth`` is below 1 or ``target`` is unknown.
    """

    LATENCY = 1 + SimpleDualPort.LATENCY

    def __init__(self, *, shape, depth: int, target: str = "generic",
                 ahead: bool = False):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        self._depth, self._ahead = depth, ahead
        self._places = places(depth)
        self._words = SimpleDualPort(shape=shape, depth=self._places, target=target,
                                     distributed=DISTRIBUTED)
        super().__init__({
            "i": In(stream.Signature(shape, always_ready=True)),
            "o": Out(stream.Signature(shape)),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = self._words
        write_at, read_at = Signal(range(self._places)), Signal(range(self._places))
        unread = Signal(range(self._depth + 1))     # written, and not on the way out
        has_unread = Signal()
        latched, read = Signal(), Signal()          # the memory's first register holds a word
        free = Signal(init=self._ahead)             # the output may take another
        if self._ahead:
            m.d.sync += free.eq(self.o.ready | (free & ~latched))
        else:
            m.d.comb += free.eq(~self.o.valid | self.o.ready)
        m.d.comb += [
            words.write.en.eq(self.i.valid), words.write.addr.eq(write_at),
            words.write.data.eq(self.i.payload),
            words.read.addr.eq(read_at), self.o.payload.eq(words.read.data),
            words.advance[1].eq(free), words.advance[0].eq(~latched | free),
            read.eq(has_unread & words.advance[0]),
        ]
        # Whether a word is read decides late, and only whether there is a step.
        with m.If(self.i.valid ^ read):
            m.d.sync += [unread.eq(unread + Mux(self.i.valid, 1, -1)),
                         has_unread.eq(self.i.valid | (unread != 1))]
        for enable, pointer in ((self.i.valid, write_at), (read, read_at)):
            with m.If(enable):
                m.d.sync += pointer.eq(pointer + 1)
        with m.If(words.advance[0]):
            m.d.sync += latched.eq(read)
        m.d.sync += self.o.valid.eq(latched | ~free)
        return m
