"""The unit behind its host link, as a design for a board: an oscillator, a line, lights."""
from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Module, ResetInserter, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out, connect

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.generate import tidy
from sparseloom.hw.host_link import HostLink
from sparseloom.hw.pll import Ecp5Pll, PllSettings
from sparseloom.hw.share_modules import share_modules
from sparseloom.hw.uart import line
from sparseloom.hw.unit import Unit
from sparseloom.model.errors import InputError

NAME = "sparseloom_board"
"""Name of the design."""

LIGHTS = ("heartbeat", "session", "asked", "damaged", "sending", "weights", "results", "interrupt")
"""What each light shows, from the lowest: the clock runs (it blinks), a HELLO was heard, a question
or a damaged frame just now, the line is sending, weights or results are waiting, the unit's
interrupt line."""

SHOWN_BITS = 22
"""A short event is shown for half of 2**SHOWN_BITS cycles; the heartbeat's period is 8 times
2**SHOWN_BITS."""


def bit_cycles(*, clock_mhz: float, baud: int) -> int:
    """Cycles of a bit on the line.

    Raises
    ------
    InputError
        If whole cycles miss the rate by more than 2 %, or there are fewer than 8.
    """
    cycles = round(clock_mhz * 1e6 / baud)
    if cycles < 8 or abs(clock_mhz * 1e6 / cycles / baud - 1) > 0.02:
        raise InputError(f"baud: expected a rate that {clock_mhz:g} MHz gives within 2 % in 8 "
                         f"cycles or more, found {baud}")
    return cycles


class Board(wiring.Component):
    """Unit and host link in one clock domain.

    Two things cross into it: the line (a synchroniser in its receiver) and the reset (button, or
    no lock; asserted at once, released with the clock).

    Parameters
    ----------
    config : ArrayConfig
    divisor : int
        Cycles of a bit on the line, :func:`bit_cycles`.
    floorplan : str, optional
        Of :class:`~.unit.Unit`.
    pll : PllSettings, optional
        Without them ``clk`` is the unit's clock, as in simulation.
    **sizes : int
        Of :class:`~.host_link.HostLink`.

    Members
    -------
    clk : In(1)
        The oscillator.
    button : In(1)
        High: reset. Of no clock.
    rx, tx : In(1), Out(1)
        The line, as the board sees it.
    lights : Out(8)
        ``LIGHTS``.
    """

    def __init__(self, config: ArrayConfig, *, divisor: int, pll: PllSettings | None = None,
                 floorplan: str | None = None, **sizes: int):
        self.config, self.floorplan = config, floorplan
        self.pll, self.divisor, self.sizes = pll, divisor, sizes
        super().__init__({
            "clk": In(1), "button": In(1), "rx": line(In), "tx": line(Out),
            "lights": Out(len(LIGHTS)),
        })

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain()
        stop = Signal()
        if self.pll is None:
            m.d.comb += [sync.clk.eq(self.clk), stop.eq(self.button)]
        else:
            m.submodules.pll = pll = Ecp5Pll(self.pll)
            m.d.comb += [pll.i.eq(self.clk), sync.clk.eq(pll.o), stop.eq(self.button | ~pll.locked)]
        m.submodules.reset = ResetSynchronizer(stop, domain="sync", stages=3)

        m.submodules.link = link = HostLink(bus_bits=self.config.bus_bits, divisor=self.divisor,
                                            **self.sizes)
        unit = Unit(self.config, floorplan=self.floorplan)
        m.submodules.unit = ResetInserter(link.unit_reset)(unit)
        connect(m, link.bus, unit.bus)
        connect(m, link.weights, unit.weights)
        connect(m, link.acts, unit.acts)
        connect(m, unit.results, link.results)
        m.d.comb += [link.rx.eq(self.rx), self.tx.eq(link.tx)]

        beat = Signal(SHOWN_BITS + 3)
        m.d.sync += beat.eq(beat + 1)
        shows = {"heartbeat": beat[-1], "session": link.session, "interrupt": unit.irq,
                 "weights": link.weights.valid, "results": unit.results.valid}
        for name, event in (("asked", link.asked), ("damaged", link.damaged),
                            ("sending", ~link.tx)):
            left = Signal(SHOWN_BITS, name=f"{name}_left")
            with m.If(event):
                m.d.sync += left.eq(-1)
            with m.Elif(left != 0):
                m.d.sync += left.eq(left - 1)
            shows[name] = left[-1]
        m.d.sync += [light.eq(shows[name])
                     for light, name in zip(self.lights, LIGHTS, strict=True)]
        return m


def board_verilog(board: Board) -> str:
    """The design as plain Verilog, module ``NAME``."""
    return share_modules(tidy(verilog.convert(board, name=NAME, emit_src=False)))
