"""Two multiply-accumulate cells of 4-bit weights that share an activation and a multiplier."""
from amaranth.hdl import signed

from sparseloom.hw.accumulator import Accumulator
from sparseloom.hw.cell import Cell
from sparseloom.hw.multiplier import Multiplier
from sparseloom.hw.weight_word import PAIR_BITS, PAIR_SHIFT, joint_factor


class PairCell(Cell):
    """Two neighbouring columns' cell of one row: the ports of a :class:`~.cell.Cell`, two sums.

    One product ``((w1 << 12) + w0) * x`` holds both. The lower one is its low 12 bits, signed,
    since ``|w0 * x| <= 8 * 128`` stays within them; where it is negative it has borrowed one
    from the upper, so bit 11 is added to that again, as the carry into its accumulator.

    Both sums are there in the same cycle.

    Parameters
    ----------
    sum_bits : int
        Width of an accumulator; wide enough that no run overflows.
    target : str
        Technology body of multiplier and accumulators.
    bel : str, optional
        Place of the multiplier.

    Members
    -------
    x : In(signed(8))
    w : In(signed(9))
        ``16 * w1 + w0`` (:mod:`~.weight_word`), w0 of the left column; weights -8 to 7.
    first, totals
        As in :class:`~.cell.Cell`.

    Notes
    -----
    As for the single cell: no handshake, no reset.
    """

    PRODUCT_BITS = 12
    COLUMNS = 2

    def __init__(self, *, sum_bits: int, target: str = "generic", bel: str | None = None):
        super().__init__(sum_bits=sum_bits, weight_bits=4, target=target, bel=bel)

    @staticmethod
    def _word_shape(weight_bits):
        return signed(PAIR_BITS)

    def _totals(self, m):
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
            left.first.eq(self.first), right.first.eq(self.first),
        ]
        return [left.total, right.total]
