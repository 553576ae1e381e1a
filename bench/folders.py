"""Where measuring keeps things: scratch in build/, results in the repository."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseloom.model.write import write_whole


@dataclass(frozen=True)
class Folders:
    """All paths, under one root.

    Parameters
    ----------
    root : Path
        The repository, or a scratch folder in tests.
    """

    root: Path

    @property
    def scratch(self) -> Path:
        """What a killed run may leave behind; in no commit."""
        return self.root / "build/bench"

    @property
    def stages(self) -> Path:
        """Fine-tuned and dense checkpoints that rows share."""
        return self.scratch / "stages"

    @property
    def results(self) -> Path:
        """What is committed."""
        return self.root / "bench/results"

    @property
    def table(self) -> Path:
        """All rows."""
        return self.results / "glue.json"

    @property
    def tuning(self) -> Path:
        """Trials on a part of the training rows, one a line."""
        return self.results / "tuning.jsonl"

    @property
    def page(self) -> Path:
        """Made from the table."""
        return self.root / "docs/results.md"

    def row(self, name: str) -> Path:
        """One finished row."""
        return self.scratch / "rows" / f"{name}.json"

    def predictions(self, name: str) -> Path:
        """What the row's models answered."""
        return self.scratch / "predictions" / f"{name}.json"

    def lock(self, name: str) -> Path:
        """A lock file."""
        return self.scratch / "locks" / f"{name}.lock"

    def log(self, name: str) -> Path:
        """What a row's process printed."""
        return self.scratch / "logs" / f"{name}.log"


def write_json(path: Path, value: Any, *, indent: int | None = None) -> None:
    """Write a value whole; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    write_whole(path, f"{text}\n".encode())


def read_json(path: Path) -> Any:
    """The value in a file, or None if there is no file."""
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
