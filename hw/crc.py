"""CRC-32 of a packet, one beat at a time."""
import zlib

from amaranth.hdl import Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.model.packed import spec

ONES = 0xFFFFFFFF


class Crc32(wiring.Component):
    """CRC-32 (IEEE 802.3, reflected) over beats of ``bus_bytes``, lowest byte first.

    One beat per cycle, no back-pressure. ``value`` equals ``zlib.crc32`` of all beats since
    ``start``, ``LATENCY`` cycles late; out of reset nothing has been seen. The sum over a beat's
    bits is registered before it meets the state, for the next state is linear in both.

    Parameters
    ----------
    bus_bytes : int
        Bytes in a beat, at least 1.

    Members
    -------
    start : In(1)
        Forget what was seen; a beat in the same cycle is the first one.
    valid : In(1)
        Take ``data``.
    data : In(8 * bus_bytes)
    value : Out(32)
        CRC of what was taken up to ``LATENCY`` cycles before.
    residue_ok : Out(1)
        What was taken ends in its own CRC, little-endian: ``value`` was ``spec.CRC_RESIDUE`` in
        the cycle before.

    Raises
    ------
    ValueError
        If ``bus_bytes`` is below 1.
    """

    LATENCY = 2
    """Cycles from a beat to ``value``: sum of the beat, state."""

    VERDICT_LATENCY = LATENCY + 1
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
        state = Signal(32, init=ONES)       # complement of the CRC so far
        source = Signal(32)
        start, valid, part = Signal(), Signal(), Signal(32, reset_less=True)
        m.d.sync += [start.eq(self.start), valid.eq(self.valid)]
        m.d.comb += [
            source.eq(Mux(start, ONES, state)),
            self.value.eq(~state),
        ]
        m.d.sync += self.residue_ok.eq(state == ONES ^ spec.CRC_RESIDUE)
        # One sum modulo 2 per bit, as a single operator, so that synthesis makes a tree of it.
        for bit, taps in enumerate(_taps(self.bus_bytes)):
            m.d.sync += part[bit].eq((self.data & Const(taps >> 32, len(self.data))).xor())
            with m.If(valid):
                m.d.sync += state[bit].eq((source & Const(taps & ONES, 32)).xor() ^ part[bit])
        with m.If(start & ~valid):
            m.d.sync += state.eq(ONES)
        return m


def _taps(bus_bytes: int) -> list[int]:
    """Which bits of {state, data} each bit of the next state is the sum of, as 32 masks.

    The next state is linear in both, so it is enough to try every bit alone.
    """
    taps = [0] * 32
    for source in range(32 + 8 * bus_bytes):
        state, word = (1 << source, 0) if source < 32 else (0, 1 << source - 32)
        after = ONES ^ zlib.crc32(word.to_bytes(bus_bytes, "little"), ONES ^ state)
        for bit in range(32):
            taps[bit] |= (after >> bit & 1) << source
    return taps
