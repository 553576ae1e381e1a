"""Loads a job's activations into one half of the activation buffer."""
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.gearbox import Gearbox
from sparseloom.hw.job_queue import CAUSES, job_layout, stage_signature
from sparseloom.hw.layouts import beat_layout, write_signature


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
        Cause code for one cycle, else 0; ``ERROR_LATENCY`` cycles after what it tells of. No new
        packet is begun meanwhile.
    """

    HALVES = 2

    ERROR_LATENCY = 3
    """Cycles from a mistake to ``error``: bytes counted, what is wrong, the first of its causes."""

    class _State(enum.Enum):
        WAIT = 0   # for a job and a free half
        LOAD = 1
        FLUSH = 2  # the gearbox gives out the padding behind the last word

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
        state = Signal(self._State)
        half = Signal(range(self.HALVES))
        loaded, waiting = Signal(range(self.HALVES + 1)), Signal(range(self.HALVES + 1))

        # Where the next word goes: channel block, group, channel of the block.
        # Addresses are kept, not computed, and what ends with a word is known a word before.
        cols = self.cols
        left, last_channel = Signal(range(cols)), Signal(range(cols))   # behind it, of the block
        single = Signal()                                       # the block has one channel
        beyond = Signal(signed(len(job.inputs) + 1))            # inputs behind this block
        last_block, last_group = Signal(), Signal()
        groups_left = Signal(job.groups.shape())                # behind this one
        block = Signal(range(self.max_k + cols))
        at, group_at = Signal(range(self.half_words)), Signal(range(self.half_words))
        end_of_block, end_of_group, end_of_job = Signal(), Signal(), Signal()
        next_block, next_group = Signal.like(block), Signal.like(at)
        m.d.comb += [
            end_of_group.eq(end_of_block & last_group),
            end_of_job.eq(end_of_group & last_block),
            next_block.eq(block + cols), next_group.eq(group_at + job.inputs),
        ]

        def enter_block(inputs):
            """``inputs`` are left, those of the block included."""
            bits = cols.bit_length()        # a carry chain over all of ``inputs`` takes longer
            few, low = ~inputs[bits:].any(), inputs[:bits]
            behind = Mux(few & (low < cols), low - 1, cols - 1)
            alone = (few & (low == 1)) | (cols == 1)
            m.d.sync += [
                last_channel.eq(behind), left.eq(behind), single.eq(alone), end_of_block.eq(alone),
                last_block.eq(few & (low <= cols)), beyond.eq(inputs - cols),
                groups_left.eq(job.groups - 1), last_group.eq(job.groups == 1),
            ]

        # Bytes taken from the stream and not yet given out as words; a cycle late, like all that is
        # judged: the bytes of a beat are counted before it is known whether the beat is taken.
        balance = Signal(range(3 * bus_bytes + 3 * self.rows + 1))
        ended = Signal()  # TLAST was taken
        keep, full, contiguous = self.i.payload.keep, Signal(), Signal()
        taken, kept = Signal(), Signal(range(bus_bytes + 1), reset_less=True)
        taken_q, bad_keep = Signal(), Signal(reset_less=True)
        m.d.sync += [
            taken_q.eq(taken), kept.eq(sum(keep[byte] for byte in range(bus_bytes))),
            bad_keep.eq(~(contiguous & keep[0] & (full | self.i.payload.last))),
        ]
        m.d.comb += [
            full.eq(keep.all()),
            contiguous.eq((keep & (keep + 1)[:bus_bytes]) == 0),
            gearbox.i.payload.data.eq(self.i.payload.data),
            gearbox.i.payload.last.eq(self.i.payload.last),
        ]
        accepting = Signal()        # in state LOAD until TLAST was taken
        with m.If(accepting):
            m.d.comb += [
                gearbox.i.valid.eq(self.i.valid),
                self.i.ready.eq(gearbox.i.ready),
            ]
        m.d.comb += taken.eq(self.i.valid & self.i.ready)
        with m.If(taken & self.i.payload.last):
            m.d.sync += [ended.eq(1), accepting.eq(0)]

        word, word_taken = gearbox.o.payload, Signal()
        m.d.comb += [
            word_taken.eq((state == self._State.LOAD) & gearbox.o.valid),
            gearbox.o.ready.eq(state != self._State.WAIT),
            self.write.en.eq(word_taken),
            self.write.addr.eq(Cat(at, half)),
            self.write.data.eq(word.data),
        ]
        word_taken_q, word_last_q, end_of_job_q, ended_q = Signal(), Signal(), Signal(), Signal()
        m.d.sync += [
            word_taken_q.eq(word_taken), word_last_q.eq(word.last), end_of_job_q.eq(end_of_job),
            ended_q.eq(ended),
            balance.eq(balance + (kept & taken_q.replicate(len(kept)))
                       - (self.rows & word_taken_q.replicate(self.rows.bit_length()))),
        ]

        finished = Signal()
        finished_q, finished_q2, announced = Signal(), Signal(), Signal()
        made = Signal(3)            # what was wrong two cycles before
        pending = Signal()          # a mistake is on its way to the fault unit
        with m.Switch(state):
            with m.Case(self._State.WAIT):
                enter_block(job.inputs)
                m.d.sync += [block.eq(0), at.eq(0), group_at.eq(0),
                             balance.eq(0), ended.eq(0)]
                with m.If(self.stage.valid & ~pending & (loaded != self.HALVES)):
                    m.d.sync += [state.eq(self._State.LOAD), accepting.eq(1)]
            with m.Case(self._State.LOAD):
                with m.If(word_taken):
                    m.d.sync += [left.eq(left - 1), end_of_block.eq(left == 1), at.eq(at + 1)]
                    with m.If(end_of_block):
                        m.d.sync += [left.eq(last_channel), end_of_block.eq(single),
                                     at.eq(next_group), group_at.eq(next_group),
                                     groups_left.eq(groups_left - 1),
                                     last_group.eq(groups_left == 1)]
                    with m.If(end_of_group):
                        enter_block(beyond)
                        m.d.sync += [block.eq(next_block), at.eq(next_block),
                                     group_at.eq(next_block)]
                    with m.If(end_of_job):
                        m.d.sync += [state.eq(self._State.FLUSH), accepting.eq(0)]
                        with m.If(word.last):
                            m.d.comb += finished.eq(1)
                            m.d.sync += state.eq(self._State.WAIT)
            with m.Case(self._State.FLUSH):
                with m.If(gearbox.o.valid & word.last):
                    m.d.comb += finished.eq(1)
                    m.d.sync += state.eq(self._State.WAIT)

        m.d.comb += [
            self.stage.next.eq(finished), self.ready.eq(waiting != 0),
            announced.eq(finished_q2 & ~made.any()),
        ]
        m.d.sync += [
            loaded.eq(loaded + finished - self.release),
            waiting.eq(waiting + announced - self.take),
            finished_q.eq(finished), finished_q2.eq(finished_q),
        ]
        with m.If(finished):
            m.d.sync += half.eq(half + 1)

        mistakes = [
            ("acts_keep", taken_q & bad_keep),
            ("acts_early_last",
             word_taken_q & ((balance < self.rows) | (word_last_q & ~end_of_job_q))),
            ("acts_late_last",
             word_taken_q & end_of_job_q & (~ended_q | (balance != self.rows))),
        ]
        m.d.sync += made.eq(Cat(wrong for _, wrong in mistakes))
        cause = Signal(8)
        for (name, _), wrong in reversed(list(zip(mistakes, made, strict=True))):
            with m.If(wrong):
                m.d.comb += cause.eq(CAUSES[name])
        m.d.sync += self.error.eq(cause)
        told = Signal()
        m.d.sync += told.eq(made.any())
        m.d.comb += pending.eq(finished_q | made.any() | told)
        return m
