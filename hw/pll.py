"""The one phase-locked loop: from the board's oscillator to the unit's clock."""
from dataclasses import dataclass

from amaranth.hdl import Instance, Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.model.errors import InputError

# Lattice FPGA-DS-02012, "sysCLOCK PLL Timing", in MHz.
DETECTOR_MHZ = (10.0, 400.0)
OSCILLATOR_MHZ = (400.0, 800.0)
OUTPUT_MHZ = (3.125, 400.0)
MOST_DIVISOR = 128


@dataclass(frozen=True, kw_only=True)
class PllSettings:
    """Divisors of an EHXPLLL whose feedback comes from its first output.

    Parameters
    ----------
    input_mhz : float
    input_divisor, feedback_divisor, output_divisor : int
    """

    input_mhz: float
    input_divisor: int
    feedback_divisor: int
    output_divisor: int

    @property
    def output_mhz(self) -> float:
        """Of the first output."""
        return self.input_mhz / self.input_divisor * self.feedback_divisor

    @property
    def oscillator_mhz(self) -> float:
        """Of the oscillator inside."""
        return self.output_mhz * self.output_divisor


def pll_settings(*, input_mhz: float, output_mhz: float) -> PllSettings:
    """Divisors for exactly this frequency, with the fastest phase detector.

    Parameters
    ----------
    input_mhz, output_mhz : float

    Raises
    ------
    InputError
        If there are none; tells the nearest frequencies that there are.
    """
    possible: dict[float, PllSettings] = {}
    for divisor in range(1, int(input_mhz / DETECTOR_MHZ[0]) + 1):
        for feedback in range(1, MOST_DIVISOR + 1):
            found = input_mhz / divisor * feedback
            output = min(MOST_DIVISOR, int(OSCILLATOR_MHZ[1] / found)) or 1
            settings = PllSettings(input_mhz=input_mhz, input_divisor=divisor,
                                   feedback_divisor=feedback, output_divisor=output)
            if (OUTPUT_MHZ[0] <= found <= OUTPUT_MHZ[1]
                    and OSCILLATOR_MHZ[0] <= settings.oscillator_mhz <= OSCILLATOR_MHZ[1]):
                possible.setdefault(found, settings)
    if output_mhz in possible:
        return possible[output_mhz]
    near = sorted(sorted(possible, key=lambda mhz: abs(mhz - output_mhz))[:3])
    raise InputError(f"clock_mhz: expected a frequency that the PLL makes of {input_mhz:g} MHz, "
                     f"found {output_mhz:g}; near are {', '.join(f'{mhz:g}' for mhz in near)}")


class Ecp5Pll(wiring.Component):
    """EHXPLLL with one output.

    Parameters
    ----------
    settings : PllSettings

    Members
    -------
    i, o : In(1), Out(1)
        Clocks.
    locked : Out(1)
        Of no clock.

    Notes
    -----
    Source: Lattice FPGA-TN-02200, "ECP5 and ECP5-5G sysCLOCK PLL/DLL Design and Usage Guide".
    """

    def __init__(self, settings: PllSettings):
        self.settings = settings
        super().__init__({"i": In(1), "o": Out(1), "locked": Out(1)})

    def elaborate(self, platform):
        m = Module()
        settings = self.settings
        m.submodules.pll = Instance(
            "EHXPLLL",
            a_FREQUENCY_PIN_CLKI=f"{settings.input_mhz:g}",
            a_FREQUENCY_PIN_CLKOP=f"{settings.output_mhz:g}",
            a_ICP_CURRENT="12", a_LPF_RESISTOR="8",
            p_PLLRST_ENA="DISABLED", p_INTFB_WAKE="DISABLED", p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED", p_OUTDIVIDER_MUXA="DIVA",
            p_CLKI_DIV=settings.input_divisor, p_CLKFB_DIV=settings.feedback_divisor,
            p_FEEDBK_PATH="CLKOP",
            p_CLKOP_ENABLE="ENABLED", p_CLKOP_DIV=settings.output_divisor,
            p_CLKOP_CPHASE=settings.output_divisor - 1, p_CLKOP_FPHASE=0,
            i_CLKI=self.i, i_CLKFB=self.o, i_RST=0, i_STDBY=0, i_PHASESEL0=0, i_PHASESEL1=0,
            i_PHASEDIR=0, i_PHASESTEP=0, i_PHASELOADREG=0, i_PLLWAKESYNC=0, i_ENCLKOP=0,
            o_CLKOP=self.o, o_LOCK=self.locked)
        return m
