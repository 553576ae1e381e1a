"""Holds the activations of two jobs, a word of R tokens for each input and token group."""
from amaranth.hdl import Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.layouts import write_signature
from sparseloom.hw.memory import SimpleDualPort


class ActBuffer(wiring.Component):
    """One memory; a read is addressed by the tile's base and the column's index.

    Parameters
    ----------
    depth : int
        Words of both halves together.
    max_k, rows : int
        Range of an index; tokens in a word.
    target : str
        Technology body of the memory.

    Members
    -------
    write : In(write_signature)
    base : In(range(depth))
    k : In(range(max_k))
    x : Out(ArrayLayout(signed(8), rows))
        Word ``base + k``, ``LATENCY`` cycles later.
    """

    LATENCY = 1 + SimpleDualPort.LATENCY

    def __init__(self, *, depth: int, max_k: int, rows: int, target: str = "generic"):
        self.depth, self.target = depth, target
        self.shape = data.ArrayLayout(signed(8), rows)
        super().__init__({
            "write": In(write_signature(depth, self.shape)),
            "base": In(range(depth)), "k": In(range(max_k)),
            "x": Out(self.shape),
        })

    def elaborate(self, platform):
        m = Module()
        m.submodules.words = words = SimpleDualPort(
            shape=self.shape, depth=self.depth, target=self.target)
        addr = Signal(range(self.depth), reset_less=True)
        m.d.sync += addr.eq(self.base + self.k)
        wiring.connect(m, wiring.flipped(self.write), words.write)
        m.d.comb += [words.read.addr.eq(addr), self.x.eq(words.read.data)]
        return m
