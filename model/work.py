"""A run's working folder: checkpoints of unfinished training, for one set of settings."""
from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparseloom.model.errors import DivergedError, InputError
from sparseloom.model.write import write_whole

NOTE = "run.json"
DENSE = "dense"
"""The fine-tuned model that a pruning run begins with, where the checkpoint brought no head."""


def is_first_process() -> bool:
    """Whether this is the only process, or the one of torchrun's that writes and speaks."""
    return os.environ.get("RANK", "0") == "0"


def work_folder(out_dir: str | Path) -> Path:
    """Where a run that ends in ``out_dir`` keeps its checkpoints: beside it."""
    out = Path(out_dir)
    return out.with_name(f"{out.name}.work")


def fingerprint(data: Any) -> str:
    """SHA-256 of plain data."""
    text = json.dumps(data, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def open_work(out_dir: str | Path, settings: Mapping[str, Any], *, restart: bool,
              main: bool = True) -> Path:
    """The working folder of a run, new or as an interrupted run with the same settings left it.

    Parameters
    ----------
    settings : mapping
        All that decides the result, as plain data.
    restart : bool
        Throw away what is there.
    main : bool
        Whether this process writes.

    Raises
    ------
    InputError
        If a run with other settings was left there, or nothing can be written.
    """
    folder = work_folder(out_dir)
    note = folder / NOTE
    wanted = fingerprint(settings)
    if not main:
        return folder
    if restart or (folder.is_dir() and not any(folder.iterdir())):
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        try:
            found = json.loads(note.read_text(encoding="utf-8"))["fingerprint"]
        except (OSError, ValueError, KeyError, TypeError):
            raise InputError(f"working folder {folder}: expected an interrupted run's {NOTE}, "
                             "found none; remove the folder") from None
        if found != wanted:
            raise InputError(f"working folder {folder}: expected an interrupted run with these "
                             "settings, model and data, found one with others; finish that one, or "
                             "--restart to discard it")
        return folder
    try:
        folder.mkdir(parents=True)
        write_whole(note, json.dumps({"fingerprint": wanted, "settings": settings}, indent=1,
                                     default=str).encode())
    except OSError as error:
        raise InputError(f"working folder {folder}: expected a place to write, found: "
                         f"{error.strerror}") from None
    return folder


@contextmanager
def working_folder(out_dir: str | Path, settings: Mapping[str, Any], *, restart: bool,
                   main: bool = True) -> Iterator[Path]:
    """A run's working folder, as :func:`open_work` opens it, until the result is written.

    When the block ends, nobody needs it any more. An error leaves it only where there is something
    in it to go on from, so that wrong input can be put right and called again; a run that diverged
    has nothing.
    """
    folder = open_work(out_dir, settings, restart=restart, main=main)
    try:
        yield folder
    except BaseException as error:
        if main and (isinstance(error, DivergedError) or not _is_worth_keeping(folder)):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    if main:
        shutil.rmtree(folder, ignore_errors=True)


def _is_worth_keeping(folder: Path) -> bool:
    return (folder / DENSE).is_dir() or any(folder.rglob("trainer_state.json"))
