"""A real Dask scheduler and workers as processes on loopback."""
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

SECONDS = 60


class Processes:
    """A scheduler at ``address`` and its ``workers``, one thread each, which nobody restarts."""

    def __init__(self, folder: Path, stack: ExitStack, workers: int, settings: dict[str, str]):
        self.folder, self._stack, self._environment = folder, stack, os.environ | settings
        told = folder / "scheduler.json"
        self.scheduler = self._start("scheduler", "--port", "0", "--scheduler-file", str(told))
        self.address: str = self._wait(told)
        self.workers = [self._start("worker", self.address, "--nthreads", "1", "--no-nanny",
                                    "--local-directory", str(folder))
                        for _ in range(workers)]

    def _start(self, kind: str, *words: str) -> subprocess.Popen:
        log = self._stack.enter_context((self.folder / f"{kind}.log").open("ab"))
        process = subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.dask_{kind}", "--host", "127.0.0.1",
             "--no-dashboard", *words],
            stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
            env=self._environment)
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return process

    def _wait(self, told: Path) -> str:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            try:
                return json.loads(told.read_text())["address"]
            except (OSError, ValueError):
                time.sleep(0.05)
        raise TimeoutError((self.folder / "scheduler.log").read_text())


@contextmanager
def dask_processes(folder: Path, workers: int, **settings: str) -> Iterator[Processes]:
    """They end with the block; ``settings`` are variables of their environment."""
    with ExitStack() as stack:
        yield Processes(folder, stack, workers, settings)
