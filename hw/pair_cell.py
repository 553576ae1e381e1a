"""Two multiply-accumulate cells of 4-bit weights that share an activation and a multiplier."""
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.accumulator import Accumulator
from sparseloom.hw.cell import Cell
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.multiplier import Multiplier
from sparseloom.hw.weight_word import PAIR_BITS, PAIR_SHIFT, joint_factor


class PairCell(wiring.Component):
    """Two neighbouring columns' cell of one row: the ports of a :class:`~.cell.Cell`, two sums.

    One product ``((w1 << 12) + w0) * x`` holds both. The lower one is its low 12 bits, signed,
    since ``|w0 * x| <= 8 * 128`` stays within them; where it is negative it has borrowed one
    from the upper, so bit 11 is added to that again, as the carry into its accumulator.

    Both sums land in the same cycle, and a ``shift`` moves both drain registers at once: the
    left one takes the right one's sum, that one the next cell's. So a pair is one step of the
    skew, and two steps of the drain chain.

    Parameters
    ----------
    sum_bits : int
        Width of an accumulator; wide enough that no run overflows.
    target : str
        Technology body of multiplier, accumulators and control registers.
    bel : str, optional
        Place of the multiplier.

    Members
    -------
    x : In(signed(8))
    w : In(signed(9))
        ``16 * w1 + w0`` (:mod:`~.weight_word`), w0 of the left column; weights -8 to 7.
    first, last, shift, drain_right, x_right, w_down, first_right, last_right, shift_right, drained
        As in :class:`~.cell.Cell`; ``drained`` is the left column's.

    Notes
    -----
    As for the single cell: no handshake, no reset, two ``shift`` pulses at least two cycles apart.
    """

    CAPTURE_LATENCY = Multiplier.LATENCY + Accumulator.LATENCY + 1
    """As that of a single cell."""

    PRODUCT_BITS = 12

    def __init__(self, *, sum_bits: int, target: str = "generic", bel: str | None = None):
        if sum_bits < self.PRODUCT_BITS:
            raise ValueError(f"sum_bits must be at least {self.PRODUCT_BITS} (one product), "
                             f"not {sum_bits!r}")
        self.sum_bits, self.target, self.bel = sum_bits, target, bel
        super().__init__({
            "x": In(signed(8)), "w": In(signed(PAIR_BITS)),
            "first": In(1), "last": In(1), "shift": In(1),
            "drain_right": In(signed(sum_bits)),
            "x_right": Out(signed(8)), "w_down": Out(signed(PAIR_BITS)),
            "first_right": Out(1), "last_right": Out(1), "shift_right": Out(1),
            "drained": Out(signed(sum_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        assert self.CAPTURE_LATENCY == Cell.CAPTURE_LATENCY

        for port, value in ((self.x_right, self.x), (self.w_down, self.w)):
            value_q = Signal.like(value, name=f"{port.name}_q", reset_less=True)
            m.d.sync += value_q.eq(value)
            m.d.comb += port.eq(value_q)

        def kept(value, name):
            m.submodules[name] = register = KeptRegister(1, target=self.target)
            m.d.comb += register.i.eq(value)
            return register.o

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

        m.submodules.multiplier = multiplier = Multiplier(
            a_bits=PAIR_BITS + PAIR_SHIFT - 4, b_bits=8, target=self.target, bel=self.bel)
        m.submodules.left = left = Accumulator(
            product_bits=self.PRODUCT_BITS, sum_bits=self.sum_bits, target=self.target)
        m.submodules.right = right = Accumulator(
            product_bits=self.PRODUCT_BITS, sum_bits=self.sum_bits, carry=True, target=self.target)
        low = multiplier.product[:PAIR_SHIFT].as_signed()
        m.d.comb += [
            multiplier.a.eq(joint_factor(self.w)), multiplier.b.eq(self.x),
            left.product.eq(low), right.carry.eq(low[-1]),
            right.product.eq(multiplier.product[PAIR_SHIFT:].as_signed()),
            left.first.eq(first), right.first.eq(first),
        ]
        drained_left = Signal(signed(self.sum_bits), reset_less=True)
        drained_right = Signal(signed(self.sum_bits), reset_less=True)
        with m.If(capture):
            m.d.sync += [drained_left.eq(left.total), drained_right.eq(right.total)]
        with m.Elif(self.shift):
            m.d.sync += [drained_left.eq(drained_right), drained_right.eq(self.drain_right)]
        m.d.comb += self.drained.eq(drained_left)
        return m
