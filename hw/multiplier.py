"""One multiplier cell of the whole unit, so that DSP blocks are chosen in one place."""
from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

DSP_BITS = 18
"""Widest signed factor of a MULT18X18D."""


class Multiplier(wiring.Component):
    """Signed product, its factors and itself registered.

    ``product`` in cycle t + ``LATENCY`` is ``a * b`` of cycle t; one product per cycle, no
    stalls. The registers have no reset.

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the signed factors, 1 to 18.
    target : str
        Technology body, a key of ``BODIES``.
    bel : str, optional
        Place of the DSP block, as nextpnr names it; only for target ``ecp5``.

    Members
    -------
    a : In(signed(a_bits))
    b : In(signed(b_bits))
    product : Out(signed(a_bits + b_bits))

    Raises
    ------
    ValueError
        If a width is outside 1..18, ``target`` is unknown, or ``bel`` has no meaning for it.

    Notes
    -----
    The ``ecp5`` body is one MULT18X18D with all of its registers: input, pipeline, output (ports
    and attributes: Lattice FPGA-TN-02205). Without any of them nextpnr's tables give the multiplier
    array 3.9 ns at speed grade 6. With registers nextpnr times only the way into the first and out
    of the last, not the ways between; so the pipeline register is there to cut the array, where no
    tool would tell.
    """

    LATENCY = 3
    """Cycles from the factors to ``product``: input, pipeline and output registers."""

    def __init__(self, *, a_bits: int, b_bits: int, target: str = "generic",
                 bel: str | None = None):
        for name, bits in (("a_bits", a_bits), ("b_bits", b_bits)):
            if not 1 <= bits <= DSP_BITS:
                raise ValueError(f"{name} must be in 1..{DSP_BITS}, not {bits!r}")
        if target not in self.BODIES:
            raise ValueError(f"target must be one of {', '.join(self.BODIES)}, not {target!r}")
        if bel is not None and target != "ecp5":
            raise ValueError(f"bel must be None for target {target}, not {bel!r}")
        self._body = self.BODIES[target]
        self._bel = bel
        super().__init__({
            "a": In(signed(a_bits)),
            "b": In(signed(b_bits)),
            "product": Out(signed(a_bits + b_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        self._body(self, m)
        return m

    def _generic(self, m):
        """A product that synthesis infers, with its registers."""
        a_q = Signal.like(self.a, reset_less=True)
        b_q = Signal.like(self.b, reset_less=True)
        inner_q = Signal.like(self.product, reset_less=True)
        product_q = Signal.like(self.product, reset_less=True)
        m.d.sync += [a_q.eq(self.a), b_q.eq(self.b), inner_q.eq(a_q * b_q), product_q.eq(inner_q)]
        m.d.comb += self.product.eq(product_q)

    def _ecp5(self, m):
        """A MULT18X18D."""
        a, b, product = Signal(signed(DSP_BITS)), Signal(signed(DSP_BITS)), Signal(2 * DSP_BITS)
        m.d.comb += [a.eq(self.a), b.eq(self.b), self.product.eq(product)]
        always, never = Const(1, 1), Const(0, 1)
        parameters = {"GSR": "DISABLED"}
        for register in ("INPUTA", "INPUTB", "PIPELINE", "OUTPUT"):
            parameters |= {f"REG_{register}_CLK": "CLK0", f"REG_{register}_CE": "CE0",
                           f"REG_{register}_RST": "RST0"}
        attributes = {} if self._bel is None else {"BEL": self._bel}
        m.submodules.dsp = Instance(
            "MULT18X18D",
            *(("a", name, value) for name, value in attributes.items()),
            *(("p", name, value) for name, value in parameters.items()),
            *(("i", f"A{bit}", a[bit]) for bit in range(DSP_BITS)),
            *(("i", f"B{bit}", b[bit]) for bit in range(DSP_BITS)),
            i_SIGNEDA=always, i_SIGNEDB=always, i_SOURCEA=never, i_SOURCEB=never,
            i_CLK0=ClockSignal(), i_CE0=always, i_RST0=never,
            **{f"o_P{bit}": product[bit] for bit in range(2 * DSP_BITS)})

    BODIES = {"generic": _generic, "ecp5": _ecp5}  # noqa: RUF012 (never changed)
    """Bodies by target; each keeps the ports and ``LATENCY``."""
