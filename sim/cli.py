"""``sparseloom sim``: run real layers through the generated Verilog."""
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from sparseloom.hw.config import BLOCK_INPUTS, BUS_BITS, WEIGHT_BITS, ArrayConfig
from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import read_artefact
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import check_weight_bits, strip_columns
from sparseloom.model.products import Product, read_attention, with_products
from sparseloom.sim.model import choose_layers, product_queues, run_model
from sparseloom.sim.progress import progress_bars
from sparseloom.sim.receipt.cli import receipt

app = typer.Typer(no_args_is_help=True, add_completion=False,
                  help="Prove layers in RTL simulation.")
DEFAULTS = ArrayConfig()

# Options that commands share.
Folder = Annotated[Path, typer.Argument(show_default=False, help="Artefact folder.")]
Tokens = Annotated[int, typer.Option(min=1, max=65535, help="Real tokens to run.")]
Rows = Annotated[int, typer.Option(help="Tokens at a time, 1 to 32.")]
Cols = Annotated[int, typer.Option(help="Outputs at a time, 1 to 32.")]
MaxK = Annotated[int | None, typer.Option(
    show_default=f"{DEFAULTS.max_k}, or the inputs of a layer if there are more",
    help="Longest dot product, in inputs.")]
ActWords = Annotated[int | None, typer.Option(
    show_default=f"{DEFAULTS.act_words}, or MAX_K if that is more",
    help="Words of ROWS bytes in each half of the activation buffer.")]
BusBits = Annotated[int, typer.Option(
    help=f"Width of the streams: {', '.join(map(str, BUS_BITS))}.")]
Lanes = Annotated[int | None, typer.Option(
    show_default="the largest divisor of ROWS up to 4", help="Results post-processed in a cycle.")]
QueueDepth = Annotated[int, typer.Option(help="Jobs that may be outstanding.")]
BlockInputs = Annotated[int, typer.Option(
    help=f"Inputs per bit of a block bitmap: {', '.join(map(str, BLOCK_INPUTS))}.")]
Sentences = Annotated[Path | None, typer.Option(
    show_default="the artefact's own examples",
    help="Text file, one sentence a line, to take the tokens from.")]
Stall = Annotated[float, typer.Option(
    min=0, max=0.99, help="Share of cycles in which each stream pauses.")]
Seed = Annotated[int, typer.Option(min=1, help="Of the pauses.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")]


@app.callback()
def sim() -> None:
    """Prove layers in RTL simulation, bit for bit."""


app.command()(receipt)


