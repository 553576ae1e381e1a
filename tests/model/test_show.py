"""What is told of a pruned checkpoint and of an artefact agrees with their masks."""
import io
import json
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from safetensors.torch import load_file, save_file

from sparseloom.model.checkpoint import load_checkpoint
from sparseloom.model.errors import InputError
from sparseloom.model.export import write_export, write_pruned
from sparseloom.model.layers import base_model
from sparseloom.model.packed.artefact import read_artefact, write_artefact
from sparseloom.model.show import describe, masks_of, table, write_mask_image
from tests.layers import random_layer

from .test_masks import random_mask
from .tiny import LAYER_NAMES, class_task, tiny_checkpoint

NAMES = LAYER_NAMES["bert"]
P, Q = 3, 5  # q does not divide 48 or 96: padded


def note(structure, masks):
    linears = {name: mask for name, mask in masks.items() if "embeddings" not in name}
    total, alive = (sum(count(mask) for mask in linears.values()) for count in (np.size, np.sum))
    return {"version": 2, "structure": structure, "p": P, "q": Q,
            "compression": float(total / alive),
            "densities": {name: float(mask.mean()) for name, mask in linears.items()},
            "source": {"model": "[/tiny]", "sha256": None},
            "score": {"pruned": {"accuracy": 0.5}}}


def write(root, structure, *, masks_file=True):
    task = class_task()
    checkpoint = load_checkpoint(tiny_checkpoint(root / "source", labels=2), task)
    masks = {}
    for index, name in enumerate([*NAMES, "embeddings.word_embeddings"]):
        weight: Any = base_model(checkpoint.model).get_submodule(name).weight
        masks[name] = random_mask(tuple(weight.shape), structure, seed=index)
        weight.data.mul_(torch.from_numpy(masks[name].copy()))
    if not masks_file:
        masks.pop("embeddings.word_embeddings")
    out = write_pruned(root / "pruned", checkpoint, task, note(structure, masks),
                       masks if masks_file else None)
    return out, masks, checkpoint


@pytest.fixture(scope="module")
def pruned(tmp_path_factory):
    return write(tmp_path_factory.mktemp("show"), "column")


def printed(described):
    out = io.StringIO()
    Console(file=out, width=200).print(table(described))
    return out.getvalue()


def test_checkpoint(pruned):
    folder, masks, checkpoint = pruned
    found = describe(folder)
    assert json.loads(json.dumps(found)) == found
    assert (found["kind"], found["name"]) == ("checkpoint", "[/tiny]")
    assert found["compression"] == pytest.approx(note("column", masks)["compression"])
    total = sum(parameter.numel() for parameter in checkpoint.model.parameters())
    dead = sum(mask.size - mask.sum() for mask in masks.values())
    assert found["model_compression"] == pytest.approx(total / (total - dead))
    assert found["metadata"]["model_compression"] == pytest.approx(total / (total - dead))
    assert [row["name"] for row in found["layers"]] == list(masks)
    for row in found["layers"]:
        mask = masks[row["name"]]
        assert row["shape"] == list(mask.shape) and row["density"] == mask.mean()
        columns = mask[::P].sum(axis=1)  # a strip's columns are whole
        assert (row["strips"], row["min_columns"], row["max_columns"]) == (
            len(columns), columns.min(), columns.max())


@pytest.mark.parametrize("structure", ["block", "row"])
def test_other_structures(tmp_path, structure):
    folder, masks, _ = write(tmp_path, structure)
    rows = {row["name"]: row for row in describe(folder)["layers"]}
    for name, mask in masks.items():
        columns = [mask[start:start + P].any(axis=0).sum() for start in range(0, len(mask), P)]
        assert (rows[name]["min_columns"], rows[name]["max_columns"]) == (min(columns),
                                                                         max(columns))
        assert (rows[name]["structure"], rows[name]["p"], rows[name]["q"]) == (structure, P, Q)


@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_a_checkpoint_from_before_masks_were_stored(tmp_path, structure):
    folder, masks, _ = write(tmp_path, structure, masks_file=False)
    assert not (folder / "masks.safetensors").exists()
    found, groups = masks_of(folder)
    assert groups == (structure, P, Q) and list(found) == list(masks)
    assert all(np.array_equal(found[name], masks[name]) for name in masks)
    assert len(describe(folder)["layers"]) == len(masks)


def test_table_of_a_checkpoint(pruned):
    text = printed(describe(pruned[0]))
    for part in ("[/tiny]", NAMES[0], "48 × 96", "column 3, 5", "columns a strip", "encoder 1.9",
                 "whole model 1."):
        assert part in text, part
    assert "bits per weight" not in text


