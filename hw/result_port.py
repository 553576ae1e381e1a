"""From post-processed results to the beats of the result stream, and its orderly end."""
from amaranth.hdl import Cat, Module, Mux, ResetInserter, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.block_fifo import BlockFifo
from sparseloom.hw.gearbox import Gearbox
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.layouts import result_beat_layout


class WordCut(wiring.Component):
    """Cuts words into whole beats, lowest first, out of one register.

    Where :class:`~sparseloom.hw.gearbox.Gearbox` has two: here ``o.ready`` does reach ``i.ready``,
    and may, since it comes from a register. A beat leaves in every cycle.

    Parameters
    ----------
    parts : int
        Beats in a word, at least 2.
    beat_bits : int

    Members
    -------
    i, o : In, Out(stream of {data, last})
        ``o.last`` is up with the last beat of a word with ``i.last``.
    """

    def __init__(self, *, parts: int, beat_bits: int):
        self.parts, self.beat_bits = parts, beat_bits
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"data": parts * beat_bits, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({"data": beat_bits, "last": 1}))),
        })

    def elaborate(self, platform):
        m = Module()
        word = Signal(self.i.p.shape(), reset_less=True)
        at, at_last = Signal(range(self.parts), reset_less=True), Signal(reset_less=True)
        m.d.comb += [
            self.i.ready.eq(~self.o.valid | (self.o.ready & at_last)),
            self.o.p.data.eq(word.data.word_select(at, self.beat_bits)),
            self.o.p.last.eq(word.last & at_last),
        ]
        with m.If(self.i.ready):
            m.d.sync += [word.eq(self.i.p), self.o.valid.eq(self.i.valid), at.eq(0),
                         at_last.eq(0)]
        with m.Elif(self.o.ready):
            m.d.sync += [at.eq(at + 1), at_last.eq(at == self.parts - 2)]
        return m


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
        A word left ``RETURN`` cycles ago; its room is free.
    ended : In(1)
        The last beat of the job is on its way out: the next job's words may follow.
    o : Out(stream of result_beat_layout(bus_bits))
        ``user`` is always 0.
    """

    RETURN = 1
    """Cycles from a word's leaving to ``returned``, which has far to go."""

    def __init__(self, *, lanes: int, bus_bits: int, room_words: int,
                 target: str = "generic"):
        self.target = target
        self.lanes, self.bus_bits, self.room_words = lanes, bus_bits, room_words
        super().__init__({
            "valid": In(1), "words": In(data.ArrayLayout(32, lanes)),
            "raw": In(1), "last": In(1),
            "returned": Out(1), "ended": In(1),
            "o": Out(stream.Signature(result_beat_layout(bus_bits))),
        })

    def elaborate(self, platform):
        m = Module()
        bus_bytes = self.bus_bits // 8
        word = data.StructLayout({"words": self.words.shape(), "raw": 1, "last": 1})
        m.submodules.fifo = fifo = BlockFifo(shape=word, depth=self.room_words,
                                             target=self.target)
        popped = fifo.o.payload
        m.d.comb += [
            fifo.i.payload.words.eq(self.words), fifo.i.payload.raw.eq(self.raw),
            fifo.i.payload.last.eq(self.last), fifo.i.valid.eq(self.valid),
        ]
        m.submodules.bytes = narrow = Gearbox(self.lanes, bus_bytes)
        parts, rest = divmod(4 * self.lanes, bus_bytes)
        cut = parts > 1 and not rest
        m.submodules.sums = wide = (WordCut(parts=parts, beat_bits=self.bus_bits) if cut
                                    else Gearbox(4 * self.lanes, bus_bytes))
        # One job's results leave before the other gearbox may speak, so a word waits for both.
        ending, raw_out, taken = Signal(), Signal(reset_less=True), Signal()
        with m.If(fifo.o.valid & ~ending):
            m.d.comb += [narrow.i.valid.eq(~popped.raw), wide.i.valid.eq(popped.raw)]
        m.d.comb += [
            narrow.i.payload.data.eq(Cat(popped.words[lane][:8] for lane in range(self.lanes))),
            wide.i.payload.data.eq(popped.words),
            narrow.i.payload.last.eq(popped.last), wide.i.payload.last.eq(popped.last),
            fifo.o.ready.eq(~ending & wide.i.ready & narrow.i.ready),
            taken.eq(fifo.o.valid & fifo.o.ready),
        ]
        m.d.sync += self.returned.eq(taken)
        with m.If(taken):
            m.d.sync += [ending.eq(popped.last), raw_out.eq(popped.raw)]
        # At most one of them holds anything, so that both may see the same ``ready``.
        for gearbox, chosen in ((narrow, ~raw_out), (wide, raw_out)):
            beat = gearbox.o.payload
            m.d.comb += gearbox.o.ready.eq(self.o.ready)
            with m.If(chosen):
                m.d.comb += [
                    self.o.valid.eq(gearbox.o.valid),
                    self.o.payload.data.eq(beat.data), self.o.payload.last.eq(beat.last),
                    *(self.o.payload.keep[byte].eq(
                        1 if gearbox is wide and cut else beat.count > byte)
                      for byte in range(bus_bytes)),
                ]
        with m.If(self.ended):
            m.d.sync += ending.eq(0)
        return m


