# amaranth: UnusedElaboratable=no
import itertools
import random

import pytest

from sparseloom.hw.array import tile_spacing
from sparseloom.hw.drain import PARAM_BANKS
from sparseloom.hw.tile_walk import Cause, TileWalk
from tests.hw.bench import get, pause, run, watch

MAX_K, ACT_WORDS = 40, 120
HALF_WORDS = 128
GEOMETRIES = [(3, 5, 1), (1, 1, 1), (8, 4, 4), (12, 12, 4)]


def walk(rows, cols, lanes):
    return TileWalk(rows=rows, cols=cols, lanes=lanes, max_k=MAX_K, act_words=ACT_WORDS,
                    half_words=HALF_WORDS)


def jobs_of(rng, rows, cols, count=7):
    """Jobs as the queue shows them, and the columns of each of their strips."""
    shapes = [(1, 1, 1), (MAX_K, 3, cols), (7, ACT_WORDS // 7, cols + 1), (MAX_K, 1, 3 * cols)]
    while len(shapes) < count:
        inputs = rng.randint(1, MAX_K)
        shapes.append((inputs, rng.randint(1, min(6, ACT_WORDS // inputs)),
                       rng.randint(1, 4 * cols)))
    jobs = []
    for index, (inputs, groups, outputs) in enumerate(shapes):
        job = {"inputs": inputs, "outputs": outputs, "groups": groups,
               "last_tokens": rng.randint(1, rows), "tag": rng.randrange(256),
               "zero_point": rng.randint(-128, 127), "raw": rng.randrange(2),
               "lut": rng.randrange(2), "lut_bank": index % 2}
        jobs.append((job, [rng.randint(1, inputs) for _ in range(0, outputs, cols)]))
    return jobs


def tiles_of(jobs, rows, cols, lanes):
    """Every tile in order: strips outside, token groups inside."""
    tiles, strip_index = [], 0
    for job_index, (job, lengths) in enumerate(jobs):
        for strip, length in enumerate(lengths):
            channels = min(cols, job["outputs"] - strip * cols)
            for group in range(job["groups"]):
                last_group = group == job["groups"] - 1
                last = last_group and strip == len(lengths) - 1
                tiles.append({
                    "columns": length, "strip_base": strip_index % 2,
                    "act_base": job_index % 2 * HALF_WORDS + group * job["inputs"],
                    "words": channels * (rows // lanes), "strip_end": int(last_group),
                    "single": int(length == 1),
                    "near": int(length + 1 >= tile_spacing(rows=rows, cols=cols, lanes=lanes)),
                    "long": int(length >= tile_spacing(rows=rows, cols=cols, lanes=lanes)),
                    "channels": channels,
                    "tokens": job["last_tokens"] if last_group else rows,
                    "bank": strip_index % PARAM_BANKS, "last": int(last),
                    **{name: job[name] for name in ("zero_point", "raw", "lut", "lut_bank")}})
            strip_index += 1
    return tiles


def fields(payload):
    outer = ("columns", "strip_base", "act_base", "words", "strip_end", "single", "near",
             "long")
    inner = ("channels", "tokens", "bank", "last", "zero_point", "raw", "lut", "lut_bank")
    return {**{name: getattr(payload, name) for name in outer},
            **{name: getattr(payload.tile, name) for name in inner}}


class Supply:
    """Queue and loaders: jobs, strips and halves, each there after its own pause."""

    def __init__(self, dut, jobs, rng, stall):
        self.dut, self.jobs, self.rng, self.stall = dut, jobs, rng, stall
        self.lengths = [length for _, lengths in jobs for length in lengths]
        self.strips_taken = self.halves_taken = 0
        self.causes = dict.fromkeys(Cause, 0)

    async def queue(self, ctx):
        for job, _ in self.jobs:
            await pause(ctx, self.rng, self.stall)
            ctx.set(self.dut.stage.job, job)
            ctx.set(self.dut.stage.valid, 1)
            await ctx.tick().until(self.dut.stage.next)
            ctx.set(self.dut.stage.valid, 0)

    async def strips(self, ctx):
        for length in self.lengths:
            if self.rng.random() < self.stall:
                ctx.set(self.dut.strip_ready, 0)
                await pause(ctx, self.rng, self.stall)
            ctx.set(self.dut.strip_length, length)
            if not ctx.get(self.dut.strip_ready):   # one behind another is there at once
                await ctx.tick()
            ctx.set(self.dut.strip_ready, 1)
            await ctx.tick().until(self.dut.strip_take)
            self.strips_taken += 1
        ctx.set(self.dut.strip_ready, 0)

    async def acts(self, ctx):
        for _ in self.jobs:
            await pause(ctx, self.rng, self.stall)
            ctx.set(self.dut.acts_ready, 1)
            await ctx.tick().until(self.dut.acts_take)
            self.halves_taken += 1
            ctx.set(self.dut.acts_ready, 0)

    async def check(self, ctx):
        """The reason is told; nothing is taken that is not there."""
        dut = self.dut
        async for _, _, job, strip, acts, take, acts_take, offered, why in ctx.tick().sample(
                dut.stage.valid, dut.strip_ready, dut.acts_ready, dut.strip_take,
                dut.acts_take, dut.o.valid, dut.waits_for):
            assert strip or not take
            assert acts or not acts_take
            assert take or not acts_take
            if not job or offered:
                assert why == Cause.OTHER
            elif not strip:
                assert why == Cause.STALL_WEIGHTS
            elif not acts:
                assert why == Cause.STALL_ACTS
            else:
                assert why == Cause.OTHER
            self.causes[Cause(why)] += 1


@pytest.mark.parametrize("stall", [0.0, 0.6])
@pytest.mark.parametrize(("rows", "cols", "lanes"), GEOMETRIES)
def test_every_tile_once_in_order(rows, cols, lanes, stall):
    rng = random.Random(rows)
    dut, jobs = walk(rows, cols, lanes), jobs_of(rng, rows, cols)
    expected, seen = tiles_of(jobs, rows, cols, lanes), []
    supply = Supply(dut, jobs, rng, stall)

    async def sink(ctx):
        for _ in expected:
            await pause(ctx, rng, stall)
            seen.append(fields(await get(ctx, dut.o)))
        ctx.set(dut.o.ready, 1)
        for _ in range(5):
            *_, valid = await ctx.tick().sample(dut.o.valid)
            assert not valid

    run(dut, supply.queue, supply.strips, supply.acts, sink, max_cycles=30 * len(expected) + 200,
        background=[supply.check, watch(dut.o)])
    assert seen == expected
    assert supply.strips_taken == len(supply.lengths)
    assert supply.halves_taken == len(jobs)
    if stall:
        assert supply.causes[Cause.STALL_WEIGHTS] and supply.causes[Cause.STALL_ACTS]


def test_a_tile_every_third_cycle():
    rng = random.Random(2)
    dut = walk(3, 5, 3)
    job = {"inputs": 4, "outputs": 12, "groups": 3, "last_tokens": 2, "tag": 0,
           "zero_point": 0, "raw": 0, "lut": 0, "lut_bank": 0}
    jobs = [(job, [4, 3, 2])] * 3
    supply, cycles = Supply(dut, jobs, rng, 0.0), []

    async def sink(ctx):
        ctx.set(dut.o.ready, 1)
        for cycle in range(100):
            *_, valid = await ctx.tick().sample(dut.o.valid)
            if valid:
                cycles.append(cycle)

    run(dut, supply.queue, supply.strips, supply.acts, sink, max_cycles=130)
    assert len(cycles) == 27
    steps = [after - before for before, after in itertools.pairwise(cycles)]
    assert steps == ([3] * 8 + [4]) * 2 + [3] * 8
