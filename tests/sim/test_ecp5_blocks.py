"""Models of the ECP5's multiplier and block memory against the tables of Lattice's documents."""
import subprocess
from itertools import product

import pytest

from sparseloom.sim.build import LIBRARIES, tool_environment

BLOCKS = next(path for path in LIBRARIES if path.name == "ecp5_blocks.v").read_text()

WORDS = {1: 16384, 2: 8192, 4: 4096, 9: 2048, 18: 1024, 36: 512}
"""Words by width (FPGA-DS-02012, sysMEM block configurations)."""
BYTE_ENABLES = {18: 2, 36: 4}
"""Byte enables by width, of 9 bits each (FPGA-TN-02204, byte enables)."""
REGISTERS = list(product((0, 1), repeat=3))
"""Of the multiplier: at the factors, inside, at the product (FPGA-TN-02205, MULT18X18D)."""
FACTORS = [(0, 0), (1, 1), (-1, 1), (-131072, -131072), (131071, -131072), (131071, 131071),
           (-54321, 98765)]
SIGNS = list(product((0, 1), repeat=2))
UNSIGNED = 1 << 18


def pins(name, bits):
    """Connections of a bus to single pins."""
    return ", ".join(f".{name}{bit}({name.lower()}[{bit}])" for bit in range(bits))


def multiplier(name, registers, output):
    inputs, inside, last = ("CLK0" if there else "NONE" for there in registers)
    return f"""
  wire [35:0] {output};
  MULT18X18D #(.REG_INPUTA_CLK("{inputs}"), .REG_INPUTB_CLK("{inputs}"),
      .REG_PIPELINE_CLK("{inside}"), .REG_OUTPUT_CLK("{last}")) {name} (
    .CLK0(clk), .CE0(ce), .RST0(rst), .SIGNEDA(signed_a), .SIGNEDB(signed_b),
    .SOURCEA(1'b0), .SOURCEB(1'b0), {pins("A", 18)}, {pins("B", 18)},
    {", ".join(f".P{bit}({output}[{bit}])" for bit in range(36))});"""


def memory(width, mode, write_mode="NORMAL"):
    """An instance, and the signals that its pins are named after."""
    common = ", ".join(f".{pin}{port}({pin.lower()}{port.lower()})"
                       for pin in ("CE", "OCE", "WE", "RST") for port in "AB")
    selects = ", ".join(f".CS{port}{bit}(1'b0)" for port in "AB" for bit in range(3))
    buses = ",\n    ".join(pins(bus, bits) for bus, bits in (
        ("ADA", 14), ("ADB", 14), ("DIA", 18), ("DIB", 18), ("DOA", 18), ("DOB", 18)))
    return f"""
  reg [13:0] ada = 0, adb = 0;
  reg [17:0] dia = 0, dib = 0;
  wire [17:0] doa, dob;
  reg cea = 0, ceb = 0, ocea = 1, oceb = 1, wea = 0, web = 0, rsta = 0, rstb = 0;
  DP16KD #(.DATA_WIDTH_A({width}), .DATA_WIDTH_B({width}), .REGMODE_A("{mode}"),
      .REGMODE_B("{mode}"), .WRITEMODE_A("{write_mode}"), .WRITEMODE_B("{write_mode}")) block (
    .CLKA(clk), .CLKB(clk), {common}, {selects},
    {buses});"""


def all_registers():
    """When a product comes out of a multiplier with each set of registers."""
    watch = "".join(f'      if (p{number} == 221) $display("product {number} %0d", i);\n'
                    for number in range(len(REGISTERS)))
    return "".join(multiplier(f"m{number}", kind, f"p{number}")
                   for number, kind in enumerate(REGISTERS)) + f"""
  reg [17:0] a = 0, b = 0;
  reg ce = 1, rst = 0, signed_a = 1, signed_b = 1;
  integer i;
  initial begin
    for (i = 0; i < 8; i = i + 1) begin
      a = i == 2 ? 13 : 0;
      b = i == 2 ? 17 : 0;
      #1;
{watch}      tick;
    end
    done = 1;
  end"""


