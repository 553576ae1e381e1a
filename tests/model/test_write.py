"""Files are written whole or not at all, with the permissions of any new file."""
import os
import stat
import subprocess
import sys

import pytest

from sparseloom.model import write as write_module
from sparseloom.model.write import write_whole


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
