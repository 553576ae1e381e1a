"""The Pareto front of an exploration, from what ``sparseloom explore --json`` writes."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparseloom.model.errors import InputError, cut
from sparseloom.sim.page.parts import Figure, Section, chart, fixed, paragraph, table

TITLE = "Arrays and prunings that nothing beats"
MAKE = "sparseloom explore build/demo/pruned --json > build/explore.json"
MOST = 500
"""Points of the front in chart and table, the fastest first."""

Point = Mapping[str, Any]
MASKS = {"artefact": "as trained", "norms": "pruned in one shot by norms, not trained since",
         "balanced": "balanced, drawn by a seed"}
"""Of points, in words."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """The design of the receipt, to be found among the points.

    Parameters
    ----------
    rows, cols, bus_bits : int
    compression : float
        Of its masks.
    """

    rows: int
    cols: int
    bus_bits: int
    compression: float

    def is_point(self, point: Point) -> bool:
        """Whether a point is this array at this compression, within a percent."""
        config = point["config"]
        return ((config["rows"], config["cols"], config["bus_bits"])
                == (self.rows, self.cols, self.bus_bits)
                and abs(point["compression"] / self.compression - 1) < 0.01)


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


def front_figure(points: Sequence[Point], ran: Ran | None = None) -> Figure:
    """Latency over look-up tables; colour is the score, or the compression without one.

    A star is the receipt's own design.
    """
    scored = all(point.get("score") for point in points)
    stars = [ran is not None and ran.is_point(point) for point in points]
    return {"data": [{
        "type": "scatter", "mode": "markers", "x": [point["latency_ms"] for point in points],
        "y": [point["comb"] for point in points], "text": [label(point) for point in points],
        "customdata": [[point["dsp"], point["bram"], quality(point)] for point in points],
        "marker": {"opacity": 1,
                   "size": [16 if star else 10 for star in stars],
                   "symbol": ["star" if star else "circle" for star in stars],
                   "color": [quality(point) for point in points],
                   "colorscale": "Viridis", "showscale": True,
                   "colorbar": {"title": {"text": "score" if scored else "compression"},
                                "thickness": 12}},
        "hovertemplate": "%{text}<br>%{x:.3f} ms, %{y:,} LUT, %{customdata[0]} multipliers, "
                         "%{customdata[1]} memories, " + ("score" if scored else "compression")
                         + " %{customdata[2]:.2f}<extra></extra>", "showlegend": False}],
        "layout": {"xaxis": {"title": {"text": "latency, ms"}, "type": "log"},
                   "yaxis": {"title": {"text": "look-up tables"}}, "hovermode": "closest"}}


def _told(points: Sequence[Point], ran: Ran | None) -> str:
    """What is to be known of the points, as sentences."""
    kinds = [MASKS.get(kind, kind) for kind in dict.fromkeys(
        str(point["masks"]) for point in points if "masks" in point)]
    told = []
    if not all(point.get("score") for point in points):
        told.append("No score was measured: a model that keeps more weights stands for the more "
                    "accurate one.")
    if kinds:
        told.append(f"Masks: {'; '.join(kinds)}.")
    if ran is not None and any(map(ran.is_point, points)):
        told.append("The star is the array and compression of the receipt.")
    return " ".join(["", *told])


def _row(point: Point) -> list:
    clock, score = point["clock"], point.get("score")
    return [label(point), point["config"]["weight_bits"], fixed(point["compression"], 2, "×"),
            fixed(score and float(score["value"]), 1), fixed(float(point["latency_ms"]), 3),
            fixed(float(clock["mhz"]), 1), point["cycles"], point["comb"], point["ff"],
            point["dsp"], point["bram"], point["cells"]]


def front_section(found: Mapping[str, Any], ran: Ran | None = None) -> Section:
    """Chart and table of the front; what stands for accuracy, and where the masks come from."""
    points = sorted(found["front"], key=lambda point: point["latency_ms"])
    shown = points[:MOST]
    cut_off = f", of which the fastest {MOST:,} are shown" if len(points) > MOST else ""
    return Section(name="front", title=TITLE, figures={"front": front_figure(shown, ran)}, body=(
        paragraph(f"{found['model']} on {found['device']}, {found['tokens']} tokens: "
                  f"{len(points):,} points that no other one beats in "
                  f"{', '.join(found.get('objectives', ()))}{cut_off}." + _told(shown, ran))
        + chart("front", "latency over look-up tables of the front", height=440)
        + table(["array, bus, pruning", "weight bits", "compression", "score", "latency ms", "MHz",
                 "cycles", "LUT", "flip-flops", "multipliers", "memories", "cells are"],
                map(_row, shown))
        + "".join(paragraph(str(note)) for note in found.get("notes", ()))))
