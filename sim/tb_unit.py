"""Bench for the unit's whole contract, on drivers that we did not write.

Runs in a folder written by :func:`sparseloom.sim.cases.write_cases`. Cases named ``ragged``,
``lut`` and ``second`` must be among them; every one of them runs.
"""
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cocotb
import numpy as np
from cocotb.triggers import RisingEdge, SimTimeoutError, with_timeout
from cocotb.utils import get_sim_time
from cocotbext.axi import AxiResp

from sparseloom.hw.registers import REGISTERS, TABLE, Access, build_values
from sparseloom.model.packed import spec
from sparseloom.model.packed.cycles import ideal_cycles
from sparseloom.model.packed.stream import decode_results, strip_columns
from sparseloom.sim.cases import Case, read_cases
from sparseloom.sim.driver import CLOCK_NS, Job, Packet, Unit, gaps, pack_fields, unpack_fields
from sparseloom.sim.faults import Fault, act_faults, weight_faults

CAUSES = {code: name for code, (name, _) in spec.ERROR_CAUSES.items()}
QUIET = 40
"""Cycles in which nothing more may come."""
STREAMS = ("weights", "acts", "results")
NAMES = {register.offset: register.name for register in REGISTERS}
FOREVER = 1 << 62
"""A time in ns that does not come."""


def limit(case: Case) -> int:
    """Cycles that are too many for a job, however it is stalled."""
    size = len(case.weights(0)) + len(case.acts()) + len(case.results())
    work = case.groups * sum(len(columns) + 8 * case.config.rows * case.config.cols
                             for columns in strip_columns(case.layer, case.config.cols))
    return 4000 + 20 * (size + work)


async def start(dut) -> tuple[Unit, dict[str, Case]]:
    """A unit out of reset, and the cases."""
    unit = Unit(dut)
    await unit.reset()
    return unit, read_cases(Path.cwd())


async def offer(unit: Unit, case: Case, tag: int) -> None:
    """Push a job and queue both of its streams, except what still waits from before."""
    await unit.push_when_free(Job.of(case.layer, case.tokens, tag))
    if not unit.waiting("acts"):
        await unit.send("acts", case.acts())
    if not unit.waiting("weights"):
        await unit.send("weights", case.weights(tag))


def check(case: Case, packet: Packet) -> None:
    """Every output is there and right."""
    assert not packet.user, f"{case.name}: results end with TUSER, cause {packet.cause}"
    config, expected = case.config, case.expected()
    found = decode_results(packet.data, tokens=case.tokens, outputs=case.layer.out_features,
                           rows=config.rows, cols=config.cols, raw=case.layer.raw)
    wrong = np.argwhere(found != expected)
    assert found.size == case.tokens * case.layer.out_features
    assert not len(wrong), (f"{case.name}: {len(wrong)} of {found.size} outputs differ, first "
                            f"{wrong[0]}: {found[tuple(wrong[0])]} is not "
                            f"{expected[tuple(wrong[0])]}")


async def run_good(unit: Unit, case: Case, tag: int) -> None:
    """A job from push to result."""
    await offer(unit, case, tag)
    check(case, await unit.receive(limit=limit(case)))


async def settle(unit: Unit) -> None:
    """Nothing more comes, nothing is left."""
    await unit.cycles(QUIET)
    assert unit.results.empty() and not unit.results.active, "results that no job asked for"
    assert unit.waiting("weights") == unit.waiting("acts") == 0
    status = await unit.read("STATUS")
    assert (status["busy"], status["error"], status["outstanding"]) == (0, 0, 0), status
    counters = await unit.counters()
    assert counters["busy"] == sum(counters.values()) - counters["busy"], counters


@cocotb.test()
async def every_case(dut):
    """Each case alone; tag, count and counters are right."""
    unit, cases = await start(dut)
    for tag, case in enumerate(cases.values(), start=200):
        assert await unit.write("CONTROL", counters_clear=1)
        await run_good(unit, case, tag % 256)
        await settle(unit)
        assert await unit.read("DONE") == {"tag": tag % 256, "count": tag - 199}
        counters = await unit.counters()
        config = case.config
        ideal = ideal_cycles(case.layer, rows=config.rows, cols=config.cols, tokens=case.tokens)
        strips = len(strip_columns(case.layer, config.cols))
        assert ideal <= counters["active"] <= ideal + strips * case.groups, case.name


