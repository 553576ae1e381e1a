"""The weight stream is loaded: no packet waits for ever, and each beat is nearer to its end."""
from functools import partial
from types import SimpleNamespace

from amaranth.hdl import Cat, Const, Module, Mux, ResetSignal, Signal

from sparseloom.hw import strip_loader
from tests.formal.parts import Assert, Assume, Cover, free, goes_on, implies, past, times
from tests.formal.proof import Bug, Proof
from tests.formal.proofs import mask_expand
from tests.formal.proofs.act_loader import TimelyGearbox
from tests.formal.proofs.strip_loader import (
    AT,
    BLOCK,
    BUS_BITS,
    MAX_K,
    anything,
    banks,
    let_free,
    loader,
    surroundings,
)

WITHIN = 14
"""Cycles in a row without a step, at most."""
UNIT_SHIFT = strip_loader.UNIT_BITS.bit_length() - 1
BLOCK_SHIFT = BLOCK.bit_length() - 1


class TimelyExpand(strip_loader.MaskExpand):
    """What is proved of the expansion's progress, and no more: in time, once the bitmap is there.

    ``moves`` tells of its steps; what it gives out is any.
    """

    def elaborate(self, platform):
        m = Module()
        let_free(m, self, self.signature, "any")
        self.moves, self.age = Signal(), Signal(range(self.START + 1))  # cycles since a start
        self.last_word, self.popped = Signal(range(4)), Signal(range(4))    # of the bitmap
        late = Signal(mask_expand.WITHIN + 1)
        settled = ~self.start & (self.age == self.START)
        bitmap_was, masks_were = (
            past(m, stream.valid, name=f"{name}_before")
            for name, stream in (("bitmap", self.bitmap), ("masks", self.masks)))
        was_done = past(m, self.done & settled, name="was_done")
        was_starved = past(m, self.starved & settled, name="was_starved")
        m.d.comb += [
            self.moves.eq(free(m, name="expand_moves") | self.bitmap.ready | self.masks.ready
                          | (self.bitmap.valid & ~bitmap_was) | (self.masks.valid & ~masks_were)),
            Assume(implies(self.bitmap.ready & (self.age >= 2), (self.age == self.START)
                           & self.bitmap.valid & (self.popped < self.last_word))),
            Assume(implies(self.masks_next, self.masks.valid)),
            Assume(implies(was_done, self.done)),
            Assume(implies(settled & self.starved, ~masks_were)),
            Assume(implies(was_starved & ~masks_were, self.starved)),
            Assume(~late[-1]),
        ]
        m.d.sync += late.eq(Mux(~settled | self.moves | self.done | self.starved
                                | ~self.bitmap.valid, 0, Cat(1, late)))
        with m.If(self.start):
            blocks = (self.inputs + (self.block_inputs - 1)) >> BLOCK_SHIFT
            m.d.sync += [self.age.eq(1), self.popped.eq(0),
                         self.last_word.eq((blocks - 1) >> (self.beat_bits.bit_length() - 1))]
        with m.Else():
            m.d.sync += [
                self.popped.eq(self.popped + (self.bitmap.ready & settled)),
                self.age.eq(self.age + ((self.age != 0) & (self.age != self.START))),
            ]
        return m


def design(between=True):
    for part in ("BlockFifo", "Crc32"):
        setattr(strip_loader, part, anything(getattr(strip_loader, part)))
    for name, part in (("Gearbox", TimelyGearbox), ("MaskExpand", TimelyExpand)):
        setattr(strip_loader, name, part)
    m = Module()
    dut = loader()
    opened, full, ready, walked = surroundings(m, dut)
    inside, stage, weights = opened[dut], dut.stage, opened[dut].weights
    place = Mux(inside.table_due, dut.lut_free, full <= 1)
    obliged = stage.valid & (place | ~inside.wait) & ~inside.told
    steps = (inside.taken | inside.done | inside.expand.moves
             | (weights.o.valid & weights.o.ready))
    goes_on(m, obliged & ~steps, WITHIN)
    m.d.comb += [
        Assume(past(m, dut.i.valid, name="offered") | dut.i.valid),
        Assume(implies(stage.valid, (stage.job.inputs >= 1) & (stage.job.inputs <= MAX_K))),
        Cover(inside.strip_waits & (dut.length != 1)),
    ]
    failed = banks(m, dut, opened, full, ready, walked) if between else Const(0, 1)
    seen = stands(inside, failed)
    order(m, opened, inside, seen)
    if between:
        ends(m, inside, seen)
        gearbox(m, opened, inside, seen)
        bitmap(m, opened, inside, stage, seen)
        sections(m, opened, inside, seen)
    return m


