"""What is written to folders and read back, and what is said of those that were changed."""
import json
import os
import re
import shutil
import stat
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from huggingface_hub import HfApi
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

from sparseloom.model import flow
from sparseloom.model.checkpoint import load_checkpoint
from sparseloom.model.errors import InputError
from sparseloom.model.export import (
    count_sizes,
    read_pruning,
    read_task_note,
    read_training,
    write_export,
    write_finetuned,
    write_pruned,
)
from sparseloom.model.flow import quantize_checkpoint
from sparseloom.model.folder import is_ours
from sparseloom.model.layers import base_model
from sparseloom.model.masks import check_masks, read_masks

from .tiny import LAYER_NAMES, class_task, regression_task, similarity_task, tiny_checkpoint

NOTE = {"version": 2, "structure": "column", "p": 24, "q": 16, "compression": 2.0,
        "densities": {"encoder.layer.0.output.dense": 0.5},
        "source": {"model": "tïny", "sha256": 64 * "0"},
        "score": {"dense": {"spearman": 0.5, "pearson": 0.25}, "pruned": {"spearman": 1}}}
TASKS = {"cosine": similarity_task, "regression": regression_task, "classification": class_task}


def pruned_model(root, kind="bert", task=None):
    """A checkpoint whose every second input column is dead, and its masks."""
    labels = 0 if task is None or task.head == "cosine" else task.num_labels
    source = tiny_checkpoint(root / "source", kind, labels=labels)
    checkpoint = load_checkpoint(source, task)
    masks: dict[str, Any] = {}
    for name in LAYER_NAMES[kind]:
        weight: Any = base_model(checkpoint.model).get_submodule(name).weight
        masks[name] = torch.zeros_like(weight, dtype=torch.bool)
        masks[name][:, ::2] = True
        weight.data.mul_(masks[name])
    return checkpoint, masks


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint that calls itself pruned."""
    root = tmp_path_factory.mktemp("export")
    (root / "source").mkdir()
    (root / "source" / "README.md").write_text("---\nlicense: mit\nbase_model: org/base\n---\n")
    checkpoint, masks = pruned_model(root)
    return write_pruned(root / "pruned", checkpoint, similarity_task(), NOTE, masks)


def test_written_and_read(written):
    assert is_ours(written)
    note = read_pruning(written)
    assert note is not None
    model = AutoModel.from_pretrained(written)
    total = sum(parameter.numel() for parameter in model.parameters())
    dead = sum(model.get_submodule(name).weight.numel() // 2 for name in LAYER_NAMES["bert"])
    assert note == {**NOTE, "model_compression": pytest.approx(total / (total - dead))}
    assert f"embeddings and head included | {total / (total - dead):.2f}×" in (
        written / "README.md").read_text()
    found, task = read_task_note(written), similarity_task()
    assert (found.name, found.head, found.num_labels) == ("stsb", "cosine", 1)
    assert (found.metric, found.metrics, found.labels) == ("spearman", task.metrics, ())
    assert found.examples[0] == task.validation[0].sentences
    masks = read_masks(written)
    assert masks is not None and list(masks) == LAYER_NAMES["bert"]
    check_masks({name: model.get_submodule(name).weight for name in masks}, masks)


def test_card(written):
    card = (written / "README.md").read_text()
    assert "license: mit" in card and "base_model: org/base" in card
    assert "| Spearman correlation | 0.5000 | 1.0000 |" in card and "source-stsb-pruned" in card


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_permissions_of_any_new_file(tmp_path, umask):
    """safetensors makes files that only their owner may read."""
    checkpoint, masks = pruned_model(tmp_path)
    before = os.umask(umask)
    try:
        out = write_pruned(tmp_path / "out", checkpoint, similarity_task(), NOTE, masks)
    finally:
        os.umask(before)
    assert {stat.S_IMODE(path.stat().st_mode) for path in out.iterdir()} == {0o666 & ~umask}


def test_the_source_is_known_the_second_time(tmp_path):
    """A checkpoint on its way is written more than once."""
    checkpoint, masks = pruned_model(tmp_path)
    (tmp_path / "source" / "README.md").write_text("---\nlicense: mit\n---\n")
    for name in ("first", "second"):
        out = write_pruned(tmp_path / name, checkpoint, similarity_task(), NOTE, masks)
        assert "license: mit" in (out / "README.md").read_text()


def test_no_local_path_anywhere(written):
    files = [path for path in written.rglob("*") if path.is_file()]
    assert {"README.md", "config.json", "masks.safetensors", "model.safetensors", "pruning.json",
            "task.json", "tokenizer.json", "tokenizer_config.json"} == {p.name for p in files}
    for path in files:
        assert str(written.parent).encode() not in path.read_bytes(), path


@pytest.mark.parametrize("kind", ["bert", "roberta", "distilbert"])
@pytest.mark.parametrize("head", list(TASKS))
def test_plain_from_pretrained(tmp_path, kind, head):
    """Loaded without Sparseloom, the same outputs; the configuration knows its labels."""
    task = TASKS[head]()
    checkpoint, masks = pruned_model(tmp_path, kind, task)
    out = write_pruned(tmp_path / "out", checkpoint, task, NOTE, masks)
    loader = AutoModel if head == "cosine" else AutoModelForSequenceClassification
    model, report = loader.from_pretrained(out, output_loading_info=True)
    assert not any(report[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    batch = AutoTokenizer.from_pretrained(out)("a dog", "the cat", return_tensors="pt")
    with torch.inference_mode():
        assert torch.equal(model(**batch)[0], checkpoint.model(**batch)[0])
    config = AutoConfig.from_pretrained(out)
    if head == "classification":
        assert config.id2label == {0: "0", 1: "1"} and config.label2id == {"0": 0, "1": 1}
        assert config.problem_type == "single_label_classification"
    elif head == "regression":
        assert config.num_labels == 1 and config.problem_type == "regression"
        assert config.id2label == {0: "score"}


@pytest.mark.parametrize("head", list(TASKS))
def test_the_cards_example_runs(tmp_path, monkeypatch, capsys, head):
    task = TASKS[head]()
    checkpoint, masks = pruned_model(tmp_path, task=task)
    out = write_pruned(tmp_path / "out", checkpoint, task, NOTE, masks)
    code = re.search(r"```python\n(.*?)```", (out / "README.md").read_text(), re.DOTALL)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    exec(re.sub(r'name = ".*?"', 'name = "out"', code[1]), {})  # as a reader would
    shown = capsys.readouterr().out.strip()
    assert shown in task.labels if head == "classification" else -9 < float(shown) < 9


def test_pushed(written, monkeypatch):
    """push_to_hub takes the model, and a folder's upload all of it, up to where the network is."""
    commits, sent = [], []

    def create_repo(self, repo_id, **_):
        from huggingface_hub import RepoUrl
        return RepoUrl(f"https://huggingface.co/{repo_id}")

    def create_commit(self, repo_id, operations, **_):
        commits.append((repo_id, {item.path_in_repo for item in operations}))
        return SimpleNamespace(commit_url="", oid="", pr_url=None)

    def no_card(*_, **__):
        from huggingface_hub.errors import EntryNotFoundError
        raise EntryNotFoundError("no card yet")

    monkeypatch.setattr(HfApi, "create_repo", create_repo)
    monkeypatch.setattr(HfApi, "create_commit", create_commit)
    monkeypatch.setattr("huggingface_hub.hf_api.is_xet_available", lambda: False)
    monkeypatch.setattr(HfApi, "_validate_yaml", lambda self, content, **_: sent.append(content))
    monkeypatch.setattr("transformers.utils.hub.ModelCard.load", no_card)
    AutoModel.from_pretrained(written).push_to_hub("me/pruned")
    AutoTokenizer.from_pretrained(written).push_to_hub("me/pruned")
    assert [name for name, _ in commits] == ["me/pruned"] * 2
    assert {"model.safetensors", "config.json"} <= commits[0][1]
    assert "tokenizer.json" in commits[1][1]

    HfApi().upload_folder(repo_id="me/pruned", folder_path=written)
    assert commits[2][1] == {path.name for path in written.iterdir()}
    assert sent == [(written / "README.md").read_text()]


