"""Bench of two units, one behind the other: Python describes jobs, the bench plays the streams.

Reads ``plan.json`` in the working directory; the players' files lie beside it, the recorders' come
there. Writes ``outcome.json``.
"""
import json
from pathlib import Path

import cocotb
from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, SimTimeoutError

from sparseloom.sim.driver import CLOCK_NS, Control, Job, wait_for

PLAN, OUTCOME = "plan.json", "outcome.json"
UNITS = ("first", "second")
GAPS = ("weights", "acts", "link", "results")
BEATS = ("first_weight_beats", "second_weight_beats", "act_beats", "link_beats", "result_beats")
QUIET_CYCLES = 64
"""Nothing may come in so many cycles after the last result."""


@cocotb.test()
async def run_chain(dut):
    """Push the plan's jobs to both units, play the streams, wait, report."""
    plan = json.loads(Path(PLAN).read_text())
    dut.aresetn.value = 0
    dut.play.value = 0
    dut.seed.value = plan["seed"]
    dut.packets.value = len(plan["jobs"]["second"])
    for stream in GAPS:
        getattr(dut, f"gap_{stream}").value = plan["gaps"][stream]
    Clock(dut.aclk, CLOCK_NS, unit="ns").start()
    units = {name: Control(dut, f"{name}_axil") for name in UNITS}
    await ClockCycles(dut.aclk, 4)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 2)
    dut.play.value = 1
    pushing = [cocotb.start_soon(push_all(units[name], plan["jobs"][name])) for name in UNITS]
    finished = True
    try:
        await wait_for(dut.done, plan["limit"])
    except SimTimeoutError:
        finished = False
    for task in pushing:
        task.cancel()
    beats = {name: int(getattr(dut, name).value) for name in BEATS}
    await ClockCycles(dut.aclk, QUIET_CYCLES)
    Path(OUTCOME).write_text(json.dumps({
        "finished": finished, **beats,
        "late_beats": sum(int(getattr(dut, name).value) - count for name, count in beats.items()),
        "cycles": int(dut.last_cycle.value) - int(dut.first_cycle.value) + 1,
        "link_waits": int(dut.link_waits.value),
        "units": {name: {"error": await unit.read("ERROR"), "status": await unit.read("STATUS"),
                         "done": await unit.read("DONE"), "counters": await unit.counters()}
                  for name, unit in units.items()},
    }, indent=2))
    dut.aresetn.value = 0                           # behind an error there is more on offer
    dut.play.value = 0
    await ClockCycles(dut.aclk, 4)


async def push_all(unit: Control, jobs: list[dict]) -> None:
    """Push jobs as the queue has space, until a unit reports an error."""
    for job in jobs:
        while not (status := await unit.read("STATUS"))["queue_space"]:
            if status["error"]:
                return
            await unit.cycles(32)
        if status["error"] or not await unit.push(Job(**job)):
            return
