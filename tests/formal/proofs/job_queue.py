"""The queue of jobs: what is wrong is refused, what is right reaches each stage, once, in order."""
from functools import reduce
from operator import or_

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data

from sparseloom.hw.job_queue import CAUSES, FIELDS, STAGES, JobQueue
from tests.formal.memory import RegisterMemory
from tests.formal.parts import (
    Assert,
    Assume,
    Cover,
    Opened,
    Reference,
    free,
    implies,
    past,
)
from tests.formal.proof import Bug, Proof

ROWS, MAX_K, ACT_WORDS, DEPTH = 2, 3, 4, 3


def place(value):
    """A number of up to twice the places, as a place."""
    return Mux(value >= DEPTH, value - DEPTH, value)[:2]


def design():
    m = Module()
    dut = JobQueue(rows=ROWS, max_k=MAX_K, act_words=ACT_WORDS, depth=DEPTH)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    aged = Signal()                         # a cycle passed since the reset
    m.d.sync += aged.eq(1)

    # The host: a descriptor stays for a cycle after it was taken.
    offered = dut.descriptor
    bits = Value.cast(offered)
    taken = Signal()
    m.d.comb += [dut.push.eq(free(m, name="push")),
                 bits.eq(free(m, len(bits), name="descriptor")),
                 taken.eq(dut.push & (dut.space != 0))]
    was_taken, kept = past(m, taken, name="was_taken"), Signal(len(bits))
    m.d.comb += Assume(implies(was_taken, bits == kept))
    with m.If(taken):
        m.d.sync += kept.eq(bits)
    job = data.View(offered.shape(), kept)

    # What the descriptor asks for.
    groups, last_tokens, words, bad = Signal(16), Signal(2), Signal(18), Signal()
    m.d.comb += [
        groups.eq((job.tokens + 1) >> 1), last_tokens.eq(Mux(job.tokens[0], 1, 2)),
        words.eq(Mux(job.inputs[0], groups, 0) + Mux(job.inputs[1], groups << 1, 0)),
        bad.eq((job.inputs == 0) | (job.outputs == 0) | (job.tokens == 0)
               | (job.inputs > MAX_K) | (words > ACT_WORDS) | (job.raw & job.lut)),
    ]
    checking, age = Signal(), Signal(17)    # cycles since it was taken
    verdict = Signal()
    m.d.comb += verdict.eq(inside.judged[-1])
    with m.If(taken):
        m.d.sync += [checking.eq(1), age.eq(1)]
    with m.Elif(verdict):
        m.d.sync += checking.eq(0)
    with m.Elif(checking):
        m.d.sync += age.eq(age + 1)
    accept, least = Signal(), Signal(16)
    m.d.comb += [accept.eq(verdict & ~bad), least.eq(Mux(job.tokens == 0, 1, groups))]

    # Jobs accepted and not retired; of these each stage has some to come.
    layout = dut.job_layout
    record = Signal(layout)
    parity = Signal()
    m.d.sync += parity.eq(parity ^ accept)
    m.d.comb += [
        *(record[name].eq(job[name]) for name in ("outputs", "tag", "zero_point", "raw", "lut")),
        record.inputs.eq(job.inputs), record.groups.eq(groups), record.lut_bank.eq(parity),
        record.last_tokens.eq(last_tokens),
    ]
    retires = dut.retire.next & dut.retire.valid
    held = Reference(m, layout, DEPTH, push=accept, value=record.as_value(), pop=retires)
    due: dict[str, Value] = {"retire": held.count}
    leave: dict[str, Value] = {"retire": retires}
    left: dict[str, Value] = {"retire": Const(0, 1)}
    for name in STAGES[:-1]:
        stage, still = getattr(dut, name), Signal(range(DEPTH + 1), name=f"due_{name}")
        due[name] = still
        leave[name] = stage.next & stage.valid
        left[name] = past(m, leave[name], name=f"left_{name}")
        m.d.sync += still.eq(still + accept - leave[name])
        m.d.comb += Assume(implies(dut.retire.next, due[name] < held.count))
    for name in STAGES:
        m.d.comb += getattr(dut, name).next.eq(free(m, name=f"{name}_next"))
    m.d.comb += Assume(implies(dut.retire.next, dut.retire.valid))

    # The claim.
    refused = verdict & bad
    m.d.comb += [
        Assert(inside.taken == taken), Assert(dut.space <= DEPTH - held.count),
        Assert(implies(checking, dut.space == 0)), Assert(implies(taken, ~checking)),
        Assert(implies(verdict, checking), "a verdict for a descriptor"),
        Assert(implies(checking, age <= least + JobQueue.JUDGE_CYCLES), "in time"),
        Assert(implies(accept, age == groups + JobQueue.JUDGE_CYCLES)),
        Assert(dut.impossible_cause == Mux(refused, CAUSES["job"], 0), "what is wrong is refused"),
        Assert(dut.outstanding == held.count + checking),
        Assert(dut.free_places + held.count + inside.retired == DEPTH),
        Assert(implies(dut.weights.valid & dut.lut_free, held.count - due["weights"] <= 1),
               "a table of a job that uses it is not loaded anew"),
    ]
    for name in STAGES:
        stage = getattr(dut, name)
        front = Signal(layout, name=f"front_{name}")
        m.d.comb += front.as_value().eq(held[(held.count - due[name])[:2]])
        came = past(m, (due[name] != 0) & ~leave[name], name=f"came_{name}")
        m.d.comb += Assert(stage.valid == (came & ~past(m, left[name], name=f"left_2_{name}")
                                           if name != "retire" else came),
                           "shown as soon as stated, once")
        for field in layout.members:
            value = Value.cast(front[field]) if field in FIELDS[name] else 0
            m.d.comb += Assert(implies(stage.valid, Value.cast(stage.job[field]) == value),
                               f"{name}: {field}")

    # What holds between the cycles: the check.
    counting, steps = inside.counting, Signal(17)       # groups counted
    with m.If(inside.first):
        m.d.sync += steps.eq(0)
    with m.Elif(counting):
        m.d.sync += steps.eq(steps + 1)
    counted = Signal(20)
    m.d.comb += counted.eq(Mux(job.inputs[0], steps, 0) + Mux(job.inputs[1], steps << 1, 0))
    done = Cat(inside.judged).any()
    judged = inside.judged
    phases = inside.first + counting + judged[0] + judged[1] + judged[2]
    k = inside.inputs
    m.d.comb += [
        Assert(inside.checking == checking), Assert(phases == checking),
        Assert(inside.first == was_taken), Assert(implies(inside.first, age == 1)),
        Assert(implies(counting, age == steps + 2)), Assert(implies(done, age >= 4 - judged[0])),
        Assert(implies(judged[0], age == steps + 2)), Assert(implies(judged[1], age == steps + 3)),
        Assert(implies(judged[2], age == steps + 4)),
        Assert(implies(counting & (steps != 0), steps < least)),
        Assert(implies(done, (steps >= 1) & (steps <= least))),
        Assert(implies(done & (steps < least), counted > ACT_WORDS)),
        Assert(implies(checking, k == job.inputs[:2])),
        Assert(implies(checking, inside.large == job.inputs[2:].any())),
        Assert(implies(checking, inside.asked_twice == (job.raw & job.lut))),
        *(Assert(implies(checking, some == Cat(field.word_select(at, 4).any() for at in range(4))))
          for some, field in ((inside.some_outputs, job.outputs),
                              (inside.some_tokens, job.tokens))),
        Assert(implies(checking & ~inside.first, inside.unfit == Cat(
            (job.inputs == 0) | (job.inputs > MAX_K), job.outputs == 0, job.tokens == 0,
            job.raw & job.lut))),
        Assert(implies(checking & (age >= 3), inside.unusable == inside.unfit.any())),
        Assert(implies(inside.first, inside.beyond == job.tokens)),
        Assert(implies(counting, inside.beyond == job.tokens - 3 - 2 * steps)),
        Assert(implies(inside.first, (inside.words == 0) & (inside.groups == 0))),
        Assert(implies(counting | done, inside.groups == steps[:len(inside.groups)])),
        Assert(implies(counting | done, inside.words == counted)),
        Assert(implies(counting | done, (k == 0) | (counted <= ACT_WORDS + 3 * MAX_K))),
        Assert(implies(counting & inside.too_many, counted > ACT_WORDS)),
        Assert(implies(counting & ~inside.too_many, counted <= ACT_WORDS + MAX_K)),
        Assert(implies(judged[1] | judged[2], inside.too_many == (counted > ACT_WORDS))),
        Assert(implies(done & (steps == groups), inside.last_tokens == last_tokens)),
        Assert(inside.accept == accept), Assert(inside.refused == refused),
        Assert(implies(inside.opens, ~checking & (held.count + inside.retired < DEPTH))),
        Assert(held.count + inside.retired + checking <= DEPTH),
        Assert(implies(~aged, inside.opens & ~checking & (held.count == 0) & ~inside.retired)),
        Assert(inside.parity == parity),
    ]

    # Where the jobs lie.
    head = inside.head
    index = {name: opened.signal(f"{name}_index") for name in STAGES}
    memories, registers = iter(opened.all_of(RegisterMemory)), inside.m._named_submodules
    behind = held.count - due["weights"]
    m.d.comb += [
        Assert(head < DEPTH),
        Assert(inside.behind + left["weights"] == behind + inside.retired),
        Assert(implies(inside.table_free & ~(left["weights"] | past(
            m, left["weights"], name="left_long_ago")), behind <= 1)),
    ]
    for name in STAGES:
        count, stage = inside.waiting[name], getattr(dut, name)
        m.d.comb += [
            Assert(index[name] < DEPTH), Assert(place(index[name] + count) == head),
            Assert(count == due[name] + left[name]), Assert(count <= DEPTH),
            Assert(due[name] <= held.count),
            Assert(implies(stage.valid, count != 0)), Assert(implies(stage.valid, ~left[name])),
        ]
        for part, fields in JobQueue._parts(name):
            memory = next(memories)
            allowed = registers[f"{name}_{part}_{'accept' if part == 'checked' else 'opens'}"][0]
            at = registers[f"{name}_{part}_head"][0]
            allowed_before = (accept if part == "checked" else
                              past(m, inside.opens, name=f"{name}_{part}_opened"))
            m.d.comb += [
                Assert(implies(aged, (allowed.o == allowed_before) & (at.o == head))),
                Assert(implies(aged, registers[f"{name}_{part}_index"][0].o == index[name])),
            ]
            for number in range(DEPTH):
                there = Signal(layout, name=f"{name}_{part}_{number}_there")
                m.d.comb += there.as_value().eq(held.words[number])
                stored = Array(memory.words)[place(index["retire"] + number)]
                wanted = Cat(Value.cast(there[field]) for field in fields)
                # A stage's jobs are the last ones of all.
                m.d.comb += Assert(implies(
                    (number < held.count) & (number + due[name] >= held.count),
                    stored == wanted))
            if part != "checked":
                at_head = Array(memory.words)[head]
                m.d.comb += Assert(implies(checking & ~inside.first, at_head == Cat(
                    Value.cast(record[field]) for field in fields)))
    full, wrong, second = Signal(), Signal(), Signal()
    with m.If(held.count == DEPTH):
        m.d.sync += full.eq(1)
    with m.If(refused):
        m.d.sync += wrong.eq(1)
    m.d.comb += [second.eq(reduce(or_, (leave[name] for name in STAGES)))]
    m.d.comb += [Cover(wrong & dut.retire.valid & (dut.retire.job.tag == 3)),
                 Cover(full & dut.weights.valid & dut.lut_free & dut.weights.job.lut_bank)]
    return m


