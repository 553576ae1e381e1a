import subprocess
import sys

import pytest

from sparseloom.hw.errors import LinkError, ToolError, UnitError
from sparseloom.model.errors import InputError
from sparseloom.sim import console
from sparseloom.sim.errors import SimulationError


def call(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["sparseloom", *words])
    with pytest.raises(SystemExit) as left:
        console.main()
    return left.value.code


def test_help_is_quick_and_lists_the_rooms():
    code = ("import sys\nsys.argv = ['sparseloom', '--help']\n"
            "from sparseloom.sim.console import main\n"
            "try: main()\nexcept SystemExit as left: assert not left.code\n"
            "heavy = {'torch', 'amaranth', 'transformers', 'cocotb', 'numpy'} & set(sys.modules)\n"
            "assert not heavy, heavy")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for room in ("demo", "model", "hw", "sim"):
        assert room in done.stdout


def test_rooms_have_help(monkeypatch, capsys):
    assert call(monkeypatch, "sim", "layer", "--help") == 0
    shown = capsys.readouterr().out
    assert "--layer" in shown and "--waves" in shown
    assert call(monkeypatch, "hw", "--help") == 0
    assert "verilog" in capsys.readouterr().out


def test_version(monkeypatch, capsys):
    assert call(monkeypatch, "--version") == 0
    assert capsys.readouterr().out.startswith("sparseloom 0.")


def test_unknown_room(monkeypatch, capsys):
    assert call(monkeypatch, "nonsense") == 2
    assert "nonsense" in capsys.readouterr().err


@pytest.mark.parametrize(("error", "line", "code"), [
    (InputError("rows: expected 1..32,\nfound 99"), "error: rows: expected 1..32, found 99", 2),
    (SimulationError("the unit did not finish"), "error: the unit did not finish", 1),
    (ToolError("yosys failed"), "error: yosys failed", 1),
    (LinkError("link, hello: found none"), "error: link, hello: found none", 1),
    (UnitError("unit: expected results", 3), "error: unit: expected results", 1),
    (PermissionError(13, "Permission denied", "/x/y"), "error: /x/y: Permission denied", 2),
])
def test_errors_are_one_line(monkeypatch, capsys, error, line, code):
    def fail():
        raise error

    monkeypatch.setattr(console, "app", fail)
    assert call(monkeypatch) == code
    shown = capsys.readouterr()
    assert shown.err == line + "\n" and shown.out == ""


def test_other_errors_are_not_hidden(monkeypatch):
    def fail():
        raise OSError("no file is named")

    monkeypatch.setattr(console, "app", fail)
    with pytest.raises(OSError, match="no file is named"):
        console.main()
