from pathlib import Path

import pytest

from sparseloom.hw.work_folder import RECIPE, key_of, made
from sparseloom.model.errors import InputError


def test_made_once_for_a_recipe_and_anew_for_another(tmp_path):
    calls = []

    def make(part):
        calls.append(part)
        assert list(part.iterdir()) == []
        (part / "result").write_text(str(len(calls)))

    folder = tmp_path / "a" / "b"
    assert not made(folder, {"x": 1}, make)
    assert made(folder, {"x": 1}, make)
    assert (folder / "result").read_text() == "1"
    assert not made(folder, {"x": 2}, make)
    assert (folder / "result").read_text() == "2"
    assert len(calls) == 2


def test_half_of_it_is_never_there(tmp_path):
    folder = tmp_path / "it"

    def fail(part):
        (part / "half").write_text("x")
        raise RuntimeError("tool")

    with pytest.raises(RuntimeError, match="tool"):
        made(folder, {}, fail)
    assert [path.name for path in tmp_path.iterdir()] == ["it.lock"]
    left = tmp_path / ".part-it-dead"     # of a run that was killed
    left.mkdir()
    other = tmp_path / ".part-item-alive"
    other.mkdir()
    made(folder, {}, lambda part: None)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".part-item-alive", "it",
                                                                "it.lock"]


def test_a_damaged_one_is_made_anew(tmp_path):
    folder = tmp_path / "it"
    made(folder, {"x": 1}, lambda part: None)
    (folder / RECIPE).write_text("{")
    assert not made(folder, {"x": 1}, lambda part: None)


def test_a_file_in_the_way_is_refused(tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"^cannot write to .*taken"):
        made(tmp_path / "taken" / "it", {}, lambda part: None)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_one_line(tmp_path):
    folder = tmp_path / "it"

    def fill(part):
        (part / "result").symlink_to("/dev/full")
        (part / "result").write_text("x")

    def fill_last(part):
        (part / RECIPE).symlink_to("/dev/full")

    for make in (fill, fill_last):
        with pytest.raises(InputError) as caught:
            made(folder, {}, make)
        assert str(caught.value) == (f"run {folder}: expected to write all its files, found: "
                                     "No space left on device")
        assert [path.name for path in tmp_path.iterdir()] == ["it.lock"]

    def miss(part):
        (part / "netlist").read_text()

    with pytest.raises(InputError, match=r"found .*/netlist: No such file"):
        made(folder, {}, miss)


def test_names_follow_contents():
    assert key_of({"a": 1, "b": [2]}) == key_of({"b": [2], "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 2})
    assert len(key_of({})) == 20
