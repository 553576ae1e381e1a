"""A weight stream read back: integers of each strip, after every check that the unit makes."""
from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.codec import (
    record_bytes,
    unpack_bits,
    unpack_nibbles,
    unpack_record,
)
from sparseloom.model.packed.stream import PARAMS_DTYPE

HEADER_BYTES = record_bytes(spec.HEADER)
TRAILER_BYTES = record_bytes(spec.TRAILER)


@dataclass(frozen=True, kw_only=True, eq=False)
class Strip:
    """What one strip packet holds, of C outputs; those at or beyond N included.

    Parameters
    ----------
    columns : ndarray of int64, shape (n,)
        Inputs that it runs, ascending.
    weights : ndarray of int8, shape (n, C)
    bias : ndarray of int32, shape (C,)
    mult : ndarray of uint16, shape (C,)
    shift : ndarray of uint8, shape (C,)
    """

    columns: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray


def decode_weights(stream: bytes, *, inputs: int, outputs: int, cols: int, block_inputs: int,
                   tag: int, lut: bool = False, weight_bits: int = 8,
                   ) -> tuple[np.ndarray | None, list[Strip]]:
    """Table and strips of one job's weight stream, as the unit that was asked for them reads it.

    Refuses what the unit refuses, by the same causes in the same order, and padding that is not
    zero, which the unit does not look at. Memory is bounded by the stream's length, whatever its
    headers claim.

    Parameters
    ----------
    stream : bytes
        Up to TLAST.
    inputs, outputs, tag, lut : int, int, int, bool
        Of the job: K, N, tag, and whether a table comes first.
    cols, block_inputs, weight_bits : int
        Of the unit.

    Returns
    -------
    lut : ndarray of int8, shape (256,), or None
    strips : list of Strip
        ceil(N / C) of them.

    Raises
    ------
    InputError
        Names the packet, the cause (of ``spec.ERROR_CAUSES``, or ``padding``), what was expected
        and what was found.
    """
    unit = {"tag": tag, "cols": cols, "block_inputs": block_inputs, "inputs": inputs,
            "weight_bits": weight_bits}
    count = -(-outputs // cols)
    table, strips, start = None, [], 0
    for index in range(-int(lut), count):
        packet = _Packet(stream, start, index + int(lut))
        head = packet.header(unit, strip=index)
        start = packet.close(final=index == count - 1)
        if index < 0:
            table = np.frombuffer(packet.sections[0], np.int8)
        else:
            strips.append(_strip(packet, head))
    return table, strips


class _Packet:
    """One packet: its header checked, its sections cut out."""

    def __init__(self, stream: bytes, start: int, index: int):
        self.stream, self.start, self.index = stream, start, index
        self.sections: list[bytes] = []
        self.padding = b""              # of all sections
        self._sizes: list[int] = []

    def refuse(self, cause: str, expected: object, found: object) -> NoReturn:
        raise InputError(f"weight stream, packet {self.index}, {cause}: expected {expected}, "
                         f"found {found}")

    def header(self, unit: dict[str, int], strip: int) -> dict[str, int]:
        """Header fields; strip -1 is the table."""
        raw = self.stream[self.start:self.start + HEADER_BYTES]
        if len(raw) < HEADER_BYTES:
            self.refuse("weights_early_last", f"a header of {HEADER_BYTES} bytes", len(raw))
        head = unpack_record(spec.HEADER, raw)
        inputs, q = unit["inputs"], unit["block_inputs"]
        blocks = -(-inputs // q)
        due = spec.KIND_LUT if strip < 0 else spec.KIND_STRIP
        for cause, field, wanted in (
                ("version", "version", spec.STREAM_VERSION), ("kind", "kind", due),
                ("reserved", "reserved", 0), ("tag", "tag", unit["tag"]),
                ("geometry", "cols", unit["cols"]), ("geometry", "block_inputs", q),
                ("geometry", "inputs", inputs), ("weight_bits", "weight_bits", unit["weight_bits"]),
                ("strip", "strip", max(strip, 0))):
            if head[field] != wanted:
                what = f"{field} " if field != cause else ""
                self.refuse(cause, f"{what}{wanted}", head[field])
        most = (inputs, min(blocks, head["columns"])) if strip >= 0 else (0, 0)
        for field, limit in zip(("columns", "blocks"), most, strict=True):
            if head[field] > limit:
                self.refuse("count", f"at most {limit} {field}", head[field])
        self._sizes = [spec.LUT_ENTRIES] if strip < 0 else [
            -(-blocks // 8), head["blocks"] * q // 8,
            head["columns"] * spec.column_bytes(unit["cols"], unit["weight_bits"]),
            unit["cols"] * record_bytes(spec.OUTPUT_PARAMS)]
        return head

    def close(self, *, final: bool) -> int:
        """Cut the sections, judge the CRC; where the next packet starts."""
        length = HEADER_BYTES + TRAILER_BYTES + sum(map(_aligned, self._sizes))
        end = self.start + length
        if end > len(self.stream):
            self.refuse("weights_early_last", f"{length} bytes", len(self.stream) - self.start)
        if final and end != len(self.stream):
            self.refuse("weights_late_last", "no byte behind the last packet",
                        len(self.stream) - end)
        body, stored = self.stream[self.start:end - 4], self.stream[end - 4:end]
        if (crc := zlib.crc32(body)) != int.from_bytes(stored, "little"):
            self.refuse("crc", f"{crc:08x}", f"{int.from_bytes(stored, 'little'):08x}")
        if any(body[-(TRAILER_BYTES - 4):]):
            self.refuse("reserved", "zero in the trailer", "other bytes")
        at = HEADER_BYTES
        for size in self._sizes:
            self.sections.append(body[at:at + size])
            self.padding += body[at + size:at + _aligned(size)]
            at += _aligned(size)
        return end


def _aligned(size: int) -> int:
    return size + -size % spec.ALIGN_BYTES


def _strip(packet: _Packet, head: dict[str, int]) -> Strip:
    """Integers of a strip whose header and CRC hold."""
    q, cols, inputs = head["block_inputs"], head["cols"], head["inputs"]
    bitmap, masks, weights, params = (np.frombuffer(section, np.uint8)
                                      for section in packet.sections)
    output = params.view(PARAMS_DTYPE)
    if output["reserved"].any():
        packet.refuse("reserved", "zero in the output parameters", "other bits")
    blocks = -(-inputs // q)
    bits = np.unpackbits(bitmap, bitorder="little")
    if bits[blocks:].any():
        packet.refuse("range", f"{blocks} blocks", f"a bit for block {blocks} or beyond")
    present = np.flatnonzero(bits)
    if len(present) != head["blocks"]:
        packet.refuse("popcount", f"{head['blocks']} blocks", len(present))
    block, bit = np.nonzero(unpack_bits(masks, (len(present), q)))
    columns = present[block] * q + bit
    if len(columns) and columns[-1] >= inputs:
        packet.refuse("range", f"inputs below {inputs}", columns[-1])
    if len(columns) != head["columns"]:
        packet.refuse("popcount", f"{head['columns']} columns", len(columns))
    for field, low, high in (("mult", spec.MULT_MIN, spec.MULT_MAX),
                             ("shift", spec.SHIFT_MIN, spec.SHIFT_MAX)):
        bad = (output[field] < low) | (output[field] > high)
        if bad.any():
            packet.refuse("params", f"{field} in {low}..{high}", output[field][bad][0])
    stored = weights.reshape(len(columns), spec.column_bytes(cols, head["weight_bits"]))
    halved = head["weight_bits"] == 4
    if any(packet.padding) or (halved and cols % 2 and (stored[:, -1] >> 4).any()):
        packet.refuse("padding", "zero behind sections and columns", "other bits")
    integers = unpack_nibbles(stored, cols) if halved else stored.view(np.int8)
    return Strip(columns=columns, weights=integers, bias=output["bias"].astype(np.int32),
                 mult=output["mult"].astype(np.uint16), shift=output["shift"].copy())
