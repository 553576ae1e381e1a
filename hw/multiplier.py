"""One multiplier cell of the whole unit, so that DSP blocks are chosen in one place."""
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Multiplier(wiring.Component):
    """Signed product, registered.

    ``product`` in cycle t + ``LATENCY`` is ``a * b`` of cycle t; one product per cycle, no
    stalls. The register has no reset.

    Parameters
    ----------
    a_bits, b_bits : int
        Widths of the signed factors, at least 1.
    target : str
        Technology body, a key of ``BODIES``.

    Members
    -------
    a : In(signed(a_bits))
    b : In(signed(b_bits))
    product : Out(signed(a_bits + b_bits))

    Raises
    ------
    ValueError
        If a width is below 1 or ``target`` is unknown.
    """

    LATENCY = 1
    """Cycles from the factors to ``product``."""

    def __init__(self, *, a_bits: int, b_bits: int, target: str = "generic"):
        for name, bits in (("a_bits", a_bits), ("b_bits", b_bits)):
            if bits < 1:
                raise ValueError(f"{name} must be at least 1, not {bits!r}")
        if target not in self.BODIES:
            raise ValueError(f"target must be one of {', '.join(self.BODIES)}, not {target!r}")
        self._body = self.BODIES[target]
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
        """A product that synthesis infers, with its register."""
        product_q = Signal.like(self.product, reset_less=True)
        m.d.sync += product_q.eq(self.a * self.b)
        m.d.comb += self.product.eq(product_q)

    BODIES = {"generic": _generic}  # noqa: RUF012 (never changed)
    """Bodies by target; each keeps the ports and ``LATENCY``."""