def stands(inside, failed):
    """Where the loader stands, by name, and whether an error is told or on its way."""
    seen = SimpleNamespace(
        failed=failed, header=Cat(inside.at_header), check=Cat(inside.at_check),
        trailer=Cat(inside.at_trailer), in_word=inside.word_at.as_value().any())
    seen.begins = inside.wait | seen.header.any() | seen.check.any()
    seen.of_strip = ~seen.begins & ~failed & ~inside.table_due & ~inside.table_done
    word, spare, held = inside.word, inside.spare, inside.full
    # A mistake was told, or is on its way to that.
    seen.doomed = (
        inside.told | inside.hit.any()
        | (inside.beat_at & (inside.bad_keep | inside.early_last | inside.late_last))
        | (seen.in_word & word.last & ~inside.trailer_end)
        | (held & spare.last & ~(inside.spare_at.trailer[-1] & inside.final))
        | (inside.judge & inside.too_many.any()) | (inside.judged & inside.in_header.any()))
    return seen


def ends(m, inside, seen):
    """State that the door opens anew, and how a packet ends."""
    wait, finish, word_at, held = inside.wait, inside.finish, inside.word_at, inside.full
    was_reset = Signal(reset_less=True)
    m.d.sync += was_reset.eq(ResetSignal())
    section = Cat(seen.header, inside.at_bitmap, inside.at_masks, inside.at_weights,
                  inside.at_params, inside.at_table, seen.trailer).any()
    m.d.comb += [
        Assert(implies(seen.failed, seen.doomed)),
        Assert(implies(held, inside.spare_at.weights | inside.spare_at.params
                       | inside.spare_at.trailer.any())),
        Assert(was_reset | (inside.anew == wait)), Assert(implies(was_reset, ~inside.job_there)),
        Assert(implies(section, inside.ready | inside.ended | inside.table_stays)),
        Assert(implies(seen.check[1], inside.reopens | inside.ended)),
        Assert(implies(inside.ended & ~wait & ~finish & ~inside.done, seen.doomed)),
        Assert(implies(finish, word_at.trailer[-1] | (held & inside.spare_at.trailer[-1])
                       | inside.closed[0])),
        *(Assert(implies(finish & later, sooner)) for sooner, later in
          zip(inside.closed, inside.closed[1:], strict=False)),
    ]


def gearbox(m, opened, inside, seen):
    """State that the gearbox holds weights of one section, and lets the last of them go."""
    gear, word, word_at, at_weights = (opened[inside.weights], inside.word, inside.word_at,
                                       inside.at_weights)
    behind = inside.full & inside.spare_at.weights      # another beat of weights waits
    m.d.comb += [
        Assert(implies(~seen.failed & (inside.wait | seen.header.any() | seen.check[0]),
                       (gear.level == 0) & ~gear.ending)),
        Assert(implies(gear.ending, gear.level != 0)),
        Assert(implies(gear.ending & ~seen.doomed, ~at_weights & ~word_at.weights & ~behind)),
        Assert(implies(~gear.ending & (gear.level != 0) & ~seen.doomed,
                       at_weights | word_at.weights | behind)),
        Assert(implies(~at_weights & behind, inside.spare.end)),
        Assert(implies(~at_weights & ~behind & word_at.weights, word.end)),
        Assert(implies(word_at.weights & word.end, ~at_weights & ~behind)),
        Assert(implies(behind & inside.spare.end, ~at_weights)),
    ]


def bitmap(m, opened, inside, stage, seen):
    """State that every beat of the bitmap is on its way, there, or was taken."""
    expand, word_at, unread = inside.expand, inside.word_at, inside.unread
    job_blocks, left = inside.job_blocks, opened.signal("bitmap_left")
    at_bitmap, last = inside.at_bitmap, inside.last_bitmap
    beats = Signal(8)
    m.d.comb += [
        beats.eq(units(job_blocks) * inside.unit_beats),
        Assert(implies(~inside.fresh, stage.valid & (inside.inputs == stage.job.inputs))),
        Assert(implies((inside.job_there & inside.wait) | (~inside.wait & ~seen.failed),
                       job_blocks == (stage.job.inputs + (BLOCK - 1)) >> BLOCK_SHIFT)),
        Assert(inside.has_unread == (unread != 0)),
        Assert(implies(seen.header.any() | seen.check.any(), unread == 0)),
        Assert(expand.popped <= expand.last_word),
        Assert(implies(seen.of_strip, (expand.age != 0) & (
            expand.last_word == (job_blocks - 1) >> (BUS_BITS.bit_length() - 1)))),
        Assert(implies(seen.of_strip, unread + expand.popped + word_at.bitmap
                       + Mux(at_bitmap, left, 0) == beats)),
        Assert(implies(seen.header[0], opened.signal("bitmap_units") * inside.unit_beats == beats)),
        Assert(implies(seen.header[1:].any() | seen.check.any(),
                       (left == beats) & (last == (beats == 1)))),
        Assert(implies(at_bitmap, (left != 0) & (last == (left == 1))), "bitmap: counted"),
        Assert(implies(at_bitmap | inside.at_masks, ~inside.full & ~word_at.weights
                       & ~word_at.params & ~word_at.trailer.any())),
        Assert(implies(at_bitmap, ~word_at.masks)),
    ]


