# amaranth: UnusedElaboratable=no
import random

import pytest
from amaranth.back import verilog
from amaranth.hdl import signed
from amaranth.lib import data

from sparseloom.hw.memory import SimpleDualPort, block_banks, block_count
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


def test_registers_that_do_not_advance_keep_their_words():
    rng = random.Random(7)
    dut = SimpleDualPort(shape=8, depth=16)
    stages: list[int | None] = [None, None]
    seen, expected = [], []

    async def bench(ctx):
        for address in range(16):
            ctx.set(dut.write.en, 1)
            ctx.set(dut.write.addr, address)
            ctx.set(dut.write.data, 100 + address)
            await ctx.tick()
        ctx.set(dut.write.en, 0)
        for _ in range(200):
            address, advance = rng.randrange(16), rng.randrange(4)
            ctx.set(dut.read.addr, address)
            ctx.set(dut.advance, advance)
            await ctx.tick()
            if advance & 2:
                stages[1] = stages[0]
            if advance & 1:
                stages[0] = 100 + address
            seen.append(ctx.get(dut.read.data))
            expected.append(stages[1])

    run(dut, bench, max_cycles=1000)
    compared = [(want, got) for want, got in zip(expected, seen, strict=True) if want is not None]
    assert len(compared) > 150 and all(want == got for want, got in compared)


@pytest.mark.parametrize(("depth", "width", "banks", "count"), [
    (32, 54, None, 0), (48, 54, [512], 2), (512, 37, [512], 2), (513, 8, [1024], 1),
    (3072, 96, [2048, 1024], 17), (3072, 11, [4096], 3), (4096, 4, [4096], 1),
    (16384, 96, [16384], 96), (20000, 1, [16384, 4096], 2), (100, 0, None, 0)])
def test_blocks_of_ecp5(depth, width, banks, count):
    assert block_count(depth, width) == count
    if banks is not None:
        assert block_banks(depth, width) == banks
        text = verilog.convert(SimpleDualPort(shape=width, depth=depth, target="ecp5"),
                               emit_src=False)
        assert text.count("DP16KD #(") == count


def test_words_without_bits():
    dut = SimpleDualPort(shape=range(1), depth=4)
    text = verilog.convert(dut, emit_src=False)
    assert "mem" not in text


def test_refuses_bad_parameters():
    with pytest.raises(ValueError, match="depth must be at most 32768, not 40000"):
        block_banks(40000, 1)
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        SimpleDualPort(shape=8, depth=0)
    with pytest.raises(ValueError, match="target must be one of generic"):
        SimpleDualPort(shape=8, depth=4, target="abacus")
