"""The weight stream's door and the two banks: one packet at a time, and only into a free bank."""
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import Out

from sparseloom.hw import strip_loader
from tests.formal.parts import Assert, Assume, Cover, Opened, free, implies, ones, past
from tests.formal.proof import Bug, Proof

ROWS, COLS, MAX_K, ACT_WORDS, BUS_BITS, BLOCK = 2, 2, 4, 4, 64, 4
AT = (f"{ROWS} x {COLS}, max_k {MAX_K} (a bitmap of one word), beats of {BUS_BITS} bits, jobs with "
      "a table and without; a reset at any time")


def anything(part):
    """A component with the ports of that one, whose outputs are any."""
    class Anything(part):
        def elaborate(self, platform):
            m = Module()
            let_free(m, self, self.signature, "any")
            return m

    return Anything


def let_free(m, interface, signature, name):
    """Drive an interface's outputs with anything."""
    for member, about in signature.members.items():
        port = getattr(interface, member)
        if about.is_signature:
            let_free(m, port, about.signature, f"{name}_{member}")
        elif about.flow is Out:
            value = Value.cast(port)
            if len(value) and not isinstance(value, Const):
                m.d.comb += value.eq(free(m, len(value), name=f"{name}_{member}"))


def surroundings(m, dut):
    """Put the loader between any stream, the queue's jobs and a walk that keeps its rules.

    Returns
    -------
    opened : Opened
    full, ready, walked : Signal
        Banks loaded and not released; told as ready and not taken; taken and not released.
    """
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside, stage = opened[dut], dut.stage
    job, bits = Value.cast(stage.job), Value.cast(dut.i.payload)
    was_valid = past(m, stage.valid, name="was_valid")
    was_next = past(m, stage.next, name="was_next")
    next_2 = past(m, was_next, name="next_2")
    before = past(m, job, name="job_before")
    full, ready, walked = (Signal(range(4), name=name) for name in ("full", "ready", "walked"))
    m.d.comb += [
        stage.valid.eq(free(m, name="stage_valid")), job.eq(free(m, len(job), name="job")),
        dut.lut_free.eq(free(m, name="lut_free")),
        dut.i.valid.eq(free(m, name="i_valid")), bits.eq(free(m, len(bits), name="beat")),
        dut.take.eq(free(m, name="take")), dut.release.eq(free(m, name="release")),
        Assume(implies(was_valid & ~was_next, stage.valid & (job == before))),
        Assume(implies(was_next | next_2, ~stage.valid)),
        Assume(implies(dut.take, ready != 0)), Assume(implies(dut.release, walked != 0)),
    ]
    m.d.sync += [full.eq(full + inside.strip_done - dut.release),
                 ready.eq(ready + inside.strip_waits - dut.take),
                 walked.eq(walked + dut.take - dut.release)]
    return opened, full, ready, walked


