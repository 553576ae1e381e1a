"""What an exploration found, as JSON and as a table."""
from __future__ import annotations

from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sparseloom.hw.devices import find_device
from sparseloom.sim.explore.run import OBJECTIVES, Findings, Point

KINDS = {"artefact": "as trained", "norms": "one shot, by norms", "balanced": "balanced, seeded"}
"""Masks, in words."""


def as_dict(findings: Findings, *, every: bool = False) -> dict[str, Any]:
    """JSON-ready; with ``every`` all points, not the front alone."""
    question = findings.question
    quality = "score" if findings.by_score else "compression and bits of weights"
    return {
        "model": question.workload.name, "device": find_device(question.device).part,
        "tokens": question.tokens, "fill": question.fill,
        "attention": bool(question.workload.attention),
        "objectives": [quality, *OBJECTIVES],
        "points": len(findings.points), "distinct_points": findings.distinct,
        "computed": findings.computed, "seconds": round(findings.seconds, 3),
        "builds_measured": findings.measured,
        "refused": dict(findings.refused), "notes": findings.notes,
        "resource_model": {"builds": question.resources.builds,
                           "errors": dict(question.resources.errors)},
        "front": [point_dict(findings.points[index]) for index in findings.front],
        **({"all": [point_dict(point) for point in findings.points]} if every else {}),
    }


def point_dict(point: Point) -> dict[str, Any]:
    """One point, JSON-ready."""
    pruning, cells, score = point.pruning, point.resources, point.score
    return {
        "config": point.config.to_dict(),
        "pruning": {"structure": pruning.structure, "p": pruning.p, "q": pruning.q,
                    "compression": pruning.compression},
        "masks": point.masks, "compression": round(point.compression, 4),
        "cycles": point.cycles, "ideal_cycles": point.ideal_cycles,
        "utilisation": round(point.utilisation, 5),
        "clock": {"mhz": point.clock.mhz, "source": point.clock.source},
        "latency_ms": point.latency_ms,
        "score": None if score is None else {"value": score.value, "seeds": score.seeds,
                                             "metric": score.metric},
        "lut4": cells.lut4, "comb": cells.comb, "ff": cells.ff, "dsp": cells.dsp,
        "bram": cells.bram, "cells": point.measured or "estimated",
    }


def show(findings: Findings, console: Console, *, most: int) -> None:
    """The front for people, its fastest ``most`` points."""
    question = findings.question
    device, points = find_device(question.device), findings.points
    front = [points[index] for index in findings.front]
    kinds = ", ".join(KINDS[kind] for kind in dict.fromkeys(point.masks for point in points))
    lines = [
        f"{question.workload.name} on {device.part}, {question.tokens} tokens; masks: {kinds}",
        f"{len(points):,} points within the device's limits, {findings.distinct:,} of the cycle "
        f"model: {findings.computed:,} computed, {findings.distinct - findings.computed:,} kept "
        "from before",
    ]
    if findings.refused:
        lines.append("left out: " + "; ".join(
            f"{count:,} × {reason}" for reason, count in findings.refused.most_common()))
    errors = question.resources.errors
    lines.append(f"COMB and FF are estimated within {errors['comb']:.0%} and {errors['ff']:.0%} "
                 f"({question.resources.builds} builds, each left out in turn), unless marked *; "
                 "DSP and BRAM are exact")
    lines.append("cycles are of all matrix products of the encoder, attention's two included"
                 if question.workload.attention else
                 "cycles are of the Linear layers alone: the model does not tell attention's heads")
    scored = sum(point.score is not None for point in points)
    if findings.by_score:
        lines.append(f"the front is over measured scores: {scored:,} points have one, the others "
                     "are not on it")
    else:
        lines.append("no score was measured: the front is over compression and bits of weights "
                     "in its place")
    for line in lines:
        console.print(line, highlight=False, markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("array", "lanes", "bus", "acts", "weights", "pruned", "score", "ms", "MHz",
                    "cycles", "array\nbusy", "COMB", "FF", "DSP", "BRAM"):
        table.add_column(heading, justify="left" if heading in ("array", "pruned") else "right",
                         no_wrap=True)
    for point in front[:most]:
        table.add_row(*_row(point))
    console.print(table, highlight=False, markup=False)
    if len(front) > most:
        console.print(f"{len(front) - most:,} more points on the front (--most, --json)",
                      highlight=False)
    sources = dict.fromkeys(point.clock.source for point in front)
    console.print("clock: " + ", ".join(
        source if source in ("given", "measured") else f"of the measured fit {source}"
        for source in sources), highlight=False)
    for note in findings.notes:
        console.print(f"note: {note}", highlight=False, markup=False)


def _row(point: Point) -> list[str]:
    """A point's cells in the table."""
    config, pruning, cells = point.config, point.pruning, point.resources
    mark = "*" if point.measured else ""
    return [
        f"{config.rows} × {config.cols}", str(config.post_lanes), str(config.bus_bits),
        str(config.act_words), str(config.weight_bits),
        f"{pruning.compression:g}× {pruning.structure} {pruning.p} × {pruning.q}",
        "–" if point.score is None else f"{point.score.value:.1f}",
        f"{point.latency_ms:.2f}", f"{point.clock.mhz:.0f}", f"{point.cycles:,}",
        f"{point.utilisation:.1%}", f"{cells.comb:,}{mark}", f"{cells.ff:,}{mark}",
        str(cells.dsp), str(cells.bram)]