@cocotb.test()
@cocotb.parametrize(("stalled", [("weights",), ("acts",), ("results",), STREAMS]))
async def stalled(dut, stalled):
    """Each case with pauses on a port, or on all."""
    unit, cases = await start(dut)
    for index, stream in enumerate(stalled):
        getattr(unit, stream).set_pause_generator(gaps(random.Random(index), 0.5))
    for tag, case in enumerate(cases.values()):
        await run_good(unit, case, tag)
    await settle(unit)


@cocotb.test()
@cocotb.parametrize(("share", [0.0, 0.3]))
async def back_to_back(dut, share):
    """All cases in the queue as soon as there is space, both streams as early as possible."""
    unit, cases = await start(dut)
    if share:
        for index, stream in enumerate(STREAMS):
            getattr(unit, stream).set_pause_generator(gaps(random.Random(index), share))
    order = list(cases.values())
    random.Random(4).shuffle(order)
    for tag, case in enumerate(order):
        await unit.send("weights", case.weights(tag))
        await unit.send("acts", case.acts())

    async def push_all():
        for tag, case in enumerate(order):
            await unit.push_when_free(Job.of(case.layer, case.tokens, tag), poll=5)

    pushing = cocotb.start_soon(push_all())
    for case in order:
        check(case, await unit.receive(limit=2 * limit(case) + 20_000))
    await pushing
    await settle(unit)
    assert (await unit.read("DONE"))["count"] == len(order)


@cocotb.test()
@cocotb.parametrize(("first", ["weights", "acts"]))
async def one_stream_early(dut, first):
    """One stream of two jobs is there long before the other."""
    unit, cases = await start(dut)
    pair = [cases["ragged"], cases["lut"]]
    depth = (await unit.read("BUILD"))["queue_depth"]
    early = {"weights": lambda tag, case: unit.send("weights", case.weights(tag)),
             "acts": lambda tag, case: unit.send("acts", case.acts())}
    late = early.pop("acts" if first == "weights" else "weights")
    for tag, case in enumerate(pair):
        if tag < depth:
            assert await unit.push(Job.of(case.layer, case.tokens, tag))
            await unit.cycles(case.groups + 4)
        await early[first](tag, case)
    await unit.cycles(1500)
    assert unit.results.empty()
    for tag, case in enumerate(pair):
        await late(tag, case)
        if tag >= depth:
            await unit.push_when_free(Job.of(case.layer, case.tokens, tag))
        check(case, await unit.receive(limit=limit(case)))
    await settle(unit)


@cocotb.test()
async def long_stalls(dut):
    """A port that stops for thousands of cycles in mid-job."""
    unit, cases = await start(dut)
    for case in (cases["ragged"], cases["second"]):
        for stream in STREAMS:
            for delay in (5, 30, 90):
                await offer(unit, case, 7)
                await unit.cycles(delay)
                getattr(unit, stream).pause = True
                await unit.cycles(2500)
                getattr(unit, stream).pause = False
                check(case, await unit.receive(limit=limit(case)))
    await settle(unit)


@cocotb.test()
async def nothing_before_a_job(dut):
    """Inputs wait until a job is queued, whatever is offered."""
    unit, cases = await start(dut)
    case = cases["ragged"]
    await unit.send("weights", case.weights(9))
    await unit.send("acts", case.acts())
    for _ in range(50):
        await unit.cycles(1)
        assert not int(dut.s_axis_weights_tready.value) and not int(dut.s_axis_acts_tready.value)
    assert unit.waiting("weights") == unit.waiting("acts") == 1
    await run_good(unit, case, 9)
    await settle(unit)


@cocotb.test()
async def reset_in_mid_job(dut):
    """Reset at any time; the next job is right, and registers are as new."""
    unit, cases = await start(dut)
    case = cases["ragged"]
    for delay in (*range(0, 40, 3), 60, 90, 120, 180, 250, 400):
        await offer(unit, case, 3)
        await unit.cycles(delay)
        await unit.reset(1 + delay % 3)
        assert await unit.read("DONE") == {"tag": 0, "count": 0}
        assert not any((await unit.counters()).values())
        await run_good(unit, case, 4)
        await settle(unit)


