"""One multiply-accumulate cell of the systolic array."""
from amaranth.hdl import Module, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.accumulator import Accumulator
from sparseloom.hw.multiplier import Multiplier


class Cell(wiring.Component):
    """Multiply and accumulate.

    A dot product is the run of cycles from the one with the first operands to the one with the
    last; cycles outside a run are harmless, since ``first`` begins a new sum and nothing else is
    kept. The finished sum is there for one cycle at least (:class:`~.drain_link.DrainLink` keeps
    it), so that the next run may follow at once.

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
    totals : Out(ArrayLayout(signed(sum_bits), columns))
        The sum of each column that the cell serves, left to right; with a run's last product
        ``SUM`` cycles after its operands.

    Notes
    -----
    No handshake: every latency is counted. No register has a reset: a sum that no one asked for is
    never read, and a reset would be one more net to each of them. What comes from a neighbour, and
    what goes on to one, are registers of the array (:class:`~.array.Array`).
    """

    FIRST = Multiplier.LATENCY
    """Cycles from operands to their product at the accumulator."""

    SUM = FIRST + Accumulator.LATENCY
    """Cycles from operands to the sum with their product."""

    COLUMNS = 1
    """Columns of the array that a cell serves."""

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
            "first": In(1),
            "totals": Out(data.ArrayLayout(signed(sum_bits), self.COLUMNS)),
        })

    def elaborate(self, platform):
        m = Module()
        for total, found in zip(self.totals, self._totals(m), strict=True):
            m.d.comb += total.eq(found)
        return m

    @staticmethod
    def _word_shape(weight_bits):
        """Of what comes from above."""
        return signed(weight_bits)

    def _totals(self, m):
        """Sums of the columns, left to right."""
        m.submodules.multiplier = multiplier = Multiplier(
            a_bits=8, b_bits=self.weight_bits, target=self.target, bel=self.bel)
        m.submodules.accumulator = accumulator = Accumulator(
            product_bits=8 + self.weight_bits, sum_bits=self.sum_bits, target=self.target)
        m.d.comb += [
            multiplier.a.eq(self.x), multiplier.b.eq(self.w),
            accumulator.product.eq(multiplier.product), accumulator.first.eq(self.first),
        ]
        return [accumulator.total]
