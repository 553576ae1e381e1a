"""One multiply-accumulate cell of the systolic array."""
from itertools import pairwise

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.accumulator import Accumulator
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.multiplier import Multiplier


class Cell(wiring.Component):
    """Multiply, accumulate, hand everything on to the next cell one cycle later.

    A dot product is the run of cycles from the one with ``first`` to the one with ``last``; cycles
    outside a run are harmless, since ``first`` begins a new sum and nothing else is kept. The
    finished sum moves into the drain register, so that the next run may follow at once.

    Parameters
    ----------
    sum_bits : int
        Width of the accumulator; wide enough that no run overflows.
    weight_bits : int
        Bits of a weight.
    target : str
        Technology body of multiplier, accumulator and control registers.
    bel : str, optional
        Place of the multiplier.

    Members
    -------
    x, w : In(signed(8)), In(signed(weight_bits))
        Activation from the left, weight from above.
    first, last : In(1)
        Run markers, moving right with ``x``.
    shift : In(1)
        Take the right neighbour's drained sum; moves right, one cell a cycle.
    drain_right : In(signed(sum_bits))
        The right neighbour's ``drained``.
    x_right, w_down, first_right, last_right, shift_right : Out
        The same, one cycle later.
    drained : Out(signed(sum_bits))
        Holds a sum from ``CAPTURE_LATENCY`` cycles after its ``last`` until shifted or replaced.

    Notes
    -----
    No handshake: every latency is counted. No register has a reset: a sum that no one asked for is
    never read, and a reset would be one more net to each of them. Two ``shift`` pulses are at
    least two cycles apart, because pulses move right while sums move left.
    """

    CAPTURE_LATENCY = Multiplier.LATENCY + Accumulator.LATENCY + 1
    """From ``last`` at the inputs to the sum in ``drained``: product, accumulator, drain."""

    def __init__(self, *, sum_bits: int, weight_bits: int = 8, target: str = "generic",
                 bel: str | None = None):
        if sum_bits < 8 + weight_bits:
            raise ValueError(f"sum_bits must be at least {8 + weight_bits} (one product), "
                             f"not {sum_bits!r}")
        self.sum_bits = sum_bits
        self.weight_bits = weight_bits
        self.target = target
        self.bel = bel
        word = self._word_shape(weight_bits)
        super().__init__({
            "x": In(signed(8)), "w": In(word),
            "first": In(1), "last": In(1), "shift": In(1),
            "drain_right": In(signed(sum_bits)),
            "x_right": Out(signed(8)), "w_down": Out(word),
            "first_right": Out(1), "last_right": Out(1), "shift_right": Out(1),
            "drained": Out(signed(sum_bits)),
        })

    def elaborate(self, platform):
        m = Module()

        for port, value in ((self.x_right, self.x), (self.w_down, self.w)):
            value_q = Signal.like(value, name=f"{port.name}_q", reset_less=True)
            m.d.sync += value_q.eq(value)
            m.d.comb += port.eq(value_q)

        def kept(value, name):
            m.submodules[name] = register = KeptRegister(1, target=self.target)
            m.d.comb += register.i.eq(value)
            return register.o

        # What goes on to the right is the first stage of the cell's own delay.
        m.d.comb += [
            self.first_right.eq(kept(self.first, "first_0")),
            self.last_right.eq(kept(self.last, "last_0")),
            self.shift_right.eq(kept(self.shift, "shift_0")),
        ]
        first, capture = self.first_right, self.last_right
        for stage in range(1, Multiplier.LATENCY):
            first = kept(first, f"first_{stage}")
        for stage in range(1, Multiplier.LATENCY + Accumulator.LATENCY):
            capture = kept(capture, f"last_{stage}")

        totals = self._totals(m, first)
        chain = [Signal(signed(self.sum_bits), name=name, reset_less=True) for name in totals]
        with m.If(capture):
            m.d.sync += [drained.eq(total)
                         for drained, total in zip(chain, totals.values(), strict=True)]
        with m.Elif(self.shift):
            m.d.sync += [drained.eq(right)
                         for drained, right in pairwise([*chain, self.drain_right])]
        m.d.comb += self.drained.eq(chain[0])
        return m

    @staticmethod
    def _word_shape(weight_bits):
        """Of what comes from above."""
        return signed(weight_bits)

    def _totals(self, m, first):
        """Sums by the name of their drain register, left to right."""
        m.submodules.multiplier = multiplier = Multiplier(
            a_bits=8, b_bits=self.weight_bits, target=self.target, bel=self.bel)
        m.submodules.accumulator = accumulator = Accumulator(
            product_bits=8 + self.weight_bits, sum_bits=self.sum_bits, target=self.target)
        m.d.comb += [
            multiplier.a.eq(self.x), multiplier.b.eq(self.w),
            accumulator.product.eq(multiplier.product), accumulator.first.eq(first),
        ]
        return {"drained": accumulator.total}
