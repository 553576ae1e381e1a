"""The artefact file: every packed layer of a model in one safetensors file, and its checks."""
import json
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sparseloom.model.errors import InputError, cut, shown
from sparseloom.model.packed import spec
from sparseloom.model.packed.codec import pack_bits, pack_nibbles, unpack_bits, unpack_nibbles
from sparseloom.model.packed.layer import MAX_FEATURES, PackedLayer
from sparseloom.model.write import write_whole

FILE_NAME = "sparseloom.safetensors"
METADATA_KEY = "sparseloom"
SHOWN_NAMES = 8
"""Layers that a message lists."""

_BITS = ("block_mask", "column_masks")
_DTYPES = {"block_mask": "U8", "column_masks": "U8", "weights": "I8", "bias": "I32",
           "mult": "U16", "shift": "U8", "lut": "I8", "weight_scale": "F32"}
"""Tensors of a layer, ``<layer>/<field>`` in the file; ``lut`` only where there is a table."""
_SCALARS = {"in_features": int, "out_features": int, "structure": str, "p": int, "q": int,
            "raw": bool, "input_scale": float, "input_zero_point": int, "output_scale": float,
            "output_zero_point": int, "lut_scale": float, "lut_zero_point": int,
            "weight_bits": int}
"""Fields of a layer kept in the file's metadata."""


@dataclass(frozen=True)
class Artefact:
    """What an artefact file holds.

    Parameters
    ----------
    layers : dict of str to PackedLayer
        In the order they were written.
    metadata : dict
        What the exporter noted: source, pruning statistics, task; plain JSON data.
    """

    layers: dict[str, PackedLayer]
    metadata: dict[str, Any] = field(default_factory=dict)

    def layer(self, name: str) -> PackedLayer:
        """The layer of that name.

        Raises
        ------
        InputError
            If there is none; lists the first of those there are.
        """
        if name not in self.layers:
            names = list(self.layers)
            known = ", ".join(names[:SHOWN_NAMES]) or "none"
            if len(names) > SHOWN_NAMES:
                known += f" and {len(names) - SHOWN_NAMES} more"
            raise InputError(f"layer {cut(name)}: not in the artefact, which has {known}")
        return self.layers[name]


def artefact_path(folder: str | os.PathLike) -> Path:
    """The artefact file of a folder; a path to the file itself is taken as it is."""
    path = Path(folder)
    return path if path.suffix == ".safetensors" else path / FILE_NAME


def write_artefact(folder: str | os.PathLike, layers: list[PackedLayer],
                   metadata: dict[str, Any]) -> Path:
    """Write the layers to ``sparseloom.safetensors``, whole or not at all.

    The same layers and metadata give the same bytes.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    layers : list of PackedLayer
        Names must differ.
    metadata : dict
        Plain JSON data.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    InputError
        If two layers share a name, or the metadata is not JSON.
    """
    tensors: dict[str, np.ndarray] = {}
    table: list[dict[str, Any]] = []
    for layer in layers:
        if any(row["name"] == layer.name for row in table):
            raise InputError(f"layer {cut(layer.name)}: expected once, found twice")
        arrays = _tensors(layer)
        table.append({"name": layer.name, **{key: getattr(layer, key) for key in _SCALARS},
                      "crc32": {key: zlib.crc32(value.tobytes())
                                for key, value in arrays.items()}})
        tensors |= {f"{layer.name}/{key}": value for key, value in arrays.items()}
    body = {"format": "sparseloom", "version": spec.ARTEFACT_VERSION, "layers": table,
            "metadata": metadata}
    try:
        body["crc32"] = zlib.crc32(_canonical(body))
    except (TypeError, ValueError) as error:
        raise InputError(f"artefact metadata: expected plain JSON data, found {error}") from None
    data = save(tensors, {METADATA_KEY: _canonical(body).decode()})
    path = artefact_path(folder)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, data)
    return path


def _tensors(layer: PackedLayer) -> dict[str, np.ndarray]:
    """Arrays of a layer as they stand in the file: masks as bits, 4-bit weights two to a byte."""
    arrays = {key: pack_bits(getattr(layer, key)) if key in _BITS else getattr(layer, key)
              for key in _DTYPES if getattr(layer, key) is not None}
    if layer.weight_bits == 4:
        arrays["weights"] = pack_nibbles(layer.weights.reshape(-1))
    return {key: np.ascontiguousarray(value) for key, value in arrays.items()}


