"""Repack a stream of words of one width into words of another."""
from math import gcd

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out


class Gearbox(wiring.Component):
    """Repack packets of ``in_bytes`` words into words of ``out_bytes``, lowest byte first.

    The bytes of a packet go out in their order and without gaps, ``out_bytes`` at a time. Behind
    the input word with ``last`` the remainder is flushed as a word with ``count < out_bytes``
    and zeros above it; without a remainder the final full word carries ``last``. The next packet
    starts in byte 0.

    **Latency** ``latency`` cycles from the input word that completes an output word: 2 where words
    are cut into whole parts, else 1. **Throughput** one
    input word per cycle if ``out_bytes >= in_bytes``, one output word per cycle if
    ``in_bytes >= out_bytes``; behind ``last`` the input waits until its packet is drained.
    **Back-pressure** full; ``o.ready`` does not reach ``i.ready`` in the same cycle, and the
    output payload comes from registers.

    Where one width is a multiple of the other, parts move in whole registers, without byte
    multiplexers: a word that is cut waits in one register and is shifted out of a second; parts
    are gathered in one and leave from a second. Otherwise there is one buffer. Positions in it are
    multiples of g = gcd(in_bytes, out_bytes) only, which keeps the
    byte multiplexers small. The buffer holds in_bytes + out_bytes - g + min(in_bytes, out_bytes)
    bytes, the least that allows the throughput above.

    Parameters
    ----------
    in_bytes, out_bytes : int
        Bytes in a word, at least 1 each.

    Members
    -------
    i : In(stream of {data, last})
        Always ``in_bytes`` bytes; ``last`` ends a packet.
    o : Out(stream of {data, count, last})
        ``count`` is the number of valid bytes, from bit 0; ``out_bytes`` except with ``last``.
    level : Out(range)
        Bytes held.

    Raises
    ------
    ValueError
        If a width is below 1.
    """

    def __init__(self, in_bytes: int, out_bytes: int):
        for name, value in (("in_bytes", in_bytes), ("out_bytes", out_bytes)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self.in_bytes = in_bytes
        self.out_bytes = out_bytes
        self.granule_bytes = gcd(in_bytes, out_bytes)
        self.size_bytes = in_bytes + out_bytes - self.granule_bytes + min(in_bytes, out_bytes)
        body = self._general
        if in_bytes > out_bytes and in_bytes % out_bytes == 0:
            self.size_bytes, body = 2 * in_bytes, self._cut
        elif out_bytes % in_bytes == 0:
            self.size_bytes, body = 2 * out_bytes, self._gather
        self._body = body
        self.latency = 2 if body == self._cut else 1
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"data": in_bytes * 8, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({
                "data": out_bytes * 8, "count": range(out_bytes + 1), "last": 1}))),
            "level": Out(range(self.size_bytes + 1)),
        })

    def elaborate(self, platform):
        m = Module()
        self._body(m)
        return m

    def _cut(self, m):
        """A word waits in one register and leaves from another, ``out_bytes`` at a time."""
        parts, bits = self.in_bytes // self.out_bytes, 8 * self.out_bytes
        waiting = Signal.like(self.i.p, reset_less=True)
        waits = Signal()
        held = Signal(8 * self.in_bytes, reset_less=True)
        held_last = Signal(reset_less=True)
        left = Signal(range(parts + 1))
        has, one = Signal(), Signal()               # ``left`` is not 0, is 1
        take, empties, move = Signal(), Signal(), Signal()
        m.d.comb += [
            self.i.ready.eq(~waits),
            self.o.valid.eq(has),
            self.o.p.data.eq(held[:bits]), self.o.p.count.eq(self.out_bytes),
            self.o.p.last.eq(held_last & one),
            self.level.eq(left * self.out_bytes + Mux(waits, self.in_bytes, 0)),
            take.eq(has & self.o.ready),
            empties.eq(~has | (self.o.ready & one)),
            move.eq(waits & empties),
        ]
        with m.If(~waits):
            m.d.sync += [waiting.eq(self.i.p), waits.eq(self.i.valid)]
        with m.If(move):
            m.d.sync += [waits.eq(0), held.eq(waiting.data), held_last.eq(waiting.last),
                         left.eq(parts), has.eq(1), one.eq(0)]
        with m.Elif(take):
            m.d.sync += [held.eq(held >> bits), left.eq(left - 1), has.eq(~one),
                         one.eq(left == 2)]

    def _gather(self, m):
        """Parts are gathered in one register; a whole word leaves from another."""
        parts, bits = self.out_bytes // self.in_bytes, 8 * self.in_bytes
        gathered = Signal(data.ArrayLayout(bits, parts), reset_less=True)
        count = Signal(range(parts + 1))
        whole, whole_last = Signal(), Signal(reset_less=True)   # gathered, and waits to leave
        put, complete, free, leaves = Signal(), Signal(), Signal(), Signal()
        out = self.o.p
        valid, out_parts = Signal(), Signal(range(parts + 1), reset_less=True)
        m.d.comb += [
            self.i.ready.eq(~whole), put.eq(self.i.valid & ~whole),
            complete.eq(put & (self.i.p.last | (count == parts - 1))),
            self.o.valid.eq(valid), free.eq(~valid | self.o.ready),
            leaves.eq(free & (whole | complete)),
            out.count.eq(out_parts * self.in_bytes),
            self.level.eq((count + Mux(valid, out_parts, 0)) * self.in_bytes),
        ]
        word = Signal(8 * self.out_bytes, reset_less=True)
        last = Signal(reset_less=True)
        m.d.comb += [out.data.eq(word), out.last.eq(last)]
        with m.If(~whole):          # nonsense too: the next word takes its place
            m.d.sync += [gathered[count].eq(self.i.p.data), whole_last.eq(self.i.p.last)]
        with m.If(put):
            m.d.sync += [count.eq(count + 1), whole.eq(complete & ~free)]
        with m.If(leaves):
            m.d.sync += [whole.eq(0), count.eq(0)]
        with m.If(free):            # what leaves is right only with ``valid``
            m.d.sync += [
                valid.eq(leaves), out_parts.eq(count + ~whole),
                last.eq(Mux(whole, whole_last, self.i.p.last)),
                word.eq(Cat(Mux(count > part, gathered[part],
                                Mux((count == part) & ~whole, self.i.p.data, 0))
                            for part in range(parts))),
            ]

    def _general(self, m):
        """One buffer, whose bytes move down when some leave."""
        granule = self.granule_bytes
        step_in = self.in_bytes // granule
        step_out = self.out_bytes // granule
        size = self.size_bytes // granule
        bits = granule * 8

        held = Signal(size * bits)          # zero at and above `level`
        level = Signal(range(size + 1))     # in granules
        ending = Signal()                   # a whole packet is held, its `last` word included

        m.d.comb += [
            self.i.ready.eq((level <= size - step_in) & ~ending),
            self.o.valid.eq((level >= step_out) | ending),
            self.o.p.data.eq(held[:step_out * bits]),
            self.o.p.count.eq(Mux(level >= step_out, self.out_bytes, level * granule)),
            self.o.p.last.eq(ending & (level <= step_out)),
            self.level.eq(level * granule),
        ]

        put = Signal()
        take = Signal()
        m.d.comb += [
            put.eq(self.i.valid & self.i.ready),
            take.eq(self.o.valid & self.o.ready),
        ]

        kept = Signal(range(size + 1))      # granules that stay
        m.d.comb += kept.eq(level)
        with m.If(take):
            m.d.comb += kept.eq(Mux(level > step_out, level - step_out, 0))
        m.d.sync += level.eq(kept + Mux(put, step_in, 0))

        # The word is placed behind what was held, as if nothing left, and moves down with it: the
        # shift by `level` needs no sum with `take`. Positions beyond the last fit never happen.
        with m.If(put | take):
            placed = Signal(size * bits)
            with m.Switch(level):
                for position in range(size - step_in + 1):
                    with m.Case(position):
                        m.d.comb += placed.eq(
                            Cat(Const(0, position * bits), self.i.p.data))
            joined = Signal(size * bits)
            m.d.comb += joined.eq(held | Mux(put, placed, 0))
            m.d.sync += held.eq(Mux(take, joined >> (step_out * bits), joined))

        with m.If(put & self.i.p.last):
            m.d.sync += ending.eq(1)
        with m.Elif(take & self.o.p.last):
            m.d.sync += ending.eq(0)
