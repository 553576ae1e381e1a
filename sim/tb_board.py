"""Bench for the board's design: the driver that users have, through the serial pins.

Runs in a folder written by :func:`sparseloom.sim.cases.write_cases`, with ``DIVISOR`` in the
environment.
"""
import os
import random
from pathlib import Path

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.task import bridge
from cocotb.triggers import ClockCycles, with_timeout

from sparseloom.hw.errors import LinkError, UnitError
from sparseloom.hw.host import Host
from sparseloom.hw.job import Job
from sparseloom.hw.link_client import LinkClient
from sparseloom.model.packed import spec
from sparseloom.sim.cases import Case, read_cases
from sparseloom.sim.noise import NoisyLine
from sparseloom.sim.serial_pins import SerialPins

CLOCK_NS = 10
PATIENCE = 60e-6
STALL = 400e-6
LIMIT_MS = 400
"""Simulated time in which any test here must end."""

CAUSES = {name: code for code, (name, _) in spec.ERROR_CAUSES.items()}


async def start(dut) -> tuple[SerialPins, dict[str, Case]]:
    """A board out of reset, and the cases."""
    return await start_pins(dut), read_cases(Path.cwd())


async def start_pins(dut) -> SerialPins:
    """A board out of reset."""
    dut.button.value = 1
    Clock(dut.clk, CLOCK_NS, unit="ns").start()
    pins = SerialPins(dut, bit_ns=CLOCK_NS * int(os.environ["DIVISOR"]))
    await ClockCycles(dut.clk, 8)
    dut.button.value = 0
    await ClockCycles(dut.clk, 8)
    return pins


async def within_limit(function, *arguments):
    """Run blocking code; it must end."""
    return await with_timeout(cocotb.start_soon(bridge(function)(*arguments)), LIMIT_MS, "ms")


def client(line, seed: int) -> LinkClient:
    return LinkClient(line, patience=PATIENCE, draw=random.Random(seed).getrandbits)


def check(case: Case, found: np.ndarray) -> None:
    """Every output is there and right."""
    expected = case.expected()
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    assert (found == expected).all(), f"{case.name}: {(found != expected).sum()} outputs differ"


@cocotb.test()
async def every_case(dut):
    """On a good line nothing is asked twice, and every output is right."""
    pins, cases = await start(dut)

    def use():
        host = Host(pins, stall=STALL, client=client(pins, 1))
        config = next(iter(cases.values())).config
        assert host.config == config, host.config
        assert not host.write("ID", value=1)
        for case in cases.values():
            check(case, host.run_layer(case.layer, case.x))
        done = host.read("DONE")
        assert done["count"] >= len(cases)
        return host.link.seen

    assert not await within_limit(use)
    assert int(dut.lights.value) >> 1 & 1, "the light for a session"


@cocotb.test()
@cocotb.parametrize(("seed", [1, 2]))
async def bad_line(dut, seed):
    """Lost, changed and added bytes both ways: every output is right all the same."""
    pins, cases = await start(dut)
    line = NoisyLine(pins, rng=random.Random(seed), share=0.3)

    def use():
        host = Host(line, stall=100 * STALL, client=client(line, seed))
        for case in cases.values():
            check(case, host.run_layer(case.layer, case.x))
        return host

    host = await within_limit(use)
    assert {harm.split(" ", 1)[1] for harm in line.done} == {"to the board", "from the board"}
    assert len(line.done) >= 6, line.done
    assert host.link.seen["again"] > 10, host.link.seen
    dut._log.warning("harm %s, seen %s", dict(line.done), dict(host.link.seen))


@cocotb.test()
async def dead_line(dut):
    """A line that loses everything ends in an error that says so, in bounded time."""
    pins, _ = await start(dut)

    def use():
        line = NoisyLine(pins, rng=random.Random(1), share=1.0)
        line._harm = lambda way, octets: b""  # type: ignore[method-assign]
        try:
            Host(line, client=client(line, 1))
        except LinkError as error:
            return str(error)
        raise AssertionError("an answer from nobody")

    assert "in 10 attempts, found 10 silence" in await within_limit(use)


@cocotb.test()
async def reset_button(dut):
    """A board that was reset says that it does not know us; a new session works."""
    pins, cases = await start(dut)
    case = next(iter(cases.values()))

    def begin():
        return Host(pins, client=client(pins, 5))

    def refused(host):
        try:
            host.run_layer(case.layer, case.x)
        except LinkError as error:
            return str(error)
        raise AssertionError("a session that outlives a reset")

    host = await within_limit(begin)
    dut.button.value = 1
    await ClockCycles(dut.clk, 20)
    dut.button.value = 0
    await ClockCycles(dut.clk, 20)
    assert "no HELLO was heard" in await within_limit(refused, host)
    host = await within_limit(begin)
    check(case, await within_limit(host.run_layer, case.layer, case.x))


@cocotb.test()
async def errors_of_the_unit(dut):
    """Damaged weights, missing activations, an impossible job: told, and the next job is right."""
    pins, cases = await start(dut)
    case = next(case for case in cases.values() if case.tokens <= case.config.rows)

    def use():
        host = Host(pins, stall=STALL, client=client(pins, 9))
        weights, acts = bytearray(case.weights(1)), case.acts()
        job = Job.of(case.layer, case.tokens, 1)
        weights[-20] ^= 4                              # in the trailer's reserved bits: only CRC
        for says, cause, arguments in (
                ("'crc'", "crc", (job, bytes(weights), acts)),
                ("'acts_early_last'", "acts_early_last",
                 (job, case.weights(1), acts[:host.config.bus_bytes])),
                ("expected a byte to move", "none", (job, case.weights(1), b"")),
                ("'job'", "job", (Job(inputs=0, outputs=1, tokens=1), b"", b""))):
            try:
                host.run_job(*arguments)
            except UnitError as error:
                found = error
            else:
                raise AssertionError(f"{cause}: taken as good")
            assert says in str(found), found
            assert found.cause == CAUSES[cause], found
            check(case, host.run_layer(case.layer, case.x))

    await within_limit(use)
