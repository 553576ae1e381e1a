"""``sparseloom model``: prune, quantise, score, and show artefacts."""
from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from sparseloom.model.config import (
    PENALTIES,
    SALIENCIES,
    STRENGTHS,
    STRUCTURES,
    PruneConfig,
    QuantizeConfig,
    TrainConfig,
)
from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import artefact_path, read_artefact, stored_bits_per_weight

app = typer.Typer(no_args_is_help=True, help="Prune and quantise encoders.")
PRUNE, TRAIN, QUANTIZE = PruneConfig(), TrainConfig(), QuantizeConfig()

Model = Annotated[str, typer.Argument(help="Checkpoint folder or hub name.", show_default=False)]
Task = Annotated[str, typer.Option("--task", "-t", show_default=False,
                                   help="Folder of task files or name of a GLUE task.")]
TaskName = Annotated[str | None, typer.Option(
    help="Which task it is, where the folder's name does not say so (stsb, sst2, …).")]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", show_default=False,
                                   help="Folder for the result; written whole or not at all.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.callback()
def model() -> None:
    """Prune and quantise encoders."""


def _progress() -> AbstractContextManager[Progress]:
    """Bars on standard error, so that a table or JSON can be piped away."""
    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                    TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True))


def _print(data: dict[str, Any], as_json: bool, title: str) -> None:
    if as_json:
        typer.echo(json.dumps(data, indent=2))
        return
    table = Table(title=title, show_header=False)  # Text: a name in [brackets] is no markup
    for key, value in data.items():
        if not isinstance(value, dict):
            table.add_row(key.replace("_", " "),
                          Text(f"{value:.4f}" if isinstance(value, float) else str(value)))
    Console().print(table)


@app.command()
def prune(
    checkpoint: Model,
    task: Task,
    out: Out,
    task_name: TaskName = None,
    compression: Annotated[float, typer.Option(
        help="All weights of the encoder's Linear layers over the surviving ones, at least."),
    ] = PRUNE.compression,
    structure: Annotated[str, typer.Option(
        help=f"Groups of weights: {', '.join(STRUCTURES)}.")] = PRUNE.structure,
    p: Annotated[int, typer.Option("--p", help="Outputs of a block. The unit runs at full speed "
                                   "where its columns divide this.")] = PRUNE.p,
    q: Annotated[int, typer.Option("--q", help="Inputs of a block.")] = PRUNE.q,
    strength: Annotated[float | None, typer.Option(
        "--lambda", show_default=", ".join(f"{value:g} ({name})"
                                           for name, value in STRENGTHS.items()),
        help="Strength of the group penalty.")] = PRUNE.strength,
    penalty: Annotated[str, typer.Option(
        help=f"How it acts: {', '.join(PENALTIES)}.")] = PRUNE.penalty,
    milestones: Annotated[int, typer.Option(
        help="How often the penalty is reweighted.")] = PRUNE.milestones,
    saliency: Annotated[str, typer.Option(
        help=f"What a weight counts by: {', '.join(SALIENCIES)}.")] = PRUNE.saliency,
    reconstruct: Annotated[bool, typer.Option(
        help="Refit the survivors of each layer after the prune.")] = PRUNE.reconstruct,
    finetune_steps: Annotated[int, typer.Option(
        help="Training steps before pruning, for a head that the checkpoint lacks."),
    ] = TRAIN.finetune_steps,
    penalty_steps: Annotated[int, typer.Option(
        help="Training steps with the penalty.")] = TRAIN.penalty_steps,
    retrain_steps: Annotated[int, typer.Option(
        help="Training steps after the prune.")] = TRAIN.retrain_steps,
    batch: Annotated[int, typer.Option(help="Rows of a training step.")] = TRAIN.batch,
    distil: Annotated[float, typer.Option(
        help="Weight of the dense model's answers in the loss, 0 to 1.")] = TRAIN.distil,
    precision: Annotated[str, typer.Option(
        help="Of training: auto, float32 or bfloat16.")] = TRAIN.precision,
    seed: Annotated[int, typer.Option(help="Of batches, dropout and a new head.")] = TRAIN.seed,
    as_json: Json = False,
) -> None:
    """Prune a checkpoint for a task: penalised training, hard prune, masked retraining."""
    prune_config = PruneConfig(
        compression=compression, structure=structure, p=p, q=q, strength=strength,
        penalty=penalty, milestones=milestones, saliency=saliency, reconstruct=reconstruct)
    train_config = TrainConfig(
        finetune_steps=finetune_steps, penalty_steps=penalty_steps, retrain_steps=retrain_steps,
        batch=batch, distil=distil, precision=precision, seed=seed)
    from sparseloom.model.tasks import load_task
    rows = load_task(task, name=task_name)
    # Only now: torch takes seconds to load, and neither --help nor a wrong setting should wait.
    from sparseloom.model.flow import prune_checkpoint
    with _progress() as progress:
        report = prune_checkpoint(checkpoint, rows, out, prune=prune_config, train=train_config,
                                  progress=progress)
    _print(report.as_dict(), as_json, "pruned")


