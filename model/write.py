"""Write a file whole or not at all."""
from __future__ import annotations

import os
import secrets
from pathlib import Path


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
