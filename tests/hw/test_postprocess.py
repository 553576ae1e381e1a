# amaranth: UnusedElaboratable=no
import random

import numpy as np
import pytest

from sparseloom.hw.postprocess import PostProcess
from sparseloom.model.reference import apply_lut, requantise
from tests.hw.bench import pause, run

INT32 = (-(1 << 31), (1 << 31) - 1)


def expected_lane(step, lane, tables):
    acc = step["sums"][lane] + step["params"]["bias"]
    if not step["keep"] >> lane & 1:
        return 0
    if step["raw"]:
        return acc
    params = step["params"]
    y = requantise(np.array([acc], np.int32), np.array([params["mult"]], np.uint16),
                   np.array([params["shift"]], np.uint8), step["zero_point"])
    if step["use_lut"]:
        y = apply_lut(y, tables[step["lut_bank"]])
    return int(y[0])


def make_step(rng, sums, *, bias=0, mult=32768, shift=1, zero_point=0, raw=0, use_lut=0):
    return {"sums": sums, "params": {"bias": bias, "mult": mult, "shift": shift},
            "zero_point": zero_point, "raw": raw, "use_lut": use_lut,
            "lut_bank": rng.randrange(2), "last": rng.randrange(2),
            "keep": (1 << len(sums)) - 1}


def corner_steps(rng, lanes, sum_bits):
    """Extremes of every operand, ties and both clamps; the sum carries what the bias does not."""
    low, high = -1 << (sum_bits - 1), (1 << (sum_bits - 1)) - 1
    accs = [INT32[0], INT32[1], -1, 0, 1, 127, 128, -128, -129, 255, 256, -256, -257]
    for shift in (1, 2, 8, 15, 16, 17, 31, 32, 33, 46, 47):
        for mult in (32768, 32769, 65535):
            for zero_point in (-128, 0, 127):
                # A tie is an odd multiple of 2**(shift - 1); mult = 2**15 times acc hits it.
                tie = 1 << max(0, shift - 16)
                for acc in (*accs, tie, -tie, 3 * tie, -3 * tie):
                    if INT32[0] <= acc <= INT32[1]:
                        total = max(low, min(high, acc))
                        yield make_step(rng, [total] * lanes, bias=acc - total, mult=mult,
                                        shift=shift, zero_point=zero_point,
                                        use_lut=rng.random() < 0.2)


def random_steps(rng, lanes, sum_bits, count):
    """At least half of the results land inside the clamps, without being zero."""
    for _ in range(count):
        magnitude = rng.randrange(4, sum_bits)
        sums = [rng.randrange(-1 << magnitude - 1, 1 << magnitude - 1) for _ in range(lanes)]
        mult = rng.randrange(1 << 15, 1 << 16)
        shift = min(47, max(1, magnitude + 16 - 8 + rng.randrange(-1, 3)))
        bias = rng.randrange(-1 << magnitude - 2, 1 << magnitude - 2)
        step = make_step(rng, sums, bias=bias, mult=mult, shift=shift,
                         zero_point=rng.randrange(-128, 128) // rng.choice([1, 8, 64]),
                         raw=rng.random() < 0.15, use_lut=rng.random() < 0.3)
        if rng.random() < 0.2:
            step["keep"] = rng.randrange(1 << lanes)
        yield step


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("lanes", "sum_bits"), [(1, 32), (3, 26)])
def test_matches_reference(lanes, sum_bits, stall):
    rng = random.Random(7 * lanes)
    np_rng = np.random.default_rng(lanes)
    tables = [np_rng.integers(-128, 128, 256).astype(np.int8) for _ in range(2)]
    steps = list(random_steps(rng, lanes, sum_bits, 2000))
    if not stall:
        steps += corner_steps(rng, lanes, sum_bits)
    dut, seen = PostProcess(lanes=lanes, sum_bits=sum_bits), []
    sent_at, came_at, now = [], [], [0]

    async def source(ctx):
        for bank, table in enumerate(tables):
            for address, entry in enumerate(table):
                ctx.set(dut.lut_write.en, 1)
                ctx.set(dut.lut_write.bank, bank)
                ctx.set(dut.lut_write.addr, address)
                ctx.set(dut.lut_write.data, int(entry))
                await ctx.tick()
        ctx.set(dut.lut_write.en, 0)
        for step in steps:
            ctx.set(dut.i.valid, 0)
            await pause(ctx, rng, stall)
            ctx.set(dut.i.valid, 1)
            ctx.set(dut.i.payload, step)
            await ctx.tick()
        ctx.set(dut.i.valid, 0)
        for _ in range(2 * dut.LATENCY):
            await ctx.tick()

    async def sink(ctx):
        async for _, _, sent, valid, word in ctx.tick().sample(
                dut.i.valid, dut.o.valid, dut.o.payload):
            if sent:
                sent_at.append(now[0])
            if valid:
                values = [word.values[lane] for lane in range(lanes)]
                if not word.raw:            # what stands above the byte is nobody's
                    values = [(value + 128) % 256 - 128 for value in values]
                seen.append((values, word.raw, word.last))
                came_at.append(now[0])
            now[0] += 1

    run(dut, source, max_cycles=20000, background=[sink])
    expected = [([expected_lane(step, lane, tables) for lane in range(lanes)],
                 step["raw"], step["last"]) for step in steps]
    assert len(seen) == len(expected)
    for step, got, want in zip(steps, seen, expected, strict=True):
        assert got == want, step
    assert {came - sent for came, sent in zip(came_at, sent_at, strict=True)} == {dut.LATENCY}

    scaled = [value for step, (values, _, _) in zip(steps[:2000], seen, strict=False)
              for value in values if not step["raw"] and not step["use_lut"]]
    telling = sum(value not in (-128, 0, 127) for value in scaled)
    assert 2 * telling > len(scaled), "the data is too easy"


def test_refuses_bad_parameters():
    with pytest.raises(ValueError, match="lanes must be at least 1, not 0"):
        PostProcess(lanes=0, sum_bits=24)
    with pytest.raises(ValueError, match=r"sum_bits must be in 2\.\.32, not 33"):
        PostProcess(lanes=1, sum_bits=33)
