"""Payload layouts shared by the hardware's components, from :mod:`sparseloom.model.packed.spec`."""
from collections.abc import Iterable

from amaranth.hdl import Shape, signed
from amaranth.lib import data
from amaranth.lib.wiring import In, Out, Signature

from sparseloom.model.packed import spec


def _from_spec(fields: Iterable[tuple[str, int]], signed_fields: tuple[str, ...] = ()
               ) -> data.StructLayout:
    return data.StructLayout({name: signed(bits) if name in signed_fields else bits
                              for name, bits in fields})


Header = _from_spec(spec.HEADER)
"""First section of each packet of the weight stream."""

OutputParams = _from_spec(spec.OUTPUT_PARAMS, signed_fields=("bias",))
"""Bias, multiplier and shift of one output, as they lie in the weight stream."""

Trailer = _from_spec(spec.TRAILER)
"""Last section of each packet of the weight stream."""

ScaleParams = data.StructLayout({"bias": signed(32), "mult": 16, "shift": 6})
"""What post-processing needs of :data:`OutputParams`: int32, uint16 and a shift of 1 to 47 bits."""


def beat_layout(bus_bits: int) -> data.StructLayout:
    """Payload of an AXI4-Stream input.

    Parameters
    ----------
    bus_bits : int
        Data width, in bits, a multiple of 8.

    Returns
    -------
    StructLayout
        ``data`` (TDATA), ``keep`` (TKEEP, one bit per byte) and ``last`` (TLAST).

    Raises
    ------
    ValueError
        Unless ``bus_bits`` is a positive multiple of 8.
    """
    if bus_bits <= 0 or bus_bits % 8:
        raise ValueError(f"bus_bits must be a positive multiple of 8, not {bus_bits!r}")
    return data.StructLayout({"data": bus_bits, "keep": bus_bits // 8, "last": 1})


def result_beat_layout(bus_bits: int) -> data.StructLayout:
    """Payload of the AXI4-Stream output: a beat, and ``user`` (TUSER), set if results are void.

    Parameters
    ----------
    bus_bits : int
        Data width, in bits, a multiple of 8.

    Raises
    ------
    ValueError
        Unless ``bus_bits`` is a positive multiple of 8.
    """
    return data.StructLayout({**dict(beat_layout(bus_bits).members), "user": 1})


def write_signature(depth: int, shape) -> Signature:
    """Write port of a memory, as its user sees it (outputs drive the memory).

    Parameters
    ----------
    depth : int
        Number of words.
    shape : ShapeLike
        Shape of a word.
    """
    return Signature({"en": Out(1), "addr": Out(address_shape(depth)), "data": Out(shape)})


def read_signature(depth: int, shape) -> Signature:
    """Read port of a memory, as its user sees it: drives ``addr``, receives ``data`` later."""
    return Signature({"addr": Out(address_shape(depth)), "data": In(shape)})


def address_shape(depth: int) -> Shape:
    """Shape that holds the addresses ``0 .. depth - 1``."""
    return Shape.cast(range(depth))
