"""``sparseloom report``: everything that was found, as one HTML file."""
from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from sparseloom.sim.page.report import (
    ARTEFACT,
    EXPLORE,
    FITS,
    SCORES,
    default_sources,
    fitting,
    write_report,
)
from sparseloom.sim.progress import progress_bars


def report(
    artefact: Annotated[Path | None, typer.Argument(
        show_default=f"{ARTEFACT}, where it is", help="Artefact folder.")] = None,
    out: Annotated[Path, typer.Option(
        "-o", "--out", help="The HTML file.")] = Path("build/report.html"),
    demo: Annotated[Path | None, typer.Option(
        show_default="report.json beside the artefact's folder, where it is",
        help="The demo's report: scores, and cycles of an encoder layer; without the option also "
             "those of the whole encoder that are beside it.")] = None,
    measured: Annotated[list[Path] | None, typer.Option(
        "--measured", "-m", show_default="none",
        help="JSON of 'sim layer' or 'sim model', of the artefact or of the same model unpruned; "
             "may be repeated. Takes the place of the demo's cycles.")] = None,
    scores: Annotated[Path | None, typer.Option(
        show_default=f"{SCORES}, where it is", help="Scores, as 'make bench-glue' writes them.",
    )] = None,
    fit: Annotated[Path | None, typer.Option(
        show_default=f"{FITS}, where it is",
        help="Fits: the bench's table or 'hw fit --json'.")] = None,
    explore: Annotated[Path | None, typer.Option(
        show_default=f"explore.json beside the artefact's folder, or {EXPLORE}, where it is",
        help="What 'explore --json' wrote.")] = None,
    tokens: Annotated[int | None, typer.Option(
        min=1, max=65535, show_default="as measured, or 32", help="Tokens of a sentence.")] = None,
    clock_mhz: Annotated[float | None, typer.Option(
        min=0.001, show_default="of the fit of this build", help="Clock of the unit.")] = None,
    cpu: Annotated[bool, typer.Option(
        "--cpu/--no-cpu", help="Time the same layers on this machine as well.")] = True,
    threads: Annotated[int | None, typer.Option(
        min=1, show_default="PyTorch's own", help="Of PyTorch.")] = None,
    as_json: Annotated[bool, typer.Option(
        "--json", help="Print the file's name and what it lacks as JSON.")] = False,
) -> None:
    """One HTML file: receipt, masks, timeline, scores, fits, Pareto front. It needs no network.

    A section whose input is not there says which command makes it.
    """
    usual = default_sources(artefact)
    asked = {name: value for name, value in (
        ("scores", scores), ("fits", fit), ("explore", explore)) if value is not None}
    told = demo or usual.demo
    # What was measured anew need not be of the demo's tokens and unit.
    log = Console(stderr=True)
    cycles = measured or ([demo] if demo else [])
    if not cycles and usual.measured and usual.artefact is not None:
        cycles, left_out = fitting(usual.measured, usual.artefact, tokens)
        for reason in left_out:
            log.print(f"left out: {reason}", highlight=False, soft_wrap=True, markup=False)
    sources = replace(usual, demo=told, measured=cycles, **asked)
    with progress_bars(log) as progress:
        absent = write_report(out, sources, cpu=cpu, threads=threads, tokens=tokens,
                              clock_mhz=clock_mhz, progress=progress)
    if as_json:
        typer.echo(json.dumps({"file": str(out), "missing": absent}, indent=2))
        return
    console = Console()
    for title in absent:
        console.print(f"not there: {title} (the page says what makes it)", highlight=False)
    console.print(f"report: {out}", highlight=False, soft_wrap=True, markup=False)