def banks(m, dut, opened, full, ready, walked):
    """State that one packet at a time is under way, and only into a free bank.

    Returns
    -------
    Signal
        A packet was not right.
    """
    inside, stage, told_ready = opened[dut], dut.stage, opened[dut].strip_waits
    done, right, taken = inside.done, inside.right, inside.taken
    failed = Signal()               # a packet was not right: nothing more is loaded
    with m.If(done & ~right):
        m.d.sync += failed.eq(1)

    # Where the strips lie, and how long they are: as the header said, or one column for none.
    bank, oldest = Signal(), Signal()
    said = [Signal(len(dut.length), name=f"said_{number}") for number in range(2)]
    m.d.sync += [bank.eq(bank ^ inside.strip_done), oldest.eq(oldest ^ dut.take)]
    columns = inside.columns
    with m.If(inside.strip_done):
        for number, length in enumerate(said):
            with m.If(bank == number):
                m.d.sync += length.eq(Mux(columns == 0, 1, columns))
    phases = [inside.wait, *inside.at_header, *inside.at_check, inside.at_bitmap, inside.at_masks,
              inside.at_weights, inside.at_params, inside.at_table, *inside.at_trailer,
              inside.finish, done]
    under_way = ~inside.wait & (sum(phases, Const(0, 1)) != 0)
    was_done = past(m, done, name="was_done")
    was_lut_free = past(m, dut.lut_free, name="was_lut_free")
    m.d.comb += [
        Assert(implies(taken, stage.valid), "no beat without a job"),
        Assert(implies(taken, inside.table_due | (full <= 1)), "no strip without a free bank"),
        Assert(implies(dut.k_write.en & under_way & ~inside.table_due,
                       (dut.k_write.addr[0] == bank) & (full <= 1)),
               "no bank is written that may be read"),
        Assert(implies(dut.w_write.en & under_way & ~inside.table_due,
                       (dut.w_write.addr[0] == bank) & (full <= 1))),
        Assert(implies(inside.begin & inside.table_due, was_lut_free),
               "no table is begun while its bank is in use"),
        Assert(implies(taken, ~failed), "nothing more behind a packet that was not right"),
        Assert(implies(told_ready, past(m, done & right & ~inside.table_due, name="was_right")),
               "a strip is told after its check held"),
        Assert(full <= 2), Assert(dut.ready == (ready != 0)), Assert(ready + walked <= full),
        Assert(implies(dut.ready & ~failed, dut.length == Array(said)[oldest]),
               "the length of the oldest strip"),
        Assert(implies(stage.next, stage.valid & done), "a job ends with a packet"),
        # What holds between the cycles.
        Assert(sum(phases, Const(0, 1)) <= 1, "one packet at a time"),
        Assert(failed == (sum(phases, Const(0, 1)) == 0)),
        Assert(inside.bank == bank), Assert(inside.oldest == oldest),
        Assert(done == (inside.strip_done | inside.table_done)),
        Assert(~(inside.strip_done & inside.table_done)),
        Assert(implies(inside.strip_done, ~inside.table_due)),
        Assert(implies(inside.table_done, inside.table_due)),
        Assert(implies(inside.fresh, ~inside.table_due)),
        Assert(implies(under_way, stage.valid & ~inside.fresh)),
        Assert(implies(inside.job_there & inside.wait, stage.valid & ~inside.fresh)),
        Assert(implies(inside.wait & inside.fits, inside.table_due | (full <= 1))),
        Assert(implies(under_way & ~inside.table_due, full <= 1)),
        Assert(inside.loaded == Cat(full >= 1, full >= 2)),
        Assert(inside.waiting == Cat(ready >= 1, ready >= 2)),
        Assert(implies(told_ready, was_done)),
        Assert(ready + walked + told_ready <= full),
        Assert(implies(~failed & ~told_ready, ready + walked == full)),
        Assert(implies(~failed & told_ready, ready + walked + 1 == full)),
        Assert(implies(~failed, oldest == (bank ^ ready[0] ^ told_ready))),
        # A door that is open leads somewhere.
        Assert(implies(inside.ready, Cat(inside.at_header, inside.at_bitmap, inside.at_masks,
                                         inside.at_weights, inside.at_params, inside.at_table,
                                         inside.at_trailer).any())),
    ]
    # What the door's registers hold: no word is left when a packet is through.
    word_at, spare_at, held = inside.word_at, inside.spare_at, inside.full
    in_header = Cat(inside.at_header).any()
    before_end = ~inside.wait & ~inside.finish & ~done & ~failed
    m.d.comb += [
        Assert(implies(inside.wait, ~held & ~word_at.as_value().any())),
        Assert(implies(in_header, ~held & (word_at.as_value() == word_at.header))),
        Assert(implies(word_at.header.any(), inside.at_check[0] | in_header)),
        Assert(implies(held, ~spare_at.header.any() & ~spare_at.table)),
        Assert(implies(inside.at_check[0], ~held & (word_at.as_value() == word_at.header))),
        Assert(implies(word_at.trailer[-1], inside.finish)),
        Assert(implies(held & spare_at.trailer[-1], inside.finish)),
        Assert(implies(before_end, ~inside.closed.any())),
        Assert(implies(inside.finish & inside.closed.any(),
                       ~held & ~word_at.as_value().any())),
        Assert(implies(done | failed, ~held & ~word_at.as_value().any())),
        Assert(implies(held, word_at.weights)),
        Assert(ones(word_at.as_value()) <= 1), Assert(ones(spare_at.as_value()) <= 1),
    ]
    # A table's beat stays for a cycle a byte; a table has no other sections.
    table_stays, byte, bytes_ = inside.table_stays, inside.byte, dut.bus_bits // 8
    never_of_table = Cat(inside.at_bitmap, inside.at_masks, inside.at_weights, inside.at_params,
                         word_at.bitmap, word_at.masks, word_at.weights, word_at.params)
    m.d.comb += [
        Assert(implies(table_stays, word_at.table & ~inside.ready & ~inside.finish)),
        Assert(implies(word_at.table, (byte == bytes_ - 1) ^ table_stays)),
        Assert(implies(~word_at.table & ~inside.wait, byte == 0)),
        Assert(inside.table_nearly == (table_stays & (byte == bytes_ - 3))),
        Assert(inside.table_moves == (table_stays & (byte == bytes_ - 2))),
        Assert(implies(inside.table_moves & ~inside.ended, inside.reopens)),
        Assert(implies(inside.at_table | word_at.table, inside.table_due)),
        Assert(implies(never_of_table.any(), ~inside.table_due)),
    ]
    for number in range(2):
        there = (full == 2) | ((full == 1) & (bank != number))
        m.d.comb += [
            Assert(implies(there & ~failed, inside.lengths[number] == said[number])),
            Assert(implies(opened.signal(f"ends_{number}"), (inside.finish | done)
                           & ~inside.table_due & (bank == number))),
        ]
    m.d.comb += [
        Assert(implies(done & ~inside.table_due, Array([opened.signal("ends_0"),
                                                        opened.signal("ends_1")])[bank])),
    ]
    return failed


