import dataclasses
import json
import random
import zlib

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import (
    FILE_NAME,
    METADATA_KEY,
    Artefact,
    read_artefact,
    stored_bits_per_weight,
    write_artefact,
)
from sparseloom.model.packed.layer import PackedLayer, pack_layer
from tests.layers import random_layer

TENSORS = ("block_mask", "column_masks", "weights", "bias", "mult", "shift", "lut", "weight_scale")


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(2)
    layers = [random_layer(rng, name="encoder.layer.0.query", inputs=12, outputs=6, p=3, q=4,
                           lut=True),
              random_layer(rng, name="a.block", inputs=20, outputs=9, p=3, q=5, structure="block"),
              random_layer(rng, name="raw", inputs=10, outputs=4, p=2, q=2, raw=True)]
    write_artefact(tmp_path, layers, {"task": "stsb", "score": 0.867})
    return tmp_path


def rewrite(folder, tensors=lambda t: None, header=lambda h: None, *, seal=True):
    """Change an artefact behind its writer's back; ``seal`` makes the CRCs fit again."""
    path = folder / FILE_NAME
    arrays = load_file(path)
    with safe_open(path, framework="numpy") as file:
        body = json.loads(file.metadata()[METADATA_KEY])
    tensors(arrays)
    if seal:
        for row in body["layers"]:
            for key in row["crc32"]:
                if f"{row['name']}/{key}" in arrays:
                    row["crc32"][key] = zlib.crc32(arrays[f"{row['name']}/{key}"].tobytes())
    header(body)
    if seal:
        body.pop("crc32", None)
        body["crc32"] = zlib.crc32(json.dumps(body, separators=(",", ":")).encode())
    save_file(arrays, path, {METADATA_KEY: json.dumps(body, separators=(",", ":"))})


def refused(folder, *parts):
    with pytest.raises(InputError) as caught:
        read_artefact(folder)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


def test_what_was_written_is_read(folder, tmp_path):
    rng = np.random.default_rng(2)
    written = random_layer(rng, name="encoder.layer.0.query", inputs=12, outputs=6, p=3, q=4,
                           lut=True)
    artefact = read_artefact(folder)
    assert list(artefact.layers) == ["encoder.layer.0.query", "a.block", "raw"]   # as written
    assert artefact.metadata == {"task": "stsb", "score": 0.867}
    read = artefact.layer("encoder.layer.0.query")
    for field in dataclasses.fields(PackedLayer):
        one, two = getattr(read, field.name), getattr(written, field.name)
        if isinstance(two, np.ndarray):
            assert one.dtype == two.dtype and (one == two).all(), field.name
        else:
            assert one == two and type(one) is type(two), field.name
    assert artefact.layer("raw").raw and artefact.layer("raw").lut is None


