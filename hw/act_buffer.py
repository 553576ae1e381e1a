"""Holds the activations of two jobs, a word of R tokens for each input and token group."""
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.layouts import write_signature
from sparseloom.hw.memory import SimpleDualPort


class ActBuffer(wiring.Component):
    """A memory; a read is addressed by the tile's base and the column's index.

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
        Readable by an address of ``WRITE_LATENCY`` cycles later.
    base : In(range(depth))
    k : In(range(max_k))
    x : Out(ArrayLayout(signed(8), rows))
        Word ``base + k``, ``LATENCY`` cycles later.

    Notes
    -----
    Every ``GROUP_ROWS`` rows have a memory of their own with registers of their own in front, for
    an address that reaches all blocks of the buffer from one register takes too long.
    """

    GROUP_ROWS = 2

    WRITE_LATENCY = KeptRegister.LATENCY + 1

    LATENCY = KeptRegister.LATENCY + SimpleDualPort.LATENCY

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
        addr = Signal(range(self.depth))
        m.d.comb += addr.eq(self.base + self.k)
        written, rows = self.write.data, len(self.x)
        for group, low in enumerate(range(0, rows, self.GROUP_ROWS)):
            size = min(self.GROUP_ROWS, rows - low)
            m.submodules[f"words_{group}"] = words = SimpleDualPort(
                shape=8 * size, depth=self.depth, target=self.target)
            m.submodules[f"read_{group}"] = read = KeptRegister(len(addr), target=self.target)
            m.submodules[f"write_{group}"] = write = KeptRegister(1 + len(addr),
                                                                  target=self.target)
            data = Signal(8 * size, name=f"data_{group}", reset_less=True)
            m.d.sync += data.eq(Cat(written[low + row] for row in range(size)))
            m.d.comb += [
                read.i.eq(addr), words.read.addr.eq(read.o),
                write.i.eq(Cat(self.write.en, self.write.addr)),
                Cat(words.write.en, words.write.addr).eq(write.o),
                words.write.data.eq(data),
                Cat(self.x[low + row] for row in range(size)).eq(words.read.data),
            ]
        return m
