"""Mutants of the unit's netlist: chosen by seed, all in one design that awakes one of them.

yosys' ``mutate`` changes one bit at one pin of one cell: inverts it, ties it, or flips it by
another bit of the same pin. It works on the netlist as the Verilog says it, before any
optimisation: adders, multiplexers, registers, memory ports. The hierarchy is flattened first, so
that a mutant in a cell of the array is in one cell, not in all of them.
"""
import inspect
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fractions import Fraction
from math import ceil
from pathlib import Path
from typing import Any

from amaranth.hdl import Fragment

import sparseloom.hw
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.synthesis import CHILD, yosys_version
from sparseloom.hw.tool import run_tool
from sparseloom.hw.unit import Unit
from sparseloom.hw.work_folder import key_of, made
from sparseloom.model.errors import InputError
from sparseloom.sim.build import cache_folder
from sparseloom.sim.regress.play import BENCH
from sparseloom.sim.verilog import unit_verilog

MODULE = "module.il"
PORTS_FROM = 1000
"""Numbers of ports that are added."""
CONTROL, CONTROL_BITS = "mutant", 16
"""Number of the mutant that is awake; a plusarg of the simulator. 0: none."""
FLAT, CANDIDATES, VERILOG, OWN_BENCH = "flat.il", "candidates.txt", "mutants.v", "bench.v"
POOL = 30_000
"""Candidates to choose from: yosys spreads them over modules, cells, wires and source lines."""
LEAST = 10
"""Mutants of each file of ``hw`` that has logic in the unit."""
ARRAY_SHARE = Fraction(1, 3)
"""Of all mutants, at most."""
SECONDS = 1800.0
WRAPPER = "top"
"""File of the ports' module."""
FLATTEN = ("hierarchy -top sparseloom", "proc", "flatten", "opt_clean")
"""No optimisation, but what nothing reads is gone."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """A change of one bit.

    Parameters
    ----------
    number : int
        Awakes it, from 1.
    component : str
        File of ``hw`` that describes the logic.
    place : str
        Instance in the unit, with dots.
    array : bool
        It is inside the array.
    cell_type : str
        Of yosys, without the dollar.
    command : str
        yosys' own, without the control.
    """

    number: int
    component: str
    place: str
    array: bool
    cell_type: str
    command: str

    def option(self, name: str) -> str:
        """Of the command: ``mode``, ``cell``, ``port``, ``wire``...; empty if not there."""
        found = re.search(rf"-{name} (\S+)", self.command)
        return found[1] if found else ""

    @property
    def what(self) -> str:
        """Pin and change, short."""
        return (f"{self.option('mode')} of {self.cell_type} {self.option('port')}"
                f"[{self.option('portbit')}]" + (f" to {wire}" if (wire := self.option("wire"))
                                                  else ""))

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"mode": self.option("mode")}


@dataclass(frozen=True, kw_only=True)
class MutatedDesign:
    """All mutants in one Verilog file.

    Parameters
    ----------
    folder : Path
        Holds ``VERILOG``, ``FLAT`` and ``OWN_BENCH``; never changes.
    config : ArrayConfig
    mutants : tuple of Mutant
    """

    folder: Path
    config: ArrayConfig
    mutants: tuple[Mutant, ...]

    @property
    def verilog(self) -> Path:
        """With module ``sparseloom``."""
        return self.folder / VERILOG

    @property
    def bench(self) -> Path:
        """The regression's bench, with the names of a flat unit."""
        return self.folder / OWN_BENCH


def owners(config: ArrayConfig) -> dict[str, str]:
    """File of ``hw`` that describes each instance of the unit: ``unit.array`` to ``array``."""
    return {place: file for place, (file, _) in _components(config).items()}


def component_at(config: ArrayConfig, place: str) -> Any:
    """The component at a place of the unit, elaborated.

    Raises
    ------
    KeyError
        If there is none.
    """
    return _components(config)[place][1]


def _components(config: ArrayConfig) -> dict[str, tuple[str, Any]]:
    """File and component by place; what is no component is part of the one above."""
    room = Path(str(sparseloom.hw.__file__)).parent
    found: dict[str, tuple[str, Any]] = {}

    def walk(fragment: Any, place: str, above: tuple[str, Any]) -> None:
        own = next(((file.stem, origin) for origin in getattr(fragment, "origins", None) or ()
                    if (file := Path(inspect.getfile(type(origin)))).parent.samefile(room)), above)
        found[place] = own
        for child, name, *_ in fragment.subfragments:
            walk(child, f"{place}.{name}", own)

    walk(Fragment.get(Unit(config), None), "unit", (WRAPPER, None))
    return found


