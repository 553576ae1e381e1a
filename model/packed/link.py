"""The host link: frames between a host and a unit on a board, as plain data and bytes.

``docs/link.md`` explains it. A frame is a header, data and CRC-32, byte-stuffed by COBS and set
between zero bytes. The host asks, the board answers, one question at a time; a question that is
asked again under the same sequence number acts once and is answered alike.
"""
from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from sparseloom.model.packed.codec import pack_record, record_bytes, unpack_record

LINK_VERSION = 1
"""Version of the link, told by HELLO."""

HEADER = (
    ("sequence", 8),  # of the question, repeated in its answer
    ("kind", 8),      # KINDS, in answers with ANSWER set
    ("flags", 8),     # FLAGS
    ("status", 8),    # STATUSES in answers, 0 in questions
    ("length", 16),   # bytes of data
)
"""First part of each frame, 6 bytes; data and CRC-32 (as ``zlib.crc32``, little-endian) follow."""

MAX_DATA = 1024
"""Most bytes of data in a frame, either way; a board may allow fewer and says so in HELLO."""

CRC_BYTES = 4
OVERHEAD = record_bytes(HEADER) + CRC_BYTES
"""Bytes of a frame besides its data, before COBS."""

DELIMITER = 0
BLOCK = 254
"""Most bytes without a zero that one COBS code stands for (Cheshire and Baker, IEEE/ACM
Transactions on Networking 7(2), 1999, section III)."""

ANSWER = 0x80
"""Set in the kind of an answer."""

HELLO, READ, WRITE, WEIGHTS, ACTS, RESULTS, RESET = range(1, 8)
NACK = 0x7F

KINDS = {
    HELLO: ("hello", "a nonce of 4 bytes",
            "`HELLO_ANSWER`: the nonce, versions and sizes",
            "begins a session: the board forgets earlier questions; acts each time it is heard"),
    READ: ("read", "a register's offset, 4 bytes",
           "its value, 4 bytes", "an AXI4-Lite read"),
    WRITE: ("write", "offset and value, 4 bytes each", "nothing", "an AXI4-Lite write"),
    WEIGHTS: ("weights", "bytes of the weight stream", "nothing",
              "taken whole or not at all; `last` puts TLAST on the last byte's beat"),
    ACTS: ("acts", "bytes of the activation stream", "nothing", "as weights"),
    RESULTS: ("results", "the most bytes wanted, 4 bytes",
              "kept bytes of whole beats, up to a TLAST at most",
              "`last` and `user`: TLAST and TUSER of the last beat given; no data: none was there"),
    RESET: ("reset", "nothing", "nothing",
            "resets the unit and drops what the board holds of its streams"),
}
"""Kind of a question: (name, data of the question, data of the answer, what it does)."""

FLAG_LAST, FLAG_USER = 1, 2
FLAGS = {
    FLAG_LAST: ("last", "the data's last byte ends a packet of the stream (TLAST)"),
    FLAG_USER: ("user", "that packet's results are void (TUSER)"),
}

OK, BUSY, REFUSED, BAD, SILENT, STRANGER, DAMAGED = range(7)
STATUSES = {
    OK: ("ok", "done"),
    BUSY: ("busy", "no room for the data now; nothing was taken"),
    REFUSED: ("refused", "the register bus answered SLVERR"),
    BAD: ("bad", "unknown kind, wrong length, or a piece of a stream that is no whole beats "
                 "without being the last"),
    SILENT: ("silent", "the register bus did not answer in time"),
    STRANGER: ("stranger", "no HELLO was heard since the board's reset"),
    DAMAGED: ("damaged", "only in NACK, whose sequence is 0: a frame came damaged or incomplete"),
}
"""Status of an answer: (name, meaning)."""

HELLO_ANSWER = (
    ("nonce", 32),
    ("version", 8),        # LINK_VERSION
    ("bus_bytes", 8),      # bytes of a beat
    ("max_data", 16),      # most bytes of data in a frame, either way
    ("stream_bytes", 16),  # room of each stream's queue on the board
    ("damaged", 16),       # damaged frames since reset, stops at the most
)
"""What HELLO answers, 12 bytes."""

READ_QUESTION = (("offset", 32),)
WRITE_QUESTION = (("offset", 32), ("value", 32))
RESULTS_QUESTION = (("limit", 32),)
QUESTION_BYTES = {HELLO: 4, READ: 4, WRITE: 8, RESULTS: 4, RESET: 0}
"""Bytes of data of the questions that have a fixed length."""


