"""One memory cell of the whole unit, so that block memories are chosen in one place."""
from amaranth.hdl import Cat, ClockSignal, Const, Instance, Module, Mux, Shape, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In

from sparseloom.hw.layouts import read_signature, write_signature

BLOCK_WIDTHS = {512: 36, 1024: 18, 2048: 9, 4096: 4, 8192: 2, 16384: 1}
"""DP16KD: words, and bits in a word (Lattice FPGA-DS-02012, sysMEM block configurations)."""

BLOCK_DATA = 18
"""Data pins of one port of a DP16KD; words of 36 bits use both ports' pins."""

BLOCK_ADDRESS = 14

LARGEST_DISTRIBUTED = 32
"""Words up to which memory is made of look-up tables: two deep, no block is half empty."""


def block_banks(depth: int, width: int) -> list[int]:
    """Depths of the banks of DP16KD that hold ``depth`` words of ``width`` bits.

    One bank, or two with a multiplexer behind them where that takes fewer blocks, the larger
    first; each is a key of ``BLOCK_WIDTHS``.

    Raises
    ------
    ValueError
        If more than two of the deepest banks are needed.
    """
    smallest, largest = min(BLOCK_WIDTHS), max(BLOCK_WIDTHS)

    def fitting(words):
        return max(smallest, 1 << (words - 1).bit_length())

    choices = [[fitting(depth)]] if depth <= largest else []
    first = min(largest, 1 << max(depth - 1, 1).bit_length() - 1)
    if first >= smallest and depth - first <= largest:
        choices.append([first, fitting(depth - first)])
    if not choices:
        raise ValueError(f"depth must be at most {2 * largest}, not {depth!r}")
    return min(choices, key=lambda banks: (sum(blocks(bank, width) for bank in banks), len(banks)))


