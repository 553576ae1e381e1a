"""The three byte streams of the unit: weights, activations, results."""
import zlib

import numpy as np

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.model.packed.codec import (
    join_sections,
    pack_bits,
    pack_nibbles,
    pack_record,
    record_bytes,
    unpack_record,
)
from sparseloom.model.packed.layer import PackedLayer

PARAMS_DTYPE = np.dtype([("bias", "<i4"), ("mult", "<u2"), ("shift", "u1"), ("reserved", "u1")])
"""``spec.OUTPUT_PARAMS`` as numpy sees it."""

_PAD_PARAMS = (0, spec.MULT_MIN, spec.SHIFT_MIN, 0)


def strip_columns(layer: PackedLayer, cols: int) -> list[np.ndarray]:
    """Inputs that each strip must run, ascending.

    A strip of ``cols`` outputs that straddles blocks runs the union of their stored columns.

    Parameters
    ----------
    layer : PackedLayer
    cols : int
        Outputs of a strip, the array's C.

    Returns
    -------
    list of ndarray of int64
        One for each of ceil(N / cols) strips.
    """
    mask = layer.column_mask()
    columns = []
    for first in range(0, layer.out_features, cols):
        last = min(first + cols, layer.out_features) - 1
        rows = mask[first // layer.p:last // layer.p + 1]
        columns.append(np.flatnonzero(rows.any(axis=0)))
    return columns


def check_weight_bits(layer: PackedLayer, weight_bits: int) -> None:
    """Refuse a layer for a unit of another width.

    Raises
    ------
    InputError
    """
    if layer.weight_bits != weight_bits:
        raise InputError(f"layer {layer.name}, weight_bits: expected {weight_bits}, as the unit "
                         f"was built, found {layer.weight_bits}")


def encode_weights(layer: PackedLayer, *, cols: int, block_inputs: int, tag: int,
                   weight_bits: int = 8) -> bytes:
    """Weight stream of one job: a lut packet if the layer has a table, then every strip.

    Parameters
    ----------
    layer : PackedLayer
    cols, block_inputs, weight_bits : int
        Of the unit that will read the stream.
    tag : int
        Of the job, 0 to 255.

    Returns
    -------
    bytes
        A multiple of ``spec.ALIGN_BYTES``; TLAST belongs to its last beat.

    Raises
    ------
    InputError
        If the unit's ``weight_bits`` differ from the layer's.
    """
    check_weight_bits(layer, weight_bits)
    header = {"version": spec.STREAM_VERSION, "tag": tag, "weight_bits": weight_bits,
              "cols": cols, "block_inputs": block_inputs, "inputs": layer.in_features}
    packets = []
    if layer.lut is not None:
        packets.append(_packet({**header, "kind": spec.KIND_LUT}, [layer.lut.tobytes()]))
    dense = layer.dense_weight()
    blocks = -(-layer.in_features // block_inputs)
    for strip, columns in enumerate(strip_columns(layer, cols)):
        outputs = slice(strip * cols, min((strip + 1) * cols, layer.out_features))
        mask = np.zeros(blocks * block_inputs, bool)
        mask[columns] = True
        masks = mask.reshape(blocks, block_inputs)
        present = np.asarray(masks.any(axis=1))
        weights = np.zeros((len(columns), cols), np.int8)
        weights[:, :outputs.stop - outputs.start] = dense[outputs, columns].T
        params = np.full(cols, np.array(_PAD_PARAMS, PARAMS_DTYPE))
        for field in ("bias", "mult", "shift"):
            params[field][:outputs.stop - outputs.start] = getattr(layer, field)[outputs]
        packets.append(_packet(
            {**header, "kind": spec.KIND_STRIP, "strip": strip, "columns": len(columns),
             "blocks": int(present.sum())},
            [pack_bits(present).tobytes(), pack_bits(masks[present]).tobytes(),
             (weights if weight_bits == 8 else pack_nibbles(weights)).tobytes(),
             params.tobytes()]))
    return b"".join(packets)


def _packet(header: dict[str, int], sections: list[bytes]) -> bytes:
    """Header, sections and the trailer with the CRC over all before it."""
    body = join_sections([pack_record(spec.HEADER, **header), *sections])
    body += bytes(record_bytes(spec.TRAILER) - 4)
    return body + zlib.crc32(body).to_bytes(4, "little")


def reseal(packet: bytes) -> bytes:
    """Packet with its CRC computed anew, for tests that damage another field."""
    return packet[:-4] + zlib.crc32(packet[:-4]).to_bytes(4, "little")


def split_packets(stream: bytes) -> list[bytes]:
    """Packets of a well-formed weight stream, by their headers' counts.

    Raises
    ------
    InputError
        If the stream ends inside a packet.
    """
    size = record_bytes(spec.HEADER)
    packets, start = [], 0
    while start < len(stream):
        if start + size > len(stream):
            raise InputError(f"weight stream: ends inside a header at byte {start}")
        head = unpack_record(spec.HEADER, stream[start:start + size])
        if head["kind"] == spec.KIND_LUT:
            sections = [spec.LUT_ENTRIES]
        else:
            bits = -(-head["inputs"] // max(head["block_inputs"], 1))
            sections = [-(-bits // 8), head["blocks"] * head["block_inputs"] // 8,
                        head["columns"] * spec.column_bytes(head["cols"], head["weight_bits"]),
                        head["cols"] * record_bytes(spec.OUTPUT_PARAMS)]
        length = size + record_bytes(spec.TRAILER)
        length += sum(n + -n % spec.ALIGN_BYTES for n in sections)
        if start + length > len(stream):
            raise InputError(f"weight stream: ends inside the packet at byte {start}")
        packets.append(stream[start:start + length])
        start += length
    return packets


def _groups(tokens: int, rows: int) -> int:
    return -(-tokens // rows)


def _to_stream(values: np.ndarray, rows: int, cols: int) -> bytes:
    """(M, channels) in the order of the activation and result streams."""
    tokens, channels = values.shape
    groups = _groups(tokens, rows)
    padded = np.zeros((groups * rows, channels), values.dtype)
    padded[:tokens] = values
    lanes = padded.reshape(groups, rows, channels).transpose(0, 2, 1)  # (G, channels, R)
    whole = channels // cols * cols
    parts = [lanes[:, :whole].reshape(groups, -1, cols, rows).transpose(1, 0, 2, 3).tobytes(),
             lanes[:, whole:].tobytes()]
    return b"".join(parts)


def _from_stream(values: np.ndarray, tokens: int, channels: int, rows: int, cols: int,
                 ) -> np.ndarray:
    """Inverse of :func:`_to_stream` from a flat array, padding lanes included: (G * R, N)."""
    groups = _groups(tokens, rows)
    whole = channels // cols * cols
    split = groups * whole * rows
    lanes = np.empty((groups, channels, rows), values.dtype)
    lanes[:, :whole] = values[:split].reshape(-1, groups, cols, rows).transpose(
        1, 0, 2, 3).reshape(groups, whole, rows)
    lanes[:, whole:] = values[split:].reshape(groups, channels - whole, rows)
    return lanes.transpose(0, 2, 1).reshape(groups * rows, channels)


def encode_acts(x: np.ndarray, *, rows: int, cols: int) -> bytes:
    """Activation stream of one job.

    Parameters
    ----------
    x : ndarray of int8, shape (M, K)
    rows, cols : int
        R and C of the unit.

    Returns
    -------
    bytes
        K * ceil(M / R) words of R bytes; lanes beyond M are 0.
    """
    if x.ndim != 2 or x.dtype != np.int8:
        raise InputError(f"activations: expected int8 of shape (M, K), found {x.dtype} "
                         f"of shape {x.shape}")
    return _to_stream(x, rows, cols)


def encode_results(values: np.ndarray, *, rows: int, cols: int, raw: bool) -> bytes:
    """Result stream of one job, the inverse of :func:`decode_results`.

    Parameters
    ----------
    values : ndarray of int8 or (raw) int32, shape (M, N)
    """
    return _to_stream(values.astype("<i4" if raw else "i1"), rows, cols)


def result_bytes(*, tokens: int, outputs: int, rows: int, raw: bool) -> int:
    """Length of a job's result stream in bytes."""
    return _groups(tokens, rows) * outputs * rows * (4 if raw else 1)


def decode_results(data: bytes, *, tokens: int, outputs: int, rows: int, cols: int, raw: bool,
                   ) -> np.ndarray:
    """Results of one job.

    Parameters
    ----------
    data : bytes
        Everything up to TLAST.
    tokens, outputs : int
        M and N of the job.
    rows, cols : int
        R and C of the unit.
    raw : bool
        int32 sums instead of int8.

    Returns
    -------
    ndarray of int8 or (raw) int32, shape (M, N)

    Raises
    ------
    InputError
        If the length is wrong, or a lane beyond M is not zero.
    """
    expected = result_bytes(tokens=tokens, outputs=outputs, rows=rows, raw=raw)
    if len(data) != expected:
        raise InputError(f"results: expected {expected} bytes, found {len(data)}")
    flat = np.frombuffer(data, "<i4" if raw else "i1")
    values = _from_stream(flat, tokens, outputs, rows, cols)
    if values[tokens:].any():
        raise InputError(f"results: expected zero in lanes beyond token {tokens - 1}, "
                         f"found {values[tokens:][values[tokens:] != 0][0]}")
    return values[:tokens].astype(np.int32 if raw else np.int8)


def to_beats(data: bytes, bus_bytes: int) -> list[tuple[bytes, int]]:
    """Bytes cut into beats: (data padded to the bus, TKEEP) each."""
    beats = []
    for start in range(0, len(data), bus_bytes):
        part = data[start:start + bus_bytes]
        beats.append((part + bytes(bus_bytes - len(part)), (1 << len(part)) - 1))
    return beats

