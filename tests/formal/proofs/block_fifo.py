"""The queue in a memory: nothing lost, nothing overwritten, as long as its user counts."""
from functools import partial
from types import SimpleNamespace

from amaranth.hdl import Array, Cat, Module, Signal

from sparseloom.hw.block_fifo import BlockFifo
from tests.formal.parts import (
    Assert,
    Assume,
    Cover,
    Opened,
    Reference,
    free,
    implies,
    keeps_rules,
    past,
)
from tests.formal.proof import Bug, Proof

SHAPE = 3


def design(depth, ahead):
    m = Module()
    dut = BlockFifo(shape=SHAPE, depth=depth, ahead=ahead)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    memory = opened[inside.words]
    m.d.comb += [dut.i.valid.eq(free(m, name="i_valid")),
                 dut.i.payload.eq(free(m, SHAPE, name="i_payload")),
                 dut.o.ready.eq(free(m, name="o_ready"))]
    # With ``ahead`` it is told a cycle before the word leaves.
    ready = past(m, dut.o.ready, name="ready_before") if ahead else dut.o.ready
    pops = dut.o.valid & ready
    held = Reference(m, SHAPE, depth + 1, push=dut.i.valid, value=dut.i.payload, pop=pops)
    waiting = held.count - dut.o.valid
    m.d.comb += Assume(implies(dut.i.valid, waiting < depth))
    keeps_rules(m, SimpleNamespace(valid=dut.o.valid, ready=ready, payload=dut.o.payload), name="o")
    # What was written, up to LATENCY cycles ago.
    written, was_offered = Cat(dut.i.payload, dut.i.valid), Signal()
    m.d.sync += was_offered.eq(dut.o.valid)
    for stage in range(BlockFifo.LATENCY):
        written = past(m, written, name=f"written_{stage}")
    m.d.comb += Assert(implies(dut.o.valid & ~was_offered,
                               written == Cat(dut.o.payload, 1)), "no word waits for nothing")
    m.d.comb += [
        Assert(implies(dut.o.valid, dut.o.payload == held.head), "in order, unchanged"),
        Assert(implies(inside.read, inside.has_unread), "no underflow"),
        Assert(inside.unread <= depth, "no overflow"),
        # What holds between the cycles.
        Assert(implies(dut.o.valid, inside.free == ready)),
        Assert(held.count == dut.o.valid + inside.latched + inside.unread),
        Assert(inside.has_unread == (inside.unread != 0)),
        Assert(inside.write_at == (inside.read_at + inside.unread)[:len(inside.write_at)]),
        Assert(implies(inside.latched, memory.read.data == held[dut.o.valid])),
        Cover((waiting == depth) & pops & (held[0] != held[1])),
    ]
    for at in range(depth):
        place = (inside.read_at + at)[:len(inside.read_at)]
        word = Array(memory.words.words)[place]
        m.d.comb += Assert(implies(inside.unread > at,
                                   word == held[dut.o.valid + inside.latched + at]))
    return m


PROOFS = [Proof(
    name=f"block_fifo_{depth}{'_ahead' if ahead else ''}",
    claim="Stream rules at the output; every word comes out once, in order, unchanged; no word is "
          "overwritten before it was read, none is read before it was written; a "
          "word that none is offered before is offered LATENCY cycles after its write.",
    at=f"depth {depth}, words of {SHAPE} bits" + (", ready told a cycle ahead" if ahead else ""),
    given="A word is written only while fewer than depth words are written and not at the output.",
    design=partial(design, depth, ahead), depth=5, cover_depth=depth + 8,
    bugs=(
        Bug(what="the output register takes a word while it still offers one",
            file="block_fifo.py", old="words.advance[1].eq(free)",
            new="words.advance[1].eq(1)"),
        Bug(what="a write in the cycle of a read is not counted", file="block_fifo.py",
            old="with m.If(self.i.valid ^ read):", new="with m.If(self.i.valid | read):"),
    )) for depth, ahead in ((4, False), (5, False), (4, True))]
