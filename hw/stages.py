"""Stages of long work as they begin: a bar on a terminal, a line in a log."""
from collections.abc import Callable, Iterator
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


@contextmanager
def shown_stages(console: Console, total: int) -> Iterator[Callable[[str], None]]:
    """Yields a function that is told each stage when it begins.

    Parameters
    ----------
    console : Console
        On anything but a terminal each stage is a line.
    total : int
        Stages to come.
    """
    if not console.is_terminal:
        yield lambda title: console.print(f"  {title}", markup=False, highlight=False)
        return
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(),
               MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=total)
        begun = 0

        def begin(title: str) -> None:
            nonlocal begun
            progress.update(task, description=title, completed=begun)
            begun += 1

        yield begin
