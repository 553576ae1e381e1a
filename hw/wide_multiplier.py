"""A product too wide for one DSP block, from two of them."""
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.multiplier import DSP_BITS, Multiplier


class WideMultiplier(wiring.Component):
    """Signed product whose first factor is cut in two.

    The lower 17 bits of ``a`` and what lies above them are multiplied side by side, brought to the
    adder in one cycle, for DSP blocks lie where they lie, and added in the next; the lowest 17 bits
    need no sum. One product per cycle, no stalls; the registers have no reset.

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the signed factors, 19 to 35 and 1 to 18.
    target : str
        Technology body of the multipliers.

    Members
    -------
    a : In(signed(a_bits))
    b : In(signed(b_bits))
    product : Out(signed(a_bits + b_bits))
        ``a * b``, ``LATENCY`` cycles after the factors.

    Raises
    ------
    ValueError
        If a width is outside its limits.
    """

    LATENCY = Multiplier.LATENCY + 2
    """Cycles from the factors to ``product``: the partial products, their way, their sum."""

    MULTIPLIERS = 2
    """DSP blocks of one."""

    def __init__(self, *, a_bits: int, b_bits: int, target: str = "generic"):
        low, high = DSP_BITS + 1, 2 * DSP_BITS - 1
        if not low <= a_bits <= high:
            raise ValueError(f"a_bits must be in {low}..{high}, not {a_bits!r}")
        self._target = target
        self._b_bits = b_bits
        super().__init__({
            "a": In(signed(a_bits)),
            "b": In(signed(b_bits)),
            "product": Out(signed(a_bits + b_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        cut = DSP_BITS - 1          # a factor without sign leaves the sign's bit zero
        m.submodules.low = low = Multiplier(a_bits=DSP_BITS, b_bits=self._b_bits,
                                            target=self._target)
        m.submodules.high = high = Multiplier(a_bits=len(self.a) - cut, b_bits=self._b_bits,
                                              target=self._target)
        m.d.comb += [
            low.a.eq(Cat(self.a[:cut], 0)), high.a.eq(self.a[cut:].as_signed()),
            low.b.eq(self.b), high.b.eq(self.b),
        ]
        low_part = Signal.like(low.product, reset_less=True)
        high_part = Signal.like(high.product, reset_less=True)
        upper = Signal(signed(len(self.product) - cut), reset_less=True)
        lower = Signal(cut, reset_less=True)
        m.d.sync += [low_part.eq(low.product), high_part.eq(high.product),
                     upper.eq(high_part + (low_part >> cut)), lower.eq(low_part)]
        m.d.comb += self.product.eq(Cat(lower, upper))
        return m
