"""Critical paths by hand, and the project's own table of fits."""
import json
from pathlib import Path

import plotly.graph_objects as go

from sparseloom.sim.page.fits import fit_section, path_figure
from tests.sim.receipts import fit_row

ROWS = json.loads((Path(__file__).parents[2] / "bench/results/fit.json").read_text())["rows"]


def test_a_path_is_laid_end_to_end():
    logic, wires = path_figure([fit_row()])["data"]
    assert (logic["base"], logic["x"], logic["customdata"]) == (
        [0.0, 2.0], [2.0, 1.0], ["strip_loader", "queue"])
    assert (wires["base"], wires["x"], wires["customdata"]) == ([3.0], [6.0], ["queue"])
    assert logic["y"] == ["3x5-85k-ecp5"] * 2


def test_a_fit_without_a_row_s_name():
    fit = fit_row()
    del fit["row"]
    assert path_figure([fit])["data"][0]["y"][0] == "3x5-85k-1"


def test_the_table_that_was_measured():
    section = fit_section(ROWS)
    go.Figure(section.figures["fit"])
    for row in ROWS:
        path = row["critical_path"]
        assert row["row"] in section.body and f">{path['ns']:.2f}<" in section.body
        assert f">{row['fmax_mhz']['median']:,.1f}<" in section.body
        ends = [base + x for lane in section.figures["fit"]["data"]
                for name, base, x in zip(lane["y"], lane["base"], lane["x"], strict=True)
                if name == row["row"]]
        assert abs(max(ends) - path["ns"]) < 0.02
