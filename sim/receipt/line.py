"""Bytes of a job on a board's serial line, by the rules of the host link."""
from sparseloom.hw.job import Job
from sparseloom.model.packed import link

BAUD = 1_000_000
"""Of the ULX3S's line where the bitstream was not built otherwise, see ``docs/link.md``."""
LINE_BITS = 10
"""Of a byte: start, eight of data, stop."""


def frame_bytes(data: int) -> int:
    """Most bytes of a frame with so many bytes of data, with its delimiters."""
    plain = link.OVERHEAD + data
    return plain + plain // link.BLOCK + 1 + 2


def job_line_bytes(*, weights: int, acts: int, results: int, bus_bytes: int) -> int:
    """Bytes both ways of one job, as ``hw/host.py`` asks: one question at a time.

    Descriptor and push, both streams in pieces of whole beats, results likewise. A question that is
    asked again, of a queue that is full or on a bad line, comes on top.

    Parameters
    ----------
    weights, acts, results : int
        Bytes of the streams.
    bus_bytes : int
        Of a beat.
    """
    piece = link.MAX_DATA // bus_bytes * bus_bytes
    answer = frame_bytes(0)
    descriptor = Job(inputs=1, outputs=1, tokens=1)
    writes = len(descriptor.writes()) + 1
    total = writes * (frame_bytes(link.QUESTION_BYTES[link.WRITE]) + answer)
    for size in (weights, acts):
        total += sum(frame_bytes(part) + answer for part in pieces(size, piece))
    ask = frame_bytes(link.QUESTION_BYTES[link.RESULTS])
    return total + sum(ask + frame_bytes(part) for part in pieces(results, piece))


def pieces(size: int, most: int) -> list[int]:
    """A stream's length cut into pieces."""
    return [min(most, size - start) for start in range(0, size, most)]