def signs_enable_and_reset():
    steps = "".join(
        f"    a = {a % UNSIGNED}; b = {b % UNSIGNED}; signed_a = {signs[0]}; "
        f'signed_b = {signs[1]}; tick; $display("signs %0d", p);\n'
        for a, b in FACTORS for signs in SIGNS)
    return multiplier("m", (1, 0, 0), "p") + f"""
  reg [17:0] a = 0, b = 0;
  reg ce = 1, rst = 0, signed_a = 1, signed_b = 1;
  initial begin
{steps}    a = 5; b = 7; tick; ce = 0; a = 9; tick; $display("signs %0d", p);
    ce = 1; rst = 1; tick; $display("signs %0d", p);
    done = 1;
  end"""


def all_words(width, mode):
    """Every word written and read; the output register holds its word without OCE."""
    words, skip = WORDS[width], 14 - (WORDS[width] - 1).bit_length()
    read = "{dob, doa}" if width == 36 else f"dob[{width - 1}:0]"
    hold = f"""
      old = {read};
      ceb = 0; ocea = 0; oceb = 0; tick;
      if ({read} !== old) early = early + 1;
      ocea = 1; oceb = 1; tick; ceb = 1;""" if mode == "OUTREG" else ""
    return memory(width, mode) + f"""
  reg [35:0] value, old;
  integer i, wrong, early;
  initial begin
    wrong = 0; early = 0;
    cea = 1; wea = 1;
    for (i = 0; i < {words}; i = i + 1) begin
      value = i * 36'd2654435761 + 36'd12345;
      ada = (i << {skip}) | {(1 << BYTE_ENABLES.get(width, 0)) - 1};
      {{dib, dia}} = value;
      tick;
    end
    wea = 0; cea = 0; ceb = 1;
    for (i = 0; i < {words}; i = i + 1) begin
      value = i * 36'd2654435761 + 36'd12345;
      adb = i << {skip};
      tick;{hold}
      if ({read} !== (value & ((37'd1 << {width}) - 1))) wrong = wrong + 1;
    end
    ceb = 0; old = {read}; adb = 0; tick;
    if ("{mode}" == "NOREG" && {read} !== old) early = early + 1;
    $display("words {width} {mode} %0d %0d", wrong, early);
    done = 1;
  end"""


def single_bytes(width):
    read = "{dob, doa}" if width == 36 else "dob"
    count = BYTE_ENABLES[width]
    return memory(width, "NOREG") + f"""
  integer i;
  initial begin
    cea = 1; wea = 1; ada = {(1 << count) - 1}; tick;
    for (i = 0; i < {count}; i = i + 1) begin
      ada = 1 << i; dia = 18'h3ffff; dib = 18'h3ffff; wea = 1; tick;
      wea = 0; ceb = 1; tick;
      $display("bytes {width} %0d", {read});
      ceb = 0;
    end
    done = 1;
  end"""


def second_port():
    return memory(18, "NOREG") + """
  initial begin
    ceb = 1; web = 1; adb = 16 * 5 + 3; dib = 18'h2abcd; tick;
    web = 0; ceb = 0; cea = 1; ada = 16 * 5; tick;
    $display("second %h", doa);
    done = 1;
  end"""


def written_and_read(write_mode):
    """What the writing port reads in the cycle of its write."""
    return memory(9, "NOREG", write_mode) + f"""
  initial begin
    ada = 8; dia = 5; cea = 1; wea = 1; tick;
    ada = 16; dia = 6; tick;
    wea = 0; tick;
    ada = 8; dia = 7; wea = 1; tick;
    $display("{write_mode} %0d", doa);
    done = 1;
  end"""


