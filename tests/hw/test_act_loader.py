# amaranth: UnusedElaboratable=no
import random

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal

from sparseloom.hw.act_loader import ActLoader
from sparseloom.hw.job_queue import CAUSES
from sparseloom.model.packed.stream import encode_acts, to_beats
from tests.hw.bench import pause, put, run

MAX_K, ACT_WORDS = 40, 120
GEOMETRIES = [(3, 5, 32), (1, 1, 32), (8, 4, 64), (12, 12, 64), (8, 4, 128), (5, 3, 128)]


def make(rows, cols, bus_bits):
    return ActLoader(rows=rows, cols=cols, max_k=MAX_K, act_words=ACT_WORDS, bus_bits=bus_bits)


def job_of(inputs, groups, rows):
    return {"inputs": inputs, "outputs": 1, "groups": groups, "last_tokens": rows, "tag": 0,
            "zero_point": 0, "raw": 0, "lut": 0, "lut_bank": 0}


def beats_of(data, bus_bytes):
    beats = to_beats(data, bus_bytes)
    return [{"data": int.from_bytes(word, "little"), "keep": keep,
             "last": int(at == len(beats) - 1)} for at, (word, keep) in enumerate(beats)]


def shapes_of(rng, cols):
    """(K, G): one channel, K below, at and beside multiples of C, both limits, and random."""
    shapes = [(1, 1), (cols, 2), (cols + 1, 3), (max(1, cols - 1), 2), (2 * cols, 1),
              (MAX_K, ACT_WORDS // MAX_K), (1, ACT_WORDS)]
    for _ in range(4):
        inputs = rng.randint(1, MAX_K)
        shapes.append((inputs, rng.randint(1, min(5, ACT_WORDS // inputs))))
    return shapes


class Bench:
    """Jobs and their streams in, memory writes out; a consumer that takes and releases halves."""

    def __init__(self, dut, *, rows, cols, bus_bits, stall, seed=1):
        self.dut, self.rows, self.cols, self.bus_bytes = dut, rows, cols, bus_bits // 8
        self.rng, self.stall = random.Random(seed), stall
        self.half_words = 1 << (ACT_WORDS - 1).bit_length()
        numbers = np.random.default_rng(seed)
        self.jobs = [
            (job_of(inputs, groups, rows),
             numbers.integers(-128, 128, (groups * rows, inputs)).astype(np.int8))
            for inputs, groups in shapes_of(self.rng, cols)]
        self.memory, self.writes = {}, 0
        self.loaded = self.taken = self.released = 0

    async def stage(self, ctx):
        for job, _ in self.jobs:
            await pause(ctx, self.rng, self.stall)
            ctx.set(self.dut.stage.job, job)
            ctx.set(self.dut.stage.valid, 1)
            await ctx.tick().until(self.dut.stage.next)
            ctx.set(self.dut.stage.valid, 0)

    async def source(self, ctx):
        for _, x in self.jobs:
            data = encode_acts(x, rows=self.rows, cols=self.cols)
            for beat in beats_of(data, self.bus_bytes):
                await pause(ctx, self.rng, self.stall)
                await put(ctx, self.dut.i, beat)

    async def pulse(self, ctx, signal):
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)

    def holds(self, index):
        """The half of job ``index`` holds x[k, R tokens] at group * K + k, and only that."""
        _, x = self.jobs[index]
        base, groups = index % 2 * self.half_words, len(x) // self.rows
        inputs = x.shape[1]
        for group in range(groups):
            for k in range(inputs):
                lanes = [int(v) for v in x[group * self.rows:(group + 1) * self.rows, k]]
                assert self.memory[base + group * inputs + k] == lanes, (index, group, k)

    async def taker(self, ctx):
        for index in range(len(self.jobs)):
            await pause(ctx, self.rng, self.stall)
            await ctx.tick().until(self.dut.ready)
            self.holds(index)
            await self.pulse(ctx, self.dut.take)
            self.taken += 1

    async def releaser(self, ctx):
        for index in range(len(self.jobs)):
            while self.taken <= index:
                await ctx.tick()
            await pause(ctx, self.rng, self.stall / 2 + 0.4)
            self.holds(index)               # nobody wrote over it meanwhile
            await self.pulse(ctx, self.dut.release)
            self.released += 1
        await ctx.tick().repeat(10)

    async def check(self, ctx):
        """Writes are kept; nothing is taken without a job and a half, nothing is wrong."""
        dut = self.dut
        waiting = held = 0
        ended = [0] * (dut.JUDGED - 1)
        async for (_, _, en, addr, data, job, next_, i_ready, ready, take, release, error,
                   ) in ctx.tick().sample(
                dut.write.en, dut.write.addr, dut.write.data, dut.stage.valid, dut.stage.next,
                dut.i.ready, dut.ready, dut.take, dut.release, dut.error):
            assert error == 0
            assert ready == (waiting > 0)
            if i_ready:
                assert job and held < ActLoader.HALVES
            if en:
                assert addr // self.half_words == self.loaded % 2
                self.memory[addr] = [data[r] for r in range(self.rows)]
                self.writes += 1
            waiting += ended.pop(0) - take  # announced when it is judged
            ended.append(next_)
            held += next_ - release
            self.loaded += next_

    def run(self):
        words = sum(x.size // self.rows for _, x in self.jobs)
        run(self.dut, self.stage, self.source, self.taker, self.releaser,
            max_cycles=40 * self.rows * words + 2000, background=[self.check])
        assert self.writes == words
        assert self.loaded == self.taken == self.released == len(self.jobs)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(("rows", "cols", "bus_bits"), GEOMETRIES)
def test_every_word_at_its_address(rows, cols, bus_bits, stall):
    Bench(make(rows, cols, bus_bits), rows=rows, cols=cols, bus_bits=bus_bits, stall=stall).run()


def test_never_ready_without_a_job_and_two_halves_at_most():
    rows, cols = 3, 5
    dut = make(rows, cols, 32)
    x = np.arange(36, dtype=np.int8).reshape(6, 6)
    beats = beats_of(encode_acts(x, rows=rows, cols=cols), 4)
    taken = []

    async def source(ctx):
        for beat in beats * 3:
            await put(ctx, dut.i, beat)
            taken.append(beat)

    async def drive(ctx):
        async def count_after(cycles):
            await ctx.tick().repeat(cycles)
            return len(taken), ctx.get(dut.ready)

        assert await count_after(50) == (0, 0)
        ctx.set(dut.stage.job, job_of(6, 2, rows))
        ctx.set(dut.stage.valid, 1)
        assert await count_after(100) == (2 * len(beats), 1)    # both halves full
        for left in (1, 0):
            ctx.set(dut.take, 1)
            await ctx.tick()
            ctx.set(dut.take, 0)
            assert await count_after(50) == (2 * len(beats), left)
        ctx.set(dut.stage.valid, 0)
        ctx.set(dut.release, 1)                                 # a half, but no job
        await ctx.tick()
        ctx.set(dut.release, 0)
        assert await count_after(50) == (2 * len(beats), 0)
        ctx.set(dut.stage.valid, 1)
        assert await count_after(100) == (3 * len(beats), 1)

    run(dut, drive, source, max_cycles=1000)


@pytest.mark.parametrize(("rows", "cols", "bus_bits"), [(8, 4, 64), (8, 4, 32), (3, 5, 128)])
def test_a_beat_or_a_word_a_cycle(rows, cols, bus_bits):
    """Whichever is slower."""
    dut, groups, inputs = make(rows, cols, bus_bits), 3, 40
    x = np.zeros((groups * rows, inputs), np.int8)
    beats = beats_of(encode_acts(x, rows=rows, cols=cols), bus_bits // 8)
    cycles = []

    async def source(ctx):
        for beat in beats:
            await put(ctx, dut.i, beat)

    async def drive(ctx):
        ctx.set(dut.stage.job, job_of(inputs, groups, rows))
        ctx.set(dut.stage.valid, 1)
        while not ctx.get(dut.ready):
            await ctx.tick()
            cycles.append(0)

    run(dut, source, drive, max_cycles=2000)
    assert len(cycles) <= max(len(beats), groups * inputs) + 8


def faulty(dut, job, cases):
    """First cause of each case of beats, 0 if its job was loaded. Reset in between."""
    reset, causes = Signal(), []
    rng = random.Random(2)

    async def drive(ctx):
        for beats, stall in cases:
            ctx.set(reset, 1)
            ctx.set(dut.i.valid, 0)
            await ctx.tick()
            ctx.set(reset, 0)
            ctx.set(dut.stage.job, job)
            ctx.set(dut.stage.valid, 1)
            queue, cause, done, idle = list(beats), 0, False, 0
            announcements = []
            left = dut.JUDGED           # once it is done
            while not cause and left:
                left -= done
                valid = bool(queue) and rng.random() >= stall
                ctx.set(dut.i.valid, valid)
                if valid:
                    ctx.set(dut.i.payload, queue[0])
                *_, ready, cause, ends, announced = await ctx.tick().sample(
                    dut.i.ready, dut.error, dut.stage.next, dut.ready)
                if valid and ready:
                    queue.pop(0)
                announcements.append(announced)
                if ends:
                    done = True
                    ctx.set(dut.stage.valid, 0)
                idle = 0 if queue else idle + 1
                assert idle < 50, f"neither an error nor the end after {beats}"
            causes.append(cause)
            assert not cause or not any(announcements)

    run(ResetInserter(reset)(dut), drive, max_cycles=20000)
    return causes


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize(("rows", "cols", "bus_bits"), [
    (3, 5, 32), (1, 1, 32), (8, 4, 64), (5, 3, 128)])
def test_every_length_but_the_right_one_is_refused(rows, cols, bus_bits, stall):
    inputs, groups, bus_bytes = 7, 2, bus_bits // 8
    right = inputs * groups * rows
    lengths = [*range(1, min(right, 60)), *range(right - 5, right + 2 * bus_bytes + rows + 1)]
    cases = [(beats_of(bytes(range(255))[:length] or b"\0", bus_bytes), stall)
             for length in lengths if length > 0]
    expected = [CAUSES["acts_early_last"] if length < right else
                CAUSES["acts_late_last"] if length > right else 0
                for length in lengths if length > 0]
    assert 0 in expected
    assert faulty(make(rows, cols, bus_bits), job_of(inputs, groups, rows), cases) == expected


@pytest.mark.parametrize("bus_bits", [32, 128])
def test_every_wrong_keep_is_refused(bus_bits):
    rows, cols, inputs, groups, bus_bytes = 3, 5, 11, 2, bus_bits // 8
    good = beats_of(bytes(inputs * groups * rows), bus_bytes)
    full, cases, rng = (1 << bus_bytes) - 1, [], random.Random(4)
    wrong = {0, full - 1, full >> 1, full & ~2, 1 << bus_bytes - 1,
             *(rng.randrange(1, full) for _ in range(4))}
    for at in range(len(good)):
        last = at == len(good) - 1
        for keep in sorted(wrong):
            if last and keep and keep & keep + 1 == 0:
                continue                    # contiguous: a matter of the length
            cases.append(([*good[:at], {**good[at], "keep": keep}, *good[at + 1:]], 0.0))
    assert len(cases) > 30
    causes = faulty(make(rows, cols, bus_bits), job_of(inputs, groups, rows), cases)
    assert set(causes) == {CAUSES["acts_keep"]}


def test_tlast_in_every_wrong_place_is_refused():
    rows, cols, inputs, groups = 3, 5, 10, 2
    good = beats_of(bytes(inputs * groups * rows), 4)
    early = [([*good[:at], {**good[at], "last": 1}, *good[at + 1:]], 0.0)
             for at in range(len(good) - 1)]
    late = [([*good[:-1], {**good[-1], "last": 0}, *[{**good[0], "last": 0}] * more,
              {**good[0], "last": 1}], 0.0) for more in range(20)]
    causes = faulty(make(rows, cols, 32), job_of(inputs, groups, rows), early + late)
    assert causes == ([CAUSES["acts_early_last"]] * len(early)
                      + [CAUSES["acts_late_last"]] * len(late))
