"""Pieces of a proof: free inputs, insight into a component, a reference queue, stream rules."""
from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from amaranth import hdl
from amaranth.hdl import (
    Array,
    Cat,
    Const,
    Elaboratable,
    Fragment,
    Instance,
    Module,
    Mux,
    Shape,
    Signal,
    Value,
)

# Their stubs want a message.
Assert: Any = hdl.Assert
Assume: Any = hdl.Assume
Cover: Any = hdl.Cover


def free(m: Module, shape: Any = 1, *, name: str) -> Any:
    """A signal that has any value in any cycle."""
    return _solver(m, "$anyseq", shape, name)


def rigid(m: Module, shape: Any = 1, *, name: str) -> Any:
    """A signal that has any value, the same in all cycles."""
    return _solver(m, "$anyconst", shape, name)


def _solver(m: Module, cell: str, shape: Any, name: str) -> Any:
    value = Signal(shape, name=name)
    width = Shape.cast(shape).width
    bits = Signal(width, name=f"{name}_bits")
    m.submodules[f"{name}_free"] = Instance(cell, p_WIDTH=width, o_Y=bits)
    m.d.comb += Value.cast(value).eq(bits)
    return value


BODIES = ("elaborate", "_generic", "_one_register", "_write_side", "_read_side")
"""Functions whose locals are a component's inside."""


class Opened:
    """A component with all that is inside it.

    ``opened[component].name`` is the local ``name`` of that component's ``elaborate``, a signal
    or a part; ``opened.fragment`` goes into ``m.submodules``.

    Parameters
    ----------
    component : Elaboratable
    """

    def __init__(self, component: Elaboratable):
        self._inside: dict[int, SimpleNamespace] = {}
        self._functions: dict[str, SimpleNamespace] = {}
        self._kept = []
        before = sys.getprofile()
        sys.setprofile(self._watch)
        try:
            self.fragment = Fragment.get(component, None)
        finally:
            sys.setprofile(before)

    def _watch(self, frame, event, argument):
        if event == "return" and frame.f_code.co_name in BODIES:
            local = dict(frame.f_locals)
            owner = local.get("self")
            self._kept.append(owner)        # so that no other object gets its identity
            there = self._inside.setdefault(id(owner), SimpleNamespace())
            vars(there).update(local)
            self._functions[frame.f_code.co_name] = SimpleNamespace(**local)

    def __getitem__(self, component: object) -> SimpleNamespace:
        return self._inside[id(component)]

    def locals_of(self, function: str) -> SimpleNamespace:
        """Locals of a component's function of that name that ended last."""
        return self._functions[function]

    def signal(self, name: str) -> Signal:
        """The signal that is driven under that name, for those that are no local at the end.

        Raises
        ------
        ValueError
            If not exactly one is.
        """
        found, due = {}, [self.fragment]
        while due:
            fragment = due.pop()
            for statements in fragment.statements.values():
                for driven in statements._lhs_signals():
                    if driven.name == name:
                        found[id(driven)] = driven
            due += [part for part, *_ in fragment.subfragments]
        if len(found) != 1:
            raise ValueError(f"expected one signal {name!r}, found {len(found)}")
        return next(iter(found.values()))

    def all_of(self, kind: type) -> list[Any]:
        """Parts of that kind, each once, in the order in which they were elaborated."""
        return [part for at, part in enumerate(self._kept)
                if isinstance(part, kind) and part not in self._kept[:at]]


