"""Bars of the timeline are the spans of the cycle model."""
import plotly.graph_objects as go
import pytest

from sparseloom.model.packed.cycles import CAUSES, Span
from sparseloom.sim.page.timeline import NAMES, layer_spans, timeline_figure, timeline_section
from sparseloom.sim.receipt.work import layer_work
from tests.sim.receipts import CONFIG, TOKENS, dense_of, small_layers

LAYERS = small_layers()


def test_bars_by_hand():
    spans = [Span(0, 0, 0, 10, stall_weights=10),
             Span(0, 0, 10, 25, active=12, stall_results=2, other=1), Span(0, 1, 25, 27, other=2)]
    lanes = {lane["name"]: lane for lane in timeline_figure(spans)["data"]}
    assert set(lanes) == set(NAMES.values())
    assert (lanes["weights late"]["base"], lanes["weights late"]["x"]) == ([0], [10])
    assert (lanes["array active"]["base"], lanes["array active"]["x"]) == ([13], [12])
    assert (lanes["results in the way"]["base"], lanes["results in the way"]["x"]) == ([10], [2])
    assert (lanes["between tiles"]["base"], lanes["between tiles"]["x"]) == ([10, 25], [1, 2])
    assert lanes["between tiles"]["customdata"] == [[0, 0, 10, 25], [0, 1, 25, 27]]
    assert lanes["activations late"]["x"] == []


@pytest.mark.parametrize("layer", LAYERS.values(), ids=lambda layer: layer.name)
def test_spans_sum_to_the_layer_s_counters(layer):
    spans = layer_spans(layer, TOKENS, CONFIG)
    work = layer_work(layer, TOKENS, CONFIG)
    assert {cause: sum(getattr(span, cause) for span in spans)
            for cause in CAUSES} == work.counters
    for lane in timeline_figure(spans)["data"]:
        for base, length, (_, _, begin, end) in zip(lane["base"], lane["x"], lane["customdata"],
                                                    strict=True):
            assert begin <= base and base + length <= end


def test_section():
    section = timeline_section(LAYERS, dense_of(LAYERS), tokens=TOKENS, config=CONFIG)
    assert list(section.figures) == [f"timeline-{number}" for number in range(4)]
    for figure in section.figures.values():
        go.Figure(figure)
    for text in ("up, pruned", "down, dense", 'data-shows="timeline"'):
        assert text in section.body
