"""Every bad input through the command itself: one line on standard error, exit code 2."""
import json
import struct

import numpy as np
import pytest
from transformers import GPT2Config, GPT2Model

from sparseloom.model.packed.artefact import artefact_path, write_artefact
from sparseloom.sim import console
from tests.layers import random_layer
from tests.model.tiny import similarity_task, tiny_checkpoint, write_jsonl


@pytest.fixture
def artefact(tmp_path):
    folder = tmp_path / "artefact"
    folder.mkdir()
    layer = random_layer(np.random.default_rng(3), name="encoder.0.key", inputs=40, outputs=20,
                         p=5, q=8)
    write_artefact(folder, [layer], {})
    return folder


@pytest.fixture
def checkpoint(tmp_path):
    return tiny_checkpoint(tmp_path / "checkpoint")


@pytest.fixture
def task(tmp_path):
    return write_jsonl(tmp_path / "task", similarity_task())


@pytest.fixture
def refused(monkeypatch, capsys):
    """Runs the command, which must refuse, and gives its one line."""
    def run(*words):
        capsys.readouterr()     # what making the inputs printed
        monkeypatch.setattr("sys.argv", ["sparseloom", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            console.main()
        shown = capsys.readouterr()
        assert left.value.code == 2
        assert shown.out == ""
        line = shown.err.strip()    # a progress bar that began leaves an empty line
        assert line.startswith("error: ")
        assert "\n" not in line
        return line
    return run


def damage(folder, change):
    path = artefact_path(folder)
    path.write_bytes(change(path.read_bytes()))


def with_header(text, old, new):
    """A safetensors file whose JSON header says something else, at its new length."""
    size, = struct.unpack("<Q", text[:8])
    header = text[8:8 + size].decode().replace(old, new).encode()
    assert header != text[8:8 + size]
    header += b" " * (-len(header) % 8)
    return struct.pack("<Q", len(header)) + header + text[8 + size:]


@pytest.mark.parametrize("words", [["sim", "layer", "--layer", "encoder.0.key"],
                                   ["model", "show"]], ids=lambda words: words[0])
@pytest.mark.parametrize(("change", "says"), [
    (lambda text: text[:-7], "artefact"),
    (lambda text: text[:100], "artefact"),
    (lambda text: text[:5], "artefact"),
    (lambda text: text[:-9] + bytes([text[-9] ^ 4]) + text[-8:], "CRC"),
    (lambda text: with_header(text, r'\"version\":1', r'\"version\":2'), "version"),
    (lambda text: b"not a tensor file", "artefact"),
], ids=["truncated", "header cut", "length cut", "bit flipped", "version", "text"])
def test_damaged_artefacts(artefact, refused, words, change, says):
    damage(artefact, change)
    assert says.lower() in refused(*words, artefact).lower()


def test_a_layer_that_does_not_exist(artefact, refused):
    assert "nobody" in refused("sim", "layer", artefact, "--layer", "nobody")


@pytest.mark.parametrize("command", ["prune", "quantize"])
def test_a_checkpoint_without_encoder_linears(tmp_path, checkpoint, task, refused, command):
    # Its layers are Conv1D, not Linear.
    config = GPT2Config(n_embd=48, n_layer=2, n_head=4, vocab_size=64, n_positions=40)
    GPT2Model(config).save_pretrained(checkpoint)
    out = tmp_path / "out"
    says = refused("model", command, checkpoint, "--task", task, "-o", out)
    assert "encoder" in says
    assert not out.exists()


@pytest.mark.parametrize("command", ["prune", "quantize"])
@pytest.mark.parametrize("column", ["sentence1", "label"])
def test_a_task_file_with_missing_columns(tmp_path, checkpoint, task, refused, command, column):
    path = task / "train.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        del row[column]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "out"
    says = refused("model", command, checkpoint, "--task", task, "-o", out)
    assert "train.jsonl" in says
    assert not out.exists()


@pytest.mark.parametrize(("words", "says"), [
    (["--rows", "0"], "rows"), (["--cols", "33"], "cols"), (["--lanes", "5"], "lanes"),
    (["--max-k", "0"], "max_k"), (["--act-words", "5"], "act_words"),
    (["--bus-bits", "48"], "bus_bits"), (["--queue-depth", "17"], "queue_depth"),
    (["--block-inputs", "12"], "block_inputs"),
])
def test_impossible_parameters(tmp_path, refused, words, says):
    out = tmp_path / "rtl"
    assert says in refused("hw", "verilog", *words, "-o", out)
    assert not out.exists()