@cocotb.test()
async def identity(dut):
    """Constant registers say what was built; the bus answers as the table promises."""
    unit, cases = await start(dut)
    config = next(iter(cases.values())).config
    for name, fields in build_values(config).items():
        assert await unit.read(name) == fields, name
    for register in REGISTERS:
        word, okay = await unit.read_word(register.offset)
        assert okay == (register.access is not Access.W), register.name
        if register.access is Access.R:
            assert not await unit.write_word(register.offset, 0xFFFFFFFF), register.name
            assert (await unit.read_word(register.offset))[0] == word, register.name
    mapped = {register.offset for register in REGISTERS}
    for offset in range(0, 256, 4):
        if offset not in mapped:
            assert await unit.read_word(offset) == (0, False), hex(offset)
            assert not await unit.write_word(offset, 1), hex(offset)
    assert await unit.write("JOB_SHAPE", inputs=0x1234, outputs=0x5678)
    await unit.registers.write(TABLE["JOB_SHAPE"].offset + 1, b"\xab")     # one byte strobe
    assert await unit.read("JOB_SHAPE") == {"inputs": 0xAB34, "outputs": 0x5678}
    assert await unit.write("JOB_CONFIG", zero_point=-5, raw=1)
    assert unpack_fields(TABLE["JOB_CONFIG"], (await unit.read_word(
        TABLE["JOB_CONFIG"].offset))[0]) == {"zero_point": -5, "raw": 1, "lut": 0}


@dataclass
class Written:
    """A value of a register: the word behind a write, and when that was begun and answered."""

    word: int
    begun: int
    answered: int = FOREVER


async def read_at_random(unit: Unit, rng: random.Random, kept: dict[str, list[Written]],
                         constant: dict[int, int], count: int) -> None:
    """Reads, several under way: of what is written meanwhile, constants, what is not there."""
    async def one(offset: int) -> None:
        begun = get_sim_time("ns")
        answer = await unit.read_word(offset)
        await check_read(offset, answer, int(begun), int(get_sim_time("ns")))

    async def check_read(offset: int, answer: tuple[int, bool], begun: int, ended: int) -> None:
        name = NAMES.get(offset)
        if name in kept:
            history = kept[name]
            behind = [write.answered for write in history[1:]] + [FOREVER]
            words = {write.word for write, next_answered in zip(history, behind, strict=True)
                     if write.begun <= ended and next_answered >= begun}
            assert answer[1] and answer[0] in words, f"{name}: {answer} is none of {words}"
        elif offset in constant:
            assert answer == (constant[offset], True), hex(offset)
        else:
            assert answer[1] == (name is not None and TABLE[name].access is not Access.W), (
                f"{offset:#x}: {answer}")

    under_way = []
    for _ in range(count):
        under_way.append(cocotb.start_soon(one(4 * rng.randrange(64))))
        if rng.random() < 0.4:
            under_way.append(cocotb.start_soon(one(TABLE[rng.choice(list(kept))].offset)))
        if len(under_way) > rng.randrange(8):
            await under_way.pop(0)
    for reading in under_way:
        await reading


async def write_at_random(unit: Unit, rng: random.Random, kept: dict[str, list[Written]],
                          count: int) -> None:
    """Writes of one to four bytes, several under way, to registers that keep and to all others."""
    async def one(offset: int, first: int, data: bytes, written: Written | None) -> None:
        answer: Any = await unit.registers.write(offset + first, data)
        if written is not None:
            written.answered = int(get_sim_time("ns"))
        name = NAMES.get(offset)
        okay = name is not None and TABLE[name].access is not Access.R
        assert (answer.resp == AxiResp.OKAY) == okay, f"write to {offset:#x}: {answer.resp}"

    under_way = []
    for _ in range(count):
        name = rng.choice(list(kept))
        offset, written = TABLE[name].offset, None
        first = rng.randrange(4)
        data = rng.randbytes(rng.randint(1, 4 - first))
        if rng.random() < 0.3:              # what has no effect: no register, R, a command of zeros
            offset = 4 * rng.randrange(64)
            name = NAMES.get(offset, "")
            if name in kept or name == "JOB_PUSH":
                continue
            if name in ("CONTROL", "IRQ_STATUS"):
                data = bytes(len(data))
        else:
            mask = sum(field.mask for field in TABLE[name].fields)
            bits = ((1 << 8 * len(data)) - 1) << 8 * first
            word = kept[name][-1].word & ~bits | int.from_bytes(data, "little") << 8 * first
            written = Written(word & mask, int(get_sim_time("ns")))
            kept[name].append(written)
        under_way.append(cocotb.start_soon(one(offset, first, data, written)))
        if len(under_way) > rng.randrange(8):
            await under_way.pop(0)
    for writing in under_way:
        await writing


