"""Scores: which points there are, by hand; and the project's own table."""
import json
from collections import defaultdict
from pathlib import Path
from statistics import fmean

import plotly.graph_objects as go
import pytest

from sparseloom.sim.page.scores import method_figure, score_figure, score_section

ROWS = json.loads((Path(__file__).parents[2] / "bench/results/glue.json").read_text())["rows"]


def row(compression, int8, *, task="stsb", method="reweighted", seed=1, low=-1.0, high=1.0):
    return {"model": "minilm", "task": task, "head": "regression", "metric": "spearman",
            "method": method, "compression": {"asked": compression, "encoder": compression},
            "dense": 86.0, "pruned": int8, "int8": int8, "seed": seed,
            "int8_minus_dense": {"low": low, "high": high},
            "cycles": {"dense": 300, "encoder": 100}}


def test_points_by_hand():
    rows = [row(5.0, 84.0), row(2.0, 86.5, seed=1, low=-3), row(2.0, 85.5, seed=2, high=4),
            row(2.0, 60.0, method="random"), row(2.0, 80.0, task="cola")]
    found = score_figure(rows)["data"]
    assert [line["name"] for line in found] == ["minilm, stsb, spearman", "minilm, cola, spearman"]
    assert found[0]["x"] == [1, 2.0, 5.0] and found[0]["y"] == [0, 0.0, -2.0]
    assert [list(bounds) for bounds in found[0]["customdata"]] == [
        [0, 0, 0], [-3, 4, 2], [-1, 1, 1]]
    methods = method_figure(rows)
    assert methods is not None
    assert [(bar["name"], bar["x"], bar["y"]) for bar in methods["data"]] == [
        ("reweighted", ["minilm, stsb, spearman<br>2×"], [0.0]),
        ("random", ["minilm, stsb, spearman<br>2×"], [-26.0])]
    assert method_figure(rows[:1]) is None


def test_a_trial_of_another_setting_is_no_seed():
    rows = [row(2.0, 86.0), {**row(2.0, 70.0), "label": "lambda0.3"}]
    assert score_figure(rows)["data"][0]["y"] == [0, 0.0]
    methods = method_figure(rows)
    assert methods is not None
    assert [(bar["name"], bar["y"]) for bar in methods["data"]] == [
        ("reweighted", [0.0]), ("reweighted, lambda0.3", [-16.0])]
    assert "<td>reweighted, lambda0.3</td>" in score_section(rows).body


def test_the_table_that_was_measured():
    section = score_section(ROWS)
    assert set(section.figures) == {"scores", "methods"}
    for figure in section.figures.values():
        go.Figure(figure)       # knows every name and value
    assert section.body.count("<tr>") == 1 + len(ROWS)
    seeds = defaultdict(list)       # a point is the mean of its seeds
    for one in ROWS:
        seeds[one["model"], one["task"], one["head"], one["method"], one.get("label"),
              one["compression"]["asked"]].append(one["int8"] - one["dense"])
    points = score_figure(ROWS)["data"] + section.figures["methods"]["data"]
    lowest = min(value for line in points for value in line["y"] if value is not None)
    assert lowest == pytest.approx(min(map(fmean, seeds.values())))
    assert len(ROWS) > len(seeds)


def test_a_row_without_cycles():
    alone = row(2.0, 85.0)
    del alone["cycles"], alone["int8_minus_dense"]
    assert "–" in score_section([alone]).body
    assert list(score_figure([alone])["data"][0]["customdata"][1]) == [-1.0, -1.0, 1]
