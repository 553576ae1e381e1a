"""The systolic array: a grid of cells, the skew in front of it, the drain chain through it."""
from collections.abc import Mapping

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.cell import Cell
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.pair_cell import PairCell
from sparseloom.hw.weight_word import word_layout


def drain_spacing(*, rows: int, cols: int, lanes: int) -> int:
    """Cycles between two shift pulses: ``rows / lanes`` reads, and at least two if it shifts."""
    return max(rows // lanes, 2 if cols > 1 else 1)


def tile_spacing(*, rows: int, cols: int, lanes: int) -> int:
    """Least distance in cycles between the last columns of two tiles.

    All rows' sums of a column are read together, after the slowest row arrived (``rows``), and
    ``cols - 1`` shifts follow; then the next tile's sums may land.
    """
    return rows + (cols - 1) * drain_spacing(rows=rows, cols=cols, lanes=lanes)


class Array(wiring.Component):
    """R x C output-stationary cells with nearest-neighbour wires only.

    Row r is delayed by r cycles and column c by c, so that activation and weight of one k meet in
    every cell. Sums leave at the left edge, column 0 first. With weights of 4 bits two columns are
    one :class:`~.pair_cell.PairCell` in each row, and pair c is delayed by c; a last column without
    a neighbour is a cell of its own.

    Parameters
    ----------
    rows, cols : int
        Cells down (tokens) and across (outputs).
    sum_bits : int
        Width of an accumulator.
    weight_bits : int
        8 or 4.
    target : str
        Technology body of the cells.
    bels : dict of (row, column) to str, optional
        Places of the multipliers, from :mod:`~.floorplan`.

    Members
    -------
    x : In(ArrayLayout(signed(8), rows))
        One activation for each token, all of the same k.
    w : In(word_layout(cols, weight_bits))
        One weight for each output, of that k; joined in pairs where they have 4 bits.
    first, last : In(1)
        Mark the first and the last k of a tile.
    shift : In(1)
        Move all sums one column to the left; the first pulse at ``capture_latency + 1`` or later,
        two pulses at least two cycles apart.
    edge : Out(ArrayLayout(signed(sum_bits), rows))
        Sums of column 0. Those of a whole tile are complete from ``capture_latency`` cycles after
        ``last``; after one shift pulse the next column shows in the next cycle.
    """

    def __init__(self, *, rows: int, cols: int, sum_bits: int, weight_bits: int = 8,
                 target: str = "generic",
                 bels: Mapping[tuple[int, int], str] | None = None):
        for name, value in (("rows", rows), ("cols", cols)):
            if not 1 <= value <= 32:
                raise ValueError(f"{name} must be in 1..32, not {value!r}")
        if weight_bits not in (8, 4):
            raise ValueError(f"weight_bits must be 8 or 4, not {weight_bits!r}")
        self.rows, self.cols, self.sum_bits, self.target = rows, cols, sum_bits, target
        self.weight_bits = weight_bits
        self.bels = bels or {}
        self.capture_latency = rows - 1 + Cell.CAPTURE_LATENCY
        super().__init__({
            "x": In(data.ArrayLayout(signed(8), rows)),
            "w": In(word_layout(cols, weight_bits)),
            "first": In(1), "last": In(1), "shift": In(1),
            "edge": Out(data.ArrayLayout(signed(sum_bits), rows)),
        })

    def elaborate(self, platform):
        m = Module()

        def delayed(value, cycles, name):
            for stage in range(cycles):
                value_q = Signal(value.shape(), name=f"{name}_{stage}", reset_less=True)
                m.d.sync += value_q.eq(value)
                value = value_q
            return value

        def make_cell(r, c):
            common = {"sum_bits": self.sum_bits, "target": self.target,
                      "bel": self.bels.get((r, c))}
            if self.weight_bits == 4 and 2 * c + 1 < self.cols:
                return PairCell(**common)
            return Cell(weight_bits=self.weight_bits, **common)

        grid = [[make_cell(r, c) for c in range(len(self.w))] for r in range(self.rows)]
        first, last = self.first, self.last
        for r, row in enumerate(grid):
            m.d.comb += [
                row[0].x.eq(delayed(self.x[r], r, f"x{r}")),
                row[0].first.eq(first), row[0].last.eq(last),
                row[0].shift.eq(self.shift),
                self.edge[r].eq(row[0].drained),
            ]
            if r + 1 < self.rows:  # the next row's markers are this row's, a cycle later
                m.submodules[f"markers_{r}"] = markers = KeptRegister(2, target=self.target)
                m.d.comb += markers.i.eq(Cat(first, last))
                first, last = markers.o
            for c, cell in enumerate(row):
                m.submodules[f"cell_{r}_{c}"] = cell
                if r:
                    m.d.comb += cell.w.eq(grid[r - 1][c].w_down)
                else:
                    m.d.comb += cell.w.eq(delayed(self.w[c], c, f"w{c}"))
                if c:
                    left = row[c - 1]
                    m.d.comb += [
                        cell.x.eq(left.x_right), cell.first.eq(left.first_right),
                        cell.last.eq(left.last_right), cell.shift.eq(left.shift_right),
                        left.drain_right.eq(cell.drained),
                    ]
        return m
