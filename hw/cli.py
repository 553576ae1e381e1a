"""``sparseloom hw``: generate the hardware, and see whether it fits."""
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from sparseloom.hw.build_options import (
    DEFAULTS,
    ActWords,
    BlockInputs,
    BusBits,
    Cols,
    Lanes,
    MaxK,
    QueueDepth,
    Rows,
    Target,
    WeightBits,
    choice,
)
from sparseloom.hw.config import TARGETS, ArrayConfig
from sparseloom.hw.devices import DEVICES, SPEEDS
from sparseloom.model.errors import InputError
from sparseloom.model.write import write_whole

app = typer.Typer(no_args_is_help=True,
                  help="Generate the block-sparse matrix unit, and see whether it fits a device.")

JsonFile = Annotated[Path | None, typer.Option(
    "--json", metavar="FILE", show_default=False,
    help="Write what was found here; - prints it in place of the table.")]
Work = Annotated[Path, typer.Option(
    metavar="DIR", help="Folder of runs; one of equal Verilog, options and tools is used again.")]


@app.callback()
def hw() -> None:
    """Generate the block-sparse matrix unit, and see whether it fits a device."""


@app.command()
def verilog(
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DIR", show_default=False,
                                      help="Folder for the files; made if missing.")],
    rows: Rows = DEFAULTS.rows,
    cols: Cols = DEFAULTS.cols,
    max_k: MaxK = DEFAULTS.max_k,
    act_words: ActWords = DEFAULTS.act_words,
    bus_bits: BusBits = DEFAULTS.bus_bits,
    lanes: Lanes = None,
    queue_depth: QueueDepth = DEFAULTS.queue_depth,
    block_inputs: BlockInputs = DEFAULTS.block_inputs,
    weight_bits: WeightBits = DEFAULTS.weight_bits,
    target: Target = DEFAULTS.target,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest.")] = False,
) -> None:
    """Write sparseloom.v, manifest.json, a FuseSoC core and the register map (Markdown, C, Python).
    """
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
                                      help="The bitstream; its folder is made if missing.")],
    rows: Rows = 4,
    cols: Cols = 4,
    max_k: MaxK = DEFAULTS.max_k,
    act_words: ActWords = DEFAULTS.act_words,
    bus_bits: BusBits = DEFAULTS.bus_bits,
    target: Target = TARGETS[-1],
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
    from sparseloom.hw.bitstream import STEPS, build_bitstream

    log = Console(stderr=True)
    with Progress(SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn(),
                  console=log, transient=True, disable=not log.is_terminal) as progress:
        task = progress.add_task("generating", total=None)

        def entered(step: str) -> None:
            title = f"{step} (step {STEPS.index(step) + 1} of {len(STEPS)})"
            progress.update(task, description=title)
            if not log.is_terminal:
                log.print(title, highlight=False)

        report = build_bitstream(config, out, work=out.with_suffix(".build"), device=device,
                                 clock_mhz=clock, baud=baud, seed=seed, entered=entered)
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
    from sparseloom.hw.serial_line import SerialLine

    line = SerialLine(port, baud=baud)
    try:
        config = Host(line).config.to_dict()
    finally:
        line.close()
    del config["target"]
    typer.echo(json.dumps(config, indent=2) if as_json else
               ", ".join(f"{name} {value}" for name, value in config.items()))