def changed(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "changed")


def test_a_weight_that_should_be_dead(pruned, tmp_path):
    folder, masks, _ = pruned
    copy = changed(folder, tmp_path)
    tensors = load_file(copy / "model.safetensors")
    tensors[f"bert.{NAMES[7]}.weight"][tuple(np.argwhere(~masks[NAMES[7]])[0])] = 1e-20
    save_file(tensors, copy / "model.safetensors")
    with pytest.raises(InputError, match=f"layer {NAMES[7]}: expected zeros where its mask is "
                                         "dead, found 1 other"):
        describe(copy)


@pytest.mark.parametrize(("file", "data", "message"), [
    ("model.safetensors", None, "expected model.safetensors, found none"),
    ("model.safetensors", b"\0" * 20, "expected a whole safetensors file, found: "),
    ("masks.safetensors", b"x", "expected a whole safetensors file, found: "),
    ("pruning.json", b"{", "pruning.json: expected JSON, found: "),
    ("pruning.json", b"[]", "expected a JSON object, found list")])
def test_damage(pruned, tmp_path, file, data, message):
    copy = changed(pruned[0], tmp_path)
    (copy / file).unlink()
    if data is not None:
        (copy / file).write_bytes(data)
    with pytest.raises(InputError, match=message):
        describe(copy)


def test_neither(tmp_path):
    for call in (describe, masks_of):
        with pytest.raises(InputError, match="expected a file, found none"):
            call(tmp_path)


@pytest.mark.parametrize("note", [{}, {"structure": "x", "p": 1, "q": 1, "densities": {}},
                                  {"structure": "row", "p": 1, "q": 0, "densities": {}}])
def test_a_note_that_says_too_little(tmp_path, note):
    (tmp_path / "pruning.json").write_text(json.dumps(note))
    with pytest.raises(InputError, match="expected structure, p, q and densities, found"):
        describe(tmp_path)


@pytest.mark.parametrize("structure", ["column", "row"])
def test_artefact(pruned, tmp_path, structure):
    rng = np.random.default_rng(1)
    layers = [random_layer(rng, inputs=20, outputs=9, p=3, q=5, density=0.5, name=f"l.{index}",
                           structure=structure) for index in range(3)]
    _, masks, checkpoint = pruned
    out = write_export(tmp_path / "out", checkpoint, class_task(), layers,
                       pruning=note("column", masks),
                       metadata={"source": {"model": "tiny"}, "score": {}})
    found = describe(out)
    assert (found["kind"], found["name"]) == ("artefact", "tiny")
    assert found["metadata"] == read_artefact(out).metadata
    assert found["model_compression"] > 1
    drawn, groups = masks_of(out)
    assert groups == (structure, 3, 5)
    for layer, row in zip(layers, found["layers"], strict=True):
        assert row["density"] == layer.density == drawn[layer.name].mean()
        assert not layer.dense_weight()[~drawn[layer.name]].any()
        assert row["stored_bits_per_weight"] > 8 and row["output"] in ("bytes", "sums", "table")
    text = printed(found)
    assert "bits per weight" in text and f"{structure} 3, 5" in text
    assert describe(out / "sparseloom.safetensors")["layers"] == found["layers"]


def test_artefacts_without_layers_or_of_two_kinds(tmp_path):
    write_artefact(tmp_path, [], {})
    with pytest.raises(InputError, match="expected layers, found none"):
        describe(tmp_path)
    rng = np.random.default_rng(1)
    write_artefact(tmp_path, [random_layer(rng, inputs=20, outputs=9, p=p, q=5, density=0.5,
                                           name=f"l.{p}") for p in (3, 9)], {"source": ["odd"]})
    assert describe(tmp_path)["name"] == str(tmp_path)
    with pytest.raises(InputError, match="layers with one kind of groups to draw, found 2"):
        masks_of(tmp_path)


def test_images(pruned, tmp_path):
    folder, masks, _ = pruned
    path = write_mask_image(folder, tmp_path / "layer.png", NAMES[4])
    with Image.open(path) as image:
        side = 512 // max(masks[NAMES[4]].shape)
        assert image.size == tuple(side * size for size in reversed(masks[NAMES[4]].shape))
    with Image.open(write_mask_image(folder, tmp_path / "all.png")) as image:
        assert image.size[0] > 6 * 160
    with pytest.raises(InputError, match=r"layer nosuch: expected one of encoder\..* and 5 more, "):
        write_mask_image(folder, tmp_path / "none.png", "nosuch")
    assert not (tmp_path / "none.png").exists()


def test_needs_no_torch():
    code = "import sys, sparseloom.model.show; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
