"""Cells as nextpnr packs them, without placing any: what a fit will count, in seconds."""
import json
import os
from pathlib import Path

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.devices import Device, check_arithmetic, check_cells, find_device
from sparseloom.hw.fit import WORK, WRAPPER, sources
from sparseloom.hw.place_route import CHILD, LOG, PACKAGE, REPORT, TIME_LIMIT, nextpnr_version
from sparseloom.hw.synthesis import Synthesis, synthesise
from sparseloom.hw.tool import run_tool
from sparseloom.hw.work_folder import RECIPE, key_of, made
from sparseloom.hw.wrapper import TOP, wrapper_luts


def packed_cells(config: ArrayConfig, device: str, *, seconds: float = TIME_LIMIT,
                 work: Path = WORK) -> dict:
    """Synthesise the complete unit and pack it; the same cells that a fit of it counts.

    Parameters
    ----------
    config : ArrayConfig
    device : str
        Key of :data:`.devices.DEVICES`.
    seconds : float
        Time limit of each tool.
    work : Path
        Folder of runs; a fit of the same build finds this synthesis there.

    Returns
    -------
    dict
        ``lut4``, ``comb``, ``ff``, ``dsp``, ``bram`` as in :func:`.fit.fit`; ``seconds``.

    Raises
    ------
    InputError
        If the device is too small, with the numbers.
    ToolError
        If a tool fails or takes too long.
    """
    chosen = find_device(device)
    check_arithmetic(config, chosen)
    synthesis = synthesise(sources(config, device), top=TOP, family="ecp5", work=work,
                           seconds=seconds)
    check_cells(synthesis.cells, chosen)
    used, took = _pack(synthesis, chosen, seconds)
    return {"lut4": synthesis.cells.get("LUT4", 0) - wrapper_luts(config),
            "comb": used.get("TRELLIS_COMB", 0) - wrapper_luts(config),
            "ff": used.get("TRELLIS_FF", 0) - synthesis.registers.get(WRAPPER, 0),
            "dsp": used.get("MULT18X18D", 0), "bram": used.get("DP16KD", 0),
            "seconds": round(synthesis.seconds + took, 1)}


def _pack(synthesis: Synthesis, device: Device, seconds: float) -> tuple[dict[str, int], float]:
    """Cells by nextpnr's types, and the seconds that packing took."""
    options = [device.flag, "--package", device.package, "--pack-only", "--lpf-allow-unconstrained"]
    recipe = {"netlist": json.loads((synthesis.folder / RECIPE).read_text()), "options": options,
              "tools": {PACKAGE: nextpnr_version()}}
    folder = synthesis.folder.with_name(f"{synthesis.folder.name}-pack-{key_of(recipe)[:8]}")

    def make(part: Path) -> None:
        # A relative path: the packaged nextpnr has a /tmp of its own.
        netlist = os.path.relpath(synthesis.netlist, part)
        took = run_tool("nextpnr", CHILD, ["--json", netlist, *options, "--report", REPORT],
                        folder=part, log=part / LOG, seconds=seconds,
                        keep_log=folder.with_suffix(".log"))
        (part / "seconds.json").write_text(f"{took:.1f}\n")

    made(folder, recipe, make)
    report = json.loads((folder / REPORT).read_text())
    return ({name: count["used"] for name, count in report["utilization"].items()},
            json.loads((folder / "seconds.json").read_text()))
