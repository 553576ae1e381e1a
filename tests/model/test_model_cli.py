"""``sparseloom model``: options, JSON, and errors that reach the console as one line."""
import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from sparseloom.model.cli import app
from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import write_artefact
from tests.layers import random_layer

from .tiny import tiny_checkpoint, write_sts

RUNNER = CliRunner()
STEPS = ["--penalty-steps", "2", "--retrain-steps", "2", "--batch", "8", "--precision", "float32"]


def call(*arguments):
    """Run a command; what it raised is raised here, as the console would see it."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.mark.parametrize("command", [[], ["prune"], ["quantize"], ["eval"], ["show"]])
def test_help(command):
    result = call(*command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


def test_help_loads_no_torch():
    code = ("import sys\nfrom typer.testing import CliRunner\n"
            "from sparseloom.model.cli import app\n"
            "CliRunner().invoke(app, ['prune', '--help'])\nsys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_whole_way(tmp_path):
    task, source = write_sts(tmp_path / "sts"), tiny_checkpoint(tmp_path / "source")
    pruned = call("prune", source, "-t", task, "-o", tmp_path / "pruned", "--compression", "3",
                  *STEPS, "--json")
    report = json.loads(pruned.stdout)
    assert pruned.exit_code == 0 and report["compression"] == 3.0 and report["steps"] == 4
    quantised = call("quantize", tmp_path / "pruned", "-t", task, "-o", tmp_path / "out",
                     "--calibration-rows", "8", "--json")
    report = json.loads(quantised.stdout)
    assert report["integer_score"] is not None
    score = call("eval", tmp_path / "out", "-t", task, "--integer", "--json")
    assert json.loads(score.stdout) == {"task": "stsb", "metric": "spearman", "rows": 20,
                                        "integer": True, "score": report["integer_score"]}
    shown = json.loads(call("show", tmp_path / "out", "--json").stdout)
    assert len(shown["layers"]) == 12
    assert shown["layers"][4]["output"] == "table" and shown["layers"][5]["output"] == "sums"
    table = call("show", tmp_path / "out").stdout
    assert "33.3%" in table and "encoder" in table
    assert "score" in call("eval", tmp_path / "pruned", "-t", task).stdout


@pytest.mark.parametrize(("arguments", "message"), [
    (["prune", "{source}", "-t", "{sts}", "-o", "{out}", "--compression", "0"],
     "compression: expected a number of at least 1, found 0.0"),
    (["prune", "{source}", "-t", "{sts}", "-o", "{out}", "--p", "7"],
     "p: expected a divisor of the 48 outputs of encoder.layer.0.attention.self.query "
     "(such as 6 or 8), found 7"),
    (["prune", "{source}", "-t", "{source}", "-o", "{out}"], "task {source}: expected a file "
     "train.jsonl|.csv|.tsv, found none"),
    (["prune", "{sts}", "-t", "{sts}", "-o", "{out}"], "checkpoint {sts}: expected config.json in "
     "the folder, found none"),
    (["quantize", "{source}", "-t", "{sts}", "-o", "{out}", "--weight-bits", "4"],
     "weight_bits: expected 8, as the unit takes them, found 4"),
    (["eval", "{source}", "-t", "{sts}", "--integer"],
     "artefact {source}/sparseloom.safetensors: expected a file, found none"),
    (["show", "{source}"], "artefact {source}/sparseloom.safetensors: expected a file, found none"),
], ids=["setting", "blocks", "task", "checkpoint", "bits", "no artefact", "show"])
def test_errors(tmp_path, arguments, message):
    places = {"source": tiny_checkpoint(tmp_path / "source"), "sts": write_sts(tmp_path / "sts"),
              "out": tmp_path / "out"}
    with pytest.raises(InputError) as problem:
        call(*(argument.format(**places) for argument in arguments))
    assert str(problem.value) == message.format(**places)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("metadata", "title"), [
    ({"source": ["x"]}, "{folder}"), ({"source": {"model": "[/a] b"}}, "[/a] b"),
    ({"source": {}}, "{folder}"), ({}, "{folder}")])
def test_show_what_others_wrote(tmp_path, metadata, title, monkeypatch):
    """Notes of another kind, names in brackets."""
    monkeypatch.chdir(tmp_path)
    layer = random_layer(np.random.default_rng(1), inputs=8, outputs=6, p=3, q=4, density=1.0,
                         name="[b]")
    write_artefact("out", [layer], metadata)
    shown = call("show", "out").stdout
    assert title.format(folder="out") in shown.splitlines()[0]
    assert "[b]" in shown