@pytest.mark.parametrize(("outputs", "p", "q"), [(6, 3, 4), (5, 1, 1), (7, 3, 5)])
def test_weights_of_4_bits_are_two_to_a_byte(outputs, p, q, tmp_path):
    rng = np.random.default_rng(outputs)
    weight = rng.integers(-7, 8, (outputs, 13)).astype(np.int8)
    weight[:, ::4] = 0
    whole = random_layer(rng, inputs=13, outputs=outputs, weight_bits=4)
    layer = pack_layer(
        name="four", weight=weight, p=p, q=q, weight_bits=4, lut_scale=0.0,
        **{field: getattr(whole, field) for field in (
            "bias", "mult", "shift", "weight_scale", "input_scale", "input_zero_point",
            "output_scale", "output_zero_point")})
    path = write_artefact(tmp_path, [layer], {})
    stored = load_file(path)["four/weights"]
    flat = layer.weights.reshape(-1).tolist()
    assert stored.dtype == np.uint8 and len(stored) == -(-len(flat) // 2)
    assert [stored[i // 2] >> 4 * (i % 2) & 15 for i in range(len(flat))] == [w % 16 for w in flat]
    read = read_artefact(tmp_path).layer("four")
    assert read.weights.dtype == np.int8 and (read.weights == layer.weights).all()
    assert (read.dense_weight() == weight).all() and read.weight_bits == 4
    wide = dataclasses.replace(layer, weight_bits=8)
    saved = stored_bits_per_weight(wide) - stored_bits_per_weight(layer)
    assert saved * layer.surviving_weights == pytest.approx(8 * (len(flat) - len(stored)))


def test_damaged_weights_of_4_bits(tmp_path):
    layer = random_layer(np.random.default_rng(1), name="four", inputs=9, outputs=3, p=3, q=3,
                         density=1.0, weight_bits=4)
    assert layer.weights.size == 27

    def written():
        write_artefact(tmp_path, [layer], {})

    written()
    rewrite(tmp_path, lambda arrays: arrays.update({"four/weights": arrays["four/weights"][:-1]}))
    refused(tmp_path, "layer four, weights: expected 14 bytes (popcount of column_masks is 9, two "
                      "weights to a byte), found shape (13,)")
    written()
    rewrite(tmp_path, lambda arrays: arrays["four/weights"].__setitem__(-1, 0x10))
    refused(tmp_path, "layer four, weights: expected zero bits after the last")
    written()
    rewrite(tmp_path, lambda arrays: arrays["four/weights"].__setitem__(0, 0x08))
    refused(tmp_path, "layer four, weights: expected values in -7..7, found -8")
    written()
    rewrite(tmp_path, header=lambda body: body["layers"][0].update(weight_bits=8))
    refused(tmp_path, "layer four, weights: expected I8, found U8")
    written()
    rewrite(tmp_path, lambda arrays: arrays.update({"four/weights": layer.weights}))
    refused(tmp_path, "layer four, weights: expected U8, found I8")


def test_same_bytes_each_time(folder, tmp_path):
    artefact = read_artefact(folder)
    path = write_artefact(tmp_path / "again" / "deeper", list(artefact.layers.values()),
                          artefact.metadata)
    assert path.read_bytes() == (folder / FILE_NAME).read_bytes()
    assert [p.name for p in path.parent.iterdir()] == [FILE_NAME]      # no temporary file left


def test_missing_layer_is_named(folder):
    with pytest.raises(InputError, match=r"layer nobody: not in the artefact, which has "
                                         r"encoder\.layer\.0\.query, a\.block, raw"):
        read_artefact(folder).layer("nobody")


def test_of_many_layers_a_few_are_named(folder):
    layer = read_artefact(folder).layer("raw")
    with pytest.raises(InputError, match=r"which has 0, 1, 2, 3, 4, 5, 6, 7 and 22 more$"):
        Artefact({str(i): layer for i in range(30)}).layer("nobody")


def test_no_file(tmp_path):
    refused(tmp_path, "expected a file, found none")
    refused(tmp_path / "nowhere", "expected a file, found none")


def test_two_layers_of_one_name(folder, tmp_path):
    layer = read_artefact(folder).layer("raw")
    with pytest.raises(InputError, match="layer raw: expected once, found twice"):
        write_artefact(tmp_path / "x", [layer, layer], {})
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize("metadata", [{"a": {1, 2}}, {"a": float("nan")}])
def test_metadata_must_be_json(folder, tmp_path, metadata):
    with pytest.raises(InputError, match="expected plain JSON data"):
        write_artefact(tmp_path / "x", [], metadata)


def test_truncated(folder):
    data = (folder / FILE_NAME).read_bytes()
    for size in [0, 1, 7, 8, 9, 500, *range(1000, len(data), 397), len(data) - 1]:
        (folder / FILE_NAME).write_bytes(data[:size])
        refused(folder, "expected a whole safetensors file")
    (folder / FILE_NAME).write_bytes(data + b"\0")
    refused(folder, "expected a whole safetensors file")


def test_what_the_file_says_of_itself_is_shown_cut(folder):
    """The library quotes names of the file in its errors, whatever they are."""
    data = (folder / FILE_NAME).read_bytes()
    size = int.from_bytes(data[:8], "little")
    for dtype in ("x" * 5000, "\x1b[31m\x7f\u2028"):
        head = json.loads(data[8:8 + size])
        head["raw/bias"]["dtype"] = dtype
        text = json.dumps(head).encode()
        (folder / FILE_NAME).write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size:])
        message = refused(folder, "expected a whole safetensors file, found: Error while")
        assert message.isprintable() and len(message) < 200 + len(str(folder))


@pytest.mark.parametrize("key", TENSORS)
def test_a_flipped_bit_in_each_tensor(folder, key):
    name = f"encoder.layer.0.query/{key}"

    def flip(arrays):
        arrays[name].view(np.uint8).reshape(-1)[0] ^= 1

    rewrite(folder, flip, seal=False)
    refused(folder, "layer encoder.layer.0.query", f"{key}: expected crc32", "found")


def test_any_flipped_bit_is_refused(folder):
    """In the data, the tensor table, the metadata or the padding: one of every few bits."""
    path = folder / FILE_NAME
    data = path.read_bytes()
    before = read_artefact(folder)
    picks = random.Random(3)
    survived = 0
    for byte in range(0, len(data), 3):
        bit = picks.randrange(8)
        flipped = bytearray(data)
        flipped[byte] ^= 1 << bit
        path.write_bytes(flipped)
        try:
            after = read_artefact(folder)
        except InputError:
            continue
        survived += 1               # e.g. 1e-05 became 1E-05: allowed only if nothing changed
        assert after.metadata == before.metadata and list(after.layers) == list(before.layers)
        for name, layer in after.layers.items():
            assert (layer.weights == before.layers[name].weights).all()
            assert layer.input_scale == before.layers[name].input_scale
    assert survived < 5


@pytest.mark.parametrize("version", [0, 2, "1", None, True, 1.0])
def test_wrong_version(folder, version):
    def change(body):
        body["version"] = version

    rewrite(folder, header=change)
    refused(folder, f"version: expected 1, found {version!r}")


def test_wrong_version_is_told_even_if_the_record_is_newer(folder):
    rewrite(folder, header=lambda body: body.update(version=2, layers={}), seal=False)
    refused(folder, "version: expected 1, found 2")


@pytest.mark.parametrize("key", [key for key in TENSORS if key != "lut"])
@pytest.mark.parametrize("change", ["dtype", "shape", "missing", "no_crc"])
def test_wrong_tensor(folder, key, change):
    name = f"encoder.layer.0.query/{key}"

    def tensors(arrays):
        if change == "dtype":
            arrays[name] = arrays[name].astype(np.float64)
        elif change == "shape":
            arrays[name] = np.concatenate([arrays[name], arrays[name][:1]])
        elif change == "missing":
            del arrays[name]

    def header(body):
        if change == "no_crc":
            del body["layers"][0]["crc32"][key]

    rewrite(folder, tensors, header)
    expected = {"dtype": "found F64", "shape": "found shape", "missing": "found none",
                "no_crc": "expected a crc32, found none"}[change]
    refused(folder, f"layer encoder.layer.0.query, {key}", "expected", expected)


def test_wrong_table_shape(folder):
    rewrite(folder, lambda t: t.update(
        {"encoder.layer.0.query/lut": t["encoder.layer.0.query/lut"][:255]}))
    refused(folder, "layer encoder.layer.0.query, lut: expected shape (256,), found shape (255,)")


def test_popcounts(folder):
    name = "encoder.layer.0.query"

    def drop_block(arrays):
        arrays[f"{name}/block_mask"][0] &= arrays[f"{name}/block_mask"][0] - 1

    rewrite(folder, drop_block)
    refused(folder, f"layer {name}, column_masks: expected", "popcount of block_mask")


def test_popcount_of_columns(folder):
    name = "encoder.layer.0.query"
    layer = read_artefact(folder).layer(name)
    flat = layer.column_masks.reshape(-1)
    index = int(np.flatnonzero(~flat)[0])

    def add_column(arrays):
        arrays[f"{name}/column_masks"][index // 8] |= 1 << index % 8

    rewrite(folder, add_column)
    refused(folder, f"layer {name}, weights: expected shape ({len(layer.weights) + 1}, 3)",
            "popcount of column_masks", f"found shape ({len(layer.weights)}, 3)")


def test_bits_after_the_last(folder):
    def set_last(arrays):
        arrays["encoder.layer.0.query/block_mask"][-1] |= 0x80

    rewrite(folder, set_last)
    refused(folder, "layer encoder.layer.0.query, block_mask: expected zero bits after the last")


@pytest.mark.parametrize(("field", "value", "expected"), [
    ("in_features", 1 << 40, "expected 1..65535"),
    ("out_features", 0, "expected 1..65535"),
    ("in_features", 3, "layer encoder.layer.0.query, q: expected at most in_features = 3, found 4"),
    ("in_features", 11, "column_masks: expected no column beyond in_features = 11, found"),
    ("p", -3, "expected 1..65535"),
    ("p", 4, "weights: expected shape"),
    ("p", 7, "p: expected at most out_features = 6, found 7"),
    ("q", "4", "q: expected int, found '4'"),
    ("raw", 0, "raw: expected bool, found 0"),
    ("structure", "diagonal", "structure: expected one of column, block, row, found diagonal"),
    ("input_zero_point", 200, "input_zero_point: expected an integer in -128..127, found 200"),
    ("input_scale", None, "input_scale: expected float, found None"),
    ("input_scale", 10**400, "input_scale: expected a finite number, 0 or more, found 1000"),
    ("input_zero_point", 10**400, f"in -128..127, found 1{'0' * 78}…"),
    ("q", "x" * 1000, f"q: expected int, found '{'x' * 78}…"),
    ("weight_bits", 16, "weight_bits: expected 8 or 4, found 16"),
])
def test_wrong_scalars(folder, field, value, expected):
    def change(body):
        body["layers"][0][field] = value

    rewrite(folder, header=change)
    refused(folder, "layer encoder.layer.0.query", expected)


def test_missing_scalar(folder):
    rewrite(folder, header=lambda body: body["layers"][1].pop("output_scale"))
    refused(folder, "layer a.block, output_scale: expected a field, found none")


def test_values_out_of_range(folder):
    def change(arrays):
        arrays["raw/shift"][0] = 48

    rewrite(folder, change)
    refused(folder, "layer raw, shift: expected values in 1..47, found 48")


@pytest.mark.parametrize(("header", "expected"), [
    (lambda body: body.pop("layers"), "expected 'layers' and 'metadata'"),
    (lambda body: body.update(layers=[3]), "layers: expected a record with a name"),
    (lambda body: body.update(format="other"), "format: expected 'sparseloom'"),
    (lambda body: body["layers"].append(body["layers"][0]), "expected once, found twice"),
    (lambda body: body["layers"].pop(), "expected no other tensor, found raw/"),
    (lambda body: body["layers"][0].update(crc32=3), "crc32: expected a record, found int"),
    (lambda body: body["layers"][0]["crc32"].update(extra=3), "found 'extra'"),
])
def test_wrong_records(folder, header, expected):
    rewrite(folder, header=header)
    refused(folder, expected)


def test_changed_metadata_without_its_crc(folder):
    rewrite(folder, header=lambda body: body["layers"][0].update(input_scale=0.5), seal=False)
    refused(folder, "metadata crc32: expected")


@pytest.mark.parametrize(("metadata", "expected"), [
    (None, "expected key 'sparseloom', found none"),
    ({METADATA_KEY: "{"}, "expected JSON"),
    ({METADATA_KEY: "[" * 5000}, "expected JSON"),
    ({METADATA_KEY: "[]"}, "format: expected 'sparseloom'"),
    ({METADATA_KEY: json.dumps({"format": "sparseloom", "version": 1, "x": 10**400})},
     "metadata crc32"),
])
def test_foreign_files(folder, metadata, expected):
    save_file({"x": np.zeros(3, np.int8)}, folder / FILE_NAME, metadata)
    refused(folder, expected)


def test_a_failed_write_leaves_the_old_file(folder, monkeypatch):
    before = (folder / FILE_NAME).read_bytes()

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_artefact(folder, [], {})
    assert (folder / FILE_NAME).read_bytes() == before
    assert [p.name for p in folder.iterdir()] == [FILE_NAME]
