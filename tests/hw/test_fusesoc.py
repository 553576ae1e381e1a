"""Against the rules of FuseSoC's user guide, "CAPI2 reference"."""
import re
from importlib.metadata import version

import yaml

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.fusesoc import CORE, to_core
from sparseloom.hw.generate import FILES, generate

FILE_TYPES = {"verilogSource", "verilogSource-2005", "vlt"}


def read(text):
    first, rest = text.split("\n", 1)
    assert first == "CAPI=2:"       # how FuseSoC knows the format
    return yaml.safe_load(rest)


def test_core_keeps_the_rules():
    core = read(to_core("a.v", "b.vlt"))
    assert set(core) == {"name", "description", "filesets", "targets"}
    assert core["name"] == f"sparseloom:hw:unit:{version('sparseloom')}"
    assert re.fullmatch(r"[\w-]+:[\w-]+:[\w-]+:\d+\.\d+\.\d+", core["name"])
    for fileset in core["filesets"].values():
        assert set(fileset) == {"files", "file_type"}
        assert fileset["file_type"] in FILE_TYPES
    assert core["filesets"]["rtl"]["files"] == ["a.v"]
    assert core["filesets"]["waivers"]["files"] == ["b.vlt"]
    assert set(core["targets"]) == {"default", "lint"}
    for target in core["targets"].values():
        assert set(target) <= {"filesets", "toplevel", "flow", "flow_options"}
        assert target["toplevel"] == "sparseloom"
        assert set(target["filesets"]) <= set(core["filesets"])
    assert core["targets"]["default"]["filesets"] == ["rtl"]
    lint = core["targets"]["lint"]
    assert lint["flow"] == "lint"
    assert lint["flow_options"] == {"tool": "verilator", "verilator_options": ["-Wall"]}
    assert lint["filesets"] == ["waivers", "rtl"], "waivers hold for what comes after them"


def test_core_names_files_that_are_there(tmp_path):
    generate(ArrayConfig(rows=1, cols=1, max_k=8, act_words=8, bus_bits=32), tmp_path)
    assert CORE in FILES
    core = read((tmp_path / CORE).read_text())
    for fileset in core["filesets"].values():
        for name in fileset["files"]:
            assert (tmp_path / name).is_file()
    assert f"module {core['targets']['default']['toplevel']}(" in (
        tmp_path / core["filesets"]["rtl"]["files"][0]).read_text()
