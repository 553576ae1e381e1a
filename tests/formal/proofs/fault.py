"""When the unit runs, stops and clears: one state at a time, one cause, one closing beat."""
from functools import reduce
from operator import or_
from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value

from sparseloom.hw.fault import SOURCES, Fault
from tests.formal.parts import Assert, Cover, Opened, free, implies, past
from tests.formal.proof import Bug, Proof

QUIET_FROM = Fault.DOORS_SHUT + 1
"""Cycles of a clearing before what is under way is known."""


def contract(m, dut):
    """What the unit does after errors and clears, from the ports alone.

    Returns
    -------
    SimpleNamespace
        What was noted on the way.
    """
    codes = [getattr(dut, name) for name in SOURCES]

    # An error counts while the unit runs; the first one's cause and place are kept.
    error, code = Signal(), Signal(8)
    m.d.comb += [error.eq(reduce(or_, (one != 0 for one in codes)) & dut.run & ~dut.drop),
                 code.eq(Mux(codes[0] != 0, codes[0], Mux(codes[1] != 0, codes[1], codes[2])))]
    error_1 = past(m, error, name="error_1")
    error_2 = past(m, error_1, name="error_2")
    clear_1 = past(m, dut.clear, name="clear_1")
    clear_2 = past(m, clear_1, name="clear_2")
    pending, first_code, first_strip = Signal(), Signal(8), Signal(16)
    with m.If(error & ~pending):
        m.d.sync += [pending.eq(1), first_code.eq(code), first_strip.eq(dut.strip)]
    with m.If(~dut.run):
        m.d.sync += pending.eq(0)

    # The unit, as it is described: what it does in the next cycle.
    runs, stops, clears = Signal(init=1), Signal(), Signal()
    cause, at_strip, raised, close = Signal(8), Signal(16), Signal(), Signal()
    age = Signal(range(QUIET_FROM + 1))     # of a clearing
    quiet = past(m, dut.results_idle & ~dut.inputs_started, name="quiet_before")
    m.d.sync += [raised.eq(0), close.eq(0), age.eq(0)]
    with m.If(clears):
        m.d.sync += [age.eq(Mux(age == QUIET_FROM, age, age + 1)), cause.eq(0), at_strip.eq(0)]
        with m.If((age == QUIET_FROM) & quiet):
            m.d.sync += [clears.eq(0), runs.eq(1), age.eq(0)]
    with m.Elif(clear_2):
        m.d.sync += [runs.eq(0), stops.eq(0), clears.eq(1), close.eq(runs & dut.results_open)]
    with m.Elif(runs & error_2):
        m.d.sync += [runs.eq(0), stops.eq(1), cause.eq(first_code), at_strip.eq(first_strip),
                     raised.eq(1), close.eq(1)]
    closed = Signal()                       # since the unit last ran
    with m.If(dut.run):
        m.d.sync += closed.eq(0)
    with m.Elif(dut.close):
        m.d.sync += closed.eq(1)
    run_before = past(m, dut.run, name="run_before")
    quiet_1 = past(m, quiet, name="quiet_1")
    halted = past(m, dut.halt, name="halt_before")
    began = Signal()                        # there was a cycle since the reset
    m.d.sync += began.eq(1)
    m.d.comb += [
        Assert(dut.run + dut.stopped + dut.clearing == Const(1, 2), "exactly one"),
        Assert((dut.run == runs) & (dut.stopped == stops) & (dut.clearing == clears)),
        Assert(dut.cause == cause, "the first error's cause, until a clear"),
        Assert(dut.at_strip == at_strip, "the first error's place"),
        Assert((dut.raised == raised) & (dut.close == close)),
        Assert(implies(dut.stopped & ~clears, dut.cause != 0), "no stop without a cause"),
        Assert(implies(dut.close, ~dut.run & run_before & ~closed), "one close in a stop"),
        Assert(implies(dut.raised, dut.stopped & dut.close)),
        Assert(implies(began & run_before & ~dut.run, halted & dut.halt), "halt comes first"),
        Assert(implies(began & ~run_before, dut.halt), "and goes last"),
        Assert(implies(began & ~run_before & dut.run, quiet_1), "nothing is under way"),
    ]
    return SimpleNamespace(**{name: value for name, value in locals().items()
                              if isinstance(value, Value)})


