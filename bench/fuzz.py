"""A million bad inputs for the readers of files, streams and link: ``python -m bench.fuzz``.

Each input follows from seed, target and number, so any of them can be had again. It must be taken,
or refused by an error of ours in the promised form, within ``SECONDS`` and ``HEADROOM``.
"""
from __future__ import annotations

import argparse
import faulthandler
import os
import random
import resource
import shlex
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from bench.device import git_revision, processor
from bench.folders import write_json
from bench.fuzz_targets import Target, targets

ROOT = Path(__file__).resolve().parents[1]
SHARES = {"artefact": 32, "weights": 34, "frames": 16, "results": 14, "host": 4}
"""Of a hundred inputs."""
CHUNK = 2000
SECONDS = 2.0
"""Processor time that an input may take; the slowest needs a few hundredths."""
HEADROOM = 64 << 20
"""Bytes of address space beyond those of a process that has read its first inputs. Inputs are
some kilobytes, so a size that is believed before it is checked shows."""
STUCK = 300
"""Seconds without an input after which a process gives up, where Python's signals do not reach."""
KEPT = 20
"""Findings of a target that are kept in full."""


class TooLong(BaseException):
    """An input took its time; not to be caught by what is fuzzed."""


@dataclass
class Tally:
    """What became of some inputs of one target.

    Parameters
    ----------
    target : str
    inputs, taken, refused : int
    reasons : Counter
        Refusals by the field that they name.
    slowest_ms : float
        Of processor time.
    grown_mb : float
        Most that a process grew beyond what it took to start, in 10**6 bytes.
    findings : list of dict
        ``index``, ``error``, ``replay``.
    """

    target: str
    inputs: int = 0
    taken: int = 0
    refused: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    slowest_ms: float = 0.0
    grown_mb: float = 0.0
    findings: list[dict[str, Any]] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Take in those of another part."""
        self.inputs += other.inputs
        self.taken += other.taken
        self.refused += other.refused
        self.reasons += other.reasons
        self.slowest_ms = max(self.slowest_ms, other.slowest_ms)
        self.grown_mb = max(self.grown_mb, other.grown_mb)
        self.findings += other.findings


def judge(target: Target, seed: int, index: int, tally: Tally) -> None:
    """Make an input, have it read, note what became of it."""
    rng = random.Random(f"{seed} {target.name} {index}")
    given = target.draw(rng)
    tally.inputs += 1
    began = time.process_time()
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        try:
            target.read(given)
        except target.refusals as error:
            tally.reasons[target.reason(str(error))] += 1
            tally.refused += 1
        else:
            tally.taken += 1
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a panic of a library in Rust is no Exception either
        tally.findings.append({
            "index": index, "error": f"{type(error).__name__}: {error}"[:500],
            "replay": shlex.join(["python", "-m", "bench.fuzz", "--seed", str(seed), "--target",
                                  target.name, "--first", str(index), "--inputs", "1"])})
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    tally.slowest_ms = max(tally.slowest_ms, 1000 * (time.process_time() - began))


class Worker:
    """What a process keeps from one part to the next."""

    def __init__(self) -> None:
        memory = Path("/dev/shm")
        self.folder = tempfile.TemporaryDirectory(
            prefix="sparseloom-fuzz-", dir=memory if os.access(memory, os.W_OK) else None)
        self.targets = {target.name: target for target in targets(Path(self.folder.name))}
        signal.signal(signal.SIGPROF, _too_long)
        for target in self.targets.values():        # imports, caches and pools are there then
            for index in range(50):
                judge(target, 0, index, Tally(target.name))
        self.began_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        limit = _address_space() + HEADROOM
        resource.setrlimit(resource.RLIMIT_AS, (limit, resource.RLIM_INFINITY))

    def run(self, name: str, seed: int, first: int, count: int) -> Tally:
        """Inputs ``first`` and the next of a target."""
        tally = Tally(name)
        for index in range(first, first + count):
            if index % 100 == 0:
                faulthandler.dump_traceback_later(STUCK, exit=True)
            judge(self.targets[name], seed, index, tally)
        faulthandler.cancel_dump_traceback_later()
        now_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        tally.grown_mb = (now_kb - self.began_kb) * 1024 / 1e6
        return tally


def _too_long(*_: object) -> None:
    raise TooLong(f"more than {SECONDS:g} s")


def _address_space() -> int:
    """Bytes that this process has mapped."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()


_worker: Worker | None = None


