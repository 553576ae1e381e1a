"""Holds two strips: the input index and the C weights of each surviving column."""
from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.array import STEP
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.layouts import write_signature
from sparseloom.hw.memory import SimpleDualPort
from sparseloom.hw.weight_word import word_layout


class StripBuffer(wiring.Component):
    """Memories under one address; the weights come later, when the activations come.

    Words of one step of the skew are a memory: their read address moves on from one to the next, a
    cycle each, so that they come as the array takes them.

    Parameters
    ----------
    depth : int
        Columns of all banks together.
    max_k, cols : int
        Range of an index; weights in a word.
    w_delay : int
        Cycles by which the first word of ``w`` follows ``k``.
    weight_bits : int
        8 or 4.
    target : str
        Technology body of the memories.

    Members
    -------
    k_write, w_write : In(write_signature)
        Readable by an address of ``WRITE_LATENCY`` cycles later.
    addr : In(range(depth))
        One column a cycle.
    k : Out(range(max_k))
        ``K_LATENCY`` cycles after ``addr``.
    w : Out(word_layout(cols, weight_bits))
        ``w_delay`` cycles after ``k``, and word c ``skew(c)`` cycles behind the first. A column
        must not be written before all of it was read.
    """

    K_LATENCY = SimpleDualPort.LATENCY + 1
    """Memory, and a register behind it, as behind those of the weights."""

    WRITE_LATENCY = 2

    def __init__(self, *, depth: int, max_k: int, cols: int, w_delay: int,
                 weight_bits: int = 8, target: str = "generic"):
        self.depth, self.w_delay, self.target = depth, w_delay, target
        self.k_shape, self.w_shape = range(max_k), word_layout(cols, weight_bits)
        super().__init__({
            "k_write": In(write_signature(depth, self.k_shape)),
            "w_write": In(write_signature(depth, self.w_shape)),
            "addr": In(range(depth)),
            "k": Out(self.k_shape),
            "w": Out(self.w_shape),
        })

    def elaborate(self, platform):
        m = Module()

        def fill(memory, write, part, name):
            """A memory is written from registers of its own."""
            m.submodules[f"write_{name}"] = place = KeptRegister(1 + len(write.addr),
                                                                 target=self.target)
            part_q = Signal.like(part, name=f"written_{name}", reset_less=True)
            m.d.sync += part_q.eq(part)
            m.d.comb += [
                place.i.eq(Cat(write.en, write.addr)),
                Cat(memory.write.en, memory.write.addr).eq(place.o),
                memory.write.data.eq(part_q),
            ]

        m.submodules.indices = indices = SimpleDualPort(
            shape=self.k_shape, depth=self.depth, target=self.target)
        fill(indices, self.k_write, self.k_write.data, "k")
        k_q = Signal(self.k_shape, reset_less=True)
        m.d.sync += k_q.eq(indices.read.data)
        m.d.comb += [indices.read.addr.eq(self.addr), self.k.eq(k_q)]
        addr = self.addr
        for stage in range(self.w_delay):
            addr_q = Signal(range(self.depth), name=f"addr_{stage}", reset_less=True)
            m.d.sync += addr_q.eq(addr)
            addr = addr_q
        words = len(self.w)
        for group, low in enumerate(range(0, words, STEP)):
            own = range(low, min(low + STEP, words))
            m.submodules[f"weights_{group}"] = memory = SimpleDualPort(
                shape=data.ArrayLayout(self.w_shape.elem_shape, len(own)), depth=self.depth,
                target=self.target)
            fill(memory, self.w_write, Cat(self.w_write.data[word] for word in own), group)
            if group:
                m.submodules[f"read_{group}"] = read = KeptRegister(len(addr), target=self.target)
                m.d.comb += read.i.eq(addr)
                addr = read.o
            w_q = Signal.like(memory.read.data, name=f"w_{group}", reset_less=True)
            m.d.sync += w_q.eq(memory.read.data)
            m.d.comb += [memory.read.addr.eq(addr),
                         *(self.w[word].eq(w_q[word - low]) for word in own)]
        return m
