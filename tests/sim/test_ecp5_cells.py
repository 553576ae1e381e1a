# amaranth: UnusedElaboratable=no
"""ECP5 bodies with the models of their cells, beside the generic bodies, in Verilator."""
import re
import subprocess

from amaranth.back import verilog
from amaranth.hdl import Cat, ClockDomain, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.accumulator import Accumulator
from sparseloom.hw.drain_link import DrainLink
from sparseloom.hw.generate import tidy
from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.memory import SimpleDualPort, block_banks
from sparseloom.hw.multiplier import Multiplier
from sparseloom.hw.pair_cell import PairCell
from sparseloom.hw.wide_multiplier import WideMultiplier
from sparseloom.sim.build import LIBRARIES, tool_environment

CELLS = "".join(path.read_text() for path in LIBRARIES if path.name.startswith("ecp5"))
NOISE_BITS = 256
FILL = 4096                 # cycles in which memories are written from end to end
CYCLES = FILL + 6000

MEMORIES = [(48, 54), (73, 130), (512, 36), (600, 19), (1024, 18), (2000, 10), (2048, 9),
            (3072, 11), (3072, 23), (4096, 5), (4096, 96), (33, 1), (32, 7)]
"""(words, bits): every width of a block but the two deepest, one and two banks, ragged ends."""


class Twins(wiring.Component):
    """Each cell twice, generic and ECP5, on the same random inputs; ``differ`` has a bit a pair."""

    def __init__(self):
        self.pairs = {}
        for a, b in ((8, 8), (18, 17), (18, 18), (17, 8), (3, 1)):
            self.pairs[f"multiplier_{a}_{b}"] = [
                Multiplier(a_bits=a, b_bits=b, target=target) for target in Multiplier.BODIES]
        self.pairs["wide_multiplier"] = [
            WideMultiplier(a_bits=32, b_bits=18, target=target) for target in Multiplier.BODIES]
        for bits in (16, 19, 26):
            self.pairs[f"accumulator_{bits}"] = [
                Accumulator(product_bits=16, sum_bits=bits, target=target)
                for target in Accumulator.BODIES]
        for bits in (16, 21, 22):
            self.pairs[f"accumulator_carry_{bits}"] = [
                Accumulator(product_bits=12, sum_bits=bits, carry=True, target=target)
                for target in Accumulator.BODIES]
        self.pairs["pair_cell"] = [PairCell(sum_bits=22, target=target)
                                   for target in Multiplier.BODIES]
        for sums, end in ((3, False), (3, True), (2, False)):
            self.pairs[f"drain_link_{sums}{'_end' * end}"] = [
                DrainLink(sums=sums, sum_bits=22, end=end, target=target)
                for target in DrainLink.BODIES]
        self.pairs["kept_register"] = [KeptRegister(5, target=target)
                                       for target in KeptRegister.BODIES]
        for depth, bits in MEMORIES:
            self.pairs[f"memory_{depth}_{bits}"] = [
                SimpleDualPort(shape=bits, depth=depth, target=target)
                for target in SimpleDualPort.BODIES]
        super().__init__({"clk": In(1), "noise": In(NOISE_BITS), "cycle": In(32),
                          "differ": Out(len(self.pairs)), "alive": Out(len(self.pairs))})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain(reset_less=True)
        m.d.comb += sync.clk.eq(self.clk)
        for index, (name, pair) in enumerate(self.pairs.items()):
            noise = self.noise.rotate_left(13 * index)
            outputs = []
            for body, part in zip(("generic", "ecp5"), pair, strict=True):
                m.submodules[f"{name}_{body}"] = part
                if isinstance(part, Multiplier | WideMultiplier):
                    m.d.comb += Cat(part.a, part.b).eq(noise)
                    outputs.append(part.product)
                elif isinstance(part, Accumulator):
                    m.d.comb += [part.product.eq(noise), part.first.eq(noise[20:24] == 0)]
                    if part.has_carry:
                        m.d.comb += part.carry.eq(noise[24])
                    outputs.append(part.total)
                elif isinstance(part, PairCell):
                    m.d.comb += [
                        part.x.eq(noise), part.w.eq(noise[8:]), part.first.eq(noise[20:23] == 0),
                    ]
                    outputs.append(part.totals)
                elif isinstance(part, DrainLink):
                    m.d.comb += [
                        part.totals.eq(noise), part.right.eq(self.noise), part.take.eq(noise[-2:]),
                        part.move.eq(noise[-3]), part.capture.eq(noise[-7:-3]),
                    ]
                    outputs.append(part.shown)
                elif isinstance(part, KeptRegister):
                    m.d.comb += part.i.eq(noise)
                    outputs.append(part.o)
                else:
                    outputs.append(self.memory(m, part, noise))
            generic, ecp5 = (Cat(Value.cast(output)) for output in outputs)
            m.d.comb += [self.differ[index].eq(generic != ecp5), self.alive[index].eq(ecp5 != 0)]
        return m

    def memory(self, m, part, noise):
        """Written from end to end, then at random; never read where it is written."""
        depth, filling = part._depth, Signal()
        to, at = Signal.like(part.write.addr), Signal.like(part.read.addr)

        def folded(value):                      # into 0 .. depth - 1
            return Mux(value >= depth, value - depth, value)

        m.d.comb += [
            filling.eq(self.cycle < FILL),
            to.eq(folded(noise[:len(to)])), at.eq(folded(noise[32:32 + len(at)])),
            part.write.en.eq(noise[63]), part.write.addr.eq(to),
            part.write.data.eq(noise.rotate_left(101)),
            part.read.addr.eq(at), part.advance.eq(noise[48:50] | noise[50:52]),
        ]
        with m.If(at == to):
            m.d.comb += part.advance[0].eq(0)
        with m.If(filling):
            m.d.comb += [part.write.addr.eq(self.cycle), part.write.en.eq(self.cycle < depth),
                         part.advance.eq(0)]
        return part.read.data


