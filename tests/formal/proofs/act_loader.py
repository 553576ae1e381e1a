"""Activations to their places: every word once, where it belongs, and nothing but whole jobs."""
from functools import partial

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw import act_loader
from sparseloom.hw.job_queue import CAUSES
from tests.formal.parts import (
    Assert,
    Assume,
    Cover,
    Opened,
    free,
    goes_on,
    implies,
    ones,
    past,
    times,
)
from tests.formal.proof import Bug, Proof

ROWS, COLS, MAX_K, ACT_WORDS, BUS_BYTES = 3, 2, 3, 6, 4
AT = (f"{ROWS} rows, {COLS} columns, max_k {MAX_K}, {ACT_WORDS} words, "
      f"beats of {BUS_BYTES} bytes")
WITHIN = 6
"""Cycles in a row without a step, at most, where that is proved."""

MANY = 40
"""Bytes of a packet that are counted: more than a job's, and than are taken while it loads."""


class AnyGearbox(wiring.Component):
    """What the proofs of the gearbox promise, and no more: words of the bytes taken, at any time.

    The bytes themselves are any: where a word goes does not depend on them.
    """

    IN_TIME = False
    """A word that it can take or give waits a cycle for it at most."""

    def __init__(self, in_bytes, out_bytes):
        self.in_bytes, self.out_bytes = in_bytes, out_bytes
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"data": 8 * in_bytes, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({
                "data": 8 * out_bytes, "count": range(out_bytes + 1), "last": 1}))),
            "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        level = Signal(range(self.in_bytes + 2 * self.out_bytes + 1))
        ending, offers = Signal(), free(m, name="gearbox_offers")
        takes = free(m, name="gearbox_ready")
        count = Mux(ending & (level < self.out_bytes), level, self.out_bytes)
        last = ending & (level <= self.out_bytes)
        comes = self.i.valid & self.i.ready
        m.d.comb += [
            self.i.ready.eq(takes & ~ending & (level <= 2 * self.out_bytes)),
            self.o.valid.eq(offers & (level >= count) & (level != 0)),
            self.o.p.data.eq(free(m, 8 * self.out_bytes, name="gearbox_data")),
            self.o.p.count.eq(count), self.o.p.last.eq(last), self.empty.eq(level == 0),
        ]
        leaves = Mux(self.o.valid & self.o.ready, count, 0)
        m.d.sync += level.eq(level - leaves + Mux(comes, self.in_bytes, 0))
        if self.IN_TIME:
            for name, can, does in (("offer", (level >= count) & (level != 0), offers),
                                    ("take", ~ending & (level < self.out_bytes), takes)):
                late = Signal(name=f"{name}_late")
                m.d.sync += late.eq(can & ~comes)
                m.d.comb += Assume(~can | does | ~late)
        with m.If(comes & self.i.p.last):
            m.d.sync += ending.eq(1)
        with m.Elif(self.o.valid & self.o.ready & last):
            m.d.sync += ending.eq(0)
        return m


class TimelyGearbox(AnyGearbox):
    """The same, which is not late either."""

    IN_TIME = True


