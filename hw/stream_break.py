"""Registers in the way of a stream, so that neither side's logic reaches the other's."""
from amaranth.hdl import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class StreamBreak(wiring.Component):
    """Passes a stream on, both ways through registers.

    Latency 1 cycle, throughput 1 per cycle, full back-pressure: ``i.ready`` and all of ``o`` come
    from flip-flops. Holds two payloads at most.

    Parameters
    ----------
    shape : ShapeLike
        Of the payload.

    Members
    -------
    i, o : In, Out(stream of shape)
    """

    LATENCY = 1

    def __init__(self, shape):
        self._shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform):
        m = Module()
        spare, has_spare = Signal(self._shape, reset_less=True), Signal()
        m.d.comb += self.i.ready.eq(~has_spare)
        with m.If(~self.o.valid | self.o.ready):
            m.d.sync += [self.o.valid.eq(self.i.valid | has_spare), has_spare.eq(0)]
            with m.If(has_spare):
                m.d.sync += self.o.payload.eq(spare)
            with m.Else():
                m.d.sync += self.o.payload.eq(self.i.payload)
        with m.Elif(self.i.valid & self.i.ready):
            m.d.sync += [spare.eq(self.i.payload), has_spare.eq(1)]
        return m
