"""The masks of a pruned checkpoint: one bit a group, in a file beside the weights. No torch."""
from __future__ import annotations

import json
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from sparseloom.model.config import STRUCTURES
from sparseloom.model.errors import InputError, cut, shown
from sparseloom.model.packed.codec import pack_bits, unpack_bits
from sparseloom.model.write import write_whole

FILE_NAME = "masks.safetensors"
METADATA_KEY = "sparseloom_masks"
VERSION = 1
MAX_SIDE = 1 << 24
"""Longest side of a matrix that is believed; a vocabulary's table is the longest there is."""
MAX_WEIGHTS = 1 << 32


def group_size(structure: str, p: int, q: int) -> tuple[int, int]:
    """Outputs and inputs of one group."""
    return {"column": (p, 1), "block": (p, q), "row": (1, q)}[structure]


def group_mask(name: str, mask: Any, structure: str, p: int, q: int) -> np.ndarray:
    """One value for each group of a mask.

    Parameters
    ----------
    mask : ndarray or Tensor of bool, shape (N, K)
        Groups at the edges may be smaller, where p or q does not divide the matrix.

    Returns
    -------
    ndarray of bool, shape (ceil(N / rows), ceil(K / cols)) for groups of rows × cols

    Raises
    ------
    InputError
        If it is no such mask, or a group is alive in part.
    """
    bits = np.asarray(mask.detach().cpu() if hasattr(mask, "detach") else mask)
    if bits.ndim != 2 or bits.dtype != np.bool_ or not bits.size:
        raise InputError(f"mask of {cut(name)}: expected bool of two dimensions, found "
                         f"{bits.dtype} of shape {bits.shape}")
    rows, cols = group_size(structure, p, q)
    groups = bits[::rows, ::cols]
    if (_expand(groups, rows, cols, bits.shape) != bits).any():
        raise InputError(f"mask of {cut(name)}: expected whole {structure} groups of {p} × {q}, "
                         "found one alive in part")
    return groups


def _expand(groups: np.ndarray, rows: int, cols: int, shape: tuple[int, ...]) -> np.ndarray:
    grown = groups.repeat(rows, axis=0).repeat(cols, axis=1)
    return grown[:shape[0], :shape[1]]


def write_masks(folder: str | os.PathLike, masks: Mapping[str, Any], *, structure: str, p: int,
                q: int) -> Path:
    """Write ``masks.safetensors``, whole or not at all; the same masks give the same bytes.

    Parameters
    ----------
    folder : path
    masks : mapping of str to ndarray or Tensor of bool, shape (N, K)
        By layer, True where a weight is kept.
    structure, p, q
        The groups of all of them.

    Raises
    ------
    InputError
        If a mask does not consist of whole groups.
    OSError
        If it cannot be written.
    """
    tensors: dict[str, np.ndarray] = {}
    table: list[dict[str, Any]] = []
    for name, mask in masks.items():
        tensors[name] = pack_bits(group_mask(name, mask, structure, p, q))
        table.append({"name": name, "shape": list(mask.shape),
                      "crc32": zlib.crc32(tensors[name].tobytes())})
    body = {"version": VERSION, "structure": structure, "p": p, "q": q, "layers": table}
    path = Path(folder) / FILE_NAME
    write_whole(path, save(tensors, {METADATA_KEY: json.dumps(body, separators=(",", ":"))}))
    return path


