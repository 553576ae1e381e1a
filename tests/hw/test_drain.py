# amaranth: UnusedElaboratable=no
"""The drain is tested behind a real array: their timing is one promise."""
import random

import numpy as np
import pytest
from amaranth.hdl import Module
from amaranth.lib import wiring

from sparseloom.hw.array import Array, skew, tile_spacing
from sparseloom.hw.drain import PARAM_BANKS, Drain, param_stride
from sparseloom.hw.layouts import ScaleParams
from sparseloom.hw.memory import SimpleDualPort
from tests.hw.bench import run


class Bench(wiring.Component):
    """Array, drain, and the memory with the outputs' parameters."""

    def __init__(self, rows, cols, lanes):
        self.array = Array(rows=rows, cols=cols, sum_bits=22)
        self.drain = Drain(rows=rows, cols=cols, sum_bits=22, lanes=lanes,
                           latency=self.array.capture_latency)
        self.params = SimpleDualPort(shape=ScaleParams, depth=PARAM_BANKS * param_stride(cols))
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = self.array
        m.submodules.drain = self.drain
        m.submodules.params = self.params
        wiring.connect(m, self.drain.params, self.params.read)
        m.d.comb += [
            self.drain.edge.eq(self.array.edge), self.array.shift.eq(self.drain.shift),
        ]
        return m


@pytest.mark.parametrize("gap", [0, 7])
@pytest.mark.parametrize(("rows", "cols", "lanes"), [
    (1, 1, 1), (3, 5, 3), (3, 5, 1), (8, 4, 4), (8, 4, 8), (2, 1, 1), (1, 6, 1), (4, 4, 2)])
def test_every_sum_comes_out_once_in_order(rows, cols, lanes, gap):
    rng = random.Random(rows * 100 + cols)
    numbers = np.random.default_rng(5)
    dut = Bench(rows, cols, lanes)
    spacing = tile_spacing(rows=rows, cols=cols, lanes=lanes)
    shortest = 1 if gap else spacing
    tiles = []
    for index in range(12):
        columns = shortest + (rng.randrange(12) if index % 2 else 0)
        tiles.append({
            "x": numbers.integers(-128, 128, (columns, rows)),
            "w": numbers.integers(-127, 128, (columns, cols)),
            "channels": rng.choice([cols, rng.randint(1, cols)]),
            "tokens": rng.choice([rows, rng.randint(1, rows)]),
            "bank": index % PARAM_BANKS, "last": index % 3 == 2,
        })
    bias = {(bank, c): rng.randrange(-2**31, 2**31) for bank in range(PARAM_BANKS)
            for c in range(cols)}
    expected = []
    for index, tile in enumerate(tiles):
        sums = tile["x"].T @ tile["w"]
        for c in range(tile["channels"]):
            for r in range(0, rows, lanes):
                keep = [int(r + lane < tile["tokens"]) for lane in range(lanes)]
                kept = [int(s) for s, k in zip(sums[r:r + lanes, c], keep, strict=True) if k]
                last = tile["last"] and c + 1 == tile["channels"] and r + lanes == rows
                expected.append((index % 100 - 50, bias[tile["bank"], c], keep, kept, int(last)))

    async def drive(ctx):
        for (bank, c), value in bias.items():
            ctx.set(dut.params.write.en, 1)
            ctx.set(dut.params.write.addr, bank * param_stride(cols) + c)
            ctx.set(dut.params.write.data, {"bias": value, "mult": 0, "shift": 0})
            await ctx.tick()
        ctx.set(dut.params.write.en, 0)
        xs, ws = [[99] * rows] * skew(rows), [[98] * cols] * skew(cols)

        async def column(x, w):
            """The operands of one k; the last ones of it come ``skew`` later."""
            xs.append([int(v) for v in x])
            ws.append([int(v) for v in w])
            ctx.set(dut.array.x, [xs[-1 - skew(r)][r] for r in range(rows)])
            ctx.set(dut.array.w, [ws[-1 - skew(c)][c] for c in range(cols)])
            await ctx.tick()

        for index, tile in enumerate(tiles):
            columns = len(tile["x"])
            for _ in range(max(0, gap and spacing + gap - columns)):
                await column([99] * rows, [98] * cols)
            for i in range(columns):
                ctx.set(dut.array.first, i == 0)
                ctx.set(dut.array.last, i == columns - 1)
                ctx.set(dut.drain.tile_end, i == columns - 1)
                ctx.set(dut.drain.tile, {
                    "channels": tile["channels"], "tokens": tile["tokens"], "bank": tile["bank"],
                    "zero_point": index % 100 - 50, "last": tile["last"]})
                await column(tile["x"][i], tile["w"][i])
            ctx.set(dut.array.first, 0)
            ctx.set(dut.array.last, 0)
            ctx.set(dut.drain.tile_end, 0)
        for _ in range(4 * spacing + 50):
            await column([97] * rows, [96] * cols)

    seen = []

    async def watch(ctx):
        drain = dut.drain
        async for _, _, valid, tile, sums, scale, keep, last in ctx.tick().sample(
                drain.valid, drain.o_tile, drain.sums, drain.scale, drain.keep, drain.last):
            if valid:
                kept_bits = [keep >> lane & 1 for lane in range(lanes)]
                kept = [sums[lane] for lane in range(lanes) if kept_bits[lane]]
                seen.append((tile.zero_point, scale.bias, kept_bits, kept, last))

    run(dut, drive, max_cycles=5000, background=[watch])
    assert len(seen) == len(expected)
    assert seen == expected


def test_refuses():
    with pytest.raises(ValueError, match="lanes"):
        Drain(rows=4, cols=4, sum_bits=20, lanes=3, latency=6)
    with pytest.raises(ValueError, match="latency"):
        Drain(rows=4, cols=4, sum_bits=20, lanes=2, latency=2)
