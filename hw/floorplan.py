"""Places for the array's multipliers and the memories in front on the devices that we fit."""
import re
from collections.abc import Iterable, Mapping

from sparseloom.hw.devices import BLOCK_GROUP, DSP_GROUP, find_device
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
            # In the middle of the chip, and from the start of a group on.
            first_band = (len(places) - bands) // 2
            start = (width - height * cols) // 2 // len(DSP_GROUP) * len(DSP_GROUP)
            return {(row, col): places[first_band + row // height]
                    [start + col * height + row % height]
                    for row in range(rows) for col in range(cols)}
    line = [place for index, band in enumerate(places)
            for place in (band if index % 2 == 0 else reversed(band))]
    return {(row if col % 2 == 0 else rows - 1 - row, col): line[col * rows + row]
            for row in range(rows) for col in range(cols)}


def place_blocks(memories: Iterable[tuple[tuple[int, int], int]], *,
                 bels: Mapping[tuple[int, int], str], device: str) -> list[list[str]]:
    """BELs for memories that feed the array, each near the cell that it feeds.

    A memory's blocks are next to each other, since one address goes to all of them. Memories are
    placed in their order, each where its farthest block is nearest.

    Parameters
    ----------
    memories : iterable of ((int, int), int)
        Cell (row, column) that a memory's words go to, and its DP16KD.
    bels : dict of (row, column) to str
        Places of the multipliers, from :func:`place`.
    device : str

    Returns
    -------
    list of list of str
        BEL names for each memory, all different; none for one that has no room left.
    """
    there = find_device(device)
    free = {y: [(x + offset, f"X{x + offset}/Y{y}/{name}")
                for x in there.dsp_groups for offset, name in BLOCK_GROUP]
            for y in there.bram_rows}
    found = []
    for cell, count in memories:
        x, y = (int(number) for number in re.findall(r"[XY](\d+)", bels[cell]))
        reaches = [(max(abs(left[0] - x), abs(right[0] - x)) + abs(row - y) + right[0] - left[0],
                    row, start)
                   for row, places in free.items()
                   for start, (left, right) in enumerate(zip(places, places[count - 1:],
                                                              strict=False))
                   ] if count else []
        if reaches:
            _, row, start = min(reaches)
            found.append([name for _, name in free[row][start:start + count]])
            del free[row][start:start + count]
        else:
            found.append([])
    return found
