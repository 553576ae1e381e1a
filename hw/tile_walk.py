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
    (``strip_end``) and an activation half (``tile.last``). ``single`` and ``long`` say that it has
    one column, and as many as two tiles' ends must lie apart.
    """
    return data.StructLayout({
        "columns": range(max_k + 1), "strip_base": range(depth_strips),
        "act_base": range(depth_acts), "words": range(cols * (rows // lanes) + 1),
        "strip_end": 1, "single": 1, "long": 1, "tile": tile_layout(rows=rows, cols=cols),
    })


class TileWalk(wiring.Component):
    """From jobs to tiles: strips are the outer loop, token groups the inner one.

    Offers a tile as soon as its strip and its job's activations are loaded, and looks for the next
    one in the cycle after it was taken, so that ``o.ready`` reaches nothing in the same cycle.

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
        The strip loader's next strip.
    acts_ready, acts_take : In, Out
        The activation loader's next half.
    waits_for : Out(Cause)
        Why no tile is offered: weights, activations, or other.
    o : Out(stream of issue_layout(...))
    """

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
        job, o = self.stage.job, self.o.payload
        begun = Signal()                    # `outputs_left` belongs to the job at the front
        outputs_left = Signal(16)
        group, base = Signal(job.groups.shape()), Signal(range(self.half_words))
        bank, half = Signal(range(STRIP_BANKS)), Signal(range(ActLoader.HALVES))
        param_bank = Signal(o.tile.bank.shape())
        last_strip, last_group, offer = Signal(), Signal(), Signal()
        channels = Signal(range(self.cols + 1))
        m.d.comb += [
            last_strip.eq(outputs_left <= self.cols),
            last_group.eq(group + 1 == job.groups),
            channels.eq(Mux(last_strip, outputs_left, self.cols)),
            offer.eq(begun & self.strip_ready & self.acts_ready & ~self.o.valid),
            self.strip_take.eq(offer & last_group),
            self.acts_take.eq(offer & last_group & last_strip),
            self.stage.next.eq(self.acts_take),
        ]
        with m.If(~self.stage.valid):
            m.d.comb += self.waits_for.eq(Cause.OTHER)
        with m.Elif(~self.strip_ready):
            m.d.comb += self.waits_for.eq(Cause.STALL_WEIGHTS)
        with m.Elif(~self.acts_ready):
            m.d.comb += self.waits_for.eq(Cause.STALL_ACTS)
        with m.Else():
            m.d.comb += self.waits_for.eq(Cause.OTHER)

        with m.If(self.o.ready):
            m.d.sync += self.o.valid.eq(0)
        with m.If(self.stage.valid & ~begun):
            m.d.sync += [begun.eq(1), outputs_left.eq(job.outputs)]
        with m.If(offer):
            m.d.sync += [
                self.o.valid.eq(1),
                o.columns.eq(self.strip_length),
                o.single.eq(self.strip_length == 1), o.long.eq(self.strip_length >= self.spacing),
                o.strip_base.eq(bank),
                o.act_base.eq(half * self.half_words + base),
                o.words.eq(sum(channels << bit for bit in range(self.parts.bit_length())
                               if self.parts >> bit & 1)),
                o.strip_end.eq(last_group),
                o.tile.channels.eq(channels),
                o.tile.tokens.eq(Mux(last_group, job.last_tokens, self.rows)),
                o.tile.bank.eq(param_bank),
                o.tile.zero_point.eq(job.zero_point), o.tile.raw.eq(job.raw),
                o.tile.lut.eq(job.lut), o.tile.lut_bank.eq(job.lut_bank),
                o.tile.last.eq(last_strip & last_group),
                group.eq(group + 1), base.eq(base + job.inputs),
            ]
            with m.If(last_group):
                m.d.sync += [group.eq(0), base.eq(0), outputs_left.eq(outputs_left - self.cols),
                             bank.eq(bank + 1), param_bank.eq(param_bank + 1)]
                with m.If(last_strip):
                    m.d.sync += [begun.eq(0), half.eq(half + 1)]
        return m