@app.command()
def fit(
    device: Annotated[str, typer.Option(show_default=False,
                                        help=f"ECP5 device: {choice(tuple(DEVICES))}.")],
    rows: Rows = DEFAULTS.rows,
    cols: Cols = DEFAULTS.cols,
    max_k: MaxK = DEFAULTS.max_k,
    act_words: ActWords = DEFAULTS.act_words,
    bus_bits: BusBits = DEFAULTS.bus_bits,
    lanes: Lanes = None,
    queue_depth: QueueDepth = DEFAULTS.queue_depth,
    block_inputs: BlockInputs = DEFAULTS.block_inputs,
    weight_bits: WeightBits = DEFAULTS.weight_bits,
    target: Target = DEFAULTS.target,
    seeds: Annotated[int, typer.Option(help="Runs of place and route, from seed 1 on.")] = 1,
    speed: Annotated[int, typer.Option(help=f"Speed grade: {choice(SPEEDS)}.")] = 6,
    placer: Annotated[str, typer.Option(help="static, heap or sa.")] = "static",
    router: Annotated[str, typer.Option(help="router1 or router2.")] = "router1",
    freq: Annotated[float, typer.Option(help="MHz that place and route aims at.")] = 250.0,
    timeout: Annotated[float, typer.Option(
        help="Seconds that each run of a tool may take.")] = 3600.0,
    work: Work = Path("build/fit"),
    json_file: JsonFile = None,
) -> None:
    """Place and route the complete unit on an ECP5: cells, clock and critical path.

    Hundreds of ports do not fit a package: a wrapper feeds them from a shift register and folds
    the results into one pin; its own cells are told apart. Exit code 0 if it fits, 2 if it
    cannot, with the numbers, 1 if a tool fails.
    """
    config = ArrayConfig(rows=rows, cols=cols, max_k=max_k, act_words=act_words, bus_bits=bus_bits,
                         lanes=lanes, queue_depth=queue_depth, block_inputs=block_inputs,
                         weight_bits=weight_bits, target=target)
    from sparseloom.hw import fit as flow
    from sparseloom.hw.fit_report import fit_table
    from sparseloom.hw.stages import shown_stages

    _check_writable(json_file)
    total = 1 + max(0, seeds) * (len(flow.STAGES) - 1)
    with shown_stages(Console(stderr=True), total) as begin:
        report = flow.fit(
            config, device, seeds=seeds, speed=speed, placer=placer, router=router,
            freq_mhz=freq, seconds=timeout, work=work,
            entered=lambda seed, stage: begin(f"seed {seed} of {seeds}: {stage}" if seed
                                              else f"{stage} {config.rows} × {config.cols}"))
    _show(report, fit_table(report), json_file)


@app.command()
def synth(
    family: Annotated[str, typer.Option(
        show_default=False, help="ecp5, ice40, nexus, gowin or xilinx (7 series).")],
    rows: Rows = DEFAULTS.rows,
    cols: Cols = DEFAULTS.cols,
    max_k: MaxK = DEFAULTS.max_k,
    act_words: ActWords = DEFAULTS.act_words,
    bus_bits: BusBits = DEFAULTS.bus_bits,
    lanes: Lanes = None,
    queue_depth: QueueDepth = DEFAULTS.queue_depth,
    block_inputs: BlockInputs = DEFAULTS.block_inputs,
    weight_bits: WeightBits = DEFAULTS.weight_bits,
    target: Target = DEFAULTS.target,
    timeout: Annotated[float, typer.Option(help="Seconds that synthesis may take.")] = 3600.0,
    work: Work = Path("build/fit"),
    json_file: JsonFile = None,
) -> None:
    """Count a build's cells on a device family; says nothing about its clock."""
    config = ArrayConfig(rows=rows, cols=cols, max_k=max_k, act_words=act_words, bus_bits=bus_bits,
                         lanes=lanes, queue_depth=queue_depth, block_inputs=block_inputs,
                         weight_bits=weight_bits, target=target)
    from sparseloom.hw.stages import shown_stages
    from sparseloom.hw.utilisation import utilisation, utilisation_table

    _check_writable(json_file)
    with shown_stages(Console(stderr=True), 1) as begin:
        begin(f"synth {config.rows} × {config.cols} for {family}")
        report = utilisation(config, family, seconds=timeout, work=work)
    _show(report, utilisation_table(report), json_file)


def _check_writable(path: Path | None) -> None:
    """Before the slow part."""
    if path is not None and str(path) != "-" and not path.parent.is_dir():
        raise InputError(f"--json: expected a file in a folder that is there, found {path}")


def _show(report: Mapping, table: Table, json_file: Path | None) -> None:
    text = json.dumps(report, indent=2) + "\n"
    if str(json_file) == "-":
        typer.echo(text, nl=False)
        return
    if json_file is not None:
        try:
            write_whole(json_file, text.encode())
        except OSError as error:
            raise InputError(f"cannot write {json_file}: {error.strerror}") from error
    Console().print(table, highlight=False, markup=False)
