"""Runs a function over many arguments: in this process, or on a Dask cluster."""
from __future__ import annotations

import logging
import os
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import resource_tracker
from typing import Any, Protocol, TypeVar

from sparseloom.model.errors import InputError
from sparseloom.sim.errors import SimulationError

Argument = TypeVar("Argument")
Result = TypeVar("Result")

CONNECT_SECONDS = 15
AHEAD = 4
"""Tasks that are with the scheduler for each thread of a worker: enough that none waits for us, few
enough that their data is small."""


class Farm(Protocol):
    """Something that computes."""

    def results(self, function: Callable[[Argument], Result],
                arguments: Sequence[Argument]) -> Iterator[Result]:
        """Results in the order in which they are finished, each once.

        Parameters
        ----------
        function : function
            Of a module that workers can import.
        arguments : sequence
        """
        ...


class Serial:
    """This process, one after the other."""

    def results(self, function, arguments):
        """See :class:`Farm`."""
        for argument in arguments:
            yield function(argument)


class Dask:
    """A Dask cluster. What a lost worker had not delivered is computed again by another.

    Parameters
    ----------
    client : distributed.Client
    """

    def __init__(self, client: Any):
        self.client = client

    def results(self, function, arguments):
        """See :class:`Farm`.

        Raises
        ------
        SimulationError
            If no worker survives a task, or the cluster goes away.
        """
        from distributed import as_completed

        waiting = iter(arguments)
        finished = as_completed(with_results=True, raise_errors=False, loop=self.client.loop)
        open_tasks = 0

        def submit() -> bool:
            for argument in waiting:
                finished.add(self.client.submit(function, argument, pure=False))
                return True
            return False

        while open_tasks < self._room() and submit():
            open_tasks += 1
        while open_tasks:
            future, result = next(finished)
            open_tasks -= 1
            if future.status in ("error", "cancelled"):
                self._fail(future)      # a result that is here stays good if its worker dies now
            future.release()
            while open_tasks < self._room() and submit():   # workers may have come or gone
                open_tasks += 1
            yield result

    def _room(self) -> int:
        return AHEAD * max(1, sum(self.client.nthreads().values()))

    def _fail(self, future: Any) -> None:
        """Raise what a task ended with: ours as it is, the cluster's in one line."""
        if future.status == "cancelled":
            raise SimulationError("the Dask cluster went away; what was finished is kept, and the "
                                  "same command goes on from there")
        error = future.exception()
        from distributed.scheduler import KilledWorker

        if isinstance(error, KilledWorker):
            raise SimulationError(f"every worker that was given the same points died, "
                                  f"{error.allowed_failures + 1} in all; what was finished is "
                                  "kept, and the same command goes on from there") from error
        if isinstance(error, (InputError, SimulationError)):
            raise error
        if isinstance(error, ImportError):
            raise SimulationError(f"a worker cannot import Sparseloom ({error}); install it in the "
                                  "workers' environment") from error
        raise SimulationError(f"a worker failed: {type(error).__name__}: {error}") from error


@contextmanager
def open_farm(*, scheduler: str | None = None, workers: int | None = None) -> Iterator[Farm]:
    """What computes: a cluster of this machine's cores unless something else is said.

    Parameters
    ----------
    scheduler : str, optional
        Address of a Dask scheduler, ``tcp://host:8786``, whose workers can import Sparseloom.
    workers : int, optional
        Processes of a local cluster, one for each core by default; 0 computes in this process.

    Raises
    ------
    InputError
        If no scheduler answers, or both are given.
    """
    if scheduler is not None and workers is not None:
        raise InputError("--workers: expected none beside --scheduler, whose cluster has its own, "
                         f"found {workers}")
    if workers is not None and workers < 0:
        raise InputError(f"--workers: expected 0 or more, found {workers}")
    if workers == 0:
        yield Serial()
        return
    # Only now: it takes a second to load.
    from distributed import Client, LocalCluster

    if scheduler is not None:
        with _connected(Client, scheduler) as client:
            yield Dask(client)
        return
    with ExitStack() as stack:
        stack.enter_context(_quiet())
        with _deaf_to_interrupts():
            cluster = stack.enter_context(LocalCluster(
                n_workers=workers or os.cpu_count() or 1, threads_per_worker=1, processes=True,
                silence_logs=logging.CRITICAL,
                dashboard_address=None))  # pyright: ignore[reportArgumentType]
        yield Dask(stack.enter_context(Client(cluster)))


@contextmanager
def _connected(client_type: Any, scheduler: str) -> Iterator[Any]:
    """A client of a cluster that somebody else runs."""
    try:
        client = client_type(scheduler, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, TypeError, ImportError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"--scheduler: expected a Dask scheduler at {scheduler}, "
                         f"found: {reason}") from None
    with _quiet(), client:
        yield client


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C waits until the end of this, and never comes to processes started here, now or later.

    A terminal sends it to all of them. This one ends the others in order; a worker that had it as
    well would die in the middle of whatever it does, with a trace of its own. What a thread blocks,
    threads and processes started by it block.
    """
    # It unblocks the signal where it is started.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the library's notes about its own comings and goings."""
    # Some of its parts have levels of their own.
    logs = [logging.getLogger(name) for name in list(logging.root.manager.loggerDict)
            if name.split(".")[0] == "distributed"]
    levels = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module="distributed")
            yield
    finally:
        for log, level in zip(logs, levels, strict=True):
            log.setLevel(level)