def _canonical(body: dict[str, Any]) -> bytes:
    return json.dumps(body, separators=(",", ":"), allow_nan=False).encode()


def read_artefact(folder: str | os.PathLike) -> Artefact:
    """Read an artefact and check all of it.

    Parameters
    ----------
    folder : path
        The artefact's folder, or the file.

    Raises
    ------
    InputError
        If anything does not add up: file, version, dtype, shape, popcount, CRC, range. Names
        the layer, the field, what was expected and what was found.
    """
    path = artefact_path(folder)
    if not path.is_file():
        raise InputError(f"artefact {path}: expected a file, found none")
    try:
        with safe_open(path, framework="numpy") as file:
            return _read(path, file)
    except (SafetensorError, OSError) as error:
        reason = str(error) or type(error).__name__    # may quote the file's own names
        raise InputError(f"artefact {path}: expected a whole safetensors file, "
                         f"found: {cut(reason)}") from None


def _read(path: Path, file) -> Artefact:
    body = _header(path, (file.metadata() or {}).get(METADATA_KEY))
    names = set(file.keys())
    layers: dict[str, PackedLayer] = {}
    for row in body["layers"]:
        _check_row(path, row)
        name = row["name"]
        if name in layers:
            raise InputError(f"layer {cut(name)}: expected once, found twice")
        arrays: dict[str, Any] = {"lut": None}
        for key, crc in row["crc32"].items():
            if f"{name}/{key}" not in names:
                raise InputError(f"layer {cut(name)}, {key}: expected a tensor, found none")
            names.remove(f"{name}/{key}")
            arrays[key] = _tensor(file, row, key, crc)
        arrays |= _masks(row, arrays)
        if row["weight_bits"] == 4:
            arrays["weights"] = _weights(row, arrays)
        scalars: dict[str, Any] = {key: row[key] for key in _SCALARS}
        layers[name] = PackedLayer(name=name, **scalars, **arrays)
    if names:
        raise InputError(f"artefact {path}: expected no other tensor, "
                         f"found {cut(min(names))}")
    return Artefact(layers, body["metadata"])


def _header(path: Path, text: str | None) -> dict[str, Any]:
    """The metadata record, its own CRC checked."""
    if text is None:
        raise InputError(f"artefact {path}, metadata: expected key '{METADATA_KEY}', found none")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"artefact {path}, metadata: expected JSON, found {error}") from None
    if not isinstance(body, dict) or body.get("format") != "sparseloom":
        raise InputError(f"artefact {path}, format: expected 'sparseloom', found another")
    version = body.get("version")
    if type(version) is not int or version != spec.ARTEFACT_VERSION:  # True is no version
        raise InputError(f"artefact {path}, version: expected {spec.ARTEFACT_VERSION}, "
                         f"found {shown(version)}")
    stored = body.pop("crc32", None)
    try:
        actual = zlib.crc32(_canonical(body))
    except (ValueError, RecursionError) as error:
        raise InputError(f"artefact {path}, metadata: expected JSON, found {error}") from None
    if stored != actual:
        raise InputError(f"artefact {path}, metadata crc32: expected {shown(stored)}, "
                         f"found {actual}")
    if not isinstance(body.get("layers"), list) or not isinstance(body.get("metadata"), dict):
        raise InputError(f"artefact {path}, metadata: expected 'layers' and 'metadata', "
                         f"found {cut(', '.join(sorted(body)))}")
    return body


def _check_row(path: Path, row: Any) -> None:
    """A layer's scalars have their types, and its sizes are small enough to compute with."""
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise InputError(f"artefact {path}, layers: expected a record with a name, found another")
    name = cut(row["name"])
    for key, kind in _SCALARS.items():
        if key not in row:
            raise InputError(f"layer {name}, {key}: expected a field, found none")
        value = row[key]
        kinds = (int, float) if kind is float else kind
        if not isinstance(value, kinds) or (kind is not bool and isinstance(value, bool)):
            raise InputError(f"layer {name}, {key}: expected {kind.__name__}, found {shown(value)}")
    for key in ("in_features", "out_features", "p", "q"):
        if not 1 <= row[key] <= MAX_FEATURES:
            raise InputError(f"layer {name}, {key}: expected 1..{MAX_FEATURES}, "
                             f"found {shown(row[key])}")
    for key, whole in (("p", "out_features"), ("q", "in_features")):
        if row[key] > row[whole]:
            raise InputError(f"layer {name}, {key}: expected at most {whole} = {row[whole]}, "
                             f"found {row[key]}")
    crcs = row.get("crc32")
    if not isinstance(crcs, dict):
        raise InputError(f"layer {name}, crc32: expected a record, found {type(crcs).__name__}")
    for key in _DTYPES:
        if key not in crcs and key != "lut":
            raise InputError(f"layer {name}, {key}: expected a crc32, found none")
    for key in crcs:
        if key not in _DTYPES:
            raise InputError(f"layer {name}, crc32: expected {', '.join(_DTYPES)}, "
                             f"found {shown(key)}")


