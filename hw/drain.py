"""Reads finished tiles off the array's left edge, a few sums a cycle, with their parameters."""
from amaranth.hdl import Array as Mux
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.array import Array as CellArray
from sparseloom.hw.array import drain_spacing, tile_spacing
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.layouts import ScaleParams, read_signature
from sparseloom.hw.memory import SimpleDualPort

PARAM_BANKS = 4
"""Strips whose output parameters are held: one loading, one computing, one draining, one spare."""


def param_stride(cols: int) -> int:
    """Words between two strips' output parameters: a power of two, so that no product is needed."""
    return 1 << (cols - 1).bit_length()


def tile_layout(*, rows: int, cols: int) -> data.StructLayout:
    """What post-processing must know of a tile.

    ``channels`` outputs (1 to cols) of ``tokens`` rows (1 to rows); ``bank`` of the parameters;
    the job's ``zero_point``, ``raw``, ``lut`` and ``lut_bank``; ``last`` tile of the job.
    """
    return data.StructLayout({
        "channels": range(cols + 1), "tokens": range(rows + 1), "bank": range(PARAM_BANKS),
        "zero_point": signed(8), "raw": 1, "lut": 1, "lut_bank": 1, "last": 1,
    })


class Drain(wiring.Component):
    """From the end of a tile to a stream of sums for the post-processor.

    ``tile_end`` comes with the tile's last column; the drain waits ``latency`` cycles until the
    array shows its sums, then reads ``lanes`` sums a cycle: each output in turn,
    each row group in turn. It never waits, so the taker has room for a whole tile before the tile
    is issued. Tile ends are at least :func:`~sparseloom.hw.array.tile_spacing` cycles apart.

    Parameters
    ----------
    rows, cols, sum_bits, lanes : int
        Of the array; ``lanes`` divides ``rows``.
    latency : int
        Cycles from ``tile_end`` until ``edge`` shows the whole first column of sums.
    target : str
        Technology body of the kept registers.

    Members
    -------
    tile_end : In(1)
    tile : In(tile_layout(...))
        Sampled with ``tile_end``.
    edge : In(ArrayLayout(signed(sum_bits), rows))
    shift : Out(1)
        To the array.
    params : In(read signature)
        Parameter memory, address ``bank * param_stride(cols) + channel``.
    valid : Out(1)
    sums : Out(ArrayLayout(signed(sum_bits), lanes))
    scale : Out(ScaleParams)
    keep : Out(lanes)
        Lanes that hold a token.
    o_tile : Out(tile_layout(...))
        The tile these sums belong to.
    last : Out(1)
        Last sums of the job.
    """

    def __init__(self, *, rows: int, cols: int, sum_bits: int, lanes: int, latency: int,
                 target: str = "generic"):
        if rows % lanes:
            raise ValueError(f"lanes must divide rows = {rows}, not {lanes!r}")
        if latency <= SimpleDualPort.LATENCY:
            raise ValueError(f"latency must be above {SimpleDualPort.LATENCY} (the parameters'), "
                             f"not {latency!r}")
        self.rows, self.cols, self.lanes, self.sum_bits = rows, cols, lanes, sum_bits
        self.latency, self.target = latency, target
        tile = tile_layout(rows=rows, cols=cols)
        super().__init__({
            "tile_end": In(1), "tile": In(tile),
            "edge": In(data.ArrayLayout(signed(sum_bits), rows)),
            "shift": Out(1),
            "params": Out(read_signature(PARAM_BANKS * param_stride(cols), ScaleParams)),
            "valid": Out(1),
            "sums": Out(data.ArrayLayout(signed(sum_bits), lanes)),
            "scale": Out(ScaleParams),
            "keep": Out(lanes),
            "o_tile": Out(tile),
            "last": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        parts = self.rows // self.lanes
        spacing = drain_spacing(rows=self.rows, cols=self.cols, lanes=self.lanes)
        lookahead = SimpleDualPort.LATENCY
        # The walk starts `lookahead` cycles before the edge is readable, less the register between.
        wait = self.latency - lookahead - 1

        # Tiles that wait for their sums, oldest at `head`; their spacing bounds their number.
        # One that is followed by none takes no pointers.
        most = wait // tile_spacing(rows=self.rows, cols=self.cols, lanes=self.lanes) + 1
        in_flight = 1 << (most - 1).bit_length()
        pending = Signal(data.ArrayLayout(self.tile.shape(), in_flight), reset_less=True)
        head, tail = Signal(range(in_flight)), Signal(range(in_flight))
        with m.If(self.tile_end):
            m.d.sync += [pending[tail].eq(self.tile), tail.eq(tail + 1)]
        start = self.tile_end
        for stage in range(wait):
            start_q = Signal(name=f"start_{stage}")
            m.d.sync += start_q.eq(start)
            start = start_q

        walking = Signal()
        tile = Signal(self.tile.shape(), reset_less=True)
        channel, phase = Signal(range(self.cols)), Signal(range(max(spacing, 2)))
        end_of_channel, end_of_tile = Signal(), Signal()
        # Whether this is a tile's last channel is known from the channel's second cycle on: it has
        # two if there are others.
        final_channel = Signal(range(self.cols), reset_less=True)
        in_final = Signal(reset_less=True)
        if self.cols > 1:
            m.d.sync += in_final.eq(channel == final_channel)
        else:
            m.d.comb += in_final.eq(1)
        m.d.comb += [
            end_of_channel.eq(phase == spacing - 1),
            end_of_tile.eq(end_of_channel & in_final),
        ]
        with m.If(walking):
            m.d.sync += phase.eq(phase + 1)
            with m.If(end_of_channel):
                m.d.sync += [phase.eq(0), channel.eq(channel + 1)]
            with m.If(end_of_tile):
                m.d.sync += walking.eq(0)
        next_tile = pending[head] if wait else self.tile
        with m.If(start):
            m.d.sync += [walking.eq(1), phase.eq(0), channel.eq(0),
                         tile.eq(next_tile), final_channel.eq(next_tile.channels - 1),
                         head.eq(head + 1)]

        stride_bits = (self.cols - 1).bit_length()
        reads = Signal()
        m.d.comb += reads.eq(walking & (phase < parts))
        address = Signal.like(self.params.addr, reset_less=True)
        m.d.sync += address.eq(Cat(channel[:stride_bits], tile.bank))
        walk = Signal(data.StructLayout({
            "phase": phase.shape(), "last": 1, "tile": self.tile.shape()}))
        shift = Signal()
        m.d.comb += [
            shift.eq(walking & end_of_channel & ~end_of_tile),
            walk.phase.eq(phase),
            walk.last.eq(tile.last & (phase == parts - 1)),
            walk.tile.eq(tile),
        ]
        # The edge is read a cycle before its parameters arrive, and registered once more. Only what
        # says that something is there has a reset, and each lane has its own copy of the phase.
        # The edge moves on in the cycle behind the last read of it.
        phase, shifts_at = walk.phase, lookahead + 1 - CellArray.SHIFT_LATENCY
        for stage in range(lookahead):
            walk_q = Signal(walk.shape(), name=f"walk_{stage}", reset_less=True)
            reads_q = Signal(name=f"reads_{stage}")
            if stage < shifts_at:
                shift_q = Signal(name=f"shift_{stage}")
                m.d.sync += shift_q.eq(shift)
                shift = shift_q
            m.d.sync += [walk_q.eq(walk), reads_q.eq(reads)]
            if stage == 1:
                m.d.sync += walk_q.last.eq(walk.last & in_final)
            phase, walk, reads = walk.phase, walk_q, reads_q
        m.d.comb += self.shift.eq(shift)
        edge = self.edge.as_value()
        out = Signal(data.StructLayout({
            "sums": self.sums.shape(), "keep": self.lanes,
            "tile": self.tile.shape(), "last": 1}), reset_less=True)
        m.d.sync += [self.valid.eq(reads), out.tile.eq(walk.tile),
                     out.last.eq(walk.last)]
        for lane in range(self.lanes):
            m.submodules[f"phase_{lane}"] = own = KeptRegister(len(phase), target=self.target)
            row = [part * self.lanes + lane for part in range(parts)]
            m.d.comb += own.i.eq(phase)
            m.d.sync += [
                out.sums[lane].eq(Mux([edge.word_select(r, self.sum_bits) for r in row])[own.o]),
                out.keep[lane].eq(Mux([r < walk.tile.tokens for r in row])[own.o]),
            ]
        m.d.comb += [self.params.addr.eq(address), self.scale.eq(self.params.data),
                     self.sums.eq(out.sums), self.keep.eq(out.keep),
                     self.o_tile.eq(out.tile), self.last.eq(out.last)]
        return m
