"""The systolic array: a grid of cells, the skew in front of it, the drain chains through it."""
from collections.abc import Mapping
from itertools import pairwise

from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.cell import Cell
from sparseloom.hw.drain_link import LINK_SUMS, DrainLink
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.pair_cell import PairCell
from sparseloom.hw.shift_order import ShiftOrder
from sparseloom.hw.weight_word import word_layout

STEP = 2
"""Cells side by side, and one above the other, that have their operands in the same cycle."""


def skew(index: int) -> int:
    """Cycles by which the operands of a row, or of a word of weights, follow those of the first."""
    return index // STEP


def drain_spacing(*, rows: int, cols: int, lanes: int) -> int:
    """Cycles between two shift pulses: ``rows / lanes`` reads, and at least two if it shifts."""
    return max(rows // lanes, 2 if cols > 1 else 1)


def tile_spacing(*, rows: int, cols: int, lanes: int) -> int:
    """Least distance in cycles between the last columns of two tiles.

    Sums are read row by row, ``lanes`` in a cycle, from the cycle on in which the slowest row's are
    there, and ``cols - 1`` shifts follow; then the next tile's sums may land, as many rows a cycle
    as lie in a step of the skew. The slower of the two counts.
    """
    return (-(-rows // min(lanes, STEP))
            + (cols - 1) * drain_spacing(rows=rows, cols=cols, lanes=lanes))


class Array(wiring.Component):
    """R x C output-stationary cells with nearest-neighbour wires only.

    Activations move right and weights down, ``STEP`` cells a cycle: a register that hands an
    operand on serves two cells and the next register, which takes half the flip-flops of one
    register a cell, and a wire between neighbours is far from a cycle long. So row r is ``skew(r)``
    cycles late and word c of the weights ``skew(c)``, and activation and weight of one k meet in
    every cell. Whoever delivers them does so in that order; here nothing is delayed. Sums leave at
    the left edge, column 0 first, through a chain of links of up to ``LINK_SUMS`` columns each.
    With weights of 4 bits two columns are one :class:`~.pair_cell.PairCell` in each row, and have
    one word; a last column without a neighbour is a cell of its own.

    Parameters
    ----------
    rows, cols : int
        Cells down (tokens) and across (outputs).
    sum_bits : int
        Width of an accumulator.
    weight_bits : int
        8 or 4.
    target : str
        Technology body of the cells and of the registers of the run markers.
    bels : dict of (row, column) to str, optional
        Places of the multipliers, from :mod:`~.floorplan`.

    Members
    -------
    x : In(ArrayLayout(signed(8), rows))
        One activation for each token; that of row r ``skew(r)`` cycles after that of row 0 of the
        same k.
    w : In(word_layout(cols, weight_bits))
        One weight for each output, joined in pairs where they have 4 bits; word c ``skew(c)``
        cycles after the activation of row 0 of the same k.
    first, last : In(1)
        Mark the first and the last k of a tile, with the activation of row 0.
    shift : In(1)
        Move all sums one column to the left; two pulses at least two cycles apart, because they
        move right while sums move left.
    edge : Out(ArrayLayout(signed(sum_bits), rows))
        Sums of column 0. Those of a whole tile are complete from ``capture_latency`` cycles after
        ``last``; the next column shows ``SHIFT_LATENCY`` cycles after a shift pulse.
    """

    SHIFT_LATENCY = KeptRegister.LATENCY + DrainLink.LATENCY
    """From ``shift`` to another column at the edge: register of the row's link, what it shows."""

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
        self.capture_latency = skew(rows - 1) + Cell.SUM + DrainLink.LATENCY
        super().__init__({
            "x": In(data.ArrayLayout(signed(8), rows)),
            "w": In(word_layout(cols, weight_bits)),
            "first": In(1), "last": In(1), "shift": In(1),
            "edge": Out(data.ArrayLayout(signed(sum_bits), rows)),
        })

    def elaborate(self, platform):
        m = Module()

        def kept(value, name):
            m.submodules[name] = register = KeptRegister(len(value), target=self.target)
            m.d.comb += register.i.eq(value)
            return register.o

        def handed_on(value, name):
            value_q = Signal(value.shape(), name=name, reset_less=True)
            m.d.sync += value_q.eq(value)
            return value_q

        def make_cell(r, c):
            common = {"sum_bits": self.sum_bits, "target": self.target,
                      "bel": self.bels.get((r, c))}
            if self.weight_bits == 4 and 2 * c + 1 < self.cols:
                return PairCell(**common)
            return Cell(weight_bits=self.weight_bits, **common)

        # The markers wait for product and sum at the head of the first row, and come to each cell
        # from a register behind that; the next rows' are a cycle later.
        first, capture = self.first, self.last
        for stage in range(Cell.FIRST - KeptRegister.LATENCY):
            first = kept(first, f"first_{stage}")
        for stage in range(Cell.SUM - KeptRegister.LATENCY):
            capture = kept(capture, f"last_{stage}")
        links = [min(LINK_SUMS, self.cols - at) for at in range(0, self.cols, LINK_SUMS)]
        # When sums land in each link; its first column's word comes so late.
        word_cols = (PairCell if self.weight_bits == 4 else Cell).COLUMNS
        lands = [skew(LINK_SUMS * number // word_cols) for number in range(len(links))]
        behind = [min(1, at - before) for before, at in pairwise([0, *lands])]
        m.submodules.order = order = ShiftOrder(links, behind)
        m.d.comb += [order.start.eq(capture), order.shift.eq(self.shift)]
        w = list(self.w)
        for r in range(self.rows):
            if r and r % STEP == 0:
                first, capture = kept(Cat(first, capture), f"markers_{r}")
                w = [handed_on(word, f"w_{r}_{c}") for c, word in enumerate(w)]
            x = self.x[r]
            before = markers = Cat(first, capture)
            columns = []            # total, and when it is captured: a cycle before, and then
            for c, word in enumerate(w):
                m.submodules[f"cell_{r}_{c}"] = cell = make_cell(r, c)
                if c % STEP == 0:
                    before, markers = markers, kept(markers, f"markers_{r}_{c}")
                    if c:
                        x = handed_on(x, f"x_{r}_{c}")
                else:       # it steers all bits of an adder, so each cell has one of its own
                    markers = Cat(kept(before[:1], f"first_{r}_{c}"), markers[1:])
                m.d.comb += [cell.x.eq(x), cell.w.eq(word), cell.first.eq(markers[0])]
                columns += [(total, before[1], markers[1]) for total in cell.totals]
            shown = self.edge[r]
            for number, sums in enumerate(links):
                own = columns[LINK_SUMS * number:][:sums]
                m.submodules[f"link_{r}_{number}"] = link = DrainLink(
                    sums=sums, sum_bits=self.sum_bits, end=number == len(links) - 1,
                    target=self.target)
                steer = kept(Cat(order.move[number] | own[0][1], order.take[number]),
                             f"steer_{r}_{number}")
                m.d.comb += [
                    *(into.eq(total) for into, (total, *_) in zip(link.totals, own, strict=True)),
                    link.capture.eq(Cat(capture for *_, capture in own)),
                    link.move.eq(steer[0]), link.take.eq(steer[1:]), shown.eq(link.shown),
                ]
                shown = link.right
        return m
