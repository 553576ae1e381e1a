"""``sparseloom model``: fine-tune, prune, quantise, score, and show what came of it."""
from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
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
    CALIBRATIONS,
    DEFAULT_ARGUMENTS,
    METHODS,
    PENALTIES,
    ROUNDINGS,
    SALIENCIES,
    SCOPES,
    STRENGTHS,
    STRUCTURES,
    PruneConfig,
    QuantizeConfig,
    TrainConfig,
)
from sparseloom.model.errors import InputError
from sparseloom.model.settings import (
    FileSettings,
    merged,
    parse_set,
    parse_strengths,
    read_settings,
)
from sparseloom.model.tasks import HEADS, Task, load_task, subset
from sparseloom.model.work import is_first_process

app = typer.Typer(no_args_is_help=True, help="Prune and quantise encoders.")
PRUNE, TRAIN, QUANTIZE = PruneConfig(), TrainConfig(), QuantizeConfig()
DATA, TRAINING, PRUNING, ROUNDING = "Task", "Training", "Pruning", "Quantisation"


def _option(text: str, panel: str, default: object = None, *names: str, **more: Any) -> Any:
    """An option whose default is shown but not given, so that a file may say otherwise."""
    shown_default = str(default) if default is not None else False
    return typer.Option(*names, help=text, rich_help_panel=panel, show_default=shown_default,
                        **more)


Model = Annotated[str, typer.Argument(help="Checkpoint folder or hub name.", show_default=False)]
Out = Annotated[Path, typer.Option("-o", "--out", metavar="DIR", show_default=False,
                                   help="Folder for the result; written whole or not at all.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Restart = Annotated[bool, typer.Option(
    "--restart", help="Discard what an interrupted run left, instead of going on with it.")]
ConfigFile = Annotated[Path | None, _option(
    "YAML: fields of transformers' TrainingArguments, and sections prune, train and quantize with "
    "settings of ours. Flags override it.", TRAINING, None, "--config", metavar="FILE")]

TaskRef = Annotated[str | None, _option(
    "Folder of task files or name of a GLUE task.", DATA, None, "--task", "-t")]
DataDir = Annotated[Path | None, _option(
    "Folder with the files of the named task.", DATA, None, "--data-dir", metavar="DIR")]
TrainFile = Annotated[Path | None, _option(
    "Training rows: .jsonl, .json, .csv or .tsv.", DATA, None, "--train-file", metavar="FILE")]
ValidationFile = Annotated[Path | None, _option(
    "Validation rows.", DATA, None, "--validation-file", metavar="FILE")]
TaskName = Annotated[str | None, _option(
    "Which task it is, where the folder's name does not say so (stsb, sst2, …).", DATA, None,
    "--task-name")]
HeadName = Annotated[str | None, _option(
    f"What is made of a row: {', '.join(HEADS)}.", DATA, "the task's", "--head")]
TrainRows = Annotated[int | None, _option(
    "Train on so many rows, drawn by the seed.", DATA, "all", "--train-rows")]

Epochs = Annotated[float | None, _option(
    "Passes over the training rows.", TRAINING, DEFAULT_ARGUMENTS["num_train_epochs"],
    "--epochs")]
MaxSteps = Annotated[int | None, _option(
    "Optimiser steps, instead of epochs.", TRAINING, None, "--max-steps")]
Batch = Annotated[int | None, _option(
    "Rows a step on one device.", TRAINING, DEFAULT_ARGUMENTS["per_device_train_batch_size"],
    "--batch")]
Accumulate = Annotated[int | None, _option(
    "Batches whose gradients make one step.", TRAINING, 1, "--accumulate")]
Rate = Annotated[float | None, _option(
    "Peak learning rate.", TRAINING, DEFAULT_ARGUMENTS["learning_rate"], "--learning-rate")]
Seed = Annotated[int | None, _option(
    "Of rows, dropout and a new head.", TRAINING, DEFAULT_ARGUMENTS["seed"], "--seed")]
SaveSteps = Annotated[int | None, _option(
    "Steps between checkpoints that an interrupted run goes on from.", TRAINING,
    "a fifth of the run",
    "--save-steps")]
Set = Annotated[list[str] | None, _option(
    "Any other field of TrainingArguments, as name=value; may be repeated.", TRAINING, None,
    "--set", metavar="NAME=VALUE")]
