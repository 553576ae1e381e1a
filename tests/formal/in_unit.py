"""A component's contract on its own netlist, as it stands in the unit, with a mutant or without.

A proof is of the component as Amaranth elaborates it, at a size of its own. Here the same contract
is asked of a module of the unit's Verilog. All its inputs are free; what the contract speaks of is
found by the names of its wires. That a mutant breaks the contract is shown by a trace from the
start; where none is found within ``CYCLES`` nothing is said.
"""
from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import ClockSignal, Instance, Module, ResetSignal, Signal

from sparseloom.hw.errors import ToolError
from sparseloom.hw.fault import SOURCES
from sparseloom.hw.synthesis import CHILD
from sparseloom.hw.tool import run_tool
from sparseloom.sim.mutation.design import (
    MODULE,
    PORTS_FROM,
    Mutant,
    MutatedDesign,
    component_at,
    module_steps,
    owners,
)
from sparseloom.sim.verilog import unit_verilog
from tests.formal.elaborate import as_rtlil
from tests.formal.parts import free
from tests.formal.proofs import (
    drain_link,
    fault,
    gearbox,
    input_port,
    mask_expand,
    shift_order,
)
from tests.formal.sby import sby

CYCLES = 14
CLOCK = "aclk"
RESETS = r"o|flush\b.*"
"""Inputs that are up with a reset, which may come at any time: the unit's and the result port's."""
SECONDS = 300.0
SCRIPT = """\
[options]
mode bmc
depth {depth}
aigsmt none

[engines]
abc bmc3

[script]
read_rtlil dut.il
read_rtlil harness.il
prep -flatten -top top
setundef -zero -init

[files]
dut.il
harness.il
"""


@dataclass(frozen=True, kw_only=True)
class Contract:
    """What is asked of the instances of a component.

    Parameters
    ----------
    names : tuple of str
        Wires that it speaks of, as regular expressions. Where the netlist has another name for one,
        a group has the contract's: a port whose name a register took before is ``NAME$7`` there.
    ask : callable
        Of a module, the wires by name and the component: adds the assertions.
    drives : bool
        It drives the inputs that it speaks of. Otherwise they are free.
    """

    names: tuple[str, ...]
    drives: bool = False
    ask: Callable[[Module, Mapping[str, Signal], Any], object]


def _gearbox(m: Module, wires: Mapping[str, Signal], component: Any) -> None:
    gearbox.contract(m, _streams(wires), in_bytes=component.in_bytes,
                     out_bytes=component.out_bytes)


def _drain_link(m: Module, wires: Mapping[str, Signal], component: Any) -> None:
    drain_link.contract(m, SimpleNamespace(**wires), sums=component.sums, end=component.end)


def _shift_order(m: Module, wires: Mapping[str, Signal], component: Any) -> None:
    shift_order.contract(m, SimpleNamespace(**wires), links=component.links,
                         behind=component.behind)


def _input_port(m: Module, wires: Mapping[str, Signal], component: Any) -> None:
    input_port.contract(m, _streams(wires))


def _fault(m: Module, wires: Mapping[str, Signal], component: Any) -> None:
    fault.contract(m, SimpleNamespace(**wires))


def _mask_expand(m: Module, wires: Mapping[str, Signal], component: Any) -> None:
    mask_expand.contract(m, _streams(wires), beat_bits=component.beat_bits,
                         block_inputs=component.block_inputs, max_k=component.max_k)


STREAMS = r"[io]__(?:valid|ready|payload(?:\.\w+)?)"
CONTRACTS = {
    "fault": Contract(
        names=(*SOURCES, r"(strip)\$\d+", "drop", "clear", "results_(?:open|idle)",
               "inputs_started", "run", "stopped", "clearing", "cause", "at_strip", "raised",
               "close", "halt"), ask=_fault),
    "gearbox": Contract(names=(STREAMS, "level", "empty"), ask=_gearbox),
    "input_port": Contract(names=(STREAMS, "run", "discard", "started"), ask=_input_port),
    "drain_link": Contract(names=("totals", "capture", "move", "take", "right", "shown"),
                           ask=_drain_link),
    "mask_expand": Contract(
        names=("start", "inputs", r"(?:bitmap|masks)__\w+", "valid", "k", "done", "blocks",
               "out_of_range"), ask=_mask_expand, drives=True),
    "shift_order": Contract(names=("start", "shift", "move", "take"), ask=_shift_order),
}
"""By file of ``hw``."""


