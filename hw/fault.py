"""Decides when the unit runs, stops on the first error, and clears."""
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

SOURCES = ("job", "weights", "acts")
"""Where an error may come from; of two in one cycle the earlier in this order is the cause."""


class Fault(wiring.Component):
    """Runs, or stopped with a cause, or clearing.

    An error or a clear acts ``NOTICE`` cycles after it is told: registered first, then chosen.
    The unit is stopped from the cycle after that on, in which one closing beat ends the results.
    A clear drops everything, waits until no input packet is under way and no result beat is
    offered, then lets the unit run again. It needs no beat on an idle port. All outputs are
    registers.

    Members
    -------
    job, weights, acts : In(8)
        Cause code for one cycle, else 0.
    strip : In(16)
        Where the weight stream was; of errors in successive cycles, the first one's counts.
    drop : In(1)
        Errors of this cycle are of what is forgotten.
    clear : In(1)
    results_open, results_idle : In(1)
        Of the result port.
    inputs_started : In(1)
        A packet is under way on an input. None begins from ``DOORS_SHUT`` cycles after ``run``
        fell until ``run`` is up again.
    run, stopped, clearing : Out(1)
        Exactly one holds.
    raised : Out(1)
        For one cycle: an error was latched with the last one.
    cause : Out(8)
        Held until cleared; the closing beat's, too.
    at_strip : Out(16)
        Held until cleared.
    halt : Out(1)
        No result beat may be offered anew, no job pushed: not running, or about to stop. Up a
        cycle before ``run`` falls, until the cycle after it rises.
    close : Out(1)
        One closing beat is due, with ``cause``.
    """

    NOTICE = 2
    """Cycles from an error or a clear until it acts."""

    DOORS_SHUT = 2
    """Cycles from the end of ``run`` in which a packet may still begin."""

    def __init__(self):
        super().__init__({
            **{source: In(8) for source in SOURCES},
            "strip": In(16), "drop": In(1), "clear": In(1),
            "results_open": In(1), "results_idle": In(1), "inputs_started": In(1),
            "run": Out(1), "stopped": Out(1), "clearing": Out(1), "raised": Out(1),
            "cause": Out(8), "at_strip": Out(16),
            "halt": Out(1), "close": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        running = Signal(init=1)
        m.d.comb += self.run.eq(running)
        told, codes = [], []
        for source in SOURCES:
            is_told, code = Signal(name=f"{source}_told"), Signal(8, name=f"{source}_code")
            m.d.sync += [
                is_told.eq((getattr(self, source) != 0) & self.run & ~self.drop),
                code.eq(getattr(self, source)),
            ]
            told.append(is_told)
            codes.append(code)
        first = codes[-1]
        for is_told, code in reversed(list(zip(told[:-1], codes[:-1], strict=True))):
            first = Mux(is_told, code, first)
        any_told, found, is_found = Signal(), Signal(8), Signal()
        clear, clear_q = Signal(), Signal()
        strip = Signal(16, reset_less=True)
        m.d.comb += any_told.eq(told[0] | told[1] | told[2])
        m.d.sync += [
            found.eq(first), is_found.eq(any_told), clear.eq(self.clear), clear_q.eq(clear),
            self.halt.eq(~self.run | any_told | is_found | clear | clear_q),
        ]
        with m.If(~any_told):
            m.d.sync += strip.eq(self.strip)

        # A close is seen as not idle, and a packet that the doors still let in as started, a few
        # cycles after the clearing began; from then on both only end.
        quiet, settled = Signal(), Signal(self.DOORS_SHUT + 1)
        leave = Signal()
        m.d.sync += [
            quiet.eq(self.results_idle & ~self.inputs_started),
            settled.eq((settled << 1 | 1) & self.clearing.replicate(len(settled))),
            self.raised.eq(self.run & ~clear_q & is_found),
            self.close.eq(self.run & ((clear_q & self.results_open) | (~clear_q & is_found))),
        ]
        m.d.comb += leave.eq(self.clearing & settled[-1] & quiet)
        with m.If(leave):
            m.d.sync += [self.clearing.eq(0), running.eq(1)]
        with m.Elif(clear_q):
            m.d.sync += [running.eq(0), self.stopped.eq(0), self.clearing.eq(1)]
        with m.Elif(self.run & is_found):
            m.d.sync += [running.eq(0), self.stopped.eq(1)]
        with m.If(self.clearing):
            m.d.sync += [self.cause.eq(0), self.at_strip.eq(0)]
        with m.Elif(self.run & is_found & ~clear_q):
            m.d.sync += [self.cause.eq(found), self.at_strip.eq(strip)]
        return m