Teacher = Annotated[str | None, _option(
    "Dense checkpoint to copy beside the labels.", TRAINING, None, "--teacher")]
Distil = Annotated[float | None, _option(
    "Weight of the teacher's answers in the loss, 0 to 1.", TRAINING, TRAIN.distil, "--distil")]
DistilHidden = Annotated[float | None, _option(
    "Weight of the teacher's hidden states, added.", TRAINING, TRAIN.distil_hidden,
    "--distil-hidden")]
Precision = Annotated[str | None, _option(
    "auto, float32 or bfloat16.", TRAINING, TRAIN.precision, "--precision")]
MaxTokens = Annotated[int | None, _option(
    "Training rows are cut here.", TRAINING, TRAIN.max_tokens, "--max-tokens")]

Structure = Annotated[str | None, _option(
    f"Groups of weights: {', '.join(STRUCTURES)}.", PRUNING, PRUNE.structure, "--structure")]
P = Annotated[int | None, _option(
    "Outputs of a block. The unit runs at full speed where its columns divide this.", PRUNING,
    PRUNE.p, "--p")]
Q = Annotated[int | None, _option("Inputs of a block.", PRUNING, PRUNE.q, "--q")]
Pad = Annotated[bool | None, _option(
    "Take matrices that p or q does not divide as if zeros followed.", PRUNING, "no-pad",
    "--pad/--no-pad")]


@app.callback()
def model() -> None:
    """Prune and quantise encoders."""


@contextmanager
def _progress() -> Iterator[Progress | None]:
    """Bars on standard error, so that a table or JSON can be piped away; none in workers."""
    if not is_first_process():
        yield None
        return
    with Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                  TimeElapsedColumn(), TimeRemainingColumn(),
                  console=Console(stderr=True)) as progress:
        yield progress


def _print(data: dict[str, Any], as_json: bool, title: str) -> None:
    if not is_first_process():
        return
    if as_json:
        typer.echo(json.dumps(data, indent=2))
        return
    table = Table(title=title, show_header=False)  # Text: a name in [brackets] is no markup
    for key, value in data.items():
        if key.endswith("scores") and isinstance(value, dict):
            value = ", ".join(f"{name} {score:.4f}" for name, score in value.items())
        elif key.endswith("cycles") and isinstance(value, dict):
            value = f"{sum(value.values()):,}"
        if not isinstance(value, dict):
            table.add_row(key.replace("_", " "),
                          Text(f"{value:.4f}" if isinstance(value, float) else str(value)))
    Console().print(table)


def _task(ref: str | None, name: str | None, data_dir: Path | None, train_file: Path | None,
          validation_file: Path | None, head: str | None, rows: int | None = None,
          seed: int = 1, labels: tuple[str, ...] = ()) -> Task:
    task = load_task(ref, name=name, data_dir=data_dir, train_file=train_file,
                     validation_file=validation_file, head=head, labels=labels or None)
    return subset(task, rows, seed) if rows is not None else task


def _train_config(file: FileSettings, sets: list[str] | None, *, epochs: float | None = None,
                  max_steps: int | None = None, batch: int | None = None,
                  accumulate: int | None = None, learning_rate: float | None = None,
                  seed: int | None = None, save_steps: int | None = None,
                  **ours: Any) -> TrainConfig:
    """Settings of training: flags over the file; those of transformers by its own names."""
    flags = {"num_train_epochs": epochs, "max_steps": max_steps,
             "per_device_train_batch_size": batch, "gradient_accumulation_steps": accumulate,
             "learning_rate": learning_rate, "seed": seed, "save_steps": save_steps}
    given = {name: value for name, value in flags.items() if value is not None}
    both = {**file.arguments, **parse_set(sets or []), **given}
    return merged(TrainConfig, "train", file, {**ours, "arguments": both})


