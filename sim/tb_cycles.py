"""Bench of the cycle model: queues of jobs one after the other, and what the counters showed.

Reads ``queues.json`` in the working directory: for each queue its jobs, how many of them are pushed
before the first beat, how many cycles lie between two looks for a place for another (``poll``),
pauses. The streams' files beside it bear the queue's number: ``weights0.bin``, ``acts0.bin``.
Writes ``cycles.json`` and, by the recorder, ``results0.bin``.
"""
import json
from pathlib import Path

import cocotb

from sparseloom.sim.driver import Job, Unit, wait_for

QUEUES, CYCLES = "queues.json", "cycles.json"

@cocotb.test()
async def run_queues(dut):
    """Push, play, wait, count: each queue on the idle unit."""
    unit = Unit(dut)
    await unit.reset()
    found = []
    for number, queue in enumerate(json.loads(Path(QUEUES).read_text())):
        dut.number.value = number
        found.append(await run_queue(dut, unit, queue))
        Path(CYCLES).write_text(json.dumps(found, indent=1))


async def run_queue(dut, unit: Unit, queue: dict) -> dict:
    """One queue; cycles are counted from the first in which beats may be offered."""
    for stream, gap in queue["gaps"].items():
        getattr(dut, f"gap_{stream}").value = gap
    dut.seed.value = queue["seed"]
    dut.packets.value = len(queue["jobs"])
    assert await unit.write("CONTROL", counters_clear=1)
    jobs = [Job(**job) for job in queue["jobs"]]
    pushes: list[int] = []

    async def push(batch: list[Job], wait: int) -> None:
        for job in batch:
            await unit.cycles(wait)
            await unit.push_when_free(job, poll=queue["poll"])
            await unit.cycles(1)                    # the bench notes it with this edge
            pushes.append(int(dut.write_cycle.value))

    await push(jobs[:queue["early"]], 1)
    await unit.cycles(queue["wait"])
    dut.play.value = 1
    late = cocotb.start_soon(push(jobs[queue["early"]:], queue["late_wait"]))
    await unit.cycles(4)
    if not int(dut.done.value):
        await wait_for(dut.done, queue["limit"])
    await late
    while (await unit.read("STATUS"))["busy"]:
        await unit.cycles(1)
    beats = int(dut.result_beats.value)
    await unit.cycles(queue["quiet"])
    start = int(dut.offer_cycle.value)
    found = {
        "pushes": [cycle - start for cycle in pushes], "counters": await unit.counters(),
        "first_act": int(dut.first_cycle.value) - start, "end": int(dut.last_cycle.value) - start,
        "stalls": {"weights": int(dut.weight_stalls.value), "acts": int(dut.act_stalls.value),
                   "results": int(dut.result_stalls.value)},
        "error": (await unit.read("ERROR"))["cause"],
        "beats": {"weights": int(dut.weight_beats.value), "acts": int(dut.act_beats.value),
                  "results": beats, "late": int(dut.result_beats.value) - beats},
    }
    dut.aresetn.value = int(not found["error"])     # behind an error there is more on offer
    dut.play.value = 0
    await unit.cycles(4)                            # the recorder closes its file
    dut.aresetn.value = 1
    return found
