"""When the array works and what it waits for, cycle by cycle, from the cycle model's spans."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.names import block_index
from sparseloom.model.packed.cycles import (
    CAUSES,
    Span,
    UnitJob,
    UnitShape,
    layer_jobs,
    predict,
)
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.sim.page.parts import (
    BLUE,
    GREY,
    ORANGE,
    PINK,
    RED,
    Figure,
    Section,
    chart,
    chooser,
    paragraph,
    table,
)
from sparseloom.sim.report import common_prefix

TITLE = "A layer's cycles"
NAMES = {"active": "array active", "stall_weights": "weights late",
         "stall_acts": "activations late", "stall_results": "results in the way",
         "other": "between tiles"}
"""Of a span's causes; what comes behind the last tile counts as between tiles."""
COLOURS = {"active": BLUE, "stall_weights": ORANGE, "stall_acts": RED, "stall_results": PINK,
           "other": GREY}
MOST = 12
"""Layers to choose from."""


def layer_spans(layer: PackedLayer, tokens: int, config: ArrayConfig) -> list[Span]:
    """Spans of a layer by itself, on the unit with its width of weights."""
    shape = UnitShape.of(replace(config, weight_bits=layer.weight_bits))
    spans: list[Span] = []
    predict(layer_jobs(UnitJob.of(layer, tokens, shape), shape), shape, spans=spans)
    return spans


def timeline_figure(spans: Sequence[Span]) -> Figure:
    """A lane a cause over the cycles.

    In a span with several causes each begins where the span does, but for the array's work, which
    ends it: what was in between is counted, not placed.
    """
    data = []
    for cause in reversed(CAUSES):
        rows = [span for span in spans if getattr(span, cause)]
        counts = [getattr(span, cause) for span in rows]
        data.append({
            "type": "bar", "orientation": "h", "y": [NAMES[cause]] * len(rows), "x": counts,
            "base": [span.end - count if cause == "active" else span.begin
                     for span, count in zip(rows, counts, strict=True)],
            "marker": {"color": COLOURS[cause], "line": {"width": 0}}, "name": NAMES[cause],
            "customdata": [[span.job, span.strip, span.begin, span.end] for span in rows],
            "hovertemplate": "%{x:,} cycles of %{customdata[2]:,} to %{customdata[3]:,}"
                             "<br>job %{customdata[0]}, strip %{customdata[1]}",
            "showlegend": False})
    return {"data": data, "layout": {
        "barmode": "overlay", "bargap": 0.15,
        "xaxis": {"title": {"text": "cycle"}, "range": [0, spans[-1].end]},
        "yaxis": {"automargin": True, "type": "category",
                  "categoryarray": [NAMES[cause] for cause in reversed(CAUSES)],
                  "categoryorder": "array"}}}


def timeline_section(layers: Mapping[str, PackedLayer], dense: Mapping[str, PackedLayer], *,
                     tokens: int, config: ArrayConfig) -> Section:
    """Timelines of the layers of the first encoder layer there is, pruned and dense.

    Parameters
    ----------
    layers, dense : mapping of str to PackedLayer
        As pruned, and with every weight.
    tokens : int
    config : ArrayConfig
        The unit; for layers with weights of another width, one that has it.
    """
    block = block_index(next(iter(layers)))
    chosen = [name for name in layers if block_index(name) == block][:MOST]
    prefix = common_prefix(list(layers))
    figures, choices, rows = {}, [], []
    for name in chosen:
        for kind, layer in (("pruned", layers[name]), ("dense", dense[name])):
            spans, figure = layer_spans(layer, tokens, config), f"timeline-{len(figures)}"
            figures[figure] = timeline_figure(spans)
            label = f"{name.removeprefix(prefix)}, {kind}"
            choices.append((figure, label))
            rows.append([label, sum(span.end - span.begin for span in spans),
                         *(sum(getattr(span, cause) for span in spans) for cause in CAUSES)])
    return Section(name="timeline", title=TITLE, figures=figures, body=(
        paragraph("By the cycle model, which RTL equals cycle for cycle where streams do not "
                  "pause; cycle 0 is the first with data on the inputs. Drag to zoom, double-click "
                  "for the whole.")
        + chooser("Layer", choices, "timeline")
        + chart("timeline", "cycles of a layer by cause, over time", height=300)
        + table(["layer", "cycles", *(NAMES[cause] for cause in CAUSES)], rows)
        + paragraph("Each wait before a strip is where it happens. Tiles of a strip are drawn as "
                    "one: what lies between them is drawn at its beginning.")))
