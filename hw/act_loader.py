"""Loads a job's activations into one half of the activation buffer."""
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.gearbox import Gearbox
from sparseloom.hw.job_queue import CAUSES, job_layout, stage_signature
from sparseloom.hw.layouts import beat_layout, write_signature
from sparseloom.hw.level import counted


class ActLoader(wiring.Component):
    """From beats to words ``x[k, R tokens]`` at ``half, group * K + k``.

    The stream's order is block of ``cols`` channels, token group, channel, so that the results of
    one job are the activations of the next. Loads into the halves in turn, each while it is free.

    Parameters
    ----------
    rows, cols, max_k, act_words, bus_bits : int
        As in :class:`~sparseloom.hw.config.ArrayConfig`.

    Members
    -------
    i : In(stream of beat_layout(bus_bits))
        Not ready until a job waits and a half is free; one beat a cycle at most.
    stage : Out(stage_signature)
        To the job queue.
    write : Out(write_signature(2 * 2**n, rows bytes))
        To the buffer; address ``half * 2**n + word`` with ``2**n >= act_words``.
    ready : Out(1)
        A loaded half waits to be walked.
    take : In(1)
        On to the next job's half.
    release : In(1)
        The oldest half may be loaded anew.
    error : Out(8)
        Cause code for one cycle, else 0; ``JUDGED`` cycles after ``stage.next`` at the latest. No
        new packet is begun until a reset.
    """

    HALVES = 2

    JUDGED = 2
    """Cycles from ``stage.next`` until the half is ready, or what was wrong is told."""

    def __init__(self, *, rows: int, cols: int, max_k: int, act_words: int, bus_bits: int):
        self.rows, self.cols, self.max_k = rows, cols, max_k
        self.act_words, self.bus_bits = act_words, bus_bits
        self.half_words = 1 << (act_words - 1).bit_length()
        job = job_layout(rows=rows, max_k=max_k, act_words=act_words)
        super().__init__({
            "i": In(stream.Signature(beat_layout(bus_bits))),
            "stage": Out(stage_signature(job)),
            "write": Out(write_signature(self.HALVES * self.half_words,
                                         data.ArrayLayout(signed(8), rows))),
            "ready": Out(1), "take": In(1), "release": In(1),
            "error": Out(8),
        })

    def elaborate(self, platform):
        m = Module()
        bus_bytes = self.bus_bits // 8
        m.submodules.gearbox = gearbox = Gearbox(bus_bytes, self.rows)
        job = self.stage.job
        idle, start, entering = Signal(init=1), Signal(), Signal()
        loading, flushing, finished = Signal(), Signal(), Signal()
        half = Signal(range(self.HALVES))
        loaded, waiting = Signal(self.HALVES), Signal(self.HALVES)  # halves; those to be walked
        told = Signal()                             # a mistake was made; until all is dropped

        # A word comes a cycle behind the gearbox, so that registers write it and count. Before a
        # job's first word the counters take a step of their own, into its first block.
        step, word_en, word_last = Signal(), Signal(), Signal()
        word_data = Signal.like(gearbox.o.p.data, reset_less=True)
        word_comes = Signal()

        # Where the word goes: channel block, group, channel of the block. Addresses are kept, not
        # computed, and what ends with a word is known before it. Counters run below 0, where their
        # sign tells the end. What is known of a block before it begins is a cycle behind the
        # registers that it follows: two blocks of one word each are alike in all of it.
        cols = self.cols
        left, last_channel = Signal(range(cols)), Signal(range(cols))   # behind it, of the block
        single = Signal()                                       # the block has one channel
        end_of_block, end_of_group, end_of_job = Signal(), Signal(), Signal()
        groups_left = Signal(signed(len(job.groups) + 1), init=-1)      # behind this one, less one
        last_group, last_block = groups_left[-1], Signal()
        beyond = Signal(range(-2 * cols, self.max_k))    # inputs behind the next block, less one
        next_left, next_single = Signal.like(left), Signal()
        # What it begins with behind this block; below 0 behind the last one.
        all_groups = Signal.like(groups_left, reset_less=True)
        at, next_group = Signal(range(self.half_words)), Signal(range(self.half_words))
        next_block = Signal(range(self.max_k + cols))
        group_behind = Signal.like(at)                          # the second of the next block
        few = Mux(beyond[-1], beyond + cols, cols - 1)[:len(left)]
        m.d.comb += [
            end_of_group.eq(end_of_block & last_group),
            end_of_job.eq(end_of_group & last_block),
        ]
        m.d.sync += [
            next_left.eq(few), next_single.eq((few == 0) | (cols == 1)),
            group_behind.eq(next_block + job.inputs),
            all_groups.eq((job.groups - 2) | last_block.replicate(len(groups_left)).as_signed()),
        ]
        with m.If(idle):
            m.d.sync += [end_of_block.eq(1), last_block.eq(0), next_block.eq(0),
                         beyond.eq(job.inputs - (cols + 1))]
        with m.Elif(step):
            m.d.sync += [left.eq(left - 1), end_of_block.eq(left == 1), at.eq(at + 1)]
            with m.If(end_of_block):
                m.d.sync += [
                    left.eq(last_channel), end_of_block.eq(single),
                    at.eq(next_group), next_group.eq(next_group + job.inputs),
                    groups_left.eq(Mux(last_group, all_groups, groups_left - 1)),
                ]
                with m.If(last_group):
                    m.d.sync += [
                        last_channel.eq(next_left), left.eq(next_left),
                        single.eq(next_single), end_of_block.eq(next_single),
                        last_block.eq(beyond[-1]), beyond.eq(beyond - cols),
                        at.eq(next_block), next_group.eq(group_behind),
                        next_block.eq(next_block + cols),
                    ]

        # Beats.
        keep = self.i.payload.keep
        accepting, taken, ended = Signal(), Signal(), Signal()      # until TLAST was taken; it was
        m.d.comb += [
            gearbox.i.payload.data.eq(self.i.payload.data),
            gearbox.i.payload.last.eq(self.i.payload.last),
            gearbox.i.valid.eq(self.i.valid & accepting),
            self.i.ready.eq(gearbox.i.ready & accepting),
            taken.eq(self.i.valid & self.i.ready),
            start.eq(idle & self.stage.valid & ~loaded[-1] & ~told),
        ]
        with m.If(taken & self.i.payload.last):
            m.d.sync += [ended.eq(1), accepting.eq(0)]
        with m.If(start):
            m.d.sync += accepting.eq(1)
        with m.If(idle):
            m.d.sync += ended.eq(0)

        # Words; behind the last one the gearbox gives out the padding.
        ends = Signal()
        m.d.comb += [
            ends.eq(step & end_of_job), gearbox.o.ready.eq(1),      # it is empty while idle
            word_comes.eq(gearbox.o.valid & loading & ~ends),
            finished.eq(word_last & (flushing | ends)),
            self.write.en.eq(word_en), self.write.addr.eq(Cat(at, half)),
            self.write.data.eq(word_data),
        ]
        finished_q = Signal()
        m.d.sync += [
            word_en.eq(word_comes), step.eq(word_comes | entering),
            word_last.eq(gearbox.o.valid & gearbox.o.p.last), word_data.eq(gearbox.o.p.data),
            entering.eq(start), loading.eq((loading | start) & ~ends),
            flushing.eq((flushing | ends) & ~finished),
            self.stage.next.eq(finished), finished_q.eq(self.stage.next),
            idle.eq((idle | finished_q) & ~start),
        ]
        with m.If(self.stage.next):
            m.d.sync += half.eq(half + 1)
        made, announced = Signal(3), Signal()       # what was wrong; a half is ready
        m.d.sync += [loaded.eq(counted(loaded, self.stage.next, self.release)),
                     waiting.eq(counted(waiting, announced, self.take))]
        m.d.comb += [announced.eq(finished_q & ~made.any()), self.ready.eq(waiting[0])]

        # Bytes taken from the stream and not yet given out as words, above a word's. They are
        # summed two cycles late, like all that is judged: those of a beat are counted before it is
        # known whether it is taken. A beat with gaps is told before its bytes are missed.
        surplus = Signal(signed((3 * bus_bytes + 3 * self.rows).bit_length() + 1), init=-self.rows)
        change = Signal(range(-self.rows, bus_bytes + 1))
        taken_q, bad_keep = Signal(), Signal(reset_less=True)
        kept = Signal(range(bus_bytes + 1), reset_less=True)
        gaps = Cat(keep[byte] & ~keep[byte - 1] for byte in range(1, bus_bytes))
        m.d.sync += [
            taken_q.eq(taken),
            bad_keep.eq(gaps.any() | ~keep[0] | ~(keep[-1] | self.i.payload.last)),
            kept.eq(Cat(Cat(keep[low - 1] & ~keep[low + step - 1:low + step].any()
                            for low in range(step, bus_bytes + 1, 2 * step)).any()
                        for step in (1 << bit for bit in range(len(kept))))),
            change.eq((kept & taken_q.replicate(len(kept)))
                      - (self.rows & word_en.replicate(self.rows.bit_length()))),
            surplus.eq(surplus + change),
        ]
        with m.If(idle):
            m.d.sync += surplus.eq(-self.rows)
        judged, last_q, end_of_job_q = Signal(), Signal(), Signal()
        ended_q = Signal(2)
        m.d.sync += [judged.eq(word_en), last_q.eq(word_last), end_of_job_q.eq(end_of_job),
                     ended_q.eq(Cat(ended, ended_q))]
        mistakes = [
            ("acts_keep", taken_q & bad_keep),
            ("acts_early_last", judged & (surplus[-1] | (last_q & ~end_of_job_q))),
            ("acts_late_last", judged & end_of_job_q & (~ended_q[-1] | (surplus != 0))),
        ]
        m.d.sync += [made.eq(Cat(wrong for _, wrong in mistakes)), told.eq(told | made.any())]
        cause = Signal(8)
        for (name, _), wrong in reversed(list(zip(mistakes, made, strict=True))):
            with m.If(wrong):
                m.d.comb += cause.eq(CAUSES[name])
        m.d.sync += self.error.eq(cause)
        return m
