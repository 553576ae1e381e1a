"""Decides when the unit runs, stops on the first error, and clears."""
from amaranth.hdl import Module, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

SOURCES = ("job", "weights", "acts")
"""Where an error may come from; of two in one cycle the earlier in this order is the cause."""


class Fault(wiring.Component):
    """Runs, or stopped with a cause, or clearing.

    An error or a clear is registered first and acts in the next cycle. An error stops the unit
    from the cycle after that on and ends the results with one closing beat.
    A clear drops everything, waits until no input packet is under way and no result beat is
    offered, then lets the unit run again. It needs no beat on an idle port.

    Members
    -------
    job, weights, acts : In(8)
        Cause code for one cycle, else 0.
    strip : In(16)
        Where the weight stream was.
    clear : In(1)
    results_open, results_idle : In(1)
        Of the result port.
    inputs_started : In(1)
        A packet is under way on an input.
    run, stopped, clearing : Out(1)
        Exactly one holds.
    raised : Out(1)
        An error was latched in this cycle.
    cause : Out(8)
    at_strip : Out(16)
        Held until cleared.
    halt : Out(1)
        No result beat may be offered anew: not running, or about to stop. From registers.
    close : Out(1)
        One closing beat is due, with ``close_cause``.
    close_cause : Out(8)
    """

    class _State(enum.Enum):
        RUN = 0
        STOPPED = 1
        CLEARING = 2

    def __init__(self):
        super().__init__({
            **{source: In(8) for source in SOURCES},
            "strip": In(16), "clear": In(1),
            "results_open": In(1), "results_idle": In(1), "inputs_started": In(1),
            "run": Out(1), "stopped": Out(1), "clearing": Out(1), "raised": Out(1),
            "cause": Out(8), "at_strip": Out(16),
            "halt": Out(1), "close": Out(1), "close_cause": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        state = Signal(self._State)
        cause = Signal(8)
        for source in reversed(SOURCES):
            with m.If(getattr(self, source) != 0):
                m.d.comb += cause.eq(getattr(self, source))
        found, is_found, at_strip, clear = Signal(8), Signal(), Signal(16), Signal()
        m.d.sync += [found.eq(cause), is_found.eq(cause != 0), at_strip.eq(self.strip),
                     clear.eq(self.clear)]
        m.d.comb += [
            self.run.eq(state == self._State.RUN),
            self.stopped.eq(state == self._State.STOPPED),
            self.clearing.eq(state == self._State.CLEARING),
            self.close_cause.eq(found),
            self.halt.eq((state != self._State.RUN) | clear | is_found),
        ]
        settle = Signal()  # one cycle, so that a close just asked for shows as not idle
        with m.Switch(state):
            with m.Case(self._State.RUN):
                with m.If(clear):
                    m.d.comb += [self.close.eq(self.results_open), self.close_cause.eq(0)]
                    m.d.sync += [state.eq(self._State.CLEARING), settle.eq(1)]
                with m.Elif(is_found):
                    m.d.comb += [self.close.eq(1), self.raised.eq(1)]
                    m.d.sync += [state.eq(self._State.STOPPED), self.cause.eq(found),
                                 self.at_strip.eq(at_strip)]
            with m.Case(self._State.STOPPED):
                with m.If(clear):
                    m.d.sync += [state.eq(self._State.CLEARING), settle.eq(1),
                                 self.cause.eq(0), self.at_strip.eq(0)]
            with m.Case(self._State.CLEARING):
                m.d.sync += settle.eq(0)
                with m.If(~settle & self.results_idle & ~self.inputs_started):
                    m.d.sync += state.eq(self._State.RUN)
        return m
