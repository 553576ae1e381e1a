"""Registers in the way of a stream lose, repeat and change nothing."""
from amaranth.hdl import Module

from sparseloom.hw.stream_break import StreamBreak
from tests.formal.parts import Assert, Cover, Opened, Reference, free, implies, keeps_rules
from tests.formal.proof import Bug, Proof

SHAPE = 4


def design():
    m = Module()
    dut = StreamBreak(SHAPE)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    m.d.comb += [dut.i.valid.eq(free(m, name="i_valid")),
                 dut.i.payload.eq(free(m, SHAPE, name="i_payload")),
                 dut.o.ready.eq(free(m, name="o_ready"))]
    pops = dut.o.valid & dut.o.ready
    held = Reference(m, SHAPE, 2, push=dut.i.valid & dut.i.ready, value=dut.i.payload, pop=pops)
    keeps_rules(m, dut.o, name="o")
    m.d.comb += [
        Assert(implies(dut.o.valid, dut.o.payload == held.head), "in order, unchanged"),
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
