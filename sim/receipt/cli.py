"""``sparseloom sim receipt``: what pruning buys, layer by layer and for the model."""
from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from sparseloom.hw.config import BUS_BITS, ArrayConfig
from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import artefact_path, read_artefact
from sparseloom.model.products import read_attention, with_products
from sparseloom.sim.model import choose_layers
from sparseloom.sim.progress import progress_bars
from sparseloom.sim.receipt.clock import Clock, find_clock, read_fits
from sparseloom.sim.receipt.cpu import time_layers
from sparseloom.sim.receipt.line import BAUD
from sparseloom.sim.receipt.measured import read_measured
from sparseloom.sim.receipt.receipt import Receipt, make_receipt
from sparseloom.sim.receipt.table import show

TOKENS = 32
FITS = Path("bench/results/fit.json")
MOST_BAUD = 3_000_000
"""Of the ULX3S's FT231X."""
GEOMETRY = ("rows", "cols", "lanes", "bus_bits")
"""Settings of the unit that the command may name."""


def receipt_of(artefact: Path, *, patterns: Sequence[str] = (), measured: Sequence[Path] = (),
               tokens: int | None = None, geometry: dict[str, int | None] | None = None,
               fits: Path | None = None, clock_mhz: float | None = None, baud: int = BAUD,
               cpu: bool = False, threads: int | None = None, progress: Progress | None = None,
               ) -> Receipt:
    """A receipt from files.

    Parameters
    ----------
    artefact : Path
        Its folder or file.
    patterns : sequence of str
        Layers and attention's products by shell patterns; all without one.
    measured : sequence of Path
        Reports of simulations, which decide tokens and unit.
    tokens, geometry : optional
        The same where nothing was measured; else they must not say otherwise.
    fits : Path, optional
        Table of fits, by default :data:`FITS` where it is there.
    clock_mhz : float, optional
        In place of a fit's.
    baud : int
    cpu : bool
        Time the layers on this machine's processor as well.
    threads : int, optional
        Of PyTorch.
    progress : Progress, optional

    Raises
    ------
    InputError
        If a file is not what it should be, or they do not belong together.
    """
    found = read_artefact(artefact)
    attention = read_attention(found.metadata, found.layers)
    seen = read_measured(measured, found.layers, attention)
    asked: dict[str, Any] = {name: value for name, value in (geometry or {}).items()
                             if value is not None}
    if seen is None:
        tokens = TOKENS if tokens is None else tokens
        layers = choose_layers(with_products(found.layers, attention, tokens), patterns)
        max_k = max(ArrayConfig().max_k, *(layer.in_features for layer in layers.values()))
        config = ArrayConfig(max_k=max_k, act_words=max(ArrayConfig().act_words, max_k), **asked)
    else:
        config = seen.config
        for name, value, there in (("tokens", tokens, seen.tokens),
                                   *((name, value, getattr(config, name))
                                     for name, value in asked.items())):
            if value not in (None, there):
                raise InputError(f"{name.replace('_', '-')}: expected {there}, as was measured, "
                                 f"found {value}")
        tokens = seen.tokens
        layers = choose_layers(with_products(found.layers, attention, tokens), patterns)
    # The clock is that of the unit with the widest weights; any others are counted at it.
    config = replace(config, weight_bits=max(layer.weight_bits for layer in layers.values()))
    if clock_mhz is not None:
        clock = Clock(mhz=clock_mhz, part="given", seeds={})
    else:
        path = fits or (FITS if FITS.is_file() else None)
        clock = None if path is None else find_clock(read_fits(path), config)
    task = None if progress is None else progress.add_task("layers counted", total=len(layers))

    def done() -> None:
        if progress is not None and task is not None:
            progress.advance(task)

    source = found.metadata.get("source")
    name = (source.get("model") if isinstance(source, dict) else None) or str(
        artefact_path(artefact).resolve().parent.name)
    times = None
    if cpu:
        timing = None if progress is None else progress.add_task("the same by PyTorch", total=None)
        times = time_layers(layers.values(), tokens, threads=threads)
        if progress is not None and timing is not None:
            progress.remove_task(timing)
    return make_receipt(str(name), layers, tokens=tokens, config=config, measured=seen,
                        clock=clock, baud=baud, cpu=times, done=done)


def receipt(
    artefact: Annotated[Path, typer.Argument(show_default=False, help="Artefact folder.")],
    measured: Annotated[list[Path] | None, typer.Option(
        "--measured", "-m", show_default="none",
        help="JSON of 'sim layer', 'sim model' (of this artefact, or of the same model unpruned), "
             "or the demo's report.json; may be repeated. Decides tokens and unit.")] = None,
    patterns: Annotated[list[str] | None, typer.Option(
        "--layers", "-l", show_default="all",
        help="Only layers whose names match this shell pattern; may be repeated.")] = None,
    tokens: Annotated[int | None, typer.Option(
        min=1, max=65535, show_default=f"as measured, or {TOKENS}",
        help="Tokens of a sentence.")] = None,
    rows: Annotated[int | None, typer.Option(
        show_default="as measured, or 12", help="Tokens at a time, 1 to 32.")] = None,
    cols: Annotated[int | None, typer.Option(
        show_default="as measured, or 12", help="Outputs at a time, 1 to 32.")] = None,
    bus_bits: Annotated[int | None, typer.Option(
        show_default="as measured, or 64",
        help=f"Width of the streams: {', '.join(map(str, BUS_BITS))}.")] = None,
    lanes: Annotated[int | None, typer.Option(
        show_default="as measured, or the largest divisor of ROWS up to 4",
        help="Results post-processed in a cycle.")] = None,
    fits: Annotated[Path | None, typer.Option(
        "--fit", show_default=f"{FITS}, where it is",
        help="Fits to take the clock from: the bench's table or 'hw fit --json'.")] = None,
    clock_mhz: Annotated[float | None, typer.Option(
        min=0.001, show_default="of the fit of this build", help="Clock of the unit.")] = None,
    baud: Annotated[int, typer.Option(min=1, max=MOST_BAUD,
                                      help="Of the board's serial line.")] = BAUD,
    cpu: Annotated[bool, typer.Option(
        "--cpu", help="Also time the same layers on this machine: PyTorch float32 and int8.",
    )] = False,
    threads: Annotated[int | None, typer.Option(
        min=1, show_default="PyTorch's own", help="Of PyTorch, with --cpu.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not tables.")] = False,
) -> None:
    """What pruning buys on the unit: density to cycles, bytes, counts and time, beside dense.

    Cycles are the cycle model's, and RTL's where they were measured. Exit code 1 if the two
    differ, or if a measured output was not the oracle's.
    """
    log = Console(stderr=True)
    with progress_bars(log) as progress:
        found = receipt_of(
            artefact, patterns=patterns or [], measured=measured or [], tokens=tokens,
            geometry=dict(zip(GEOMETRY, (rows, cols, lanes, bus_bits), strict=True)), fits=fits,
            clock_mhz=clock_mhz, baud=baud, cpu=cpu, threads=threads, progress=progress)
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
    else:
        show(found, Console())
    if wrong := found.model_differs():
        log.print(f"error: layers {', '.join(wrong)}: expected the cycle model's cycles, found "
                  "others in RTL (were the streams stalled?)", highlight=False, soft_wrap=True,
                  markup=False)
    if found.mismatches:
        log.print(f"error: expected no output that differs from the oracle, found "
                  f"{found.mismatches:,} of {found.outputs:,}", highlight=False, soft_wrap=True)
    if wrong or found.mismatches:
        raise typer.Exit(1)
