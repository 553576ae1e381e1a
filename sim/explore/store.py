"""Finished points on disk: appended as they come, found again by any later run."""
from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from sparseloom.model.errors import InputError
from sparseloom.model.write import system_reason

FILE = "points.jsonl"


class PointStore:
    """Records by key, one a line of a file.

    Any number of runs may add at the same time: each holds a lock while it appends. A run that dies
    in the middle of a line loses that line and no other; the next one begins a new line behind it.

    Parameters
    ----------
    folder : Path
        Made if missing.

    Raises
    ------
    InputError
        If it cannot be written.
    """

    def __init__(self, folder: Path):
        self.path = folder / FILE
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        except OSError as error:
            raise InputError(f"--keep {folder}: expected a folder to write to, found: "
                             f"{error.strerror}") from None

    def read(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Those of these keys that are there."""
        wanted = set(keys)
        return {record["key"]: record for record in self._records() if record["key"] in wanted}

    def _records(self) -> Iterator[dict[str, Any]]:
        with open(self.path, "rb") as file:
            for line in file:
                try:
                    record = json.loads(line)
                except ValueError:      # cut off in the middle
                    continue
                if isinstance(record, dict) and isinstance(record.get("key"), str):
                    yield record

    def add(self, records: Iterable[Mapping[str, Any]]) -> None:
        """Append; afterwards they are there for every run.

        Raises
        ------
        InputError
            If the system refuses, a full disk for instance.
        """
        lines = "".join(json.dumps(record, separators=(",", ":")) + "\n" for record in records)
        try:
            with open(self.path, "r+b") as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":
                        lines = f"\n{lines}"
                file.write(lines.encode())
        except OSError as error:
            raise InputError(f"{self.path}: expected room to write, found: "
                             f"{system_reason(error)}") from None
