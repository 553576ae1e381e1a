"""The sections as one self-contained HTML file."""
from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from html import escape
from importlib.resources import files
from typing import Any

from sparseloom.sim.page.parts import Section

POLICY = ("default-src 'none'; img-src data: blob:; style-src 'unsafe-inline'; "
          "script-src 'unsafe-inline'; form-action 'none'; base-uri 'none'")
"""What the page may load: nothing that is not in it. The browser holds it to that."""
Tile = tuple[str, str]
"""A figure that matters, and what it is."""


@cache
def _asset(name: str) -> str:
    return (files("sparseloom.sim.page") / name).read_text(encoding="utf-8")


def plotly_script() -> str:
    """Plotly's own bundle, as the package brings it."""
    # Only now: --help needs none of it.
    from plotly.offline import get_plotlyjs

    return _script(get_plotlyjs())


def _script(text: str) -> str:
    """JavaScript that cannot end the element that it stands in."""
    return re.sub(r"</(?=script)|<(?=!--)", lambda found: "<\\" + found[0][1:], text,
                  flags=re.IGNORECASE)


def make_page(title: str, subtitle: str, tiles: Sequence[Tile], warnings: Sequence[str],
              sections: Sequence[Section]) -> str:
    """The page.

    Parameters
    ----------
    title, subtitle : str
    tiles : sequence of (str, str)
        At the head: value and what it is.
    warnings : sequence of str
        What did not hold; before everything else.
    sections : sequence of Section

    Returns
    -------
    str
        HTML that loads nothing: scripts, styles and images are in it. The same input gives the
        same text.
    """
    figures: dict[str, Any] = {name: figure for section in sections
                               for name, figure in section.figures.items()}
    links = "".join(f'<li><a href="#{section.name}">{escape(section.title)}</a></li>'
                    for section in sections)
    head = "".join(f"<div><b>{escape(value)}</b><span>{escape(what)}</span></div>"
                   for value, what in tiles)
    body = "".join(f'<section id="{section.name}"><h2>{escape(section.title)}</h2>{section.body}'
                   "</section>" for section in sections)
    warned = "".join(f'<p class="warn">{escape(text)}</p>' for text in warnings)
    data = json.dumps(figures, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        f"<title>{escape(title)}</title><style>\n{_asset('page.css')}</style></head>\n"
        f"<body><header><h1>{escape(title)}</h1><p>{escape(subtitle)}</p>{warned}"
        f'<div class="tilesum">{head}</div></header><nav><ul>{links}</ul></nav>'
        f"<main>{body}</main><footer>Made by Sparseloom. This file loads nothing from anywhere."
        "</footer>\n"
        f'<script type="application/json" id="figures">{data}</script>\n'
        f"<script>{plotly_script()}</script>\n<script>\n{_asset('page.js')}</script>"
        "</body></html>\n")
