"""Two places in the way of a stream lose, repeat and change nothing."""
from amaranth.hdl import Module, Mux

from sparseloom.hw.stream_places import StreamPlaces
from tests.formal.parts import Assert, Cover, implies, passed_on
from tests.formal.proof import Bug, Proof

SHAPE = 4


def design():
    m = Module()
    dut = StreamPlaces(SHAPE)
    inside, held, pops = passed_on(m, dut, SHAPE, 2)
    m.d.comb += [
        Assert(held.count == dut.o.valid + inside.both),
        Assert(implies(inside.both, dut.o.valid)),
        Assert((inside.filled_next == inside.empty_next) == (inside.both | ~dut.o.valid)),
        Assert(implies(inside.both, Mux(inside.empty_next, *inside.places) == held[1])),
        Cover(held.full & pops & (held[0] != held[1])),
    ]
    return m


PROOFS = [Proof(
    name="stream_places",
    claim="Stream rules at the output; every payload comes out once, in order, unchanged; two "
          "places are never overfilled.",
    at="payload of 4 bits",
    design=design, depth=2, cover_depth=8,
    bugs=(
        Bug(what="a place is written while both are filled", file="stream_places.py",
            old="self.i.valid & ~both &", new="self.i.valid &"),
        Bug(what="a take does not turn to the other place", file="stream_places.py",
            old="empty_next.eq(empty_next ^ pop)", new="empty_next.eq(empty_next ^ (pop & both))"),
    ))]
