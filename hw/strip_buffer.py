"""Holds two strips: the input index and the C weights of each surviving column."""
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.layouts import write_signature
from sparseloom.hw.memory import SimpleDualPort
from sparseloom.hw.weight_word import word_layout


class StripBuffer(wiring.Component):
    """Two memories under one address; the weights come later, when the activations come.

    Parameters
    ----------
    depth : int
        Columns of all banks together.
    max_k, cols : int
        Range of an index; weights in a word.
    w_delay : int
        Cycles by which ``w`` follows ``k``.
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
        ``w_delay`` cycles after ``k``. A word must not be written before it was read.
    """

    K_LATENCY = SimpleDualPort.LATENCY

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
        m.submodules.indices = indices = SimpleDualPort(
            shape=self.k_shape, depth=self.depth, target=self.target)
        m.submodules.weights = weights = SimpleDualPort(
            shape=self.w_shape, depth=self.depth, target=self.target)
        # Delaying the address is cheaper than delaying C weights.
        addr = self.addr
        for stage in range(self.w_delay):
            addr_q = Signal(range(self.depth), name=f"addr_{stage}", reset_less=True)
            m.d.sync += addr_q.eq(addr)
            addr = addr_q
        for memory, write in ((indices, self.k_write), (weights, self.w_write)):
            enable = Signal()
            m.d.sync += enable.eq(write.en)
            m.d.comb += memory.write.en.eq(enable)
            for name in ("addr", "data"):
                port = getattr(memory.write, name)
                port_q = Signal.like(port, name=f"{name}_q", reset_less=True)
                m.d.sync += port_q.eq(getattr(write, name))
                m.d.comb += port.eq(port_q)
        m.d.comb += [
            indices.read.addr.eq(self.addr), self.k.eq(indices.read.data),
            weights.read.addr.eq(addr), self.w.eq(weights.read.data),
        ]
        return m
