"""One multiply-accumulate cell of the systolic array."""
from itertools import pairwise

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.accumulator import Accumulator
from sparseloom.hw.multiplier import Multiplier


class Cell(wiring.Component):
    """Multiply, accumulate, keep the finished sum until it is drained.

    A dot product is the run of cycles from the one with the first operands to the one with the
    last; cycles outside a run are harmless, since ``first`` begins a new sum and nothing else is
    kept. The finished sum moves into the drain register, so that the next run may follow at once.

    Parameters
    ----------
    sum_bits : int
        Width of the accumulator; wide enough that no run overflows.
    weight_bits : int
        Bits of a weight.
    target : str
        Technology body of multiplier and accumulator.
    bel : str, optional
        Place of the multiplier.

    Members
    -------
    x, w : In(signed(8)), In(signed(weight_bits))
        Activation and weight.
    first : In(1)
        ``FIRST`` cycles after a run's first operands.
    capture : In(1)
        ``CAPTURE`` cycles after a run's last operands, together with ``move``.
    move : In(1)
        The drain register takes the sum with ``capture``, else ``drain_right``.
    drain_right : In(signed(sum_bits))
        The right neighbour's ``drained``.
    drained : Out(signed(sum_bits))
        Holds a sum from ``CAPTURE_LATENCY`` cycles after its last operands until moved or replaced.

    Notes
    -----
    No handshake: every latency is counted. No register has a reset: a sum that no one asked for is
    never read, and a reset would be one more net to each of them. What comes from a neighbour, and
    what goes on to one, are registers of the array (:class:`~.array.Array`).
    """

    FIRST = Multiplier.LATENCY
    """Cycles from operands to their product at the accumulator."""

    CAPTURE = FIRST + Accumulator.LATENCY
    """Cycles from operands to the sum with their product."""

    CAPTURE_LATENCY = CAPTURE + 1
    """Cycles from the last operands to the sum in ``drained``: product, accumulator, drain."""

    def __init__(self, *, sum_bits: int, weight_bits: int = 8, target: str = "generic",
                 bel: str | None = None):
        if sum_bits < 8 + weight_bits:
            raise ValueError(f"sum_bits must be at least {8 + weight_bits} (one product), "
                             f"not {sum_bits!r}")
        self.sum_bits = sum_bits
        self.weight_bits = weight_bits
        self.target = target
        self.bel = bel
        super().__init__({
            "x": In(signed(8)), "w": In(self._word_shape(weight_bits)),
            "first": In(1), "capture": In(1), "move": In(1),
            "drain_right": In(signed(sum_bits)),
            "drained": Out(signed(sum_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        totals = self._totals(m)
        chain = [Signal(signed(self.sum_bits), name=name, reset_less=True) for name in totals]
        with m.If(self.move):       # the registers' clock enable, without logic in front
            m.d.sync += [drained.eq(Mux(self.capture, total, right))
                         for (drained, right), total in zip(
                             pairwise([*chain, self.drain_right]), totals.values(), strict=True)]
        m.d.comb += self.drained.eq(chain[0])
        return m

    @staticmethod
    def _word_shape(weight_bits):
        """Of what comes from above."""
        return signed(weight_bits)

    def _totals(self, m):
        """Sums by the name of their drain register, left to right."""
        m.submodules.multiplier = multiplier = Multiplier(
            a_bits=8, b_bits=self.weight_bits, target=self.target, bel=self.bel)
        m.submodules.accumulator = accumulator = Accumulator(
            product_bits=8 + self.weight_bits, sum_bits=self.sum_bits, target=self.target)
        m.d.comb += [
            multiplier.a.eq(self.x), multiplier.b.eq(self.w),
            accumulator.product.eq(multiplier.product), accumulator.first.eq(self.first),
        ]
        return {"drained": accumulator.total}
