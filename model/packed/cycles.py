"""Cycle model of the unit, in plain arithmetic, so that the pruner can use it."""
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import strip_columns


def ideal_cycles(layer: PackedLayer, *, rows: int, cols: int, tokens: int) -> int:
    """Cycles of pure array work: one per stored column of a strip and group of tokens.

    Parameters
    ----------
    layer : PackedLayer
    rows, cols : int
        R and C of the array.
    tokens : int
        M.

    Returns
    -------
    int
        Sum over strips of (columns that must run) * ceil(M / R). Filling and draining the array
        come on top; an empty strip costs nothing here.
    """
    columns = sum(len(strip) for strip in strip_columns(layer, cols))
    return columns * -(-tokens // rows)