def design():
    m = Module()
    dut = Fault()
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    for name in SOURCES:
        m.d.comb += getattr(dut, name).eq(free(m, 8, name=f"{name}_error"))
    for name in ("strip", "drop", "clear", "results_open", "results_idle", "inputs_started"):
        port = getattr(dut, name)
        m.d.comb += port.eq(free(m, len(port), name=f"{name}_free"))
    seen = contract(m, dut)
    run_2 = past(m, seen.run_before, name="run_2")
    m.d.comb += [
        # What holds between the cycles.
        Assert(seen.error_1 == inside.any_told), Assert(seen.error_2 == inside.is_found),
        Assert(seen.clear_1 == inside.clear), Assert(seen.clear_2 == inside.clear_q),
        Assert(inside.quiet == seen.quiet),
        Assert(implies(dut.run, seen.pending == (seen.error_1 | seen.error_2))),
        Assert(implies(seen.clears,
                       inside.settled == ((1 << seen.age) - 1)[:len(inside.settled)])),
        Assert(implies(seen.error_1, seen.run_before)), Assert(implies(seen.error_2, run_2)),
        Assert(implies(seen.age >= 1, ~seen.run_before)), Assert(implies(seen.age >= 2, ~run_2)),
        Assert(implies(seen.age != 0, seen.clears)),
        Assert(implies(seen.clears, (~seen.error_2 | (seen.age <= 1))
                       & (~seen.error_1 | (seen.age == 0)))),
        Assert(implies(dut.run & seen.error_1 & ~seen.error_2, (inside.first == seen.first_code)
                       & (inside.strip == seen.first_strip))),
        Assert(implies(dut.run & seen.error_2, (inside.found == seen.first_code)
                       & (inside.strip == seen.first_strip) & (seen.first_code != 0))),
        Assert(implies(seen.error_1, inside.first != 0)),
        *(Assert(implies(told, value != 0)) for told, value in
          zip(inside.told, inside.codes, strict=True)),
        Assert(implies(seen.stops, seen.cause != 0)), Assert(implies(seen.runs, seen.cause == 0)),
        Assert(implies(~seen.run_before & dut.run & seen.began, seen.clears == 0)),
        Assert(implies(dut.halt, ~dut.run | ~seen.run_before | seen.error_1 | seen.error_2
                       | seen.clear_1 | seen.clear_2)),
        Assert(implies((seen.error_2 | seen.clear_2) & seen.began, dut.halt)),
        Assert(implies(seen.error_1 | seen.error_2, seen.began)),
    ]
    m.d.comb += [
        Cover(Cat(dut.stopped, seen.clear_2).all() & (dut.cause == 7) & (dut.at_strip == 9)),
        Cover(dut.clearing & dut.close)]
    again = Signal()
    with m.If(dut.stopped & ~seen.run_before):
        m.d.sync += again.eq(1)
    m.d.comb += Cover(again & dut.run & ~dut.halt)
    return m


PROOFS = [Proof(
    name="fault",
    claim="Exactly one of run, stopped and clearing; an error of a running unit stops it, NOTICE "
          "cycles later, with the first one's cause and place, which stay until a clear; each stop "
          "asks for one closing beat at most; halt is up a cycle before the unit stops and until "
          "the cycle after it runs again; that is as soon as nothing is under way, and not before.",
    at="as in every build",
    design=design, depth=3, cover_depth=16,
    bugs=(
        Bug(what="of errors in successive cycles the last one's place is kept", file="fault.py",
            old="with m.If(~any_told):", new="with m.If(1):"),
        Bug(what="halt comes with the stop", file="fault.py",
            old="self.halt.eq(~self.run | any_told | is_found | clear | clear_q)",
            new="self.halt.eq(~self.run | is_found | clear_q)"),
        Bug(what="the doors are not waited for", file="fault.py",
            old="leave.eq(self.clearing & settled[-1] & quiet)",
            new="leave.eq(self.clearing & settled[-2] & quiet)"),
    ))]
