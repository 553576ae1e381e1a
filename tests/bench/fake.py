"""A runner that trains nothing: the plumbing of a row, in milliseconds."""
from __future__ import annotations

import os
import random
import time
from dataclasses import dataclass
from pathlib import Path

from bench.measure import Outcome

ROWS = 40


@dataclass(frozen=True)
class FakeRow:
    label: float


@dataclass(frozen=True)
class FakeTask:
    metrics: tuple[str, ...]
    head: str
    train: tuple[FakeRow, ...]
    validation: tuple[FakeRow, ...]


class Runner:
    """Answers from seeded dice; what it did is a line in ``calls.txt``."""

    def __init__(self, folders, data_dir):
        self.calls = Path(folders.root, "calls.txt")

    def note(self, *words):
        with self.calls.open("a") as file:
            file.write(" ".join(map(str, words)) + "\n")

    def device(self):
        return {"name": "no device", "threads": 1, "dtype": "float32"}

    def task(self, row, settings):
        metric = {"stsb": "spearman", "cola": "matthews"}.get(row.task, "accuracy")
        dice = random.Random(row.task)
        rows = tuple(FakeRow(dice.random() * 5 if metric == "spearman" else float(index % 3 > 0))
                     for index in range(ROWS))
        head = "classification" if row.head == "glue" else row.head
        return FakeTask((metric,), head, rows, rows)

    def model(self, row):
        return Path(row.model)

    def outcome(self, task, out, quality, **notes):
        out.mkdir(parents=True)
        dice = random.Random(out.parent.name + out.name)
        wrong = (0.0, 1.0) if task.metrics[0] != "spearman" else (1.1, 2.1)
        found = [row.label if dice.random() < quality else dice.choice(wrong)
                 for row in task.validation]
        score = sum(a == row.label for a, row in zip(found, task.validation, strict=True)) / ROWS
        return Outcome(scores={task.metrics[0]: score}, found=found, notes=notes)

    def finetune(self, source, task, out, settings, teacher):
        self.note("finetune" if teacher is None else "dense", source.name)
        if os.environ.get("FAKE_SLOW"):
            time.sleep(float(os.environ["FAKE_SLOW"]))
        return self.outcome(task, out, 0.95)

    def prune(self, source, task, out, settings, teacher):
        method = settings["prune"]["method"]
        self.note("prune", method)
        if os.environ.get("FAKE_FAILS") == method:
            raise RuntimeError("planted failure")
        asked = settings["prune"]["compression"]
        return self.outcome(task, out, 0.9,
                            compression={"encoder": asked, "model": 1 + (asked - 1) / 4},
                            cycles={"rows": 12, "cols": 12, "tokens": 128,
                                    "encoder": int(1e6 / asked), "dense": 1_000_000})

    def quantize(self, source, task, out, settings):
        self.note("quantize")
        return self.outcome(task, out, 0.9)
