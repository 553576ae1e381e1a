"""A link of the drain chain: each sum waits unchanged until it is shown."""
from functools import partial

from amaranth.hdl import Module, Signal, Value

from sparseloom.hw.drain_link import LINK_SUMS, DrainLink, Take
from tests.formal.parts import Assert, Assume, Cover, Opened, free, implies
from tests.formal.proof import Bug, Proof


def contract(m, dut, *, sums, end):
    """What is shown, from what came; nothing is said of a sum that never came.

    Returns
    -------
    waiting : list of (Value, Value)
        Sum and whether it came, of each column but the first.
    shown : (Value, Value)
    """
    seen = Value.cast(dut.shown).as_unsigned()
    shape = len(seen)
    totals = [Value.cast(dut.totals).word_select(column, shape) for column in range(sums)]

    def kept(name, when, value, there):
        register, came = Signal(shape, name=name), Signal(name=f"{name}_came")
        with m.If(when):
            m.d.sync += [register.eq(value), came.eq(there)]
        return register, came

    waiting = [kept(f"column_{column}", Value.cast(dut.capture)[column], totals[column], 1)
               for column in range(1, sums)]
    own = zip((Take.FIRST, Take.SECOND, Take.THIRD), [(totals[0], 1), *waiting], strict=False)
    sources: dict[Take, tuple[Value, Value | int]] = dict(own)
    if not end:
        sources[Take.RIGHT] = (Value.cast(dut.right).as_unsigned(), 1)
    value, there = Signal(shape), Signal()
    if len(sources) == 1:                   # there is no choice, nor a port for it
        m.d.comb += [value.eq(totals[0]), there.eq(1)]
    else:
        take = Value.cast(dut.take)
        m.d.comb += Assume(sum(take == code for code in sources) == 1)
        with m.Switch(take):
            for code, (source, came) in sources.items():
                with m.Case(code):
                    m.d.comb += [value.eq(source), there.eq(came)]
    shown = kept("latest", dut.move, value, there)
    m.d.comb += Assert(implies(shown[1], seen == shown[0]), "the sum that was taken last")
    return waiting, shown


def design(sums, end):
    m = Module()
    dut = DrainLink(sums=sums, sum_bits=3, end=end)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    m.d.comb += [Value.cast(dut.totals).eq(free(m, 3 * sums, name="totals")),
                 dut.capture.eq(free(m, sums, name="capture")), dut.move.eq(free(m, name="move")),
                 Value.cast(dut.take).eq(free(m, 2, name="take")),
                 dut.right.eq(free(m, 3, name="right"))]
    waiting, (latest, came) = contract(m, dut, sums=sums, end=end)
    for column, (value, there) in enumerate(waiting, start=1):
        m.d.comb += Assert(implies(there, opened.signal(f"waiting_{column}").as_unsigned()
                                   == value))
    m.d.comb += Cover(came & (latest == 5) & ~dut.move)
    return m


PROOFS = [Proof(
    name=f"drain_link_{sums}{'_end' if end else ''}",
    claim="What is shown is the sum that was taken last: the first column's as it is, another's as "
          "it was when it was captured last, or what the next link showed.",
    at=f"{sums} sums of 3 bits{', the last link' if end else ''}",
    given="The choice is one that there is.",
    design=partial(design, sums, end), depth=2, cover_depth=6, bugs=bugs)
    for sums, end, bugs in (
        (LINK_SUMS, False, (
            Bug(what="a sum that waits follows the cell's", file="drain_link.py",
                old="with m.If(self.capture[column]):", new="with m.If(self.capture.any()):"),
            Bug(what="the third sum is taken for the second", file="drain_link.py",
                old="return Mux(high, Mux(low, third, right), Mux(low, second, total))",
                new="return Mux(high, Mux(low, third, right), Mux(low, third, total))"))),
        (LINK_SUMS - 1, True, (
            Bug(what="what is shown changes without a move", file="drain_link.py",
                old="with m.If(self.move):", new="with m.If(self.move | self.capture[0]):"),)),
    )]
