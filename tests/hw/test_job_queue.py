# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.job_queue import CAUSES, FIELDS, STAGES, JobQueue
from tests.hw.bench import pause, run

ROWS, MAX_K, ACT_WORDS = 3, 40, 120
GOOD = {"inputs": 1, "outputs": 1, "tokens": 1, "tag": 0, "zero_point": 0, "raw": 0, "lut": 0}


def make(depth=4, rows=ROWS):
    return JobQueue(rows=rows, max_k=MAX_K, act_words=ACT_WORDS, depth=depth)


def possible(job, rows=ROWS):
    groups = -(-job["tokens"] // rows)
    return (job["inputs"] and job["outputs"] and job["tokens"] and job["inputs"] <= MAX_K
            and job["inputs"] * groups <= ACT_WORDS and not (job["raw"] and job["lut"]))


def shown(job, index, rows=ROWS):
    """What the stages see of the ``index``-th accepted job."""
    groups = -(-job["tokens"] // rows)
    same = ("inputs", "outputs", "tag", "zero_point", "raw", "lut")
    return {**{name: job[name] for name in same}, "groups": groups,
            "last_tokens": job["tokens"] - (groups - 1) * rows, "lut_bank": index % 2}


def fields(job):
    return {name: getattr(job, name) for name in shown(GOOD, 0)}


def random_job(rng, rows=ROWS):
    while True:
        job = {"inputs": rng.randint(1, MAX_K), "outputs": rng.choice([1, 65535, 77]),
               "tokens": rng.randint(1, 6 * rows), "tag": rng.randrange(256),
               "zero_point": rng.randint(-128, 127), "raw": rng.randrange(2),
               "lut": rng.randrange(2)}
        if possible(job, rows):
            return job


class Bench:
    """Pushes jobs, lets each stage finish them at its own pace, and counts along.

    ``paces`` are the stages' probabilities of waiting a further cycle; a number is all stages'.
    """

    def __init__(self, dut, jobs, *, paces=0.0, push_pace=0.0, seed=1):
        self.dut, self.jobs, self.push_pace = dut, jobs, push_pace
        self.paces = paces if isinstance(paces, dict) else dict.fromkeys(STAGES, paces)
        self.rng = random.Random(seed)
        self.good = [job for job in jobs if possible(job, dut.rows)]
        self.seen = {stage: [] for stage in STAGES}
        self.done = dict.fromkeys(STAGES, 0)
        self.refused = []
        self.full = self.lut_held = 0

    async def push(self, ctx):
        dut = self.dut
        for job in self.jobs:
            await pause(ctx, self.rng, self.push_pace)
            ctx.set(dut.descriptor, job)
            ctx.set(dut.push, 1)
            await ctx.tick().until(dut.space != 0)
            ctx.set(dut.push, self.rng.random() < 0.5)
            await ctx.tick()                # the descriptor stays for so long
            # A push without space is ignored, whatever it says.
            ctx.set(dut.descriptor, {**GOOD, "tag": 0xEE})
            ctx.set(dut.push, 1)
            while self.rng.random() < 0.5 and not ctx.get(dut.space):
                await ctx.tick()
            ctx.set(dut.push, 0)

    def stage(self, name):
        async def process(ctx):
            port = getattr(self.dut, name)
            for _ in self.good:
                while name == "retire" and self.done["retire"] == min(
                        self.done[other] for other in STAGES[:-1]):
                    await ctx.tick()        # a job is retired after all others met it
                await pause(ctx, self.rng, self.paces[name])
                while name == "retire" and not ctx.get(port.valid):
                    await ctx.tick()
                ctx.set(port.next, 1)       # without a job it does nothing
                job, = await ctx.tick().sample(port.job).until(port.valid)
                self.seen[name].append(fields(job))
                self.done[name] += 1
                ctx.set(port.next, 0)
        return process

    async def check(self, ctx):
        """Counts and flags of every cycle follow from the pushes and the stages' steps."""
        dut, depth = self.dut, self.dut.depth
        pushed = accepted = left = 0
        done = dict.fromkeys(STAGES, 0)
        due = dict.fromkeys(STAGES, False)      # whether the stage is shown a job in this cycle
        left_before = dict.fromkeys(STAGES, False)
        checking, table_free, behind, retired = None, True, 0, 0
        opens = True
        async for (_, _, push, space, outstanding, free_places, cause, lut_free,
                   *ports) in ctx.tick().sample(
                dut.push, dut.space, dut.outstanding, dut.free_places,
                dut.impossible_cause, dut.lut_free,
                *(getattr(getattr(dut, stage), signal) for stage in STAGES
                  for signal in ("valid", "next"))):
            alive = accepted - done["retire"]
            taken = accepted - retired          # a place that came free counts a cycle later
            assert free_places == depth - taken
            assert outstanding == alive + (checking is not None)
            assert space == (depth - taken if opens else 0)
            opens = checking is None and taken < depth and not (push and space)
            assert lut_free == table_free, "a cycle behind the counts"
            table_free = behind - retired <= 1
            behind, retired = done["weights"], done["retire"]
            self.full += taken == depth
            self.lut_held += not lut_free
            for at, stage in enumerate(STAGES):
                valid, next_ = ports[2 * at:2 * at + 2]
                assert valid == due[stage], stage
                leaves = valid and next_
                due[stage] = done[stage] < accepted and not leaves and not left_before[stage]
                left_before[stage] = leaves and stage != "retire"
                done[stage] += leaves
            if checking is not None:
                left -= 1
                if cause:
                    assert cause == CAUSES["job"]
                    assert not possible(checking, dut.rows)
                    self.refused.append(pushed - 1)
                    checking = None
                elif left == 0:
                    assert possible(checking, dut.rows), "accepted, or checked for too long"
                    accepted += 1
                    checking = None
            else:
                assert not cause
                if push and space:
                    checking = self.jobs[pushed]
                    left = max(1, -(-checking["tokens"] // dut.rows)) + dut.JUDGE_CYCLES
                    pushed += 1

    def run(self, max_cycles=20000):
        async def end(ctx):
            while self.done["retire"] + len(self.refused) < len(self.jobs):
                await ctx.tick()
            await ctx.tick().repeat(10)

        run(self.dut, self.push, *(self.stage(name) for name in STAGES), end,
            max_cycles=max_cycles, background=[self.check])
        expected = [shown(job, index, self.dut.rows) for index, job in enumerate(self.good)]
        for stage in STAGES:
            assert self.seen[stage] == [
                {name: value if name in FIELDS[stage] else 0 for name, value in job.items()}
                for job in expected], stage
        assert self.refused == [index for index, job in enumerate(self.jobs)
                                if not possible(job, self.dut.rows)]


SLOW = [dict.fromkeys(STAGES, 0.0), dict.fromkeys(STAGES, 0.9),
        *({**dict.fromkeys(STAGES, 0.2), stage: 0.95} for stage in STAGES)]


@pytest.mark.parametrize("paces", SLOW, ids=["free", "all", *STAGES])
@pytest.mark.parametrize("depth", [1, 3, 4])
def test_every_stage_meets_every_job_in_order(depth, paces):
    rng = random.Random(depth)
    bench = Bench(make(depth), [random_job(rng) for _ in range(20)], paces=paces)
    bench.run()
    if paces["retire"]:
        assert bench.full
        if paces["weights"] < 0.95:
            assert bool(bench.lut_held) == (depth > 1)


@pytest.mark.parametrize("depth", [1, 3, 4])
def test_pushes_fewer_than_places(depth):
    rng = random.Random(depth)
    Bench(make(depth), [random_job(rng) for _ in range(12)], paces=0.2, push_pace=0.97).run()


@pytest.mark.parametrize("rows", [1, 3, 8, 32])
def test_groups_and_last_tokens(rows):
    tokens = [*range(1, 3 * rows + 2), 5 * rows - 1, ACT_WORDS * rows - 1, ACT_WORDS * rows]
    jobs = [{**GOOD, "tokens": count, "tag": count & 255} for count in tokens]
    Bench(make(rows=rows), jobs).run()


IMPOSSIBLE = {
    "no input": {"inputs": 0}, "no output": {"outputs": 0}, "no token": {"tokens": 0},
    "nothing": {"inputs": 0, "outputs": 0, "tokens": 0},
    "K above max_k": {"inputs": MAX_K + 1}, "K of one bit more": {"inputs": 64},
    "K that wraps": {"inputs": 0x8001}, "largest K": {"inputs": 65535},
    "words": {"inputs": MAX_K, "tokens": 3 * ROWS + 1},
    "words, K of 1": {"tokens": ACT_WORDS * ROWS + 1},
    "largest M": {"tokens": 65535}, "largest of all": {"inputs": MAX_K, "tokens": 65535},
    "raw and lut": {"raw": 1, "lut": 1},
}


@pytest.mark.parametrize("change", IMPOSSIBLE.values(), ids=IMPOSSIBLE.keys())
def test_an_impossible_job_is_told_once_and_not_shown(change):
    """Behind and before good ones, which keep their order and alternate the tables' banks."""
    rng = random.Random(3)
    jobs = [random_job(rng), {**GOOD, **change}, random_job(rng), {**GOOD, **change},
            {**GOOD, **change}, random_job(rng)]
    bench = Bench(make(), jobs)
    bench.run()
    assert bench.refused == [1, 3, 4]


def test_the_largest_possible_jobs():
    jobs = [{**GOOD, "inputs": MAX_K, "tokens": 3 * ROWS}, {**GOOD, "tokens": ACT_WORDS * ROWS},
            {**GOOD, "inputs": MAX_K, "outputs": 65535, "tokens": 3 * ROWS - 2},
            {**GOOD, "raw": 1}, {**GOOD, "lut": 1}, {**GOOD, "inputs": 7, "tokens": 17 * ROWS}]
    assert all(possible(job) for job in jobs)
    Bench(make(), jobs).run()


@pytest.mark.parametrize("rows", [1, 3])
def test_random_descriptors(rows):
    rng = random.Random(rows)
    jobs = []
    for _ in range(120):
        job = {"inputs": rng.choice([rng.randrange(0, 50), rng.randrange(65536), 1]),
               "outputs": rng.choice([0, 1, 65535, 7, 8]),
               "tokens": rng.choice([rng.randrange(1, 40), rng.randrange(1, 400), 0]),
               "tag": rng.randrange(256), "zero_point": rng.randint(-128, 127),
               "raw": rng.randrange(2), "lut": int(rng.random() < 0.3)}
        jobs.append(job)
    good = sum(bool(possible(job, rows)) for job in jobs)
    assert 10 < good < 100
    Bench(make(depth=3, rows=rows), jobs, paces=0.3).run()


def test_refuses():
    with pytest.raises(ValueError, match="depth must be at least 1, not 0"):
        make(depth=0)
