"""Whether a mutant can be told from the unchanged design at all, by yosys and ABC.

Both netlists side by side: what has equal inputs is merged, and a SAT solver shows the rest of
every register, memory pin and output equal, given that all registers are equal before the clock
edge. They begin equal, so a mutant that this shows is equal for ever.

Where some registers could not be shown, these are *opened*: no longer taken to be equal, each
design has its own. Then all others are to be shown again, and what is not is opened as well, until
nothing is left or an output is. What is left then is equal before an edge and behind it whatever
the opened registers hold, so it is equal for ever.

That knows nothing of states the unit never reaches. So at last ABC is asked about them. It merges
what induction shows equal, then looks for a difference by property directed reachability: from the
registers' initial values, with any inputs and anything read from a memory, no pair of registers,
memory pins or outputs ever differs, but the opened ones. Up to the first difference pairs are
equal, so one copy of them is enough. It ends with an invariant, a difference, or the time limit.
(Registers without initial value begin with zero.)

None of this is necessary: what differs only in what nobody looks at is not shown.
"""
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from sparseloom.hw.synthesis import CHILD, abc_program
from sparseloom.hw.tool import run_tool
from sparseloom.sim.mutation.design import FLAT, PORTS_FROM, Mutant, MutatedDesign

SECONDS = 300.0
SHOWN = "Equivalence successfully proven!"
UNPROVEN = re.compile(r"Unproven \$equiv \S+: \\(\S+?)_gold(?: (\[\d+\]))?")
MOST_OPENED = 40
"""Bits of registers."""
MODULE = "-module sparseloom"
REACH_SECONDS = 10
"""Of each search for a difference; one that finds a proof takes less than one."""
MOST_SEARCHES = 3
"""With ever more registers opened."""
PROVED = "Property proved."
# In a child, as yosys is: it keeps nothing, and cannot be interrupted.
ABC = f"""
import subprocess, sys
program = {str(abc_program())!r}
sys.exit(subprocess.call([program, *sys.argv[1:]]))
"""
CUT, JOINED, DIFFER, AIG = "cut.il", "joined.il", "differ.il", "differ.aig"
LEFT = "left.aig"


def equivalence_steps(mutant: Mutant, netlist: Path, opened: Sequence[str] = ()) -> list[str]:
    """yosys' script: names are left to what must be equal, and those are compared.

    Parameters
    ----------
    mutant : Mutant
    netlist : Path
        The unchanged one, by :func:`without_memories`.
    opened : sequence of str
        Bits of registers that may be unequal.
    """
    names = [re.sub(r"([\[\]])", r"\\\1", name) for name in opened]
    return [
        f"read_rtlil {netlist}", *(["splitnets"] if names else []),
        "select -set kept t:$dff %co1:+[Q] i:* o:* %u %u",
        *(f"select -set kept @kept w:{name} %d" for name in names),
        "rename -hide w:* @kept %d", "rename sparseloom gold", "copy gold gate",
        mutant.command.replace(MODULE, "-module gate"),
        "equiv_make gold gate equiv", "hierarchy -top equiv", "opt_clean", "opt_merge",
        "opt_clean", "equiv_simple", "equiv_status"]


def shown_equivalent(design: MutatedDesign, mutant: Mutant, *, search: bool = True) -> bool:
    """Whether the mutant is shown to be equal to the unchanged design.

    Parameters
    ----------
    design : MutatedDesign
    mutant : Mutant
        Of it.
    search : bool
        Ask ABC as well, which takes a minute.

    Raises
    ------
    ToolError
        If a tool fails or takes too long.
    """
    if mutant.cell_type.startswith("mem"):      # they are no cells here
        return False
    with tempfile.TemporaryDirectory(dir=design.folder.parent, prefix="equivalence-") as name:
        folder = Path(name)
        (folder / CUT).write_text(without_memories((design.folder / FLAT).read_text()))
        tried: list[list[str]] = []
        opened: list[str] = []
        while True:
            log = _run("yosys", CHILD, equivalence_steps(mutant, Path(CUT), opened), folder)
            if SHOWN in log:
                return True
            unproven = {name + bit for name, bit in UNPROVEN.findall(log)}
            tried.append(opened)
            opened = sorted({*opened, *unproven})
            if (not all(_is_register(name) for name in unproven) or not unproven
                    or len(opened) > MOST_OPENED):
                break
        return search and any(_never_differs(mutant, opened, folder)
                              for opened in tried[:MOST_SEARCHES])


def _is_register(name: str) -> bool:
    """Names of ports of the unit have no dot, those of memories' pins end with the pin's."""
    return "." in name and not re.search(r"\.mem\w+_[A-Z]+", name)


