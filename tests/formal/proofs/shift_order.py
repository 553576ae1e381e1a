"""The order in which the links of a drain chain show their sums, and let the next one's pass."""
from functools import partial

from amaranth.hdl import Module, Mux, Signal, Value

from sparseloom.hw.drain_link import Take
from sparseloom.hw.shift_order import ShiftOrder
from tests.formal.parts import Assert, Assume, Cover, Opened, free, past
from tests.formal.proof import Bug, Proof

OWN = (Take.SECOND, Take.THIRD)
"""What a link takes of its own, in this order; the first sum is there from the start."""


def contract(m, dut, *, links, behind):
    """Moves and choices, from counts of the pulses that reached each link.

    Returns
    -------
    list of (Value, Value)
        For each link: its own sums given since the start of a tile, but the first; a pulse comes.
    """
    moves, takes = Value.cast(dut.move), Value.cast(dut.take)
    start, shift = Value.cast(dut.start), Value.cast(dut.shift)
    before = past(m, shift, name="shifted")
    m.d.comb += [Assume(~(start & shift)), Assume(~(before & shift))]
    counts = []
    for number, sums in enumerate(links):
        given = Signal(range(max(sums, 2)), name=f"shown_of_{number}")
        own, end = given < sums - 1, number == len(links) - 1
        move, take = Signal(name=f"wanted_{number}"), Signal(Take, name=f"choice_{number}")
        m.d.comb += [
            move.eq(shift & (own | (not end))),
            take.eq(Mux(own, Mux(given == 0, OWN[0], OWN[1]), Take.RIGHT)),
            Assert(moves[number] == move, "a link moves while it or one behind has a sum to show"),
            Assert(takes[2 * number:2 * number + 2]
                   == Mux(move, Value.cast(take), Take.FIRST.value),
                   "its own sums, in order, then the next link's"),
        ]
        with m.If(start):
            m.d.sync += given.eq(0)
        with m.Elif(shift & own):
            m.d.sync += given.eq(given + 1)
        counts.append((given, shift))
        if end:
            return counts
        shift = shift & ~own
        if behind[number + 1]:
            start = past(m, start, name=f"start_behind_{number}")
            shift = past(m, shift, name=f"shift_behind_{number}")
    raise ValueError("links: expected at least one")


def design(links, behind):
    m = Module()
    dut = ShiftOrder(links, behind)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    m.d.comb += [dut.start.eq(free(m, name="start")), dut.shift.eq(free(m, name="shift"))]
    counts = contract(m, dut, links=links, behind=behind)
    for number, (given, _) in enumerate(counts):
        if links[number] > 1:
            m.d.comb += Assert(opened.signal(f"given_{number}") == 1 << given)
    for number in range(len(links) - 1):
        if behind[number + 1]:
            m.d.comb += [
                Assert(opened.signal(f"passed_{number}") == counts[number + 1][1])]
    begun = Signal()
    with m.If(dut.start):
        m.d.sync += begun.eq(1)
    m.d.comb += Cover(begun & counts[-1][1] & (counts[-1][0] == max(0, links[-1] - 2)))
    return m


PROOFS = [Proof(
    name=f"shift_order_{'_'.join(map(str, links))}",
    claim="With the pulses of a tile each link shows its own sums in order, then lets the next "
          "link's pass; a link that moves behind the one before does all of it as many cycles "
          "later; where nothing is left to show the last one does not move.",
    at=f"links of {', '.join(map(str, links))} sums, {', '.join(map(str, behind))} cycles behind",
    given="No pulse in the cycle of a start; two pulses are two cycles apart at least.",
    design=partial(design, links, behind), depth=3, cover_depth=16, bugs=bugs)
    for links, behind, bugs in (
        ((3, 2), (0, 1), (
            Bug(what="the links behind do not begin anew with a tile", file="shift_order.py",
                old="start, shift = started, passed", new="shift = passed"),
            Bug(what="a link goes on behind its last sum", file="shift_order.py",
                old="moves = shift & given[:len(takes)].any()", new="moves = shift"))),
        ((3, 3, 2), (0, 0, 1), (
            Bug(what="the next link moves with every pulse", file="shift_order.py",
                old="shift = shift & given[-1]\n", new="shift = shift\n"),)),
    )]
