"""What sections are made of: escaped text, tables that sort, charts as data."""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

BLUE, ORANGE, GREEN, RED, PINK, GREY = ("#2a8fd0", "#e69f00", "#009e73", "#d55e00", "#cc79a7",
                                        "#8c8c8c")
"""After Okabe and Ito: told apart by everybody, on white and on black."""

Figure = dict[str, Any]
"""``data`` and ``layout`` as Plotly has them; the page adds colours of text and grid."""
Cell = str | float | int | None | tuple[str, float]
"""Text, a number, nothing, or a text and the number that it sorts by."""
SHORT = 24
"""Rows of a table that is shown whole; a longer one scrolls."""


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of the page.

    Parameters
    ----------
    name : str
        Its anchor.
    title : str
    body : str
        HTML.
    figures : dict of str to Figure
        Charts that the body has places for, by their names.
    there : bool
        False where the input is missing, and the body says what makes it.
    """

    name: str
    title: str
    body: str
    figures: dict[str, Figure] = field(default_factory=dict)
    there: bool = True


def missing(name: str, title: str, what: str, command: str) -> Section:
    """A section whose input is not there: what it would show, and what makes the input."""
    return Section(name=name, title=title, there=False, body=(
        f'<p class="missing">Not there: {escape(what)}. This makes it:</p>'
        f"<pre>{escape(command)}</pre>"))


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{f' class={kind!r}' if kind else ''}>{escape(text)}</p>"


def chart(name: str, label: str, *, height: int = 380) -> str:
    """A place for a chart; ``height`` in pixels, ``label`` for those who cannot see it."""
    return (f'<div class="chart" data-figure="{escape(name)}" role="img" '
            f'aria-label="{escape(label)}" style="height:{height}px"></div>')


def chooser(label: str, choices: Sequence[tuple[str, str]], shows: str) -> str:
    """A list to choose a figure from: (figure, text) each, for the chart ``shows``."""
    options = "".join(f'<option value="{escape(value)}">{escape(text)}</option>'
                      for value, text in choices)
    return (f'<label>{escape(label)} <select data-shows="{escape(shows)}">{options}</select>'
            "</label>")


def table(headings: Sequence[str], rows: Iterable[Sequence[Cell]], *, foot: Sequence[Cell] = (),
          ) -> str:
    """A table that sorts by a click on a heading; ``foot`` stays at the end, and in sight."""
    rows = [list(row) for row in rows]
    words = [all(isinstance(row[place], str) for row in rows) for place in range(len(headings))]
    head = "".join(f'<th scope="col"{"" if word else " class=number"}>'
                   f'<button type="button">{escape(text)}</button></th>'
                   for text, word in zip(headings, words, strict=True))
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    end = f"<tfoot><tr>{''.join(map(_cell, foot))}</tr></tfoot>" if foot else ""
    kind = "scroll short" if len(rows) <= SHORT else "scroll"
    return (f'<div class="{kind}"><table class="sortable"><thead><tr>{head}</tr></thead>'
            f"<tbody>{body}</tbody>{end}</table></div>")


def _cell(value: Cell) -> str:
    if value is None:
        return '<td class="number">–</td>'
    if isinstance(value, str):
        return f"<td>{escape(value)}</td>"
    text, number = value if isinstance(value, tuple) else (f"{value:,}", value)
    return f'<td class="number" data-value="{number!r}">{escape(text)}</td>'


def fixed(value: float | None, digits: int, unit: str = "") -> Cell:
    """A number as text with so many digits behind the point; sorts by its value."""
    return None if value is None else (f"{value:,.{digits}f}{unit}", value)
