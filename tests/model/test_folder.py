"""Folders are written whole or not at all."""
import json
import os
import stat

import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.folder import MARK, MARK_FILE, whole_folder


def write(path, text="new", error=None):
    with whole_folder(path) as folder:
        (folder / MARK_FILE).write_text(json.dumps({**MARK, "text": text}))
        assert folder.parent == path.parent
        if error is not None:
            raise error


def listing(path):
    return sorted(entry.name for entry in path.iterdir())


def text_in(path):
    return json.loads((path / MARK_FILE).read_text())["text"]


def test_new_and_replaced(tmp_path):
    write(tmp_path / "deep" / "out")
    (tmp_path / "deep" / "out" / "left over").write_text("old")
    write(tmp_path / "deep" / "out", "newer")
    assert listing(tmp_path / "deep") == ["out"]
    assert listing(tmp_path / "deep" / "out") == [MARK_FILE]
    assert text_in(tmp_path / "deep" / "out") == "newer"


def test_a_failure_leaves_what_was_there(tmp_path):
    with pytest.raises(RuntimeError):
        write(tmp_path / "out", error=RuntimeError("power cut"))
    assert listing(tmp_path) == []
    write(tmp_path / "out", "old")
    with pytest.raises(RuntimeError):
        write(tmp_path / "out", error=RuntimeError("power cut"))
    assert text_in(tmp_path / "out") == "old"
    assert listing(tmp_path) == ["out"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert listing(tmp_path / "out") == [MARK_FILE]


def test_what_is_not_ours_is_left_alone(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="expected an empty folder or an earlier result, found "
                                         "other files"):
        write(tmp_path / "home")
    assert (tmp_path / "home" / "thesis.txt").read_text() == "years of work"
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="expected a folder, found a file"):
        write(tmp_path / "file")


@pytest.mark.parametrize("content", [
    b"", b"{", b"[" * 100_000, b"\xff", b"[]", b"{}", b'"sparseloom"', b'["format", "sparseloom"]',
    b'{"name": "stsb", "kind": "similarity"}', b'{"format": "other"}', b'{"format": null}'],
    ids=lambda content: content[:12].decode("latin-1"))
def test_a_file_of_the_same_name_does_not_make_it_ours(tmp_path, content):
    """Other programs have a task.json, too; what lies beside it is not ours to delete."""
    home = tmp_path / "home"
    home.mkdir()
    (home / MARK_FILE).write_bytes(content)
    (home / "thesis.txt").write_text("years of work")
    with pytest.raises(InputError, match="found other files"):
        write(home)
    assert (home / MARK_FILE).read_bytes() == content
    assert listing(home) == [MARK_FILE, "thesis.txt"] and listing(tmp_path) == ["home"]


def test_a_folder_in_the_place_of_the_mark(tmp_path):
    (tmp_path / "out" / MARK_FILE).mkdir(parents=True)
    with pytest.raises(InputError, match="found other files"):
        write(tmp_path / "out")


@pytest.mark.parametrize("umask", [0o022, 0o077], ids=oct)
def test_permissions_of_any_new_folder(tmp_path, umask):
    before = os.umask(umask)
    try:
        write(tmp_path / "out")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "out").stat().st_mode) == 0o777 & ~umask


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"),
                                   OSError(122, "Disk quota exceeded"),
                                   Exception("I/O error: full (os error 28)")], ids=str)
def test_a_full_disk_leaves_what_was_there(tmp_path, error):
    write(tmp_path / "out", "old")
    with pytest.raises(InputError) as problem:
        write(tmp_path / "out", error=error)
    reason = "Disk quota exceeded" if "quota" in str(error) else "No space left on device"
    assert str(problem.value) == (f"output {tmp_path / 'out'}: expected room to write, "
                                  f"found: {reason}")
    assert text_in(tmp_path / "out") == "old" and listing(tmp_path) == ["out"]


@pytest.mark.parametrize("failing", [1, 2], ids=["set aside", "put in place"])
def test_a_failing_swap_leaves_what_was_there(tmp_path, monkeypatch, failing):
    write(tmp_path / "out", "old")
    replace, calls = os.replace, []

    def fail(*arguments):
        calls.append(arguments)
        if len(calls) == failing:
            raise OSError(28, "No space left on device")
        replace(*arguments)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(InputError, match="expected room to write, found: No space"):
        write(tmp_path / "out")
    assert text_in(tmp_path / "out") == "old" and listing(tmp_path) == ["out"]
