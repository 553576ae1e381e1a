"""Score against compression, from the table of measured GLUE rows."""
from __future__ import annotations

from collections.abc import Iterable, Mapping
from statistics import mean
from typing import Any

from sparseloom.sim.page.parts import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PINK,
    RED,
    Figure,
    Section,
    chart,
    fixed,
    paragraph,
    table,
)

TITLE = "Score against compression"
MAKE = "make bench-glue DATA_DIR=folder"
COLOURS = (BLUE, ORANGE, GREEN, RED, PINK, GREY)
MAIN = "reweighted"
"""The method whose scores are drawn over compression; others are drawn beside it."""
DASHES = ("solid", "dash", "dot")

Row = Mapping[str, Any]


def task_of(row: Row) -> str:
    """Model, task and metric of a row, as the legend calls them."""
    head = " (cosine)" if row.get("head") == "cosine" else ""
    return f"{row['model']}, {row['task']}{head}, {row['metric']}"


def method_of(row: Row) -> str:
    """Method of a row, and what is particular about it: a trial of another setting is no seed."""
    return ", ".join(filter(None, (row["method"], row.get("label"))))


def _points(rows: Iterable[Row]) -> list[tuple[float, float, float, float, int]]:
    """Compression, mean difference, lowest and highest bound, seeds; by compression."""
    by: dict[float, list[Row]] = {}
    for row in rows:
        by.setdefault(round(float(row["compression"]["asked"]), 3), []).append(row)
    found = []
    for compression, same in sorted(by.items()):
        differences = [row["int8"] - row["dense"] for row in same]
        bounds = [row["int8_minus_dense"] for row in same if row.get("int8_minus_dense")]
        low = min((bound["low"] for bound in bounds), default=min(differences))
        high = max((bound["high"] for bound in bounds), default=max(differences))
        found.append((compression, mean(differences), low, high, len(same)))
    return found


def score_figure(rows: Iterable[Row]) -> Figure:
    """int8 minus dense over compression: a line a task, of the main method."""
    rows = [row for row in rows if method_of(row) == MAIN]
    data = []
    for number, task in enumerate(dict.fromkeys(map(task_of, rows))):
        points = _points(row for row in rows if task_of(row) == task)
        x, y, low, high, seeds = (list(column) for column in zip(*points, strict=True))
        data.append({
            "type": "scatter", "x": [1, *x], "y": [0, *y], "name": task, "mode": "lines+markers",
            "line": {"color": COLOURS[number % len(COLOURS)],
                     "dash": DASHES[number // len(COLOURS) % len(DASHES)]},
            "marker": {"size": 9}, "customdata": [[0, 0, 0], *zip(low, high, seeds, strict=True)],
            "hovertemplate": "%{y:+.2f} at %{x}× (%{customdata[0]:+.2f} to "
                             "%{customdata[1]:+.2f}, %{customdata[2]} seeds)"})
    return {"data": data, "layout": {
        "xaxis": {"title": {"text": "weights of the encoder, all / surviving"}, "ticksuffix": "×"},
        "yaxis": {"title": {"text": "int8 minus dense, points"}}, "hovermode": "closest"}}


def method_figure(rows: Iterable[Row]) -> Figure | None:
    """int8 minus dense of each method, where a task and compression was pruned by several."""
    by: dict[tuple[str, float], dict[str, list[float]]] = {}
    for row in rows:
        place = (task_of(row), float(row["compression"]["asked"]))
        by.setdefault(place, {}).setdefault(method_of(row), []).append(row["int8"] - row["dense"])
    by = {place: methods for place, methods in by.items() if len(methods) > 1}
    methods = list(dict.fromkeys(method for found in by.values() for method in found))
    if not methods:
        return None
    return {"data": [{
        "type": "bar", "name": method, "marker": {"color": COLOURS[number % len(COLOURS)]},
        "x": [f"{task}<br>{compression:g}×" for task, compression in by],
        "y": [mean(found[method]) if method in found else None for found in by.values()],
        "hovertemplate": "%{y:+.2f} at %{x}"} for number, method in enumerate(methods)],
        "layout": {"barmode": "group", "xaxis": {"type": "category"},
                   "yaxis": {"title": {"text": "int8 minus dense, points"}}}}


def score_section(rows: Iterable[Row]) -> Section:
    """Chart and table."""
    rows = list(rows)
    methods = method_figure(rows)
    cells = []
    for row in rows:
        cycles = row.get("cycles") or {}
        fewer = cycles["dense"] / cycles["encoder"] if cycles.get("encoder") else None
        cells.append([
            task_of(row), method_of(row), fixed(row["compression"]["encoder"], 2, "×"),
            fixed(row["dense"], 1), fixed(row["pruned"], 1), fixed(row["int8"], 1),
            fixed(row["dense"] - row["int8"], 2), fixed(fewer, 2, "×"), row["seed"]])
    return Section(
        name="scores", title=TITLE, figures={
            "scores": score_figure(rows), **({"methods": methods} if methods else {})}, body=(
            chart("scores", "int8 score minus dense score over compression, one line a task",
                  height=460)
            + paragraph("Dense is the same fine-tuned model, trained on for as long, not pruned; "
                        f"pruned by the method {MAIN}. The bounds that a point shows are 95 % of a "
                        "paired bootstrap over validation rows.")
            + ("<h3>Methods</h3>" + chart("methods", "int8 minus dense score of each method")
               if methods else "")
            + table(["model, task, metric", "method", "compression", "dense", "pruned", "int8",
                     "loss", "fewer cycles", "seed"], cells)))
