"""Queues of jobs as plans of the bench in ``tb_cycles``, run in one simulation."""
import json
from collections.abc import Sequence
from pathlib import Path

from sparseloom.sim.build import Build
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.run import first_failure, replay_command, run_bench
from sparseloom.sim.tb_cycles import CYCLES, QUEUES


def run_plans(simulator: Build, folder: Path, plans: Sequence[dict], names: Sequence[str],
              ) -> list[dict]:
    """Run queues one after the other, each on the idle unit.

    Parameters
    ----------
    simulator : Build
        Of ``bench.v``.
    folder : Path
        Holds the plans' stream files.
    plans : sequence of dict
        See :mod:`~.tb_cycles`.
    names : sequence of str
        Of the queues, for messages.

    Returns
    -------
    list of dict
        What the bench found of each queue.

    Raises
    ------
    SimulationError
        If a queue does not end; it names that one.
    """
    (folder / QUEUES).write_text(json.dumps(plans))
    outcomes = run_bench(simulator, folder, module="sparseloom.sim.tb_cycles")
    found = json.loads((folder / CYCLES).read_text()) if (folder / CYCLES).exists() else []
    if failure := first_failure(outcomes):
        raise SimulationError(f"{names[min(len(found), len(names) - 1)]}: {failure}; "
                              f"to run it again: {replay_command(folder)}")
    return found
