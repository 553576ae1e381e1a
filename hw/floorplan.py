"""Places for the array's multipliers on the devices that we fit."""
from collections.abc import Mapping

from sparseloom.model.errors import InputError

GROUP = ((0, "MULT18_0"), (1, "MULT18_1"), (4, "MULT18_4"), (5, "MULT18_5"))
"""The four multipliers of a DSP tile group: columns right of its first, and names there."""

DEVICES = {
    "25k": {"rows": (13,), "groups": (4, 13, 22, 33, 42, 51, 60)},
    "45k": {"rows": (22, 46), "groups": (4, 13, 22, 31, 42, 51, 60, 69, 78)},
    "85k": {"rows": (10, 34, 58), "groups": (4, 13, 22, 31, 40, 49, 58, 69, 78, 87, 96, 105, 114)},
}
"""DSP rows (Y) and first columns (X) of their groups, as nextpnr-ecp5's chip database has them."""


def multipliers(device: str) -> int:
    """MULT18X18D on a device.

    Raises
    ------
    InputError
        If the device is unknown.
    """
    plan = _device(device)
    return len(plan["rows"]) * len(plan["groups"]) * len(GROUP)


def place(*, rows: int, cols: int, device: str) -> dict[tuple[int, int], str]:
    """A BEL for each cell's multiplier, so that neighbours in the array are neighbours there.

    The array's rows are cut into bands of equal height, one for each DSP row that is needed;
    within a band the cells lie column by column. So a weight moves down inside a column's few
    places, an activation along the DSP row, and only between bands is a way long, for one hop.
    Where bands of whole rows do not fit but the multipliers do, the cells lie in one line, column
    by column, back and forth.

    Parameters
    ----------
    rows, cols : int
        Of the array.
    device : str
        Key of ``DEVICES``.

    Returns
    -------
    dict
        (row, column) to BEL name; all different.

    Raises
    ------
    InputError
        If the device is unknown or has too few multipliers.
    """
    plan = _device(device)
    there = multipliers(device)
    if rows * cols > there:
        raise InputError(f"floorplan of {rows} x {cols} cells: expected at most {there} "
                         f"multipliers (device {device}), found {rows * cols}")
    places = [[f"X{x + offset}/Y{y}/{name}" for x in plan["groups"] for offset, name in GROUP]
              for y in plan["rows"]]
    width = len(places[0])
    for bands in range(1, len(places) + 1):
        height = -(-rows // bands)
        if height * cols <= width:
            # In the middle of the chip, and from the start of a group on.
            first_band = (len(places) - bands) // 2
            start = (width - height * cols) // 2 // len(GROUP) * len(GROUP)
            return {(row, col): places[first_band + row // height]
                    [start + col * height + row % height]
                    for row in range(rows) for col in range(cols)}
    line = [place for index, band in enumerate(places)
            for place in (band if index % 2 == 0 else reversed(band))]
    return {(row if col % 2 == 0 else rows - 1 - row, col): line[col * rows + row]
            for row in range(rows) for col in range(cols)}


def _device(name: str) -> Mapping:
    if name not in DEVICES:
        raise InputError(f"device: expected one of {', '.join(DEVICES)}, found {name!r}")
    return DEVICES[name]
