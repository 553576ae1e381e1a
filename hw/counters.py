"""Counts what the unit spends its cycles on."""
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.tile_walk import Cause

WIDTH = 32


class Counters(wiring.Component):
    """Busy cycles, and their split by cause; the parts always add up to ``busy``.

    Parameters
    ----------
    width : int
        Bits of a counter.
    target : str
        Technology body of the kept registers.

    Members
    -------
    count : In(1)
        This cycle is a busy one.
    cause : In(Cause)
    clear : In(1)
        All to zero; wins over ``count``.
    busy, active, stall_results, stall_weights, stall_acts, other : Out(width)
        Cycles; they wrap. ``LATENCY`` cycles behind ``count`` and ``clear``.
    """

    LATENCY = 3
    """Cycles from a cycle that counts to the counter that shows it."""

    def __init__(self, *, width: int = WIDTH, target: str = "generic"):
        self.target = target
        super().__init__({
            "count": In(1), "cause": In(Cause), "clear": In(1), "busy": Out(width),
            **{cause.name.lower(): Out(width) for cause in Cause},
        })

    def elaborate(self, platform):
        m = Module()
        # Registered, so that no stage's decision waits for a counter; every counter has its own
        # step and its own clear, from registers. Reset clears as well, through the register.
        count, cause, clear = Signal(), Signal(Cause), Signal(init=1)
        m.d.sync += [count.eq(self.count), cause.eq(self.cause), clear.eq(self.clear)]
        for name, steps in (("busy", count), *((which.name.lower(), count & (cause == which))
                                               for which in Cause)):
            m.submodules[f"clear_{name}"] = clear_q = KeptRegister(1, target=self.target)
            step = Signal(name=f"{name}_step")
            shown = getattr(self, name)
            counter = Signal(len(shown), name=f"{name}_count", reset_less=True)
            m.d.comb += [clear_q.i.eq(clear), shown.eq(counter)]
            m.d.sync += step.eq(steps)
            with m.If(clear_q.o):
                m.d.sync += counter.eq(0)
            with m.Elif(step):
                m.d.sync += counter.eq(counter + 1)
        return m