def _streams(wires: Mapping[str, Signal]) -> SimpleNamespace:
    """``i__payload.data`` becomes ``i.p.data``."""
    top = SimpleNamespace()
    for name, wire in wires.items():
        port, _, member = name.partition("__")
        if not member:
            setattr(top, name, wire)
            continue
        stream = vars(top).setdefault(port, SimpleNamespace(p=SimpleNamespace()))
        member, _, field = member.partition(".")
        setattr(stream.p if field else stream, field or member, wire)
    return top


def breaks_contract(design: MutatedDesign, mutant: Mutant | None, place: str) -> str:
    """Ask a component of the unit for what it promises.

    Parameters
    ----------
    design : MutatedDesign
    mutant : Mutant or None
        At that place; None for the unchanged component.
    place : str
        Of a component in :data:`CONTRACTS`, with a module of its own.

    Returns
    -------
    str
        What is broken; empty if nothing is within ``CYCLES``.

    Raises
    ------
    ToolError
        If a tool fails or takes too long.
    """
    component = component_at(design.config, place)
    kind = owners(design.config)[place]
    with tempfile.TemporaryDirectory(dir=design.folder.parent, prefix="contract-") as name:
        folder = Path(name)
        (folder / "sparseloom.v").write_bytes(unit_verilog(design.config).read_bytes())
        run_tool("yosys", CHILD, module_steps(mutant, place), folder=folder,
                 log=folder / "yosys.log", keep_log=folder.with_suffix(".log"), seconds=SECONDS)
        contract = CONTRACTS[kind]
        module, wires = seen((folder / MODULE).read_text(), contract.names)
        (folder / "dut.il").write_text(module)
        m = Module()
        contract.ask(m, _instance(m, wires, contract), component)
        (folder / "harness.il").write_text(as_rtlil(m))
        script = folder / "contract.sby"
        script.write_text(SCRIPT.format(depth=CYCLES))
        status, said, _ = sby(script, what=f"contract of {place}", again="", seconds=SECONDS)
    if status not in ("pass", "fail"):
        raise ToolError(f"contract of {place}: expected a verdict, found {status}: {said[-300:]}")
    return f"the contract of {kind}" if status == "fail" else ""


@dataclass(frozen=True)
class Wire:
    """A wire of a module: ``kind`` is ``input``, ``output`` or empty."""

    name: str
    width: int
    kind: str


def seen(module: str, names: Sequence[str]) -> tuple[str, list[Wire]]:
    """A module whose wires of these names can be seen from outside, and its ports then.

    Parameters
    ----------
    module : str
        In yosys' own language.
    names : sequence of str
        Regular expressions.
    """
    found: list[Wire] = []

    def looked_at(line: re.Match[str]) -> str:
        words, name = line[1], line[2]
        width = re.search(r"width (\d+)", words)
        kind = next((kind for kind in ("input", "output") if f" {kind} " in f"{words} "), "")
        if not kind and any(re.fullmatch(one, name) for one in names):
            kind, words = "output", f"{words} output {PORTS_FROM + len(found)}"
        if kind:
            found.append(Wire(name, int(width[1]) if width else 1, kind))
        return f"  wire{words} \\{name}"

    return re.sub(r"^  wire((?: (?:width|input|output) \d+| signed)*) \\(\S+)$", looked_at, module,
                  flags=re.MULTILINE), found


def _instance(m: Module, wires: Sequence[Wire], contract: Contract) -> dict[str, Signal]:
    """The module ``dut``, and those of its ports that the contract speaks of."""
    signals, ports = {}, []
    for wire in wires:
        signal: Any = Signal(wire.width, name=re.sub(r"\W", "_", wire.name))
        value: Any = signal
        known = next((found for one in contract.names
                      if (found := re.fullmatch(one, wire.name))), None)
        if wire.kind == "input":
            if wire.name == CLOCK:
                value = ClockSignal()
            elif re.fullmatch(RESETS, wire.name):
                value = ResetSignal()
            elif known is None or not contract.drives:
                value = free(m, wire.width, name=f"free_{len(ports)}")
                m.d.comb += signal.eq(value)
        ports.append(("i" if wire.kind == "input" else "o", wire.name, value))
        if known is not None:
            signals[known[1] if known.re.groups else wire.name] = signal
    m.submodules.dut = Instance("dut", *ports)
    return signals
