"""Files are written whole or not at all, with the permissions of any new file."""
import os
import stat
import subprocess
import sys

import pytest
from safetensors import SafetensorError

from sparseloom.model import write as write_module
from sparseloom.model.errors import InputError
from sparseloom.model.write import room_to_write, system_reason, write_whole


@pytest.fixture(params=[0o022, 0o002, 0o077], ids=oct)
def umask(request):
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_new_and_replaced_under_any_umask(tmp_path, umask):
    path = tmp_path / "file"
    for data in (b"one\r\n", b"", b"three"):
        write_whole(path, data)
        assert path.read_bytes() == data
        assert stat.S_IMODE(path.stat().st_mode) == 0o666 & ~umask
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["replace", "fdopen"])
def test_a_failure_leaves_what_was_there(tmp_path, monkeypatch, step):
    path = tmp_path / "file"
    write_whole(path, b"old")

    def fail(*arguments):
        if step == "fdopen":
            os.close(arguments[0])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(write_module.os, step, fail)
    with pytest.raises(OSError, match="No space left"):
        write_whole(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_folder(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "none" / "file", b"")


def test_needs_no_torch():
    code = "import sys, sparseloom.model.write; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_the_system_said():
    assert system_reason(OSError(28, "No space left on device")) == "No space left on device"
    assert system_reason(OSError("odd")) == "odd" and system_reason(OSError()) == "OSError"
    rust = "Error while serializing: I/O error: no room (os error 28)"
    assert system_reason(SafetensorError(rust)) == "No space left on device"
    assert system_reason(ValueError("index 28")) is None


def test_one_error_for_a_full_disk(tmp_path):
    for error in (OSError(28, "No space left on device"), Exception("full (os error 28)")):
        with pytest.raises(InputError) as problem, room_to_write("place"):
            raise error
        assert str(problem.value) == ("output place: expected room to write, found: No space left "
                                      "on device")
    for error in (InputError("said already"), RuntimeError("a bug"), KeyboardInterrupt()):
        with pytest.raises(type(error)) as problem, room_to_write("place"):
            raise error
        assert problem.value is error
