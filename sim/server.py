"""A unit in RTL that is kept alive: one process plays queue after queue of jobs.

Python sends whole queues through a pipe and reads results from another; it never clocks. The other
end is ``server.cpp``.
"""
import os
import select
import struct
import subprocess
import tempfile
import weakref
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import Job, pack_fields, unpack_fields
from sparseloom.hw.registers import COUNTERS, TABLE
from sparseloom.model.errors import InputError
from sparseloom.model.packed.stream import result_bytes
from sparseloom.sim.build import TOP, Build, build_simulator
from sparseloom.sim.errors import SimulationError, reported
from sparseloom.sim.rules import broken_rule
from sparseloom.sim.verilog import unit_verilog

SERVER, MAIN = (Path(__file__).with_name(f"server.{end}") for end in ("v", "cpp"))
MAGIC = 0x31514C53
RESULTS, END = 1, 2
DONE, VOID, STUCK, REFUSED = range(4)
PATIENCE = 120.0
"""Seconds in which the process must answer a byte; a unit of 32 × 32 takes some 5 s for the longest
tile that moves none."""
QUIET_CYCLES = 50_000
"""Cycles without a beat after which a unit hangs, beside those that its longest tile may take."""
GAP_SCALE = 256
READS = ("STATUS", "ERROR", "DONE", *COUNTERS)


@dataclass(frozen=True, kw_only=True)
class ServedJob:
    """A job with its streams.

    Parameters
    ----------
    name : str
        For messages.
    job : Job
    weights, acts : bytes
        The whole streams.
    """

    name: str
    job: Job
    weights: bytes
    acts: bytes


@dataclass(frozen=True, kw_only=True)
class Served:
    """What a queue of jobs gave.

    Parameters
    ----------
    results : list of bytes
        Each job's result stream.
    cycles : int
        From the first activation beat to the last result beat, both included.
    counters : dict of str to int
        The unit's own, cleared before the first push.
    pushes : list of int
        When each push took effect, as the cycle model takes it: cycle 0 is the first in which beats
        may be offered.
    """

    results: list[bytes]
    cycles: int
    counters: dict[str, int]
    pushes: list[int]


