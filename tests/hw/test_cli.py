import inspect
import json
import subprocess
import sys
from dataclasses import fields

import pytest
from typer.testing import CliRunner

from sparseloom.hw import cli
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.generate import FILES
from sparseloom.model.errors import InputError

SMALL = ["--rows", "1", "--cols", "2", "--max-k", "8", "--act-words", "8"]


def invoke(*arguments):
    return CliRunner().invoke(cli.app, ["verilog", *map(str, arguments)])


def test_every_setting_is_an_option_with_its_default():
    parameters = inspect.signature(cli.verilog).parameters
    assert set(parameters) == {field.name for field in fields(ArrayConfig)} | {"out", "as_json"}
    for field in fields(ArrayConfig):
        assert parameters[field.name].default == field.default


def test_writes_the_files_and_says_so(tmp_path):
    result = invoke("-o", tmp_path, *SMALL)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(FILES)
    first, *rest = result.stdout.splitlines()
    assert first.startswith("1 × 2 array, K up to 8, 64-bit streams, 1 lanes: ")
    assert [line.strip() for line in rest] == [str(tmp_path / name) for name in FILES]


def test_json_is_the_manifest_alone(tmp_path):
    result = invoke("-o", tmp_path, *SMALL, "--json")
    assert result.exit_code == 0, result.output
    manifest = json.loads(result.stdout)
    assert manifest == json.loads((tmp_path / "manifest.json").read_text())
    assert manifest["config"]["cols"] == 2


@pytest.mark.parametrize(("arguments", "message"), [
    (["--rows", "0"], "rows must be an integer in 1..32, not 0"),
    (["--rows", "33"], "rows must be an integer in 1..32, not 33"),
    (["--cols", "-1"], "cols must be an integer in 1..32, not -1"),
    (["--max-k", "32769"], "max_k must be an integer in 1..32768, not 32769"),
    (["--act-words", "0"], "act_words must be an integer in 1..1048576, not 0"),
    (["--max-k", "9000"], "act_words must be at least max_k = 9000 (one token group of the "
                          "longest input), not 8192"),
    (["--bus-bits", "48"], "bus_bits must be one of 32, 64, 128, not 48"),
    (["--lanes", "5"], "lanes must divide rows = 12, not 5"),
    (["--lanes", "13"], "lanes must be an integer in 1..12, not 13"),
    (["--queue-depth", "17"], "queue_depth must be an integer in 1..16, not 17"),
    (["--block-inputs", "12"], "block_inputs must be one of 8, 16, 32, not 12"),
    (["--weight-bits", "3"], "weight_bits must be one of 8, not 3"),
    (["--target", "abacus"], "target must be one of generic, not 'abacus'"),
])
def test_refused_parameters_say_why_and_write_nothing(arguments, message, tmp_path):
    result = invoke("-o", tmp_path / "out", *arguments)
    assert isinstance(result.exception, InputError)
    assert str(result.exception) == message
    assert not (tmp_path / "out").exists()


def test_help_needs_no_folder():
    result = invoke("--help")
    assert result.exit_code == 0
    assert "--act-words" in result.output


def test_folder_is_required():
    assert invoke().exit_code == 2


def test_hardware_imports_no_torch():
    code = ("import sys, sparseloom.hw.cli, sparseloom.hw.generate;"
            "assert not {'torch', 'transformers'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