BENCH = """
module bench;
  reg clk = 0;
  reg [31:0] cycle = 0;
  reg [%(noise)d:0] noise = 0;
  wire [%(pairs)d:0] differ, alive;
  reg [%(pairs)d:0] differed = 0, lived = 0;
  integer i;
  twins twins(.clk(clk), .noise(noise), .cycle(cycle), .differ(differ), .alive(alive));
  initial begin
    for (i = 0; i < %(cycles)d; i = i + 1) begin
      #1 clk = 1;
      #1 clk = 0;
      cycle = cycle + 1;
      noise = {%(random)s};
      #1 if (i > %(settled)d) begin
        differed = differed | differ;
        lived = lived | alive;
      end
    end
    $display("differed %%b lived %%b", differed, lived);
    $finish;
  end
endmodule
"""


def simulate(folder, cells):
    """Names of the pairs that differed, and of those that gave something else than zero."""
    twins = Twins()
    names = list(twins.pairs)
    (folder / "twins.v").write_text(tidy(verilog.convert(twins, name="twins", emit_src=False)))
    (folder / "cells.v").write_text(cells)
    (folder / "bench.v").write_text(BENCH % {
        "noise": NOISE_BITS - 1, "pairs": len(names) - 1, "cycles": CYCLES, "settled": FILL + 200,
        "random": ", ".join(["$urandom"] * (NOISE_BITS // 32))})
    built = subprocess.run(
        ["verilator", "--binary", "--timing", "-Wno-lint", "-Wno-style", "-Wno-fatal", "-O3",
         "--output-split", "0", "--top-module", "bench", "--Mdir", str(folder / "obj"),
         "-CFLAGS", "-O0 -std=c++20",
         *(str(folder / f"{name}.v") for name in ("bench", "twins", "cells"))],
        env=tool_environment(), capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr[-3000:]
    done = subprocess.run([folder / "obj" / "Vbench"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:]
    found = re.search(r"differed (\d+) lived (\d+)", done.stdout)
    assert found, done.stdout[-3000:]
    differed, lived = found.groups()
    return ([name for name, bit in zip(names, reversed(differed), strict=True) if bit == "1"],
            [name for name, bit in zip(names, reversed(lived), strict=True) if bit == "1"])


def test_bodies_are_equal(tmp_path):
    differed, lived = simulate(tmp_path, CELLS)
    assert differed == []
    assert lived == list(Twins().pairs)
    assert {len(block_banks(*memory)) for memory in MEMORIES} == {1, 2}


def test_a_wrong_model_shows(tmp_path):
    """Of a memory, a look-up table and a multiplier, at once: no part has two of them."""
    cells = CELLS
    for old, new in (("if (OCEB) word_b_q <= word_b;", "word_b_q <= word_b;"),
                     ("assign Z = INIT[{D, C, B, A}];", "assign Z = INIT[{D, C, A, B}];"),
                     ("product_q <= to_output;", "product_q <= to_output + 1;")):
        assert old in cells
        cells = cells.replace(old, new)
    differed, lived = simulate(tmp_path, cells)
    assert {name.split("_")[0] for name in differed} == {
        "memory", "drain", "multiplier", "wide", "pair"}
    assert {name.split("_")[0] for name in lived} > {name.split("_")[0] for name in differed}
