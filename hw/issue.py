"""Issues tiles to the array, one column a cycle, when their results have somewhere to go."""
from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.array import tile_spacing
from sparseloom.hw.drain import tile_layout
from sparseloom.hw.strip_loader import STRIP_BANKS
from sparseloom.hw.tile_walk import Cause, issue_layout


class Issue(wiring.Component):
    """Addresses and run markers of one column a cycle; a tile once begun is never interrupted.

    A tile begins only when its last column comes late enough for the array's drain chain to be
    free (:func:`~sparseloom.hw.array.tile_spacing`) and room for all its results is reserved.

    Parameters
    ----------
    rows, cols, lanes, max_k : int
        As in :class:`~sparseloom.hw.config.ArrayConfig`.
    depth_strips, depth_acts : int
        Words in the strip and activation buffers.
    room_words : int
        Words of ``lanes`` results that the result side holds, at least a tile's.
    release_delay : int
        Cycles until the last operands were read.

    Members
    -------
    i : In(stream of issue_layout(...))
    waits_for : In(Cause)
        Why ``i`` is not valid.
    returned : In(1)
        A word of results left; its room is free again.
    strip_addr : Out(range(depth_strips))
    act_base : Out(range(depth_acts))
    first, last : Out(1)
        Markers of this cycle's column.
    tile : Out(tile_layout(...))
        Of the column marked ``last``.
    strip_release, acts_release : Out(1)
        A bank, a half may be written again.
    cause : Out(Cause)
        What this cycle is spent on.
    """

    def __init__(self, *, rows: int, cols: int, lanes: int, max_k: int, depth_strips: int,
                 depth_acts: int, room_words: int, release_delay: int):
        if room_words < cols * (rows // lanes):
            raise ValueError(f"room_words must be at least {cols * (rows // lanes)} (a tile), "
                             f"not {room_words!r}")
        self.spacing = tile_spacing(rows=rows, cols=cols, lanes=lanes)
        self.room_words, self.release_delay = room_words, release_delay
        super().__init__({
            "i": In(stream.Signature(issue_layout(
                rows=rows, cols=cols, lanes=lanes, max_k=max_k, depth_strips=depth_strips,
                depth_acts=depth_acts))),
            "waits_for": In(Cause),
            "returned": In(1),
            "strip_addr": Out(range(depth_strips)), "act_base": Out(range(depth_acts)),
            "first": Out(1), "last": Out(1),
            "tile": Out(tile_layout(rows=rows, cols=cols)),
            "strip_release": Out(1), "acts_release": Out(1),
            "cause": Out(Cause),
        })

    def elaborate(self, platform):
        m = Module()
        tile = self.i.payload
        left = Signal(tile.columns.shape())            # columns still to issue, this one included
        # Of ``left`` in this cycle, known a cycle before: none, one; none or one.
        active, last, free = Signal(), Signal(), Signal(init=1)
        # Columns that a tile begun now must have, less than the whole distance.
        least = Signal(range(self.spacing + 1))
        room = Signal(range(self.room_words + 1), init=self.room_words)
        begin, strip_end = Signal(), Signal()
        short = tile.columns[:len(least)]
        m.d.comb += [
            self.last.eq(last),
            begin.eq(self.i.valid & free & (room >= tile.words)
                     & (tile.long | (~last & (short >= least)))),
            self.i.ready.eq(begin),
        ]
        with m.If(last):
            m.d.sync += least.eq(self.spacing - 1)
        with m.Elif(least != 0):
            m.d.sync += least.eq(least - 1)
        m.d.sync += room.eq(room + self.returned - Mux(begin, tile.words, 0))
        with m.If(active):
            m.d.sync += [left.eq(left - 1), self.strip_addr.eq(self.strip_addr + STRIP_BANKS),
                         self.first.eq(0), last.eq(left == 2), active.eq(~last),
                         free.eq((left == 2) | last)]
        with m.If(begin):
            m.d.sync += [
                left.eq(tile.columns), self.first.eq(1), active.eq(1), last.eq(tile.single),
                free.eq(tile.single),
                self.strip_addr.eq(tile.strip_base), self.act_base.eq(tile.act_base),
                self.tile.eq(tile.tile), strip_end.eq(tile.strip_end),
            ]

        for name, freed, port in (("strip", strip_end, self.strip_release),
                                  ("acts", self.tile.last, self.acts_release)):
            value = self.last & freed
            for stage in range(self.release_delay):
                value_q = Signal(name=f"{name}_release_{stage}")
                m.d.sync += value_q.eq(value)
                value = value_q
            m.d.comb += port.eq(value)

        with m.If(active):
            m.d.comb += self.cause.eq(Cause.ACTIVE)
        with m.Elif(~self.i.valid):
            m.d.comb += self.cause.eq(self.waits_for)
        with m.Elif(begin):
            m.d.comb += self.cause.eq(Cause.OTHER)
        with m.Else():
            m.d.comb += self.cause.eq(Cause.STALL_RESULTS)
        return m