def _tensor(file, row: dict[str, Any], key: str, crc: object) -> np.ndarray:
    """One tensor of a layer with dtype and CRC checked; shapes come later, with the masks."""
    name, outputs = row["name"], row["out_features"]
    part = file.get_slice(f"{name}/{key}")
    dtype = "U8" if key == "weights" and row["weight_bits"] == 4 else _DTYPES[key]
    if part.get_dtype() != dtype:
        raise InputError(f"layer {cut(name)}, {key}: expected {dtype}, "
                         f"found {part.get_dtype()}")
    shape = tuple(part.get_shape())
    rows, cols = _grid(row)
    blocks = rows * cols
    expected = {"block_mask": (-(-blocks // 8),), "lut": (spec.LUT_ENTRIES,)}.get(key, (outputs,))
    if key not in ("column_masks", "weights") and shape != expected:
        raise InputError(f"layer {cut(name)}, {key}: expected shape {expected}, "
                         f"found shape {shape}")
    try:
        value = file.get_tensor(f"{name}/{key}")
    except ValueError as error:     # no bytes, of a size beyond what numpy counts
        raise InputError(f"layer {cut(name)}, {key}: expected a shape that can be, "
                         f"found {shown(shape)}: {error}") from None
    found = zlib.crc32(np.ascontiguousarray(value).tobytes())
    if found != crc:
        raise InputError(f"layer {cut(name)}, {key}: expected crc32 {shown(crc)}, found {found}")
    return value


def _grid(row: dict[str, Any]) -> tuple[int, int]:
    """Rows and columns of blocks; the last ones may reach beyond the matrix."""
    return -(-row["out_features"] // row["p"]), -(-row["in_features"] // row["q"])


def _masks(row: dict[str, Any], arrays: dict[str, Any]) -> dict[str, np.ndarray]:
    """Bits to boolean masks; the number of present blocks sizes the column masks."""
    def unpack(key: str, shape: tuple[int, int], why: str) -> np.ndarray:
        size = -(-shape[0] * shape[1] // 8)
        if arrays[key].shape != (size,):
            raise InputError(f"layer {cut(row['name'])}, {key}: expected {size} bytes{why}, "
                             f"found shape {arrays[key].shape}")
        try:
            return unpack_bits(arrays[key], shape)
        except ValueError as error:
            raise InputError(f"layer {cut(row['name'])}, {key}: expected zero bits after the last, "
                             f"found: {error}") from None

    blocks = unpack("block_mask", _grid(row), "")
    present = int(blocks.sum())
    columns = unpack("column_masks", (present, row["q"]),
                     f" (popcount of block_mask is {present})")
    return {"block_mask": blocks, "column_masks": columns}


def _weights(row: dict[str, Any], arrays: dict[str, Any]) -> np.ndarray:
    """Weights of 4 bits as integers; the masks say how many there are."""
    packed, columns, p = arrays["weights"], int(arrays["column_masks"].sum()), row["p"]
    size = -(-columns * p // 2)
    if packed.shape != (size,):
        raise InputError(f"layer {cut(row['name'])}, weights: expected {size} bytes (popcount of "
                         f"column_masks is {columns}, two weights to a byte), found shape "
                         f"{packed.shape}")
    try:
        return unpack_nibbles(packed, columns * p).reshape(columns, p)
    except ValueError as error:
        raise InputError(f"layer {cut(row['name'])}, weights: expected zero bits after the last, "
                         f"found: {error}") from None


def stored_bits_per_weight(layer: PackedLayer) -> float:
    """Bits in the file per surviving weight: weights and masks, not output parameters or CRC.

    Returns
    -------
    float
        ``inf`` for a layer of which nothing survived.
    """
    arrays = _tensors(layer)
    stored = sum(arrays[key].nbytes * 8 for key in ("weights", *_BITS))
    surviving = layer.surviving_weights
    return stored / surviving if surviving else float("inf")