def place_of(cell: str) -> str:
    r"""Instance that a cell of the flat netlist belongs to: ``$flatten\unit.\array.$add$..``."""
    if not cell.startswith("$flatten"):
        return ""
    parts = cell.removeprefix("$flatten").split(".$", 1)[0].split(".")
    return ".".join(part.removeprefix("\\") for part in parts)


def module_steps(mutant: Mutant | None, place: str) -> list[str]:
    """yosys' script: the module of a place as it is flattened, renamed ``dut``, with a mutant.

    Parameters
    ----------
    mutant : Mutant or None
        Of a flat netlist, at that place.
    place : str
        Of an instance that has a module of its own.
    """
    own = f"sparseloom.{place}"
    steps = ["read_verilog sparseloom.v", *FLATTEN[:2], f"hierarchy -top {own}",
             f"rename {own} dut"]
    if mutant is not None:
        prefix = "$flatten" + "".join(f"\\{part}." for part in place.split("."))
        command = re.sub(r" -wire.*", "", mutant.command)
        steps.append(command.replace(f"-cell {prefix}", "-cell ")
                     .replace("-module sparseloom", "-module dut"))
    return [*steps, f"write_rtlil {MODULE}"]


def cell_types(netlist: str) -> dict[str, str]:
    """Type of each cell of a netlist in yosys' own language, without the dollar."""
    return {name: kind for kind, name in
            re.findall(r"^  cell \$?(\S+) (\S+)$", netlist, re.MULTILINE)}


def read_candidates(text: str, files: Mapping[str, str],
                    types: Mapping[str, str]) -> list[Mutant]:
    """yosys' list, numbered from 1, each pin and change once; changes of clocks are no logic.

    Parameters
    ----------
    text : str
        What ``mutate -list`` wrote.
    files : mapping of str to str
        By :func:`owners`.
    types : mapping of str to str
        By :func:`cell_types`.
    """
    found: dict[str, Mutant] = {}
    for line in text.splitlines():
        if " -port \\CLK " in line or " -port CLK " in line or " -cell " not in line:
            continue
        command = re.sub(r" -src \S+", "", line.strip())
        cell = re.search(r"-cell (\S+)", command)
        assert cell is not None
        place = place_of(cell[1])
        while place and place not in files:              # a cell of the converter's own
            place = place.rpartition(".")[0]
        key = re.sub(r" -wire.*", "", command)
        found.setdefault(key, Mutant(
            number=len(found) + 1, component=files.get(place, WRAPPER), place=place or "top",
            array=place.startswith("unit.array"), cell_type=types[cell[1]],
            command=command))
    return list(found.values())


def choose(candidates: Sequence[Mutant], count: int, seed: int, *, least: int = LEAST,
           array_share: Fraction = ARRAY_SHARE) -> tuple[Mutant, ...]:
    """So many, at random but for quotas, numbered anew.

    Parameters
    ----------
    candidates : sequence of Mutant
    count : int
    seed : int
    least : int
        Of each component, or all that it has.
    array_share : Fraction
        Most that may lie in the array.

    Raises
    ------
    InputError
        If there are not so many, or the quotas leave no way.
    """
    order = list(candidates)
    random.Random(seed).shuffle(order)
    chosen: list[Mutant] = []
    for component in sorted({one.component for one in order}):
        chosen += [one for one in order if one.component == component][:least]
    most = int(count * array_share)
    array = sum(one.array for one in chosen)
    if len(chosen) > count or array > most:
        needed = max(len(chosen), ceil(array / array_share))
        raise InputError(f"mutants: expected at least {needed} for {least} of each component, "
                         f"found {count}")
    taken = {one.number for one in chosen}
    for one in order:
        if len(chosen) == count:
            break
        if one.number in taken or (one.array and array == most):
            continue
        chosen.append(one)
        array += one.array
    if len(chosen) < count:
        raise InputError(f"mutants: expected {count}, found {len(chosen)} candidates")
    return tuple(Mutant(**{**asdict(one), "number": number})
                 for number, one in enumerate(sorted(chosen, key=lambda one: one.number), 1))


