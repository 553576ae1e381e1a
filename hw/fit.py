"""Does a build fit a device, and how fast is it there: the complete unit, placed and routed."""
import hashlib
import statistics
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.devices import (
    SPEEDS,
    cell_multipliers,
    check_arithmetic,
    check_cells,
    find_device,
)
from sparseloom.hw.fit_report import Components, describe_path
from sparseloom.hw.place_route import (
    PACKAGE,
    PLACERS,
    ROUTERS,
    TIME_LIMIT,
    nextpnr_version,
    place_and_route,
)
from sparseloom.hw.synthesis import synthesise, yosys_version
from sparseloom.hw.wrapper import TOP, wrapper_luts, wrapper_verilog
from sparseloom.model.errors import InputError

WRAPPER = "wrapper.v"
WORK = Path("build", "fit")
STAGES = ("synth", "pack", "place", "route")
AIM_MHZ = 250.0
"""What nextpnr aims at by default: above what is reached, so that it never stops early."""


def fit(config: ArrayConfig, device: str, *, seeds: int = 1, speed: int = 6,
        placer: str = "static", router: str = "router1", freq_mhz: float = AIM_MHZ,
        seconds: float = TIME_LIMIT, work: Path = WORK,
        entered: Callable[[int, str], None] = lambda seed, stage: None) -> dict:
    """Place and route the complete unit.

    Parameters
    ----------
    config : ArrayConfig
        For target ``ecp5`` the array's multipliers are placed by the floorplan.
    device : str
        Key of :data:`.devices.DEVICES`.
    seeds : int
        Runs of place and route, with seeds from 1 on.
    speed : int
        Speed grade: 6, 7 or 8.
    placer, router : str
        One of :data:`.place_route.PLACERS`, of :data:`.place_route.ROUTERS`.
    freq_mhz : float
        What nextpnr aims at.
    seconds : float
        Time limit of each run of a tool.
    work : Path
        Folder of runs; an earlier one is used again if the Verilog, the options and the tools are
        the same.
    entered : function
        Called with seed and stage (one of ``STAGES``; synthesis has seed 0) when one begins.

    Returns
    -------
    dict
        JSON-ready: ``fmax_mhz`` (``median``, and ``seeds`` by seed), ``macs``, ``lut4`` (as
        synthesis counts), ``comb``, ``ff``, ``dsp``, ``bram`` (as nextpnr does, the wrapper's
        taken off), ``wrapper``, ``seconds`` (of the runs, also where they were earlier ones),
        ``cached``, ``device``, ``config``, ``options``, ``versions``,
        ``sha256`` (of the sources), ``critical_path`` (of the
        median seed, see :func:`.fit_report.describe_path`), ``critical_paths`` by seed.

    Raises
    ------
    InputError
        For options out of range, and where the device is too small, with the numbers.
    ToolError
        If a tool fails or takes too long.
    """
    chosen = find_device(device)
    if seeds < 1:
        raise InputError(f"seeds: expected at least 1, found {seeds}")
    if speed not in SPEEDS:
        raise InputError(f"speed: expected one of {', '.join(map(str, SPEEDS))}, found {speed}")
    for name, found, known in (("placer", placer, PLACERS), ("router", router, ROUTERS)):
        if found not in known:
            raise InputError(f"{name}: expected one of {', '.join(known)}, found {found!r}")
    if not freq_mhz > 0 or not seconds > 0:
        raise InputError(f"freq and timeout: expected more than 0, found {freq_mhz} and {seconds}")
    check_arithmetic(config, chosen)
    versions = tool_versions()

    entered(0, "synth")
    texts = sources(config, device)
    synthesis = synthesise(texts, top=TOP, family="ecp5", work=work,
                           seconds=seconds)
    check_cells(synthesis.cells, chosen)
    components = Components(synthesis.scopes)
    routed = [place_and_route(synthesis, chosen, seed=seed, speed=speed, placer=placer,
                              router=router, freq_mhz=freq_mhz, seconds=seconds,
                              entered=lambda stage, seed=seed: entered(seed, stage))
              for seed in range(1, seeds + 1)]

    paths = {run.seed: describe_path(run.path, components) for run in routed}
    by_speed = sorted(routed, key=lambda run: run.fmax_mhz)
    middle = by_speed[(len(by_speed) - 1) // 2]
    wrapper = {"lut4": wrapper_luts(config), "ff": synthesis.registers.get(WRAPPER, 0)}
    used = routed[0].used
    return {
        "fmax_mhz": {"median": round(statistics.median(run.fmax_mhz for run in routed), 2),
                     "seeds": {str(run.seed): run.fmax_mhz for run in routed}},
        "macs": config.rows * config.cols,
        "lut4": synthesis.cells.get("LUT4", 0) - wrapper["lut4"],
        "comb": used.get("TRELLIS_COMB", 0) - wrapper["lut4"],
        "ff": used.get("TRELLIS_FF", 0) - wrapper["ff"],
        "dsp": used.get("MULT18X18D", 0), "bram": used.get("DP16KD", 0),
        "lut_memories": used.get("TRELLIS_RAMW", 0),
        "wrapper": wrapper,
        "cell_multipliers": cell_multipliers(config),
        "seconds": round(synthesis.seconds + sum(run.seconds for run in routed), 1),
        "synthesis_seconds": synthesis.seconds,
        "cached": synthesis.cached and all(run.cached for run in routed),
        "device": {"name": device, "part": chosen.part, "package": chosen.package, "speed": speed,
                   "comb": chosen.lut4, "ff": chosen.ff, "dsp": chosen.dsp, "bram": chosen.bram},
        "config": config.to_dict(),
        "options": {"seeds": seeds, "placer": placer, "router": router, "freq_mhz": freq_mhz},
        "versions": versions,
        "sha256": hashes(texts),
        "critical_path": {"seed": middle.seed, **paths[middle.seed]},
        "critical_paths": {str(seed): path for seed, path in paths.items()},
        "folders": {"synthesis": synthesis.folder.name,
                    "seeds": {str(run.seed): run.folder.name for run in routed}},
    }


def tool_versions() -> dict[str, str]:
    """All that a fit depends on, but for its sources.

    Raises
    ------
    InputError
        If a package is missing.
    """
    return {"sparseloom": version("sparseloom"), "pyosys": yosys_version(),
            PACKAGE: nextpnr_version()}


def hashes(texts: Mapping[str, str]) -> dict[str, str]:
    """SHA-256 of each file."""
    return {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()}


def sources(config: ArrayConfig, device: str) -> dict[str, str]:
    """Verilog of the unit and its wrapper, by file name.

    Here a floorplan enters: with target ``ecp5`` the unit's multipliers carry ``BEL`` attributes
    of the device, which nextpnr obeys.
    """
    # Only now: the converter takes a second to load.
    from sparseloom.hw.generate import VERILOG, to_verilog

    plan = {"floorplan": device} if config.target == "ecp5" else {}
    return {VERILOG: to_verilog(config, **plan), WRAPPER: wrapper_verilog(config)}