def blocks(depth: int, width: int) -> int:
    """DP16KD side by side that make ``width`` bits of a bank, ``depth`` a key of BLOCK_WIDTHS."""
    return -(-width // BLOCK_WIDTHS[depth])


def block_count(depth: int, width: int, distributed: int = LARGEST_DISTRIBUTED) -> int:
    """DP16KD that target ``ecp5`` takes for a memory; 0 if it is made of look-up tables.

    Parameters
    ----------
    depth, width : int
        Words, and bits of one.
    distributed : int
        Words up to which it is made of look-up tables.

    Raises
    ------
    ValueError
        If it is deeper than two of the deepest banks.
    """
    if not width or depth <= distributed:
        return 0
    return sum(blocks(bank, width) for bank in block_banks(depth, width))


def inferred_memory(*, shape, depth: int, distributed: bool = False) -> Memory:
    """A memory that synthesis infers; its ports are made by whoever uses it.

    A read in the same cycle as a write to the same address gives an undefined word.

    Parameters
    ----------
    shape : ShapeLike
        Shape of a word.
    depth : int
        Number of words; two are made at least, since an address without bits is two unknown bits in
        Verilog.
    distributed : bool
        Of look-up tables, in yosys' words for ECP5; other families may not have any.
    """
    # Without no_rw_check yosys would keep the simulated read-during-write by added logic.
    attrs: dict = {"no_rw_check": 1}
    if distributed:
        attrs["ram_style"] = "distributed"
    return Memory(shape=shape, depth=max(2, depth), init=[], attrs=attrs)


class SimpleDualPort(wiring.Component):
    """Memory with one write port and one read port, both synchronous.

    An address on ``read.addr`` in cycle t gives its word on ``read.data`` in cycle
    t + ``LATENCY``: one register in the memory, one behind it (block memories are slow without
    it). A read in every cycle. A word is readable from the cycle after its write; **a read in the
    same cycle as a write to the same address gives an undefined word**, since promising anything
    would cost a bypass network in block memories. Words and output register have no reset.

    Parameters
    ----------
    shape : ShapeLike
        Shape of a word; may be without bits.
    depth : int
        Number of words, at least 1.
    target : str
        Technology body, a key of ``BODIES``.
    distributed : int
        Words up to which target ``ecp5`` takes look-up tables.

    Members
    -------
    write : In(write_signature(depth, shape))
        ``en``, ``addr``, ``data``.
    read : In(read_signature(depth, shape))
        ``addr`` in, ``data`` out.
    advance : In(LATENCY)
        Bit n lets the n-th register of the read move; it keeps its word otherwise. All ones
        unless it is driven.

    Raises
    ------
    ValueError
        If ``depth`` is below 1 or ``target`` is unknown.
    """

    LATENCY = 2
    """Cycles from ``read.addr`` to ``read.data``: memory, output register."""

    def __init__(self, *, shape, depth: int, target: str = "generic",
                 distributed: int = LARGEST_DISTRIBUTED):
        if depth < 1:
            raise ValueError(f"depth must be at least 1, not {depth!r}")
        if target not in self.BODIES:
            raise ValueError(f"target must be one of {', '.join(self.BODIES)}, not {target!r}")
        self._shape = shape
        self._depth = depth
        self._distributed = distributed
        self._body = self.BODIES[target]
        super().__init__({
            "write": In(write_signature(depth, shape)),
            "read": In(read_signature(depth, shape)),
            "advance": In(self.LATENCY,
                          init=(1 << self.LATENCY) - 1),  # pyright: ignore[reportCallIssue]
        })

    def elaborate(self, platform):
        m = Module()
        if Shape.cast(self._shape).width:   # yosys knows no memory of empty words
            self._body(self, m)
        return m

    def _generic(self, m):
        """A memory that synthesis infers, with its output register as plain flip-flops."""
        m.submodules.words = words = inferred_memory(shape=self._shape, depth=self._depth)
        write = words.write_port()
        read = words.read_port()
        read_q = Signal(self._shape, reset_less=True)
        m.d.comb += [
            write.en.eq(self.write.en),
            write.addr.eq(self.write.addr),
            write.data.eq(self.write.data),
            read.en.eq(self.advance[0]),
            read.addr.eq(self.read.addr),
            self.read.data.eq(read_q),
        ]
        with m.If(self.advance[1]):
            m.d.sync += read_q.eq(read.data)

    def _ecp5(self, m):
        """Blocks of DP16KD with their output registers; look-up tables where it is small."""
        if self._depth <= self._distributed:
            self._generic(m)
            return
        width = Shape.cast(self._shape).width
        data = self.write.data if isinstance(self.write.data, Signal) else (
            self.write.data.as_value())
        banks = block_banks(self._depth, width)
        select_bits = (banks[0] - 1).bit_length()
        words = []
        for number, depth in enumerate(banks):
            enable = self.write.en
            if len(banks) > 1:
                enable = enable & (self.write.addr[select_bits] == number)
            step, parts = BLOCK_WIDTHS[depth], []
            for low in range(0, width, step):
                block = _Block(depth)
                m.submodules[f"bank{number}_bit{low}"] = block
                m.d.comb += [
                    block.write_en.eq(enable), block.write_addr.eq(self.write.addr),
                    block.write_data.eq(data[low:low + step]),
                    block.read_addr.eq(self.read.addr), block.advance.eq(self.advance),
                ]
                parts.append(block.read_data)
            words.append(Cat(parts)[:width])
        word = words[0]
        if len(banks) > 1:
            select = self.read.addr[select_bits]
            for stage in range(self.LATENCY):
                select_q = Signal(name=f"select_{stage}", reset_less=True)
                with m.If(self.advance[stage]):
                    m.d.sync += select_q.eq(select)
                select = select_q
            word = Mux(select, words[1], words[0])
        m.d.comb += self.read.data.eq(word)

    BODIES = {"generic": _generic, "ecp5": _ecp5}  # noqa: RUF012 (never changed)
    """Bodies by target; each keeps the ports and ``LATENCY``."""


class _Block(wiring.Component):
    """One DP16KD: port A writes, port B reads through its output register.

    Words of 36 bits are written by both ports' data pins, with four byte enables in the lowest
    address bits; words of 18 have two. Addresses stand at the upper end of the 14 address pins
    (Lattice FPGA-TN-02204, port definitions of True and Pseudo Dual Port; the halves of a word of
    36 bits as yosys' own mapping has them).
    """

    def __init__(self, depth: int):
        self.width = BLOCK_WIDTHS[depth]
        super().__init__({
            "write_en": In(1), "write_addr": In(range(depth)), "write_data": In(self.width),
            "read_addr": In(range(depth)), "read_data": wiring.Out(self.width),
            "advance": In(2),
        })

    def elaborate(self, platform):
        m = Module()
        whole = self.width > BLOCK_DATA
        unused = BLOCK_ADDRESS - len(self.write_addr)
        byte_enables = {36: 0b1111, 18: 0b11}.get(self.width, 0)
        write_addr = Cat(Const(byte_enables, unused), self.write_addr)
        read_addr = Cat(Const(0, unused), self.read_addr)
        data_in, out_a, out_b = Signal(2 * BLOCK_DATA), Signal(BLOCK_DATA), Signal(BLOCK_DATA)
        m.d.comb += [data_in.eq(self.write_data),
                     self.read_data.eq(Cat(out_a, out_b) if whole else out_b)]
        one, zero = Const(1, 1), Const(0, 1)
        ports = {
            "CLKA": ClockSignal(), "CLKB": ClockSignal(), "RSTA": zero, "RSTB": zero,
            "CEA": self.write_en if whole else one, "WEA": one if whole else self.write_en,
            "OCEA": self.advance[1] if whole else one,
            "CEB": self.advance[0], "WEB": zero, "OCEB": self.advance[1],
            **{f"CS{port}{bit}": zero for port in "AB" for bit in range(3)},
            **{f"ADA{bit}": write_addr[bit] for bit in range(BLOCK_ADDRESS)},
            **{f"ADB{bit}": read_addr[bit] for bit in range(BLOCK_ADDRESS)},
            **{f"DIA{bit}": data_in[bit] for bit in range(BLOCK_DATA)},
            **{f"DIB{bit}": data_in[BLOCK_DATA + bit] for bit in range(BLOCK_DATA)},
        }
        m.submodules.block = Instance(
            "DP16KD",
            p_DATA_WIDTH_A=self.width, p_DATA_WIDTH_B=self.width,
            p_REGMODE_A="OUTREG", p_REGMODE_B="OUTREG",
            p_WRITEMODE_A="NORMAL", p_WRITEMODE_B="NORMAL",
            p_CSDECODE_A="0b000", p_CSDECODE_B="0b000", p_RESETMODE="SYNC",
            p_ASYNC_RESET_RELEASE="SYNC", p_CLKAMUX="CLKA", p_CLKBMUX="CLKB", p_GSR="DISABLED",
            **{f"i_{name}": value for name, value in ports.items()},
            **{f"o_DOA{bit}": out_a[bit] for bit in range(BLOCK_DATA)},
            **{f"o_DOB{bit}": out_b[bit] for bit in range(BLOCK_DATA)})
        return m
