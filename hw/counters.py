"""Counts what the unit spends its cycles on."""
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.tile_walk import Cause

WIDTH = 32


class Counters(wiring.Component):
    """Busy cycles, and their split by cause; the parts always add up to ``busy``.

    Members
    -------
    count : In(1)
        This cycle is a busy one.
    cause : In(Cause)
    clear : In(1)
        All to zero; wins over ``count``.
    busy, active, stall_results, stall_weights, stall_acts, other : Out(32)
        Cycles; they wrap.
    """

    def __init__(self):
        super().__init__({
            "count": In(1), "cause": In(Cause), "clear": In(1), "busy": Out(WIDTH),
            **{cause.name.lower(): Out(WIDTH) for cause in Cause},
        })

    def elaborate(self, platform):
        m = Module()
        # Registered, so that no stage's decision waits for a counter.
        count, cause = Signal(), Signal(Cause)
        m.d.sync += [count.eq(self.count), cause.eq(self.cause)]
        with m.If(count):
            m.d.sync += self.busy.eq(self.busy + 1)
        for which in Cause:
            counter = getattr(self, which.name.lower())
            with m.If(count & (cause == which)):
                m.d.sync += counter.eq(counter + 1)
            with m.If(self.clear):
                m.d.sync += counter.eq(0)
        with m.If(self.clear):
            m.d.sync += self.busy.eq(0)
        return m
