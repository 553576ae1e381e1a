"""Folders of finished runs of slow tools, each named after everything that it depends on."""
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from sparseloom.model.errors import InputError
from sparseloom.model.write import system_reason

RECIPE = "recipe.json"
"""File in a folder that says what it was made from; it is written last."""


def key_of(recipe: Mapping) -> str:
    """A name for what a run depends on: equal recipes, equal names."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:20]


def made(folder: Path, recipe: Mapping, make: Callable[[Path], None]) -> bool:
    """See that a folder is there, whole, and made from this recipe.

    Any number of processes may ask at the same time; one of them makes it. A run that fails
    leaves its log beside the folder, with the ending ``.log``.

    Parameters
    ----------
    folder : Path
        Its parents are made.
    recipe : mapping
        JSON-ready; all that the contents depend on.
    make : function
        Fills the empty folder that it is given, on the same file system.

    Returns
    -------
    bool
        Whether it was there before.

    Raises
    ------
    InputError
        If the folder cannot be made: what the system said, a full disk for instance.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = folder.with_name(f"{folder.name}.lock")
        lock.touch()
    except OSError as error:
        raise InputError(f"cannot write to {folder.parent}: {error.strerror}") from error
    try:
        return _made(folder, lock, recipe, make)
    except OSError as error:
        at = f" {error.filename}" if error.filename else ""     # it names no file for a full disk
        raise InputError(f"run {folder}: expected to write all its files, found{at}: "
                         f"{system_reason(error)}") from error


def _made(folder: Path, lock: Path, recipe: Mapping, make: Callable[[Path], None]) -> bool:
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if _recipe(folder) == dict(recipe):
            return True
        for left in folder.parent.glob(f".part-{folder.name}-*"):   # of a run that was killed
            shutil.rmtree(left, ignore_errors=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".part-{folder.name}-") as part:
            whole = Path(part, "whole")
            whole.mkdir()
            make(whole)
            (whole / RECIPE).write_text(json.dumps(recipe, indent=2, sort_keys=True) + "\n")
            shutil.rmtree(folder, ignore_errors=True)
            os.replace(whole, folder)
    return False


def _recipe(folder: Path) -> dict | None:
    try:
        return json.loads((folder / RECIPE).read_text())
    except (OSError, ValueError):
        return None