def design(within=0):
    gearbox = TimelyGearbox if within else AnyGearbox
    act_loader.Gearbox = gearbox        # pyright: ignore[reportAttributeAccessIssue]
    m = Module()
    dut = act_loader.ActLoader(rows=ROWS, cols=COLS, max_k=MAX_K, act_words=ACT_WORDS,
                               bus_bits=8 * BUS_BYTES)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    gear = opened[inside.gearbox]
    beat, job, stage = dut.i.payload, dut.stage.job, dut.stage

    # The job at the front: it stays until it is done, and the next one comes later.
    k, groups = Signal(range(MAX_K + 1)), Signal(range(ACT_WORDS + 1))
    was_valid, was_next = past(m, stage.valid, name="was_valid"), past(m, stage.next,
                                                                       name="was_next")
    next_2 = past(m, was_next, name="next_2")
    m.d.sync += [k.eq(job.inputs), groups.eq(job.groups)]
    product = Signal(5)
    m.d.comb += [
        stage.valid.eq(free(m, name="stage_valid")), product.eq(times(job.inputs, job.groups)),
        job.as_value().eq(free(m, len(job.as_value()), name="job")),
        Assume(implies(stage.valid, (job.inputs >= 1) & (job.inputs <= MAX_K)
                       & (job.groups >= 1) & (job.groups <= ACT_WORDS)
                       & (product <= ACT_WORDS))),
        Assume(implies(was_valid & ~was_next, stage.valid & (job.inputs == k)
                       & (job.groups == groups))),
        Assume(implies(was_next | next_2, ~stage.valid)),
        dut.i.valid.eq(free(m, name="i_valid")),
        beat.as_value().eq(free(m, len(beat.as_value()), name="beat")),
        dut.take.eq(free(m, name="take")), dut.release.eq(free(m, name="release")),
    ]
    # Halves: loaded and not released; told as ready and not taken; taken and not released.
    announced = inside.announced
    full, ready, walked = (Signal(range(4), name=name) for name in ("full", "ready", "walked"))
    m.d.comb += [Assume(implies(dut.take, ready != 0)), Assume(implies(dut.release, walked != 0))]
    m.d.sync += [full.eq(full + stage.next - dut.release), ready.eq(ready + announced - dut.take),
                 walked.eq(walked + dut.take - dut.release)]

    # The packet: bytes that count, and what is wrong with it, if anything is.
    keep, taken = beat.keep, dut.i.valid & dut.i.ready
    got, over, short, gap, ended, some = (
        Signal(6, name="got"), Signal(name="too_late"),
        Signal(name="too_early"), Signal(name="gap"), Signal(name="packet_ended"),
        Signal(name="told_once"))
    now, total, due = Signal.like(got, name="got_now"), Signal(6), Signal(6)
    m.d.comb += [now.eq(got + ones(keep)), due.eq(times(k, groups)),
                 total.eq((due << 1) + due)]
    hole = Cat(keep[at] & ~keep[at - 1] for at in range(1, BUS_BYTES)).any() | ~keep[0] \
        | ~(keep.all() | beat.last)
    with m.If(inside.start):
        m.d.sync += [got.eq(0), over.eq(0), short.eq(0), gap.eq(0), ended.eq(0)]
    with m.Elif(taken):
        m.d.sync += [
            got.eq(Mux(now > MANY, got, now)), gap.eq(gap | hole),
            over.eq(over | Mux(beat.last, now > total, now >= total)),
            short.eq(short | (beat.last & (now < total))), ended.eq(beat.last),
        ]
    wrong = gap | over | short
    with m.If(dut.error != 0):
        m.d.sync += some.eq(1)

    # Words of the job: block of channels, group, channel.
    block, group, channel = Signal(3), Signal(3), Signal(2)
    base, words, open_ = Signal(4), Signal(range(ACT_WORDS + 2)), Signal()
    channels = Mux(k - block < COLS, (k - block)[:2], COLS)
    last_channel, last_group = channel + 1 == channels, group + 1 == groups
    last_block = block + COLS >= k
    last_word = last_channel & last_group & last_block
    with m.If(inside.start):
        m.d.sync += [block.eq(0), group.eq(0), channel.eq(0), base.eq(0), words.eq(0), open_.eq(1)]
    with m.Elif(dut.write.en):
        m.d.sync += [words.eq(words + 1), channel.eq(Mux(last_channel, 0, channel + 1))]
        with m.If(last_channel):
            m.d.sync += [group.eq(Mux(last_group, 0, group + 1)),
                         base.eq(Mux(last_group, 0, base + k))]
        with m.If(last_channel & last_group):
            m.d.sync += block.eq(block + COLS)
        with m.If(last_word):
            m.d.sync += open_.eq(0)
    half = Signal()
    m.d.sync += half.eq(half ^ stage.next)
    first_error = Mux(some, 0, dut.error)
    error_told = some | (dut.error != 0)
    m.d.comb += [
        Assert(implies(dut.write.en, open_ & stage.valid), "a word of the job at the front"),
        Assert(implies(dut.write.en, dut.write.addr == Cat((base + block + channel)[:3], half)),
               "each word where it belongs"),
        Assert(implies(dut.write.en, base + block + channel < ACT_WORDS)),
        Assert(implies(dut.write.en, full <= 1), "no half is written that may be read"),
        Assert(full <= 2), Assert(dut.ready == (ready != 0)), Assert(ready + walked <= full),
        Assert(implies(stage.next, stage.valid), "an end for a job"),
        Assert(implies(announced & ~error_told, ~wrong & ended & (words == due)
                       & (got == total)), "nothing but whole jobs"),
        Assert(implies(dut.error != 0, wrong), "no error without a mistake"),
        Assert(implies(first_error == CAUSES["acts_keep"], gap)),
        Assert(implies(first_error == CAUSES["acts_early_last"], gap | short)),
        Assert(implies(first_error == CAUSES["acts_late_last"], gap | over)),
        Assert(implies(taken & inside.idle, 0), "no beat without a job"),
    ]

    # What holds between the cycles: the stages of a job.
    idle, entering, loading = inside.idle, inside.entering, inside.loading
    first_step = past(m, entering, name="first_step")
    primed = ~idle & ~entering & ~first_step
    flushing, finished_q, word_en = inside.flushing, inside.finished_q, inside.word_en
    accepting = inside.accepting
    m.d.comb += [
        Assert(idle + loading + flushing + stage.next + finished_q == 1),
        Assert(implies(entering, loading)), Assert(implies(first_step, loading)),
        Assert(~(entering & first_step)), Assert(implies(idle, ~word_en & ~inside.step)),
        Assert(inside.step == (word_en | first_step)),
        Assert(implies(word_en, loading & primed)), Assert(open_ == (loading)),
        Assert(implies(~idle & ~finished_q, stage.valid)),
        Assert(implies(finished_q, was_next)),
        Assert(implies(~idle, was_valid | entering)),
        Assert(accepting == ((loading | flushing | stage.next | finished_q) & ~ended & ~idle)),
        Assert(implies(idle, (gear.level == 0) & ~gear.ending)),
        Assert(implies(stage.next | finished_q, (gear.level == 0) & ~gear.ending & ended)),
        Assert(gear.level <= BUS_BYTES + 2 * ROWS),
        Assert(implies(gear.ending, ended & (gear.level != 0))),
        Assert(implies(~idle, inside.ended == ended)),
        Assert(inside.half == half),
        Assert(inside.loaded == Cat(full >= 1, full >= 2)), Assert(ready <= full),
        Assert(implies(loading | flushing | stage.next, full <= 1)),
        Assert(inside.waiting == Cat(ready >= 1, ready >= 2)),
        Assert(implies(finished_q, ready + walked + 1 <= full)),
        Assert(ready + walked + finished_q <= full),
        # Places and counters.
        Assert(implies(entering | first_step, (words == 0) & (block == 0) & (group == 0)
                       & (channel == 0) & (base == 0))),
        Assert(implies(entering | first_step, inside.end_of_block & ~inside.last_block
                       & (inside.groups_left < 0) & (inside.next_block == 0))),
        Assert(implies(entering | first_step, inside.beyond == k - (COLS + 1))),
        Assert(implies(idle, inside.groups_left < 0)),
        Assert(implies(stage.next | finished_q | flushing, inside.groups_left < 0)),
        Assert(implies(first_step, (inside.group_behind == k)
                       & (inside.next_left == Mux(k < COLS, k - 1, COLS - 1))
                       & (inside.next_single == (k == 1)))),
    ]
    with m.If(loading & primed):
        m.d.comb += [
            Assert(channel < channels), Assert(group < groups), Assert(block < k),
            Assert(block[0] == 0), Assert(base == times(k, group)),
            Assert(words == times(block, groups) + times(channels, group) + channel),
            Assert(words < due),
            Assert(inside.at == (base + block + channel)[:3]),
            Assert(inside.left == channels - 1 - channel),
            Assert(inside.end_of_block == last_channel),
            Assert(inside.last_channel == channels - 1), Assert(inside.single == (channels == 1)),
            Assert(inside.groups_left == groups - group - Const(2, signed(4))),
            Assert(inside.last_block == last_block),
            Assert(inside.beyond == k - block - Const(2 * COLS + 1, signed(6))),
            Assert(inside.next_group == (base + block + k)[:3]),
            Assert(inside.next_block == block + COLS),
        ]
    entered = Signal()          # this is the first cycle of a block
    m.d.sync += entered.eq(first_step | (dut.write.en & last_channel & last_group))
    with m.If(loading & primed & ~entered & ~last_block):
        beyond = inside.beyond
        m.d.comb += [
            Assert(inside.next_left == Mux(beyond < 0, beyond + COLS, COLS - 1)[:1]),
            Assert(inside.next_single == (inside.next_left == 0)),
            Assert(inside.group_behind == (block + COLS + k)[:3]),
        ]
    m.d.comb += Assert(implies(~idle & ~loading, words == due))

    # Bytes that came, and words of them; two cycles behind.
    pending = Mux(inside.taken_q, inside.kept, 0) - Mux(word_en, ROWS, 0)
    written = words + word_en
    clean = ~gap & ~inside.told & ~inside.made.any()
    m.d.comb += [
        Assert(implies(idle, (inside.surplus == -ROWS) | ~past(m, idle, name="was_idle"))),
        Assert(implies(~idle & clean & (got <= MANY - BUS_BYTES), inside.surplus + inside.change
                       + pending == got - ((written << 1) + written) - ROWS)),
    ]
    held = Signal(signed(8))            # bytes that came and are in no word yet
    m.d.comb += [
        held.eq(got - ((written << 1) + written)),
        Assert(implies(inside.told | inside.made.any(), wrong)), Assert(inside.told == error_told),
        Assert(implies(loading & ~gap & ~ended, gear.level == held)),
        Assert(implies(loading & ~gap & ended & gear.ending,
                       (gear.level >= held) & (gear.level < held + BUS_BYTES))),
        Assert(implies(gap, error_told | inside.made.any() | (inside.taken_q & inside.bad_keep))),
        Assert(implies(~loading & ~idle & ~inside.judged, error_told | inside.made.any()
                       | (~wrong & ended & (got == total)))),
        Assert(implies(inside.taken_q, ~idle)), Assert(got <= MANY + BUS_BYTES),
        Assert(implies(loading & ~gap, got <= MANY - BUS_BYTES)),
        Assert(implies(~idle & over & ended & ~gap, got > total)),
        Assert(implies(~idle & short, got < total)),
        Assert(implies(short, ended & ~over)), Assert(implies(~idle & over & ~ended, got >= total)),
        Assert(implies(~idle & ~wrong & ended, got == total)),
        Assert(implies(~wrong & ~ended & ~idle, got < total)),
        Assert(implies(~wrong & loading & ended & ~gear.ending,
                       word_en & last_word & inside.word_last)),
        Assert(implies(flushing & ~wrong, ended)),
    ]
    if within:
        offered = past(m, dut.i.valid, name="i_offered")
        obliged = stage.valid & (full <= 1) & ~error_told
        moves = taken | (inside.gearbox.o.valid & inside.gearbox.o.ready) | stage.next
        goes_on(m, obliged & ~moves, within)
        m.d.comb += [
            Assume(offered | dut.i.valid),
            # A packet that has left the gearbox and not ended the job is told of.
            Assert(implies(loading & ended & ~gear.ending & primed, (word_en & inside.word_last)
                           | (inside.judged & inside.last_q & ~inside.end_of_job_q)
                           | inside.made.any() | error_told)),
            Assert(implies(flushing & ended & ~gear.ending, inside.word_last)),
        ]
    m.d.comb += [Cover(announced & (words == 4) & ~error_told),
                 Cover((dut.error == CAUSES["acts_late_last"]) & ~gap & (words == 2))]
    return m


