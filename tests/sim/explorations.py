"""Small explorations for tests: seconds at most."""
from pathlib import Path

from sparseloom.hw.resources import FITTED, ResourceModel
from sparseloom.sim.explore.encoders import EncoderShape
from sparseloom.sim.explore.run import Question
from sparseloom.sim.explore.space import Axes
from sparseloom.sim.explore.workload import ShapeWorkload

TINY = ShapeWorkload(
    name="tiny", shape=EncoderShape(blocks=2, hidden=24, inner=40, heads=3), seed=3)
"""Two encoder layers; neither 5 nor 7 divides their sizes."""

COEFFICIENTS = {"unit": 3500, "cells": 60, "pairs": 100, "edge": 50, "lanes": 300, "bus_bits": 10,
                "gearbox_choices": 1}
MODEL = ResourceModel(
    coefficients=dict.fromkeys(FITTED, COEFFICIENTS),
    errors=dict.fromkeys(FITTED, 0.05), builds=7,
    clocks=({"name": "4x4-25k", "device": "25k", "mhz": 80.0, "config": {
        "rows": 4, "cols": 4, "target": "ecp5"}},
        {"name": "12x12-85k", "device": "85k", "mhz": 100.0, "config": {
            "rows": 12, "cols": 12, "target": "ecp5"}}))
"""Round numbers; not those of any RTL."""

AXES = Axes(arrays=tuple((rows, cols) for rows in (3, 8) for cols in (4, 7)),
            blocks=((6, 4), (4, 5)), structures=("column", "block"), compressions=(1.0, 2.0, 4.0),
            bus_bits=(32, 128), weight_bits=(8, 4))


def question(**changes) -> Question:
    """192 candidates of 160 distinct points of the cycle model: dense ones need no structure."""
    return Question(**{"workload": TINY, "axes": AXES, "device": "85k", "tokens": 17,
                       "resources": MODEL, **changes})


def lines(folder: Path) -> list[str]:
    """What a store holds."""
    return (folder / "points.jsonl").read_text().splitlines()
