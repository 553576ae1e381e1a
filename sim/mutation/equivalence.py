"""Whether a mutant can be told from the unchanged design at all, by yosys.

Both netlists side by side: what has equal inputs is merged, and a SAT solver shows the rest of
every register, memory pin and output equal, given that all registers are equal before the clock
edge. They begin equal, so a mutant that this shows is equal for ever. It is a sufficient condition
only: what differs in states that the unit never reaches is not shown.
"""
import tempfile
from pathlib import Path

from sparseloom.hw.synthesis import CHILD
from sparseloom.hw.tool import run_tool
from sparseloom.sim.mutation.design import FLAT, Mutant, MutatedDesign

SECONDS = 300.0
SHOWN = "Equivalence successfully proven!"
MODULE = "-module sparseloom"


def equivalence_steps(mutant: Mutant, flat: Path) -> list[str]:
    """yosys' script: names are left to what must be equal, and those are compared."""
    return [
        f"read_rtlil {flat}", "memory_collect",
        "select -set kept t:$dff %co1:+[Q] t:$mem_v2 %ci1 t:$mem_v2 %co1 i:* o:* %u %u %u %u",
        "rename -hide w:* @kept %d", "rename sparseloom gold", "copy gold gate",
        mutant.command.replace(MODULE, "-module gate"),
        "equiv_make gold gate equiv", "hierarchy -top equiv", "opt_clean", "opt_merge",
        "opt_clean", "equiv_simple", "equiv_status"]


def shown_equivalent(design: MutatedDesign, mutant: Mutant) -> bool:
    """Whether the mutant is shown to be equal to the unchanged design.

    Raises
    ------
    ToolError
        If yosys fails or takes too long.
    """
    with tempfile.TemporaryDirectory(dir=design.folder.parent, prefix="equivalence-") as name:
        folder = Path(name)
        log = folder / "yosys.log"
        run_tool("yosys", CHILD, equivalence_steps(mutant, design.folder / FLAT), folder=folder,
                 log=log, keep_log=design.folder.parent / "equivalence.log", seconds=SECONDS)
        return SHOWN in log.read_text(errors="replace")