@app.command()
def quantize(
    checkpoint: Model,
    task: Task,
    out: Out,
    task_name: TaskName = None,
    structure: Annotated[str, typer.Option(
        help="Of a dense checkpoint; a pruned one knows its own.")] = PRUNE.structure,
    p: Annotated[int, typer.Option("--p", help="Outputs of a block, likewise.")] = PRUNE.p,
    q: Annotated[int, typer.Option("--q", help="Inputs of a block, likewise.")] = PRUNE.q,
    weight_bits: Annotated[int, typer.Option(
        help="Bits of a weight: 8.")] = QUANTIZE.weight_bits,
    calibration_rows: Annotated[int, typer.Option(
        help="Training rows that set the scales.")] = QUANTIZE.calibration_rows,
    evaluate: Annotated[bool, typer.Option(help="Score the integer model.")] = True,
    seed: Annotated[int, typer.Option(help="Chooses the calibration rows.")] = QUANTIZE.seed,
    as_json: Json = False,
) -> None:
    """Quantise a pruned or dense checkpoint to int8 and write its artefact folder."""
    config = QuantizeConfig(weight_bits=weight_bits, calibration_rows=calibration_rows, seed=seed)
    shape = PruneConfig(structure=structure, p=p, q=q)
    from sparseloom.model.tasks import load_task
    rows = load_task(task, name=task_name)
    from sparseloom.model.flow import quantize_checkpoint
    with _progress() as progress:
        report = quantize_checkpoint(
            checkpoint, rows, out, quantize=config, evaluate=evaluate, structure=shape.structure,
            p=shape.p, q=shape.q, progress=progress)
    _print(report.as_dict(), as_json, "quantised")


@app.command("eval")
def evaluate_command(
    checkpoint: Model,
    task: Task,
    task_name: TaskName = None,
    integer: Annotated[bool, typer.Option(
        "--integer", help="Score the integers of an artefact folder.")] = False,
    as_json: Json = False,
) -> None:
    """Score a checkpoint, or an artefact's integer model, on a task's validation rows."""
    from sparseloom.model.tasks import load_task
    rows = load_task(task, name=task_name)
    from sparseloom.model.flow import evaluate_checkpoint
    with _progress() as progress:
        score = evaluate_checkpoint(checkpoint, rows, integer=integer, progress=progress)
    _print({"task": rows.name, "metric": rows.metric, "rows": len(rows.validation),
            "integer": integer, "score": score}, as_json, "score")


@app.command()
def show(
    artefact: Annotated[Path, typer.Argument(help="Artefact folder or file.",
                                             show_default=False)],
    as_json: Json = False,
) -> None:
    """Check an artefact and list its layers."""
    found = read_artefact(artefact)
    rows = [{"name": layer.name, "shape": [layer.out_features, layer.in_features],
             "structure": layer.structure, "p": layer.p, "q": layer.q, "density": layer.density,
             "output": "sums" if layer.raw else "table" if layer.lut is not None else "bytes",
             "stored_bits_per_weight": (stored_bits_per_weight(layer)
                                        if layer.surviving_weights else None)}
            for layer in found.layers.values()]
    if as_json:
        typer.echo(json.dumps({"metadata": found.metadata, "layers": rows}, indent=2))
        return
    if not rows:
        raise InputError(f"artefact {artefact_path(artefact)}: expected layers, found none")
    source = found.metadata.get("source")  # as another program may have left it
    name = source.get("model") if isinstance(source, dict) else None
    table = Table(title=Text(str(name or artefact)))
    for heading in ("layer", "shape", "groups", "density", "leaves as", "bits per weight"):
        table.add_column(heading, justify="left" if heading == "layer" else "right",
                         overflow="fold")
    for row in rows:
        bits = row["stored_bits_per_weight"]
        table.add_row(Text(row["name"]), "{} × {}".format(*row["shape"]),
                      f"{row['structure']} {row['p']}, {row['q']}", f"{row['density']:.1%}",
                      row["output"], "-" if bits is None else f"{bits:.2f}")
    Console().print(table)
