"""What a pruned checkpoint or an artefact holds, as plain data and as a table. No torch."""
from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table
from rich.text import Text
from safetensors import SafetensorError, safe_open

from sparseloom.model import masks as stored
from sparseloom.model.draw import draw_mask, draw_sheet, write_image
from sparseloom.model.errors import InputError, cut, shown
from sparseloom.model.packed.artefact import Artefact, artefact_path, read_artefact
from sparseloom.model.packed.artefact import stored_bits_per_weight as stored_bits

PRUNING_FILE = "pruning.json"


def describe(path: str | Path) -> dict[str, Any]:
    """Check a pruned checkpoint folder or an artefact, and list its layers.

    Parameters
    ----------
    path : str or path
        An artefact file, an artefact folder (which is also a checkpoint: the artefact counts), or
        a pruned checkpoint's folder.

    Returns
    -------
    dict
        Plain JSON data. ``kind`` (``artefact`` or ``checkpoint``), ``name``, ``compression`` (all
        weights of the listed layers but embeddings over the surviving ones; None where nothing
        survived), ``model_compression`` (None where it is not known), ``metadata`` (the artefact's
        or ``pruning.json``) and ``layers``: ``name``, ``shape``, ``structure``, ``p``, ``q``,
        ``density``, ``strips``, ``min_columns`` and ``max_columns`` (inputs that any weight of a
        strip of p outputs reads). An artefact's layers have ``output`` and
        ``stored_bits_per_weight`` besides.

    Raises
    ------
    InputError
        If it is neither, or damaged: a weight that its mask calls dead is not zero.
    """
    if artefact_path(path).is_file() or not _is_pruned(path):
        return _describe_artefact(path, read_artefact(path))
    return _describe_checkpoint(Path(path))


def masks_of(path: str | Path) -> tuple[dict[str, np.ndarray], tuple[str, int, int]]:
    """Masks of a pruned checkpoint or an artefact, with structure, p and q of them all.

    Returns
    -------
    dict of str to ndarray of bool, shape (N, K)
    (structure, p, q)

    Raises
    ------
    InputError
        As :func:`describe`; or if an artefact's layers differ in their groups.
    """
    if artefact_path(path).is_file() or not _is_pruned(path):
        layers = read_artefact(path).layers
        kinds = {(layer.structure, layer.p, layer.q) for layer in layers.values()}
        if len(kinds) != 1:
            raise InputError(f"artefact {artefact_path(path)}: expected layers with one kind of "
                             f"groups to draw, found {len(kinds)}")
        return {name: layer.surviving_mask() for name, layer in layers.items()}, kinds.pop()
    masks = stored.read_masks(path)
    if masks is None:
        return _from_zeros(Path(path), _pruning(Path(path)))
    return masks, stored.read_groups(path)


def write_mask_image(path: str | Path, image: str | Path, layer: str | None = None) -> Path:
    """Draw one layer's mask, or all of them on a sheet, to a PNG file.

    Raises
    ------
    InputError
        As :func:`masks_of`; if there is no such layer; if the image cannot be written.
    """
    masks, (structure, p, q) = masks_of(path)
    if layer is None:
        return write_image(image, draw_sheet(masks, title=Path(path).resolve().name))
    if layer not in masks:
        names = list(masks)
        more = f" and {len(names) - 8} more" if len(names) > 8 else ""
        raise InputError(f"layer {cut(layer)}: expected one of {', '.join(names[:8])}{more}, "
                         "found no such layer")
    return write_image(image, draw_mask(masks[layer], structure=structure, p=p, q=q))


def _is_pruned(path: str | Path) -> bool:
    return any((Path(path) / name).is_file() for name in (stored.FILE_NAME, PRUNING_FILE))


def _row(name: str, mask: np.ndarray, structure: str, p: int, q: int) -> dict[str, Any]:
    columns = [int(mask[start:start + p].any(axis=0).sum()) for start in range(0, len(mask), p)]
    return {"name": name, "shape": list(mask.shape), "structure": structure, "p": p, "q": q,
            "density": float(mask.mean()), "strips": len(columns), "min_columns": min(columns),
            "max_columns": max(columns)}


def _describe_artefact(path: str | Path, found: Artefact) -> dict[str, Any]:
    rows = []
    for layer in found.layers.values():
        row = _row(layer.name, layer.surviving_mask(), layer.structure, layer.p, layer.q)
        row |= {"density": layer.density,
                "output": "sums" if layer.raw else "table" if layer.lut is not None else "bytes",
                "stored_bits_per_weight": (stored_bits(layer) if layer.surviving_weights
                                           else None)}
        rows.append(row)
    if not rows:
        raise InputError(f"artefact {artefact_path(path)}: expected layers, found none")
    source = found.metadata.get("source")  # as another program may have left it
    name = source.get("model") if isinstance(source, dict) else None
    total = sum(layer.in_features * layer.out_features for layer in found.layers.values())
    alive = sum(layer.surviving_weights for layer in found.layers.values())
    folder = artefact_path(path).parent
    note = _pruning(folder) if (folder / PRUNING_FILE).is_file() else {}
    return {"kind": "artefact", "name": str(name or path),
            "compression": total / alive if alive else None,
            "model_compression": _number(note.get("model_compression")),
            "metadata": found.metadata, "layers": rows}