@app.command()
def layer(
    artefact: Folder,
    name: Annotated[str, typer.Option("--layer", "-l", show_default=False,
                                      help="Layer, by its name in the model.")],
    tokens: Tokens = 32,
    rows: Rows = DEFAULTS.rows,
    cols: Cols = DEFAULTS.cols,
    max_k: MaxK = None,
    act_words: ActWords = None,
    bus_bits: BusBits = DEFAULTS.bus_bits,
    lanes: Lanes = None,
    queue_depth: QueueDepth = DEFAULTS.queue_depth,
    block_inputs: BlockInputs = DEFAULTS.block_inputs,
    weight_bits: Annotated[int | None, typer.Option(
        show_default="the layer's", help=f"Bits of a weight: {', '.join(map(str, WEIGHT_BITS))}.",
    )] = None,
    sentences: Sentences = None,
    stall: Stall = 0.0,
    seed: Seed = 1,
    waves: Annotated[bool, typer.Option("--waves", help="Write a waveform (VCD).")] = False,
    as_json: Json = False,
) -> None:
    """Run a layer on real activations and compare every output with the integer oracle.

    Exit code 0 only if none differs.
    """
    texts = _sentences(sentences)
    packed = read_artefact(artefact).layer(name)
    config = _config_for(
        [packed], rows=rows, cols=cols, max_k=max_k, act_words=act_words, bus_bits=bus_bits,
        lanes=lanes, queue_depth=queue_depth, block_inputs=block_inputs,
        weight_bits=weight_bits or packed.weight_bits)
    check_weight_bits(packed, config.weight_bits)
    # Only now: these load the model's libraries and the converter to Verilog.
    from sparseloom.model.capture import capture_activations
    from sparseloom.sim.layer import run_layer

    log = Console(stderr=True)
    _note_straddling(log, packed, cols)
    with progress_bars(log) as progress:
        task = progress.add_task("activations from the model", total=None)
        x = capture_activations(artefact, name, tokens=tokens, sentences=texts)
        progress.remove_task(task)
        task = progress.add_task("Verilog and its simulator, kept for the next run", total=None)
        run = run_layer(packed, x, config, waves=waves, stall=stall, seed=seed, progress=progress,
                        built=lambda: progress.remove_task(task))
    if as_json:
        typer.echo(json.dumps({**run.as_dict(), "density": packed.density,
                               "shape": [packed.out_features, packed.in_features],
                               "geometry": config.to_dict()}, indent=2))
    else:
        table = Table(show_header=False)
        for label, value in (
                ("shape, density", f"{packed.out_features} × {packed.in_features}, "
                                   f"{packed.density:.3f}"),
                ("array", f"{rows} × {cols}"),
                ("tokens, jobs", f"{run.tokens}, {run.jobs}"),
                ("cycles", f"{run.cycles:,}"),
                *([("by the cycle model", f"{run.predicted_cycles:,}")]
                  if run.predicted_cycles is not None else []),
                ("ideal cycles", f"{run.ideal_cycles:,}"),
                ("utilisation", f"{run.utilisation:.3f}"),
                *((f"  {key.replace('_', ' ')}", f"{value:,}")
                  for key, value in run.counters.items()),
                ("outputs compared", f"{run.outputs:,}"),
                ("mismatches", f"{run.mismatches:,}"),
                ("seconds", f"{run.seconds:.1f}")):
            table.add_row(label, value)
        Console().print(name, table, highlight=False, markup=False)
    if run.waves:
        log.print(f"waveform: {run.waves}", highlight=False, soft_wrap=True)
    if run.mismatches:
        log.print(f"error: {run.mismatches} of {run.outputs} outputs differ, the first: "
                  f"{run.first_mismatch()}; the run is kept in {run.folder}",
                  highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(1)


@app.command()
def model(
    artefact: Folder,
    patterns: Annotated[list[str] | None, typer.Option(
        "--layers", "-l", show_default="all",
        help="Only layers whose names match this shell pattern, such as '*.output.dense'; may be "
             "given several times.")] = None,
    tokens: Tokens = 32,
    rows: Rows = DEFAULTS.rows,
    cols: Cols = DEFAULTS.cols,
    max_k: MaxK = None,
    act_words: ActWords = None,
    bus_bits: BusBits = DEFAULTS.bus_bits,
    lanes: Lanes = None,
    queue_depth: QueueDepth = DEFAULTS.queue_depth,
    block_inputs: BlockInputs = DEFAULTS.block_inputs,
    sentences: Sentences = None,
    stall: Stall = 0.0,
    seed: Seed = 1,
    keep: Annotated[Path | None, typer.Option(
        show_default=False, help="Keep the simulation's data in this folder.")] = None,
    as_json: Json = False,
) -> None:
    """Run every matrix product on real activations and compare every output with the oracle.

    Each Linear layer of the encoder runs by itself, and all heads of each of attention's products
    as a queue, as if the tokens were one sentence; at the simulator's own speed. Cycles are
    compared with the cycle model's. A model with weights of 8 and of 4 bits runs on two units.
    Exit code 0 only if no output and no cycle differs.
    """
    texts = _sentences(sentences)
    packed = read_artefact(artefact)
    attention = read_attention(packed.metadata, packed.layers)
    chosen = choose_layers(with_products(packed.layers, attention, tokens), patterns or [])
    layers = {name: one for name, one in chosen.items() if isinstance(one, PackedLayer)}
    config = _config_for(
        chosen.values(), rows=rows, cols=cols, max_k=max_k, act_words=act_words, bus_bits=bus_bits,
        lanes=lanes, queue_depth=queue_depth, block_inputs=block_inputs)
    # Only now: this loads the model's libraries.
    from sparseloom.model.capture import capture_layers

    log = Console(stderr=True)
    if layers:
        _note_straddling(log, max(layers.values(), key=lambda one: straddle_cost(one, cols)), cols)
    multiplied = [one for one in attention
                  if any(product.name in chosen for product in one.products(tokens))]
    wanted = dict.fromkeys([*layers, *(name for one in multiplied
                                       for name in (one.query, one.key, one.value))])
    with progress_bars(log) as progress:
        task = progress.add_task("activations from the model", total=None)
        acts = capture_layers(artefact, list(wanted), tokens=tokens, sentences=texts)
        queues = product_queues(multiplied, packed.layers, acts)
        progress.remove_task(task)
        products = {name: queues[name] for name, one in chosen.items() if isinstance(one, Product)}
        run = run_model(layers, acts, config, products=products, stall=stall, seed=seed,
                        folder=keep, progress=progress)
    if as_json:
        typer.echo(json.dumps({**run.as_dict(), "geometry": config.to_dict()}, indent=2))
    else:
        run.show(Console())
    for one in run.runs:
        if problems := one.problems():
            kept = f"; to run it again: {one.replay}" if one.replay else ""
            log.print(f"error: layer {one.name}: {'; '.join(problems)}{kept}", highlight=False,
                      soft_wrap=True, markup=False)
    if not run.exact:
        raise typer.Exit(1)


@app.command()
def offload(
    artefact: Folder,
    count: Annotated[int | None, typer.Option(
        "--count", "-n", min=1, show_default="1, or all of --sentences",
        help="Sentences (or pairs, where the task has pairs) to run.")] = None,
    sentences: Sentences = None,
    backend: Annotated[str, typer.Option(
        help="rtl: the generated Verilog; board: a unit on a board; oracle: integers in NumPy, "
             "beside those in PyTorch.")] = "rtl",
    rows: Rows = DEFAULTS.rows,
    cols: Cols = DEFAULTS.cols,
    bus_bits: BusBits = DEFAULTS.bus_bits,
    lanes: Lanes = None,
    stall: Stall = 0.0,
    seed: Seed = 1,
    max_tokens: Annotated[int | None, typer.Option(
        min=3, show_default="the model's limit", help="Cut longer sentences.")] = None,
    port: Annotated[str | None, typer.Option(
        show_default=False, help="Serial port of the board.")] = None,
    baud: Annotated[int, typer.Option(help="Of the serial port.")] = 1_000_000,
    as_json: Json = False,
) -> None:
    """Run whole sentences with every matrix product of the encoder on the unit.

    Every integer is compared with the oracle's, and the final answer (logits, or the sentence
    vector) bit for bit with that of the integer model. Exit code 0 only if nothing differs.
    """
    texts = _sentences(sentences)
    if backend not in ("oracle", "rtl", "board"):
        raise InputError(f"backend: expected oracle, rtl or board, found {backend}")
    if (backend == "board") != (port is not None):
        raise InputError(f"port: expected one exactly for backend board, found "
                         f"{port or 'none'} for {backend}")
    packed = read_artefact(artefact)
    # Only now: these load the model's libraries.
    from sparseloom.sim.backends import Backend, BoardBackend, OracleBackend, RtlBackend
    from sparseloom.sim.offload import config_for, run_offload

    config = config_for(packed, rows=rows, cols=cols, bus_bits=bus_bits, lanes=lanes)
    chosen: Backend = OracleBackend()
    if backend == "rtl":
        chosen = RtlBackend(config, stall=stall, seed=seed)
    elif port is not None:
        chosen = BoardBackend.open(port, baud=baud)
        config = chosen.host.config
    log = Console(stderr=True)
    try:
        with progress_bars(log) as progress:
            run = run_offload(artefact, chosen, name=backend, sentences=texts, progress=progress,
                              count=count or (None if texts else 1), max_tokens=max_tokens)
    finally:
        chosen.close()
    if as_json:
        typer.echo(json.dumps({**run.as_dict(), "geometry": config.to_dict()}, indent=2))
    else:
        run.show(Console())
    if not run.exact:
        where = f", the first in {run.difference}" if run.difference else ""
        apart = sum(not one.equal for one in run.sentences)
        log.print(f"error: {run.mismatches} of {run.integers} integers differ{where}; answers of "
                  f"{apart} of {len(run.sentences)} sentences differ", highlight=False,
                  soft_wrap=True, markup=False)
        raise typer.Exit(1)


@app.command()
def chain(
    artefact: Folder,
    names: Annotated[tuple[str, str], typer.Option(
        "--layers", "-l", show_default=False,
        help="Two layers by their names in the model; the second reads what the first answers.")],
    tokens: Tokens = 32,
    rows: Rows = DEFAULTS.rows,
    cols: Cols = DEFAULTS.cols,
    bus_bits: BusBits = DEFAULTS.bus_bits,
    lanes: Lanes = None,
    sentences: Sentences = None,
    stall: Annotated[float, typer.Option(
        min=0, max=0.99, help="Share of cycles in which each stream pauses, that between the units "
                              "included.")] = 0.0,
    seed: Seed = 1,
    as_json: Json = False,
) -> None:
    """Run two layers on two units, the results of one wired to the activations of the other.

    Compares every output, and every byte on the wires, with the integer oracle. Exit code 0 only if
    none differs.
    """
    texts = _sentences(sentences)
    found = read_artefact(artefact)
    first, second = (found.layer(name) for name in names)
    config = _config_for([first, second], rows=rows, cols=cols, bus_bits=bus_bits, lanes=lanes)
    # Only now: these load the model's libraries and the converter to Verilog.
    from sparseloom.model.capture import capture_activations
    from sparseloom.sim.chain import check_chain, run_chain

    check_chain(first, second)
    log = Console(stderr=True)
    with progress_bars(log) as progress:
        task = progress.add_task("activations from the model", total=None)
        x = capture_activations(artefact, first.name, tokens=tokens, sentences=texts)
        progress.remove_task(task)
        task = progress.add_task("Verilog and its simulator, kept for the next run", total=None)
        run = run_chain(first, second, x, config, stall=stall, seed=seed, progress=progress,
                        built=lambda: progress.remove_task(task))
    if as_json:
        typer.echo(json.dumps({**run.as_dict(), "geometry": config.to_dict()}, indent=2))
    else:
        table = Table(show_header=False)
        for label, value in (
                ("arrays", f"two of {rows} × {cols}"),
                ("tokens, jobs", f"{run.tokens}, {run.jobs}"),
                ("cycles", f"{run.cycles:,}"),
                ("bytes on the wires", f"{run.wire_bytes:,}"),
                ("  wrong", f"{run.wire_mismatches:,}"),
                ("outputs compared", f"{run.outputs:,}"),
                ("  mismatches", f"{run.mismatches:,}"),
                ("seconds", f"{run.seconds:.1f}")):
            table.add_row(label, value)
        Console().print(f"{second.name} behind {first.name}", table, highlight=False, markup=False)
    if not run.exact:
        log.print(f"error: {run.mismatches} of {run.outputs} outputs and {run.wire_mismatches} of "
                  f"{run.wire_bytes} bytes on the wires differ; the run is kept in {run.folder}",
                  highlight=False, soft_wrap=True, markup=False)
        raise typer.Exit(1)


@app.command()
def regress(
    jobs: Annotated[int, typer.Option("--jobs", "-n", min=1, help="Random jobs.")] = 2000,
    seed: Annotated[int, typer.Option(min=0, help="Of everything.")] = 1,
    builds: Annotated[list[str] | None, typer.Option(
        "--build", show_default="all of them", help="Build of the unit; may be repeated.")] = None,
    replay: Annotated[str | None, typer.Option(
        metavar="SEED:INDEX", show_default=False, help="Play this case alone.")] = None,
    case: Annotated[Path | None, typer.Option(
        show_default=False, help="Play the case of this file alone, a shrunk one for instance.",
    )] = None,
    allow_empty: Annotated[bool, typer.Option(
        "--allow-empty", help="Mandatory bins may stay empty: for short runs.")] = False,
    report: Annotated[Path | None, typer.Option(
        "--json", show_default=False, help="Write what was found to this file.")] = None,
) -> None:
    """Random jobs, pauses, errors, clears and resets in RTL; results, cycles and coverage checked.

    A failure is told with its configuration and the command that plays it again, and is shrunk.
    Exit code 0 only if no case failed and no mandatory bin stayed empty.
    """
    from sparseloom.model.write import write_json
    from sparseloom.sim.regress.run import case_to_play, chosen_builds, play_case, tell
    from sparseloom.sim.regress.run import regress as run_regression

    names = chosen_builds(builds)
    log = Console(stderr=True)
    if replay is not None or case is not None:
        one, command = case_to_play(replay, case, names)
        seen, failure = play_case(one, replay=command)
        found = {"case": one.to_json(), "failure": failure and failure.as_dict(),
                 "events": seen.events}
        if failure is not None:
            tell(failure, log)
        else:
            Console().print(f"the case passed on build {one.build}", highlight=False)
        failed = failure is not None
    else:
        with progress_bars(log) as progress:
            ran = run_regression(jobs, seed, builds=names, progress=progress,
                                 told=lambda failure: tell(failure, log))
        ran.show(Console())
        found, failed = ran.as_dict(), bool(ran.failures)
        if ran.empty and not allow_empty:
            log.print(f"error: mandatory bins that stayed empty: {'; '.join(ran.empty)}",
                      highlight=False, soft_wrap=True, markup=False)
            failed = True
    if report is not None:
        write_json(report, found, indent=1)
    if failed:
        raise typer.Exit(1)


def _config_for(layers: Iterable[PackedLayer | Product], *, max_k: int | None = None,
                act_words: int | None = None, **others: Any) -> ArrayConfig:
    """A build that is large enough for the layers where the command says nothing else."""
    max_k = max_k or max(DEFAULTS.max_k, *(packed.in_features for packed in layers))
    return ArrayConfig(max_k=max_k, act_words=act_words or max(DEFAULTS.act_words, max_k), **others)


def straddle_cost(packed: PackedLayer, cols: int) -> float:
    """Columns that the strips run over those that the blocks store; 1 where C divides p."""
    stored = int(packed.column_mask().sum()) * packed.p
    run = sum(len(strip) for strip in strip_columns(packed, cols)) * cols
    return run / stored if stored and packed.p % cols else 1.0


def _note_straddling(log: Console, packed: PackedLayer, cols: int) -> None:
    """Say what an array costs that does not fit a layer's blocks."""
    cost = straddle_cost(packed, cols)
    if cost > 1:
        log.print(f"note: {cols} columns do not divide p = {packed.p}: strips that straddle blocks "
                  f"run the columns of both, {cost:.2f} times the work", highlight=False)


def _sentences(path: Path | None) -> list[str] | None:
    if path is None:
        return None
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected a text file, one sentence a line, found: {error}"
                         ) from None
    texts = [line.strip() for line in lines if line.strip()]
    if not texts:
        raise InputError(f"{path}: expected a sentence a line, found none")
    return texts
