"""The sum of a run of products, with the start of a run folded into the adder."""
from amaranth.hdl import Cat, Const, Instance, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class Accumulator(wiring.Component):
    """Adds a product in every cycle; ``first`` forgets what was there.

    No reset, no overflow check.

    Parameters
    ----------
    product_bits, sum_bits : int
        Widths of the signed product and the signed sum.
    carry : bool
        There is a third summand of one bit.
    target : str
        Technology body, a key of ``BODIES``.

    Members
    -------
    product : In(signed(product_bits))
    first : In(1)
        ``product`` begins a new sum.
    carry : In(1)
        Counts one, with ``product`` and in a new sum too; only with parameter ``carry``.
    total : Out(signed(sum_bits))
        ``LATENCY`` cycles later, the product included.

    Raises
    ------
    ValueError
        If a width is below 1, the sum is narrower than a product, or ``target`` is unknown.
    """

    LATENCY = 1

    def __init__(self, *, product_bits: int, sum_bits: int, carry: bool = False,
                 target: str = "generic"):
        if not 1 <= product_bits <= sum_bits:
            raise ValueError(f"product_bits must be in 1..sum_bits = {sum_bits}, "
                             f"not {product_bits!r}")
        if target not in self.BODIES:
            raise ValueError(f"target must be one of {', '.join(self.BODIES)}, not {target!r}")
        self._body = self.BODIES[target]
        self.has_carry = carry
        super().__init__({
            "product": In(signed(product_bits)), "first": In(1), "total": Out(signed(sum_bits)),
            **({"carry": In(1)} if carry else {}),
        })

    def elaborate(self, platform):
        m = Module()
        total = Signal.like(self.total, reset_less=True)
        m.d.comb += self.total.eq(total)
        m.d.sync += total.eq(self._body(self, m, total))
        return m

    def _generic(self, m, total):
        """An adder that synthesis infers, with a multiplexer in front."""
        return self.product + Mux(self.first, 0, total) + (self.carry if self.has_carry else 0)

    def _ecp5(self, m, total):
        """A carry chain of CCU2C, each of which adds two bits.

        Its look-up tables have four inputs a bit: A the product, B the sum, C ``first``, D one.
        ``0xA6AA`` makes the bit A ^ (B & ~C), and the carry of a bit that does not pass one on
        A, which is right with C too: what enters is zero or ``carry`` (Lattice FPGA-DS-02012,
        ripple mode of a slice). Synthesis would put a multiplexer in front of the chain. ``carry``
        enters in a bit of its own below the others: ``0x000A`` passes nothing on, and makes A.
        """
        extra = int(self.has_carry)
        width = len(total) + extra
        pairs = -(-width // 2)
        product, old, new = Signal(signed(2 * pairs)), Signal(2 * pairs), Signal(2 * pairs)
        m.d.comb += [product.eq(Cat(self.carry, self.product).as_signed() if extra
                                else self.product),
                     old.eq(total << extra)]
        carry = Const(0, 1)
        for pair in range(pairs):
            low, high = 2 * pair, 2 * pair + 1
            carry_out = Signal(name=f"carry_{pair}")
            m.submodules[f"add_{pair}"] = Instance(
                "CCU2C", p_INIT0=Const(0x000A if low < extra else 0xA6AA, 16),
                p_INIT1=Const(0xA6AA, 16), p_INJECT1_0="NO", p_INJECT1_1="NO", i_CIN=carry,
                i_A0=product[low], i_B0=old[low], i_C0=self.first, i_D0=Const(1, 1),
                i_A1=product[high], i_B1=old[high], i_C1=self.first, i_D1=Const(1, 1),
                o_S0=new[low], o_S1=new[high], o_COUT=carry_out)
            carry = carry_out
        return Cat(new[extra:width])

    BODIES = {"generic": _generic, "ecp5": _ecp5}  # noqa: RUF012 (never changed)
    """Bodies by target; each keeps the ports and ``LATENCY``."""
