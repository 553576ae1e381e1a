"""The clock of a unit on an FPGA, from the table of fits that were really made."""
from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError, cut

ALIKE = tuple(one.name for one in fields(ArrayConfig) if one.name != "target")
"""Settings that a fit and a build must share for the fit's clock to be the build's: all but the
target."""
MAKE_FIT = "sparseloom hw fit --json FILE"


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A unit's clock.

    Parameters
    ----------
    mhz : float
        Median over the seeds of place and route.
    part : str
        The FPGA; ``given`` where the user named the clock.
    seeds : dict of str to float
        MHz by seed.
    row : str, optional
        Of the table.
    target : str, optional
        Technology body of the build that was fitted.
    """

    mhz: float
    part: str
    seeds: dict[str, float]
    row: str | None = None
    target: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def read_fits(path: Path) -> list[dict[str, Any]]:
    """Fits in a file: the bench's table, or what ``sparseloom hw fit --json`` writes.

    Raises
    ------
    InputError
        If it is neither.
    """
    found = read_json(path)
    rows = [found] if isinstance(found, dict) and "fmax_mhz" in found else (
        found.get("rows") if isinstance(found, dict) else None)
    try:
        for row in rows or ():
            _ = float(row["fmax_mhz"]["median"]), row["config"]["rows"], row["device"]["part"]
    except (KeyError, TypeError, ValueError) as error:
        raise _unlike(path, f"a row without {error}") from None
    if not isinstance(rows, list) or not rows:
        raise _unlike(path, "no row")
    return rows


def _unlike(path: Path, found: str) -> InputError:
    return InputError(f"fits {path}: expected rows as 'sparseloom hw fit --json' writes them, "
                      f"found {cut(found)}")


def read_json(path: Path) -> Any:
    """A JSON file.

    Raises
    ------
    InputError
        If it is none.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: expected a JSON file, found: {error}") from None


def find_clock(fits: list[dict[str, Any]], config: ArrayConfig) -> Clock | None:
    """The fastest fit of a build like this one; None if there is none.

    Cycles do not depend on the target, so a fit for ``ecp5`` serves a ``generic`` simulation.
    """
    def alike(row: Mapping[str, Any]) -> bool:
        built = row["config"]
        return all(built.get(name) == getattr(config, name) for name in ALIKE)

    rows = [row for row in fits if alike(row)]
    if not rows:
        return None
    best = max(rows, key=lambda row: row["fmax_mhz"]["median"])
    return Clock(mhz=float(best["fmax_mhz"]["median"]), part=best["device"]["part"],
                 seeds=dict(best["fmax_mhz"].get("seeds", {})), row=best.get("row"),
                 target=best["config"].get("target"))