@app.command()
def finetune(
    checkpoint: Model,
    out: Out,
    task: TaskRef = None, task_name: TaskName = None, data_dir: DataDir = None,
    train_file: TrainFile = None, validation_file: ValidationFile = None, head: HeadName = None,
    train_rows: TrainRows = None,
    config: ConfigFile = None, epochs: Epochs = None, max_steps: MaxSteps = None,
    batch: Batch = None, accumulate: Accumulate = None, learning_rate: Rate = None,
    seed: Seed = None, save_steps: SaveSteps = None, sets: Set = None, teacher: Teacher = None,
    distil: Distil = None, distil_hidden: DistilHidden = None, precision: Precision = None,
    max_tokens: MaxTokens = None, restart: Restart = False, as_json: Json = False,
) -> None:
    """Fine-tune a checkpoint for a task, without pruning it.

    Runs in several processes under torchrun, or accelerate launch on GPUs. An interrupted run goes
    on when it is called the same way again.
    """
    train = _train_config(
        read_settings(config), sets, epochs=epochs, max_steps=max_steps, batch=batch,
        accumulate=accumulate, learning_rate=learning_rate, seed=seed, save_steps=save_steps,
        distil=distil, distil_hidden=distil_hidden, precision=precision, max_tokens=max_tokens)
    rows = _task(task, task_name, data_dir, train_file, validation_file, head, train_rows,
                 train.seed)
    # Only now: torch takes seconds to load, and neither --help nor a wrong setting should wait.
    from sparseloom.model.flow import finetune_checkpoint
    with _progress() as progress:
        report = finetune_checkpoint(checkpoint, rows, out, train=train, teacher=teacher,
                                     restart=restart, progress=progress)
    _print(report.as_dict(), as_json, "fine-tuned")


@app.command()
def prune(
    checkpoint: Model,
    out: Out,
    task: TaskRef = None, task_name: TaskName = None, data_dir: DataDir = None,
    train_file: TrainFile = None, validation_file: ValidationFile = None, head: HeadName = None,
    train_rows: TrainRows = None,
    compression: Annotated[float | None, _option(
        "All weights of the encoder's Linear layers over the surviving ones, at least.", PRUNING,
        PRUNE.compression, "--compression")] = None,
    cycles: Annotated[int | None, _option(
        "Budget instead of a compression: cycles of the whole encoder on the array, by the cycle "
        "model.", PRUNING, None, "--cycles")] = None,
    rows: Annotated[int | None, _option(
        "Rows of the array, for cycles.", PRUNING, PRUNE.rows, "--rows")] = None,
    cols: Annotated[int | None, _option(
        "Columns of the array, for cycles.", PRUNING, PRUNE.cols, "--cols")] = None,
    tokens: Annotated[int | None, _option(
        "Tokens that the cycles are counted for.", PRUNING, PRUNE.tokens, "--tokens")] = None,
    weight_bits: Annotated[int | None, _option(
        "Bits of a weight on the array, for cycles: 8 or 4.", PRUNING, PRUNE.weight_bits,
        "--weight-bits")] = None,
    method: Annotated[str | None, _option(
        f"How groups are chosen: {', '.join(METHODS)}.", PRUNING, PRUNE.method,
        "--method")] = None,
    scope: Annotated[str | None, _option(
        f"Where groups compete: {', '.join(SCOPES)}.", PRUNING, PRUNE.scope, "--scope")] = None,
    structure: Structure = None, p: P = None, q: Q = None, pad: Pad = None,
    embeddings: Annotated[bool | None, _option(
        "Prune the word embeddings' table too.", PRUNING, "no-embeddings",
        "--embeddings/--no-embeddings")] = None,
    strength: Annotated[float | None, _option(
        "Strength of the group penalty.", PRUNING,
        ", ".join(f"{value:g} ({name})" for name, value in STRENGTHS.items()),
        "--lambda")] = None,
    layer_strength: Annotated[list[str] | None, _option(
        "λ of layers whose name matches, as '*.output.dense=0.2'; may be repeated.", PRUNING, None,
        "--lambda-of", metavar="PATTERN=NUMBER")] = None,
    penalty: Annotated[str | None, _option(
        f"How the penalty acts: {', '.join(PENALTIES)}.", PRUNING, PRUNE.penalty,
        "--penalty")] = None,
    milestone: Annotated[list[str] | None, _option(
        "When the penalty is reweighted: a share of the penalised stage (0.25) or an epoch "
        "(1.5ep); may be repeated.", PRUNING, ", ".join(PRUNE.milestones), "--milestone")] = None,
    prune_at: Annotated[float | None, _option(
        "Share of the steps that come before the hard prune.", PRUNING, PRUNE.prune_at,
        "--prune-at")] = None,
    gradual: Annotated[int | None, _option(
        "Hard prunes on the way to the compression.", PRUNING, PRUNE.gradual,
        "--gradual")] = None,
    saliency: Annotated[str | None, _option(
        f"What a weight counts by: {', '.join(SALIENCIES)}.", PRUNING, PRUNE.saliency,
        "--saliency")] = None,
    reconstruct: Annotated[bool | None, _option(
        "Refit the survivors of each layer after the prune.", PRUNING, "reconstruct",
        "--reconstruct/--no-reconstruct")] = None,
    config: ConfigFile = None, epochs: Epochs = None, max_steps: MaxSteps = None,
    batch: Batch = None, accumulate: Accumulate = None, learning_rate: Rate = None,
    seed: Seed = None, save_steps: SaveSteps = None, sets: Set = None, teacher: Teacher = None,
    distil: Distil = None, distil_hidden: DistilHidden = None, precision: Precision = None,
    max_tokens: MaxTokens = None, restart: Restart = False, as_json: Json = False,
) -> None:
    """Prune a checkpoint for a task: penalised training, hard prune, masked retraining.

    Runs in several processes under torchrun, or accelerate launch on GPUs. An interrupted run goes
    on when it is called the same way again.
    """
    file = read_settings(config)
    prune_config = merged(PruneConfig, "prune", file, {
        "compression": compression, "cycles": cycles, "rows": rows, "cols": cols,
        "tokens": tokens, "weight_bits": weight_bits, "method": method, "scope": scope,
        "structure": structure, "p": p, "q": q, "pad": pad, "embeddings": embeddings,
        "strength": strength, "layer_strengths": parse_strengths(layer_strength or []),
        "penalty": penalty, "milestones": tuple(milestone) if milestone else None,
        "prune_at": prune_at, "gradual": gradual, "saliency": saliency, "reconstruct": reconstruct})
    train = _train_config(
        file, sets, epochs=epochs, max_steps=max_steps, batch=batch, accumulate=accumulate,
        learning_rate=learning_rate, seed=seed, save_steps=save_steps, distil=distil,
        distil_hidden=distil_hidden, precision=precision, max_tokens=max_tokens)
    found = _task(task, task_name, data_dir, train_file, validation_file, head, train_rows,
                  train.seed)
    from sparseloom.model.flow import prune_checkpoint
    with _progress() as progress:
        report = prune_checkpoint(checkpoint, found, out, prune=prune_config, train=train,
                                  teacher=teacher, restart=restart, progress=progress)
    _print(report.as_dict(), as_json, "pruned")


