"""Files of the bench's player and recorder: beats as fixed records."""
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from sparseloom.sim.errors import SimulationError

KEEP_BYTES = 2
"""Bytes that hold TKEEP in a record, so that 16 lanes fit."""


Packet = bytes | tuple[bytes, bytes]
"""Bytes up to TLAST; with TKEEP of each, 0 or 1, where it is not all ones."""


def write_beats(path: Path, packets: Sequence[Packet], bus_bytes: int) -> int:
    """Write packets for the player: TLAST, TKEEP, data per beat, most significant byte first.

    Parameters
    ----------
    path : Path
    packets : sequence of bytes, or of (bytes, bytes)
        Each ends with TLAST. Only its last beat is short, unless TKEEP is given for each byte.
    bus_bytes : int

    Returns
    -------
    int
        Beats written.
    """
    records = [_records(packet, bus_bytes) if isinstance(packet, bytes)
               else _records(packet[0], bus_bytes, packet[1]) for packet in packets]
    path.write_bytes(b"".join(record.tobytes() for record in records))
    return sum(len(record) for record in records)


def _records(packet: bytes, bus_bytes: int, kept: bytes | None = None) -> np.ndarray:
    """Records of one packet: uint8, shape (beats, 1 + KEEP_BYTES + bus_bytes)."""
    if not packet:
        raise ValueError("a packet needs a byte")
    beats = -(-len(packet) // bus_bytes)
    data = np.zeros(beats * bus_bytes, np.uint8)
    data[:len(packet)] = np.frombuffer(packet, np.uint8)
    records = np.zeros((beats, 1 + KEEP_BYTES + bus_bytes), np.uint8)
    records[-1, 0] = 1
    bits = np.zeros(beats * bus_bytes, np.int64)
    bits[:len(packet)] = 1 if kept is None else np.frombuffer(kept, np.uint8)
    keep = bits.reshape(beats, bus_bytes) @ (1 << np.arange(bus_bytes))
    records[:, 1], records[:, 2] = keep >> 8, keep & 0xFF
    records[:, 1 + KEEP_BYTES:] = data.reshape(beats, bus_bytes)[:, ::-1]
    return records


def read_beats(path: Path, bus_bytes: int) -> list[tuple[bytes, bool]]:
    """Read what the recorder wrote: per beat data (lowest byte first), TKEEP, TLAST, TUSER.

    Returns
    -------
    list of (bytes, bool)
        One per packet: the kept bytes, and TUSER of its last beat.

    Raises
    ------
    SimulationError
        If the file is damaged, or ends inside a packet.
    """
    packets, _, beats = read_open_beats(path, bus_bytes)
    if beats:
        raise SimulationError(f"{path}: expected whole packets, found {beats} beats after the last")
    return packets


def read_open_beats(path: Path, bus_bytes: int) -> tuple[list[tuple[bytes, bool]], bytes, int]:
    """The same of a recording that may have been broken off.

    Returns
    -------
    list of (bytes, bool)
        One per whole packet, as above.
    bytes, int
        Kept bytes behind the last one, and their beats.

    Raises
    ------
    SimulationError
        If the file is damaged.
    """
    record = np.dtype([("data", np.uint8, bus_bytes), ("keep", "<u2"), ("last", np.uint8),
                       ("user", np.uint8)])
    try:
        beats = np.frombuffer(path.read_bytes(), record)
    except (OSError, ValueError) as error:
        raise SimulationError(f"{path}: expected recorded beats, found {error}") from None
    packets, start = [], 0
    for end in (np.flatnonzero(beats["last"]) + 1).tolist():
        packets.append((_kept(beats[start:end], bus_bytes), bool(beats["user"][end - 1])))
        start = end
    return packets, _kept(beats[start:], bus_bytes), len(beats) - start


def _kept(beats: np.ndarray, bus_bytes: int) -> bytes:
    keep = beats["keep"][:, None] >> np.arange(bus_bytes) & 1
    return beats["data"][keep.astype(bool)].tobytes()