def loader():
    """The loader at the size of the proofs."""
    return strip_loader.StripLoader(rows=ROWS, cols=COLS, max_k=MAX_K, act_words=ACT_WORDS,
                                    bus_bits=BUS_BITS, block_inputs=BLOCK)


def design():
    for part in ("Gearbox", "MaskExpand", "BlockFifo", "Crc32"):
        setattr(strip_loader, part, anything(getattr(strip_loader, part)))
    m = Module()
    dut = loader()
    opened, full, ready, walked = surroundings(m, dut)
    failed = banks(m, dut, opened, full, ready, walked)
    m.d.comb += [Cover(opened[dut].strip_waits & (dut.length != 1)),
                 Cover(failed & dut.stage.valid)]
    return m


PROOFS = [Proof(
    name="strip_loader_banks",
    claim="Whatever the stream holds: one packet at a time is under way; no beat is taken without "
          "a job, no strip's without a free bank, and no table is begun whose bank is in use; what "
          "is written while a strip's packet is under way goes to the bank that is due, which may "
          "not be read; a strip is told as ready only after its packet's checks held, and with its "
          "header's count of columns; nothing is taken behind a packet that was not right.",
    at=AT,
    given="Masks, gearbox, queue and CRC give out anything at any time. Jobs come as the queue "
          "shows them (proof job_queue). What is ready is taken, what was taken is released.",
    design=design, depth=4, cover_depth=24,
    bugs=(
        Bug(what="a strip is told though its check failed", file="strip_loader.py",
            old="strip_waits.eq(strip_done & right)", new="strip_waits.eq(strip_done)"),
        Bug(what="a strip is begun as long as no bank waits", file="strip_loader.py",
            old="job_there.eq(self.stage.valid & ~fresh & ~self.stage.next)",
            new="job_there.eq(~fresh)"),
    ))]
