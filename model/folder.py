"""Write a folder whole or not at all."""
from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparseloom.model.errors import InputError
from sparseloom.model.write import fresh_name, room_to_write

MARK_FILE = "task.json"
MARK = {"format": "sparseloom"}
"""What this file says in a folder of ours, which may be replaced, and in nobody else's."""


def is_ours(folder: Path) -> bool:
    """Whether a folder was written by Sparseloom."""
    try:
        found = json.loads((folder / MARK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(found, dict) and all(found.get(key) == value for key, value in MARK.items())


def check_target(path: str | os.PathLike) -> Path:
    """Where a folder may be written.

    Raises
    ------
    InputError
        If something else than an empty or an earlier folder of ours is there.
    """
    target = Path(path)
    if target.is_dir():
        if any(target.iterdir()) and not is_ours(target):
            raise InputError(f"output {target}: expected an empty folder or an earlier result, "
                             "found other files")
    elif target.exists() or target.is_symlink():
        raise InputError(f"output {target}: expected a folder, found a file")
    return target


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A fresh folder to fill, which becomes ``path`` when the block ends without an error.

    The block writes :data:`MARK` into it, or nothing may replace it later.

    Raises
    ------
    InputError
        If something else than an empty or an earlier folder of ours is there, nothing can be
        written beside it, or the system refuses something in the block, such as a full disk. What
        was there before is then as it was.
    """
    target = check_target(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = fresh_name(target)
        fresh.mkdir()
    except OSError as error:
        raise InputError(f"output {target}: expected a place to write, found: "
                         f"{error.strerror}") from None
    old = fresh.with_name(f"{fresh.name}.old")
    try:
        with room_to_write(target):
            yield fresh
            if target.exists():
                os.replace(target, old)
            os.replace(fresh, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.replace(old, target)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
