"""Registers in the way of a stream lose, repeat and change nothing."""
from amaranth.hdl import Module

from sparseloom.hw.stream_break import StreamBreak
from tests.formal.parts import Assert, Cover, implies, passed_on
from tests.formal.proof import Bug, Proof

SHAPE = 4


def design():
    m = Module()
    dut = StreamBreak(SHAPE)
    inside, held, pops = passed_on(m, dut, SHAPE, 2)
    m.d.comb += [
        Assert(held.count == dut.o.valid + inside.has_spare),
        Assert(implies(inside.has_spare, dut.o.valid & (inside.spare == held[1]))),
        Cover(held.full & pops & (held[0] != held[1])),
    ]
    return m


PROOFS = [Proof(
    name="stream_break",
    claim="Stream rules at the output; every payload comes out once, in order, unchanged; two "
          "places are never overfilled.",
    at="payload of 4 bits",
    design=design, depth=2, cover_depth=8,
    bugs=(
        Bug(what="the spare payload is lost when the output moves", file="stream_break.py",
            old="self.o.valid.eq(self.i.valid | has_spare)", new="self.o.valid.eq(self.i.valid)"),
        Bug(what="the payload follows the input while it is offered", file="stream_break.py",
            old="m.d.sync += [spare.eq(self.i.payload), has_spare.eq(1)]",
            new="m.d.sync += [self.o.payload.eq(self.i.payload), has_spare.eq(1)]"),
    ))]