def _never_differs(mutant: Mutant, opened: Sequence[str], folder: Path) -> bool:
    """Whether no difference is reached."""
    _run("yosys", CHILD, [*equivalence_steps(mutant, Path(CUT), opened), "equiv_remove",
                          f"write_rtlil {JOINED}"], folder)
    (folder / DIFFER).write_text(with_differences((folder / JOINED).read_text()))
    _run("yosys", CHILD, [
        f"read_rtlil {DIFFER}", "setundef -zero -init", "opt_clean", "opt_merge", "techmap",
        "opt -fast -nodffe -nosdff", "aigmap", "dffunmap", "opt_clean",
        f"write_aiger -zinit {AIG}"], folder)
    log = _run("abc", ABC, ["-c", f"&r {AIG}; &scorr; &put; orpos; write_aiger {LEFT}; "
                                  f"pdr -T {REACH_SECONDS}"], folder)
    return PROVED in log or is_never((folder / LEFT).read_bytes())


def is_never(aiger: bytes) -> bool:
    """Whether nothing is left of a circuit but an output that is 0."""
    header, output, *_ = aiger.split(b"\n", 2)
    _, _, _, latches, outputs, gates = header.split()[:6]
    return (latches, outputs, gates, output) == (b"0", b"1", b"0", b"0")


def _run(tool: str, program: str, arguments: Sequence[str], folder: Path) -> str:
    """What a tool says."""
    log = folder / f"{tool}.log"
    run_tool(tool, program, arguments, folder=folder, log=log,
             keep_log=folder.parent / f"{folder.name}.log", seconds=SECONDS)
    return log.read_text(errors="replace")


def without_memories(netlist: str) -> str:
    """A netlist whose memories lie outside: what they are told are outputs, what they say inputs.

    Parameters
    ----------
    netlist : str
        In yosys' own language: one module with ``$memrd`` ports without clock and ``$memwr_v2``.
    """
    wires, connections = [], []

    def moved(cell: re.Match[str]) -> str:
        kind, text = cell[1], cell[0]
        memory, = re.findall(r'parameter \\MEMID "\\(\S+)"', text)
        pins = dict(re.findall(r"connect \\(\w+) (.+)", text))
        width, = re.findall(r"parameter \\WIDTH (\d+)", text)
        bits, = re.findall(r"parameter \\ABITS (\d+)", text)
        for pin, size in (("ADDR", bits), ("DATA", width), ("EN", width)):
            port = f"{memory}.{kind}_{pin}"
            if kind == "memrd" and pin == "EN":
                continue
            reads = kind == "memrd" and pin == "DATA"
            wires.append(f"  wire width {size} {'input' if reads else 'output'} "
                         f"{PORTS_FROM + len(wires)} {port}\n")
            connections.append(f"  connect {pins[pin]} {port}\n" if reads
                               else f"  connect {port} {pins[pin]}\n")
        return ""

    text = re.sub(r"^(?:  attribute .*\n)*  cell \$(memrd|memwr_v2) .*\n(?:    .*\n)*  end\n",
                  moved, netlist, flags=re.MULTILINE)
    text = re.sub(r"^(?:  attribute .*\n)*  memory .*\n", "", text, flags=re.MULTILINE)
    head, tail = text.rsplit("\nend\n", 1)
    return "\n".join([head, "".join([*wires, *connections, "end\n"]) + tail])


def with_differences(netlist: str) -> str:
    """A joined netlist with one output for each pair left: they differ. It has no other outputs."""
    added: list[str] = []

    def compared(cell: re.Match[str]) -> str:
        pins = dict(re.findall(r"connect \\(\w) (.+)", cell[0]))
        port = f"\\differs{len(added)}"
        added.append(f"  connect {pins['Y']} {pins['A']}\n")
        return (f"  wire output {PORTS_FROM + len(added)} {port}\n  cell $xor ${port[1:]}\n"
                + "".join(f"    parameter \\{name} {value}\n" for name, value in (
                    ("A_SIGNED", 0), ("A_WIDTH", 1), ("B_SIGNED", 0), ("B_WIDTH", 1),
                    ("Y_WIDTH", 1)))
                + f"    connect \\A {pins['A']}\n    connect \\B {pins['B']}\n"
                f"    connect \\Y {port}\n  end\n")

    text = re.sub(r"^(  wire.*) output \d+ ", r"\1 ", netlist, flags=re.MULTILINE)
    text = re.sub(r"^  cell \$equiv .*\n(?:    .*\n)*  end\n", compared, text, flags=re.MULTILINE)
    head, tail = text.rsplit("\nend\n", 1)
    return "\n".join([head, "".join([*added, "end\n"]) + tail])
