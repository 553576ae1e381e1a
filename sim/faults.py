"""Every way to spoil an input stream that the unit must catch, as plain bytes and side bands."""
from collections.abc import Callable
from dataclasses import dataclass

from sparseloom.model.packed import spec
from sparseloom.model.packed.codec import pack_record, record_bytes, unpack_record
from sparseloom.model.packed.stream import reseal, split_packets

HEADER_BYTES = record_bytes(spec.HEADER)
PARAMS_BYTES = record_bytes(spec.OUTPUT_PARAMS)
TRAILER_BYTES = record_bytes(spec.TRAILER)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A spoilt packet and what the unit must make of it.

    Parameters
    ----------
    name : str
    data : bytes
        Of the packet, up to its TLAST.
    keep : bytes
        0 or 1 for each byte of ``data``.
    causes : tuple of str
        Names of the error causes that are right, of ``spec.ERROR_CAUSES``.
    strip : int, optional
        Strip that the unit must report, where the fault is in the weights.
    """

    name: str
    data: bytes
    causes: tuple[str, ...]
    keep: bytes = b""
    strip: int | None = None

    def keep_list(self) -> list[int]:
        """TKEEP by byte: all ones unless given."""
        return list(self.keep) or [1] * len(self.data)


def _header(packet: bytes, **fields: int) -> bytes:
    head = {**unpack_record(spec.HEADER, packet[:HEADER_BYTES]), **fields}
    return reseal(pack_record(spec.HEADER, **head) + packet[HEADER_BYTES:])


def _set_bits(packet: bytes, start: int, changes: dict[int, int]) -> bytes:
    data = bytearray(packet)
    for bit, value in changes.items():
        byte, mask = start + bit // 8, 1 << bit % 8
        data[byte] = data[byte] | mask if value else data[byte] & ~mask
    return reseal(bytes(data))


def _flip(packet: bytes, byte: int) -> bytes:
    return packet[:byte] + bytes([packet[byte] ^ 0x10]) + packet[byte + 1:]


def _params_at(packet: bytes, cols: int, output: int) -> int:
    """First byte of an output's parameters."""
    section = cols * PARAMS_BYTES
    return len(packet) - TRAILER_BYTES - (section + -section % spec.ALIGN_BYTES) + (
        output * PARAMS_BYTES)


def _params(packet: bytes, cols: int, output: int, **fields: int) -> bytes:
    at = _params_at(packet, cols, output)
    record = {**unpack_record(spec.OUTPUT_PARAMS, packet[at:at + PARAMS_BYTES]), **fields}
    packed = pack_record(spec.OUTPUT_PARAMS, **record)
    return reseal(packet[:at] + packed + packet[at + PARAMS_BYTES:])


def weight_faults(stream: bytes, bus_bytes: int) -> list[Fault]:
    """Each malformed field of a job's weight stream in turn, in its first strip and its last.

    Parameters
    ----------
    stream : bytes
        A good weight stream.
    bus_bytes : int
        Bytes in a beat.
    """
    packets = split_packets(stream)
    heads = [unpack_record(spec.HEADER, packet[:HEADER_BYTES]) for packet in packets]
    strips = [i for i, head in enumerate(heads) if head["kind"] == spec.KIND_STRIP]
    faults = []
    for place, index in dict.fromkeys((("first", strips[0]), ("last", strips[-1]))):
        head, strip = heads[index], strips.index(index)
        for name, change, causes in _strip_faults(packets[index], head):
            spoilt = [*packets[:index], change(packets[index]), *packets[index + 1:]]
            faults.append(Fault(name=f"{name} ({place} strip)", data=b"".join(spoilt),
                                causes=causes, strip=strip))
    if strips[0]:
        table = packets[0]
        for name, change, causes in (
                ("table version", lambda p: _header(p, version=2), ("version",)),
                ("table tag", lambda p: _header(p, tag=heads[0]["tag"] ^ 1), ("tag",)),
                ("table columns", lambda p: _header(p, columns=1), ("count",)),
                ("table blocks", lambda p: _header(p, blocks=1), ("count",)),
                ("table crc", lambda p: _flip(p, len(p) - 1), ("crc",)),
                ("table entry", lambda p: _flip(p, HEADER_BYTES + 100), ("crc",))):
            faults.append(Fault(name=name, data=b"".join([change(table), *packets[1:]]),
                                causes=causes, strip=0))
        faults.append(Fault(name="table missing", data=b"".join(packets[1:]), causes=("kind",),
                            strip=0))
        faults.append(Fault(name="table twice", data=b"".join([table, *packets]),
                            causes=("kind",), strip=0))
    else:
        table = reseal(pack_record(spec.HEADER, **{
            **heads[0], "kind": spec.KIND_LUT, "columns": 0, "blocks": 0})
            + bytes(spec.LUT_ENTRIES + TRAILER_BYTES))
        faults.append(Fault(name="table not asked for", data=table + stream, causes=("kind",),
                            strip=0))
    if len(strips) > 1:
        swapped = list(packets)
        swapped[strips[0]], swapped[strips[1]] = swapped[strips[1]], swapped[strips[0]]
        faults.append(Fault(name="strips swapped", data=b"".join(swapped), causes=("strip",),
                            strip=0))
        without = b"".join(packets[:-1])
        faults.append(Fault(name="last strip missing", data=without,
                            causes=("weights_early_last",)))
    faults += _frame_faults(stream, bus_bytes)
    return faults