def mutated_design(config: ArrayConfig, *, count: int, seed: int, pool: int = POOL,
                   least: int = LEAST, cache: Path | None = None) -> MutatedDesign:
    """A build with so many mutants.

    Parameters
    ----------
    config : ArrayConfig
    count, seed : int
        Mutants, and the seed of their choice.
    pool : int
        Candidates to choose from.
    least : int
        Of each component.
    cache : Path, optional
        Its ``mutants`` folder takes the files; :func:`~sparseloom.sim.build.cache_folder` by
        default.

    Raises
    ------
    InputError
        If yosys is missing or there are not so many mutants.
    ToolError
        If yosys fails.
    """
    listed, candidates = list_candidates(config, seed=seed, pool=pool, cache=cache)
    return with_mutants(config, listed, choose(candidates, count, seed, least=least))


def list_candidates(config: ArrayConfig, *, seed: int, pool: int = POOL,
                    cache: Path | None = None) -> tuple[Path, list[Mutant]]:
    """Mutants to choose from, and the folder of the flat netlist that they are of."""
    verilog = unit_verilog(config, cache)
    steps = ["read_verilog sparseloom.v", *FLATTEN,
             f"mutate -list {pool} -seed {seed} -o {CANDIDATES}", f"write_rtlil {FLAT}"]
    recipe = {"verilog": verilog.parent.name, "steps": steps, "yosys": yosys_version()}
    listed = (cache or cache_folder()) / "mutants" / f"list-{key_of(recipe)}"

    def make(part: Path) -> None:
        (part / "sparseloom.v").write_bytes(verilog.read_bytes())
        _yosys(steps, part, listed)

    made(listed, recipe, make)
    return listed, read_candidates((listed / CANDIDATES).read_text(), owners(config),
                                   cell_types((listed / FLAT).read_text()))


def with_mutants(config: ArrayConfig, listed: Path, mutants: Sequence[Mutant]) -> MutatedDesign:
    """The netlist of a folder with these mutants in it, each awake by its number."""
    steps = [f"read_rtlil {FLAT}", *(
        f"{one.command} -ctrl {CONTROL} {CONTROL_BITS} {one.number}" for one in mutants),
        "write_verilog -noattr plain.v"]
    bench = flat_bench(BENCH.read_text())
    recipe = {"listed": listed.name, "steps": steps, "bench": bench}
    folder = listed.with_name(f"design-{key_of(recipe)}")

    def make(part: Path) -> None:
        (part / FLAT).write_bytes((listed / FLAT).read_bytes())
        (part / "apply.ys").write_text("\n".join(steps) + "\n")
        _yosys(["script apply.ys"], part, folder)
        (part / VERILOG).write_text(awake((part / "plain.v").read_text()))
        (part / "plain.v").unlink()
        (part / OWN_BENCH).write_text(bench)

    made(folder, recipe, make)
    return MutatedDesign(folder=folder, config=config, mutants=tuple(mutants))


def _yosys(steps: Sequence[str], part: Path, folder: Path) -> None:
    run_tool("yosys", CHILD, steps, folder=part, log=part / "yosys.log",
             keep_log=folder.with_suffix(".log"), seconds=SECONDS)


def awake(verilog: str) -> str:
    """The control port as a register that the simulator's plusarg sets."""
    named = f"[{CONTROL_BITS - 1}:0] {CONTROL};"
    declared = f"  input {named}\n  wire {named}\n"
    head, rest = verilog.split("module sparseloom(", 1)
    ports, body = rest.split(");", 1)
    names = [name.strip() for name in ports.split(",")]
    if CONTROL not in names or declared not in body:
        raise InputError(f"mutants: expected a port {CONTROL}, found {', '.join(names)}")
    names.remove(CONTROL)
    body = body.replace(declared, (
        f"  reg {named}\n"
        f'  initial if (!$value$plusargs("{CONTROL}=%d", {CONTROL})) {CONTROL} = 0;\n'))
    return f"{head}module sparseloom({', '.join(names)});{body}"


def flat_bench(bench: str) -> str:
    r"""A bench for a flat unit: ``unit.unit.fault.run`` is ``unit.\unit.fault.run`` and a space."""
    return re.sub(r"\bunit\.(unit(?:\.\w+)+)", r"unit.\\\1 ", bench)
