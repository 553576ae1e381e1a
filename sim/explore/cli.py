"""``sparseloom explore``: which array and which pruning for a model and a device."""
from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer
from rich.console import Console

from sparseloom.hw.config import BUS_BITS, WEIGHT_BITS, ArrayConfig
from sparseloom.hw.devices import DEVICES
from sparseloom.model.errors import InputError, cut
from sparseloom.sim.explore.encoders import ENCODERS
from sparseloom.sim.explore.measure import KINDS
from sparseloom.sim.explore.workload import STRUCTURES, ArtefactWorkload, Workload, find_workload
from sparseloom.sim.progress import progress_bars

DEFAULTS = ArrayConfig()
INTERRUPTED = 130
"""Exit code of a run that was interrupted, as shells have it."""
MOST_VALUES = 10_000
"""Of a range: what is longer is a slip of the pen."""
COMPRESSIONS = "1,2,3,5"

Value = TypeVar("Value")


def explore(
    model: Annotated[str, typer.Argument(
        show_default=False, help="Artefact or checkpoint folder, or shapes by name: "
                                 + ", ".join(ENCODERS) + ".")],
    device: Annotated[str, typer.Option(help=f"FPGA: {', '.join(DEVICES)}.")] = "85k",
    rows: Annotated[str, typer.Option(help="Tokens at a time: 4,8 or 4-16 or 4-16:2.")] = "4-16:2",
    cols: Annotated[str, typer.Option(help="Outputs at a time, likewise.")] = "4-24:2",
    blocks: Annotated[str, typer.Option(help="p x q of pruned blocks: 24x16,12x16.")] = "24x16",
    structures: Annotated[str, typer.Option(help=f"Groups: {', '.join(STRUCTURES)}.")] = "column",
    compressions: Annotated[str | None, typer.Option(
        show_default=f"the artefact's own, else {COMPRESSIONS}",
        help="Weights over survivors: 1,2.5,5.")] = None,
    bus_bits: Annotated[str, typer.Option(
        help=f"Widths of the streams: {', '.join(map(str, BUS_BITS))}.")] = "64",
    weight_bits: Annotated[str | None, typer.Option(
        show_default="the artefact's, else 8",
        help=f"Bits of a weight: {', '.join(map(str, WEIGHT_BITS))}.")] = None,
    lanes: Annotated[str | None, typer.Option(
        show_default="the largest divisor of a build's rows up to 4",
        help="Results post-processed in a cycle; arrays whose rows it does not divide are left "
             "out.")] = None,
    act_words: Annotated[str, typer.Option(
        help="Words of half the activation buffer; at least the model's largest input.",
    )] = str(DEFAULTS.act_words),
    tokens: Annotated[int, typer.Option(help="Tokens of every layer.")] = 128,
    clock_mhz: Annotated[float | None, typer.Option(
        show_default="of the measured fit most like each build", help="Clock of every build.",
    )] = None,
    fill: Annotated[float, typer.Option(
        help="Share of the device's look-up tables and flip-flops that may be used.")] = 0.9,
    scores: Annotated[Path | None, typer.Option(
        show_default=False, help="Table of measured scores, as bench/results/glue.json; needs "
                                 "--task.")] = None,
    task: Annotated[str | None, typer.Option(
        show_default=False, help="Whose scores count.")] = None,
    scored_as: Annotated[str | None, typer.Option(
        show_default="MODEL", help="What the table calls the model.")] = None,
    method: Annotated[str, typer.Option(help="Method of the rows that count.")] = "reweighted",
    head: Annotated[str | None, typer.Option(
        show_default="the only one", help="Head of the rows that count.")] = None,
    measure: Annotated[str | None, typer.Option(
        show_default="nothing",
        help="Measure builds of the front: synth (cells, minutes) or fit (and clock, an hour)."
    )] = None,
    measure_most: Annotated[int, typer.Option(
        min=1, help="Builds to measure, the fastest first.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Of place and route.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of balanced masks.")] = 0,
    scheduler: Annotated[str | None, typer.Option(
        show_default="a cluster of this machine's cores",
        help="Dask scheduler to use, tcp://HOST:PORT.")] = None,
    workers: Annotated[int | None, typer.Option(
        show_default="one for each core",
        help="Processes of the local cluster; 0 computes in this one.")] = None,
    keep: Annotated[Path, typer.Option(
        help="Folder of finished points, for this and any later run.")] = Path("build/explore"),
    most: Annotated[int, typer.Option(min=1, help="Points of the front to show.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, not a table.")] = False,
    every: Annotated[bool, typer.Option(
        "--all", help="With --json: all points, not the front alone.")] = False,
) -> None:
    """Sweep arrays and prunings under a device's limits, and show the Pareto front.

    Accuracy, latency, LUT, DSP, BRAM. Cycles are the cycle model's, exact; cells are estimated,
    multipliers and memories exactly; scores are measured ones or none. Finished points are kept: an
    interrupted run goes on when it is called again, and a repeated one computes nothing.
    """
    # Only now: --help needs none of it.
    from sparseloom.hw.resources import resource_model
    from sparseloom.sim.explore.farm import open_farm
    from sparseloom.sim.explore.report import as_dict, show
    from sparseloom.sim.explore.run import Question, measure_front
    from sparseloom.sim.explore.run import explore as run
    from sparseloom.sim.explore.scores import NONE, read_scores
    from sparseloom.sim.explore.space import Axes
    from sparseloom.sim.explore.store import PointStore

    if measure is not None and measure not in KINDS:
        raise InputError(f"--measure: expected one of {', '.join(KINDS)}, found {cut(measure)}")
    if (scores is None) != (task is None):
        raise InputError("--scores and --task: expected both or none, found one")
    workload = find_workload(model, seed=seed)
    usual = _usual(workload)
    axes = Axes(
        arrays=tuple((r, c) for r in integers("--rows", rows) for c in integers("--cols", cols)),
        blocks=listed("--blocks", blocks, _block), structures=listed("--structures", structures),
        compressions=listed("--compressions", compressions or usual["compressions"], float),
        bus_bits=integers("--bus-bits", bus_bits),
        weight_bits=integers("--weight-bits", weight_bits or usual["weight_bits"]),
        lanes=(None,) if lanes is None else integers("--lanes", lanes),
        act_words=integers("--act-words", act_words))
    table = NONE if scores is None or task is None else read_scores(
        scores, model=scored_as or workload.name, task=task, method=method, head=head)
    question = Question(workload=workload, axes=axes, device=device, tokens=tokens, fill=fill,
                        clock_mhz=clock_mhz, scores=table, resources=resource_model())
    log, store = Console(stderr=True), PointStore(keep)
    try:
        with open_farm(scheduler=scheduler, workers=workers) as farm, \
                progress_bars(log) as progress:
            findings = run(question, farm, store, progress)
            if measure is not None:
                measure_front(findings, farm, store, kind=measure, most=measure_most, seeds=seeds,
                              work=Path("build", "fit"), progress=progress)
    except KeyboardInterrupt:
        log.print(f"interrupted: finished points are kept in {store.path}; the same command goes "
                  "on from there", highlight=False, soft_wrap=True)
        raise typer.Exit(INTERRUPTED) from None
    if as_json:
        typer.echo(json.dumps(as_dict(findings, every=every), indent=2))
    else:
        show(findings, Console(width=None if os.isatty(1) else 140), most=most)


