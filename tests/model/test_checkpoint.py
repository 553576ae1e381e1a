"""Checkpoints that load, and what is said of those that do not."""
import json
import socket

import pytest
import torch

from sparseloom.model.checkpoint import load_checkpoint, state_hash
from sparseloom.model.errors import InputError

from .tiny import KINDS, class_task, similarity_task, tiny_checkpoint, tiny_model


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    import huggingface_hub.constants
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)


@pytest.mark.parametrize("kind", KINDS)
def test_encoder(tmp_path, kind):
    found = load_checkpoint(tiny_checkpoint(tmp_path / "mine", kind), similarity_task())
    assert (found.name, found.new_head) == ("mine", False)
    assert found.max_tokens == 32 and not found.model.training
    assert state_hash(found.model) == state_hash(tiny_model(kind))
    assert state_hash(found.model) != state_hash(tiny_model(kind, seed=1))


@pytest.mark.parametrize("kind", KINDS)
def test_heads(tmp_path, kind):
    """A head of the right size is kept, any other is new, with weights from the seed."""
    with_head = tiny_checkpoint(tmp_path / "head", kind, labels=2)
    assert not load_checkpoint(with_head, class_task()).new_head
    assert state_hash(load_checkpoint(with_head, class_task()).model) == state_hash(
        tiny_model(kind, labels=2))
    three = tiny_checkpoint(tmp_path / "three", kind, labels=3)
    bare = tiny_checkpoint(tmp_path / "bare", kind)
    for folder in (three, bare):
        first, same, other = (load_checkpoint(folder, class_task(), seed=seed)
                              for seed in (1, 1, 2))
        assert first.new_head
        assert state_hash(first.model) == state_hash(same.model) != state_hash(other.model)
    assert not load_checkpoint(with_head, similarity_task()).new_head


def refused(ref, message, task=None):
    with pytest.raises(InputError) as problem:
        load_checkpoint(ref, task)
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_folders_that_are_no_checkpoint(tmp_path):
    refused(tmp_path / "none", "expected a folder, found none")
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", "expected config.json in the folder, found none")
    folder = tiny_checkpoint(tmp_path / "cut")
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:1000])
    refused(folder, "expected a Hugging Face encoder with its tokenizer, found:")
    (folder / "config.json").write_text("{")
    refused(folder, "expected a Hugging Face encoder with its tokenizer, found:")


def test_encoder_weights_that_are_missing(tmp_path):
    from safetensors.torch import load_file, save_file
    folder = tiny_checkpoint(tmp_path / "partial")
    state = load_file(folder / "model.safetensors")
    del state["encoder.layer.1.output.dense.weight"]
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    refused(folder, "expected weights for encoder.layer.1.output.dense.weight, found none "
                    "(1 tensors missing)")


def test_hub_name_without_network(monkeypatch):
    """Offline is forced above; should it not hold, this fails instead of asking anybody."""
    asked = []

    def connect(_, address):
        asked.append(address)
        raise OSError("no network in tests")

    monkeypatch.setattr(socket.socket, "connect", connect)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *where, **_: connect(None, where))
    refused("nobody/no-such-model", "checkpoint nobody/no-such-model: expected a Hugging Face "
                                    "encoder with its tokenizer, found:")
    assert asked == []


def test_half_precision_becomes_float32(tmp_path):
    folder = tiny_checkpoint(tmp_path / "half")
    tiny_model().half().save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    assert {p.dtype for p in load_checkpoint(folder).model.parameters()} == {torch.float32}
