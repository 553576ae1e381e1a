"""Whole sentences on the unit in RTL, beside the integer model: ``python -m bench.offload``.

The demo's pruned MiniLM, every matrix product at 12 x 12: first one sentence cut at 32 tokens,
timed; then validation sentences, every integer and every bit of every sentence vector compared.
"""
from __future__ import annotations

import argparse
import hashlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.device import git_revision, processor
from bench.folders import Folders, write_json
from sparseloom.model.encode import Encoder
from sparseloom.model.errors import InputError
from sparseloom.model.export import read_task_note
from sparseloom.model.packed.artefact import artefact_path, read_artefact
from sparseloom.sim.backends import RtlBackend
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.offload import OffloadRun, config_for, run_offload
from sparseloom.sim.progress import progress_bars

ROOT = Path(__file__).resolve().parents[1]
TOKENS, COUNT = 32, 64
SECONDS_BAR = 20.0


def long_sentence(folder: Path, tokens: int) -> str:
    """Validation sentences, one behind the other, until they have so many tokens.

    Raises
    ------
    InputError
        If all of them have fewer.
    """
    from sparseloom.model.checkpoint import load_checkpoint

    checkpoint = load_checkpoint(folder)
    encoder = Encoder(checkpoint.tokenizer, checkpoint.max_tokens)
    text = ""
    for sentences in read_task_note(folder).examples:
        text = " ".join([text, *sentences]).strip()
        if encoder.length((text,)) >= tokens:
            return text
    raise InputError(f"examples in {folder}: expected {tokens} tokens or more, found fewer")


def bars(timed: OffloadRun, all_of_them: OffloadRun, count: int) -> list[dict[str, Any]]:
    """Limits, what was found, whether they are met."""
    seconds = timed.sentences[0].seconds
    differing = timed.mismatches + all_of_them.mismatches
    answers = sum(not one.equal for one in [*timed.sentences, *all_of_them.sentences])
    ran = len(all_of_them.sentences)
    return [
        {"bar": f"seconds for a sentence of {TOKENS} tokens, build excluded, at most",
         "limit": SECONDS_BAR, "found": seconds, "met": seconds <= SECONDS_BAR},
        {"bar": "sentences compared, at least", "limit": count, "found": ran, "met": ran >= count},
        {"bar": "integers that differ, at most", "limit": 0, "found": differing,
         "met": differing == 0},
        {"bar": "sentence vectors with another bit, at most", "limit": 0, "found": answers,
         "met": answers == 0}]


def measure(folders: Folders, folder: Path, count: int) -> dict[str, Any]:
    """Everything, as the committed file has it."""
    artefact = read_artefact(folder)
    backend = RtlBackend(config_for(artefact), cache=folders.root / "build/sim-cache")
    try:
        with progress_bars(Console(stderr=True)) as progress:
            timed = run_offload(folder, backend, name="rtl", progress=progress, count=1,
                                sentences=[long_sentence(folder, TOKENS)], max_tokens=TOKENS)
            print(f"{timed.sentences[0]}", flush=True)
            run = run_offload(folder, backend, name="rtl", count=count, progress=progress)
        server = backend.server(8)
        jobs, queues, pid_count = server.jobs, server.queues, len(backend.servers)
    finally:
        backend.close()
    run.show(Console())
    config = backend.config
    return {
        "model": "all-MiniLM-L6-v2 as `make demo` prunes it, every matrix product of the encoder",
        "array": f"{config.rows}x{config.cols}", "exact": timed.exact and run.exact,
        "integers": timed.integers + run.integers,
        "mismatches": timed.mismatches + run.mismatches,
        "answer_values": timed.answer_values + run.answer_values,
        "bars": bars(timed, run, count), "processes": pid_count, "jobs": jobs, "queues": queues,
        "timed": timed.as_dict(), "run": run.as_dict(),
        "sha256": {"artefact": hashlib.sha256(artefact_path(folder).read_bytes()).hexdigest()},
        "machine": processor(), "cores": len(os.sched_getaffinity(0)),
        "load": [round(value, 1) for value in os.getloadavg()], "git": git_revision(folders.root)}


def main(words: Sequence[str] | None = None) -> int:
    """Measure, write ``bench/results/offload.json``; exit code 1 if a bar is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.offload", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--artefact", type=Path, default=Path("build/demo/pruned"),
                        help="an artefact's folder, by default what `make demo` left")
    parser.add_argument("--count", type=int, default=COUNT, help="validation sentences")
    options = parser.parse_args(words)
    folders = Folders(options.root)
    try:
        found = measure(folders, options.artefact, options.count)
    except (InputError, SimulationError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InputError) else 1
    write_json(folders.results / "offload.json", found, indent=1)
    print(f"{found['integers']:,} integers compared, {found['mismatches']:,} differ")
    for bar in found["bars"]:
        print(f"{'met   ' if bar['met'] else 'MISSED'}  {bar['bar']} {bar['limit']:g}: "
              f"{bar['found']:g}")
    return int(not all(bar["met"] for bar in found["bars"]))


if __name__ == "__main__":
    raise SystemExit(main())
