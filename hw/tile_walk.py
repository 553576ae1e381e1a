"""Walks jobs, strips and token groups: which tile comes next, and is everything there for it."""
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, enum, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.act_loader import ActLoader
from sparseloom.hw.array import tile_spacing
from sparseloom.hw.drain import tile_layout
from sparseloom.hw.job_queue import job_layout, stage_signature
from sparseloom.hw.strip_loader import STRIP_BANKS


class Cause(enum.Enum, shape=3):
    """What a cycle was spent on; exactly one holds in every busy cycle."""

    ACTIVE = 0
    STALL_RESULTS = 1
    STALL_WEIGHTS = 2
    STALL_ACTS = 3
    OTHER = 4


def issue_layout(*, rows: int, cols: int, lanes: int, max_k: int, depth_strips: int,
                 depth_acts: int) -> data.StructLayout:
    """A tile ready to be issued.

    Its ``columns`` start at ``strip_base`` of the strip buffer, ``STRIP_BANKS`` words apart; their
    indices are added to ``act_base`` of
    the activation buffer; it makes ``words`` words of results; its end frees a strip bank
    (``strip_end``) and an activation half (``tile.last``). ``single``, ``near`` and ``long`` say
    that it has one column, one less than two tiles' ends must lie apart or more, and as many.
    """
    return data.StructLayout({
        "columns": range(max_k + 1), "strip_base": range(depth_strips),
        "act_base": range(depth_acts), "words": range(cols * (rows // lanes) + 1),
        "strip_end": 1, "single": 1, "near": 1, "long": 1,
        "tile": tile_layout(rows=rows, cols=cols),
    })


class TileWalk(wiring.Component):
    """From jobs to tiles: strips are the outer loop, token groups the inner one.

    Decides for a tile as soon as its strip and its job's activations are loaded, takes it
    ``DECIDE`` cycles later and offers it in the cycle behind; looks for the next one in the cycle
    after it was taken, so that ``o.ready`` reaches nothing in the same cycle. Whatever a tile is
    made of is compared before it is needed, a cycle behind the registers that it is about.

    Parameters
    ----------
    rows, cols, lanes, max_k, act_words : int
        As in :class:`~sparseloom.hw.config.ArrayConfig`.
    half_words : int
        Distance of two activation halves, a power of two.

    Members
    -------
    stage : Out(stage_signature)
        To the job queue.
    strip_ready, strip_length, strip_take : In, In, Out
        The strip loader's next strip; its length is right a cycle before it is ready.
    acts_ready, acts_take : In, Out
        The activation loader's next half.
    waits_for : Out(Cause)
        Why no tile is offered: weights, activations, or other; other while one is.
    o : Out(stream of issue_layout(...))
    """

    DECIDE = 1
    """Cycles from "all is there" to ``strip_take``, from a register that steers all the rest."""

    def __init__(self, *, rows: int, cols: int, lanes: int, max_k: int, act_words: int,
                 half_words: int):
        self.rows, self.cols, self.parts = rows, cols, rows // lanes
        self.half_words = half_words
        self.spacing = tile_spacing(rows=rows, cols=cols, lanes=lanes)
        job = job_layout(rows=rows, max_k=max_k, act_words=act_words)
        super().__init__({
            "stage": Out(stage_signature(job)),
            "strip_ready": In(1), "strip_length": In(range(max_k + 1)), "strip_take": Out(1),
            "acts_ready": In(1), "acts_take": Out(1),
            "waits_for": Out(Cause),
            "o": Out(stream.Signature(issue_layout(
                rows=rows, cols=cols, lanes=lanes, max_k=max_k,
                depth_strips=STRIP_BANKS * max_k,
                depth_acts=ActLoader.HALVES * half_words))),
        })

    def elaborate(self, platform):
        m = Module()
        job = self.stage.job
        o = Signal(self.o.payload.shape(), reset_less=True)
        # What is left belongs to the job at the front; and so does all that follows it.
        begun, looks = Signal(), Signal()           # for a tile, unless one is offered
        outputs_left, groups_left = Signal(16, reset_less=True), Signal.like(job.groups,
                                                                             reset_less=True)
        base = Signal(range(self.half_words), reset_less=True)
        bank, half = Signal(range(STRIP_BANKS)), Signal(range(ActLoader.HALVES))
        param_bank = Signal(o.tile.bank.shape())
        length = Signal.like(self.strip_length, reset_less=True)
        decided, take, restart = Signal(), Signal(), Signal(init=1)
        end_strip, end_job = Signal(), Signal()     # with ``take``: of the last tile
        # Registers that follow others; the next tile is taken three cycles after those change.
        last_strip, last_group = Signal(reset_less=True), Signal(reset_less=True)
        channels = Signal.like(o.tile.channels, reset_less=True)
        words = Signal.like(o.words, reset_less=True)
        tokens = Signal.like(o.tile.tokens, reset_less=True)
        next_base = Signal.like(base, reset_less=True)
        single, near, long = (Signal(reset_less=True, name=name)
                              for name in ("single", "near", "long"))
        of_strip = Mux(last_strip, outputs_left, self.cols)[:len(channels)]
        m.d.sync += [
            # A sum that no other one is made of: its carry goes nowhere else.
            last_strip.eq((outputs_left - (self.cols + 1))[-1]), last_group.eq(groups_left == 1),
            length.eq(self.strip_length),
            single.eq(length == 1), near.eq(length >= max(1, self.spacing - 1)),
            long.eq(length >= self.spacing),
            channels.eq(of_strip),
            words.eq(sum(of_strip << bit for bit in range(self.parts.bit_length())
                         if self.parts >> bit & 1)),
            tokens.eq(Mux(last_group, job.last_tokens, self.rows)),
            next_base.eq(base + job.inputs),
            looks.eq(begun & ~decided), take.eq(decided),
            restart.eq(~begun | end_job | (decided & last_group)),
            end_strip.eq(decided & last_group), end_job.eq(decided & last_group & last_strip),
        ]
        m.d.comb += [
            self.o.payload.eq(o),
            decided.eq(looks & self.strip_ready & self.acts_ready & ~self.o.valid),
            self.strip_take.eq(end_strip), self.acts_take.eq(end_job), self.stage.next.eq(end_job),
        ]
        with m.If(~self.stage.valid | self.o.valid):
            m.d.comb += self.waits_for.eq(Cause.OTHER)
        with m.Elif(~self.strip_ready):
            m.d.comb += self.waits_for.eq(Cause.STALL_WEIGHTS)
        with m.Elif(~self.acts_ready):
            m.d.comb += self.waits_for.eq(Cause.STALL_ACTS)
        with m.Else():
            m.d.comb += self.waits_for.eq(Cause.OTHER)

        # Gates, no enable: ``ready`` comes late.
        m.d.sync += self.o.valid.eq(take | (self.o.valid & ~self.o.ready))
        with m.If(~begun):                  # loads until there is a job, and with it
            m.d.sync += [begun.eq(self.stage.valid), outputs_left.eq(job.outputs)]
        with m.If(take):
            m.d.sync += [
                o.columns.eq(length), o.single.eq(single), o.near.eq(near),
                o.long.eq(long),
                o.strip_base.eq(bank),
                o.act_base.eq(half * self.half_words + base),
                o.words.eq(words),
                o.strip_end.eq(last_group),
                o.tile.channels.eq(channels),
                o.tile.tokens.eq(tokens),
                o.tile.bank.eq(param_bank),
                o.tile.zero_point.eq(job.zero_point), o.tile.raw.eq(job.raw),
                o.tile.lut.eq(job.lut), o.tile.lut_bank.eq(job.lut_bank),
                o.tile.last.eq(last_strip & last_group),
            ]
        with m.If(end_strip):
            m.d.sync += [outputs_left.eq(outputs_left - self.cols),
                         bank.eq(bank + 1), param_bank.eq(param_bank + 1)]
        with m.If(end_job):
            m.d.sync += [begun.eq(0), half.eq(half + 1)]
        with m.If(restart):                 # with a strip's last tile, and behind a job's
            m.d.sync += [groups_left.eq(job.groups), base.eq(0)]
        with m.Elif(take):
            m.d.sync += [groups_left.eq(groups_left - 1), base.eq(next_base)]
        return m