PROOFS = [Proof(
    name="act_loader",
    claim="Every word of a job is written once, at its group and input, in the half that is due, "
          "and no half that may still be read; a half is told as ready only if the packet had "
          "exactly the job's bytes, without gaps, TLAST with the last; an error is told of such "
          "packets alone that have one.",
    at=AT,
    given="The gearbox keeps its promises (proofs gearbox). Jobs come as the queue shows them "
          "(proof job_queue). What is ready is taken, what was taken is released.",
    design=design, depth=4, cover_depth=18,
    bugs=(
        Bug(what="a half is told as ready whatever its packet was", file="act_loader.py",
            old="announced.eq(finished_q & ~made.any())", new="announced.eq(finished_q)"),
        Bug(what="bytes behind the job's last word are not seen", file="act_loader.py",
            old="(~ended_q[-1] | (surplus != 0))", new="~ended_q[-1]"),
        Bug(what="the second group of a block begins a block too early", file="act_loader.py",
            old="at.eq(next_block), next_group.eq(group_behind),",
            new="at.eq(next_block), next_group.eq(next_group),"),
    )), Proof(
    name="act_loader_goes_on",
    claim=f"With a job and a free half no more than {WITHIN} cycles in a row pass without a beat "
          "taken, a word out of the gearbox or the end of the job, until a mistake is told. A "
          "job's words are counted and a packet ends, so each job is loaded or stopped.",
    at=AT,
    given="As act_loader; and a beat is offered in one of two cycles in a row at least, and the "
          "gearbox is as little late as its proofs say, or a cycle more.",
    design=partial(design, WITHIN), depth=WITHIN + 3, cover_depth=18,
    bugs=(
        Bug(what="a job whose packet has padding never ends", file="act_loader.py",
            old="finished.eq(word_last & (flushing | ends)),",
            new="finished.eq(word_last & ends),"),
        Bug(what="a packet that ends early is not told of", file="act_loader.py",
            old="judged & (surplus[-1] | (last_q & ~end_of_job_q))", new="judged & surplus[-1]"),
    ))]