def sections(m, opened, inside, seen):
    """State that a section has beats to come while the loader is at it, counted from its header."""
    checked = past(m, seen.check[1], name="checked")
    checked_2 = past(m, checked, name="checked_2")
    of_strip, at_bitmap, at_masks = seen.of_strip, inside.at_bitmap, inside.at_masks
    columns, blocks = inside.columns, inside.blocks
    few_columns, few_blocks = columns[:inside.size_bits], blocks[:inside.count_bits]
    mask_units, weight_units = opened.signal("mask_units"), opened.signal("weight_units")
    masks, weights = mask_units * inside.unit_beats, weight_units * inside.unit_beats
    fixed = Mux(inside.table_due, inside.table_units, inside.param_units) * inside.unit_beats
    left = {name: opened.signal(f"{name}_left") for name in ("masks", "weights", "fixed")}
    m.d.comb += [
        Assert(implies(of_strip, (inside.empty == (columns == 0))
                       & (inside.no_masks == (blocks == 0)))),
        Assert(implies(of_strip, inside.weight_bytes == times(few_columns, Const(inside.size)))),
        Assert(implies(of_strip, mask_units == units(few_blocks << BLOCK_SHIFT))),
        Assert(implies(of_strip & ~checked, weight_units == units(inside.weight_bytes << 3))),
        Assert(implies(of_strip & ~checked & at_bitmap,
                       (left["masks"] == masks) & (inside.last_masks == (masks == 1)))),
        Assert(implies(of_strip & ~checked & ~checked_2 & (at_bitmap | at_masks),
                       (left["weights"] == weights) & (inside.last_weights == (weights == 1)))),
        Assert(implies(seen.header.any() | seen.check.any() | at_bitmap | at_masks
                       | inside.at_weights,
                       (left["fixed"] == fixed) & (inside.last_fixed == (fixed == 1)))),
        *(Assert(implies(at & ~seen.doomed, (left[name] != 0) & (last == (left[name] == 1))),
                 f"{name}: counted") for name, at, last in (
            ("masks", at_masks, inside.last_masks),
            ("weights", inside.at_weights, inside.last_weights),
            ("fixed", inside.at_params | inside.at_table, inside.last_fixed))),
    ]


def order(m, opened, inside, seen):
    """State that each beat brings the packet nearer to its end."""
    at_fixed = inside.at_params | inside.at_table
    counted = (("bitmap", inside.at_bitmap), ("masks", inside.at_masks),
               ("weights", inside.at_weights), ("fixed", at_fixed))
    phases = [*seen.header, seen.check.any(), *(at for _, at in counted), *seen.trailer,
              inside.finish]
    phase, left = Signal(range(len(phases))), Signal(16)
    m.d.comb += [
        phase.eq(sum((Mux(at, number, 0) for number, at in enumerate(phases)), Const(0, 1))),
        left.eq(sum((Mux(at, opened.signal(f"{name}_left"), 0) for name, at in counted),
                    Const(0, 1))),
    ]
    taken = past(m, inside.taken & ~seen.doomed, name="beat_taken")
    before, left_before = past(m, phase, name="phase_before"), past(m, left, name="left_before")
    m.d.comb += Assert(implies(taken, (phase > before) | (
        (phase == before) & (left != 0) & (left + 1 == left_before))), "nearer to the end")


def units(bits):
    """The units of alignment that so many bits fill."""
    return (bits + (strip_loader.UNIT_BITS - 1)) >> UNIT_SHIFT


PROOFS = [Proof(
    name="strip_loader_goes_on",
    claim=f"With a job and a free bank, or table, no more than {WITHIN} cycles in a row pass "
          "without a beat taken, weights out of the gearbox, a step of the masks' expansion or the "
          "end of a packet, until a mistake is told; for a table and a damaged packet, too. Until "
          "a mistake is on its way to that, each beat leaves fewer of its section to come or leads "
          "to a later one. So each packet is loaded or stopped.",
    at=AT,
    given="A beat is offered in one of two cycles in a row at least. The gearbox is as little "
          "late as its proofs say, or a cycle more; the masks' expansion goes on as its proof "
          "says, and ends its steps; the queue of masks and the CRC give out anything. Jobs come "
          "as the queue shows them (proof job_queue). What is ready is taken, what was taken is "
          "released.",
    design=design, depth=WITHIN + 3, cover_depth=40,
    bare=partial(design, between=False), search="abc bmc3",
    bugs=(
        Bug(what="the end of a packet is forgotten while its masks are expanded",
            file="strip_loader.py",
            old="closed.eq(Cat(word_at.trailer[-1] & ~hold | closed[0], closed))",
            new="closed.eq(Cat(word_at.trailer[-1] & ~hold, closed))"),
        Bug(what="a strip whose masks run out is never judged", file="strip_loader.py",
            old="(table_due | expand.done | starved)", new="(table_due | expand.done)"),
        Bug(what="the door stays shut behind a table's beat", file="strip_loader.py",
            old="reopens.eq((at_check[0] | table_nearly) & ~ended)",
            new="reopens.eq(at_check[0] & ~ended)"),
        Bug(what="a section's last beat is not known as that", file="strip_loader.py",
            old="last.eq(left == 2)", new="last.eq(left == 3)"),
    ))]
