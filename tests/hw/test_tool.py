import os
import time
from pathlib import Path

import pytest

from sparseloom.hw.errors import ToolError
from sparseloom.hw.tool import run_tool


def run(tmp_path, program, *arguments, seconds=60.0, heard=lambda line: None):
    return run_tool("the tool", program, arguments, folder=tmp_path, log=tmp_path / "log",
                    seconds=seconds, keep_log=tmp_path / "kept.log", heard=heard)


def test_hears_each_line_and_runs_in_the_folder(tmp_path):
    lines = []
    (tmp_path / "kept.log").write_text("of an earlier failure")
    run(tmp_path, "import os, sys\nprint(os.getcwd())\nprint(*sys.argv[1:], file=sys.stderr)", "a",
        "b c", heard=lines.append)
    assert sorted(lines) == sorted([str(tmp_path), "a b c"])
    assert sorted((tmp_path / "log").read_text().splitlines()) == sorted(lines)
    assert not (tmp_path / "kept.log").exists()


def test_hears_before_the_end(tmp_path):
    heard = []
    run(tmp_path, "import time\nprint('one', flush=True)\ntime.sleep(1.5)\nprint('two')",
        heard=lambda line: heard.append((line, time.monotonic())))
    assert [line for line, _ in heard] == ["one", "two"]
    assert heard[1][1] - heard[0][1] > 0.5


def test_a_line_written_in_pieces_is_heard_once_and_whole(tmp_path):
    heard = []
    run(tmp_path, "import time\nprint('Info: Rout', end='', flush=True)\ntime.sleep(1)\n"
        "print('ing..')\nprint('no end', end='', flush=True)\ntime.sleep(1)", heard=heard.append)
    assert heard == ["Info: Routing..", "no end"]


def test_a_failure_is_one_line_with_the_log(tmp_path):
    with pytest.raises(ToolError) as caught:
        run(tmp_path, "print('ERROR: no room for cell x')\nraise SystemExit(3)")
    assert str(caught.value) == ("the tool failed with code 3: no room for cell x; its log is "
                                 f"{tmp_path / 'kept.log'}")
    assert "no room" in (tmp_path / "kept.log").read_text()


def test_a_log_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "log").mkdir()
    with pytest.raises(ToolError) as caught:
        run(tmp_path, "")
    assert str(caught.value) == (f"the tool: expected to write its log {tmp_path / 'log'}, found "
                                 f"{tmp_path / 'log'}: Is a directory")
    (tmp_path / "log").rmdir()
    with pytest.raises(ToolError, match=r"expected to write its log .*kept\.log, found .*/log: No"):
        run(tmp_path, "import os\nos.unlink('log')\nraise SystemExit(1)")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_ends_the_tool_with_a_line(tmp_path):
    (tmp_path / "full").symlink_to("/dev/full")
    with pytest.raises(ToolError, match="the tool failed with code 1; its log is"):
        run(tmp_path, "with open('full', 'w') as file: file.write('x')")


def test_a_time_limit_ends_the_process(tmp_path):
    program = ("import os, time\nopen('pid', 'w').write(str(os.getpid()))\n"
               "print('busy', flush=True)\ntime.sleep(600)")
    with pytest.raises(ToolError, match=r"^the tool took longer than 1 seconds; its log is .*kept"):
        run(tmp_path, program, seconds=1)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


def test_an_interruption_ends_the_process(tmp_path):
    def interrupt(line):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, "import os, time\nprint(os.getpid(), flush=True)\ntime.sleep(600)",
            heard=interrupt)
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "log").read_text()), 0)