def bit_faults(stream: bytes, bus_bytes: int) -> list[Fault]:
    """Each bit of a job's last strip that must have one value, turned, and its CRC made anew.

    Beside them masks that one check alone can tell from good ones.

    Parameters
    ----------
    stream : bytes
        A good weight stream.
    bus_bytes : int
        Bytes in a beat.
    """
    *before, packet = split_packets(stream)
    head = unpack_record(spec.HEADER, packet[:HEADER_BYTES])
    columns, blocks, block = head["columns"], head["blocks"], head["block_inputs"]
    faults = []

    def add(name: str, spoilt: bytes, *causes: str) -> None:
        faults.append(Fault(name=name, data=b"".join([*before, spoilt]), causes=causes,
                            strip=head["strip"]))

    bitmap = _bitmap(packet, head)
    counts = {"columns": range(blocks, head["inputs"] + 1),
              "blocks": range(min(len(bitmap), columns) + 1)}
    for field, bits in spec.HEADER:
        for bit in range(bits):
            value = head[field] ^ 1 << bit
            causes = (FIELD_CAUSES.get(field, field),)
            if field in counts:
                causes = MOVED if value in counts[field] else ("count",)
            add(f"bit {bit} of {field}", _header(packet, **{field: value}), *causes)
    for output in range(head["cols"]):
        at = _params_at(packet, head["cols"], output)
        record = unpack_record(spec.OUTPUT_PARAMS, packet[at:at + PARAMS_BYTES])
        for field, bits in spec.OUTPUT_PARAMS[1:]:
            for bit in range(bits):
                value = record[field] ^ 1 << bit
                if field == "reserved" or _outside(field, value):
                    add(f"bit {bit} of {field} of output {output}",
                        _params(packet, head["cols"], output, **{field: value}),
                        "reserved" if field == "reserved" else "params")
    for bit in range(8 * (TRAILER_BYTES - 4)):
        add(f"bit {bit} of the trailer",
            _set_bits(packet, len(packet) - TRAILER_BYTES, {bit: 1}), "reserved")
    bitmap_bits = len(bitmap)
    unused = -blocks * block % (8 * spec.ALIGN_BYTES)       # zeros behind the masks
    if bitmap and not bitmap[-1] and unused >= block:
        add("last block without survivors",
            _set_bits(packet, HEADER_BYTES, {bitmap_bits - 1: 1}), "popcount")
    for bit in range(bitmap_bits, bitmap_bits + -bitmap_bits % (8 * bus_bytes)):    # of its word
        add(f"bit {bit} of the bitmap", _set_bits(packet, HEADER_BYTES, {bit: 1}), "range")
    return faults


FIELD_CAUSES = {"cols": "geometry", "block_inputs": "geometry", "inputs": "geometry"}
"""Of fields of the header that have no cause of their name."""

MOVED = ("popcount", "range", "params", "reserved", "crc", "weights_early_last",
         "weights_late_last", "count")
"""A wrong count moves the sections behind it, so what is seen first depends on the data."""


