"""What is fuzzed: how each target's inputs are made, and when its answer is right.

An input must be taken, and then mean what it says, or be refused by an error of ours whose message
has the form that is promised. Everything else is a finding.
"""
from __future__ import annotations

import json
import random
import re
import zlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bench.mutate import NUMBERS, mutate_bytes, mutate_tree
from sparseloom.hw.errors import LinkError, UnitError
from sparseloom.hw.host import TABLE, Host
from sparseloom.hw.job import pack_fields
from sparseloom.hw.link_client import LinkClient
from sparseloom.hw.registers import UNIT_ID
from sparseloom.model.errors import InputError
from sparseloom.model.packed import link, spec
from sparseloom.model.packed.artefact import (
    FILE_NAME,
    METADATA_KEY,
    read_artefact,
    stored_bits_per_weight,
    write_artefact,
)
from sparseloom.model.packed.codec import pack_record, record_bytes, unpack_record
from sparseloom.model.packed.decode import decode_weights
from sparseloom.model.packed.layer import PackedLayer, pack_layer
from sparseloom.model.packed.link import (
    Frame,
    FrameError,
    Splitter,
    cobs_decode,
    cobs_encode,
)
from sparseloom.model.packed.stream import (
    decode_results,
    encode_results,
    encode_weights,
    reseal,
    result_bytes,
    split_packets,
)
from sparseloom.model.reference import linear

MESSAGE = re.compile(r"(?P<where>[^\n]{1,300}?): expected [^\n]{1,300}, found[: ][^\n]{0,300}")
"""What every refusal looks like: one line, of bounded length."""

DENSE = 1 << 18
"""Most weights of a layer that is unpacked; a small file may well describe a huge empty one."""


class Wrong(Exception):
    """An answer that is not right, though nothing crashed."""


def check(right: object, what: str) -> None:
    """Raise :class:`Wrong` unless ``right``; unlike ``assert`` also under ``-O``."""
    if not right:
        raise Wrong(what)


class Target(ABC):
    """One reader.

    Attributes
    ----------
    refusals : tuple of type
        What it may raise.
    """

    name: str
    refusals: tuple[type[Exception], ...] = (InputError,)

    @abstractmethod
    def draw(self, rng: random.Random) -> Any:
        """An input."""

    @abstractmethod
    def read(self, given: Any) -> None:
        """Read it, and raise :class:`Wrong` if what is read cannot be meant.

        Raises
        ------
        Exception
            Of ``refusals``, if the input is refused.
        """

    def reason(self, message: str) -> str:
        """For the table: the field that a refusal names.

        Raises
        ------
        Wrong
            If the message does not have the promised form.
        """
        found = MESSAGE.fullmatch(message)
        check(found and message.isprintable(), f"message {message[:300]!r}")
        return self.field(found["where"] if found else "")

    def field(self, where: str) -> str:
        """The field in what stands before ``expected``."""
        return where.rpartition(", ")[2]


