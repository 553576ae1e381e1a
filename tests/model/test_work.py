"""A run's working folder: one set of settings, kept only while it is worth something."""
import json

import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.work import DENSE, NOTE, open_work, work_folder, working_folder

SETTINGS = {"rate": 1e-4, "layers": ("a", "b")}


def test_beside_the_result(tmp_path):
    folder = open_work(tmp_path / "deep" / "out", SETTINGS, restart=False)
    assert folder == work_folder(tmp_path / "deep" / "out") == tmp_path / "deep" / "out.work"
    assert json.loads((folder / NOTE).read_text())["settings"]["rate"] == 1e-4


def test_the_same_settings_go_on(tmp_path):
    folder = open_work(tmp_path / "out", SETTINGS, restart=False)
    (folder / "state").touch()
    assert open_work(tmp_path / "out", dict(reversed(SETTINGS.items())), restart=False) == folder
    assert (folder / "state").is_file()


def test_other_settings_are_refused_or_start_anew(tmp_path):
    folder = open_work(tmp_path / "out", SETTINGS, restart=False)
    (folder / "state").touch()
    other = {**SETTINGS, "rate": 2e-4}
    with pytest.raises(InputError) as problem:
        open_work(tmp_path / "out", other, restart=False)
    assert str(problem.value) == (
        f"working folder {folder}: expected an interrupted run with these settings, model and "
        "data, found one with others; finish that one, or --restart to discard it")
    assert (folder / "state").is_file()
    assert open_work(tmp_path / "out", other, restart=True) == folder
    assert [path.name for path in folder.iterdir()] == [NOTE]
    open_work(tmp_path / "out", other, restart=False)


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"settings": {}}', "\xff"])
def test_a_folder_of_somebody_else(tmp_path, text):
    folder = work_folder(tmp_path / "out")
    folder.mkdir()
    (folder / "thing").touch()
    if text is not None:
        (folder / NOTE).write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=rf"expected an interrupted run's {NOTE}, found none"):
        open_work(tmp_path / "out", SETTINGS, restart=False)
    assert (folder / "thing").is_file()


def test_an_empty_folder_is_new(tmp_path):
    work_folder(tmp_path / "out").mkdir()
    assert (open_work(tmp_path / "out", SETTINGS, restart=False) / NOTE).is_file()


def test_no_place_to_write(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^working folder .*: expected a place to write, found: "):
        open_work(tmp_path / "file" / "out", SETTINGS, restart=False)


def test_one_of_several_processes_only_looks(tmp_path):
    assert open_work(tmp_path / "out", SETTINGS, restart=True, main=False) == work_folder(
        tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    with working_folder(tmp_path / "out", SETTINGS, restart=False) as folder:
        with working_folder(tmp_path / "out", SETTINGS, restart=False, main=False) as same:
            assert same == folder
        assert folder.is_dir()


def test_gone_when_the_result_is_there(tmp_path):
    with working_folder(tmp_path / "out", SETTINGS, restart=False) as folder:
        (folder / "checkpoint-2").mkdir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("left", [None, "checkpoints/checkpoint-2/trainer_state.json",
                                  f"{DENSE}/config.json"])
@pytest.mark.parametrize("error", [InputError, KeyboardInterrupt])
def test_an_error_keeps_what_a_run_can_go_on_from(tmp_path, error, left):
    def fail():
        with working_folder(tmp_path / "out", SETTINGS, restart=False) as folder:
            (folder / "checkpoints" / "checkpoint-4").mkdir(parents=True)  # cut short
            if left:
                (folder / left).parent.mkdir(parents=True)
                (folder / left).touch()
            raise error("stop")

    with pytest.raises(error, match="stop"):
        fail()
    assert work_folder(tmp_path / "out").is_dir() is bool(left)
