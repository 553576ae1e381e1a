"""The front's points, and what is no exploration."""
import copy
from dataclasses import replace

import plotly.graph_objects as go
import pytest

from sparseloom.model.errors import InputError
from sparseloom.sim.page.front import Ran, check_front, front_section
from tests.sim.receipts import explore_report


def test_points_and_colours():
    section = front_section(check_front(explore_report(), "x"))
    data = section.figures["front"]["data"][0]
    assert data["x"] == [0.1, 0.2, 0.3] and data["y"] == [1200, 1000, 900]
    assert data["marker"]["color"] == [2.0, 84.0, 85.5]     # no score: the compression
    assert data["marker"]["colorbar"]["title"]["text"] == "compression"
    go.Figure(section.figures["front"])
    for text in ("tiny on LFE5U-85F, 7 tokens: 3 points", "a note", ">85.5<"):
        assert text in section.body
    scored = explore_report()
    scored["front"] = scored["front"][:2]
    marker = front_section(scored).figures["front"]["data"][0]["marker"]
    assert marker["colorbar"]["title"]["text"] == "score"


def test_what_stands_for_accuracy_and_which_masks():
    found = explore_report()
    told = "No score was measured: a model that keeps more weights stands for the more accurate"
    assert told in front_section(found).body
    assert "Masks: balanced, drawn by a seed." in front_section(found).body
    found["front"] = [{**point, "masks": kind} for point, kind in zip(
        found["front"][:2], ("norms", "artefact"), strict=True)]
    body = front_section(found).body
    assert told not in body and "Masks: as trained; pruned in one shot by norms" in body


def test_the_receipts_design_is_a_star():
    found, config = explore_report(), explore_report()["front"][0]["config"]
    found["front"][1]["compression"] = 3.0
    ran = Ran(rows=config["rows"], cols=config["cols"], bus_bits=config["bus_bits"],
              compression=3.01)
    section = front_section(found, ran)
    assert section.figures["front"]["data"][0]["marker"]["symbol"] == ["circle", "star", "circle"]
    assert "The star is the array and compression of the receipt." in section.body
    section = front_section(found, replace(ran, cols=ran.cols + 1))
    assert "star" not in section.body
    assert set(section.figures["front"]["data"][0]["marker"]["symbol"]) == {"circle"}


def test_a_long_front_is_cut_and_says_so(monkeypatch):
    monkeypatch.setattr("sparseloom.sim.page.front.MOST", 2)
    section = front_section(explore_report())
    assert "3 points" in section.body and "of which the fastest 2 are shown" in section.body
    assert section.figures["front"]["data"][0]["x"] == [0.1, 0.2]


def test_an_empty_front():
    assert "0 points" in front_section(check_front(explore_report(front=[]), "x")).body


@pytest.mark.parametrize("change", [
    lambda found: found.pop("front"), lambda found: found["front"][0].pop("latency_ms"),
    lambda found: found["front"][0].update(clock=None), lambda found: found.pop("device"),
    lambda found: found["front"].append([])])
def test_what_is_no_exploration(change):
    found = copy.deepcopy(explore_report())
    change(found)
    with pytest.raises(InputError, match="explore x: expected the JSON of 'sparseloom explore"):
        check_front(found, "x")
