"""Which rule of ``protocol.sv`` a simulation broke, from its messages."""
import re
from pathlib import Path

BROKEN = re.compile(r"^\[(\d+)\] %Error: \S+ Assertion failed in (\S+): (.*)$", re.MULTILINE)
"""Verilator's message of an assertion: time in ps, hierarchical name, our words."""


def broken_rule(log: Path) -> str | None:
    """What the first broken rule was, where and when; None if none was.

    Parameters
    ----------
    log : Path
        Messages of a simulation. One that is not there tells of none.
    """
    found = BROKEN.search(log.read_text(errors="replace")) if log.is_file() else None
    if found is None:
        return None
    time, place, words = found.groups()
    return f"a rule of the ports was broken, {place} at {int(time) // 1000} ns: {words}"
