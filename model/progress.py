"""A stage of work on a progress display that may not be there."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import Progress


@contextmanager
def stage(progress: Progress | None, title: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a stage of ``total`` steps; yields the function that advances it.

    With ``progress=None`` nothing is shown.
    """
    if progress is None:
        yield lambda steps: None
        return
    task = progress.add_task(title, total=total)
    yield lambda steps: progress.advance(task, steps)
