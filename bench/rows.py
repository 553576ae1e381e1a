"""Rows of a planned table: those that are asked for, and one more in its place."""
from __future__ import annotations

from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar


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
