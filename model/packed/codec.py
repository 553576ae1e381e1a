"""Records and bit masks to bytes and back, from the layouts in ``spec``."""
from collections.abc import Iterable

import numpy as np

from sparseloom.model.packed import spec

Layout = tuple[tuple[str, int], ...]


def record_bytes(layout: Layout) -> int:
    """Size of a record in bytes; its bits must fill them.

    Parameters
    ----------
    layout : tuple of (field, bits)
        As in ``spec``, least significant field first.
    """
    bits = sum(width for _, width in layout)
    if bits % 8:
        raise ValueError(f"a record must fill whole bytes, not {bits} bits")
    return bits // 8


def pack_record(layout: Layout, **fields: int) -> bytes:
    """One record as little-endian bytes; negative values are two's complement.

    Parameters
    ----------
    layout : tuple of (field, bits)
    **fields : int
        Values by name; a field left out is 0.

    Raises
    ------
    ValueError
        For an unknown field or a value that its bits cannot hold.
    """
    unknown = set(fields) - {name for name, _ in layout}
    if unknown:
        raise ValueError(f"unknown field {sorted(unknown)[0]!r}")
    word = offset = 0
    for name, bits in layout:
        value = int(fields.get(name, 0))
        if not -(1 << (bits - 1)) <= value < 1 << bits:
            raise ValueError(f"{name} must fit in {bits} bits, not {value}")
        word |= (value & ((1 << bits) - 1)) << offset
        offset += bits
    return word.to_bytes(record_bytes(layout), "little")


def unpack_record(layout: Layout, data: bytes) -> dict[str, int]:
    """Fields of a record, unsigned; the inverse of :func:`pack_record`.

    Raises
    ------
    ValueError
        If ``data`` does not have the record's length.
    """
    if len(data) != record_bytes(layout):
        raise ValueError(f"a record of {record_bytes(layout)} bytes expected, not {len(data)}")
    word = int.from_bytes(data, "little")
    fields = {}
    for name, bits in layout:
        fields[name] = word & ((1 << bits) - 1)
        word >>= bits
    return fields


def pack_bits(mask: np.ndarray) -> np.ndarray:
    """Boolean array to bytes: flattened row-major, least significant bit first.

    Parameters
    ----------
    mask : ndarray of bool, any shape

    Returns
    -------
    ndarray of uint8, shape (ceil(mask.size / 8),)
        The bits left over in the last byte are 0.
    """
    return np.packbits(np.asarray(mask, bool).reshape(-1), bitorder="little")


def unpack_bits(data: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes to a boolean array; the inverse of :func:`pack_bits`.

    Parameters
    ----------
    data : ndarray of uint8, shape (ceil(prod(shape) / 8),)
    shape : tuple of int

    Raises
    ------
    ValueError
        If the length does not fit the shape, or a left-over bit is set.
    """
    count = int(np.prod(shape, dtype=np.int64))
    if data.shape != (-(-count // 8),):
        raise ValueError(f"{-(-count // 8)} bytes expected, not {data.shape}")
    bits = np.unpackbits(data, bitorder="little")
    if bits[count:].any():
        raise ValueError("left-over bits of the last byte are not zero")
    return bits[:count].astype(bool).reshape(shape)


def pack_nibbles(values: np.ndarray) -> np.ndarray:
    """Signed integers of 4 bits, two to a byte, the first in the lower half.

    Parameters
    ----------
    values : ndarray of int8, shape (..., n)
        -8 to 7.

    Returns
    -------
    ndarray of uint8, shape (..., ceil(n / 2))
        The upper half of the last byte is 0 where n is odd.

    Raises
    ------
    ValueError
        If a value does not fit.
    """
    if ((values < -8) | (values > 7)).any():
        raise ValueError(f"values must fit in 4 bits, not {values.min()}..{values.max()}")
    if values.shape[-1] % 2:
        values = np.concatenate([values, np.zeros_like(values[..., :1])], axis=-1)
    bits = values.astype(np.uint8) & 15
    return bits[..., ::2] | bits[..., 1::2] << 4


def unpack_nibbles(data: np.ndarray, count: int) -> np.ndarray:
    """Bytes to signed integers of 4 bits; the inverse of :func:`pack_nibbles`.

    Parameters
    ----------
    data : ndarray of uint8, shape (..., ceil(count / 2))
    count : int

    Returns
    -------
    ndarray of int8, shape (..., count)

    Raises
    ------
    ValueError
        If the length does not fit the count, or a left-over half is not zero.
    """
    if data.shape[-1] != -(-count // 2):
        raise ValueError(f"{-(-count // 2)} bytes expected, not {data.shape[-1]}")
    if count % 2 and (data[..., -1] >> 4).any():
        raise ValueError("the left-over half of the last byte is not zero")
    halves = np.stack([data & 15, data >> 4], axis=-1).reshape(*data.shape[:-1],
                                                               2 * data.shape[-1])
    return (halves[..., :count].astype(np.int8) ^ 8) - np.int8(8)


def align(section: bytes) -> bytes:
    """Section padded with zero bytes to a multiple of ``spec.ALIGN_BYTES``; empty stays empty."""
    return section + bytes(-len(section) % spec.ALIGN_BYTES)


def join_sections(sections: Iterable[bytes]) -> bytes:
    """Sections one after the other, each padded by :func:`align`."""
    return b"".join(align(section) for section in sections)
