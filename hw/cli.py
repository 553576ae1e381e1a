"""``sparseloom hw``: generate the hardware."""
import json
import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from sparseloom.hw.config import BLOCK_INPUTS, BUS_BITS, TARGETS, ArrayConfig

app = typer.Typer(no_args_is_help=True, help="Generate the block-sparse matrix unit.")
DEFAULTS = ArrayConfig()


@app.callback()
def hw() -> None:
    """Generate the block-sparse matrix unit."""


def _choice(values: tuple) -> str:
    return ", ".join(map(str, values))


@app.command()
def verilog(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", show_default=False,
                                      help="Folder for the files; made if missing.")],
    rows: Annotated[int, typer.Option(help="Tokens at a time, 1 to 32.")] = DEFAULTS.rows,
    cols: Annotated[int, typer.Option(help="Outputs at a time, 1 to 32.")] = DEFAULTS.cols,
    max_k: Annotated[int, typer.Option(help="Longest dot product, in inputs.")] = DEFAULTS.max_k,
    act_words: Annotated[int, typer.Option(
        help="Words of ROWS bytes in each half of the activation buffer; at least MAX_K.",
    )] = DEFAULTS.act_words,
    bus_bits: Annotated[int, typer.Option(
        help=f"Width of the streams: {_choice(BUS_BITS)}.")] = DEFAULTS.bus_bits,
    lanes: Annotated[int | None, typer.Option(
        show_default="the largest divisor of ROWS up to 4",
        help="Results post-processed in a cycle; divides ROWS.")] = None,
    queue_depth: Annotated[int, typer.Option(
        help="Jobs that may be outstanding, 1 to 16.")] = DEFAULTS.queue_depth,
    block_inputs: Annotated[int, typer.Option(
        help=f"Inputs per bit of a block bitmap: {_choice(BLOCK_INPUTS)}.",
    )] = DEFAULTS.block_inputs,
    weight_bits: Annotated[int, typer.Option(help="Bits of a weight: 8.")] = DEFAULTS.weight_bits,
    target: Annotated[str, typer.Option(
        help=f"Technology of multipliers and memories: {_choice(TARGETS)}.")] = DEFAULTS.target,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Write sparseloom.v, manifest.json and the register map (Markdown, C, Python)."""
    config = ArrayConfig(rows=rows, cols=cols, max_k=max_k, act_words=act_words, bus_bits=bus_bits,
                         lanes=lanes, queue_depth=queue_depth, block_inputs=block_inputs,
                         weight_bits=weight_bits, target=target)
    # Only now: Amaranth's converter takes a second to load, and --help should not.
    from sparseloom.hw.generate import MANIFEST, generate

    log = Console(stderr=True)
    title = f"generating a {config.rows} × {config.cols} array"
    start = time.monotonic()
    if log.is_terminal:
        with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
                      console=log, transient=True) as progress:
            progress.add_task(title, total=None)
            files = generate(config, out)
    else:
        log.print(title, highlight=False)
        files = generate(config, out)
    seconds = time.monotonic() - start

    manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    if as_json:
        typer.echo(json.dumps(manifest, indent=2))
    else:
        size = manifest["verilog"]["bytes"] / 1e6
        typer.echo(f"{config.rows} × {config.cols} array, K up to {config.max_k}, "
                   f"{config.bus_bits}-bit streams, {config.post_lanes} lanes: "
                   f"{size:.1f} MB of Verilog in {seconds:.1f} s")
        for file in files:
            typer.echo(f"  {file}")
