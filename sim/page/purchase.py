"""The receipt as charts and tables."""
from __future__ import annotations

from sparseloom.model.names import block_index
from sparseloom.sim.page.parts import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    Figure,
    Section,
    chart,
    fixed,
    paragraph,
    table,
)
from sparseloom.sim.receipt.receipt import Receipt
from sparseloom.sim.receipt.table import coverage, model_rows, notes
from sparseloom.sim.report import common_prefix

TITLE = "The receipt"


SHORT = {
    "cycles, each layer by itself": "cycles, alone",
    "cycles a sentence adds to a full queue": "cycles, in a queue",
    "weight stream, bytes": "weight bytes", "activations in, bytes": "activation bytes",
    "results out, bytes": "result bytes", "MACs of surviving weights": "MACs needed",
    "MACs that the cells make": "MACs made", "memory words read and written": "memory words",
    "latency of a sentence, ms": "latency", "MB/s on the streams, mean": "MB/s on streams",
    "seconds a sentence over the board's line": "over the board's line"}
"""Rows of the whole model that the chart shows, and what it calls them."""


def layer_figure(receipt: Receipt) -> Figure:
    """Cycles of each layer: dense behind, pruned in front, the ideal as a line."""
    prefix = common_prefix([layer.name for layer in receipt.layers])
    names = [layer.name.removeprefix(prefix) for layer in receipt.layers]
    places = list(range(len(names)))
    bar = {"type": "bar", "x": places, "customdata": names,
           "hovertemplate": "%{customdata}: %{y:,} cycles"}
    ideal = [layer.dense.cycles * layer.density for layer in receipt.layers]
    blocks = [block_index(layer.name) for layer in receipt.layers]
    firsts = [place for place in places if place == 0 or blocks[place] != blocks[place - 1]]
    return {"data": [
        {**bar, "name": "dense", "y": [layer.dense.cycles for layer in receipt.layers],
         "marker": {"color": GREY}},
        {**bar, "name": "pruned", "y": [layer.pruned.cycles for layer in receipt.layers],
         "marker": {"color": BLUE}},
        {"type": "scatter", "x": places, "customdata": names, "y": ideal, "name": "dense × density",
         "mode": "markers", "marker": {"color": ORANGE, "symbol": "line-ew", "size": 10,
                                       "line": {"color": ORANGE, "width": 3}},
         "hovertemplate": "%{customdata}: %{y:,.0f} cycles would be ideal"}],
        "layout": {"barmode": "overlay", "yaxis": {"title": {"text": "cycles"}},
                   "xaxis": {"title": {"text": "layers, in the model's order"},
                             "tickvals": firsts, "showgrid": False, "zeroline": False,
                             "ticktext": [f"block {blocks[place]}" if blocks[place] is not None
                                          else names[place] for place in firsts]}}}


def share_figure(receipt: Receipt) -> Figure:
    """Pruned as a share of dense, for each thing that is counted; lowest is best."""
    rows = [(SHORT[what], 100 * pruned / dense)
            for what, pruned, dense, _, _ in model_rows(receipt) if what in SHORT and dense]
    rows.reverse()
    density = 100 * receipt.total()["density"]
    return {"data": [{"type": "bar", "orientation": "h", "y": [what for what, _ in rows],
                      "x": [share for _, share in rows], "marker": {"color": GREEN},
                      "text": [f"{share:.0f} %" for _, share in rows], "textposition": "auto",
                      "hovertemplate": "%{y}: %{x:.1f} % of dense", "showlegend": False}],
            "layout": {"yaxis": {"automargin": True, "type": "category"},
                       "xaxis": {"title": {"text": "pruned, in % of dense"}, "rangemode": "tozero"},
                       "shapes": [{"type": "line", "x0": density, "x1": density, "y0": 0, "y1": 1,
                                   "yref": "paper", "line": {"color": ORANGE, "dash": "dot"}}],
                       "annotations": [{"x": density, "y": 1, "yref": "paper", "yanchor": "bottom",
                                        "showarrow": False,
                                        "text": f"weights left: {density:.0f} %"}]}}


def receipt_section(receipt: Receipt) -> Section:
    """Charts, the whole model pruned beside dense, every layer, and what is assumed."""
    config, total = receipt.config, receipt.total()
    whole = []
    for what, pruned, dense, form, less in model_rows(receipt):
        gain = dense / pruned if less else pruned / dense
        whole.append([what, (f"{pruned:{form}}", pruned), (f"{dense:{form}}", dense),
                      fixed(gain, 2, "×")])
    if receipt.cpu is not None:
        for kind, times in (("float32", receipt.cpu.float32), ("int8 products", receipt.cpu.int8)):
            spent = sum(times.values())
            whole.append([f"this machine's CPU, PyTorch {kind}, ms ({receipt.cpu.threads} threads)",
                          fixed(spent, 2), None, None])
    times = receipt.cpu
    layers = [[
        layer.name, ("" if layer.heads is None else f"{layer.heads} × ")
        + f"{layer.shape[0]}×{layer.shape[1]}", fixed(layer.density, 3),
        layer.pruned.ideal_cycles, layer.pruned.model_cycles, layer.pruned.measured_cycles,
        layer.dense.cycles, fixed(layer.speedup, 2, "×"), fixed(layer.share_of_ideal, 3),
        layer.pruned.weight_bytes, layer.dense.weight_bytes,
        sum(layer.pruned.words.values()), sum(layer.dense.words.values()),
        fixed(times and times.float32.get(layer.name), 3),
        fixed(times and times.int8.get(layer.name), 3)] for layer in receipt.layers]
    sums = ["all", "", fixed(total["mac_density"], 3), total["pruned"]["ideal_cycles"],
            total["pruned"]["model_cycles"], total["pruned"]["measured_cycles"],
            total["dense"]["cycles"], fixed(total["speedup"], 2, "×"),
            fixed(total["share_of_ideal"], 3), total["pruned"]["weight_bytes"],
            total["dense"]["weight_bytes"], total["pruned"]["memory_words"],
            total["dense"]["memory_words"],
            fixed(times and sum(times.float32.values()), 3),
            fixed(times and sum(times.int8.values()), 3)]
    return Section(
        name="receipt", title=TITLE,
        figures={"receipt-share": share_figure(receipt), "receipt-layers": layer_figure(receipt)},
        body=(
            paragraph(f"A sentence of {receipt.tokens} tokens on a {config.rows} × {config.cols} "
                      f"array, {coverage(receipt)}, pruned beside dense.")
            + chart("receipt-share", "each quantity of the pruned model in percent of the dense "
                                     "one", height=460)
            + table(["whole model", "pruned", "dense", "better by"], whole)
            + "<h3>Layer by layer</h3>"
            + chart("receipt-layers", "cycles of each layer, dense and pruned", height=420)
            + table(["layer", "shape", "density", "ideal cycles", "cycle model", "RTL cycles",
                     "dense cycles", "speed-up", "of ideal", "weight bytes", "dense bytes",
                     "memory words", "dense words", "CPU float32 ms", "CPU int8 ms"],
                    layers, foot=sums)
            + "<details><summary>What is assumed and how it is counted</summary>"
            + "".join(map(paragraph, notes(receipt))) + "</details>"))