def test_masks_that_do_not_hold(written, tmp_path):
    checkpoint, masks = pruned_model(tmp_path)
    name = LAYER_NAMES["bert"][3]
    checkpoint.model.get_submodule(name).weight.data[5, 1] = 1e-30
    with pytest.raises(InputError, match=f"layer {name}: expected zeros where its mask is dead, "
                                         "found 1 other"):
        write_pruned(tmp_path / "out", checkpoint, similarity_task(), NOTE, masks)
    with pytest.raises(InputError, match=r"layer no\.such: expected a weight for its mask"):
        write_pruned(tmp_path / "out", checkpoint, similarity_task(), NOTE,
                     {"no.such": masks[name]})
    assert not (tmp_path / "out").exists()


def test_sizes(tmp_path):
    """An embedding's mask counts for the whole model, not for the encoder."""
    checkpoint, masks = pruned_model(tmp_path)
    model = checkpoint.model
    total = sum(parameter.numel() for parameter in model.parameters())
    linear = sum(mask.numel() for mask in masks.values())
    table = torch.ones(model.embeddings.word_embeddings.weight.shape, dtype=torch.bool)
    table[:, 3] = False
    sizes = count_sizes(model, {}, {**masks, "embeddings.word_embeddings": table})
    assert (sizes.encoder, sizes.encoder_alive) == (linear, linear // 2)
    assert (sizes.model, sizes.model_alive) == (total, total - linear // 2 - len(table))
    assert sizes.encoder_compression == 2.0
    assert count_sizes(model, dict.fromkeys(masks, 0.5)).model_alive == total - linear // 2


def test_finetuned(tmp_path):
    task = class_task(pair=True)
    checkpoint = load_checkpoint(tiny_checkpoint(tmp_path / "source", labels=2), task)
    training = {"version": 1, "source": {"model": "tiny", "sha256": 64 * "1"},
                "score": {"accuracy": 0.75, "f1": 0.7},
                "train": {"arguments": {"seed": 3, "output_dir": str(tmp_path / "run")}}}
    out = write_finetuned(tmp_path / "out", checkpoint, task, training)
    found = read_training(out)
    assert found is not None and found["score"] == training["score"]
    assert found["train"]["arguments"] == {"seed": 3, "output_dir": "run"}
    assert read_training(tmp_path / "source") is None and read_pruning(out) is None
    assert read_masks(out) is None and is_ours(out)
    assert "| Accuracy | 0.7500 |" in (out / "README.md").read_text()
    (out / "training.json").write_text('{"score": {"f1": "high"}}')
    with pytest.raises(InputError, match=r"training.json, score: expected numbers, found: "):
        read_training(out)


def test_export_of_a_dense_and_a_pruned_one(tmp_path):
    checkpoint, masks = pruned_model(tmp_path)
    metadata = {"score": {"integer": {"spearman": 0.875}}, "calibrated on": "/home/me/rows"}
    dense = write_export(tmp_path / "dense", checkpoint, similarity_task(), [], pruning=None,
                         metadata=metadata)
    assert read_masks(dense) is None and read_pruning(dense) is None
    assert b"/home/me" not in (dense / "sparseloom.safetensors").read_bytes()
    assert "0.8750" in (dense / "README.md").read_text()
    pruned = write_export(tmp_path / "pruned", checkpoint, similarity_task(), [], pruning=NOTE,
                          metadata=metadata, masks=masks)
    found = read_masks(pruned)
    assert found is not None and set(found) == set(masks)
    assert "| 0.5000 | 1.0000 | 0.8750 |" in (pruned / "README.md").read_text()


def test_an_earlier_result_is_replaced(written, tmp_path):
    folder = shutil.copytree(written, tmp_path / "pruned")
    (folder / "left over").touch()
    write_pruned(folder, load_checkpoint(folder), similarity_task(), {**NOTE, "p": 12})
    note = read_pruning(folder)
    assert note is not None and note["p"] == 12 and not (folder / "left over").exists()
    assert "license: mit" in (folder / "README.md").read_text()  # from the card it replaced


FULL = {"weights": ("transformers.modeling_utils.safe_save_file",
                    SafetensorError("Error while serializing: full (os error 28)")),
        "masks": ("sparseloom.model.export.write_masks",
                  OSError(28, "No space left on device")),
        "tokenizer": ("transformers.PreTrainedTokenizerFast.save_pretrained",
                      Exception("No space left on device (os error 28)"))}


@pytest.mark.parametrize("what", list(FULL))
def test_a_full_disk(written, tmp_path, monkeypatch, what):
    """Whichever library finds out: one line, and the earlier folder bit for bit."""
    folder = shutil.copytree(written, tmp_path / "pruned")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    checkpoint, masks = pruned_model(tmp_path)
    place, error = FULL[what]

    def fail(*_, **__):
        raise error
    monkeypatch.setattr(place, fail)
    with pytest.raises(InputError) as problem:
        write_pruned(folder, checkpoint, similarity_task(), NOTE, masks)
    assert str(problem.value) == (f"output {folder}: expected room to write, found: No space left "
                                  "on device")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pruned", "source"]


LIMITED = """
import resource, sys
from pathlib import Path
from sparseloom.model.checkpoint import load_checkpoint
from sparseloom.model.errors import InputError
from sparseloom.model.export import write_pruned
from tests.model.test_export import NOTE
from tests.model.tiny import similarity_task
folder = Path(sys.argv[1])
checkpoint = load_checkpoint(folder)
for limit in map(int, sys.argv[2:]):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        write_pruned(folder, checkpoint, similarity_task(), NOTE)
    except InputError as error:
        print(error)
"""


def test_really_no_room(written, tmp_path):
    """The system itself refuses: in the weights, in the tokenizer, in the first file of all."""
    folder = shutil.copytree(written, tmp_path / "pruned")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    weights, tokens = (len(before[name]) for name in ("model.safetensors", "tokenizer.json"))
    assert tokens + 1 < weights
    limits = [str(weights - 1), str(tokens + 1), "1", "0"]
    ran = subprocess.run([sys.executable, "-c", LIMITED, folder, *limits], check=False, timeout=120,
                         capture_output=True, text=True)
    line = f"output {folder}: expected room to write, found: File too large"
    assert ran.stdout.splitlines() == [line] * len(limits), ran.stderr
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["pruned"]


def test_a_dense_checkpoint_has_no_note(tmp_path):
    assert read_pruning(tmp_path) is None
    assert read_pruning("some/hub-name") is None


DAMAGED = [
    ({"compression": None}, "compression: expected a number, found None"),
    ({"compression": "2"}, "compression: expected a number, found '2'"),
    ({"compression": True}, "compression: expected a number, found True"),
    ({"compression": 10**400}, "compression: expected a number, found 1000"),
    ({"compression": float("nan")}, "expected JSON, found: Out of range"),
    ({"score": {"dense": "high"}}, "score dense: expected a number, found 'high'"),
    ({"score": {"dense": {"f1": "high"}}}, "score dense f1: expected a number, found 'high'"),
    ({"score": {"pruned": [1]}}, "score pruned: expected a number, found [1]"),
    ({"score": {"x" * 300: None}}, "x…: expected a number, found None"),
    ({"score": {"dense": float("inf")}}, "expected JSON, found: Out of range"),
    ({"score": {"\ud83d": 1}}, "expected JSON, found: 'utf-8' codec"),
    ({"score": 0.5}, "score: expected dict, found 0.5"),
    ({"source": {"model": ["a"]}}, "source model: expected str, found ['a']"),
    ({"source": {"sha256": 3}}, "source sha256: expected str, found 3"),
    ({"structure": "x" * 300}, None),
    ({"p": "x" * 300}, "p: expected int, found 'xxx"),
]


@pytest.mark.parametrize(("change", "message"), DAMAGED)
def test_a_changed_note_is_refused_at_once(written, tmp_path, monkeypatch, change, message):
    """Before the model is loaded, not when its card is written."""
    monkeypatch.setattr(flow, "load_checkpoint", None)
    folder = shutil.copytree(written, tmp_path / "pruned")
    (folder / "pruning.json").write_text(json.dumps({**NOTE, **change}))
    with pytest.raises(InputError) as problem:
        quantize_checkpoint(folder, similarity_task(), tmp_path / "out")
    assert (message or "structure: expected one of column") in str(problem.value)
    if message:
        assert str(problem.value).startswith(str(folder / "pruning.json"))
        assert len(str(problem.value)) < 250 + len(str(folder))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("key", ["structure", "p", "q", "compression", "source", "score"])
def test_a_note_that_lacks_something(written, tmp_path, key):
    note = {name: value for name, value in NOTE.items() if name != key}
    (tmp_path / "pruning.json").write_text(json.dumps(note))
    with pytest.raises(InputError, match=f"{key}: expected .*, found None"):
        read_pruning(tmp_path)


@pytest.mark.parametrize(("text", "message"), [
    ("", "expected JSON, found: Expecting value"), ("[" * 100_000, "expected JSON, found: "),
    ("[]", "expected a JSON object, found list")])
def test_no_json(tmp_path, text, message):
    for name, read in (("pruning.json", read_pruning), ("task.json", read_task_note)):
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=message):
            read(tmp_path)


@pytest.mark.parametrize("change", [
    {"num_labels": "many"}, {"num_labels": 1e999}, {"num_labels": 3}, {"examples": 3},
    {"examples": [3]}, {"head": "similarity"}, {"head": ["cosine"]}, {"metrics": []},
    {"metrics": "f1"}, {"labels": None}, {"labels": ["0", "1"]}, {"version": 3},
    {"version": None}])
def test_a_changed_task_note(written, tmp_path, change):
    note = json.loads((written / "task.json").read_text())
    (tmp_path / "task.json").write_text(json.dumps({**note, **change}))
    with pytest.raises(InputError, match=r"task.json(, version)?: expected "):
        read_task_note(tmp_path)


@pytest.mark.parametrize(("kind", "count", "head", "labels"), [
    ("similarity", 1, "cosine", ()), ("classification", 3, "classification", ("0", "1", "2"))])
def test_a_task_note_of_the_first_version(tmp_path, kind, count, head, labels):
    note = {"format": "sparseloom", "version": 1, "name": "x", "kind": kind, "metric": "f1",
            "num_labels": count, "examples": [["a", "b"]]}
    (tmp_path / "task.json").write_text(json.dumps(note))
    found = read_task_note(tmp_path)
    assert (found.head, found.metrics, found.labels) == (head, ("f1",), labels)
    assert (found.num_labels, found.examples) == (count, (("a", "b"),))
    for change in ({"kind": "other"}, {"metric": None, "kind": 3}):
        (tmp_path / "task.json").write_text(json.dumps({**note, **change}))
        with pytest.raises(InputError, match="expected name, kind, metric, num_labels and exam"):
            read_task_note(tmp_path)
