"""Pictures of a report for the README: ``python -m bench.screenshots REPORT.html -o docs/images``.

Needs Chromium and its driver (Debian: ``apt-get install chromium chromium-driver``).
"""
from __future__ import annotations

import argparse
import base64
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from sparseloom.model.write import write_whole

MOST_BYTES = 200_000
"""Of a picture."""


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture.

    Parameters
    ----------
    name : str
        Of the file, without its ending.
    first, last : str
        CSS selectors of the elements that it begins and ends with.
    width : int
        Of the screen, in pixels.
    most : int
        Height, in pixels.
    scheme : str
        ``light`` or ``dark``.
    """

    name: str
    first: str
    last: str
    width: int = 1000
    most: int = 900
    scheme: str = "light"


SHOTS = (
    Shot(name="receipt", first="html", last="#receipt .chart", most=1100),
    Shot(name="masks", first="#masks", last="#masks .tiles", scheme="dark"),
    Shot(name="timeline", first="#timeline", last="#timeline .chart"),
    Shot(name="front", first="#front", last="#front .chart", scheme="dark"),
    Shot(name="phone", first="html", last="#receipt .chart", width=390, most=1100,
         scheme="dark"),
)


def take(report: Path, out: Path) -> list[str]:
    """Take every picture whose section is drawn from data.

    Returns
    -------
    list of str
        A line each: file and size, or why it was left out.

    Raises
    ------
    ValueError
        If a picture is too large.
    """
    # Only here: the report's tests have the browser.
    from tests.sim.browser import open_browser, show

    lines = []
    out.mkdir(parents=True, exist_ok=True)
    with open_browser() as chrome:
        # A picture has none; so that the page does not grow shorter as it is taken.
        chrome.execute_cdp_cmd("Emulation.setScrollbarsHidden", {"hidden": True})
        for shot in SHOTS:
            show(chrome, report, width=shot.width, scheme=shot.scheme)
            edges = chrome.execute_script("""
                const edge = word => document.querySelector(word)?.getBoundingClientRect();
                const [first, last] = [edge(arguments[0]), edge(arguments[1])];
                return first && last && [first.top + scrollY, last.bottom + scrollY]""",
                                          shot.first, shot.last)
            if edges is None:
                lines.append(f"{shot.name}: left out, the report has no {shot.last}")
                continue
            top, bottom = edges
            answer = chrome.execute_cdp_cmd("Page.captureScreenshot", {
                "captureBeyondViewport": True, "clip": {
                    "x": 0, "y": top, "width": shot.width, "scale": 1,
                    "height": min(bottom - top + 8, shot.most)}})
            data = smaller(base64.b64decode(answer["data"]))
            if len(data) > MOST_BYTES:
                raise ValueError(f"{shot.name}: expected at most {MOST_BYTES:,} bytes, found "
                                 f"{len(data):,}")
            write_whole(out / f"{shot.name}.png", data)
            lines.append(f"{out / shot.name}.png: {len(data):,} bytes")
    return lines


def smaller(png: bytes) -> bytes:
    """The same picture with a palette of 128 colours."""
    data = io.BytesIO()
    Image.open(io.BytesIO(png)).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(
        data, "PNG", optimize=True)
    return data.getvalue()


def main(words: Sequence[str] | None = None) -> int:
    """Take the pictures; exit code 2 without a report."""
    parser = argparse.ArgumentParser(prog="python -m bench.screenshots", description=__doc__)
    parser.add_argument("report", type=Path, nargs="?", default=Path("build/report.html"))
    parser.add_argument("-o", "--out", type=Path, default=Path("docs/images"))
    options = parser.parse_args(words)
    if not options.report.is_file():
        print(f"error: {options.report}: expected the page of 'sparseloom report', found no file",
              file=sys.stderr)
        return 2
    for line in take(options.report, options.out):
        print(line)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
