"""The unit goes on: while a job is there, something of what is left to do is done every few cycles.

Work that is left: strips and halves to load, tiles to walk, columns to issue, sums and words and
beats on their way out, jobs to retire. It is a number, each step makes it smaller, and a unit that
takes a step every so many cycles ends each job. What the data are does not matter to that, and is
cut free: sums, the registers' bus, words in memories. What holds between the cycles stands in
``tests/formal/unit_between.py``.
"""
from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, ResetSignal, Signal, Value
from amaranth.lib import data

from sparseloom.hw import memory, unit
from sparseloom.hw.config import ArrayConfig
from tests.formal.memory import RegisterMemory
from tests.formal.parts import Assert, Assume, Cover, Opened, free, implies, rigid
from tests.formal.proof import Bug, Proof
from tests.formal.proofs.strip_loader import anything
from tests.formal.unit_between import Between, total

CONFIG = ArrayConfig(rows=2, cols=2, max_k=4, act_words=8, bus_bits=32, queue_depth=2,
                     block_inputs=8)
AT = (f"2 x 2, 2 lanes, max_k 4, 8 activation words, beats of 32 bits, {CONFIG.queue_depth} jobs, "
      "K, N and M up to 7: up to four strips and four groups a job, and four columns a strip")
GIVEN = (
    "Results are taken in one of two cycles in a row at least. Data are cut free, and the "
    "registers' bus: pushes, errors and clears come at any time; all jobs are raw, or none is. In "
    "the place of the loaders is what strip_loader_banks and act_loader prove of them: a strip or "
    "a half is loaded at any time while there is a job and a place for it. That they go on in "
    "their turn is proved of each alone: act_loader_goes_on, strip_loader_goes_on. No reset, no "
    "tables.")
WITHIN = 16
"""Cycles in a row without a step, at most."""

STALL = 1
"""Cycles in a row in which results are not taken, at most."""


class AnyWords(RegisterMemory):
    """A memory that gives out any words."""

    def elaborate(self, platform):
        m = Module()
        for number, read in enumerate(self.reads):
            m.d.comb += Value.cast(read.data).eq(free(m, self._width, name=f"word_{number}"))
        return m


class AnyRegisters(unit.AxiLiteRegisters):
    """Jobs pushed at any time: K, N and M up to 7, all raw or none, no table; and clears."""

    def elaborate(self, platform):
        m = Module()
        pushed = Signal(name="pushed")
        m.d.sync += pushed.eq(self.job_push.strobe)
        for register, field in ((self.job_shape, "inputs"), (self.job_shape, "outputs"),
                                (self.job_tokens, "tokens")):
            kept, value = Signal(3, name=f"kept_{field}"), getattr(register, field)
            m.d.comb += value.eq(Mux(pushed, kept, free(m, 3, name=f"any_{field}")))
            m.d.sync += kept.eq(value)
        self.raw = rigid(m, name="raw")
        m.d.comb += [
            self.job_config.raw.eq(self.raw), self.job_push.strobe.eq(free(m, name="push")),
            self.control.strobe.eq(free(m, name="clear")), self.control.clear.eq(1),
        ]
        return m


class AnyLoader:
    """Loads at any time what a job has, into a free one of two places, or finds it wrong."""

    def loads(self, m, parts_left):
        """``can`` load, and ``done``: a part is loaded. ``parts_left`` tells of those behind it."""
        self.can, self.done = Signal(), Signal()
        loaded, waiting, told = Signal(range(3)), Signal(range(3)), Signal()
        self.loaded, self.waiting, self.told = loaded, waiting, told
        m.d.comb += [
            self.can.eq(self.stage.valid & (loaded != 2)),
            self.done.eq(self.can & free(m, name="loads")),
            self.stage.next.eq(self.done & ~parts_left),
            self.i.ready.eq(self.can & free(m, name="takes")),
            self.error.eq(self.can & free(m, name="finds_wrong")),
            self.ready.eq(waiting != 0),
        ]
        m.d.sync += [told.eq(self.done), loaded.eq(loaded + self.done - self.release),
                     waiting.eq(waiting + told - self.take)]


