"""Verilog to cells of a device family: yosys, in a process of its own."""
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sparseloom.hw.tool import package_version, run_tool
from sparseloom.hw.work_folder import key_of, made
from sparseloom.model.errors import InputError

NETLIST = "netlist.json"
STATISTICS = "cells.json"
NAMES = "names.json"
LOG = "yosys.log"

COMMANDS = {
    "ecp5": "synth_ecp5 -nowidelut",
    "ice40": "synth_ice40 -dsp",
    "nexus": "synth_nexus -noiopad",
    "gowin": "synth_gowin -noiopads",
    "xilinx": "synth_xilinx -family xc7 -flatten -noiopad",
}
"""yosys' script for each family, without pads: the unit is a part of a design.
All of them flatten. On ECP5 a wide multiplexer of a slice takes as many look-up tables as the tree
that it replaces, and ties down where they are placed: without them the registers' bus takes half
the look-up tables, and nothing is slower."""

SETTINGS = {"ecp5": [
    'scratchpad -set abc9.script "+&scorr;&sweep;&dc2;&dch -f -r;&ps;'
    '&if -F 0 -A 0 {W} {D} {R} -v;&mfs"']}
"""What is set before: yosys' own script for abc9, but without the passes that win back look-up
tables where the longest path of all has a level to spare. It takes 3 % more of them, and many
paths, all of which have wires that the mapper does not know of, a level less."""

TIME_LIMIT = 3600.0
"""Seconds."""

# In a child, since yosys ends the process on an error and keeps the memory of all designs.
CHILD = """
import sys
import pyosys.libyosys as yosys
design = yosys.Design()
for step in sys.argv[1:]:
    yosys.run_pass(step, design)
"""

KINDS: dict[str, dict[str, str]] = {
    "ecp5": {"luts": r"LUT4", "carries": r"CCU2C", "ffs": r"TRELLIS_FF", "dsps": r"MULT18X18D",
             "block_memories": r"DP16KD", "lut_memories": r"TRELLIS_DPR16X4"},
    "ice40": {"luts": r"SB_LUT4", "carries": r"SB_CARRY", "ffs": r"SB_DFF\w*",
              "dsps": r"SB_MAC16", "block_memories": r"SB_RAM40_4K\w*", "lut_memories": r"(?!)"},
    "nexus": {"luts": r"LUT4|WIDEFN9|INV", "carries": r"CCU2", "ffs": r"FD1P3\w\w",
              "dsps": r"MULT\w+", "block_memories": r"(PDP|PDPSC|DP|SP)16K(_MODE)?",
              "lut_memories": r"DPR16X4"},
    "gowin": {"luts": r"LUT[1-4]|INV", "carries": r"ALU", "ffs": r"DFF\w*", "dsps": r"MULT\w+",
              "block_memories": r"(SDPB|SDPX9B|DPB|DPX9B|SP|SPX9)", "lut_memories": r"RAM16S\w+"},
    "xilinx": {"luts": r"LUT[1-6]|INV", "carries": r"CARRY4", "ffs": r"FD[CPRS]E(_1)?",
               "dsps": r"DSP48E1", "block_memories": r"RAMB(18|36)E1",
               "lut_memories": r"RAM(32|64|128|256)\w+|SRL(16E|C32E)"},
}
"""Names of cells, by what they are. Multiplexers of the slices come with their tables."""


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """A design as cells.

    Parameters
    ----------
    family : str
    folder : Path
        Holds ``NETLIST`` and yosys' log.
    cells : dict of str to int
        By type.
    scopes : list of str
        Instances of the flattened design, with dots.
    registers : dict of str to int
        Flip-flops by the source file that they were written in, as far as synthesis remembers.
    seconds : float
        What synthesis took, also where an earlier one was found.
    cached : bool
        It was there before.
    """

    family: str
    folder: Path
    cells: dict[str, int]
    scopes: list[str]
    registers: dict[str, int]
    seconds: float
    cached: bool

    @property
    def netlist(self) -> Path:
        """For nextpnr."""
        return self.folder / NETLIST

    def table(self) -> dict[str, int]:
        """``luts``, ``carries``, ``ffs``, ``dsps``, ``block_memories``, ``lut_memories``."""
        return {kind: sum(count for cell, count in self.cells.items() if re.fullmatch(name, cell))
                for kind, name in KINDS[self.family].items()}


def yosys_version() -> str:
    """Of the package.

    Raises
    ------
    InputError
        If it is missing.
    """
    return package_version("pyosys")


def abc_program() -> Path:
    """ABC, which comes with yosys' package."""
    import pyosys

    return Path(str(pyosys.__file__)).with_name("yosys-abc")


def synthesise(sources: Mapping[str, str], *, top: str, family: str, work: Path,
               seconds: float = TIME_LIMIT,
               heard: Callable[[str], None] = lambda line: None) -> Synthesis:
    """Run synthesis, or find an earlier run of the same sources with the same tool.

    Parameters
    ----------
    sources : mapping of str to str
        Verilog by file name.
    top : str
        Module.
    family : str
        Key of ``COMMANDS``.
    work : Path
        Folder of runs; the result lies in a folder of its own in it.
    seconds : float
        Time limit.
    heard : function
        Gets the log line by line.

    Raises
    ------
    InputError
        If the family is unknown, the tool missing or the folder not writable.
    ToolError
        If yosys fails or takes too long.
    """
    if family not in COMMANDS:
        raise InputError(f"family: expected one of {', '.join(COMMANDS)}, found {family!r}")
    steps = [f"read_verilog {name}" for name in sources]
    steps += [*SETTINGS.get(family, ()), f"{COMMANDS[family]} -top {top}", f"write_json {NETLIST}",
              f"tee -q -o {STATISTICS} stat -json"]
    recipe = {
        "sources": {name: hashlib.sha256(text.encode()).hexdigest()
                    for name, text in sources.items()},
        "steps": steps, "tools": {"pyosys": yosys_version()}}
    folder = work.resolve() / f"{family}-{key_of(recipe)}"

    def make(part: Path) -> None:
        for name, text in sources.items():
            (part / name).write_text(text, encoding="utf-8")
        took = run_tool("yosys", CHILD, steps, folder=part,
                        log=part / LOG, seconds=seconds, keep_log=folder.with_suffix(".log"),
                        heard=heard)
        cells = json.loads((part / NETLIST).read_text())["modules"][top]["cells"]
        names = _names(cells, family, sources)
        (part / NAMES).write_text(json.dumps(names) + "\n")
        (part / "seconds.json").write_text(f"{took:.1f}\n")

    cached = made(folder, recipe, make)
    statistics = json.loads((folder / STATISTICS).read_text())
    names = json.loads((folder / NAMES).read_text())
    counted = statistics["design"]["num_cells_by_type"]
    return Synthesis(family=family, folder=folder, cached=cached,
                     cells={name: count for name, count in counted.items()
                            if not name.startswith("$")},
                     scopes=names["scopes"], registers=names["registers"],
                     seconds=json.loads((folder / "seconds.json").read_text()))


def _names(cells: Mapping[str, Mapping], family: str, sources: Iterable[str]) -> dict:
    """Instances of a flattened netlist, and its flip-flops by source file."""
    registers: Counter[str] = Counter()
    for cell in cells.values():
        if re.fullmatch(KINDS[family]["ffs"], cell["type"]):
            places = cell["attributes"].get("src", "").split("|")
            registers.update({place.split(":")[0] for place in places} & set(sources))
    return {"scopes": sorted(name for name, cell in cells.items() if cell["type"] == "$scopeinfo"),
            "registers": dict(registers)}
