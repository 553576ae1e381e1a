"""Rows of a planned table: those that are asked for, one more in its place, those not there yet."""
from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

from bench.folders import Folders, read_json, write_json
from bench.locks import locked
from sparseloom.hw.errors import ToolError
from sparseloom.model.errors import InputError


class Planned(Protocol):
    """A row before it is measured; its settings are attributes."""

    @property
    def name(self) -> str:
        """In the table."""
        ...


Plan = TypeVar("Plan", bound=Planned)


def asked_for(plan: Iterable[Plan], options: Namespace, names: Iterable[str],
              ) -> tuple[dict[str, Any], list[Plan]]:
    """Settings that the command line names, and the rows that have them all."""
    asked = {name: value for name in names if (value := getattr(options, name)) is not None}
    return asked, [row for row in plan
                   if all(getattr(row, name) == value for name, value in asked.items())]


def find_row(rows: Iterable[Mapping[str, Any]], name: str) -> Mapping[str, Any] | None:
    """The measured row of a name."""
    return next((row for row in rows if row["row"] == name), None)


def with_row(rows: Iterable[Mapping[str, Any]], new: Mapping[str, Any], plan: Sequence[Planned],
             ) -> list[Mapping[str, Any]]:
    """Measured rows in the plan's order, others behind them; ``new`` replaces one of its name."""
    order = {planned.name: index for index, planned in enumerate(plan)}
    by_name = {row["row"]: row for row in rows} | {new["row"]: new}
    return sorted(by_name.values(),
                  key=lambda row: (order.get(row["row"], len(order)), row["row"]))


class Table(Generic[Plan]):
    """A plan's measured rows in a results file, ``NAME.json``, written one by one.

    Parameters
    ----------
    folders : Folders
    name : str
        Of the file.
    plan : sequence of Planned
    """

    def __init__(self, folders: Folders, name: str, plan: Sequence[Plan]):
        self._file, self._lock = folders.results / f"{name}.json", folders.lock(name)
        self._plan = plan

    def rows(self) -> list[Mapping[str, Any]]:
        """Those measured; none if there is no file."""
        return (read_json(self._file) or {"rows": []})["rows"]

    def fill(self, chosen: Iterable[Plan], *,
             is_current: Callable[[Mapping[str, Any] | None, Plan], bool],
             measure: Callable[[Plan], Mapping[str, Any]],
             line: Callable[[Mapping[str, Any]], str]) -> int:
        """Measure and keep the rows that are not there yet, or not current.

        Parameters
        ----------
        chosen : iterable of Planned
        is_current : callable
            Whether a measured row, if any, still is what the plan asks for.
        measure : callable
        line : callable
            What to print of a row behind its name.

        Returns
        -------
        int
            Exit code: 0, or the worst of the rows that failed; the others are measured.
        """
        code = 0
        for row in chosen:
            try:
                if is_current(find_row(self.rows(), row.name), row):
                    print(f"{row.name}: measured already", flush=True)
                    continue
                found = {"row": row.name, **measure(row)}
                with locked(self._lock):
                    write_json(self._file, {"rows": with_row(self.rows(), found, self._plan)},
                               indent=2)
            except (InputError, ToolError) as error:     # the next row may do
                print(f"error: {row.name}: {error}", file=sys.stderr, flush=True)
                code = max(code, 2 if isinstance(error, InputError) else 1)
                continue
            print(f"{row.name}: {line(found)}", flush=True)
        return code