def _bitmap(packet: bytes, head: dict[str, int]) -> list[int]:
    """Whether each block of inputs has survivors."""
    return [packet[HEADER_BYTES + bit // 8] >> bit % 8 & 1
            for bit in range(-(-head["inputs"] // head["block_inputs"]))]


def _outside(field: str, value: int) -> bool:
    """Whether an output's multiplier or shift is not allowed."""
    return (value < spec.MULT_MIN if field == "mult"
            else not spec.SHIFT_MIN <= value <= spec.SHIFT_MAX)


_Change = Callable[[bytes], bytes]
_Found = tuple[str, _Change, tuple[str, ...]]


def _strip_faults(packet: bytes, head: dict[str, int]) -> list[_Found]:
    """Faults inside one strip packet, its CRC right unless the CRC is the fault."""
    inputs, block, columns = head["inputs"], head["block_inputs"], head["columns"]
    bitmap = _bitmap(packet, head)
    bitmap_bits = len(bitmap)
    bitmap_bytes = -(-bitmap_bits // 8)
    masks_at = HEADER_BYTES + bitmap_bytes + -bitmap_bytes % spec.ALIGN_BYTES
    mask_bits = head["blocks"] * block
    masks = [packet[masks_at + bit // 8] >> bit % 8 & 1 for bit in range(mask_bits)]
    found: list[_Found] = []

    def add(name: str, change: _Change, *causes: str) -> None:
        found.append((name, change, causes))

    add("version", lambda p: _header(p, version=head["version"] + 1), "version")
    add("version 0", lambda p: _header(p, version=0), "version")
    add("kind", lambda p: _header(p, kind=spec.KIND_LUT), "kind")
    add("kind unknown", lambda p: _header(p, kind=77), "kind")
    add("tag", lambda p: _header(p, tag=head["tag"] ^ 0x80), "tag")
    add("cols", lambda p: _header(p, cols=head["cols"] + 1), "geometry")
    add("block_inputs", lambda p: _header(p, block_inputs=block // 2), "geometry")
    add("inputs", lambda p: _header(p, inputs=inputs + 1), "geometry")
    add("weight_bits", lambda p: _header(p, weight_bits=12 - head["weight_bits"]),
        "weight_bits")
    add("strip", lambda p: _header(p, strip=head["strip"] + 1), "strip")
    add("reserved", lambda p: _header(p, reserved=1), "reserved")
    add("reserved high", lambda p: _header(p, reserved=1 << 15), "reserved")
    add("columns above inputs", lambda p: _header(p, columns=inputs + 1), "count")
    add("columns huge", lambda p: _header(p, columns=0xFFFF), "count")
    add("blocks above bitmap", lambda p: _header(p, blocks=bitmap_bits + 1), "count")
    add("blocks huge", lambda p: _header(p, blocks=0xFFFF), "count")
    # A wrong count moves the sections behind it, so what is seen first depends on the data.
    moved = ("popcount", "range", "params", "crc", "weights_early_last", "weights_late_last",
             "count")
    if columns > 1:
        add("columns one less", lambda p: _header(p, columns=columns - 1), *moved)
    if columns < inputs:
        add("columns one more", lambda p: _header(p, columns=columns + 1), *moved)
    if head["blocks"] > 1:
        add("blocks one less", lambda p: _header(p, blocks=head["blocks"] - 1), *moved)
    if 0 in bitmap and columns > head["blocks"]:
        add("blocks one more", lambda p: _header(p, blocks=head["blocks"] + 1), *moved)
        add("bitmap bit more", lambda p: _set_bits(p, HEADER_BYTES, {bitmap.index(0): 1}),
            "popcount")
    if 1 in bitmap:
        # The masks behind it then belong to other blocks, and the last may reach beyond K.
        add("bitmap bit less", lambda p: _set_bits(p, HEADER_BYTES, {bitmap.index(1): 0}),
            "popcount", "range")
    if bitmap_bits % 8:
        add("bitmap bit beyond inputs", lambda p: _set_bits(p, HEADER_BYTES, {bitmap_bits: 1}),
            "range", "popcount")
    inside = _inputs_of_masks(bitmap, block)
    free = [bit for bit, k in enumerate(inside) if k < inputs and not masks[bit]]
    beyond = [bit for bit, k in enumerate(inside) if k >= inputs]
    if free:
        add("mask bit more", lambda p: _set_bits(p, masks_at, {free[0]: 1}), "popcount")
    if 1 in masks:
        add("mask bit less", lambda p: _set_bits(p, masks_at, {masks.index(1): 0}), "popcount")
        if beyond:
            add("mask bit beyond inputs",
                lambda p: _set_bits(p, masks_at, {masks.index(1): 0, beyond[-1]: 1}), "range")
    for output in dict.fromkeys((0, head["cols"] - 1)):
        for field, value in (("mult", spec.MULT_MIN - 1), ("mult", 0),
                             ("shift", spec.SHIFT_MIN - 1), ("shift", spec.SHIFT_MAX + 1),
                             ("shift", 64 + spec.SHIFT_MIN)):
            add(f"{field} {value} of output {output}",
                lambda p, output=output, field=field, value=value: _params(
                    p, head["cols"], output, **{field: value}), "params")
    add("crc", lambda p: _flip(p, len(p) - 1), "crc")
    add("bias without crc", lambda p: _flip(p, len(p) - TRAILER_BYTES - spec.ALIGN_BYTES), "crc")
    if columns:
        at = masks_at + mask_bits // 8 + -(mask_bits // 8) % spec.ALIGN_BYTES
        add("weight without crc", lambda p: _flip(p, at), "crc")
    return found


def _inputs_of_masks(bitmap: list[int], block: int) -> list[int]:
    """Input index of every mask bit."""
    return [index * block + bit for index, present in enumerate(bitmap) if present
            for bit in range(block)]


def _frame_faults(stream: bytes, bus_bytes: int) -> list[Fault]:
    """TLAST and TKEEP of a weight stream."""
    beats = len(stream) // bus_bytes
    faults = []
    for name, beat in (("first beat", 1), ("second beat", 2), ("half-way", beats // 2),
                       ("last beat but one", beats - 1)):
        faults.append(Fault(name=f"TLAST early: {name}", data=stream[:beat * bus_bytes],
                            causes=("weights_early_last",)))
    for extra in (bus_bytes, 3 * bus_bytes, 16 * bus_bytes):
        faults.append(Fault(name=f"TLAST late by {extra} bytes", data=stream + bytes(extra),
                            causes=("weights_late_last",)))
    for name, byte in (("first beat", 0), ("half-way", beats // 2 * bus_bytes + bus_bytes // 2),
                       ("last byte", len(stream) - 1)):
        keep = bytearray([1] * len(stream))
        keep[byte] = 0
        faults.append(Fault(name=f"TKEEP: {name}", data=stream, keep=bytes(keep),
                            causes=("weights_keep",)))
    return faults


def act_faults(stream: bytes, bus_bytes: int, rows: int) -> list[Fault]:
    """Each malformed activation stream in turn.

    Parameters
    ----------
    stream : bytes
        A good activation stream.
    bus_bytes, rows : int
        Bytes in a beat and in a word.
    """
    beats = -(-len(stream) // bus_bytes)
    faults = []
    cuts = {"one byte": len(stream) - 1, "one word": len(stream) - rows,
            "one beat": (beats - 1) * bus_bytes, "half": beats // 2 * bus_bytes,
            "all but a byte": 1}
    for name, size in cuts.items():
        if 0 < size < len(stream):
            faults.append(Fault(name=f"acts TLAST early: {name}", data=stream[:size],
                                causes=("acts_early_last",)))
    for name, extra in (("one byte", 1), ("one word", rows), ("one beat", bus_bytes),
                        ("many", 8 * bus_bytes + 1)):
        faults.append(Fault(name=f"acts TLAST late: {name}", data=stream + bytes(extra),
                            causes=("acts_late_last",)))
    places = {"gap in the first beat": 0}
    if beats > 1:
        places["short first beat"] = bus_bytes - 1
        places["gap half-way"] = beats // 2 * bus_bytes - bus_bytes
    last = len(stream) - (beats - 1) * bus_bytes
    if last > 1:
        places["gap in the last beat"] = len(stream) - 2
    for name, byte in places.items():
        if name == "gap in the first beat" and len(stream) == 1:
            continue
        keep = bytearray([1] * len(stream))
        keep[byte] = 0
        faults.append(Fault(name=f"acts TKEEP: {name}", data=stream, keep=bytes(keep),
                            causes=("acts_keep",)))
    # The same bytes over more beats: a partial beat before the last.
    if len(stream) > bus_bytes:
        data = stream[:1] + bytes(bus_bytes - 1) + stream[1:]
        keep = bytes([1] + [0] * (bus_bytes - 1) + [1] * (len(stream) - 1))
        faults.append(Fault(name="acts TKEEP: partial first beat", data=data, keep=keep,
                            causes=("acts_keep",)))
    return faults
