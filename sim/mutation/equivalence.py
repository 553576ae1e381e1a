"""Whether a mutant can be told from the unchanged design at all, by yosys.

Both netlists side by side: what has equal inputs is merged, and a SAT solver shows the rest of
every register, memory pin and output equal, given that all registers are equal before the clock
edge. They begin equal, so a mutant that this shows is equal for ever.

Where only some registers could not be shown, they are not taken to be equal any more, and all
others are to be shown over two edges, with any values in those few before the first. From equal
registers the first edge makes at most those few unequal, which the first attempt showed; each
further one has two edges behind it. So this is sufficient as well.

Neither is necessary: what differs only in states that the unit never reaches is not shown.
"""
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sparseloom.hw.synthesis import CHILD
from sparseloom.hw.tool import run_tool
from sparseloom.sim.mutation.design import FLAT, Mutant, MutatedDesign

SECONDS = 300.0
SHOWN = "Equivalence successfully proven!"
UNPROVEN = re.compile(r"Unproven \$equiv \S+: \\(\S+)_gold\b")
MOST_UNPROVEN = 8
"""Registers that the second attempt leaves open at most."""
MODULE = "-module sparseloom"


def equivalence_steps(mutant: Mutant, flat: Path, opened: Sequence[str] = (),
                      edges: int = 1) -> list[str]:
    """yosys' script: names are left to what must be equal, and those are compared.

    Parameters
    ----------
    mutant : Mutant
    flat : Path
        The unchanged netlist.
    opened : sequence of str
        Registers that may be unequal.
    edges : int
        Clock edges that the solver looks at.
    """
    return [
        f"read_rtlil {flat}",
        "select -set kept t:$dff %co1:+[Q] t:$mem* %ci1 t:$mem* %co1 i:* o:* %u %u %u %u",
        *(f"select -set kept @kept w:{name} %d" for name in opened),
        "rename -hide w:* @kept %d", "rename sparseloom gold", "copy gold gate",
        mutant.command.replace(MODULE, "-module gate"), "memory_collect",
        "equiv_make gold gate equiv", "hierarchy -top equiv", "opt_clean", "opt_merge",
        "opt_clean", f"equiv_simple -seq {edges}", "equiv_status"]


def shown_equivalent(design: MutatedDesign, mutant: Mutant) -> bool:
    """Whether the mutant is shown to be equal to the unchanged design.

    Raises
    ------
    ToolError
        If yosys fails or takes too long.
    """
    log = _prove(design, equivalence_steps(mutant, design.folder / FLAT))
    if SHOWN in log:
        return True
    opened = sorted(set(UNPROVEN.findall(log)))
    outputs = [name for name in opened if "." not in name]
    if not opened or outputs or len(opened) > MOST_UNPROVEN:
        return False
    return SHOWN in _prove(design, equivalence_steps(
        mutant, design.folder / FLAT, opened=opened, edges=2))


def _prove(design: MutatedDesign, steps: Sequence[str]) -> str:
    """What yosys says."""
    with tempfile.TemporaryDirectory(dir=design.folder.parent, prefix="equivalence-") as name:
        folder = Path(name)
        log = folder / "yosys.log"
        run_tool("yosys", CHILD, steps, folder=folder, log=log,
                 keep_log=design.folder.parent / f"{folder.name}.log", seconds=SECONDS)
        return log.read_text(errors="replace")
