"""Run a cocotb bench on a compiled simulator, in a folder that holds all of its data.

``python -m sparseloom.sim.run FOLDER`` runs it again.
"""
import contextlib
import json
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparseloom.sim.build import TOP, Build, cache_folder
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.rules import broken_rule

RECORD = "run.json"
LOG = "log.txt"
RESULTS = "results.xml"
WAVES = "dump.vcd"


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One test of a bench.

    Parameters
    ----------
    name : str
    failure : str, optional
        Its message; None if the test passed.
    seconds : float
        Wall time.
    """

    name: str
    failure: str | None
    seconds: float


def run_folder(folder: Path | None, name: str, cache: Path | None = None) -> Path:
    """The folder of a run, made: the one given, or a new one in the cache, called after ``name``.

    Parameters
    ----------
    folder : Path, optional
    name : str
    cache : Path, optional
        As in :func:`~.build.build_simulator`.
    """
    if folder is None:
        runs = (cache or cache_folder()) / "runs"
        runs.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(dir=runs, prefix=f"{name}-"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def replay_command(folder: Path) -> str:
    """The command that runs a folder's bench again."""
    return f"{Path(sys.executable).name} -m sparseloom.sim.run {folder}"


def first_failure(outcomes: Sequence[Outcome]) -> str | None:
    """First line of what the first test that failed said; None if all passed."""
    return next((outcome.failure.splitlines()[0] for outcome in outcomes if outcome.failure), None)


def run_bench(build: Build, folder: Path, *, module: str, waves: bool = False,
              environment: Mapping[str, str] | None = None, seed: int = 1,
              test_filter: str | None = None, plusargs: Sequence[str] = ()) -> list[Outcome]:
    """Run the tests of a bench.

    Parameters
    ----------
    build : Build
        The simulator.
    folder : Path
        Working directory of the simulation; the bench finds its data there, and messages go to
        ``log.txt``.
    module : str
        Python module with cocotb tests.
    waves : bool
        Write ``dump.vcd``; the build must be able to.
    environment : mapping, optional
        More environment variables.
    seed : int
        Of cocotb's random numbers.
    test_filter : str, optional
        Regular expression for the names of the tests that run; by default all do.
    plusargs : sequence of str
        For the design.

    Returns
    -------
    list of Outcome
        In the order they ran, at least one.

    Raises
    ------
    SimulationError
        If the simulator stopped without results, or a rule of the ports was broken.
    """
    from cocotb_tools.runner import get_runner

    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    # cocotbext-axi uses what cocotb is about to drop; that is not the user's concern. Rewriting
    # every imported module for assertions would take longer than a short simulation.
    environment = {"COCOTB_LOG_LEVEL": "WARNING", "PYTHONWARNINGS": "ignore::DeprecationWarning",
                   "COCOTB_REWRITE_ASSERTION_FILES": "", **(environment or {})}
    (folder / RECORD).write_text(json.dumps({
        "build": str(build.folder), "module": module, "waves": waves, "seed": seed,
        "environment": dict(environment), "test_filter": test_filter,
        "plusargs": list(plusargs)}, indent=2))
    results = folder / RESULTS
    results.unlink(missing_ok=True)
    # The runner raises in some ways, under pytest in others; its results file tells the truth.
    with contextlib.suppress(RuntimeError, SystemExit):
        get_runner("verilator").test(
            test_module=module, hdl_toplevel=TOP, hdl_toplevel_lang="verilog",
            build_dir=build.folder, test_dir=folder, results_xml=str(results),
            log_file=folder / LOG, waves=waves, seed=seed, extra_env=environment,
            test_filter=test_filter, plusargs=list(plusargs))
    if rule := broken_rule(folder / LOG):
        raise SimulationError(f"{rule}; to run it again: {replay_command(folder)}")
    try:
        cases = list(ElementTree.parse(results).getroot().iter("testcase"))
    except (OSError, ElementTree.ParseError):
        cases = []
    if not cases:
        raise SimulationError(f"the simulation ended without results; its messages are in "
                              f"{folder / LOG}; to run it again: {replay_command(folder)}")
    return [_outcome(case) for case in cases]


def _outcome(case: ElementTree.Element) -> Outcome:
    failure = None
    for child in case:
        if child.tag in ("failure", "error", "skipped"):
            kind, message = child.get("error_type", child.tag), child.get("error_msg") or child.text
            failure = f"{kind}: {(message or '').strip()}"
    return Outcome(name=case.get("name", "?"), failure=failure,
                   seconds=float(case.get("time", 0)))


def main() -> None:
    """Run a folder's bench again and print what came out."""
    folder = Path(sys.argv[1])
    record = json.loads((folder / RECORD).read_text())
    build = Build(folder=Path(record["build"]), waves=record["waves"], cached=True)
    outcomes = run_bench(build, folder, module=record["module"], waves=record["waves"],
                         environment=record["environment"], seed=record["seed"],
                         test_filter=record.get("test_filter"),
                         plusargs=record.get("plusargs", ()))
    for outcome in outcomes:
        print(f"{outcome.name}: {outcome.failure or 'passed'}")
    sys.exit(any(outcome.failure for outcome in outcomes))


if __name__ == "__main__":
    main()
