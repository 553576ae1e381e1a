"""Two places in the way of a stream, filled and emptied in turn: neither side's wires reach far."""
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class StreamPlaces(wiring.Component):
    """Passes a stream on through two places; what takes it turns three registers and no more.

    Latency 1 cycle, throughput 1 per cycle, full back-pressure: ``i.ready`` and ``o.valid`` come
    from flip-flops, ``o.payload`` from one look-up table behind them. In
    :class:`~.stream_break.StreamBreak` ``o.ready`` enables every register of the payload; this is
    for a wide payload and an ``o.ready`` that comes late in the cycle.

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
        places = [Signal(self._shape, name=f"place_{index}", reset_less=True) for index in range(2)]
        filled_next, empty_next, both = Signal(), Signal(), Signal()   # places; both are filled
        push, pop = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.comb += [self.i.ready.eq(~both),
                     self.o.payload.eq(Mux(empty_next, places[1], places[0]))]
        for index, place in enumerate(places):
            with m.If(self.i.valid & ~both & (filled_next == index)):
                m.d.sync += place.eq(self.i.payload)
        m.d.sync += [
            filled_next.eq(filled_next ^ push), empty_next.eq(empty_next ^ pop),
            both.eq((both | (push & self.o.valid)) & ~pop),
            self.o.valid.eq(push | both | (self.o.valid & ~pop)),
        ]
        return m
