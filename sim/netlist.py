"""The unit as synthesis leaves it, in Verilog of ECP5 cells, for the same benches as the unit."""
import hashlib
import re
from pathlib import Path

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.synthesis import CHILD, synthesise
from sparseloom.hw.tool import run_tool
from sparseloom.hw.work_folder import made
from sparseloom.sim.build import cache_folder
from sparseloom.sim.verilog import unit_verilog

CELLS = ("common_sim.vh", "ccu2c_sim.vh")
"""Of yosys' own models, those of a slice; it has none of multipliers and block memories."""
LOOK_UP_TABLE = re.compile(r"^module LUT4\b.*?^endmodule\n", re.MULTILINE | re.DOTALL)
SLICES = Path(__file__).with_name("ecp5_slices.v")
VERILOG, LOG, SECONDS = "netlist.v", "yosys.log", 3600.0


def unit_netlist(config: ArrayConfig, cache: Path | None = None) -> Path:
    """The unit synthesised for ECP5, with yosys' models of its slices in front.

    For target ``ecp5`` multipliers and block memories are those that the generator asks for, for
    ``generic`` those that yosys infers; either way :data:`~sparseloom.sim.build.LIBRARIES` has
    their models. Wires and cells have numbers for names: a compiler reads the long ones of
    synthesis for longer than what they name.

    Parameters
    ----------
    config : ArrayConfig
    cache : Path, optional
        Its ``netlists`` folder takes the files; :func:`~sparseloom.sim.build.cache_folder` by
        default.

    Raises
    ------
    InputError
        If a tool is missing or the folder not writable.
    ToolError
        If yosys fails.
    """
    work = (cache or cache_folder()) / "netlists"
    work.mkdir(parents=True, exist_ok=True)
    text = unit_verilog(config, cache).read_text()
    found = synthesise({"sparseloom.v": text}, top="sparseloom", family="ecp5", work=work)
    models = slice_models()
    folder = found.folder.with_name(f"{found.folder.name}-verilog")

    def make(part: Path) -> None:
        run_tool("yosys", CHILD, [f"read_json {found.netlist}", "rename -hide",
                                  "write_verilog -noattr plain.v"],
                 folder=part, log=part / LOG, keep_log=folder.with_suffix(".log"),
                 seconds=SECONDS, heard=lambda line: None)
        plain = (part / "plain.v").read_text()
        (part / VERILOG).write_text("\n".join([*models, plain]), encoding="utf-8")

    made(folder, {"netlist": found.folder.name,
                  "models": [hashlib.sha256(model.encode()).hexdigest() for model in models]}, make)
    return folder / VERILOG


def slice_models() -> list[str]:
    """Yosys' models of a slice's cells, but ours of the look-up table: one shift, not a tree.

    The two are proved equal in ``tests/sim/test_netlist.py``; with ours a netlist simulates more
    than twice as fast.
    """
    ours, = LOOK_UP_TABLE.findall(SLICES.read_text())
    return [LOOK_UP_TABLE.sub(lambda _: ours, text) for text in yosys_models()]


def yosys_models() -> list[str]:
    """As yosys has them."""
    import pyosys

    folder = Path(str(pyosys.__file__)).parent / "share" / "ecp5"
    return [re.sub(r"^`include.*$", "", (folder / name).read_text(), flags=re.MULTILINE)
            for name in CELLS]
