# amaranth: UnusedElaboratable=no
"""The board's design as a whole; tests/sim/test_board.py runs it by the real driver."""
import re

import pytest
from amaranth.sim import Simulator

from sparseloom.hw.board import LIGHTS, NAME, Board, bit_cycles, board_verilog
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.pll import PllSettings, pll_settings
from sparseloom.model.errors import InputError
from sparseloom.model.packed import link

CONFIG = ArrayConfig(rows=2, cols=2, max_k=16, act_words=32, bus_bits=32)


def make(pll: PllSettings | None = None) -> Board:
    return Board(CONFIG, pll=pll, divisor=8, data_bytes=32, stream_bytes=64, idle_cycles=3000)


@pytest.mark.parametrize(("clock_mhz", "baud", "cycles"), [
    (100, 1_000_000, 100), (100, 3_000_000, 33), (125, 115_200, 1085), (112.5, 2_000_000, 56)])
def test_cycles_of_a_bit(clock_mhz, baud, cycles):
    assert bit_cycles(clock_mhz=clock_mhz, baud=baud) == cycles


@pytest.mark.parametrize(("clock_mhz", "baud"), [(100, 20_000_000), (10, 950_000)])
def test_a_rate_that_does_not_fit_is_refused(clock_mhz, baud):
    with pytest.raises(InputError, match=rf"baud: .* within 2 % in 8 cycles or more, found {baud}"):
        bit_cycles(clock_mhz=clock_mhz, baud=baud)


def test_only_the_pll_differs_from_what_is_simulated():
    """The design that is simulated is the one that is built, but for the clock's source."""
    plain = board_verilog(make())
    built = board_verilog(make(pll_settings(input_mhz=25, output_mhz=100)))
    assert "EHXPLLL" in built
    assert "EHXPLLL" not in plain

    def inner(text: str) -> dict[str, list[str]]:
        """What each module below the top is made of, whatever the numbers in its names."""
        text = re.sub(r"\$\d+", "$", text)
        found = re.findall(r"^module (\S+) ?(\(.*?^endmodule)", text, re.MULTILINE | re.DOTALL)
        return {name: sorted(re.findall(r"[^\s,();]+", body)) for name, body in found
                if name != NAME and not name.endswith(".pll")}

    assert inner(plain) == inner(built)
    assert len(inner(plain)) > 20


def test_a_floorplan_reaches_the_array():
    config = ArrayConfig(rows=2, cols=3, max_k=16, act_words=32, bus_bits=32, target="ecp5")
    text = board_verilog(Board(config, divisor=8, floorplan="85k"))
    assert len(set(re.findall(r'BEL = "(X\d+/Y\d+/MULT18_\d)"', text))) == 6


def test_reset_and_lights():
    dut = make()
    assert len(LIGHTS) == len(dut.lights)

    async def bench(ctx):
        ask = link.Frame(sequence=1, kind=link.HELLO, data=b"abcd").encode()
        session, asked = 1 << LIGHTS.index("session"), 1 << LIGHTS.index("asked")
        # Held in reset the design does not hear; the button is looked at without the clock.
        for held in (1, 0):
            ctx.set(dut.button, held)
            await ctx.delay(10e-6)
            for byte in ask:
                for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                    ctx.set(dut.rx, bit)
                    for _ in range(8):
                        await ctx.delay(1e-6)
            for _ in range(200):
                await ctx.delay(1e-6)
            lights = ctx.get(dut.lights)
            assert bool(lights & session) == bool(lights & asked) == (not held)

    sim = Simulator(dut)

    async def clock(ctx):
        level = 0
        while True:
            level ^= 1
            ctx.set(dut.clk, level)
            await ctx.delay(5e-7)

    sim.add_testbench(clock, background=True)
    sim.add_testbench(bench)
    sim.run()
