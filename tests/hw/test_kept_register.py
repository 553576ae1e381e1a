# amaranth: UnusedElaboratable=no
import pytest
from amaranth.back import verilog

from sparseloom.hw.kept_register import KeptRegister
from tests.hw.bench import run


def test_one_cycle_late():
    dut, seen = KeptRegister(3), []

    async def drive(ctx):
        for value in (5, 2, 7, 0, 1):
            ctx.set(dut.i, value)
            await ctx.tick().repeat(dut.LATENCY)
            seen.append(ctx.get(dut.o))

    run(dut, drive, max_cycles=20)
    assert seen == [5, 2, 7, 0, 1]


def test_a_cell_a_bit_on_ecp5():
    text = verilog.convert(KeptRegister(3, target="ecp5"), emit_src=False)
    assert text.count("TRELLIS_FF") == 3


def test_refuses():
    with pytest.raises(ValueError, match="width must be at least 1, not 0"):
        KeptRegister(0)
    with pytest.raises(ValueError, match="target must be one of generic, ecp5, not 'abacus'"):
        KeptRegister(1, target="abacus")