@cocotb.test()
@cocotb.parametrize(("share", [0.0, 0.5]))
async def registers_at_random(dut, share):
    """Reads and writes at the same time, each channel paused at random, while a job runs."""
    unit, cases = await start(dut)
    case, rng = cases["ragged"], random.Random(int(share * 10))
    constant = {TABLE[name].offset: pack_fields(TABLE[name], **fields)
                for name, fields in build_values(case.config).items()}
    await offer(unit, case, 1)
    kept = {register.name: [Written(
        (await unit.read_word(register.offset))[0], 0, 0)] for register in REGISTERS
        if register.access is Access.RW}
    master: Any = unit.registers
    if share:
        for index, channel in enumerate((
                master.write_if.aw_channel, master.write_if.w_channel, master.write_if.b_channel,
                master.read_if.ar_channel, master.read_if.r_channel)):
            channel.set_pause_generator(gaps(random.Random(index), share))
    working = [cocotb.start_soon(write_at_random(unit, rng, kept, 250)),
               cocotb.start_soon(read_at_random(unit, rng, kept, constant, 250))]
    check(case, await unit.receive(limit=limit(case)))
    for task in working:
        await task
    for name, history in kept.items():
        assert (await unit.read_word(TABLE[name].offset))[0] == history[-1].word, name
        assert len(history) > 20, "few writes"
    assert await unit.write("IRQ_MASK")
    await settle(unit)


@cocotb.test()
async def full_queue(dut):
    """A push beyond the queue is refused and changes nothing; clear empties it."""
    unit, cases = await start(dut)
    case = cases["ragged"]
    depth = (await unit.read("BUILD"))["queue_depth"]
    for count in range(depth):
        await unit.push_when_free(Job.of(case.layer, case.tokens, count))
    await unit.cycles(case.groups + 4)
    status = await unit.read("STATUS")
    assert (status["queue_space"], status["outstanding"], status["busy"]) == (0, depth, 1)
    assert not await unit.push(Job.of(case.layer, case.tokens, 99))
    assert (await unit.read("STATUS"))["outstanding"] == depth
    for tag in range(depth):
        await unit.send("weights", case.weights(tag))
        await unit.send("acts", case.acts())
        check(case, await unit.receive(limit=limit(case)))
    await settle(unit)
    for count in range(depth):
        await unit.push_when_free(Job.of(case.layer, case.tokens, count))
    await unit.clear()
    assert (await unit.read("STATUS"))["queue_space"] == depth
    await run_good(unit, case, 100)
    await settle(unit)


@cocotb.test()
async def interrupts(dut):
    """The line follows sticky bits and masks."""
    unit, cases = await start(dut)
    case = cases["ragged"]
    assert await unit.write("IRQ_STATUS", done=1, error=1, space=1)
    assert not int(dut.irq.value)
    assert await unit.write("IRQ_MASK", done=1)
    await offer(unit, case, 1)
    await with_timeout(RisingEdge(dut.irq), limit(case) * CLOCK_NS, "ns")
    check(case, await unit.receive(limit=limit(case)))
    assert (await unit.read("IRQ_STATUS"))["done"] == 1
    assert (await unit.read("DONE"))["tag"] == 1
    assert await unit.write("IRQ_STATUS", space=1)
    assert int(dut.irq.value), "only a written 1 clears its bit"
    assert await unit.write("IRQ_STATUS", done=1)
    await unit.cycles(2)
    assert not int(dut.irq.value)
    assert await unit.write("IRQ_MASK", error=1)
    assert await unit.push(Job(inputs=0, outputs=1, tokens=1))
    await with_timeout(RisingEdge(dut.irq), 200 * CLOCK_NS, "ns")
    assert (await unit.receive(limit=200)).user
    await unit.clear()
    assert await unit.write("IRQ_STATUS", error=1)
    assert not int(dut.irq.value)
    assert (await unit.read("IRQ_STATUS"))["error"] == 0


