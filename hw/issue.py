"""Issues tiles to the array, one column a cycle, when their results have somewhere to go."""
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.array import tile_spacing
from sparseloom.hw.drain import tile_layout
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.strip_loader import STRIP_BANKS
from sparseloom.hw.tile_walk import Cause, issue_layout


class Issue(wiring.Component):
    """Addresses and run markers of one column a cycle; a tile once begun is never interrupted.

    A tile begins only when its last column comes late enough for the array's drain chain to be
    free (:func:`~sparseloom.hw.array.tile_spacing`) and room for all its results is reserved.
    Both are judged a cycle ahead, so it begins ``NOTICE`` cycles after it was offered at the
    earliest; until then the cycle is told to be what ``waits_for`` says.

    Parameters
    ----------
    rows, cols, lanes, max_k : int
        As in :class:`~sparseloom.hw.config.ArrayConfig`.
    depth_strips, depth_acts : int
        Words in the strip and activation buffers.
    room_words : int
        Words of ``lanes`` results that the result side holds, at least a tile's.
    release_delay : int
        Cycles until the last operands are being read, at least ``BEHIND``.
    target : str
        Technology body of the registers that steer many.

    Members
    -------
    i : In(stream of issue_layout(...))
        The payload stays for a cycle after it was taken, so none is offered in that cycle.
    waits_for : In(Cause)
        Why no tile is there.
    returned : In(1)
        A word of results left; its room is free again ``RETURNED`` cycles later.
    strip_addr : Out(range(depth_strips))
    act_base : Out(range(depth_acts))
        Of the column of ``BEHIND`` cycles before.
    first, last : Out(1)
        Markers of this cycle's column.
    tile_end : Out(1)
        ``last``, ``BEHIND`` cycles later.
    tile : Out(tile_layout(...))
        Of the column of ``BEHIND`` cycles before.
    strip_release, acts_release : Out(1)
        A bank, a half may be written again.
    cause : Out(Cause)
        What the cycle before was spent on.
    """

    NOTICE = 1
    """Cycles from a tile's offer until it is judged."""

    BEHIND = 1
    """Cycles from a column to what is not needed with its address, so that a begin steers less."""

    RETURNED = 1
    """Cycles from ``returned`` until its room counts, from a register next to the sum."""

    def __init__(self, *, rows: int, cols: int, lanes: int, max_k: int, depth_strips: int,
                 depth_acts: int, room_words: int, release_delay: int, target: str = "generic"):
        if room_words < cols * (rows // lanes):
            raise ValueError(f"room_words must be at least {cols * (rows // lanes)} (a tile), "
                             f"not {room_words!r}")
        if release_delay < self.BEHIND:
            raise ValueError(f"release_delay must be at least {self.BEHIND}, "
                             f"not {release_delay!r}")
        self.spacing = tile_spacing(rows=rows, cols=cols, lanes=lanes)
        self.room_words, self.release_delay = room_words, release_delay
        self.target = target
        super().__init__({
            "i": In(stream.Signature(issue_layout(
                rows=rows, cols=cols, lanes=lanes, max_k=max_k, depth_strips=depth_strips,
                depth_acts=depth_acts))),
            "waits_for": In(Cause),
            "returned": In(1),
            "strip_addr": Out(range(depth_strips)), "act_base": Out(range(depth_acts)),
            "first": Out(1), "last": Out(1), "tile_end": Out(1),
            "tile": Out(tile_layout(rows=rows, cols=cols)),
            "strip_release": Out(1), "acts_release": Out(1),
            "cause": Out(Cause),
        })

    def elaborate(self, platform):
        m = Module()
        tile = self.i.payload
        # This column included, but in a tile's first, where it is still another's; and whether the
        # tile offered, or begun in the cycle before, has two.
        left, two = Signal(tile.columns.shape(), reset_less=True), Signal(reset_less=True)
        # Of ``left`` in this cycle, known a cycle before: none, one.
        idle, last = Signal(init=1), Signal()
        # Columns that a tile begun in the next cycle must have, unless this one is the last of
        # another; less than the whole distance.
        least = Signal(range(max(self.spacing, 2)))
        short = tile.columns[:len(least)]
        begin, too_short = Signal(), Signal()
        timely = Signal(attrs={"keep": 1})      # one look-up table, so that a begin is another
        m.d.comb += too_short.eq((short - least)[-1])
        # Of the tile offered in the cycle before: it is there, there is room for it (``may``), it
        # comes late enough if the array is idle, and leaves so much room.
        there, may, late = Signal(), Signal(), Signal(reset_less=True)
        # Room is kept as one more than it is, and what a begin leaves of it is subtracted before
        # the begin; a bit below the point takes the sum of two carries. The room itself shrinks in
        # the cycle behind a begin, in which no tile is offered.
        room = Signal(range(self.room_words + 2), init=self.room_words + 1)
        returned, not_returned = Signal(), Signal(init=1)
        left_over = Signal(signed(len(room) + 1), reset_less=True)
        remains = Signal.like(left_over)
        m.d.comb += [
            self.last.eq(last),
            timely.eq(Mux(last, tile.long, idle & late)), begin.eq(may & timely),
            self.i.ready.eq(begin),
        ]
        with m.If(last):
            m.d.sync += [least.eq(max(self.spacing - 2, 0)), late.eq(tile.near)]
        with m.Else():
            m.d.sync += late.eq(tile.near | ~too_short)
            with m.If(least != 0):
                m.d.sync += least.eq(least - 1)
        # A subtraction, which needs no look-up tables in front of its carry to turn the words.
        m.d.comb += remains.eq((Cat(returned, room) - Cat(not_returned, tile.words))[1:])
        m.d.sync += [
            returned.eq(self.returned), not_returned.eq(~self.returned),
            left_over.eq(remains), may.eq(self.i.valid & ~begin & ~remains[-1]),
            there.eq(self.i.valid & ~begin),
        ]
        room_after, room_else = Signal.like(room), Signal.like(room)
        m.d.comb += [room_after.eq((Cat(1, left_over) + Cat(1, returned))[1:]),
                     room_else.eq(room + returned)]
        m.d.sync += room.eq(Mux(self.first, room_after, room_else))

        strip_addr = Signal.like(self.strip_addr, reset_less=True)
        behind = Signal(data.StructLayout({
            "act_base": self.act_base.shape(), "tile": self.tile.shape(), "strip_end": 1}),
            reset_less=True)
        begun = {}
        for name in ("left", "act_base", "tile"):
            m.submodules[f"begun_{name}"] = own = KeptRegister(1, target=self.target)
            m.d.comb += own.i.eq(begin)
            begun[name] = own.o
        m.d.comb += [self.strip_addr.eq(strip_addr), self.act_base.eq(behind.act_base),
                     self.tile.eq(behind.tile)]
        # A begin comes late and steers neither address nor count: that one stands at what is
        # offered, whoever will want it, from a tile's last column on; this one runs on behind a
        # tile, is taken up a cycle late, and two columns are seen before.
        m.d.sync += [two.eq(tile.columns == 2),
                     left.eq(Mux(begun["left"], tile.columns, left) - 1),
                     strip_addr.eq(strip_addr + STRIP_BANKS),
                     self.first.eq(begin), last.eq(~idle & Mux(begun["left"], two, left == 2)),
                     idle.eq(idle | last), self.tile_end.eq(last)]
        with m.If(begin):
            m.d.sync += [last.eq(tile.single), idle.eq(0)]
        with m.If(last | idle):
            m.d.sync += strip_addr.eq(tile.strip_base)
        with m.If(begun["act_base"]):   # the payload stays until the next tile's is there
            m.d.sync += behind.act_base.eq(tile.act_base)
        with m.If(begun["tile"]):
            m.d.sync += [behind.tile.eq(tile.tile), behind.strip_end.eq(tile.strip_end)]

        for name, freed, port in (("strip", behind.strip_end, self.strip_release),
                                  ("acts", behind.tile.last, self.acts_release)):
            value = self.tile_end & freed
            for stage in range(self.BEHIND, self.release_delay):
                value_q = Signal(name=f"{name}_release_{stage}")
                m.d.sync += value_q.eq(value)
                value = value_q
            m.d.comb += port.eq(value)

        # From registers, since a begin comes late and has many to steer.
        active, had_tile, waited_for = Signal(), Signal(), Signal(Cause, init=Cause.OTHER)
        m.d.sync += [active.eq(~idle), had_tile.eq(there), waited_for.eq(self.waits_for)]
        with m.If(active):
            m.d.comb += self.cause.eq(Cause.ACTIVE)
        with m.Elif(~had_tile):
            m.d.comb += self.cause.eq(waited_for)
        with m.Elif(self.first):
            m.d.comb += self.cause.eq(Cause.OTHER)
        with m.Else():
            m.d.comb += self.cause.eq(Cause.STALL_RESULTS)
        return m
