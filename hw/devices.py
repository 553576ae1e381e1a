"""What an ECP5 device holds, and what a build needs of it by arithmetic alone."""
from dataclasses import dataclass

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.weight_word import word_count
from sparseloom.hw.wide_multiplier import WideMultiplier
from sparseloom.model.errors import InputError

BLOCK_BITS = 18432
"""Bits of a DP16KD, parity bits included."""

DSP_GROUP = ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5"))
"""The MULT18X18D of a DSP tile group: columns right of its first, and names there."""

SPEEDS = (6, 7, 8)
"""Speed grades of the LFE5U, 8 the fastest."""


@dataclass(frozen=True, kw_only=True)
class Device:
    """One device, in its largest common package.

    Parameters
    ----------
    part : str
        Lattice's name.
    flag : str
        nextpnr-ecp5's option.
    package : str
    lut4, ff : int
        Look-up tables (TRELLIS_COMB; a slice has two) and flip-flops, as many.
    dsp_rows, dsp_groups : tuple of int
        DSP rows (Y) and first columns (X) of their groups, each of which has ``DSP_GROUP``.
    bram : int
        DP16KD.

    Notes
    -----
    Source: Lattice FPGA-DS-02012, "ECP5 and ECP5-5G Family Selection Guide". It rounds the
    look-up tables to thousands; the exact numbers are those of Project Trellis' database. Places
    are as nextpnr-ecp5's chip database has them.
    """

    part: str
    flag: str
    package: str
    lut4: int
    ff: int
    dsp_rows: tuple[int, ...]
    dsp_groups: tuple[int, ...]
    bram: int

    @property
    def dsp(self) -> int:
        """MULT18X18D."""
        return len(self.dsp_rows) * len(self.dsp_groups) * len(DSP_GROUP)


DEVICES = {
    "25k": Device(part="LFE5U-25F", flag="--25k", package="CABGA381", lut4=24288, ff=24288,
                  bram=56, dsp_rows=(13,), dsp_groups=(4, 13, 22, 33, 42, 51, 60)),
    "45k": Device(part="LFE5U-45F", flag="--45k", package="CABGA381", lut4=43848, ff=43848,
                  bram=108, dsp_rows=(22, 46), dsp_groups=(4, 13, 22, 31, 42, 51, 60, 69, 78)),
    "85k": Device(part="LFE5U-85F", flag="--85k", package="CABGA381", lut4=83640, ff=83640,
                  bram=208, dsp_rows=(10, 34, 58),
                  dsp_groups=(4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)),
}


def find_device(name: str) -> Device:
    """A device by its name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in DEVICES:
        raise InputError(f"device: expected one of {', '.join(DEVICES)}, found {name!r}")
    return DEVICES[name]


def cell_multipliers(config: ArrayConfig) -> int:
    """MULT18X18D of the array; two columns of 4-bit weights share one."""
    return config.rows * word_count(config.cols, config.weight_bits)


def check_arithmetic(config: ArrayConfig, device: Device) -> None:
    """Refuse what no synthesis can make fit, before any is run.

    Raises
    ------
    InputError
        If the array's multipliers, the lanes' beside them, or the activations' bits are more than
        the device has.
    """
    cells = cell_multipliers(config)
    array = f"{config.rows} x {config.cols} cells"
    if cells > device.dsp:
        raise InputError(f"{array}: expected at most {device.dsp} MULT18X18D ({device.part}), "
                         f"found {cells}")
    most = (device.dsp - cells) // WideMultiplier.MULTIPLIERS
    if config.post_lanes > most:
        raise InputError(f"lanes: expected at most {most} ({device.part} has {device.dsp} "
                         f"MULT18X18D, {array} take {cells} and a lane "
                         f"{WideMultiplier.MULTIPLIERS}), found {config.post_lanes}")
    bits = 2 * config.act_words * config.rows * 8
    blocks = -(-bits // BLOCK_BITS)
    if blocks > device.bram:
        raise InputError(f"act_words: expected at most {device.bram} DP16KD ({device.part}), "
                         f"found {blocks} for two halves of {config.act_words} words of "
                         f"{config.rows} bytes")


def check_cells(cells: dict[str, int], device: Device) -> None:
    """Refuse a synthesised design that cannot be placed.

    Parameters
    ----------
    cells : dict of str to int
        Cells by type, as yosys counts them. Look-up tables are a lower bound: a carry cell takes
        two, a distributed memory four.
    device : Device

    Raises
    ------
    InputError
        With all that exceeds the device.
    """
    needs = {
        "MULT18X18D": (cells.get("MULT18X18D", 0), device.dsp),
        "DP16KD": (cells.get("DP16KD", 0), device.bram),
        "LUT4": (cells.get("LUT4", 0) + 2 * cells.get("CCU2C", 0)
                 + 4 * cells.get("TRELLIS_DPR16X4", 0), device.lut4),
        "flip-flops": (cells.get("TRELLIS_FF", 0), device.ff),
    }
    over = {name: pair for name, pair in needs.items() if pair[0] > pair[1]}
    if over:
        raise InputError(
            f"{device.part}: expected at most "
            + ", ".join(f"{there} {name}" for name, (_, there) in over.items())
            + ", found " + ", ".join(f"{wanted} {name}" for name, (wanted, _) in over.items()))
