"""The receipt's charts and tables hold the receipt's numbers."""
import plotly.graph_objects as go
import pytest

from sparseloom.sim.page.purchase import SHORT, layer_figure, receipt_section, share_figure
from sparseloom.sim.receipt.table import model_rows
from tests.sim.test_receipt import CLOCK, TIMES, measured, receipt

FOUND = receipt(measured=measured(), clock=CLOCK)


def test_bars_are_the_cycles():
    dense, pruned, ideal = layer_figure(FOUND)["data"]
    assert dense["y"] == [layer.dense.cycles for layer in FOUND.layers]
    assert pruned["y"] == [layer.pruned.cycles for layer in FOUND.layers]
    assert ideal["y"] == pytest.approx([layer.dense.cycles * layer.density
                                        for layer in FOUND.layers])
    assert dense["customdata"] == ["up", "down"]
    assert layer_figure(FOUND)["layout"]["xaxis"]["ticktext"] == ["block 0"]


def test_shares_are_pruned_over_dense():
    figure = share_figure(FOUND)
    shares = dict(zip(figure["data"][0]["y"], figure["data"][0]["x"], strict=True))
    total = FOUND.total()
    assert shares["weight bytes"] == pytest.approx(
        100 * total["pruned"]["weight_bytes"] / total["dense"]["weight_bytes"])
    assert shares["latency"] == pytest.approx(100 / total["speedup"])
    assert figure["layout"]["shapes"][0]["x0"] == pytest.approx(100 * total["density"])
    assert len(shares) == len(SHORT)
    assert set(SHORT) <= {what for what, *_ in model_rows(FOUND)}


def test_section():
    section = receipt_section(FOUND)
    for figure in section.figures.values():
        go.Figure(figure)
    for text in (f"{FOUND.layers[0].pruned.model_cycles:,}", f"{FOUND.total()['speedup']:.2f}×",
                 "What is assumed", "400 MB/s for weights", "no CPU time was taken"):
        assert text in section.body
    assert "PyTorch float32, ms" not in section.body


def test_times_of_the_processor():
    names = [layer.name for layer in FOUND.layers]
    times = type(TIMES)(**{**TIMES.__dict__, "float32": dict(zip(names, (1.5, 2.0), strict=True)),
                           "int8": dict(zip(names, (0.5, 0.25), strict=True))})
    body = receipt_section(receipt(cpu=times)).body
    assert "PyTorch float32, ms (1 threads)" in body
    for text in (">3.50<", ">0.75<", ">1.500<", ">0.250<"):
        assert text in body
