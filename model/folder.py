"""Write a folder whole or not at all."""
from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sparseloom.model.errors import InputError

MARK = "task.json"
"""What tells a folder of ours, which may be replaced, from anybody else's."""


def check_target(path: str | os.PathLike) -> Path:
    """Where a folder may be written.

    Raises
    ------
    InputError
        If something else than an empty or an earlier folder of ours is there.
    """
    target = Path(path)
    if target.is_dir():
        if any(target.iterdir()) and not (target / MARK).is_file():
            raise InputError(f"output {target}: expected an empty folder or an earlier result, "
                             "found other files")
    elif target.exists() or target.is_symlink():
        raise InputError(f"output {target}: expected a folder, found a file")
    return target


@contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A fresh folder to fill, which becomes ``path`` when the block ends without an error.

    Raises
    ------
    InputError
        If something else than an empty or an earlier folder of ours is there, or nothing can be
        written beside it.
    """
    target = check_target(path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise InputError(f"output {target}: expected a place to write, found: "
                         f"{error.strerror}") from None
    old = fresh.with_name(f"{fresh.name}.old")
    try:
        yield fresh
        fresh.chmod(0o755)
        if target.exists():
            os.replace(target, old)
        os.replace(fresh, target)
    except BaseException:
        if old.exists() and not target.exists():
            os.replace(old, target)
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
