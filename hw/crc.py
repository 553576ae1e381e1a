"""CRC-32 of a packet, one beat at a time."""
import zlib
from collections import Counter
from functools import lru_cache
from itertools import combinations
from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.model.packed import spec

ONES = 0xFFFFFFFF
WORD_BYTES = 4


class Crc32(wiring.Component):
    """CRC-32 (IEEE 802.3, reflected) over beats of ``bus_bytes``, lowest byte first.

    One beat per cycle, no back-pressure. ``value`` equals ``zlib.crc32`` of all beats since
    ``start``, ``LATENCY`` cycles late; at first nothing has been seen.

    With beats of whole words the state is kept in other coordinates, in which a beat of zeros moves
    it up by one bit: what leaves at the top comes back in a few places, and each bit of the next
    state is one gate away. A beat is folded into one word first and brought into these coordinates
    in the next two cycles.

    Parameters
    ----------
    bus_bytes : int
        Bytes in a beat, at least 1.

    Members
    -------
    start : In(1)
        Forget what was seen; a beat in the same cycle is the first one. A reset does not forget.
    valid : In(1)
        Take ``data``.
    data : In(8 * bus_bytes)
    value : Out(32)
        CRC of what was taken up to ``LATENCY`` cycles before; not out of a register.
    residue_ok : Out(1)
        What was taken ends in its own CRC, little-endian: ``value`` was ``spec.CRC_RESIDUE`` two
        cycles before.

    Raises
    ------
    ValueError
        If ``bus_bytes`` is below 1.

    Source: Derby, "High-speed CRC computation using state-space transformations", GLOBECOM 2001.
    """

    LATENCY = 4
    """Cycles from a beat to ``value``: folded, half and all of it in the coordinates, state."""

    VERDICT_LATENCY = LATENCY + 2
    """Cycles from a beat to ``residue_ok``."""

    def __init__(self, bus_bytes: int):
        if bus_bytes < 1:
            raise ValueError(f"bus_bytes must be at least 1, not {bus_bytes!r}")
        self.bus_bytes = bus_bytes
        super().__init__({
            "start": In(1),
            "valid": In(1),
            "data": In(8 * bus_bytes),
            "value": Out(32),
            "residue_ok": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        steps = _steps(self.bus_bytes)
        begun = steps.begin.of(ONES)
        # Set back by ``start`` alone, no gate in front of that for a reset.
        start, valid, clear = (Signal(bits, name=name, reset_less=True)
                               for name, bits in (("start", 3), ("valid", 3), ("clear", 1)))
        folded, high = Signal(32, reset_less=True), Signal(16, reset_less=True)
        half, entered = Signal(32, reset_less=True), Signal(32, reset_less=True)
        state = Signal(32, init=begun, reset_less=True)     # of the complement of the CRC so far
        # The verdict takes two steps.
        agrees = ~(state ^ steps.begin.of(ONES ^ spec.CRC_RESIDUE))
        same = Signal(32 // INPUTS, reset_less=True)
        m.d.sync += [
            start.eq(Cat(start[1:], self.start)), valid.eq(Cat(valid[1:], self.valid)),
            clear.eq(start[1] & ~valid[1]),
            folded.eq(steps.fold.apply(m, self.data)), high.eq(folded[16:]),
            half.eq(_Matrix(steps.enter.columns[:16]).apply(m, folded[:16])),
            entered.eq(_Matrix(steps.enter.columns[16:]).apply(m, high, added=half)),
            same.eq(Cat(bits.all() for bits in (agrees[at:at + INPUTS]
                                                for at in range(0, 32, INPUTS)))),
            self.residue_ok.eq(same.all()),
        ]
        m.d.comb += self.value.eq(~Cat((state & row).xor() for row in steps.leave.rows()))
        first = steps.step.of(begun)
        with m.If(valid[0]):
            m.d.sync += state.eq(Mux(start[0], first, steps.step.apply(m, state)) ^ entered)
        with m.If(clear):
            m.d.sync += state.eq(begun)
        return m


class _Matrix:
    """A linear map of bits: ``columns[j]`` is what bit j is mapped to."""

    def __init__(self, columns: list[int]):
        self.columns = columns

    def of(self, value: int) -> int:
        """What the bits of ``value`` are mapped to."""
        result = 0
        for bit, column in enumerate(self.columns):
            if value >> bit & 1:
                result ^= column
        return result

    def after(self, first: "_Matrix") -> "_Matrix":
        """This map of what ``first`` maps to."""
        return _Matrix([self.of(column) for column in first.columns])

    def rows(self) -> list[int]:
        """Which bits each of 32 bits is the sum of."""
        return [sum((column >> bit & 1) << at for at, column in enumerate(self.columns))
                for bit in range(32)]

    def inverse(self) -> "_Matrix | None":
        """The map back, of 32 bits to 32 bits; None if there is none."""
        rows, back = self.rows(), [1 << bit for bit in range(32)]
        for at in range(32):
            pivot = next((row for row in range(at, 32) if rows[row] >> at & 1), None)
            if pivot is None:
                return None
            for table in (rows, back):
                table[at], table[pivot] = table[pivot], table[at]
            for row in range(32):
                if row != at and rows[row] >> at & 1:
                    rows[row] ^= rows[at]
                    back[row] ^= back[at]
        return _Matrix(_Matrix(back).rows())

    def apply(self, m: Module, bits, *, added=None):
        """What ``bits`` are mapped to, and the 32 bits ``added`` to it, if any.

        Made of gates of four inputs, which the sums share where they can.
        """
        shared, rows = _shared(tuple(self.rows()))
        depths, signals = [0] * len(bits), [*bits]

        def gate(places):
            depths.append(1 + max(depths[place] for place in places))
            signals.append(Signal(name=f"sum_{len(signals)}", attrs={"keep": 1}))
            m.d.comb += signals[-1].eq(Cat(signals[place] for place in places).xor())
            return len(signals) - 1

        for places in shared:
            gate(places)
        sums = []
        for row, bit in zip(rows, range(32) if added is None else added, strict=True):
            left = list(row)
            if added is not None:
                left.append(len(signals))
                signals.append(bit)
                depths.append(0)
            while len(left) > 1:        # the shallowest first, and so that the last gate is full
                left.sort(key=lambda place: (depths[place], place))
                few = (len(left) - 2) % (INPUTS - 1) + 2
                left[:few] = [gate(left[:few])]
            sums.append(signals[left[0]] if left else Const(0, 1))
        return Cat(*sums)


INPUTS = 4
"""Of a gate."""

SHARED_DEPTH = 1
"""Most gates behind each other of those that are shared; a sum of 16 bits has two then."""


@lru_cache
def _shared(rows: tuple[int, ...]) -> tuple[list[tuple[int, ...]], list[list[int]]]:
    """Gates of four inputs that several sums have in common, and what each sum is made of then.

    Bits are told by their place, and behind them the gates in their order. The gate that most sums
    have in common comes first. Only bits of one word share a gate: all that could would be many.
    """
    sums = [{place for place in range(row.bit_length()) if row >> place & 1} for row in rows]
    fresh = max(row.bit_length() for row in rows)
    gates, depths, words = [], [0] * fresh, [place // 32 for place in range(fresh)]

    def choices(row):
        usable = [place for place in sorted(row) if depths[place] < SHARED_DEPTH]
        return Counter(gate for word in range(max(words) + 1) for gate in combinations(
            [place for place in usable if words[place] == word], INPUTS))

    of_sum = [choices(row) for row in sums]
    total = Counter()
    for counts in of_sum:
        total.update(counts)
    while total:
        gate, uses = min(total.items(), key=lambda item: (-item[1], item[0]))
        if uses < 2:
            break
        gates.append(gate)
        depths.append(1 + max(depths[place] for place in gate))
        words.append(words[gate[0]])
        for number, row in enumerate(sums):
            if row.issuperset(gate):
                total.subtract(of_sum[number])
                row -= {*gate}
                row.add(fresh)
                of_sum[number] = choices(row)
                total.update(of_sum[number])
        fresh += 1
    return gates, [sorted(row) for row in sums]


class _Steps(NamedTuple):
    """The maps of a CRC's step: ``state`` to ``step(state) + enter(fold(data))``."""

    fold: _Matrix       # a beat to a word
    enter: _Matrix      # a word to the state's coordinates
    step: _Matrix
    leave: _Matrix      # from the state's coordinates to the CRC's state
    begin: _Matrix      # and back


def _steps(bus_bytes: int) -> _Steps:
    """Maps for beats of ``bus_bytes``, found by trying every bit alone."""

    def after(size, state, word):
        return ONES ^ zlib.crc32(word.to_bytes(size, "little"), ONES ^ state)

    def plain(size):
        return _Matrix([after(size, 1 << bit, 0) for bit in range(32)])

    data = _Matrix([after(bus_bytes, 0, 1 << bit) for bit in range(8 * bus_bytes)])
    step, same = plain(bus_bytes), _Matrix([1 << bit for bit in range(32)])
    if bus_bytes % WORD_BYTES:
        return _Steps(data, same, step, same, same)
    # The state is kept as it was before its last step of one word: there a word is just added.
    word = plain(WORD_BYTES)
    back = word.inverse()
    assert back is not None, "a step can be undone"
    basis = [SEED]
    for _ in range(31):
        basis.append(step.of(basis[-1]))
    leave = _Matrix(basis)
    enter = leave.inverse()
    assert enter is not None, "the multiples of SEED are independent"
    fold, mixed = _lighter(back.after(data))
    return _Steps(fold, enter.after(mixed), enter.after(step).after(leave), word.after(leave),
                  enter.after(back))


def _lighter(matrix: _Matrix) -> tuple[_Matrix, _Matrix]:
    """Rows less other rows, with fewer bits to add; and the map from there to ``matrix``'s bits."""
    rows, mix = matrix.rows(), [1 << bit for bit in range(32)]
    while True:
        gain, at, less = max(
            (rows[at].bit_count() - (rows[at] ^ rows[less]).bit_count(), at, less)
            for at in range(32) for less in range(32) if at != less)
        if gain <= 0:
            break
        rows[at] ^= rows[less]
        mix[at] ^= mix[less]
    width = len(matrix.columns)
    columns = [sum((row >> bit & 1) << at for at, row in enumerate(rows)) for bit in range(width)]
    mixed = _Matrix(_Matrix(mix).rows()).inverse()
    assert mixed is not None, "made of steps that can be undone"
    return _Matrix(columns), mixed


SEED = 0xD038F077
"""The state that bit 0 stands for; with this one few bits are sums of more than 16."""
