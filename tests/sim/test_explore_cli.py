"""The command: from words to a table or JSON, and one line for what is wrong."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sparseloom.model.errors import InputError
from sparseloom.sim import console
from sparseloom.sim.explore import cli as module
from sparseloom.sim.explore.cli import integers, listed

ROOT = Path(__file__).parents[2]
SMALL = ["bert-tiny", "--rows", "4", "--cols", "3,4", "--tokens", "9", "--workers", "0",
         "--compressions", "2,4", "--clock-mhz", "100"]


def call(monkeypatch, capsys, *words):
    """Exit code, standard output and errors of the command."""
    monkeypatch.setattr("sys.argv", ["sparseloom", "explore", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        console.main()
    shown = capsys.readouterr()
    return left.value.code or 0, shown.out, shown.err


def test_json_and_a_repeat(monkeypatch, capsys, tmp_path):
    words = [*SMALL, "--keep", tmp_path, "--json"]
    code, out, err = call(monkeypatch, capsys, *words)
    assert (code, err) == (0, "")
    found = json.loads(out)
    assert (found["model"], found["device"], found["tokens"]) == ("bert-tiny", "LFE5U-85F", 9)
    assert found["points"] == found["distinct_points"] == found["computed"] == 4
    assert found["objectives"][0] == "compression and bits of weights" and "all" not in found
    assert found["attention"] is True
    for point in found["front"]:
        assert point["latency_ms"] == point["cycles"] / 100_000
        assert point["clock"] == {"mhz": 100.0, "source": "given"}
        assert point["score"] is None and point["masks"] == "balanced"
        assert point["cells"] == "estimated"
    code, out, _ = call(monkeypatch, capsys, *words, "--all")
    again = json.loads(out)
    assert code == 0 and again["computed"] == 0 and again["front"] == found["front"]
    assert len(again["all"]) == 4


def test_table(monkeypatch, capsys, tmp_path):
    table = tmp_path / "scores.json"
    row = {"model": "theirs", "task": "sst2", "method": "reweighted", "head": "classification",
           "structure": "column", "p": 24, "q": 16, "int8": 81.25, "metric": "accuracy",
           "compression": {"asked": 4.0}, "label": "", "settings": {}}
    table.write_text(json.dumps({"rows": [row]}))
    words = [*SMALL, "--keep", tmp_path / "keep"]
    code, out, _ = call(monkeypatch, capsys, *words)
    assert code == 0
    assert "bert-tiny on LFE5U-85F, 9 tokens; masks: balanced, seeded" in out
    assert "4 points within the device's limits, 4 of the cycle model: 4 computed, 0 kept" in out
    assert "all matrix products of the encoder, attention's two included" in out
    assert "no score was measured" in out and "4 × 3" in out and "clock: given" in out
    code, out, _ = call(monkeypatch, capsys, *words, "--scores", table, "--task", "sst2",
                        "--scored-as", "theirs", "--most", 1)
    assert code == 0 and "0 computed, 4 kept" in out
    assert "the front is over measured scores: 2 points have one" in out
    assert "81.2" in out and "1 more points on the front" in out


@pytest.mark.parametrize(("words", "says"), [
    (["bert-huge"], "model: expected a folder or one of bert-tiny"),
    (["./none"], "model ./none: expected a folder, found none"),
    (["minilm", "--device", "5k"], "device: expected one of 25k, 45k, 85k, found '5k'"),
    (["minilm", "--rows", "a"], "--rows: expected integers and ranges such as 4,8-16:2, found 'a'"),
    (["minilm", "--rows", "40"], "rows must be an integer in 1..32, not 40"),
    (["minilm", "--cols", "8-4"], "--cols: expected a range of 1 to 10,000 integers, found '8-4'"),
    (["minilm", "--blocks", "24"], "--blocks: expected values with commas between them, found '24"),
    (["minilm", "--blocks", "0x4"], "block: expected 1 x 1 or more, found 0 x 4"),
    (["minilm", "--compressions", "2,x"], "--compressions: expected values with commas"),
    (["minilm", "--compressions", "0.5"], "compression: expected 1 or more, found 0.5"),
    (["minilm", "--structures", "row"], "structure: expected one of column, block, found 'row'"),
    (["minilm", "--bus-bits", "48"], "bus_bits must be one of 32, 64, 128, not 48"),
    (["minilm", "--tokens", "0"], "tokens: expected 1 to 65535, found 0"),
    (["minilm", "--fill", "2"], "fill: expected more than 0 and at most 1, found 2"),
    (["minilm", "--clock-mhz", "0"], "clock: expected more than 0 MHz, found 0"),
    (["minilm", "--task", "stsb"], "--scores and --task: expected both or none, found one"),
    (["minilm", "--scores", "none.json", "--task", "x"],
     "--scores none.json: expected a table of scores as `make bench-glue` writes, found: No such"),
    (["minilm", "--measure", "x"], "--measure: expected one of synth, fit, found x"),
    (["minilm", "--workers", "-1"], "--workers: expected 0 or more, found -1"),
    (["minilm", "--workers", "1", "--scheduler", "tcp://a:1"],
     "--workers: expected none beside --scheduler, whose cluster has its own, found 1"),
    (["minilm", "--rows", "32", "--cols", "32"], "no candidate for LFE5U-85F is left: 1 ×"),
    (["minilm", "--keep", "pyproject.toml/x"], "--keep pyproject.toml/x: expected a folder to"),
])
def test_what_is_wrong_is_one_line(monkeypatch, capsys, tmp_path, words, says):
    monkeypatch.chdir(ROOT)
    more = [] if "--keep" in words else ["--keep", tmp_path]
    more += [] if {"--workers", "--scheduler"} & set(words) else ["--workers", 0]
    code, out, err = call(monkeypatch, capsys, *words, *more)
    assert code == 2 and out == ""
    assert err.startswith(f"error: {says}") and err.count("\n") == 1


def test_lists_and_ranges():
    assert integers("--x", "4,8-16:4, 3") == (4, 8, 12, 16, 3)
    assert integers("--x", "2-4") == (2, 3, 4)
    assert listed("--x", "1.5,2", float) == (1.5, 2.0)
    assert module._block("24x16") == module._block("24×16") == (24, 16)
    for text in ("", "4,", "4-", "1-99999", "4:2", "-3", "2-4:0"):
        with pytest.raises(InputError, match=r"^--x: expected "):
            integers("--x", text)


def hears_interrupts():
    """A suite that a shell started in the background ignores Ctrl-C, and so would its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_interrupted_it_keeps_what_is_done_and_goes_on(tmp_path):
    """Ctrl-C on a terminal reaches the command and its workers alike."""
    words = [sys.executable, "-m", "sparseloom.sim.console", "explore", "bert-tiny", "--rows",
             "2-12", "--cols", "2-12", "--bus-bits", "32,64,128", "--clock-mhz", "100",
             "--workers", "1", "--keep", str(tmp_path), "--json"]
    run = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                           start_new_session=True, preexec_fn=hears_interrupts)
    points, end = tmp_path / "points.jsonl", time.monotonic() + 120
    while not (points.exists() and points.stat().st_size) and run.poll() is None:
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(run.pid, signal.SIGINT)
    out, err = run.communicate(timeout=120)
    assert run.returncode == 130 and out == ""
    said = [line for line in err.splitlines() if " s  points: " not in line]
    assert said == [f"interrupted: finished points are kept in {points}; the same command goes on "
                    "from there"]
    kept = len(points.read_text().splitlines())
    assert 0 < kept < 1000
    small = [*words[:5], "--rows", "12", "--cols", "2-12", *words[9:]]
    done = subprocess.run([*small, "--workers", "0"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["points"] > 0