class ResultPort(wiring.Component):
    """The register in front of the result stream: what it offers is never taken back.

    ``o.ready`` reaches no other register but this one and the one that waits behind it.

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
    close_cause : In(8)
    open : Out(1)
        A packet was begun, and its last beat is not yet offered.
    idle : Out(1)
        No beat is offered, no close is due.
    offered : Out(1)
        The last beat of a job's results moves into the register. Up ``OFFERED_APART`` cycles after
        it was up before, at the earliest.
    finished : Out(1)
        That beat was taken.
    o : Out(stream of result_beat_layout(bus_bits))
    """

    OFFERED_APART = 2
    """Least distance of two jobs' ends: so long the job queue takes to show the next one."""

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
            # Not when it leaves the pack: behind a job's end that waits in the second register the
            # next job's would follow at once.
            pack.ended.eq(self.offered),
        ]
        # A beat that comes while the offered one stays waits in a second register, so that what
        # is behind does not depend on the sink in the same cycle. It was not offered, and makes
        # room for the closing beat when that is due.
        spare = Signal(self.o.payload.shape(), reset_less=True)
        offer = Signal.like(spare, reset_less=True)
        no_spare, closing = Signal(init=1), Signal()
        free, begun, there, last = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            self.o.payload.eq(offer),
            free.eq(~self.o.valid | self.o.ready),
            there.eq(closing | ((~no_spare | pack.o.valid) & ~self.halt & ~self.flush)),
            last.eq(Mux(no_spare, pack.o.payload.last, spare.last)),
            self.open.eq(begun),
            self.idle.eq(~self.o.valid & ~closing),
            self.offered.eq(free & there & ~closing & last),
            self.finished.eq(self.o.valid & self.o.ready & offer.last & ~offer.user),
        ]
        # The register follows whenever it is free; only ``valid`` depends on what there is.
        # What steers the beats is one register, what steers the stages behind another.
        will_be_free = Signal()
        m.submodules.ready = ready = KeptRegister(1, target=self.target)
        m.d.sync += no_spare.eq(will_be_free)
        m.d.comb += [will_be_free.eq(no_spare), ready.i.eq(will_be_free),
                     pack.o.ready.eq(ready.o)]
        with m.If(free):
            m.d.sync += [self.o.valid.eq(there), offer.eq(Mux(no_spare, pack.o.payload, spare)),
                         closing.eq(0)]
            m.d.comb += will_be_free.eq(1)
            with m.If(there):
                m.d.sync += begun.eq(~last)
        with m.Elif(pack.o.valid):
            m.d.comb += will_be_free.eq(0)
        with m.If(no_spare):
            m.d.sync += spare.eq(pack.o.payload)
        with m.If(self.flush & ~closing):
            m.d.comb += will_be_free.eq(1)
        with m.If(self.close):          # one byte; what stands above it is nobody's
            m.d.comb += will_be_free.eq(0)
            m.d.sync += [
                closing.eq(1), spare.data[:8].eq(self.close_cause),
                spare.keep.eq(1), spare.last.eq(1), spare.user.eq(1),
            ]
        return m
