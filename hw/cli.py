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


@app.command()
def bitstream(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="FILE.bit", show_default=False,
                                      help="The bitstream; its folder must be there.")],
    rows: Annotated[int, typer.Option(help="Tokens at a time, 1 to 32.")] = 4,
    cols: Annotated[int, typer.Option(help="Outputs at a time, 1 to 32.")] = 4,
    max_k: Annotated[int, typer.Option(help="Longest dot product, in inputs.")] = DEFAULTS.max_k,
    act_words: Annotated[int, typer.Option(
        help="Words of ROWS bytes in each half of the activation buffer; at least MAX_K.",
    )] = DEFAULTS.act_words,
    bus_bits: Annotated[int, typer.Option(
        help=f"Width of the streams inside: {_choice(BUS_BITS)}.")] = DEFAULTS.bus_bits,
    target: Annotated[str, typer.Option(
        help=f"Technology of multipliers and memories: {_choice(TARGETS)}.")] = TARGETS[-1],
    device: Annotated[str, typer.Option(help="FPGA of the board: 25k, 45k, 85k.")] = "85k",
    clock: Annotated[float, typer.Option(help="MHz of the unit, 100 or more.")] = 100.0,
    baud: Annotated[int, typer.Option(help="Of the serial line, 3000000 at most.")] = 1_000_000,
    seed: Annotated[int, typer.Option(help="Of placement.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Build the ULX3S's bitstream: the unit behind a serial host link (docs/link.md).

    Minutes. Logs and reports lie in a folder beside FILE.bit. Exit code 1 and no bitstream if
    timing is not met.
    """
    config = ArrayConfig(rows=rows, cols=cols, max_k=max_k, act_words=act_words,
                         bus_bits=bus_bits, target=target)
    from sparseloom.hw.bitstream import STEPS, BuildError, build_bitstream

    log = Console(stderr=True)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
                  console=log, transient=True, disable=not log.is_terminal) as progress:
        task = progress.add_task("generating", total=None)

        def entered(step: str) -> None:
            title = f"{step} (step {STEPS.index(step) + 1} of {len(STEPS)})"
            progress.update(task, description=title)
            if not log.is_terminal:
                log.print(title, highlight=False)

        try:
            report = build_bitstream(config, out, work=out.with_suffix(".build"), device=device,
                                     clock_mhz=clock, baud=baud, seed=seed, entered=entered)
        except BuildError as error:
            log.print(f"error: {error}", highlight=False, soft_wrap=True, markup=False)
            raise typer.Exit(1) from None
    if as_json:
        typer.echo(json.dumps(report, indent=2))
    else:
        typer.echo(f"{report['file']}: {report['bytes']:,} bytes, {rows} × {cols} array at "
                   f"{clock:g} MHz (up to {report['fmax_mhz']:g}), {baud} baud, "
                   f"{sum(report['seconds'].values()):.0f} s")


@app.command()
def board(
    port: Annotated[str, typer.Argument(show_default=False, help="Serial port of the board.")],
    baud: Annotated[int, typer.Option(help="As the bitstream was built.")] = 1_000_000,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say which unit a board holds. Exit code 1 if none answers."""
    from sparseloom.hw.host import Host
    from sparseloom.hw.link_client import LinkError
    from sparseloom.hw.serial_line import SerialLine

    line = SerialLine(port, baud=baud)
    try:
        config = Host(line).config.to_dict()
    except LinkError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, soft_wrap=True,
                                   markup=False)
        raise typer.Exit(1) from None
    finally:
        line.close()
    del config["target"]
    typer.echo(json.dumps(config, indent=2) if as_json else
               ", ".join(f"{name} {value}" for name, value in config.items()))
