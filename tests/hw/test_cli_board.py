"""`sparseloom hw bitstream` and `sparseloom hw board`: what they print, and their exit codes."""
import json
import os
import tty

import pytest
from typer.testing import CliRunner

from sparseloom.hw import bitstream
from sparseloom.hw.cli import app
from sparseloom.model.errors import InputError
from sparseloom.sim.console import main
from tests.hw.test_bitstream import ECPPACK, NEXTPNR, YOSYS

OPTIONS = ["bitstream", "--rows", "2", "--cols", "2", "--max-k", "16", "--act-words", "32"]


@pytest.fixture
def tools(monkeypatch):
    def use(achieved):
        monkeypatch.setattr(bitstream, "YOSYS", YOSYS)
        monkeypatch.setattr(bitstream, "NEXTPNR", NEXTPNR.replace("ACHIEVED", str(achieved)))
        monkeypatch.setattr(bitstream, "ECPPACK", ECPPACK)
    return use


def test_bitstream(tools, tmp_path):
    tools(123.0)
    out = tmp_path / "x.bit"
    done = CliRunner().invoke(app, [*OPTIONS, "-o", str(out), "--json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert (report["file"], report["fmax_mhz"], report["config"]["rows"]) == (str(out), 123.0, 2)
    assert [line for line in done.stderr.splitlines() if "step" in line] == [
        f"{step} (step {place} of 3)" for place, step in enumerate(bitstream.STEPS, start=1)]
    done = CliRunner().invoke(app, [*OPTIONS, "-o", str(out)])
    assert "4 bytes, 2 × 2 array at 100 MHz (up to 123), 1000000 baud" in done.stdout


def test_missed_timing_is_exit_code_1(tools, tmp_path, monkeypatch, capsys):
    tools(90.0)
    monkeypatch.setattr("sys.argv", ["sparseloom", "hw", *OPTIONS, "-o", str(tmp_path / "x.bit")])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert "error: timing, clock glbnet$clk: expected 100.00 MHz, found 90.00" in said.err
    assert not said.out
    assert not (tmp_path / "x.bit").exists()


def test_wrong_input_is_told():
    done = CliRunner().invoke(app, ["board", "/dev/nothing"])
    assert isinstance(done.exception, InputError)
    done = CliRunner().invoke(app, [*OPTIONS, "-o", "x.bit", "--device", "9k"])
    assert "expected one of 25k, 45k, 85k, found '9k'" in str(done.exception)


def test_a_port_where_nobody_answers_is_exit_code_1(monkeypatch, capsys):
    board, port = os.openpty()
    tty.setraw(port)
    monkeypatch.setattr("sys.argv", ["sparseloom", "hw", "board", os.ttyname(port)])
    try:
        with pytest.raises(SystemExit) as stopped:
            main()
    finally:
        os.close(board)
        os.close(port)
    assert stopped.value.code == 1
    said = capsys.readouterr()
    assert said.err.startswith("error: link, hello: expected an answer within ")
    assert said.err.count("\n") == 1
    assert not said.out
