"""Files of the bench's player and recorder: beats as fixed records."""
from pathlib import Path

import numpy as np

from sparseloom.sim.errors import SimulationError

KEEP_BYTES = 2
"""Bytes that hold TKEEP in a record, so that 16 lanes fit."""


def write_beats(path: Path, packets: list[bytes], bus_bytes: int) -> int:
    """Write packets for the player: TLAST, TKEEP, data per beat, most significant byte first.

    Parameters
    ----------
    path : Path
    packets : list of bytes
        Each ends with TLAST; only its last beat may be short.
    bus_bytes : int

    Returns
    -------
    int
        Beats written.
    """
    records = [_records(packet, bus_bytes) for packet in packets]
    path.write_bytes(b"".join(record.tobytes() for record in records))
    return sum(len(record) for record in records)


def _records(packet: bytes, bus_bytes: int) -> np.ndarray:
    """Records of one packet: uint8, shape (beats, 1 + KEEP_BYTES + bus_bytes)."""
    if not packet:
        raise ValueError("a packet needs a byte")
    beats = -(-len(packet) // bus_bytes)
    data = np.zeros(beats * bus_bytes, np.uint8)
    data[:len(packet)] = np.frombuffer(packet, np.uint8)
    records = np.zeros((beats, 1 + KEEP_BYTES + bus_bytes), np.uint8)
    records[-1, 0] = 1
    keep = np.full(beats, (1 << bus_bytes) - 1)
    keep[-1] >>= beats * bus_bytes - len(packet)
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
    record = np.dtype([("data", np.uint8, bus_bytes), ("keep", "<u2"), ("last", np.uint8),
                       ("user", np.uint8)])
    try:
        beats = np.frombuffer(path.read_bytes(), record)
    except (OSError, ValueError) as error:
        raise SimulationError(f"{path}: expected recorded beats, found {error}") from None
    packets, start = [], 0
    for end in np.flatnonzero(beats["last"]) + 1:
        part = beats[start:end]
        keep = part["keep"][:, None] >> np.arange(bus_bytes) & 1
        packets.append((part["data"][keep.astype(bool)].tobytes(), bool(part["user"][-1])))
        start = end
    if start != len(beats):
        raise SimulationError(f"{path}: expected whole packets, found {len(beats) - start} beats "
                              "after the last")
    return packets
