"""Runs a slow tool in a process of its own, with a log, a time limit and news of its stages."""
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from sparseloom.hw.errors import ToolError
from sparseloom.model.errors import InputError
from sparseloom.model.write import system_reason

POLL_SECONDS = 0.2

# PR_SET_PDEATHSIG, SIGKILL: a run of an hour must not outlive the process that wanted it.
LINKED = """
import ctypes, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)
"""
"""Begins the program of every child."""


def package_version(package: str) -> str:
    """Version of a tool that is a Python package.

    Raises
    ------
    InputError
        If it is missing.
    """
    try:
        return version(package)
    except PackageNotFoundError:
        raise InputError(f"{package}: expected the Python package, found none "
                         f"(pip install {package})") from None


def run_tool(name: str, program: str, arguments: Sequence[str], *, folder: Path, log: Path,
             seconds: float, keep_log: Path,
             heard: Callable[[str], None] = lambda line: None) -> float:
    """Run to the end.

    Parameters
    ----------
    name : str
        For messages.
    program : str
        Python source, run by this interpreter.
    arguments : sequence of str
        Its ``sys.argv[1:]``.
    folder : Path
        Where it runs.
    log : Path
        Gets all that it prints.
    seconds : float
        Its time limit.
    keep_log : Path
        Where the log goes if the tool fails.
    heard : function
        Called with each new line of the log, soon after it was written.

    Returns
    -------
    float
        Seconds that it took.

    Raises
    ------
    ToolError
        If it fails or takes too long, or cannot be started.
    """
    start = time.monotonic()
    fault, begun = None, ""         # a line may be read before all of it was written
    with ExitStack() as opened:
        with _told(name, log):
            keep_log.unlink(missing_ok=True)
            out = opened.enter_context(open(log, "wb"))
            lines = opened.enter_context(open(log, encoding="utf-8", errors="replace"))
            process = subprocess.Popen([sys.executable, "-c", LINKED + program, *arguments],
                                       cwd=folder, stdout=out, stderr=subprocess.STDOUT,
                                       stdin=subprocess.DEVNULL)
        try:
            while fault is None:
                try:
                    code = process.wait(POLL_SECONDS)
                except subprocess.TimeoutExpired:
                    code = None
                for piece in lines:
                    begun += piece
                    if begun.endswith("\n"):
                        heard(begun.rstrip("\n"))
                        begun = ""
                if code is not None:
                    if begun:
                        heard(begun)
                    if code:
                        fault = f"failed with code {code}"
                    break
                if time.monotonic() - start > seconds:
                    fault = f"took longer than {seconds:g} seconds"
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if fault is not None:
        with _told(name, keep_log):
            log.replace(keep_log)
        raise ToolError(f"{name} {fault}{_last_error(keep_log)}; its log is {keep_log}")
    return time.monotonic() - start


@contextmanager
def _told(name: str, file: Path) -> Iterator[None]:
    """What the system refuses is a line; not what ``heard`` raises, which is the caller's."""
    try:
        yield
    except OSError as error:
        raise ToolError(f"{name}: expected to write its log {file}, found "
                        f"{error.filename or file}: {system_reason(error)}") from error


def _last_error(log: Path) -> str:
    found = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines()
             if line.startswith("ERROR:")]
    return f": {found[-1].removeprefix('ERROR:').strip()}" if found else ""
