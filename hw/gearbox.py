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

    **Latency** 1 cycle from the input word that completes an output word. **Throughput** one
    input word per cycle if ``out_bytes >= in_bytes``, one output word per cycle if
    ``in_bytes >= out_bytes``; behind ``last`` the input waits until its packet is drained.
    **Back-pressure** full; ``o.ready`` does not reach ``i.ready`` in the same cycle, and the
    output payload comes from registers.

    Positions in the buffer are multiples of g = gcd(in_bytes, out_bytes) only, which keeps the
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
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"data": in_bytes * 8, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({
                "data": out_bytes * 8, "count": range(out_bytes + 1), "last": 1}))),
            "level": Out(range(self.size_bytes + 1)),
        })

    def elaborate(self, platform):
        m = Module()
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
        return m
