"""Masks are written whole, read back bit for bit, and refused when damaged."""
import json

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from sparseloom.model import groups
from sparseloom.model.errors import InputError
from sparseloom.model.masks import (
    FILE_NAME,
    METADATA_KEY,
    check_masks,
    group_mask,
    group_size,
    read_groups,
    read_masks,
    write_masks,
)

P, Q = 3, 5
SHAPES = {"a.query": (9, 20), "b": (7, 11), "word_embeddings": (1, 1)}  # b and the last: padded


def random_mask(shape, structure, *, share=0.5, seed=1):
    rows, cols = group_size(structure, P, Q)
    grid = (-(-shape[0] // rows), -(-shape[1] // cols))
    alive = np.random.default_rng(seed).random(grid) < share
    return alive.repeat(rows, axis=0).repeat(cols, axis=1)[:shape[0], :shape[1]]


@pytest.mark.parametrize("structure", ["column", "block", "row"])
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("tensors", [False, True], ids=["numpy", "torch"])
def test_written_and_read(tmp_path, structure, share, tensors):
    masks = {name: random_mask(shape, structure, share=share, seed=index)
             for index, (name, shape) in enumerate(SHAPES.items())}
    given = {name: torch.from_numpy(mask.copy()) for name, mask in masks.items()}
    path = write_masks(tmp_path, given if tensors else masks, structure=structure, p=P, q=Q)
    first = path.read_bytes()
    found = read_masks(tmp_path)
    assert found is not None and list(found) == list(masks)
    for name, mask in masks.items():
        assert found[name].dtype == bool and np.array_equal(found[name], mask)
    assert read_groups(tmp_path) == (structure, P, Q)
    write_masks(tmp_path, masks, structure=structure, p=P, q=Q)
    assert path.read_bytes() == first and [path] == list(tmp_path.iterdir())


def test_one_bit_a_group(tmp_path):
    mask = random_mask((9, 20), "block")
    write_masks(tmp_path, {"a": mask}, structure="block", p=P, q=Q)
    stored = load_file(tmp_path / FILE_NAME)["a"]
    assert stored.dtype == np.uint8 and stored.shape == (2,)  # 3 × 4 groups
    assert np.unpackbits(stored, bitorder="little")[:12].tolist() == mask[::P, ::Q].ravel().tolist()


@pytest.mark.parametrize("structure", ["column", "block", "row"])
def test_groups_are_those_of_groups(structure):
    assert group_size(structure, P, Q) == groups.group_size(structure, P, Q)


def test_a_group_alive_in_part(tmp_path):
    mask = random_mask((9, 20), "column", share=1.0)
    mask[4, 7] = False
    with pytest.raises(InputError, match="mask of a: expected whole column groups of 3 × 5, found"):
        write_masks(tmp_path, {"a": mask}, structure="column", p=P, q=Q)
    with pytest.raises(InputError, match="expected bool of two dimensions, found float64"):
        group_mask("a", mask.astype(float), "column", P, Q)
    assert not list(tmp_path.iterdir())


def test_no_masks(tmp_path):
    assert read_masks(tmp_path) is None
    write_masks(tmp_path, {}, structure="row", p=1, q=1)
    assert read_masks(tmp_path) == {}


def damaged(tmp_path, change_body=None, change_tensors=None):
    path = write_masks(tmp_path, {"a": random_mask((9, 20), "column"),
                                  "b": random_mask((7, 11), "column")},
                       structure="column", p=P, q=Q)
    from safetensors import safe_open
    with safe_open(path, framework="numpy") as file:
        body = json.loads(file.metadata()[METADATA_KEY])
    tensors = load_file(path)
    if change_tensors:
        change_tensors(tensors)
    if change_body:
        change_body(body)
    save_file(tensors, path, {METADATA_KEY: json.dumps(body)})
    return path


def flip(tensors, index, bit):
    tensors["b"] = tensors["b"].copy()
    tensors["b"][index] ^= bit


@pytest.mark.parametrize(("body", "tensors", "message"), [
    (lambda b: b.update(version=2), None, "version: expected 1, found 2"),
    (lambda b: b.update(version=True), None, "version: expected 1, found True"),
    (lambda b: b.update(structure="diagonal"), None, "structure: expected one of column"),
    (lambda b: b.update(p=0), None, "p: expected an integer of 1 or more, found 0"),
    (lambda b: b.update(q="4"), None, "q: expected an integer of 1 or more, found '4'"),
    (lambda b: b.update(p=2), None, r"a: expected U8 of shape \[13\] \(5 × 20 groups\), found U8"),
    (lambda b: b.update(layers=3), None, "layers: expected a list, found 3"),
    (lambda b: b.update(layers=[3]), None, "layers: expected a record with a name, found 3"),
    (lambda b: b["layers"][0].update(shape=[9]), None, r"a, shape: expected two sizes, found \[9"),
    (lambda b: b["layers"][0].update(shape=[2**24, 2**24]), None, "a, shape: expected two sizes"),
    (lambda b: b["layers"][0].update(shape=[9, 28]), None, r"a: expected U8 of shape \[11\]"),
    (lambda b: b["layers"].append(b["layers"][0]), None, "a: expected once, found twice"),
    (lambda b: b["layers"].pop(), None, "expected no other tensor, found b"),
    (None, lambda t: t.pop("a"), "a: expected a tensor, found none"),
    (None, lambda t: t.update(b=t["b"].astype(np.int8)), "found I8 of shape"),
    (None, lambda t: t.update(b=t["b"][:-1]), r"expected U8 of shape \[5\]"),
    (None, lambda t: flip(t, 0, 1), "b, crc32: expected "),
    (None, lambda t: flip(t, 4, 0x80), "b, crc32: expected "),
])
def test_damage(tmp_path, body, tensors, message):
    path = damaged(tmp_path, body, tensors)
    with pytest.raises(InputError, match=message) as problem:
        read_masks(tmp_path)
    assert str(problem.value).startswith(str(path)) and "\n" not in str(problem.value)


def test_bits_after_the_last(tmp_path):
    """33 groups fill four bytes and a bit."""
    import zlib

    def change(tensors):
        flip(tensors, 4, 0x80)
        change.crc = zlib.crc32(tensors["b"].tobytes())
    damaged(tmp_path, lambda b: b["layers"][1].update(crc32=change.crc), change)
    with pytest.raises(InputError, match="b: expected zero bits after the last"):
        read_masks(tmp_path)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff" * 64])
def test_no_safetensors(tmp_path, data):
    (tmp_path / FILE_NAME).write_bytes(data)
    for read in (read_masks, read_groups):
        with pytest.raises(InputError, match="expected a whole safetensors file, found: "):
            read(tmp_path)


@pytest.mark.parametrize("text", [None, "{", "[" * 100_000, "[]"])
def test_other_metadata(tmp_path, text):
    save_file({"a": np.zeros(1, np.uint8)}, tmp_path / FILE_NAME,
              None if text is None else {METADATA_KEY: text})
    with pytest.raises(InputError, match="metadata: expected "):
        read_masks(tmp_path)


@pytest.mark.parametrize(("torch_weight", "torch_mask"), [(True, True), (True, False),
                                                          (False, True), (False, False)])
def test_dead_weights_are_exactly_zero(torch_weight, torch_mask):
    mask = random_mask((9, 20), "column")
    weight = np.random.default_rng(2).standard_normal((9, 20)).astype(np.float32) * mask

    def held(values, keep=mask):
        weights = {"a": torch.from_numpy(values.copy()) if torch_weight else values, "other": None}
        masks = {"a": torch.from_numpy(keep.copy()) if torch_mask else keep}
        try:
            check_masks(weights, masks)
        except InputError as error:
            return str(error)
        return ""

    assert held(weight) == "" and held(-weight) == ""  # -0.0 is zero
    dead = tuple(np.argwhere(~mask)[-1])
    for wrong in (1e-45, np.nan, 1.0):
        changed = weight.copy()
        changed[dead] = wrong
        assert held(changed) == ("layer a: expected zeros where its mask is dead, found 1 other "
                                 "weights")
    assert "expected shape (9, 20) as its mask has, found (9, 19)" in held(weight[:, :-1])
    with pytest.raises(InputError, match="expected a weight for its mask, found none"):
        check_masks({}, {"a": mask})