class AnyStripLoader(AnyLoader, unit.StripLoader):
    """What strip_loader_banks proves, and a strip for each ``cols`` outputs."""

    def elaborate(self, platform):
        m = Module()
        left, begun = Signal(16), Signal()
        outputs = Signal(16)
        self.left, self.begun = left, begun
        m.d.comb += outputs.eq(Mux(begun, left, self.stage.job.outputs))
        self.loads(m, outputs > self.cols)
        lengths, last, oldest = [Signal(self.length.shape(), name=f"length_{bank}")
                                 for bank in range(2)], Signal(), Signal()
        self.lengths, self.last, self.oldest = lengths, last, oldest
        with m.If(self.done):
            m.d.sync += [left.eq(outputs - self.cols), begun.eq(outputs > self.cols)]
        length = free(m, len(self.length), name="columns")
        m.d.comb += [Assume((length >= 1) & (length <= self.max_k)),
                     self.length.eq(Mux(oldest, *reversed(lengths)))]
        for bank, register in enumerate(lengths):
            with m.If(self.done & (last == bank)):
                m.d.sync += register.eq(length)
        m.d.sync += [last.eq(last ^ self.done), oldest.eq(oldest ^ self.take)]
        return m


class AnyActLoader(AnyLoader, unit.ActLoader):
    """What act_loader proves: a half for each job."""

    def elaborate(self, platform):
        m = Module()
        self.loads(m, Const(0, 1))
        return m


def cut_data():
    """Leave of the unit what decides when something moves."""
    for name in ("Array", "Counters"):
        setattr(unit, name, anything(getattr(unit, name)))
    for name, part in (("AxiLiteRegisters", AnyRegisters), ("StripLoader", AnyStripLoader),
                       ("ActLoader", AnyActLoader)):
        setattr(unit, name, part)
    registers = memory.inferred_memory

    def inferred_memory(*, shape, depth, distributed=False):
        flow = isinstance(shape, data.Layout) and "last" in dict(shape)
        return registers(shape=shape, depth=depth) if flow else AnyWords(shape, max(2, depth))

    setattr(memory, "inferred_memory", inferred_memory)     # noqa: B010 (its type is another)


def surroundings(m):
    """Put the unit, without its data, between any surroundings.

    Returns
    -------
    dut : Unit
    opened : Opened
    stalled : Signal
        Cycles in which results were not taken, up to now.
    steps : list of Value
        Each is a step of the work that is left.
    """
    cut_data()
    dut = unit.Unit(CONFIG)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside, results = opened[dut], dut.results
    m.d.comb += [Assume(~ResetSignal()), dut.reset.eq(0)]
    for name in ("weights", "acts"):
        port = getattr(dut, name)
        m.d.comb += port.valid.eq(free(m, name=f"{name}_valid"))
        m.d.comb += Value.cast(port.payload).eq(
            free(m, len(Value.cast(port.payload)), name=f"{name}_beat"))
    ready, stalled = results.ready, Signal(range(STALL + 1), name="stalled")
    m.d.comb += [ready.eq(free(m, name="results_ready")), Assume(ready | (stalled != STALL))]
    m.d.sync += stalled.eq(Mux(ready, 0, stalled + 1))
    steps = [~opened[inside.issue].idle, inside.drain.valid, inside.post.o.valid,
             opened[opened[inside.result_port].pack].takes, results.valid & results.ready,
             inside.offered]
    return dut, opened, stalled, steps


