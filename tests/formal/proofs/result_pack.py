"""Results packed into beats: every byte once, in order, job by job.

The queue of words is cut free, within what ``block_fifo`` proves of it; the bodies for words that
are a whole part of a beat, or whole beats.
"""
from functools import partial
from types import SimpleNamespace
from unittest.mock import patch

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import wiring

from sparseloom.hw import result_port
from sparseloom.hw.block_fifo import BlockFifo
from sparseloom.hw.result_port import ResultPack
from tests.formal.parts import (
    Assert,
    Assume,
    Cover,
    Opened,
    free,
    implies,
    keeps_rules,
    ones,
    past,
)
from tests.formal.proof import Bug, Proof


class AnyFifo(wiring.Component):
    """The ports of :class:`BlockFifo`, and words out of nowhere."""

    LATENCY = BlockFifo.LATENCY

    def __init__(self, *, shape, depth, target="generic", ahead=False):
        assert ahead
        super().__init__(dict(BlockFifo(shape=shape, depth=depth).signature.members.items()))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(free(m, name="valid")),
                     self.o.payload.eq(free(m, self.o.payload.shape(), name="payload"))]
        return m


def design(lanes, bus_bits):
    m = Module()
    dut = ResultPack(lanes=lanes, bus_bits=bus_bits, room_words=4)
    with patch.object(result_port, "BlockFifo", AnyFifo):
        opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    bus_bytes = bus_bits // 8
    groups, parts = inside.groups, inside.parts
    popped, word = inside.fifo.o, inside.fifo.o.payload
    takes, part, at, full = inside.takes, inside.part, inside.at, inside.full
    m.d.comb += [dut.raw.eq(free(m, name="raw")), dut.room.eq(free(m, name="room")),
                 dut.ended.eq(free(m, name="ended"))]

    # What the parts around it keep to.
    going = inside.may_go       # what the queue was told a cycle ago
    keeps_rules(m, SimpleNamespace(valid=popped.valid, ready=going, payload=popped.payload),
                name="word", assumed=True)
    was_there, left = past(m, popped.valid, name="was_there"), Signal()
    in_job, job_raw = Signal(), Signal()
    m.d.sync += left.eq(popped.valid & going)
    with m.If(popped.valid & going):
        m.d.sync += [in_job.eq(~word.last), job_raw.eq(word.raw)]
    raw_before = past(m, inside.raw_in, name="raw_before", reset_less=True)
    ending, pause = Signal(), Signal(range(3))     # a job's last beat came; cycles since it ended
    with m.If(dut.o.valid & dut.o.p.last):
        m.d.sync += ending.eq(1)
    with m.Elif(dut.ended):
        m.d.sync += ending.eq(0)
    with m.If(dut.ended):
        m.d.sync += pause.eq(2)
    with m.Elif(pause != 0):
        m.d.sync += pause.eq(pause - 1)
    age = Signal(range(BlockFifo.LATENCY + 1))      # cycles since a reset
    with m.If(age != BlockFifo.LATENCY):
        m.d.sync += age.eq(age + 1)
    m.d.comb += [
        Assume(implies(popped.valid, age == BlockFifo.LATENCY)),
        Assume(implies(popped.valid & in_job, word.raw == job_raw)),
        Assume(implies(popped.valid & ~was_there, word.raw == raw_before)),
        Assume(implies(dut.ended, ending)),
    ]

    # Bytes that came to the queue's output and did not leave, and which of them end a job.
    places = 4 * lanes + 2 * bus_bytes
    bytes_, ends = Signal(8 * places), Signal(places)
    count = Signal(range(places + 1))
    comes, size = Signal(), Signal(range(4 * lanes + 1))
    low = Cat(word.words[lane][:8] for lane in range(lanes))
    all_bytes, all_ends = Signal.like(bytes_), Signal.like(ends)
    all_count, gone = Signal.like(count), Signal(range(bus_bytes + 1))
    m.d.comb += [
        comes.eq(popped.valid & (~was_there | left)),
        size.eq(Mux(word.raw, 4 * lanes, lanes)),
        all_bytes.eq(bytes_ | (Mux(comes, Mux(word.raw, word.words.as_value(), low), 0)
                               << (count << 3))),
        all_ends.eq(ends | ((comes & word.last) << (count + size)[:len(count)] >> 1)),
        all_count.eq(count + Mux(comes, size, 0)),
        gone.eq(Mux(dut.o.valid, ones(dut.o.p.keep), 0)),
    ]
    m.d.sync += [bytes_.eq(all_bytes >> (gone << 3)), ends.eq(all_ends >> gone),
                 count.eq(all_count - gone)]

    may_come = Signal(range(ResultPack.STILL_COME + 1), init=ResultPack.STILL_COME)
    with m.If(dut.room):
        m.d.sync += may_come.eq(ResultPack.STILL_COME)
    with m.Elif(dut.o.valid):
        m.d.sync += may_come.eq(may_come - 1)
    keep = dut.o.p.keep
    with m.If(dut.o.valid):
        m.d.comb += [
            Assert(all_count >= gone, "no byte that never came"), Assert(keep[0]),
            Assert(dut.o.p.last | keep.all(), "no gap before the end"),
            Assert(~dut.o.p.user),
            Assert(dut.room | (may_come != 0), "STILL_COME beats at most"),
            Assert(~ending & (pause == 0), "jobs are apart"),
        ]
        for byte in range(bus_bytes):
            m.d.comb += [
                Assert(implies(keep[byte], dut.o.p.data.word_select(byte, 8)
                               == all_bytes.word_select(byte, 8)), "in order, unchanged"),
                Assert(implies(keep[byte], all_ends[byte] == (dut.o.p.last & (gone == byte + 1))),
                       "of one job, to its end"),
            ]
            if byte:
                m.d.comb += Assert(implies(keep[byte], keep[byte - 1]), "no gap")
    begins = past(m, takes & (~word.raw | (part == 0)), name="begins")
    m.d.comb += Assert(dut.returned == begins, "room is told once for each word")

    # What holds between the cycles.
    held, rest = Signal.like(count), Signal(range(4 * lanes + 1))
    m.d.comb += [
        Assert(ones(at) == 1), Assert(implies(full, at[0])),
        held.eq(gone + sum(Mux(at[group], group * lanes, 0) for group in range(groups))),
        rest.eq(Mux(popped.valid, Mux(word.raw, 4 * lanes - part * bus_bytes, lanes), 0)),
        Assert(all_count == held + rest),
        Assert((bytes_ >> (count << 3)) == 0), Assert((ends >> count) == 0),
        Assert(implies(part != 0, popped.valid & word.raw & was_there & ~left)),
        Assert(implies(part != 0, inside.raw)), Assert(implies(~at[0], in_job & ~job_raw)),
        Assert(inside.last_part == (part == parts - 1)),
        Assert(implies(popped.valid & (in_job | ~left), inside.raw == word.raw)),
        Assert(inside.raw == inside.raw_enable),
        Assert(implies(left & ~in_job, inside.ending & ~inside.may & ~inside.may_go)),
        Assert(going == past(m, popped.ready, name="told")),
        Assert(going == (inside.may & (~inside.raw | inside.last_part))),
        Assert(implies(inside.may, past(m, dut.room, name="had_room"))),
        Assert(implies(inside.ending, ~in_job)),
        Assert(implies(full & inside.last, inside.ending)),
        Assert(implies(inside.ending, ~inside.may)),
        Assert(implies(inside.ending, ending | (full & inside.last))),
        Assert(implies(ending, inside.ending)),
    ]
    beat_bytes = inside.beat.as_value()
    for group in range(1, groups):
        with m.If(at[group]):
            m.d.comb += [Assert(all_bytes[:8 * lanes * group] == beat_bytes[:8 * lanes * group]),
                         Assert(all_ends[:lanes * group] == 0)]
    unsent = Mux(word.raw, word.words.as_value() >> (part * bus_bits), low)
    m.d.comb += [
        Assert(all_bytes >> (held << 3) == Mux(popped.valid, unsent, 0)),
        Assert(all_ends >> held == Mux(popped.valid & word.last, 1 << rest >> 1, 0)),
    ]
    ended_one = Signal()
    with m.If(dut.o.valid & dut.o.p.last & ~keep[-1] if groups > 1 else
              dut.o.valid & dut.o.p.last):
        m.d.sync += ended_one.eq(1)
    m.d.comb += Cover(ended_one & dut.o.valid & dut.o.p.last & word.raw & (may_come == 1))
    return m


