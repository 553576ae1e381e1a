"""Queues of jobs at the simulator's own speed: everything is in HDL and files, Python waits.

Each queue is played on the idle unit, one after the other. Beside its steps (``script.v``) the
streams' files must lie in the folder, with its number: ``weights0.bin``, ``acts0.bin``; what comes
out goes to ``results0.bin``.
"""
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sparseloom.hw.job import Job, pack_fields, unpack_fields
from sparseloom.hw.registers import COUNTERS, TABLE
from sparseloom.sim.build import TOP, Build
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.rules import broken_rule

LONG_RUN = Path(__file__).with_name("long_run.v")
SCRIPT, LOG, MESSAGES = "script.txt", "script.log", "log.txt"
QUIET = 64
"""Nothing may come in so many cycles after the last result."""
MOST_CYCLES = 1 << 31
"""The longest limit: cycles are counted in 32 bits."""
NOTE: tuple[str, ...] = (
    "first_cycle", "last_cycle", "offer_cycle", "weight_beats", "act_beats", "result_beats",
    "weight_stalls", "act_stalls", "result_stalls")
"""What the script's ``note`` logs, in its order."""
STREAMS = {"weights": "weight", "acts": "act", "results": "result"}


@dataclass(frozen=True, kw_only=True)
class JobQueue:
    """Jobs, how they are pushed, and pauses of the streams.

    Parameters
    ----------
    jobs : list of Job
    early : int
        Jobs pushed before the first beat; at most those that the unit's queue holds. The others
        are pushed as soon as there is a place.
    wait : int
        Cycles between the early pushes and the first beat.
    limit : int
        Cycles after which no wait goes on.
    gaps : dict of str to int
        Pauses of ``weights``, ``acts`` and ``results`` in 256ths.
    seed : int
        Of the pauses, not 0.
    """

    jobs: list[Job]
    early: int
    wait: int
    limit: int
    gaps: dict[str, int]
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class Played:
    """What script and streams' ends found of a queue.

    Parameters
    ----------
    finished : bool
        Its last result, or a void packet, came within the limit.
    refused : int
        Register accesses that were not answered with OKAY.
    pushes : list of int
        When each push took effect. Here and in ``first_act`` and ``end``, cycle 0 is the first in
        which beats may be offered.
    first_act, end : int
        Cycles of the first activation beat and of the last result beat.
    counters : dict of str to int
        The unit's own, cleared before the first push.
    stalls : dict of str to int
        Cycles in which the streams' ends alone held up each port.
    beats : dict of str to int
        Beats that each stream passed.
    late_beats : int
        Beats of results behind the last.
    error : dict of str to int
        Fields of the unit's ERROR.
    """

    finished: bool
    refused: int
    pushes: list[int]
    first_act: int
    end: int
    counters: dict[str, int]
    stalls: dict[str, int]
    beats: dict[str, int]
    late_beats: int
    error: dict[str, int]

    @property
    def failed(self) -> bool:
        """Whether the unit is in no state for another queue."""
        return not self.finished or bool(self.error["cause"])


def run_long(simulator: Build, folder: Path, queues: Sequence[JobQueue]) -> list[Played]:
    """Play queues.

    Parameters
    ----------
    simulator : Build
        Of :data:`LONG_RUN`.
    folder : Path
        Holds the streams' files; takes all others.
    queues : sequence of JobQueue

    Returns
    -------
    list of Played
        Of each queue, or up to the first one that ended with an error or not at all.

    Raises
    ------
    SimulationError
        If a rule of the ports is broken, or the simulator stops in mid-script.
    """
    (folder / SCRIPT).write_text("".join(f"{step}\n" for step in ["sleep 2 0", *(
        step for number, queue in enumerate(queues) for step in _steps(number, queue))]))
    with open(folder / MESSAGES, "w") as messages:
        code = subprocess.run([simulator.folder / TOP], cwd=folder, stdin=subprocess.DEVNULL,
                              stdout=messages, stderr=subprocess.STDOUT, check=False).returncode
    if rule := broken_rule(folder / MESSAGES):
        raise SimulationError(f"{rule}; to run it again: {replay_command(simulator, folder)}")
    found: list[Played] = []
    with suppress(OSError, ValueError, StopIteration):
        lines = iter([[int(word) for word in line.split()]
                      for line in (folder / LOG).read_text().splitlines()])
        while len(found) < len(queues) and not (found and found[-1].failed):
            found.append(_played(queues[len(found)], lines))
    if code or not found or (len(found) < len(queues) and not found[-1].failed):
        raise SimulationError(f"the simulator ended with code {code} in mid-script; its messages "
                              f"are in {folder / MESSAGES}; to run it again: "
                              f"{replay_command(simulator, folder)}")
    return found


def replay_command(simulator: Build, folder: Path) -> str:
    """The command that plays a folder's script again."""
    return f"(cd {folder} && {simulator.folder / TOP})"


def _steps(number: int, queue: JobQueue) -> Iterator[str]:
    """A queue's part of the script."""
    def access(name: str, step: str = "read", **fields: int) -> str:
        return f"{step} {TABLE[name].offset:x} {pack_fields(TABLE[name], **fields):x}"

    def push(job: Job) -> Iterator[str]:
        for name, fields in job.writes():
            yield access(name, "write", **fields)
        # There is none while the job before is checked, a cycle for each of its token groups.
        yield f"until {TABLE['STATUS'].offset:x} {TABLE['STATUS'].field('queue_space').mask:x}"
        yield access("JOB_PUSH", "write")

    gaps = "".join(f"{queue.gaps[stream]:02x}" for stream in STREAMS)
    yield f"limit {min(queue.limit, MOST_CYCLES):x} 0"
    yield f"gaps {gaps} {queue.seed:x}"
    yield access("CONTROL", "write", counters_clear=1)
    for job in queue.jobs[:queue.early]:
        yield from push(job)
    yield f"sleep {queue.wait:x} 0"
    yield f"play {number:x} {len(queue.jobs):x}"
    for job in queue.jobs[queue.early:]:
        yield from push(job)
    yield "done 0 0"
    yield access("STATUS", "while", busy=1)
    yield "note 0 0"
    yield f"sleep {QUIET:x} 0"
    yield "note 0 0"
    for name in (*COUNTERS, "ERROR"):
        yield access(name)
    yield access("STATUS", "quit", busy=1, error=1)
    yield "stop 0 0"


def _played(queue: JobQueue, lines: Iterator[list[int]]) -> Played:
    """A queue's part of the log."""
    answers = []

    def answer() -> int:
        value, response = next(lines)
        answers.append(response)
        return value

    answer()                                            # CONTROL
    pushes = []
    for job in queue.jobs:
        for _ in job.writes():
            answer()
        pushes.append(answer())
    finished, = next(lines)
    note, later = (dict(zip(NOTE, next(lines), strict=True)) for _ in range(2))
    counters = {name.lower(): answer() for name in COUNTERS}
    error = unpack_fields(TABLE["ERROR"], answer())
    start = note["offer_cycle"]
    return Played(
        finished=bool(finished), refused=sum(response != 0 for response in answers),
        pushes=[cycle - start for cycle in pushes], first_act=note["first_cycle"] - start,
        end=note["last_cycle"] - start, counters=counters,
        stalls={stream: note[f"{one}_stalls"] for stream, one in STREAMS.items()},
        beats={stream: note[f"{one}_beats"] for stream, one in STREAMS.items()},
        late_beats=later["result_beats"] - note["result_beats"],
        error=error)