def _describe_checkpoint(folder: Path) -> dict[str, Any]:
    note = _pruning(folder) if (folder / PRUNING_FILE).is_file() else {}
    masks, (structure, p, q) = masks_of(folder)
    if not masks:
        raise InputError(f"checkpoint {folder}: expected pruned layers, found none")
    sizes: dict[str, int] = {}
    for tensor, size, read in _tensors(folder):
        sizes[tensor] = size
        for name in masks:
            if tensor == f"{name}.weight" or tensor.endswith(f".{name}.weight"):
                stored.check_masks({name: read()}, {name: masks[name]})
                break
    # Embeddings are no layer of the encoder: they count for the whole model only.
    linears = [mask for name, mask in masks.items() if "embeddings" not in name.split(".")]
    total, alive = sum(map(np.size, linears)), sum(int(mask.sum()) for mask in linears)
    dead = sum(mask.size - int(mask.sum()) for mask in masks.values())
    whole = sum(sizes.values())
    source = note.get("source")
    name = source.get("model") if isinstance(source, dict) else None
    return {"kind": "checkpoint", "name": str(name or folder),
            "compression": total / alive if alive else None,
            "model_compression": whole / (whole - dead) if whole > dead else None,
            "metadata": note,
            "layers": [_row(name, mask, structure, p, q) for name, mask in masks.items()]}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def _pruning(folder: Path) -> dict[str, Any]:
    path = folder / PRUNING_FILE
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: expected JSON, found: {error}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected a JSON object, found {type(data).__name__}")
    return data


def _tensors(folder: Path) -> Iterator[tuple[str, int, Callable[[], np.ndarray]]]:
    """Name and size of each tensor of a checkpoint, and how to read it."""
    files = sorted(folder.glob("model*.safetensors"))
    if not files:
        raise InputError(f"checkpoint {folder}: expected model.safetensors, found none")
    for path in files:
        with _one_error(path), safe_open(path, framework="numpy") as file:
            sizes = {name: int(np.prod(file.get_slice(name).get_shape(), dtype=np.int64))
                     for name in file.keys()}  # noqa: SIM118, the file is no mapping
        for name, size in sizes.items():
            yield name, size, partial(_tensor, path, name)


def _tensor(path: Path, name: str) -> np.ndarray:
    with _one_error(path), safe_open(path, framework="numpy") as file:
        return file.get_tensor(name)


@contextmanager
def _one_error(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, TypeError) as error:  # TypeError: bfloat16, unknown to numpy
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: expected a whole safetensors file, found: {reason}") from None


def _from_zeros(folder: Path, note: Mapping[str, Any],
                ) -> tuple[dict[str, np.ndarray], tuple[str, int, int]]:
    """The masks of a checkpoint that was written before masks were: wholly zero groups are dead."""
    structure, p, q = (note.get(key) for key in ("structure", "p", "q"))
    names = note.get("densities")
    if (structure not in ("column", "block", "row") or type(p) is not int or type(q) is not int
            or p < 1 or q < 1 or not isinstance(names, dict)):
        raise InputError(f"{folder / PRUNING_FILE}: expected structure, p, q and densities, found "
                         f"{shown((structure, p, q))}")
    rows, cols = stored.group_size(structure, p, q)
    masks: dict[str, np.ndarray] = {}
    for tensor, _, read in _tensors(folder):
        for name in names:
            if tensor == f"{name}.weight" or tensor.endswith(f".{name}.weight"):
                alive = read() != 0
                n, k = alive.shape
                padded = np.pad(alive, ((0, -n % rows), (0, -k % cols)))
                groups = padded.reshape(-(-n // rows), rows, -(-k // cols), cols).any(axis=(1, 3))
                grown = groups.repeat(rows, axis=0).repeat(cols, axis=1)
                masks[name] = grown[:n, :k]
                break
    if missing := [name for name in names if name not in masks]:
        raise InputError(f"layer {cut(missing[0])}: expected a weight in {folder}, found none")
    return {name: masks[name] for name in names}, (structure, p, q)


def table(described: Mapping[str, Any]) -> Table:
    """What :func:`describe` found, for the console."""
    artefact = described["kind"] == "artefact"
    parts = []
    for key, words in (("compression", "encoder"), ("model_compression", "whole model")):
        if described[key] is not None:
            parts.append(f"{words} {described[key]:.2f}×")
    # Text: a name in [brackets] is no markup
    out = Table(title=Text(described["name"]),
                caption=Text("compression: " + ", ".join(parts)) if parts else None)
    headings = ["layer", "shape", "groups", "density", "columns a strip"]
    headings += ["leaves as", "bits per weight"] if artefact else []
    for heading in headings:
        out.add_column(heading, justify="left" if heading == "layer" else "right", overflow="fold")
    for row in described["layers"]:
        low, high = row["min_columns"], row["max_columns"]
        cells = [Text(row["name"]), "{} × {}".format(*row["shape"]),
                 f"{row['structure']} {row['p']}, {row['q']}", f"{row['density']:.1%}",
                 str(low) if low == high else f"{low} to {high}"]
        if artefact:
            bits = row["stored_bits_per_weight"]
            cells += [row["output"], "-" if bits is None else f"{bits:.2f}"]
        out.add_row(*cells)
    return out
