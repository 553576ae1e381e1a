"""Progress that is seen everywhere: bars on a terminal, lines in a log."""
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

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


class ResultWatch:
    """While it is open, shows on a task how many bytes of results a simulation has recorded.

    Parameters
    ----------
    folder : Path
        Of the run; all files ``results*.bin`` in it count.
    title : str
        Of the task.
    total : int
        Bytes that will come.
    bus_bytes : int
        Bytes of a beat.
    progress : rich Progress, optional
        Nothing is shown without it.
    """

    def __init__(self, folder: Path, title: str, total: int, bus_bytes: int,
                 progress: Progress | None):
        self.folder, self.progress = folder, progress
        self.share = bus_bytes / (4 + bus_bytes)          # result bytes per byte of a file
        self.stop = threading.Event()
        self.thread = None
        self.total = total
        if progress is not None:
            self.task = progress.add_task(title, total=total)
            self.thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self):
        if self.thread:
            self.thread.start()
        return self

    def __exit__(self, kind, *_):
        self.stop.set()
        if self.thread and self.progress is not None:
            self.thread.join()
            if kind is None:
                self.progress.update(self.task, completed=self.total)

    def _watch(self):
        assert self.progress is not None
        while not self.stop.wait(0.5):
            size = 0
            for path in self.folder.glob("results*.bin"):
                with suppress(FileNotFoundError):             # renamed in this moment
                    size += path.stat().st_size
            self.progress.update(self.task, completed=min(self.total, int(size * self.share)))
