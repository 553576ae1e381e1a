# amaranth: UnusedElaboratable=no
import random

import pytest
from amaranth.back import verilog
from amaranth.hdl import signed
from amaranth.lib import data

from sparseloom.hw.memory import SimpleDualPort
from tests.hw.bench import run

WORD = data.StructLayout({"k": 5, "w": signed(8)})


@pytest.mark.parametrize("depth", [1, 2, 13])
def test_reads_what_was_written(depth):
    rng = random.Random(depth)
    dut = SimpleDualPort(shape=WORD, depth=depth)
    expected, seen, words = [], [], {}

    async def bench(ctx):
        for cycle in range(200 + dut.LATENCY):
            address = rng.randrange(depth)
            write = rng.random() < 0.5
            word = {"k": rng.randrange(32), "w": rng.randrange(-128, 128)}
            read = rng.randrange(depth)
            ctx.set(dut.write.en, write)
            ctx.set(dut.write.addr, address)
            ctx.set(dut.write.data, word)
            ctx.set(dut.read.addr, read)
            if cycle >= dut.LATENCY:
                seen.append((ctx.get(dut.read.data.k), ctx.get(dut.read.data.w)))
            # A read that meets a write is undefined, and so is a word never written.
            known = read in words and not (write and read == address)
            expected.append((words[read]["k"], words[read]["w"]) if known else None)
            if write:
                words[address] = word
            await ctx.tick()

    run(dut, bench, max_cycles=1000)
    compared = [(want, got) for want, got in zip(expected, seen, strict=False) if want is not None]
    assert len(seen) == 200 and len(compared) > 40
    assert all(want == got for want, got in compared)


def test_words_without_bits():
    dut = SimpleDualPort(shape=range(1), depth=4)
    text = verilog.convert(dut, emit_src=False)
    assert "mem" not in text


def test_refuses_bad_parameters():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        SimpleDualPort(shape=8, depth=0)
    with pytest.raises(ValueError, match="target must be one of generic"):
        SimpleDualPort(shape=8, depth=4, target="abacus")