def read_masks(folder: str | os.PathLike) -> dict[str, np.ndarray] | None:
    """The masks of a checkpoint folder, in the order they were written; None where there is none.

    Returns
    -------
    dict of str to ndarray of bool, shape (N, K)

    Raises
    ------
    InputError
        If anything does not add up: file, version, groups, shape, dtype, count of bits, CRC.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            return _read(path, file)
    except (SafetensorError, OSError) as error:
        reason = cut(str(error) or type(error).__name__)   # may quote the file's own names
        raise InputError(f"{path}: expected a whole safetensors file, found: {reason}") from None


def read_groups(folder: str | os.PathLike) -> tuple[str, int, int]:
    """Structure, p and q of the masks in a folder that has them; raises as :func:`read_masks`."""
    path = Path(folder) / FILE_NAME
    try:
        with safe_open(path, framework="numpy") as file:
            body = _header(path, (file.metadata() or {}).get(METADATA_KEY))
    except (SafetensorError, OSError) as error:
        reason = cut(str(error) or type(error).__name__)   # may quote the file's own names
        raise InputError(f"{path}: expected a whole safetensors file, found: {reason}") from None
    return body["structure"], body["p"], body["q"]


def _read(path: Path, file: Any) -> dict[str, np.ndarray]:
    body = _header(path, (file.metadata() or {}).get(METADATA_KEY))
    rows, cols = group_size(body["structure"], body["p"], body["q"])
    names, masks = set(file.keys()), {}
    for row in body["layers"]:
        name, shape, crc = _row(path, row)
        where = f"{path}, {cut(name)}"
        if name in masks:
            raise InputError(f"{where}: expected once, found twice")
        if name not in names:
            raise InputError(f"{where}: expected a tensor, found none")
        part = file.get_slice(name)
        grid = (-(-shape[0] // rows), -(-shape[1] // cols))
        size = [-(-grid[0] * grid[1] // 8)]
        if part.get_dtype() != "U8" or list(part.get_shape()) != size:
            raise InputError(f"{where}: expected U8 of shape {size} ({grid[0]} × {grid[1]} "
                             f"groups), found {part.get_dtype()} of shape {part.get_shape()}")
        data = file.get_tensor(name)
        if zlib.crc32(data.tobytes()) != crc:
            raise InputError(f"{where}, crc32: expected {shown(crc)}, "
                             f"found {zlib.crc32(data.tobytes())}")
        try:
            groups = unpack_bits(data, grid)
        except ValueError as error:
            raise InputError(f"{where}: expected zero bits after the last, found: {error}"
                             ) from None
        masks[name] = _expand(groups, rows, cols, shape)
    if extra := names - set(masks):
        raise InputError(f"{path}: expected no other tensor, found {cut(min(extra))}")
    return masks


def _header(path: Path, text: str | None) -> dict[str, Any]:
    if text is None:
        raise InputError(f"{path}, metadata: expected key '{METADATA_KEY}', found none")
    try:
        body = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}, metadata: expected JSON, found: {error}") from None
    if not isinstance(body, dict):
        raise InputError(f"{path}, metadata: expected a record, found {type(body).__name__}")
    version = body.get("version")
    if type(version) is not int or version != VERSION:  # True is no version
        raise InputError(f"{path}, version: expected {VERSION}, found {shown(version)}")
    if body.get("structure") not in STRUCTURES:
        raise InputError(f"{path}, structure: expected one of {', '.join(STRUCTURES)}, "
                         f"found {shown(body.get('structure'))}")
    for key in ("p", "q"):
        if type(body.get(key)) is not int or not 1 <= body[key] <= MAX_SIDE:
            raise InputError(f"{path}, {key}: expected an integer of 1 or more, "
                             f"found {shown(body.get(key))}")
    if not isinstance(body.get("layers"), list):
        raise InputError(f"{path}, layers: expected a list, found {shown(body.get('layers'))}")
    return body


def _row(path: Path, row: Any) -> tuple[str, tuple[int, int], object]:
    if not isinstance(row, dict) or not isinstance(row.get("name"), str):
        raise InputError(f"{path}, layers: expected a record with a name, found {shown(row)}")
    shape = row.get("shape")
    if not (isinstance(shape, list) and len(shape) == 2
            and all(type(side) is int and 1 <= side <= MAX_SIDE for side in shape)
            and shape[0] * shape[1] <= MAX_WEIGHTS):
        raise InputError(f"{path}, {cut(row['name'])}, shape: expected two sizes, "
                         f"found {shown(shape)}")
    return row["name"], (shape[0], shape[1]), row.get("crc32")


def check_masks(weights: Mapping[str, Any], masks: Mapping[str, Any]) -> None:
    """Refuse weights that are not exactly zero where their mask is dead.

    Parameters
    ----------
    weights : mapping of str to Tensor or ndarray, shape (N, K)
        More layers than masks are no error.
    masks : mapping of str to Tensor or ndarray of bool, shape (N, K)

    Raises
    ------
    InputError
        Names the first layer that does not hold, and how many of its weights.
    """
    for name, mask in masks.items():
        weight, problem = weights.get(name), None
        if weight is None:
            problem = "a weight for its mask, found none"
        elif tuple(weight.shape) != tuple(mask.shape):
            problem = (f"shape {tuple(mask.shape)} as its mask has, "
                       f"found {tuple(weight.shape)}")
        elif wrong := _alive_outside(weight, mask):
            problem = f"zeros where its mask is dead, found {wrong} other weights"
        if problem:
            raise InputError(f"layer {cut(name)}: expected {problem}")


def _alive_outside(weight: Any, mask: Any) -> int:
    """Weights that are not exactly zero where the mask is dead."""
    other = weight != 0  # NaN, too
    if hasattr(mask, "detach") and hasattr(weight, "detach"):
        mask = mask.to(weight.device)  # all of it stays where the weights are
    elif hasattr(mask, "detach") or hasattr(weight, "detach"):
        mask, other = (np.asarray(value.cpu() if hasattr(value, "detach") else value)
                       for value in (mask, other))
    return int((other & ~mask).sum())