class RtlServer:
    """A process with the generated Verilog of a unit, compiled unless the cache has it.

    Use it in a ``with``, or :meth:`close` it; it ends with the interpreter in any case.

    Parameters
    ----------
    config : ArrayConfig
    stall : float
        Share of cycles in which each of the three streams pauses, 0 to 0.99.
    seed : int
        Of the pauses, 1 or more.
    quiet_cycles : int, optional
        Cycles without a beat on any stream after which the unit is taken to hang.
    patience : float
        Seconds in which the process must answer a byte.
    cache : Path, optional
        As in :func:`~sparseloom.sim.build.build_simulator`.
    long_run : bool
        As there.

    Attributes
    ----------
    pid : int
        Of the process.
    queues, jobs, cycles : int
        Played so far.

    Raises
    ------
    InputError, SimulationError
        As of :func:`~sparseloom.sim.build.build_simulator`.
    """

    def __init__(self, config: ArrayConfig, *, stall: float = 0.0, seed: int = 1,
                 quiet_cycles: int | None = None, patience: float = PATIENCE,
                 cache: Path | None = None, long_run: bool = True):
        if not 0 <= stall <= 0.99:
            raise InputError(f"stall: expected 0 to 0.99, found {stall}")
        self.config, self.seed, self.patience = config, seed, patience
        self.gaps = round(stall * GAP_SCALE) * 0x010101
        longest = config.max_k + config.rows * config.cols * 8
        self.quiet_cycles = quiet_cycles or round(
            (QUIET_CYCLES + 16 * longest) / (1 - stall) ** 2)
        self.queues = self.jobs = self.cycles = 0
        simulator = build_simulator(
            unit_verilog(config, cache), bus_bytes=config.bus_bytes, cache=cache, bench=SERVER,
            long_run=long_run, python=False, main=MAIN)
        self._start(simulator)

    def _start(self, simulator: Build) -> None:
        self._messages = tempfile.NamedTemporaryFile(           # noqa: SIM115 (closed by `close`)
            prefix="sparseloom-", suffix=".txt")
        to_child, self._questions = os.pipe()
        self._answers, from_child = os.pipe()
        for end in (self._questions, self._answers):
            os.set_blocking(end, False)
        self._process = subprocess.Popen(
            [simulator.folder / TOP, str(to_child), str(from_child), str(self.config.bus_bytes)],
            pass_fds=(to_child, from_child), stdin=subprocess.DEVNULL, stdout=self._messages,
            stderr=subprocess.STDOUT)
        os.close(to_child)
        os.close(from_child)
        self.pid = self._process.pid
        self._end = weakref.finalize(self, _end, self._process, self._questions, self._answers)

    def __enter__(self) -> "RtlServer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._end()
        self._messages.close()

    def play(self, jobs: Sequence[ServedJob]) -> Served:
        """Play a queue on the idle unit: all jobs pushed as there is a place.

        The process takes a queue when the one before is done, so at most one waits in the pipe.

        Raises
        ------
        SimulationError
            If the unit reports an error, hangs, breaks a rule of its ports or sends another count
            of bytes, or the process ends or does not answer. Names the job. After an error that
            the unit reported, or a hang, the unit is reset, and the next queue runs.
        """
        if not self._end.alive:
            raise SimulationError("simulator: expected a running process, found it closed")
        if not jobs:
            return Served(results=[], cycles=0, pushes=[],
                          counters=dict.fromkeys(map(str.lower, COUNTERS), 0))
        names = [one.name for one in jobs]
        self._send(self._question(jobs), names)
        results: list[bytes] = []
        while True:
            kind, = self._words(1, names, len(results))
            if kind == END:
                break
            _, _, size = self._words(3, names, len(results))
            results.append(self._receive(size, names, len(results)))
        outcome, _, pushed, low, high, weights, acts, got, count = self._words(
            9, names, len(results))
        values = dict(zip(READS, self._words(count, names, len(results)), strict=True))
        pushes = struct.unpack(f"<{pushed}i", self._receive(4 * pushed, names, len(results)))
        if outcome != DONE:
            raise self._failure(outcome, jobs, len(results), pushed, weights, acts, got, values)
        for one, found in zip(jobs, results, strict=True):
            wanted = self._result_bytes(one.job)
            if len(found) != wanted:
                raise SimulationError(f"job {one.name}: expected {wanted} bytes of results, found "
                                      f"{len(found)}")
        cycles = low | high << 32
        self.queues, self.jobs, self.cycles = (
            self.queues + 1, self.jobs + len(jobs), self.cycles + cycles)
        return Served(results=results, cycles=cycles, pushes=list(pushes),
                      counters={name.lower(): values[name] for name in COUNTERS})

    def _result_bytes(self, job: Job) -> int:
        return result_bytes(tokens=job.tokens, outputs=job.outputs, rows=self.config.rows,
                            raw=job.raw)

    def _question(self, jobs: Sequence[ServedJob]) -> bytes:
        """A queue as the process reads it."""
        control = TABLE["CONTROL"]
        early = min(len(jobs), self.config.queue_depth)
        # The last descriptor is still on its way and being checked, a cycle a group of tokens.
        wait = 8 + max(-(-one.job.tokens // self.config.rows) for one in jobs[:early])
        words = [MAGIC, len(jobs), early, wait, self.quiet_cycles, self.gaps, self.seed, 1,
                 len(READS), control.offset, pack_fields(control, counters_clear=1)]
        for one in jobs:
            writes = one.job.writes()
            words.append(len(writes))
            for name, fields in writes:
                words += [TABLE[name].offset, pack_fields(TABLE[name], **fields)]
            words += [TABLE["JOB_PUSH"].offset, len(one.weights), len(one.acts)]
        words += [TABLE[name].offset for name in READS]
        return struct.pack(f"<{len(words)}I", *words) + b"".join(
            one.weights + one.acts for one in jobs)

    def _send(self, data: bytes, names: list[str]) -> None:
        rest = memoryview(data)
        while rest:
            _, ready, _ = select.select([], [self._questions], [], self.patience)
            if not ready:
                raise self._silence(names, 0, "took no byte of the queue")
            try:
                rest = rest[os.write(self._questions, rest[:1 << 16]):]
            except BlockingIOError:
                continue
            except BrokenPipeError:
                raise self._ended(names, 0) from None

    def _receive(self, size: int, names: list[str], done: int) -> bytes:
        parts = bytearray()
        while len(parts) < size:
            ready, _, _ = select.select([self._answers], [], [], self.patience)
            if not ready:
                raise self._silence(names, done, "answered no byte")
            part = os.read(self._answers, size - len(parts))
            if not part:
                raise self._ended(names, done)
            parts += part
        return bytes(parts)

    def _words(self, count: int, names: list[str], done: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}I", self._receive(4 * count, names, done))

    def _silence(self, names: list[str], done: int, what: str) -> SimulationError:
        """The process is there and does nothing; it is ended."""
        self.close()
        return SimulationError(
            f"job {_nth(names, done)}: expected an answer of the simulator within "
            f"{self.patience:g} s, found that process {self.pid} {what}; {done} jobs were done; "
            "it was ended")

    def _ended(self, names: list[str], done: int) -> SimulationError:
        """The process is gone: a broken rule, or something worse."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        log = Path(self._messages.name)
        rule = broken_rule(log)
        last = log.read_text(errors="replace").strip().splitlines()[-1:] or ["nothing"]
        code = self._process.returncode
        self.close()
        where = f"job {_nth(names, done)}: "
        if rule:
            return SimulationError(where + rule)
        return SimulationError(f"{where}expected a running simulator, found that process "
                               f"{self.pid} ended with code {code}; its last message: {last[0]}")

    def _failure(self, outcome: int, jobs: Sequence[ServedJob], done: int, pushed: int,
                 weights: int, acts: int, got: int, values: dict[str, int]) -> SimulationError:
        """Why a queue was not played to its end."""
        names = [one.name for one in jobs]
        if outcome == VOID:
            done -= 1                               # the last packet is the void one
        error = unpack_fields(TABLE["ERROR"], values["ERROR"])
        where = f"job {_nth(names, done)}"
        if outcome == VOID or error["cause"]:
            return SimulationError(f"{where}: the unit {reported(error['cause'])} in strip "
                                   f"{error['strip']}")
        status = unpack_fields(TABLE["STATUS"], values["STATUS"])
        if outcome == REFUSED:
            return SimulationError(f"{where}: expected registers that take the job, found the "
                                   f"access refused or unanswered; status {status}")
        sent = {"weights": sum(len(one.weights) for one in jobs) - weights,
                "activations": sum(len(one.acts) for one in jobs) - acts}
        due = {"weights": sum(len(one.weights) for one in jobs[:done + 1]),
               "activations": sum(len(one.acts) for one in jobs[:done + 1])}
        taken = ", ".join(f"{stream} {sent[stream]} of {due[stream]} bytes" for stream in sent)
        counters = {name.lower(): values[name] for name in COUNTERS}
        return SimulationError(
            f"{where}: expected a beat on some stream within {self.quiet_cycles} cycles, found "
            f"none; up to the end of this job {taken} were taken, {got} of "
            f"{self._result_bytes(jobs[done].job)} bytes of its results came; {pushed} of "
            f"{len(jobs)} jobs were pushed; status {status}, counters {counters}")


def _nth(names: list[str], index: int) -> str:
    index = min(index, len(names) - 1)
    return f"{names[index]} ({index + 1} of {len(names)})"


def _end(process: subprocess.Popen, *ends: int) -> None:
    """Close the pipes, which ends an idle process; end one that is not idle."""
    for end in ends:
        with suppress(OSError):
            os.close(end)
    try:
        process.wait(0.5)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