def small_layers() -> list[PackedLayer]:
    """Layers of every kind: structures, widths, tables, padding, nothing stored, all stored."""
    rng = np.random.default_rng(11)
    made = []
    for name, shape, structure, p, q, density, bits, kind in (
            ("encoder.layer.0.query", (6, 12), "column", 3, 4, 0.5, 8, "lut"),
            ("block", (8, 20), "block", 4, 5, 0.5, 8, "bytes"),
            ("row", (6, 10), "row", 3, 5, 0.5, 8, "raw"),
            ("four", (5, 9), "column", 3, 3, 0.6, 4, "bytes"),
            ("padded", (7, 11), "column", 3, 5, 0.6, 8, "raw"),
            ("empty", (4, 6), "column", 2, 3, 0.0, 4, "lut"),
            ("full", (4, 40), "column", 2, 8, 1.0, 8, "bytes"),
            ("one", (1, 1), "block", 1, 1, 1.0, 8, "raw")):
        rows, cols = {"column": (p, 1), "block": (p, q), "row": (1, q)}[structure]
        grid = rng.random((-(-shape[0] // rows), -(-shape[1] // cols))) < density
        keep = grid.repeat(rows, axis=0).repeat(cols, axis=1)[:shape[0], :shape[1]]
        limit = spec.WEIGHT_LIMIT[bits]
        weight = (rng.integers(1, limit + 1, shape) * keep).astype(np.int8)
        made.append(pack_layer(
            name=name, weight=weight, keep=keep, structure=structure, p=p, q=q, weight_bits=bits,
            bias=rng.integers(-1000, 1000, shape[0]).astype(np.int32),
            mult=rng.integers(spec.MULT_MIN, spec.MULT_MAX, shape[0]).astype(np.uint16),
            shift=rng.integers(spec.SHIFT_MIN, spec.SHIFT_MAX, shape[0]).astype(np.uint8),
            weight_scale=rng.random(shape[0]).astype(np.float32), input_scale=0.02,
            input_zero_point=-3, output_scale=0.5, output_zero_point=4, raw=kind == "raw",
            lut=rng.integers(-128, 128, 256).astype(np.int8) if kind == "lut" else None,
            lut_scale=0.25 if kind == "lut" else 0.0))
    return made


def tall_layer() -> PackedLayer:
    """Valid, of 33 kB, and nothing is stored: a grid of its columns would take 98 MB."""
    n, k = 3001, 65535
    return PackedLayer(
        name="tall", in_features=k, out_features=n, structure="column", p=2, q=k,
        block_mask=np.zeros((-(-n // 2), 1), bool), column_masks=np.zeros((0, k), bool),
        weights=np.zeros((0, 2), np.int8), bias=np.zeros(n, np.int32),
        mult=np.full(n, spec.MULT_MIN, np.uint16), shift=np.full(n, spec.SHIFT_MIN, np.uint8),
        weight_scale=np.ones(n, np.float32), lut=None, raw=True, input_scale=1.0,
        input_zero_point=0, output_scale=1.0, output_zero_point=0, lut_scale=0.0,
        lut_zero_point=0)


TENSOR_BYTES = {"BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "U16": 2, "I16": 2, "F16": 2, "BF16": 2,
                "U32": 4, "I32": 4, "F32": 4, "U64": 8, "I64": 8, "F64": 8}


class ArtefactTarget(Target):
    """``read_artefact``: damaged bytes, tables, records and tensors, most with CRCs that hold.

    Parameters
    ----------
    folder : Path
        Where the file is written that is read; best in memory.
    """

    name = "artefact"

    def __init__(self, folder: Path):
        self.folder = folder
        layers = small_layers()
        groups = [[layer] for layer in layers] + [layers[:2], layers[3:6], [], [tall_layer()]]
        self.whole: list[bytes] = []
        for group in groups:
            path = write_artefact(folder, group, {"task": "none", "score": [0.5, None]})
            self.whole.append(path.read_bytes())

    def draw(self, rng: random.Random) -> bytes:
        data = rng.choice(self.whole)
        kind = rng.randrange(20)
        if kind < 4:
            return mutate_bytes(rng, data, self.whole)
        if kind < 5:
            length = rng.choice((*NUMBERS, len(data), len(data) - 8, len(data) - 9))
            return length.to_bytes(8, "little") + data[8:]
        head, tensors = take_apart(data)
        if kind < 8:                                   # the table of tensors, data as it is
            head = mutate_tree(rng, head)
            return put_together(head, tensors, fresh=False)
        text = head["__metadata__"][METADATA_KEY]
        body = json.loads(text)
        if kind < 9:                                   # the record's text
            head["__metadata__"][METADATA_KEY] = rng.choice((
                "[" * 100_000, text.replace("0.02", "9" * 5000), text.replace("0.02", "1e999"),
                mutate_bytes(rng, text.encode()).decode("utf-8", "replace"), text + text))
            return put_together(head, tensors)
        if kind < 14 or not tensors:
            for _ in range(rng.choice((1, 1, 2))):
                body = mutate_tree(rng, body)
        if kind >= 13 and tensors:
            for _ in range(rng.choice((1, 1, 2))):
                change_tensor(rng, head, tensors)
        if rng.random() < 0.95:
            seal(body, tensors)
        head["__metadata__"][METADATA_KEY] = json.dumps(body, separators=(",", ":"))
        return put_together(head, tensors)

    def read(self, given: bytes) -> None:
        path = self.folder / FILE_NAME
        path.write_bytes(given)
        artefact = read_artefact(path)
        head, tensors = take_apart(given)
        crcs = {name: zlib.crc32(part) for name, part in tensors}
        for row in json.loads(head["__metadata__"][METADATA_KEY])["layers"]:
            for key, crc in row["crc32"].items():
                check(crcs[f"{row['name']}/{key}"] == crc, f"crc32 of {key}")
        for layer in artefact.layers.values():
            stored = stored_bits_per_weight(layer) if layer.weights.size else float("inf")
            check(stored > 4, "less than its weights are stored")
            if layer.in_features * layer.out_features <= DENSE:
                usable(layer)

    def field(self, where: str) -> str:
        """Layers' names may hold anything; what follows them is the field."""
        kind = "layer" if where.startswith("layer ") else "file"
        field = where.rpartition(", ")[2] if ", " in where else "whole"
        return f"{kind}: {field if re.fullmatch('[a-z_0-9 ]+', field) else 'other'}"


def usable(layer: PackedLayer) -> None:
    """A layer that was taken is as its masks say, and its stream is read back as it is."""
    dense, columns = layer.dense_weight(), layer.column_mask()
    check(dense.shape == (layer.out_features, layer.in_features), "shape of the weights")
    check(int(columns.sum()) == len(layer.weights), "columns of the masks")
    check(not dense[~columns.repeat(layer.p, axis=0)[:layer.out_features]].any(), "dead weights")
    unit = {"cols": 3, "block_inputs": 8, "tag": 5, "weight_bits": layer.weight_bits}
    _, strips = decode_weights(
        encode_weights(layer, **unit), inputs=layer.in_features, outputs=layer.out_features,
        lut=layer.lut is not None, **unit)
    for index, strip in enumerate(strips):
        rows = dense[3 * index:3 * index + 3, strip.columns].T
        check(np.array_equal(strip.weights[:, :rows.shape[1]], rows), f"strip {index}")


Tensors = list[list[Any]]
"""Name, data of each."""


def take_apart(data: bytes) -> tuple[dict[str, Any], Tensors]:
    """A safetensors file's table, and names and bytes of its tensors in order."""
    size = int.from_bytes(data[:8], "little")
    head = json.loads(data[8:8 + size])
    places = sorted((row["data_offsets"], name) for name, row in head.items()
                    if name != "__metadata__")
    return head, [[name, data[8 + size + first:8 + size + last]] for (first, last), name in places]


def put_together(head: dict[str, Any], tensors: Tensors, *, fresh: bool = True) -> bytes:
    """The file; ``fresh`` gives each tensor the place that it now has."""
    if fresh:
        at = 0
        for name, part in tensors:
            head[name]["data_offsets"] = [at, at := at + len(part)]
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(part for _, part in tensors)


def seal(body: Any, tensors: Tensors) -> None:
    """All CRCs hold again, where the record has them still."""
    crcs = {name: zlib.crc32(part) for name, part in tensors}
    layers = body.get("layers") if isinstance(body, dict) else None
    for row in layers if isinstance(layers, list) else ():
        if isinstance(row, dict) and isinstance(row.get("crc32"), dict):
            for key in row["crc32"]:
                name = f"{row.get('name')}/{key}"
                row["crc32"][key] = crcs.get(name, row["crc32"][key])
    if isinstance(body, dict):
        body.pop("crc32", None)
        body["crc32"] = zlib.crc32(json.dumps(body, separators=(",", ":")).encode())


def change_tensor(rng: random.Random, head: dict[str, Any], tensors: Tensors) -> None:
    """Another value, length, shape, type or name of one tensor; the table says so."""
    index = rng.randrange(len(tensors))
    name, part = tensors[index]
    row, kind = head[name], rng.randrange(9)
    width = TENSOR_BYTES.get(row["dtype"], 1)
    if kind < 3 and part:
        changed = bytearray(part)
        for _ in range(rng.choice((1, 1, 3))):
            changed[rng.randrange(len(part))] ^= 1 << rng.randrange(8)
        tensors[index][1] = bytes(changed)
    elif kind == 3 and part:
        tensors[index][1] = rng.choice((b"\0", b"\xff", b"\x01", b"\x80")) * len(part)
    elif kind == 4:
        count = max(0, len(part) // width + rng.choice((-1, 1, 2, 8, 500)))
        tensors[index][1] = (part + rng.randbytes(500 * width))[:count * width]
        row["shape"] = [len(tensors[index][1]) // width]
    elif kind == 5:
        count = len(part) // width
        row["shape"] = rng.choice(([count, 1], [1, count], [count], [1, 1, count], [0, count],
                                   [count // 2, 2], [2, count // 2]))
    elif kind == 6:
        row["dtype"] = rng.choice(list(TENSOR_BYTES))
        row["shape"] = [len(part) // TENSOR_BYTES[row["dtype"]]]
    elif kind == 7:
        tensors.pop(index)
        del head[name]
    else:
        other = rng.choice(tensors)
        tensors[index][1], other[1] = other[1], part


class WeightsTarget(Target):
    """``decode_weights`` and ``split_packets``: packets damaged, moved, with CRCs that hold."""

    name = "weights"

    def __init__(self):
        self.jobs: list[tuple[dict[str, Any], bytes]] = []
        for layer in small_layers():
            for cols, block_inputs in ((3, 8), (4, 16), (1, 32)):
                unit = {"cols": cols, "block_inputs": block_inputs, "tag": 7,
                        "weight_bits": layer.weight_bits}
                job = {"inputs": layer.in_features, "outputs": layer.out_features,
                       "lut": layer.lut is not None, **unit}
                self.jobs.append((job, encode_weights(layer, **unit)))
        self.streams = [stream for _, stream in self.jobs]

    def draw(self, rng: random.Random) -> tuple[dict[str, Any], bytes]:
        job, stream = rng.choice(self.jobs)
        kind = rng.randrange(10)
        if kind == 0:
            return job, rng.randbytes(rng.choice((0, 1, 15, 16, 48, 400)))
        if kind < 4:
            return job, mutate_bytes(rng, stream, self.streams)
        packets = split_packets(stream)
        index = rng.randrange(len(packets))
        packet = packets[index]
        if kind < 6:
            head = unpack_record(spec.HEADER, packet[:16])
            field, bits = rng.choice(spec.HEADER)
            head[field] = rng.choice((*NUMBERS, head[field] + 1, head[field] - 1)) % (1 << bits)
            packet = reseal(pack_record(spec.HEADER, **head) + packet[16:])
        elif kind < 9:
            changed = bytearray(packet)
            for _ in range(rng.choice((1, 1, 2))):
                at = rng.randrange(16, len(packet))
                changed[at] = rng.choice((changed[at] ^ 1 << rng.randrange(8), 0, 255))
            packet = reseal(bytes(changed))
        else:
            other = rng.choice(packets)
            packet = rng.choice((b"", packet * 2, other, other + packet,
                                 reseal(packet[:-16] + bytes(16) + packet[-16:])))
        packets[index] = packet
        return job, b"".join(packets)

    def read(self, given: tuple[dict[str, Any], bytes]) -> None:
        job, stream = given
        try:
            packets = split_packets(stream)
        except InputError as refused:
            check(str(refused).startswith("weight stream: ends inside"), str(refused))
        else:
            check(b"".join(packets) == stream, "packets are not the stream")
            check(len(stream) % spec.ALIGN_BYTES == 0, "half a packet was split off")
        table, strips = decode_weights(stream, **job)
        check((table is not None) == job["lut"], "table")
        check(len(strips) == -(-job["outputs"] // job["cols"]), "number of strips")
        for strip in strips:
            columns = strip.columns
            check(strip.weights.shape == (len(columns), job["cols"]), "shape of the weights")
            check((np.diff(columns) > 0).all(), "columns do not ascend")
            check(not len(columns) or columns[-1] < job["inputs"], "a column beyond the inputs")
            check(strip.mult.min() >= spec.MULT_MIN, "mult")
        check(packets[0][:1] == b"\x01", "what is decoded was not split")


class ResultsTarget(Target):
    """``decode_results``: lengths, lanes and geometries that do not fit."""

    name = "results"

    def draw(self, rng: random.Random) -> tuple[dict[str, Any], bytes]:
        job = {"tokens": rng.randrange(1, 9), "outputs": rng.randrange(1, 12),
               "rows": rng.randrange(1, 6), "raw": rng.random() < 0.5}
        size = result_bytes(**job)
        job["cols"] = rng.randrange(1, 6)
        values = np.frombuffer(rng.randbytes(4 * job["tokens"] * job["outputs"]), np.int32)
        values = values.reshape(job["tokens"], -1).astype(np.int32 if job["raw"] else np.int8)
        data = encode_results(values, rows=job["rows"], cols=job["cols"], raw=job["raw"])
        kind = rng.randrange(4)
        if kind == 0:
            data = mutate_bytes(rng, data)
        elif kind == 1:
            data = rng.randbytes(size)
        elif kind == 2:
            field = rng.choice(("tokens", "outputs"))
            job[field] = rng.choice(NUMBERS[1:26])
        return job, data

    def read(self, given: tuple[dict[str, Any], bytes]) -> None:
        job, data = given
        values = decode_results(data, **job)
        check(values.shape == (job["tokens"], job["outputs"]), "shape")
        check(encode_results(values, rows=job["rows"], cols=job["cols"], raw=job["raw"]) == data,
              "another stream comes back")


class FramesTarget(Target):
    """``Splitter``, ``Frame.decode`` and COBS: a noisy line, cut into pieces anywhere."""

    name = "frames"
    refusals = (FrameError,)

    def draw(self, rng: random.Random) -> tuple[bytes, int]:
        line = b""
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            data = rng.randbytes(rng.choice((0, 1, 4, 4, 12, 12, 100, 243, 260, link.MAX_DATA)))
            if rng.random() < 0.3:
                data = data.replace(data[:1], b"\0")
            frame = Frame(sequence=rng.randrange(256), kind=rng.randrange(256),
                          flags=rng.randrange(256), status=rng.randrange(256), data=data)
            piece = frame.encode()
            kind = rng.randrange(6)
            if kind == 0:                               # a header that lies, its CRC right
                head = bytearray(cobs_decode(piece[1:-1])[:-link.CRC_BYTES])
                head[rng.randrange(record_bytes(link.HEADER))] = rng.randrange(256)
                if rng.random() < 0.3:
                    head += rng.randbytes(rng.choice((1, 100, 1100)))
                head += zlib.crc32(head).to_bytes(link.CRC_BYTES, "little")
                piece = b"\0" + cobs_encode(bytes(head)) + b"\0"
            elif kind == 1:
                piece = rng.randbytes(rng.choice((1, 10, 10, 300, 300, 3000)))
            elif kind < 5:
                piece = mutate_bytes(rng, piece)
            line += piece
        return line, rng.choice((1, 2, 7, 64, 5000))

    def read(self, given: tuple[bytes, int]) -> None:
        line, step = given
        splitter, pieces = Splitter(), []
        for at in range(0, len(line), step):
            pieces += splitter.feed(line[at:at + step])
        check(pieces == list(Splitter().feed(line)), "pieces depend on how they arrive")
        refused = None
        for piece in pieces:
            check(0 < len(piece) <= Splitter.LONGEST and 0 not in piece, "a piece that is none")
            try:
                frame = Frame.decode(piece)
            except FrameError as error:
                refused = error
                continue
            check(Frame.decode(frame.encode()[1:-1]) == frame, "another frame comes back")
        if refused:
            raise refused


class Hung(Exception):
    """A board was asked more often than anyone would."""


class Board:
    """A transport and a board behind it that answers as it should, and now and then does not.

    Parameters
    ----------
    rng : random.Random
    trust : float
        Share of answers that are right.
    results : bytes
        The stream of a job.
    """

    baud = 1_000_000
    MOST = 3000
    """Questions of a session: registers and jobs of these sizes need some fifty."""

    def __init__(self, rng: random.Random, trust: float, results: bytes):
        self.rng, self.trust, self.results = rng, trust, results
        self.asked = 0
        self._waiting, self._now, self._splitter = b"", 0.0, Splitter()

    def write(self, octets: bytes) -> None:
        for piece in self._splitter.feed(octets):
            self.asked += 1
            if self.asked > self.MOST:
                raise Hung(f"more than {self.MOST} questions")
            self._waiting += self._reply(Frame.decode(piece))

    def read(self, seconds: float) -> bytes:
        size = self.rng.choice((1, 20, 5000))
        found, self._waiting = self._waiting[:size], self._waiting[size:]
        self._now += 2e-3 if found else seconds
        return found

    def now(self) -> float:
        return self._now

    def _reply(self, question: Frame) -> bytes:
        rng, right = self.rng, self._answer(question)
        if rng.random() < self.trust:
            return right.encode()
        kind = rng.randrange(8)
        if kind == 0:
            return b""
        if kind == 1:
            return mutate_bytes(rng, right.encode())
        if kind == 2:
            return rng.randbytes(rng.choice((3, 100, 4000)))
        fields = dict(vars(right))
        if kind < 6:                                    # whole frames with other data
            data = fields["data"]
            fields["data"] = rng.choice((
                b"", data[:-1], data + b"\0", data[:4], rng.randbytes(len(data)),
                data[:4] + rng.randbytes(max(0, len(data) - 4)), rng.randbytes(link.MAX_DATA),
                bytes(len(data)), mutate_bytes(rng, data)))[:link.MAX_DATA]
        for field in ("kind", "sequence", "flags", "status"):
            if rng.random() < 0.3:
                fields[field] = rng.choice((0, 1, 2, 3, 0x7F, 0x80, 0xFF, rng.randrange(256)))
        return Frame(**fields).encode() * rng.choice((1, 1, 1, 2, 20))

    def _answer(self, question: Frame) -> Frame:
        data, flags = b"", 0
        if question.kind == link.HELLO:
            data = pack_record(
                link.HELLO_ANSWER, nonce=int.from_bytes(question.data, "little"),
                version=link.LINK_VERSION, bus_bytes=8, max_data=256, stream_bytes=2048)
        elif question.kind == link.READ:
            offset = unpack_record(link.READ_QUESTION, question.data)["offset"]
            name = next(name for name in TABLE if TABLE[name].offset == offset)
            data = pack_fields(TABLE[name], **REGISTERS.get(name, {})).to_bytes(4, "little")
        elif question.kind == link.RESULTS:
            data, flags = self.results, link.FLAG_LAST
        return Frame(sequence=question.sequence, kind=question.kind | link.ANSWER, flags=flags,
                     data=data)


REGISTERS = {
    "ID": {"value": UNIT_ID}, "VERSION": {"stream_version": spec.STREAM_VERSION},
    "GEOMETRY": {"rows": 2, "cols": 3, "block_inputs": 16, "weight_bits": 8},
    "BUILD": {"bus_bytes": 8, "lanes": 1, "queue_depth": 4}, "MAX_K": {"value": 40},
    "ACT_WORDS": {"value": 48}}


class HostTarget(Target):
    """``LinkClient`` and ``Host``: a session with a board that may answer anything."""

    name = "host"
    refusals = (LinkError, UnitError)

    def __init__(self) -> None:
        self.layer = next(layer for layer in small_layers() if layer.name == "block")
        self.acts = np.arange(3 * self.layer.in_features, dtype=np.int8).reshape(3, -1)
        self.wanted = linear(self.layer, self.acts)
        # Three tokens on two rows: a lane of no token.
        self.results = encode_results(self.wanted, rows=REGISTERS["GEOMETRY"]["rows"],
                                      cols=REGISTERS["GEOMETRY"]["cols"], raw=False)

    def draw(self, rng: random.Random) -> tuple[int, float]:
        return rng.getrandbits(64), rng.choice((0.0, 0.5, 0.9, 0.97, 1.0))

    def read(self, given: tuple[int, float]) -> None:
        seed, trust = given
        rng = random.Random(seed)
        board = Board(rng, trust, self.results)
        client = LinkClient(board, attempts=3, patience=0.02, draw=rng.getrandbits)
        host = Host(board, stall=0.1, client=client)
        found = host.run_layer(self.layer, self.acts)
        check(found.shape == self.wanted.shape and found.dtype == np.int8, "shape of the results")
        check(trust < 1 or np.array_equal(found, self.wanted), "other results")
        host.read("STATUS")

    def reason(self, message: str) -> str:
        check(message.isprintable() and len(message) < 1000, f"message {message[:300]!r}")
        return message.partition(":")[0].partition(",")[0]


def targets(folder: Path) -> Sequence[Target]:
    """All of them.

    Parameters
    ----------
    folder : Path
        For the files of those that read files.
    """
    return ArtefactTarget(folder), WeightsTarget(), ResultsTarget(), FramesTarget(), HostTarget()