PROOFS = [Proof(
    name="job_queue",
    claim="A descriptor is refused if and only if K, N or M is zero, K or K * G is too large, or a "
          "table is asked for on raw sums; the check takes the stated time; a job that passed is "
          "shown to each stage once, in order, when stated, with its own fields, groups and last "
          "tokens; none is overwritten before it was retired; free places and outstanding jobs are "
          "counted right; a table's bank is not loaded while a job uses it.",
    at=f"{ROWS} rows, max_k {MAX_K}, {ACT_WORDS} words, {DEPTH} places",
    given="A descriptor stays for a cycle after it was taken; a job is retired when it is shown "
          "and all other stages are done with it.",
    design=design, depth=3, cover_depth=44,
    bugs=(
        Bug(what="the sum of the words is compared a cycle early", file="job_queue.py",
            old="accept_next.eq(judged[-2] & ~unusable & ~too_many)",
            new="accept_next.eq(judged[-3] & ~unusable & ~too_many)"),
        Bug(what="a descriptor is taken in the cycle behind the last place's", file="job_queue.py",
            old="opens_next.eq(free.any() & ~checking & ~taken)",
            new="opens_next.eq(free.any() & ~taken)"),
        Bug(what="a stage ends a job that it was not shown", file="job_queue.py",
            old="leaves.eq(stage.next & (stage.valid if name != \"retire\" else 1))",
            new="leaves.eq(stage.next)"),
    ))]