def design(between=True):
    m = Module()
    dut, opened, stalled, steps = surroundings(m)
    inside = opened[dut]
    queue, fault = inside.queue, inside.fault
    turns = [opened[queue].checking, inside.strip_loader.can, inside.act_loader.can]
    due, moved = Signal(), Signal()
    waited = Signal(range(2 * WITHIN))      # cycles in a row without a step, before this one
    m.d.comb += [
        due.eq(fault.run & ~fault.halt & ~inside.dropping & (queue.outstanding != 0)),
        moved.eq(Cat(steps, turns).any()),
        Assert(waited <= WITHIN, "work is done in time"), Cover(inside.result_port.finished),
    ]
    m.d.sync += waited.eq(Mux(due & ~moved, waited + 1, 0))
    if between:
        held = Between(m, dut, opened, inside.registers.raw)
        m.d.comb += Assert(implies(due, waited + held.within(stalled, STALL) <= WITHIN))
    return m


def work_design(said=Assume):
    """``said`` is what becomes of what ``unit_goes_on`` proves."""
    m = Module()
    dut, opened, _, steps = surroundings(m)
    inside = opened[dut]
    between = Between(m, dut, opened, inside.registers.raw, said)
    done = total([*steps, inside.strip_loader.done, inside.act_loader.done])
    counts, counted = Signal(), Signal()
    m.d.comb += counts.eq(~inside.fault.halt & ~inside.dropping & ~opened[inside.queue].accept)
    m.d.sync += counted.eq(counts)
    lost, won, empty = Const(0, 1), Const(0, 1), Const(1, 1)
    for name, (left, comes, goes, weight) in between.parts().items():
        now, after = Signal(8, name=f"{name}_left"), Signal(8, name=f"{name}_after")
        m.d.comb += now.eq(left)
        m.d.sync += after.eq(now + comes - goes)
        m.d.comb += [Assert(implies(counted, now == after), f"{name}: counted"),
                     Assert(implies(counts & goes, now + comes != 0))]
        lost, won, empty = lost + weight * goes, won + weight * comes, empty & (now == 0)
    ended = Signal()
    with m.If(inside.result_port.finished):
        m.d.sync += ended.eq(1)
    m.d.comb += [Assert(implies(counts, won + done <= lost), "each step leaves less"),
                 Cover(ended & empty)]
    return m


PROOFS = [Proof(
    name="unit_goes_on",
    claim=f"While the unit runs and a job is outstanding, no more than {WITHIN} cycles in a row "
          "pass without a step of the work that is left, or a turn of others: a column is issued, "
          "sums leave the drain or the post-processing, a word is taken into a beat, a beat "
          "leaves, a job's last beat is offered; or a descriptor is checked, or a loader has a job "
          "and a free place for it. Of all that is under way the nearest says how many cycles are "
          "left until then, and that number falls in every cycle without a step.",
    at=AT, given=GIVEN,
    design=design, depth=1, cover_depth=76,
    bare=partial(design, between=False), search="abc bmc3",
    bugs=(
        Bug(what="a strip bank is never released", file="unit.py",
            old="strip_loader.release.eq(issue.strip_release),", new=""),
        Bug(what="the words behind a job's last one are never let through", file="result_port.py",
            old="pack.ended.eq(self.offered),", new="pack.ended.eq(0),"),
    )), Proof(
    name="unit_work_ends",
    claim="The work left of the jobs accepted is a number that each step makes smaller by one at "
          "least, and that nothing makes larger but a job accepted: strips and activations to "
          "load, tiles to walk, columns to issue, words on their way, beats, jobs to retire. With "
          "unit_goes_on each job comes to its end, as long as the loaders use their turns and "
          "nothing stops the unit.",
    at=AT, given=f"What unit_goes_on proves to hold between the cycles. {GIVEN}",
    design=work_design, depth=1, cover_depth=72,
    bare=partial(work_design, said=lambda claim: []), search="abc bmc3",
    bugs=(
        Bug(what="a strip's token groups are not counted", file="tile_walk.py",
            old="m.d.sync += [groups_left.eq(groups_left - 1), base.eq(next_base)]",
            new="m.d.sync += base.eq(next_base)"),
        Bug(what="a tile of two columns does not end behind them", file="issue.py",
            old="two.eq(tile.columns == 2)", new="two.eq(0)"),
    ))]