def run_part(name: str, seed: int, first: int, count: int) -> Tally:
    """In a process of the pool."""
    global _worker
    if _worker is None:
        _worker = Worker()
    return _worker.run(name, seed, first, count)


def parts(names: Sequence[str], inputs: int, first: int) -> Iterator[tuple[str, int, int]]:
    """Name, first and count of parts that add up to ``inputs``, targets by their shares in turn."""
    whole = sum(SHARES[name] for name in names)
    left = {name: inputs * SHARES[name] // whole for name in names}
    left[names[0]] += inputs - sum(left.values())
    at = dict.fromkeys(names, first)
    while any(left.values()):
        for name in names:
            if count := min(CHUNK, left[name]):
                yield name, at[name], count
                at[name] += count
                left[name] -= count


def fuzz(names: Sequence[str], *, seed: int, inputs: int, first: int, jobs: int,
         keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """All parts in ``jobs`` processes: the record of what became of them, and what ended a process.

    Parameters
    ----------
    keep : callable
        Takes the record of what there is, every ten seconds and at the end.
    """
    found = {name: Tally(name) for name in names}
    died: list[str] = []
    began = told = time.monotonic()
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        waiting = {pool.submit(run_part, name, seed, at, count): (name, at, count)
                   for name, at, count in parts(names, inputs, first)}
        for done in as_completed(waiting):
            name, at, count = waiting[done]
            try:
                found[name].add(done.result())
            except BrokenProcessPool:
                died.append(f"{name} {at}..{at + count - 1}")
                continue
            total = sum(tally.inputs for tally in found.values())
            if time.monotonic() - told > 10 or total == inputs:
                told = time.monotonic()
                faults = sum(len(tally.findings) for tally in found.values())
                print(f"  {total:,} of {inputs:,} inputs, {total / (told - began):,.0f} a second, "
                      f"{faults} findings", flush=True)
                keep(record(found, died))
    keep(result := record(found, died))
    return result


def record(found: dict[str, Tally], died: list[str]) -> dict[str, Any]:
    """For the file."""
    rows = {}
    for name, tally in found.items():
        row = asdict(tally)
        row["findings"], row["finding_count"] = tally.findings[:KEPT], len(tally.findings)
        row["reasons"] = dict(sorted(tally.reasons.items()))
        row["slowest_ms"], row["grown_mb"] = round(tally.slowest_ms, 1), round(tally.grown_mb, 1)
        del row["target"]
        rows[name] = row
    return {"inputs": sum(tally.inputs for tally in found.values()),
            "findings": sum(len(tally.findings) for tally in found.values()), "died": died,
            "targets": rows}


def main(words: Sequence[str] | None = None) -> int:
    """Entry of ``python -m bench.fuzz``; exit code 1 if there is a finding."""
    parser = argparse.ArgumentParser(prog="python -m bench.fuzz", description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_050_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--target", action="append", choices=list(SHARES), help="only these")
    parser.add_argument("--first", type=int, default=0, help="number of the first input of each")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--out", type=Path, help="where the figures go; by default nowhere, or "
                        "bench/results/fuzz.json for a whole run")
    options = parser.parse_args(words)
    names = options.target or list(SHARES)
    whole = not options.target and not options.first
    out = options.out or (ROOT / "bench/results/fuzz.json" if whole else None)
    began = time.monotonic()
    made = {**git_revision(ROOT), "machine": processor(), "cores": os.cpu_count(),
            "command": f"python -m bench.fuzz --inputs {options.inputs} --seed {options.seed} "
                       f"--jobs {options.jobs}",
            "seconds_allowed": SECONDS, "headroom_bytes": HEADROOM}

    def keep(result: dict[str, Any]) -> None:
        if out:
            seconds = round(time.monotonic() - began, 1)
            write_json(out, {**made, "seconds": seconds, **result}, indent=1)

    result = fuzz(names, seed=options.seed, inputs=options.inputs, first=options.first,
                  jobs=options.jobs, keep=keep)
    for name, row in result["targets"].items():
        print(f"{name}: {row['inputs']:,} inputs, {row['taken']:,} taken, {row['refused']:,} "
              f"refused for {len(row['reasons'])} reasons, {row['finding_count']} findings; "
              f"slowest {row['slowest_ms']:g} ms, grown by {row['grown_mb']:g} MB")
        for finding in row["findings"]:
            print(f"  {finding['error']}\n    {finding['replay']}")
    for part in result["died"]:
        print(f"  a process died, perhaps in {part}")
    return int(bool(result["findings"] or result["died"]))


if __name__ == "__main__":
    sys.exit(main())
