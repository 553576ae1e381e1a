"""From post-processed results to the beats of the result stream, and its orderly end."""
from amaranth.hdl import Array as Choices
from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.block_fifo import BlockFifo
from sparseloom.hw.gearbox import Gearbox
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.layouts import result_beat_layout
from sparseloom.hw.memory import inferred_memory


def one_register(lanes: int, bus_bytes: int) -> bool:
    """Whether bytes of a word are a whole part of a beat, and a raw word is whole beats."""
    return bus_bytes % lanes == 0 and 4 * lanes % bus_bytes == 0


class ResultPack(wiring.Component):
    """Queues results and packs them into beats without gaps.

    Parameters
    ----------
    lanes : int
        Results in a word.
    bus_bits : int
        Width of a beat.
    room_words : int
        Words held; the issuer reserves them.
    target : str
        Technology body of the queue's memory.

    Members
    -------
    valid : In(1)
        There is a word in this cycle. No back-pressure: room was reserved.
    words : In(ArrayLayout(32, lanes))
        int8 in the low byte, or int32 if ``raw``.
    raw, last : In(1)
        ``last`` word of a job.
    returned : Out(1)
        A word began to leave ``RETURN`` cycles ago; its room is free.
    ended : In(1)
        The last beat of the job is on its way out: the next job's words may follow.
    room : In(1)
        Up while words may be taken; from the cycle in which it falls ``STILL_COME`` more beats
        come at most.
    o : Out(stream of result_beat_layout(bus_bits), always ready)
        ``user`` is always 0.
    """

    RETURN = 1
    """Cycles from a word's leaving to ``returned``, which has far to go."""

    COPY_BITS = 16
    """Bits of a beat that are steered by registers of their own."""

    STILL_COME = 2
    """Beats that may come from the cycle on in which ``room`` falls."""

    def __init__(self, *, lanes: int, bus_bits: int, room_words: int,
                 target: str = "generic"):
        self.target = target
        self.lanes, self.bus_bits, self.room_words = lanes, bus_bits, room_words
        self.fits = one_register(lanes, bus_bits // 8)
        super().__init__({
            "valid": In(1), "words": In(data.ArrayLayout(32, lanes)),
            "raw": In(1), "last": In(1),
            "returned": Out(1), "ended": In(1), "room": In(1),
            "o": Out(stream.Signature(result_beat_layout(bus_bits), always_ready=True)),
        })

    def elaborate(self, platform):
        m = Module()
        word = data.StructLayout({"words": self.words.shape(), "raw": 1, "last": 1})
        m.submodules.fifo = fifo = BlockFifo(shape=word, depth=self.room_words,
                                             target=self.target, ahead=self.fits)
        m.d.comb += [
            fifo.i.payload.words.eq(self.words), fifo.i.payload.raw.eq(self.raw),
            fifo.i.payload.last.eq(self.last), fifo.i.valid.eq(self.valid),
        ]
        popped = fifo.o.payload
        low_bytes = Cat(popped.words[lane][:8] for lane in range(self.lanes))
        # One job's results leave before the next one's first word is taken.
        ends, ending = Signal(), Signal()
        m.d.sync += ending.eq((ending & ~self.ended) | ends)
        if self.fits:
            self._one_register(m, fifo.o, low_bytes, ends, ending)
        else:
            self._gearboxes(m, fifo.o, low_bytes, ends, ending)
        return m

    def _one_register(self, m, popped, low_bytes, ends, ending):
        """Words that are a whole part of a beat, or whole beats: both in one register.

        A raw word stays at the queue's output until its last beat was taken from it; there it
        takes no place in the memory, so that its room is free with the first. Whether anything is
        taken in a cycle is known in the one before, but for whether there is a word.
        """
        groups = self.bus_bits // 8 // self.lanes       # words of bytes in a beat
        parts = 4 // groups                             # beats in a raw word
        word = popped.payload.words.as_value()
        # Of the word at the queue's output, from a register. It is that of the word before, which
        # is of the same job or ends its own and is followed by a pause; if there was none, this
        # word waited for nothing.
        raw_in = self.raw
        for stage in range(BlockFifo.LATENCY - 1):
            raw_in_q = Signal(name=f"raw_in_{stage}", reset_less=True)
            m.d.sync += raw_in_q.eq(raw_in)
            raw_in = raw_in_q
        raw_next = Mux(popped.valid, popped.payload.raw, raw_in)

        def own(name, value):
            """A register for one use: what is steered by one lies together."""
            m.submodules[name] = register = KeptRegister(len(value), target=self.target)
            m.d.comb += register.i.eq(value)
            return register.o

        raw, raw_enable = own("raw_steer", raw_next), own("raw_enable", raw_next)
        beat = Signal(data.ArrayLayout(8 * self.lanes, groups), reset_less=True)
        last, there = Signal(reset_less=True), Signal(groups, reset_less=True)
        full = Signal()
        part, last_part, last_part_next = Signal(range(parts)), Signal(init=parts == 1), Signal()
        part_next = Signal.like(part)
        at = Signal(groups, init=1)                     # one hot
        # Beats may be taken; the word at the output goes with this one.
        may, may_next, may_go = Signal(), Signal(), Signal()
        takes, fills = Signal(), Signal()
        # What is known of it before ``ends``, which comes late out of the queue's memory and is one
        # look-up table behind. Of the word at the output the register tells by itself: it does not
        # only where another job's came there, while none is taken.
        could_go = Signal(attrs={"keep": 1})
        m.d.comb += [
            may_next.eq(self.room & ~ending & ~ends),
            could_go.eq(self.room & ~ending & (~Mux(popped.valid, raw, raw_in) | last_part_next)),
            popped.ready.eq(could_go & ~ends), takes.eq(popped.valid & may),
            ends.eq(popped.valid & may_go & popped.payload.last),
            fills.eq(raw | popped.payload.last | at[-1]),
            last_part_next.eq(last_part), part_next.eq(part),
        ]
        m.d.sync += [
            may.eq(may_next), may_go.eq(popped.ready),
            last_part.eq(last_part_next), part.eq(part_next),
        ]
        # Bytes of no word may come into a group; the next word's take their place.
        for group in range(groups):
            for low in range(0, 8 * self.lanes, self.COPY_BITS):
                bits = slice(low, min(low + self.COPY_BITS, 8 * self.lanes))
                cuts = [word.word_select(at, self.bus_bits).word_select(group, 8 * self.lanes)[bits]
                        for at in range(parts)]
                cut = cuts[0]
                if parts > 1:
                    cut = Choices(cuts)[own(f"part_{group}_{low}", part_next)]
                fresh = Mux(own(f"raw_{group}_{low}", raw_next), cut, low_bytes[bits])
                with m.If(at[group] | (popped.valid & raw_enable)):
                    m.d.sync += beat[group][bits].eq(fresh)
        m.d.sync += [
            full.eq(takes & fills), last.eq(popped.payload.last & (~raw | last_part)),
            there.eq(Cat(raw | at[group:].any() for group in range(groups))),
            self.returned.eq(takes & (~raw | (part == 0))),
        ]
        with m.If(takes):
            m.d.sync += at.eq(Mux(fills, 1, at.rotate_left(1)))
            if parts > 1:
                with m.If(raw):
                    m.d.comb += [part_next.eq(part + 1), last_part_next.eq(part == parts - 2)]
        m.d.comb += [
            self.o.valid.eq(full), self.o.payload.data.eq(beat), self.o.payload.last.eq(last),
            self.o.payload.keep.eq(Cat(group.replicate(self.lanes) for group in there)),
        ]

    def _gearboxes(self, m, popped, low_bytes, ends, ending):
        """Bytes and raw words of any width, each through a gearbox of its own."""
        bus_bytes = self.bus_bits // 8
        word = popped.payload
        m.submodules.bytes = narrow = Gearbox(self.lanes, bus_bytes)
        m.submodules.sums = wide = Gearbox(4 * self.lanes, bus_bytes)
        raw_out, taken = Signal(reset_less=True), Signal()
        held, ended = Signal(), Signal()    # as late as with one register
        m.d.sync += ended.eq(ending)
        m.d.comb += held.eq(ending | ended)
        with m.If(popped.valid & ~held):
            m.d.comb += [narrow.i.valid.eq(~word.raw), wide.i.valid.eq(word.raw)]
        m.d.comb += [
            narrow.i.payload.data.eq(low_bytes), wide.i.payload.data.eq(word.words),
            narrow.i.payload.last.eq(word.last), wide.i.payload.last.eq(word.last),
            popped.ready.eq(~held & wide.i.ready & narrow.i.ready),
            taken.eq(popped.valid & popped.ready), ends.eq(taken & word.last),
        ]
        room = Signal()
        m.d.sync += [self.returned.eq(taken), room.eq(self.room)]
        with m.If(taken):
            m.d.sync += raw_out.eq(word.raw)
        # At most one of them holds anything, so that both may see the same ``ready``.
        for gearbox, chosen in ((narrow, ~raw_out), (wide, raw_out)):
            beat = gearbox.o.payload
            m.d.comb += gearbox.o.ready.eq(room)
            with m.If(chosen):
                m.d.comb += [
                    self.o.valid.eq(gearbox.o.valid & room),
                    self.o.payload.data.eq(beat.data), self.o.payload.last.eq(beat.last),
                    *(self.o.payload.keep[byte].eq(beat.count > byte)
                      for byte in range(bus_bytes)),
                ]


class ResultPort(wiring.Component):
    """The last queue in front of the result stream: what it offers is never taken back.

    The offered beat is read from a small memory by a register, so that ``o.ready`` moves only that
    one and a few flags. What is behind goes on as long as the memory has room.

    Parameters
    ----------
    lanes, bus_bits, room_words, target
        As in :class:`ResultPack`, whose ports are this component's too.

    Members
    -------
    flush : In(1)
        Drop all results that were not offered yet.
    halt : In(1)
        Offer no further beat of them, they may be lost. Up from the cycle of a ``close`` until
        ``flush``.
    close : In(1)
        For one cycle: after the offered beat, send one byte ``close_cause`` with TLAST and TUSER.
        Results that come before that byte was taken are lost.
    close_cause : In(8)
    open : Out(1)
        A packet was begun, and its last beat is not yet offered.
    idle : Out(1)
        No beat is offered, no close is due.
    offered : Out(1)
        First cycle in which the last beat of a job's results is offered. Up ``OFFERED_APART``
        cycles after it was up before, at the earliest.
    finished : Out(1)
        That beat was taken.
    o : Out(stream of result_beat_layout(bus_bits))
    """

    OFFERED_APART = 5
    """Least distance of two jobs' ends; the job queue takes 2 to show the next one."""

    BEATS = 8
    """Beats that are there at most, the offered one among them."""

    PLACES = 16
    """Of the memory: whatever is written behind the last beat is over no other one."""

    def __init__(self, *, lanes: int, bus_bits: int, room_words: int,
                 target: str = "generic"):
        self.target = target
        self.lanes, self.bus_bits, self.room_words = lanes, bus_bits, room_words
        super().__init__({
            "valid": In(1), "words": In(data.ArrayLayout(32, lanes)),
            "raw": In(1), "last": In(1), "returned": Out(1),
            "flush": In(1), "halt": In(1), "close": In(1), "close_cause": In(8),
            "open": Out(1), "idle": Out(1), "offered": Out(1), "finished": Out(1),
            "o": Out(stream.Signature(result_beat_layout(bus_bits))),
        })

    def elaborate(self, platform):
        m = Module()
        pack = ResultPack(lanes=self.lanes, bus_bits=self.bus_bits, room_words=self.room_words,
                          target=self.target)
        m.submodules.pack = ResetInserter(self.flush)(pack)
        m.d.comb += [
            pack.valid.eq(self.valid), pack.words.eq(self.words), pack.raw.eq(self.raw),
            pack.last.eq(self.last), self.returned.eq(pack.returned),
            # Not when it leaves the pack: one job's last beat at most waits behind the offered one.
            pack.ended.eq(self.offered),
        ]
        beat = data.StructLayout({"data": self.bus_bits, "keep": self.bus_bits // 8})
        m.submodules.beats = beats = inferred_memory(shape=beat, depth=self.PLACES)
        write, read = beats.write_port(), beats.read_port(domain="comb")
        # Beats behind the offered one; ``last_waits`` tells that the hindmost is a job's last. Each
        # is behind for a cycle at least.
        behind = Signal(range(self.BEATS))
        assert self.BEATS // 2 + ResultPack.STILL_COME < self.BEATS
        any_behind, one_behind, last_waits = Signal(), Signal(), Signal()
        no_close, closes = Signal(init=1), Signal()
        closing, head_last = Signal(), Signal(init=1)
        cause = Signal(8, reset_less=True)
        comes, leaves, free, moves = Signal(), Signal(), Signal(), Signal()
        go = Signal()
        m.d.comb += [
            # After a close, until its byte was taken, nothing else follows. That byte takes a place
            # in the memory as if it was a beat.
            closes.eq(~no_close), go.eq(~self.halt & ~self.flush & no_close),
            comes.eq(pack.o.valid), leaves.eq(self.o.valid & self.o.ready),
            free.eq(~self.o.valid | self.o.ready),
            moves.eq(any_behind & go & free),       # another is offered
            pack.room.eq(~behind[-1]),
            write.en.eq(no_close), write.data.data.eq(pack.o.payload.data),
            write.data.keep.eq(pack.o.payload.keep),
        ]
        m.d.sync += [
            self.offered.eq(last_waits & one_behind & go & free),
            last_waits.eq(go & ((last_waits & ~(one_behind & free))
                                | (comes & pack.o.payload.last))),
        ]
        with m.If(free):
            m.d.sync += self.o.valid.eq(Mux(closes, ~closing, any_behind & go))
        with m.If(free & (closes | (any_behind & go))):
            m.d.sync += head_last.eq(closes | (last_waits & one_behind))
        with m.If(leaves):
            m.d.sync += read.addr.eq(read.addr + 1)
        with m.If(comes):
            m.d.sync += write.addr.eq(write.addr + 1)
        with m.If(comes & ~moves):
            m.d.sync += [any_behind.eq(1), one_behind.eq(~any_behind), behind.eq(behind + 1)]
        with m.Elif(moves & ~comes):
            m.d.sync += [any_behind.eq(~one_behind), one_behind.eq(behind == 2),
                         behind.eq(behind - 1)]
        with m.If(~go):
            m.d.sync += [write.addr.eq(read.addr + self.o.valid),
                         any_behind.eq(0), one_behind.eq(0), behind.eq(0)]
        with m.If(closes & free):
            m.d.sync += [closing.eq(~closing), no_close.eq(closing)]
        with m.If(self.close):
            m.d.sync += [no_close.eq(0), cause.eq(self.close_cause)]
        offered = self.o.payload
        m.d.comb += [
            offered.data.eq(read.data.data), offered.keep.eq(read.data.keep),
            offered.last.eq(head_last), offered.user.eq(closing),
            self.open.eq(~head_last),
            self.idle.eq(~self.o.valid & ~closes),
            self.finished.eq(leaves & head_last & ~closing),
        ]
        with m.If(closing):             # what stands above the byte is nobody's
            m.d.comb += [offered.data[:8].eq(cause), offered.keep.eq(1)]
        return m
