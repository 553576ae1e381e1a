"""The Pareto front of an exploration, from what ``sparseloom explore --json`` writes."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparseloom.model.errors import InputError, cut
from sparseloom.sim.page.parts import Figure, Section, chart, fixed, paragraph, table

TITLE = "Arrays and prunings that nothing beats"
MAKE = "sparseloom explore build/demo/pruned --json > build/explore.json"
MOST = 500
"""Points of the front in chart and table, the fastest first."""

Point = Mapping[str, Any]


def check_front(found: Any, path: object) -> dict[str, Any]:
    """An exploration's report, or a message that says what it lacks.

    Raises
    ------
    InputError
    """
    try:
        for point in found["front"]:
            _row(point)
        _ = found["model"], found["device"], found["tokens"]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"explore {path}: expected the JSON of 'sparseloom explore --json', "
                         f"found none: {cut(repr(error))}") from None
    return found


def label(point: Point) -> str:
    """Array and pruning."""
    built, pruning = point["config"], point["pruning"]
    return (f"{built['rows']} × {built['cols']}, {built['bus_bits']} bits, "
            f"{pruning['compression']:g}× {pruning['structure']} {pruning['p']} × {pruning['q']}")


def quality(point: Point) -> float:
    """The measured score; compression where there is none."""
    score = point.get("score")
    return float(score["value"] if score else point["compression"])


def front_figure(points: Sequence[Point]) -> Figure:
    """Latency over look-up tables; colour is the score, or the compression without one."""
    scored = all(point.get("score") for point in points)
    return {"data": [{
        "type": "scatter", "mode": "markers", "x": [point["latency_ms"] for point in points],
        "y": [point["comb"] for point in points], "text": [label(point) for point in points],
        "customdata": [[point["dsp"], point["bram"], quality(point)] for point in points],
        "marker": {"size": 10, "color": [quality(point) for point in points],
                   "colorscale": "Viridis", "showscale": True,
                   "colorbar": {"title": {"text": "score" if scored else "compression"},
                                "thickness": 12}},
        "hovertemplate": "%{text}<br>%{x:.3f} ms, %{y:,} LUT, %{customdata[0]} multipliers, "
                         "%{customdata[1]} memories, " + ("score" if scored else "compression")
                         + " %{customdata[2]:.2f}<extra></extra>", "showlegend": False}],
        "layout": {"xaxis": {"title": {"text": "latency, ms"}, "type": "log"},
                   "yaxis": {"title": {"text": "look-up tables"}}, "hovermode": "closest"}}


def _row(point: Point) -> list:
    clock, score = point["clock"], point.get("score")
    return [label(point), point["config"]["weight_bits"], fixed(point["compression"], 2, "×"),
            fixed(score and float(score["value"]), 1), fixed(float(point["latency_ms"]), 3),
            fixed(float(clock["mhz"]), 1), point["cycles"], point["comb"], point["ff"],
            point["dsp"], point["bram"], point["cells"]]


def front_section(found: Mapping[str, Any]) -> Section:
    """Chart and table of the front."""
    points = sorted(found["front"], key=lambda point: point["latency_ms"])
    shown = points[:MOST]
    cut_off = f", of which the fastest {MOST:,} are shown" if len(points) > MOST else ""
    return Section(name="front", title=TITLE, figures={"front": front_figure(shown)}, body=(
        paragraph(f"{found['model']} on {found['device']}, {found['tokens']} tokens: "
                  f"{len(points):,} points that no other one beats in "
                  f"{', '.join(found.get('objectives', ()))}{cut_off}.")
        + chart("front", "latency over look-up tables of the front", height=440)
        + table(["array, bus, pruning", "weight bits", "compression", "score", "latency ms", "MHz",
                 "cycles", "LUT", "flip-flops", "multipliers", "memories", "cells are"],
                map(_row, shown))
        + "".join(paragraph(str(note)) for note in found.get("notes", ()))))
