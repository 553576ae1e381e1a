"""Progress that is seen everywhere: bars on a terminal, lines in a log."""
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

LOG_SECONDS = 10.0
"""Seconds between two lines of a log about the same task."""


@contextmanager
def progress_bars(console: Console, *, every: float = LOG_SECONDS) -> Iterator[Progress]:
    """A started progress display; finished tasks disappear, the caller prints what remains.

    Parameters
    ----------
    console : Console
        Where to show it. On anything but a terminal a line about each running task is printed
        every so often instead.
    every : float
        Seconds between such lines.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
               MofNCompleteColumn(), TimeElapsedColumn())
    progress = Progress(*columns, console=console, transient=True,
                        disable=not console.is_terminal)
    if console.is_terminal:
        with progress:
            yield progress
        return
    stop = threading.Event()
    reporter = threading.Thread(target=_log, args=(progress, console, every, stop), daemon=True)
    reporter.start()
    try:
        yield progress
    finally:
        stop.set()
        reporter.join()


def _log(progress: Progress, console: Console, every: float, stop: threading.Event) -> None:
    start = time.monotonic()
    while not stop.wait(every):
        for task in progress.tasks:
            if task.finished:
                continue
            done = "" if task.total is None else f": {task.completed:g} of {task.total:g}"
            console.print(f"  {time.monotonic() - start:5.0f} s  {task.description}{done}",
                          markup=False, highlight=False)
