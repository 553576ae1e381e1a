"""A link of a row's drain chain: keeps the sums of a few neighbouring columns, shows one."""
from amaranth.hdl import Const, Instance, Module, Mux, Signal, signed
from amaranth.lib import data, enum, wiring
from amaranth.lib.wiring import In, Out

LINK_SUMS = 3
"""Sums of a link at most: with the next link's that is four, chosen by two look-up tables a bit."""


class Take(enum.Enum, shape=2):
    """What a link's register takes when it moves; the codes are :class:`DrainLink`'s tables'."""

    FIRST = 0
    SECOND = 1
    RIGHT = 2
    THIRD = 3


class DrainLink(wiring.Component):
    """A register that shows the first column's sum, then the others', then the next link's.

    The other columns' sums wait in registers of their own, with nothing in front. A chain with a
    register a column would have a multiplexer in front of each bit of each column; here each bit of
    three has two look-up tables of four inputs.

    Parameters
    ----------
    sums : int
        Columns, 1 to ``LINK_SUMS``.
    sum_bits : int
        Width of a sum.
    end : bool
        There is no next link.
    target : str
        Technology body of the choice of four, a key of ``BODIES``.

    Members
    -------
    totals : In(ArrayLayout(signed(sum_bits), sums))
        Sums, left to right.
    capture : In(sums)
        Those of columns 1 and on are kept in this cycle; bit 0 has no use, ``move`` and
        ``take = FIRST`` capture the first one.
    move : In(1)
        The shown register takes what ``take`` says.
    take : In(Take)
        Never ``RIGHT`` where there is no next link, nor a column that there is not.
    right : In(signed(sum_bits))
        What the next link shows.
    shown : Out(signed(sum_bits))

    Raises
    ------
    ValueError
        If ``sums`` is out of range or ``target`` is unknown.

    Notes
    -----
    Every latency is counted. No register has a reset: a sum that no one asked for is never read.
    """

    LATENCY = 1
    """Cycles from a total, or from the next link's, to ``shown``."""

    def __init__(self, *, sums: int, sum_bits: int, end: bool = False, target: str = "generic"):
        if not 1 <= sums <= LINK_SUMS:
            raise ValueError(f"sums must be in 1..{LINK_SUMS}, not {sums!r}")
        if target not in self.BODIES:
            raise ValueError(f"target must be one of {', '.join(self.BODIES)}, not {target!r}")
        self.sums, self.sum_bits, self.end = sums, sum_bits, end
        self._choice = self.BODIES[target]
        super().__init__({
            "totals": In(data.ArrayLayout(signed(sum_bits), sums)), "capture": In(sums),
            "move": In(1), "take": In(Take), "right": In(signed(sum_bits)),
            "shown": Out(signed(sum_bits)),
        })

    def elaborate(self, platform):
        m = Module()
        total = self.totals[0].as_unsigned()
        second, third = (self._waiting(m, column) for column in range(1, LINK_SUMS))
        right = None if self.end else self.right.as_unsigned()
        low, high = self.take.as_value()
        near = total if second is None else Mux(low, second, total)
        if third is not None and right is not None:
            value = self._choice(self, m, (total, second, right, third))
        elif third is not None:
            value = Mux(high, third, near)
        else:
            value = near if right is None else Mux(high, right, near)
        shown = Signal.like(self.shown, reset_less=True)
        with m.If(self.move):       # the register's clock enable, without logic in front
            m.d.sync += shown.eq(value)
        m.d.comb += self.shown.eq(shown)
        return m

    def _waiting(self, m, column):
        """Bits of a column's sum that waits, or None."""
        if column >= self.sums:
            return None
        waiting = Signal(signed(self.sum_bits), name=f"waiting_{column}", reset_less=True)
        with m.If(self.capture[column]):
            m.d.sync += waiting.eq(self.totals[column])
        return waiting.as_unsigned()

    def _generic(self, m, values):
        """As synthesis likes: it finds three look-up tables a bit."""
        low, high = self.take.as_value()
        total, second, right, third = values
        return Mux(high, Mux(low, third, right), Mux(low, second, total))

    def _ecp5(self, m, values):
        """Two LUT4 a bit.

        The first one chooses between the first two sums, or hands on code bit 0; where code bit 1
        is set the second one lets that choose between the other two.
        """
        low, high = self.take.as_value()
        chosen = Signal(self.sum_bits)
        for bit, (total, second, right, third) in enumerate(zip(*values, strict=True)):
            first = Signal(name=f"first_{bit}")
            m.submodules[f"first_{bit}"] = _look_up(
                lambda a, b, c, d: (c if d else b if c else a), total, second, low, high, first)
            m.submodules[f"second_{bit}"] = _look_up(
                lambda a, b, c, d: (b if a else c) if d else a, first, third, right, high,
                chosen[bit])
        return chosen

    BODIES = {"generic": _generic, "ecp5": _ecp5}  # noqa: RUF012 (never changed)
    """Bodies by target; each keeps the ports and ``LATENCY``."""


def _look_up(function, a, b, c, d, out) -> Instance:
    """A LUT4 that makes ``function`` of its four inputs; bit ``a + 2b + 4c + 8d`` of INIT is it."""
    init = sum(bool(function(*(at >> bit & 1 for bit in range(4)))) << at for at in range(16))
    return Instance("LUT4", p_INIT=Const(init, 16), i_A=a, i_B=b, i_C=c, i_D=d, o_Z=out)