@app.command()
def quantize(
    checkpoint: Model,
    out: Out,
    task: TaskRef = None, task_name: TaskName = None, data_dir: DataDir = None,
    train_file: TrainFile = None, validation_file: ValidationFile = None, head: HeadName = None,
    train_rows: TrainRows = None,
    structure: Structure = None, p: P = None, q: Q = None, pad: Pad = None,
    weight_bits: Annotated[int | None, _option(
        "Bits of a weight: 8 or 4.", ROUNDING, QUANTIZE.weight_bits, "--weight-bits")] = None,
    rounding: Annotated[str | None, _option(
        f"How weights are rounded: {', '.join(ROUNDINGS)}.", ROUNDING,
        "compensated with 4 bits and no retraining, else nearest", "--rounding")] = None,
    calibration: Annotated[str | None, _option(
        f"How ranges are chosen: {', '.join(CALIBRATIONS)}.", ROUNDING, QUANTIZE.calibration,
        "--calibration")] = None,
    percentile: Annotated[float | None, _option(
        "What `percentile` keeps of all values, in percent.", ROUNDING, QUANTIZE.percentile,
        "--percentile")] = None,
    calibration_rows: Annotated[int | None, _option(
        "Training rows that set the ranges.", ROUNDING, QUANTIZE.calibration_rows,
        "--calibration-rows")] = None,
    qat_steps: Annotated[int | None, _option(
        "Steps of retraining with the rounding in place.", ROUNDING, QUANTIZE.qat_steps,
        "--qat-steps")] = None,
    qat_rate: Annotated[float | None, _option(
        "Their learning rate.", ROUNDING, QUANTIZE.qat_rate, "--qat-rate")] = None,
    evaluate: Annotated[bool, typer.Option(help="Score the integer model.")] = True,
    config: ConfigFile = None, batch: Batch = None, seed: Seed = None, sets: Set = None,
    teacher: Teacher = None, distil: Distil = None, distil_hidden: DistilHidden = None,
    precision: Precision = None, restart: Restart = False, as_json: Json = False,
) -> None:
    """Quantise a pruned or dense checkpoint and write its artefact folder.

    Activations have 8 bits, weights 8 or 4; a unit is built for one width of weights.

    Structure, p and q are those of a dense checkpoint; a pruned one knows its own.
    """
    file = read_settings(config)
    quantize_config = merged(QuantizeConfig, "quantize", file, {
        "weight_bits": weight_bits, "rounding": rounding, "calibration": calibration,
        "percentile": percentile, "calibration_rows": calibration_rows, "qat_steps": qat_steps,
        "qat_rate": qat_rate, "seed": seed})
    shape = merged(PruneConfig, "prune", file,
                   {"structure": structure, "p": p, "q": q, "pad": pad})
    train = _train_config(
        file, sets, batch=batch, seed=seed, distil=distil, distil_hidden=distil_hidden,
        precision=precision)
    rows = _task(task, task_name, data_dir, train_file, validation_file,
                 head or _known_head(checkpoint), train_rows, quantize_config.seed)
    from sparseloom.model.flow import quantize_checkpoint
    with _progress() as progress:
        report = quantize_checkpoint(
            checkpoint, rows, out, quantize=quantize_config, train=train, evaluate=evaluate,
            structure=shape.structure, p=shape.p, q=shape.q, pad=shape.pad, teacher=teacher,
            restart=restart, progress=progress)
    _print(report.as_dict(), as_json, "quantised")