PROOFS = [Proof(
    name=f"result_pack_{lanes}_{bus_bits}",
    claim="Bytes of int8 results, or all of raw ones, leave once, in order, unchanged, without "
          "gaps; the last beat of a job and no other is told and may be short; STILL_COME beats at "
          "most come from the fall of room on; the next job's come 3 cycles behind the end of the "
          "one before; the room of each word is told once, when it begins to leave.",
    at=f"{lanes} lane{'s' * (lanes > 1)}, {bus_bits} bits",
    given="Words come as BlockFifo gives them (proof block_fifo). All words of a job are raw, or "
          "none is. The end of a job is told after its last beat came.",
    design=partial(design, lanes, bus_bits), depth=3, cover_depth=14,
    bugs=bugs)
    for lanes, bus_bits, bugs in (
        (1, 16, (
            Bug(what="a job's last beat is sent only when it is full", file="result_port.py",
                old="fills.eq(raw | popped.payload.last | at[-1])",
                new="fills.eq(raw | at[-1])"),
            Bug(what="a raw word leaves with its first beat", file="result_port.py",
                old="(~Mux(popped.valid, raw, raw_in) | last_part_next)", new="1"))),
        (4, 64, (
            Bug(what="TLAST is told with each beat of a job's last raw word",
                file="result_port.py", old="last.eq(popped.payload.last & (~raw | last_part))",
                new="last.eq(popped.payload.last)"),)),
    )]
