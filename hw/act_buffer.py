"""Holds the activations of two jobs, a word of R tokens for each input and token group."""
from amaranth.hdl import Cat, Module, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.array import STEP
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
        Word ``base + k``, ``LATENCY`` cycles later: row 0, and row r ``skew(r)`` cycles behind it,
        as the array takes them. A word must not be written before all of it was read.

    Notes
    -----
    Every row has a memory of its own with registers of its own in front, for an address that
    reaches all blocks of the buffer from one register takes too long, and a register behind, for
    half the blocks of a chip are not all near the array's edge. The read address moves down from
    row to row, which makes the skew; that of a write comes to ``ROWS_TOGETHER`` rows by a register
    of theirs.
    """

    ROWS_TOGETHER = 4

    WRITE_LATENCY = 2 * KeptRegister.LATENCY + 1

    ADDRESS_LATENCY = 1 + KeptRegister.LATENCY
    """From base and index to the first row's memory: their sum, and the row's own address."""

    LATENCY = ADDRESS_LATENCY + SimpleDualPort.LATENCY + 1
    """Address, memory, output."""

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
        addr = Signal(range(self.depth), reset_less=True)
        m.d.sync += addr.eq(self.base + self.k)
        read_addrs = [addr] * STEP
        for row in range(len(self.x)):
            m.submodules[f"words_{row}"] = words = SimpleDualPort(
                shape=signed(8), depth=self.depth, target=self.target)
            m.submodules[f"read_{row}"] = read = KeptRegister(len(addr), target=self.target)
            m.submodules[f"write_{row}"] = write = KeptRegister(1 + len(addr), target=self.target)
            if row % self.ROWS_TOGETHER == 0:
                m.submodules[f"write_from_{row}"] = written_to = KeptRegister(
                    1 + len(addr), target=self.target)
                m.d.comb += written_to.i.eq(Cat(self.write.en, self.write.addr))
            come = Signal(signed(8), name=f"come_{row}", reset_less=True)
            written = Signal(signed(8), name=f"written_{row}", reset_less=True)
            x_q = Signal(signed(8), name=f"x_{row}", reset_less=True)
            m.d.sync += [come.eq(self.write.data[row]), written.eq(come),
                         x_q.eq(words.read.data)]
            m.d.comb += [
                read.i.eq(read_addrs[row]), words.read.addr.eq(read.o),
                write.i.eq(written_to.o),
                Cat(words.write.en, words.write.addr).eq(write.o),
                words.write.data.eq(written), self.x[row].eq(x_q),
            ]
            read_addrs.append(read.o)
        return m