def compiled(folder, *bodies):
    """A program of benches with these bodies."""
    modules = "".join(f"""
module part_{number}(output reg done);
  reg clk = 0;
  initial done = 0;
  task tick; begin #1 clk = 1; #1 clk = 0; #1; end endtask
{body}
endmodule
""" for number, body in enumerate(bodies))
    parts = "".join(f"  part_{number} p{number}(done[{number}]);\n"
                    for number in range(len(bodies)))
    (folder / "bench.v").write_text(f"""{modules}
module bench;
  wire [{len(bodies) - 1}:0] done;
{parts}
  always @(done) if (&done) $finish;
endmodule
""")
    (folder / "blocks.v").write_text(BLOCKS)
    built = subprocess.run(
        ["verilator", "--binary", "--timing", "-Wno-lint", "-Wno-style", "-Wno-fatal",
         "--output-split", "0", "--top-module", "bench", "--Mdir", str(folder / "obj"),
         "-CFLAGS", "-O0 -std=c++20",
         str(folder / "bench.v"), str(folder / "blocks.v")],
        env=tool_environment(), capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    return folder / "obj" / "Vbench"


def simulated(program, *words):
    """Exit code, and what it prints."""
    done = subprocess.run([program, *words], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


NOT_MODELLED = {"reset and chip select": "rstb = 1; tick;",
                "written by both ports": "cea = 1; ceb = 1; wea = 1; web = 1; tick;"}
"""What ends a simulation, by what it says then."""


def not_modelled(number, steps):
    """Steps that are taken if the program is told to."""
    return memory(18, "NOREG") + f"""
  initial begin
    if ($test$plusargs("bad{number}")) begin {steps} end
    done = 1;
  end"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Compiled once for all."""
    return compiled(
        tmp_path_factory.mktemp("blocks"), all_registers(), signs_enable_and_reset(),
        *(all_words(width, mode) for width in WORDS for mode in ("NOREG", "OUTREG")),
        *(single_bytes(width) for width in BYTE_ENABLES), second_port(),
        *(written_and_read(write_mode) for write_mode in ("NORMAL", "READBEFOREWRITE")),
        *(not_modelled(number, steps) for number, steps in enumerate(NOT_MODELLED.values())))


@pytest.fixture(scope="module")
def said(program):
    code, text = simulated(program)
    assert code == 0 and not any(says in text for says in NOT_MODELLED), text

    def lines(word):
        return [line.split()[1:] for line in text.splitlines() if line.startswith(f"{word} ")]

    return lines


def test_each_register_of_the_multiplier_is_a_cycle(said):
    assert {int(number): int(cycle) for number, cycle in said("product")} == {
        number: 2 + sum(kind) for number, kind in enumerate(REGISTERS)}


def test_signs_enable_and_reset_of_the_multiplier(said):
    """FPGA-TN-02205: SIGNEDA and SIGNEDB; CE and RST of a register."""
    expected = [(a if signs[0] else a % UNSIGNED) * (b if signs[1] else b % UNSIGNED) % (1 << 36)
                for a, b in FACTORS for signs in SIGNS]
    assert [int(value) for value, in said("signs")] == [*expected, 35, 0]


def test_every_word_of_each_width_is_its_own(said):
    """FPGA-TN-02204: places of addresses; latency 1, or 2 with the output register."""
    assert said("words") and sorted(said("words")) == sorted(
        [str(width), mode, "0", "0"] for width in WORDS for mode in ("NOREG", "OUTREG"))


def test_bytes_are_written_alone(said):
    """FPGA-TN-02204: bit n of the lowest address pins lets byte n be written."""
    for width, count in BYTE_ENABLES.items():
        found = [int(value) for of, value in said("bytes") if int(of) == width]
        assert found == [(1 << 9 * (byte + 1)) - 1 for byte in range(count)]


def test_the_second_port_writes_too(said):
    assert said("second") == [["2abcd"]]


def test_what_a_port_reads_while_it_writes(said):
    """FPGA-TN-02204: write modes."""
    assert said("NORMAL") == [["6"]], "what it read before"
    assert said("READBEFOREWRITE") == [["5"]], "the old word"


@pytest.mark.parametrize("says", NOT_MODELLED)
def test_what_is_not_modelled_ends_the_simulation(program, says):
    code, text = simulated(program, f"+bad{list(NOT_MODELLED).index(says)}")
    assert code != 0 and [one for one in NOT_MODELLED if one in text] == [says]
