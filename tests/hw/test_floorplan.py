import re

import pytest

from sparseloom.hw.devices import DEVICES
from sparseloom.hw.floorplan import place
from sparseloom.model.errors import InputError


@pytest.mark.parametrize(("device", "rows", "cols"), [
    ("85k", 12, 12), ("85k", 12, 13), ("85k", 8, 8), ("85k", 4, 4), ("85k", 3, 5), ("85k", 1, 1),
    ("85k", 32, 4), ("85k", 4, 32), ("85k", 5, 31), ("45k", 8, 8), ("45k", 8, 9), ("25k", 4, 4),
    ("25k", 4, 7), ("25k", 28, 1), ("25k", 2, 8)])
def test_every_cell_has_a_place_of_its_own(device, rows, cols):
    bels = place(rows=rows, cols=cols, device=device)
    assert set(bels) == {(row, col) for row in range(rows) for col in range(cols)}
    assert len(set(bels.values())) == rows * cols
    plan = DEVICES[device]
    for bel in bels.values():
        found = re.fullmatch(r"X(\d+)/Y(\d+)/MULT18_(\d)", bel)
        assert found, bel
        x, y, index = map(int, found.groups())
        assert y in plan.dsp_rows
        assert x - index in plan.dsp_groups and index in (0, 1, 4, 5)


def test_neighbours_are_near():
    """Reference build: down a column at most 5 tiles or one DSP row, along a row two groups."""
    at = {cell: tuple(map(int, re.findall(r"[XY](\d+)", bel)))
          for cell, bel in place(rows=12, cols=12, device="85k").items()}
    for (row, col), (x, y) in at.items():
        if row:
            above = at[row - 1, col]
            assert abs(x - above[0]) <= 5 and y - above[1] in (0, 24)
        if col:
            left = at[row, col - 1]
            assert 0 < x - left[0] <= 11 and y == left[1]


def test_places_are_left_where_sums_leave():
    """Reference build: a lane's two multipliers are nearer to column 0 than column 1 is."""
    columns = {int(re.findall(r"X(\d+)", bel)[0])
               for bel in place(rows=12, cols=12, device="85k").values()}
    free = [x for x in DEVICES["85k"].dsp_groups if x not in columns]
    assert free == [DEVICES["85k"].dsp_groups[0]]
    assert 0 < min(columns) - free[0] <= 9


def test_refuses():
    with pytest.raises(InputError, match=r"floorplan of 12 x 14 cells: expected at most 156 "
                                         r"multipliers \(device 85k\), found 168"):
        place(rows=12, cols=14, device="85k")
    with pytest.raises(InputError, match="device: expected one of 25k, 45k, 85k, found '12k'"):
        place(rows=1, cols=1, device="12k")