def _usual(workload: Workload) -> dict[str, str]:
    """Axes that follow from the model."""
    if isinstance(workload, ArtefactWorkload):
        return {"compressions": f"{workload.compression:.4g}",
                "weight_bits": ",".join(map(str, sorted(workload.weight_bits, reverse=True)))}
    return {"compressions": COMPRESSIONS, "weight_bits": str(DEFAULTS.weight_bits)}


def listed(option: str, text: str, kind: Callable[[str], Value] = str) -> tuple[Value, ...]:
    """Values with commas between them.

    Raises
    ------
    InputError
        If one is not of the kind.
    """
    values = []
    for word in text.split(","):
        try:
            values.append(kind(word.strip()))
        except ValueError:
            raise InputError(f"{option}: expected values with commas between them, found "
                             f"{cut(word)!r} in {cut(text)!r}") from None
    return tuple(values)


def integers(option: str, text: str) -> tuple[int, ...]:
    """Integers and ranges with commas between them: ``4,8-16:2``.

    Raises
    ------
    InputError
        If a word is neither, or a range is empty or too long.
    """
    found: list[int] = []
    for word in listed(option, text):
        whole = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9})(?::(\d{1,9}))?)?", word)
        if whole is None:
            raise InputError(f"{option}: expected integers and ranges such as 4,8-16:2, found "
                             f"{cut(word)!r}")
        first, last, step = (int(part) if part else None for part in whole.groups())
        assert first is not None
        numbers = range(first, (first if last is None else last) + 1, 1 if step is None else step
                        ) if step != 0 else range(0)
        if not 1 <= len(numbers) <= MOST_VALUES:
            raise InputError(f"{option}: expected a range of 1 to {MOST_VALUES:,} integers, found "
                             f"{cut(word)!r}")
        found += numbers
    return tuple(found)


def _block(text: str) -> tuple[int, int]:
    """``24x16``."""
    p, q = re.split(r"[x×]", text)
    return int(p), int(q)