# Errors


async def expect_error(unit: Unit, case: Case, causes: tuple[str, ...], tag: int, *,
                       strip: int | None = None, hold: bool = False) -> None:
    """The unit stops with one of the causes, says so everywhere, and works after a clear."""
    done = await unit.read("DONE")
    if hold:                                     # results cannot leave before the error is there
        for _ in range(60):
            if (await unit.read("STATUS"))["error"]:
                break
            await unit.cycles(20)
        unit.results.pause = False
    packet = await unit.receive(limit=limit(case))
    assert packet.user, "the results were given out as good"
    assert case.results().startswith(packet.data), "wrong results before the closing beat"
    name = CAUSES.get(packet.cause, str(packet.cause))
    assert name in causes, f"cause {name}, not {' or '.join(causes)}"
    error = await unit.read("ERROR")
    assert error["cause"] == packet.cause, f"register says {error}, the closing beat {packet.cause}"
    if strip is not None:
        assert error["strip"] == strip, f"strip {error['strip']}, not {strip}"
    status = await unit.read("STATUS")
    assert status["error"] and not status["busy"] and not status["queue_space"], status
    assert (await unit.read("IRQ_STATUS"))["error"]
    assert not await unit.push(Job.of(case.layer, case.tokens, tag)), "push taken in error"
    for _ in range(10):
        await unit.cycles(1)
        assert not int(unit.dut.s_axis_weights_tready.value), "weights taken in error"
        assert not int(unit.dut.s_axis_acts_tready.value), "activations taken in error"
    assert await unit.read("ERROR") == error, "the first error stays"
    await unit.clear()
    assert (await unit.read("ERROR"))["cause"] == 0
    assert unit.results.empty(), "more than one closing beat"
    assert await unit.read("DONE") == done, "a failed job counts as done"
    assert await unit.write("IRQ_STATUS", error=1)
    await run_good(unit, case, tag)
    await settle(unit)


async def provoke(unit: Unit, case: Case, fault: Fault, stream: str, tag: int, *, hold: bool,
                  queued: bool) -> None:
    """Send a spoilt packet in place of a good one."""
    unit.results.pause = hold
    await unit.push_when_free(Job.of(case.layer, case.tokens, tag))
    if queued and (await unit.read("BUILD"))["queue_depth"] > 1:
        await unit.push_when_free(Job.of(case.layer, case.tokens, tag ^ 1))
    if stream == "weights":
        await unit.send("acts", case.acts())
        await unit.send("weights", fault.data, fault.keep_list())
    else:
        await unit.send("weights", case.weights(tag))
        await unit.send("acts", fault.data, fault.keep_list())
    await expect_error(unit, case, fault.causes, tag, strip=fault.strip, hold=hold)


async def each_fault(dut, stream: str, name: str) -> None:
    """Every fault in turn; all that fail are told."""
    unit, cases = await start(dut)
    case, tag, failures = cases[name], 0x35, []
    config = case.config
    faults = (weight_faults(case.weights(tag), config.bus_bytes) if stream == "weights"
              else act_faults(case.acts(), config.bus_bytes, config.rows))
    for index, fault in enumerate(faults):
        try:
            await provoke(unit, case, fault, stream, tag, hold=index % 3 == 1,
                          queued=index % 4 == 2)
        except (AssertionError, SimTimeoutError) as error:
            reason = str(error) or type(error).__name__
            failures.append(f"{fault.name}: {reason.splitlines()[0]}")
            unit.results.pause = False
            await unit.reset()
    assert not failures, f"{len(failures)} of {len(faults)} faults:\n" + "\n".join(failures)
    assert len(faults) > 5


@cocotb.test()
@cocotb.parametrize(("case", ["ragged", "lut"]))
async def malformed_weights(dut, case):
    """Each field of the weight stream in turn."""
    await each_fault(dut, "weights", case)


@cocotb.test()
@cocotb.parametrize(("case", ["ragged", "second"]))
async def malformed_acts(dut, case):
    """Each way to spoil the activation stream in turn."""
    await each_fault(dut, "acts", case)


