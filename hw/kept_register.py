"""A register that synthesis leaves where it is, for signals that many cells hand on."""
from amaranth.hdl import ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out


class KeptRegister(wiring.Component):
    """Register without reset that is not merged with another one of the same content.

    Synthesis makes one register of all that always hold the same value. In the array those lie on
    an anti-diagonal, and the one net that is left crosses the chip; in front of memories, copies
    of an address are there on purpose.

    Parameters
    ----------
    width : int
        Bits.
    init : int
        What it holds at first.
    target : str
        Technology body, a key of ``BODIES``.

    Members
    -------
    i : In(width)
    o : Out(width)
        ``i``, ``LATENCY`` cycles later.

    Raises
    ------
    ValueError
        If ``width`` is below 1 or ``target`` is unknown.
    """

    LATENCY = 1

    def __init__(self, width: int, *, init: int = 0, target: str = "generic"):
        if width < 1:
            raise ValueError(f"width must be at least 1, not {width!r}")
        if target not in self.BODIES:
            raise ValueError(f"target must be one of {', '.join(self.BODIES)}, not {target!r}")
        self._init, self._body = init, self.BODIES[target]
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        self._body(self, m)
        return m

    def _generic(self, m):
        """Flip-flops, merged or not as synthesis likes."""
        value = Signal.like(self.o, init=self._init, reset_less=True)
        m.d.sync += value.eq(self.i)
        m.d.comb += self.o.eq(value)

    def _ecp5(self, m):
        """Flip-flops as instances, which synthesis does not compare.

        TRELLIS_FF is what synthesis itself makes of a register for nextpnr-ecp5.
        """
        for bit in range(len(self.i)):
            m.submodules[f"bit_{bit}"] = Instance(
                "TRELLIS_FF", a_keep=1,
                p_GSR="AUTO", p_CEMUX="1", p_CLKMUX="CLK", p_LSRMUX="LSR",
                p_REGSET="SET" if self._init >> bit & 1 else "RESET",
                i_CLK=ClockSignal(), i_LSR=Const(0, 1), i_DI=self.i[bit], o_Q=self.o[bit])

    BODIES = {"generic": _generic, "ecp5": _ecp5}  # noqa: RUF012 (never changed)
    """Bodies by target; each keeps the ports and ``LATENCY``."""
