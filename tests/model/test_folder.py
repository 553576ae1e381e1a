"""Folders are written whole or not at all."""
import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.folder import MARK, whole_folder


def write(path, text="new", fail=False):
    with whole_folder(path) as folder:
        (folder / MARK).write_text(text)
        assert folder.parent == path.parent
        if fail:
            raise RuntimeError("power cut")


def listing(path):
    return sorted(entry.name for entry in path.iterdir())


def test_new_and_replaced(tmp_path):
    write(tmp_path / "deep" / "out")
    (tmp_path / "deep" / "out" / "left over").write_text("old")
    write(tmp_path / "deep" / "out", "newer")
    assert listing(tmp_path / "deep") == ["out"]
    assert listing(tmp_path / "deep" / "out") == [MARK]
    assert (tmp_path / "deep" / "out" / MARK).read_text() == "newer"


def test_a_failure_leaves_what_was_there(tmp_path):
    with pytest.raises(RuntimeError):
        write(tmp_path / "out", fail=True)
    assert listing(tmp_path) == []
    write(tmp_path / "out", "old")
    with pytest.raises(RuntimeError):
        write(tmp_path / "out", fail=True)
    assert (tmp_path / "out" / MARK).read_text() == "old"
    assert listing(tmp_path) == ["out"]


def test_an_empty_folder_is_taken(tmp_path):
    (tmp_path / "out").mkdir()
    write(tmp_path / "out")
    assert listing(tmp_path / "out") == [MARK]


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
