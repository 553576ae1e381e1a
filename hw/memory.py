"""One memory cell of the whole unit, so that block memories are chosen in one place."""
from amaranth.hdl import Module, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from sparseloom.hw.layouts import read_signature, write_signature


class SimpleDualPort(wiring.Component):
    """Memory with one write port and one read port, both synchronous.

    An address on ``read.addr`` in cycle t gives its word on ``read.data`` in cycle
    t + ``LATENCY``: one register in the memory, one behind it (block memories are slow without
    it). A read in every cycle; the ports know no stalls. A word is readable from the cycle after
    its write; **a read in the same cycle as a write to the same address gives an undefined
    word**, since promising anything would cost a bypass network in block memories. Words and
    output register have no reset.

    Parameters
    ----------
    shape : ShapeLike
        Shape of a word; may be without bits.
    depth : int
        Number of words, at least 1.
    target : str
        Technology body, a key of ``BODIES``.

    Members
    -------
    write : In(write_signature(depth, shape))
        ``en``, ``addr``, ``data``.
    read : In(read_signature(depth, shape))
        ``addr`` in, ``data`` out.

    Raises
    ------
    ValueError
        If ``depth`` is below 1 or ``target`` is unknown.
    """

    LATENCY = 2
    """Cycles from ``read.addr`` to ``read.data``: memory, output register."""

    def __init__(self, *, shape, depth: int, target: str = "generic"):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        if target not in self.BODIES:
            raise ValueError(f"target must be one of {', '.join(self.BODIES)}, not {target!r}")
        self._shape = shape
        self._depth = depth
        self._body = self.BODIES[target]
        super().__init__({
            "write": In(write_signature(depth, shape)),
            "read": In(read_signature(depth, shape)),
        })

    def elaborate(self, platform):
        m = Module()
        if Shape.cast(self._shape).width:   # yosys knows no memory of empty words
            self._body(self, m)
        return m

    def _generic(self, m):
        """A memory that synthesis infers, with its output register as plain flip-flops."""
        # Without no_rw_check yosys would keep the simulated read-during-write by added logic.
        attrs: dict = {"no_rw_check": 1}
        # Two words at least: an address without bits is two unknown bits in Verilog.
        m.submodules.words = words = Memory(shape=self._shape, depth=max(2, self._depth), init=[],
                                            attrs=attrs)
        write = words.write_port()
        read = words.read_port()
        read_q = Signal(self._shape, reset_less=True)
        m.d.comb += [
            write.en.eq(self.write.en),
            write.addr.eq(self.write.addr),
            write.data.eq(self.write.data),
            read.addr.eq(self.read.addr),
            self.read.data.eq(read_q),
        ]
        m.d.sync += read_q.eq(read.data)

    BODIES = {"generic": _generic}  # noqa: RUF012 (never changed)
    """Bodies by target; each keeps the ports and ``LATENCY``."""
