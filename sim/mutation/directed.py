"""Survivors of the random regression against directed cases and directed tests.

The cases are played like the regression's: every spoilt packet that there is, every shift, pauses
that bring counters beyond their lower halves. The tests of the unit's ports, by cocotb, drive what
the regression's script cannot: byte strobes, register accesses at any distance, answers held up.
"""
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.sim.build import build_simulator, cache_folder
from sparseloom.sim.cases import write_cases
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.mutation.design import CONTROL, MutatedDesign
from sparseloom.sim.queues import BUILDS
from sparseloom.sim.regress.case import ANY_SHIFT, PORTS, Case, Event, RandomJob, Stall
from sparseloom.sim.regress.play import all_faults, make_work
from sparseloom.sim.run import run_bench

TESTS = r"registers_at_random|interrupts|full_queue|impossible_jobs|nothing_before_a_job|identity"
"""Of ``sim/tb_unit.py``: those of registers, queue and interrupts; the streams' have been tried."""

FILES = ("axi_lite", "counters", "fault", "job_queue", "kept_register", "top", "unit")
"""Of ``hw``: what those tests look at; mutants elsewhere do not meet them."""


FREEZE = 70_000
"""Cycles of a pause, above half of a counter's bits."""


def directed_plays(build: str) -> list[Case]:
    """Cases that the regression draws rarely or never, for :class:`~.hunt.Hunt`.

    Parameters
    ----------
    build : str
        Key of :data:`~sparseloom.sim.queues.BUILDS`.
    """
    config = BUILDS[build]
    free = {port: Stall() for port in PORTS}

    def job(**changes: Any) -> RandomJob:
        return RandomJob(**{
            "inputs": min(config.max_k, 4 * config.block_inputs + 3),
            "outputs": 7 * config.cols - 1, "tokens": config.rows + 1, "structure": "column",
            "p": 1, "q": 1, "density": 0.3, "extremes": 0.0, "kind": "int8", "scale": "spread",
            "seed": 1, **changes})

    def case(one: RandomJob, *, stalls: Mapping[str, Stall] = free,
             event: Event | None = None) -> Case:
        return Case(build=build, jobs=(one,), early=1, wait=20, stalls=stalls, event=event, seed=1)

    table = job(kind="lut")
    cases = [case(table, event=Event(kind="error", cause=fault.causes[0], phase="loading", pick=0,
                                     delay=10, fault=fault.name))
             for fault, _ in all_faults(case(table), make_work(case(table), 0))]
    cases += [case(job(outputs=200 * config.cols, inputs=3, density=density, scale=ANY_SHIFT,
                       kind=kind)) for density in (0.02, 0.3) for kind in ("int8", "lut")]
    cases += [case(job(), stalls={**free, port: Stall(stop=9, cycles=FREEZE)}) for port in PORTS]
    return cases


def directed_cases(config: ArrayConfig) -> list[tuple[PackedLayer, np.ndarray]]:
    """The layers that ``sim/tb_unit.py`` asks for, small."""
    def case(name: str, *, kind: str, inputs: int, outputs: int, tokens: int,
             seed: int) -> tuple[PackedLayer, np.ndarray]:
        job = RandomJob(inputs=inputs, outputs=outputs, tokens=tokens, structure="column", p=1,
                        q=1, density=0.5, extremes=0.0, kind=kind, scale="spread", seed=seed)
        return job.layer(config, name), job.activations()

    inputs = min(config.max_k, 2 * config.block_inputs + 5)
    return [case("ragged", kind="int8", inputs=inputs, outputs=3 * config.cols - 1,
                 tokens=config.rows + 1, seed=1),
            case("lut", kind="lut", inputs=inputs, outputs=config.cols + 1, tokens=2, seed=2),
            case("second", kind="int8", inputs=min(config.max_k, 24), outputs=config.cols,
                 tokens=1, seed=3)]


def directed_failure(design: MutatedDesign, number: int) -> str | None:
    """What the first directed test that fails says of a mutant; None if all pass."""
    build = build_simulator(design.verilog, bus_bytes=design.config.bus_bytes)
    runs = cache_folder() / "runs"
    runs.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=runs, prefix=f"directed{number}-"))
    try:
        write_cases(folder, design.config, directed_cases(design.config))
        outcomes = run_bench(build, folder, module="sparseloom.sim.tb_unit", test_filter=TESTS,
                             plusargs=[f"+{CONTROL}={number}"])
        return next((f"tb_unit, {one.name}: {one.failure.strip().splitlines()[-1].strip()}"
                     for one in outcomes if one.failure), None)
    except SimulationError as error:
        return str(error).split("; to run it again")[0]
    finally:
        shutil.rmtree(folder)
