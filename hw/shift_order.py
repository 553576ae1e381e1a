"""What each link of the drain chains takes with each shift."""
from collections.abc import Sequence

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.drain_link import Take


class ShiftOrder(wiring.Component):
    """One for all rows: a link gives its own sums first, and lets the next one move behind those.

    Parameters
    ----------
    links : sequence of int
        Sums of each link, left to right.
    behind : sequence of int
        For each link, cycles (0 or 1) by which it moves behind the one before; 0 for the first. A
        tile's last shift is one too many for all links but the first, so none may move later than
        sums land in it.

    Members
    -------
    start : In(1)
        A tile's sums land in the first row. Not with ``shift``.
    shift : In(1)
        Show the next column; two pulses at least two cycles apart, because they move right while
        sums move left.
    move : Out(len(links))
        A link moves, as many cycles after ``shift`` as ``behind`` says of it and those before.
    take : Out(ArrayLayout(Take, len(links)))
        What it takes; ``FIRST`` where it does not move.
    """

    def __init__(self, links: Sequence[int], behind: Sequence[int]):
        self.links, self.behind = tuple(links), tuple(behind)
        super().__init__({
            "start": In(1), "shift": In(1), "move": Out(len(self.links)),
            "take": Out(data.ArrayLayout(Take, len(self.links))),
        })

    def elaborate(self, platform):
        m = Module()
        start, shift = self.start, self.shift
        for number, sums in enumerate(self.links):
            given = Signal(sums, name=f"given_{number}", init=1)    # of its own sums, less one
            takes = [Take.FIRST, Take.SECOND, Take.THIRD][1:sums]
            end = number == len(self.links) - 1
            if not end:
                takes.append(Take.RIGHT)
            moves = shift & given[:len(takes)].any()
            m.d.comb += self.move[number].eq(moves)
            for at, take in enumerate(takes):
                with m.If(shift & given[at]):
                    m.d.comb += self.take[number].eq(take)
            if sums > 1:
                m.d.sync += given.eq(Mux(
                    start, 1, Mux(shift, given << 1 | (given[-1] << sums - 1), given)))
            if end:
                break
            if not self.behind[number + 1]:
                shift = shift & given[-1]
                continue
            passed, started = Signal(name=f"passed_{number}"), Signal(name=f"started_{number}")
            m.d.sync += [passed.eq(shift & given[-1]), started.eq(start)]
            start, shift = started, passed
        return m