class Reference:
    """What went in and did not come out, oldest first: a queue of registers.

    Parameters
    ----------
    m : Module
        Gets the queue's statements.
    shape : ShapeLike
    places : int
    push, pop : Value
    value : Value
        What goes in with ``push``.
    """

    def __init__(self, m: Module, shape: Any, places: int, *, push: Value, value: Value,
                 pop: Value, name: str = "ref"):
        width = Shape.cast(shape).width
        self.words = [Signal(width, name=f"{name}_{at}") for at in range(places)]
        self.count = Signal(range(places + 1), name=f"{name}_count")
        self.head = self.words[0]
        after = Signal.like(self.count, name=f"{name}_after")
        m.d.comb += after.eq(self.count - pop)
        for at, word in enumerate(self.words):
            moved = self.words[at + 1] if at + 1 < places else Const(0, width)
            m.d.sync += word.eq(Mux(push & (after == at), value, Mux(pop, moved, word)))
        m.d.sync += self.count.eq(after + push)
        self.full = self.count == places
        m.d.comb += [Assert(~(pop & (self.count == 0)), f"{name}: nothing was there to come out"),
                     Assert(self.count <= places)]

    def __getitem__(self, at: Any) -> Value:
        """The word behind ``at`` others; an index that is a signal chooses."""
        return self.words[at] if isinstance(at, int) else Array(self.words)[at]


def keeps_rules(m: Module, stream: Any, *, name: str, unless: Any = 0, assumed: bool = False,
                ) -> None:
    """An offered payload stays, with ``valid``, until it is taken.

    Parameters
    ----------
    m : Module
    stream : stream interface
    unless : Value
        In the cycle in which this is up an offer may be withdrawn.
    assumed : bool
        Of an input: the rule is assumed instead of asserted.
    """
    payload = Value.cast(stream.payload)
    waited = Signal(name=f"{name}_waited")
    before = Signal(len(payload), name=f"{name}_before")
    m.d.sync += [waited.eq(stream.valid & ~stream.ready), before.eq(payload)]
    rule = ~waited | unless | (stream.valid & (payload == before))
    m.d.comb += Assume(rule) if assumed else Assert(rule, f"{name}: the offered payload stays")


def past(m: Module, value: Any, *, name: str, reset_less: bool = False) -> Signal:
    """The value of a cycle before."""
    value = Value.cast(value)
    before = Signal(value.shape(), name=name, reset_less=reset_less)
    m.d.sync += before.eq(value)
    return before


def goes_on(m: Module, waits: Any, within: int) -> None:
    """No more than ``within`` cycles in a row pass in which ``waits`` is up."""
    stuck = Signal(within + 1)          # bit n: for more than n cycles
    m.d.sync += stuck.eq(Mux(waits, Cat(1, stuck), 0))
    m.d.comb += Assert(~stuck[-1], "it goes on")


def implies(condition: Any, then: Any) -> Value:
    """``then`` holds where ``condition`` does; both of one bit."""
    return ~Value.cast(condition).bool() | Value.cast(then).bool()


def ones(value: Any) -> Value:
    """How many bits are set."""
    return sum(Value.cast(value), Const(0, 1))


def times(value: Any, number: Any) -> Value:
    """A product, a sum for each bit of the factor of few bits."""
    return sum((Mux(value[bit], number << bit, 0) for bit in range(len(value))), Const(0, 1))


def bits_of(*values: Any) -> Value:
    """Values side by side, the first in the lowest bits."""
    return Cat(*(Value.cast(value) for value in values))


def passed_on(m: Module, dut: Any, shape: int, places: int,
              ) -> tuple[SimpleNamespace, Reference, Any]:
    """A part that hands a stream on, between a source and a sink that do as they like.

    Parameters
    ----------
    m : Module
    dut : Component
        Has streams ``i`` and ``o``; becomes ``m.submodules.dut``.
    shape : int
        Bits of the payload.
    places : int
        Payloads that it holds at most.

    Returns
    -------
    inside : SimpleNamespace
        Its local names.
    held : Reference
        What went in and is not out yet; that ``o`` offers its head is asserted.
    pops : Value
        One leaves.
    """
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    m.d.comb += [dut.i.valid.eq(free(m, name="i_valid")),
                 dut.i.payload.eq(free(m, shape, name="i_payload")),
                 dut.o.ready.eq(free(m, name="o_ready"))]
    pops = dut.o.valid & dut.o.ready
    held = Reference(m, shape, places, push=dut.i.valid & dut.i.ready, value=dut.i.payload,
                     pop=pops)
    keeps_rules(m, dut.o, name="o")
    m.d.comb += Assert(implies(dut.o.valid, dut.o.payload == held.head), "in order, unchanged")
    return opened[dut], held, pops
