"""A product made of two: equal to the product, at full width by what the halves are.

With ``Multiplier`` cut free the sum of the halves is proved at full width: for any partial products
``low`` and ``high`` the answer is ``high * 2**17 + low``, and the factors' parts are those of the
factors, ``a = high.a * 2**17 + low.a``. Where ``Multiplier`` multiplies, that is ``a * b``.
At small widths the same component is proved with its multiplications.
"""
from contextlib import ExitStack
from functools import partial
from unittest.mock import patch

from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw import wide_multiplier
from sparseloom.hw.multiplier import DSP_BITS, Multiplier
from sparseloom.hw.wide_multiplier import WideMultiplier
from tests.formal.parts import Assert, Assume, Cover, Opened, free, past
from tests.formal.proof import Bug, Proof


class AnyProduct(wiring.Component):
    """The ports of :class:`Multiplier`, and any product."""

    LATENCY = Multiplier.LATENCY

    def __init__(self, *, a_bits, b_bits, target="generic"):
        super().__init__({"a": In(signed(a_bits)), "b": In(signed(b_bits)),
                          "product": Out(signed(a_bits + b_bits))})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.product.eq(free(m, len(self.product), name="product"))
        return m


def design(a_bits, b_bits, dsp_bits, cut):
    m = Module()
    with ExitStack() as changed:
        changed.enter_context(patch.object(wide_multiplier, "DSP_BITS", dsp_bits))
        if cut:
            changed.enter_context(patch.object(wide_multiplier, "Multiplier", AnyProduct))
        dut = WideMultiplier(a_bits=a_bits, b_bits=b_bits)
        opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    m.d.comb += [dut.a.eq(free(m, signed(a_bits), name="a")),
                 dut.b.eq(free(m, signed(b_bits), name="b"))]
    if cut:
        low, high, at = inside.low, inside.high, dsp_bits - 1
        whole = Signal(signed(a_bits + b_bits + 4))
        m.d.comb += [
            whole.eq((high.product << at) + low.product),
            # It is the product of factors of these widths.
            Assume(whole == whole[:a_bits + b_bits].as_signed()),
            Assert(dut.a == (high.a << at) + low.a), Assert(low.a >= 0),
            Assert(low.b == dut.b), Assert(high.b == dut.b),
        ]
        expected = whole
        for stage in range(WideMultiplier.LATENCY - Multiplier.LATENCY):
            expected = past(m, expected, name=f"expected_{stage}", reset_less=True)
    else:
        expected = dut.a * dut.b
        for stage in range(WideMultiplier.LATENCY):
            expected = past(m, expected, name=f"expected_{stage}", reset_less=True)
    started = Signal(range(8))
    with m.If(started != 7):
        m.d.sync += started.eq(started + 1)
    if not cut:     # by induction the pipeline is filled; from the start it is full of zeros
        m.d.comb += Cover((dut.product == (1 << a_bits + b_bits - 3)) & (started == 7))
    m.d.comb += [Assert(dut.product == expected, "the product of LATENCY cycles ago"),
                 Cover((dut.product < -5) & (dut.product[0]) & (started == 7))]
    return m


PROOFS = [Proof(
    name=f"wide_multiplier_{'halves' if cut else 'small'}",
    claim="The product of LATENCY cycles ago is high * 2**17 + low of the two halves, whose "
          "factors make up the factor." if cut else
          "The answer is the product of the factors of LATENCY cycles ago, multiplications "
          "included.",
    at=f"{a_bits} by {b_bits} bits, cut at {dsp_bits - 1}",
    given="Multiplier multiplies; its products are any that add up to one of these widths." if cut
          else "",
    design=partial(design, a_bits, b_bits, dsp_bits, cut), depth=7, cover_depth=12,
    bugs=(bug,))
    for a_bits, b_bits, dsp_bits, cut, bug in (
        (32, 18, DSP_BITS, True, Bug(
            what="the upper half is added without its sign", file="wide_multiplier.py",
            old="high.a.eq(self.a[cut:].as_signed())", new="high.a.eq(self.a[cut:] >> 1)")),
        (7, 4, 4, False, Bug(
            what="the lower half counts with a sign", file="wide_multiplier.py",
            old="low.a.eq(Cat(self.a[:cut], 0))", new="low.a.eq(self.a[:cut].as_signed())")),
    )]