class FrameError(ValueError):
    """Bytes that are no frame."""


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame, either way.

    Parameters
    ----------
    sequence, kind, flags, status : int
        As in ``HEADER``.
    data : bytes
        At most ``MAX_DATA`` of them.
    """

    sequence: int
    kind: int
    flags: int = 0
    status: int = 0
    data: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the line, a delimiter before and behind.

        The one before ends whatever damage came earlier.
        """
        if len(self.data) > MAX_DATA:
            raise ValueError(f"data must be at most {MAX_DATA} bytes, not {len(self.data)}")
        head = pack_record(HEADER, sequence=self.sequence, kind=self.kind, flags=self.flags,
                           status=self.status, length=len(self.data))
        plain = head + self.data
        plain += zlib.crc32(plain).to_bytes(CRC_BYTES, "little")
        return bytes([DELIMITER, *cobs_encode(plain), DELIMITER])

    @classmethod
    def decode(cls, stuffed: bytes) -> Frame:
        """A frame from the bytes between two delimiters.

        Raises
        ------
        FrameError
            If stuffing, size, length field or CRC do not hold.
        """
        plain = cobs_decode(stuffed)
        if not OVERHEAD <= len(plain) <= OVERHEAD + MAX_DATA:
            raise FrameError(f"frame: expected {OVERHEAD} to {OVERHEAD + MAX_DATA} bytes, "
                             f"found {len(plain)}")
        body, crc = plain[:-CRC_BYTES], int.from_bytes(plain[-CRC_BYTES:], "little")
        if crc != zlib.crc32(body):
            raise FrameError(f"frame, CRC-32: expected {zlib.crc32(body):08x}, found {crc:08x}")
        size = record_bytes(HEADER)
        fields = unpack_record(HEADER, body[:size])
        data = body[size:]
        if fields.pop("length") != len(data):
            raise FrameError(f"frame, length: expected {len(data)}, found another number")
        return cls(**fields, data=data)


def cobs_encode(plain: bytes) -> bytes:
    """Bytes without a zero that stand for ``plain``.

    Each run of up to ``BLOCK`` bytes without zero is led by its length + 1; the zero behind a
    shorter run is left out, as is the one that the end stands for.
    """
    out = bytearray()
    start = 0
    while True:
        end = plain.find(0, start, start + BLOCK)
        if end < 0:
            end = min(start + BLOCK, len(plain))
        out.append(end - start + 1)
        out += plain[start:end]
        if end == len(plain):
            return bytes(out)
        start = end if end - start == BLOCK else end + 1


def cobs_decode(stuffed: bytes) -> bytes:
    """The inverse of :func:`cobs_encode`.

    Raises
    ------
    FrameError
        If there is a zero, nothing, or a run that goes past the end.
    """
    out = bytearray()
    at = 0
    if not stuffed or DELIMITER in stuffed:
        raise FrameError("frame: expected bytes without a zero, found "
                         f"{'one' if stuffed else 'none'}")
    while at < len(stuffed):
        code = stuffed[at]
        run = stuffed[at + 1:at + code]
        if len(run) != code - 1:
            raise FrameError(f"frame: expected a run of {code - 1} bytes, found {len(run)}")
        out += run
        at += code
        if code <= BLOCK and at < len(stuffed):
            out.append(0)
    return bytes(out)


class Splitter:
    """Cuts what arrives into the pieces between delimiters, however it is chopped up.

    A piece longer than any frame is dropped up to the next delimiter, so memory is bounded.
    """

    LONGEST = OVERHEAD + MAX_DATA + (OVERHEAD + MAX_DATA) // BLOCK + 1

    def __init__(self) -> None:
        self._piece = bytearray()
        self._too_long = False

    def feed(self, received: bytes) -> Iterator[bytes]:
        """Take bytes; yield each piece that they complete, empty ones left out."""
        for byte in received:
            if byte != DELIMITER:
                self._too_long |= len(self._piece) >= self.LONGEST
                if not self._too_long:
                    self._piece.append(byte)
                continue
            piece, too_long = bytes(self._piece), self._too_long
            self._piece.clear()
            self._too_long = False
            if piece and not too_long:
                yield piece
