"""Places for the array's multipliers on the devices that we fit."""
from sparseloom.hw.devices import DSP_GROUP, find_device
from sparseloom.model.errors import InputError


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
        Key of :data:`.devices.DEVICES`.

    Returns
    -------
    dict
        (row, column) to BEL name; all different.

    Raises
    ------
    InputError
        If the device is unknown or has too few multipliers.
    """
    there = find_device(device)
    if rows * cols > there.dsp:
        raise InputError(f"floorplan of {rows} x {cols} cells: expected at most {there.dsp} "
                         f"multipliers (device {device}), found {rows * cols}")
    places = [[f"X{x + offset}/Y{y}/{name}" for x in there.dsp_groups for offset, name in DSP_GROUP]
              for y in there.dsp_rows]
    width = len(places[0])
    for bands in range(1, len(places) + 1):
        height = -(-rows // bands)
        if height * cols <= width:
            # In the middle of the chip, from the start of a group on; a first group is left free
            # if there is one, for the lanes' multipliers: sums leave at column 0.
            first_band = (len(places) - bands) // 2
            spare, group = width - height * cols, len(DSP_GROUP)
            start = max(spare // 2, min(spare, group)) // group * group
            return {(row, col): places[first_band + row // height]
                    [start + col * height + row % height]
                    for row in range(rows) for col in range(cols)}
    line = [place for index, band in enumerate(places)
            for place in (band if index % 2 == 0 else reversed(band))]
    return {(row if col % 2 == 0 else rows - 1 - row, col): line[col * rows + row]
            for row in range(rows) for col in range(cols)}