@app.command("eval")
def evaluate_command(
    checkpoint: Model,
    task: TaskRef = None, task_name: TaskName = None, data_dir: DataDir = None,
    validation_file: ValidationFile = None, head: HeadName = None,
    integer: Annotated[bool | None, typer.Option(
        "--integer/--float", show_default="integers of an artefact folder, else floats",
        help="Score the integer model of an artefact folder, or the floats beside it.")] = None,
    as_json: Json = False,
) -> None:
    """Score a checkpoint, or an artefact's integer model, on validation rows.

    The task, its head and classes are those that the folder knows, unless told otherwise.
    """
    from sparseloom.model.export import is_artefact, known_task
    note = known_task(checkpoint)
    if note is not None and task is None:
        task_name = task_name or note.name
    rows = _task(task, task_name, data_dir, None, validation_file,
                 head or (note.head if note else None),
                 labels=note.labels if note else ())
    whole = is_artefact(checkpoint) if integer is None else integer
    from sparseloom.model.flow import evaluate_checkpoint
    with _progress() as progress:
        found = evaluate_checkpoint(checkpoint, rows, integer=whole, progress=progress)
    _print({"task": rows.name, "metric": rows.metric, "rows": found.rows, "integer": whole,
            "score": found.scores[rows.metric], "scores": found.scores}, as_json, "score")


def _known_head(checkpoint: str) -> str | None:
    """The head that a folder of ours was trained with."""
    from sparseloom.model.export import known_task
    note = known_task(checkpoint)
    return note.head if note else None


@app.command()
def show(
    path: Annotated[Path, typer.Argument(
        help="Folder of a pruned checkpoint, or artefact folder or file.", show_default=False)],
    image: Annotated[Path | None, typer.Option(
        "--image", metavar="FILE", show_default=False,
        help="Draw the masks to a PNG file: all layers, or one.")] = None,
    layer: Annotated[str | None, typer.Option(
        "--layer", show_default=False, help="Draw this layer only.")] = None,
    as_json: Json = False,
) -> None:
    """Check what pruning left, list the density of each layer, draw its masks."""
    from sparseloom.model.show import describe, table, write_mask_image
    if layer is not None and image is None:
        raise InputError("layer: expected --image FILE to draw it to, found none")
    found = describe(path)
    if image is not None:
        found["image"] = str(write_mask_image(path, image, layer))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    Console().print(table(found))
    if image is not None:
        Console().print(f"masks: {image}", highlight=False)
