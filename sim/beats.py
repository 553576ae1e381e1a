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
    """Read what the recorder wrote.

    Returns
    -------
    list of (bytes, bool)
        One per packet: the kept bytes, and TUSER of its last beat.

    Raises
    ------
    SimulationError
        If the file is damaged, or ends inside a packet.
    """
    width = 2 + KEEP_BYTES + bus_bytes
    try:
        raw = bytes.fromhex(path.read_text().replace("\n", " "))
        records = np.frombuffer(raw, np.uint8).reshape(-1, width)
    except (OSError, ValueError) as error:
        raise SimulationError(f"{path}: expected recorded beats, found {error}") from None
    packets, start = [], 0
    for end in np.flatnonzero(records[:, 1]) + 1:
        part = records[start:end]
        keep = (part[:, 2].astype(int) << 8 | part[:, 3])[:, None] >> np.arange(bus_bytes) & 1
        data = part[:, 2 + KEEP_BYTES:][:, ::-1]
        packets.append((data[keep.astype(bool)].tobytes(), bool(part[-1, 0])))
        start = end
    if start != len(records):
        raise SimulationError(f"{path}: expected whole packets, found {len(records) - start} beats "
                              "after the last")
    return packets
