"""One input stream's door: opened while the unit runs, and able to throw a packet away."""
from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.layouts import beat_layout


class InputPort(wiring.Component):
    """Passes beats through in the same cycle, and knows whether a packet is under way.

    Parameters
    ----------
    bus_bits : int
        Width of a beat.

    Members
    -------
    i, o : In, Out(stream of beat_layout(bus_bits))
    run : In(1)
        Pass beats. If 0, ``o`` sees none.
    discard : In(1)
        While not running: take and drop the beats of a packet under way, through its TLAST.
    started : Out(1)
        A beat of a packet was taken and its TLAST was not.
    """

    def __init__(self, *, bus_bits: int):
        beat = beat_layout(bus_bits)
        super().__init__({
            "i": In(stream.Signature(beat)), "o": Out(stream.Signature(beat)),
            "run": In(1), "discard": In(1), "started": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.payload.eq(self.i.payload)
        with m.If(self.run):
            m.d.comb += [self.o.valid.eq(self.i.valid), self.i.ready.eq(self.o.ready)]
        with m.Else():
            m.d.comb += self.i.ready.eq(self.discard & self.started)
        with m.If(self.i.valid & self.i.ready):
            m.d.sync += self.started.eq(~self.i.payload.last)
        return m
