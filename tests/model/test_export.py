"""What is read back from folders, and what is said of those that were changed."""
import json
import shutil

import pytest

from sparseloom.model import flow
from sparseloom.model.checkpoint import load_checkpoint
from sparseloom.model.errors import InputError
from sparseloom.model.export import card, read_pruning, read_task_note, write_pruned
from sparseloom.model.flow import quantize_checkpoint
from sparseloom.model.folder import is_ours

from .tiny import similarity_task, tiny_checkpoint

NOTE = {"version": 1, "structure": "column", "p": 24, "q": 16, "compression": 2.0,
        "densities": {"encoder.layer.0": 0.5}, "source": {"model": "tïny", "sha256": 64 * "0"},
        "score": {"dense": 0.5, "pruned": 1}}


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A checkpoint that calls itself pruned."""
    root = tmp_path_factory.mktemp("export")
    source = load_checkpoint(tiny_checkpoint(root / "source"))
    return write_pruned(root / "pruned", source, similarity_task(), NOTE)


def test_written_and_read(written):
    assert is_ours(written)
    assert read_pruning(written) == NOTE
    note = read_task_note(written)
    task = similarity_task()
    assert (note.name, note.kind, note.num_labels) == (task.name, task.kind, 1)
    assert note.examples[0] == task.validation[0].sentences
    assert (written / "README.md").read_text() == card("source", task, NOTE)
    assert "| pruned | 1.0000 |" in card("source", task, NOTE)


def test_an_earlier_result_is_replaced(written, tmp_path):
    folder = shutil.copytree(written, tmp_path / "pruned")
    (folder / "left over").touch()
    write_pruned(folder, load_checkpoint(folder), similarity_task(), {**NOTE, "p": 12})
    note = read_pruning(folder)
    assert note is not None and note["p"] == 12 and not (folder / "left over").exists()


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


@pytest.mark.parametrize("change", [{"num_labels": "many"}, {"num_labels": 1e999}, {"examples": 3},
                                    {"examples": [3]}])
def test_a_changed_task_note(written, tmp_path, change):
    note = json.loads((written / "task.json").read_text())
    (tmp_path / "task.json").write_text(json.dumps({**note, **change}))
    with pytest.raises(InputError, match=r"task.json: expected "):
        read_task_note(tmp_path)
