"""Bench for long runs: Python describes the jobs, the bench's own player does the rest.

Reads ``plan.json`` in the working directory, ``weights0.bin`` and ``acts0.bin`` beside it are
the player's; writes ``outcome.json`` and (the recorder) ``results0.bin``.
"""
import json
from pathlib import Path

import cocotb
from cocotb.triggers import SimTimeoutError

from sparseloom.sim.driver import Job, Unit, wait_for

PLAN, OUTCOME = "plan.json", "outcome.json"
QUIET_CYCLES = 64
"""Nothing may come in so many cycles after the last result."""


@cocotb.test()
async def run_plan(dut):
    """Push the plan's jobs, play their streams, wait, report."""
    plan = json.loads(Path(PLAN).read_text())
    unit = Unit(dut)
    await unit.reset()
    dut.seed.value = plan["seed"]
    dut.packets.value = len(plan["jobs"])
    for stream in ("weights", "acts", "results"):
        getattr(dut, f"gap_{stream}").value = plan["gaps"][stream]
    assert await unit.write("CONTROL", counters_clear=1)
    jobs = [Job(**job) for job in plan["jobs"]]
    pushes: list[int] = []
    depth = (await unit.read("BUILD"))["queue_depth"]
    await push_all(unit, jobs[:depth], pushes)
    await unit.cycles(plan["wait"])                 # the last descriptor is still being checked
    dut.play.value = 1
    pushing = cocotb.start_soon(push_all(unit, jobs[depth:], pushes))
    finished = True
    try:
        await wait_for(dut.done, plan["limit"])
    except SimTimeoutError:
        finished = False
    pushing.cancel()
    beats = int(dut.result_beats.value)
    await unit.cycles(QUIET_CYCLES)
    Path(OUTCOME).write_text(json.dumps({
        "finished": finished,
        "cycles": int(dut.last_cycle.value) - int(dut.first_cycle.value) + 1,
        "weight_beats": int(dut.weight_beats.value), "act_beats": int(dut.act_beats.value),
        "result_beats": beats, "late_beats": int(dut.result_beats.value) - beats,
        "counters": await unit.counters(),
        "error": await unit.read("ERROR"), "status": await unit.read("STATUS"),
        "done": await unit.read("DONE"),
        "pushes": [cycle - int(dut.offer_cycle.value) for cycle in pushes],
    }, indent=2))
    dut.aresetn.value = 0                           # behind an error there is more on offer
    dut.play.value = 0
    await unit.cycles(4)


async def push_all(unit: Unit, jobs: list[Job], pushes: list[int]) -> None:
    """Push jobs as the queue has space, and note the bench's cycles in which they took effect."""
    for job in jobs:
        await unit.push_when_free(job)
        await unit.cycles(1)                        # the bench notes it with this edge
        pushes.append(int(unit.dut.write_cycle.value))