@cocotb.test()
async def impossible_jobs(dut):
    """A descriptor that cannot run needs no beat to be refused."""
    unit, cases = await start(dut)
    case = cases["ragged"]
    config = case.config
    words = config.act_words // config.max_k * config.rows + 1      # tokens at max_k
    bad = {
        "K zero": Job(inputs=0, outputs=2, tokens=2),
        "N zero": Job(inputs=2, outputs=0, tokens=2),
        "M zero": Job(inputs=2, outputs=2, tokens=0),
        "K above max_k": Job(inputs=config.max_k + 1, outputs=2, tokens=1),
        "K huge": Job(inputs=0xFFFF, outputs=2, tokens=1),
        "K * G above act_words": Job(inputs=config.max_k, outputs=2, tokens=words),
        "M huge": Job(inputs=config.max_k, outputs=2, tokens=0xFFFF),
        "raw with a table": Job(inputs=2, outputs=2, tokens=2, raw=True, lut=True),
    }
    failures = []
    for name, job in bad.items():
        try:
            assert await unit.push(job)
            await expect_error(unit, case, ("job",), 5)
            # and behind a good job that is under way
            await unit.push_when_free(Job.of(case.layer, case.tokens, 6))
            if (await unit.read("BUILD"))["queue_depth"] > 1:
                await unit.cycles(case.groups + 4)
                assert await unit.push(job)
                await expect_error(unit, case, ("job",), 6)
            else:
                await run_streams(unit, case, 6)
        except (AssertionError, SimTimeoutError) as error:
            failures.append(f"{name}: {str(error) or type(error).__name__}")
            await unit.reset()
    assert not failures, "\n".join(failures)


async def run_streams(unit: Unit, case: Case, tag: int) -> None:
    """Both streams of a job that was pushed before."""
    await unit.send("weights", case.weights(tag))
    await unit.send("acts", case.acts())
    check(case, await unit.receive(limit=limit(case)))


@cocotb.test()
async def clear_when_idle(dut):
    """Clear needs no beat and sends none."""
    unit, cases = await start(dut)
    for _ in range(3):
        await unit.clear()
        await unit.cycles(QUIET)
        assert unit.results.empty()
    await run_good(unit, cases["ragged"], 1)
    await settle(unit)


@cocotb.test()
@cocotb.parametrize(("held", [False, True]))
async def clear_in_mid_job(dut, held):
    """Clear in any cycle around the first result, and at many other times."""
    unit, cases = await start(dut)
    case, failures = cases["ragged"], []
    await offer(unit, case, 1)
    before = int(dut.result_beats.value)
    first = await cycles_until(unit, dut.m_axis_results_tvalid, limit(case))
    check(case, await unit.receive(limit=limit(case)))
    assert before == int(dut.result_beats.value) == 0, "that counter is the player's"
    for delay in sorted({*range(0, first, 7), *range(max(0, first - 14), first + 12),
                         *range(first + 12, first + 120, 11)}):
        try:
            unit.results.pause = held
            await offer(unit, case, 1)
            await unit.cycles(delay)
            assert await unit.write("CONTROL", clear=1)
            if held:
                await unit.cycles(30)
                unit.results.pause = False
            for _ in range(2000):
                if not (await unit.read("STATUS"))["clearing"]:
                    break
            else:
                raise AssertionError("the clear does not end")
            await unit.cycles(QUIET)
            assert not unit.results.active, "an open packet stays open"
            packets = []
            while not unit.results.empty():
                packets.append(await unit.receive(limit=1))
            assert len(packets) <= 1, f"{len(packets)} packets"
            for packet in packets:
                if packet.user:
                    assert packet.cause == 0, f"cause {packet.cause}"
                    assert case.results().startswith(packet.data)
                else:
                    check(case, packet)
            await run_good(unit, case, 1)
            await settle(unit)
        except (AssertionError, SimTimeoutError) as error:
            failures.append(f"after {delay} cycles: {str(error) or type(error).__name__}")
            unit.results.pause = False
            await unit.reset()
    assert not failures, "\n".join(failures)


async def cycles_until(unit: Unit, signal, most: int) -> int:
    """Cycles until a signal of one bit is up."""
    for count in range(most):
        if int(signal.value):
            return count
        await unit.cycles(1)
    raise AssertionError(f"nothing in {most} cycles")
