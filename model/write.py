"""Write a file whole or not at all."""
from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sparseloom.model.errors import InputError

_OS_ERROR = re.compile(r"\(os error (\d+)\)")
"""How libraries written in Rust tell of the system's refusal, whatever class they raise."""


def fresh_name(path: Path) -> Path:
    """A name in the same folder that nothing has yet."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def write_whole(path: str | os.PathLike, data: bytes) -> None:
    """Write a file under another name first, so that a reader never sees half of it.

    The file gets the permissions that any new file gets: 0666 without the bits of the umask.

    Parameters
    ----------
    path : path
        Its folder must be there; an earlier file of this name is replaced.
    data : bytes

    Raises
    ------
    OSError
        If it cannot be written; an earlier file of this name is then as it was.
    """
    path = Path(path)
    part = fresh_name(path)
    handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def system_reason(error: BaseException) -> str | None:
    """What the system said, in its own words; None where it was not the system that refused.

    safetensors and tokenizers pass on a full disk as exceptions of their own.
    """
    if isinstance(error, OSError):
        if error.strerror:
            return error.strerror
        return (str(error).splitlines() or [type(error).__name__])[0]
    found = _OS_ERROR.search(str(error))
    return os.strerror(int(found[1])) if found else None


def write_json(path: Path, value: Any, *, indent: int = 2) -> None:
    """Write a value as JSON, whole or not at all; the folder is made.

    Parameters
    ----------
    path : Path
    value : JSON-ready
    indent : int
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, (json.dumps(value, indent=indent) + "\n").encode())


@contextmanager
def room_to_write(target: str | os.PathLike) -> Iterator[None]:
    """Whatever the system refuses inside the block becomes one line about the output.

    Raises
    ------
    InputError
        For a full disk, a quota, a folder that may not be written.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = system_reason(error)
        if reason is None:
            raise
        raise InputError(f"output {target}: expected room to write, found: {reason}") from error
