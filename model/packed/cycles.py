"""Cycle model of the unit, in plain arithmetic, so that the pruner can use it.

:func:`ideal_cycles` is the array's work alone. :func:`layer_cycles` follows the unit: activations
load first; strips load into two banks while the array works on the strip before; a tile's last
column keeps its distance from the one before; results of two tiles at most wait to leave.

It knows how many columns a strip has, not where they are. What depends on their places is estimated
for evenly spread columns: how many blocks have a mask to load, and how long the expansion of sparse
masks takes. On streams that never pause it met every layer measured in RTL (``make demo``: exactly;
other geometries, sparse, raw, several jobs: within 2 %). Pauses of the streams, and anything the
host does between layers, are not in it.
"""
from __future__ import annotations

from collections.abc import Sequence

from sparseloom.model.packed import spec
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import strip_columns

ISSUE_TO_SUMS = 8
"""Cycles from a tile's last column to its first sum at the array's edge, less R - 1."""
SUMS_TO_RESULTS = 13
"""Cycles from the first sum to its result on the stream: parameters, post-processing, packing."""
WALK = 2
"""Cycles from "loaded" to the first column."""
RELEASE = 5
"""Cycles from a tile's last column until its buffers may be written again."""
STARTED = -10**9  # long before the first cycle


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


def tile_spacing(*, rows: int, cols: int, lanes: int) -> int:
    """Least distance in cycles between the last columns of two tiles, as in ``hw/array.py``."""
    return rows + (cols - 1) * max(rows // lanes, 2)


def strip_load_cycles(columns: int, *, in_features: int, cols: int, bus_bytes: int = 8,
                      block_inputs: int = 16) -> int:
    """Cycles that a strip's packet takes to load, beats and the steps between them.

    Parameters
    ----------
    columns : int
        Columns of the strip; 0 for an empty one.
    in_features : int
        K.
    cols : int
        C of the array.
    bus_bytes, block_inputs : int
        Of the build.
    """
    def beats(size: int) -> int:
        return -(-size // spec.ALIGN_BYTES) * per_unit

    per_unit = spec.ALIGN_BYTES // bus_bytes
    blocks = -(-in_features // block_inputs)
    # Of evenly spread columns: how many blocks are not empty.
    present = round(blocks * (1 - (1 - 1 / blocks) ** columns))
    weights = beats(columns * cols)
    stream = (beats(-(-blocks // 8)) + beats(present * block_inputs // 8)
              + (max(weights, columns) if cols < bus_bytes else weights)  # a column a cycle
              + max(beats(cols * 8), cols if bus_bytes > 8 else 0)        # 8 bytes a cycle
              + per_unit + 1)
    # Masks are expanded meanwhile: a block and an index a cycle at most, more to fetch each beat.
    expand = max(columns, blocks + present * block_inputs // (8 * bus_bytes)
                 + -(-blocks // (8 * bus_bytes))) + 4
    return 2 + per_unit + max(stream, expand)


def layer_cycles(columns_per_strip: Sequence[int], *, rows: int, cols: int, lanes: int,
                 tokens: int, in_features: int, out_features: int | None = None,
                 bus_bytes: int = 8, act_words: int = 8192, block_inputs: int = 16,
                 raw: bool = False, lut: bool = False, alone: bool = True) -> int:
    """Cycles of a layer on the unit.

    Parameters
    ----------
    columns_per_strip : sequence of int
        Columns of each strip of C outputs; an empty strip (0) runs one of weight zero.
    rows, cols, lanes : int
        R and C of the array, and results post-processed in a cycle.
    tokens : int
        M. Split over jobs as ``sparseloom.sim.layer.split_tokens`` does where the activation
        buffer is too small; each job takes the whole weight stream again.
    in_features : int
        K.
    out_features : int, optional
        N; by default every strip is whole.
    bus_bytes, act_words, block_inputs : int
        Of the build: bytes of a beat, words of half the activation buffer, inputs of a mask.
    raw, lut : bool
        Results are int32; the stream begins with a table.
    alone : bool
        From the first activation beat to the last result beat. Otherwise what the layer adds to a
        queue of layers that are all there: its first strip and activations loaded during the one
        before, and its results leave during the next.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If a size is below 1, or K activations do not fit the buffer.
    """
    out_features = len(columns_per_strip) * cols if out_features is None else out_features
    if min(rows, cols, lanes, tokens, in_features, out_features) < 1:
        raise ValueError("sizes must be 1 or more")
    if in_features > act_words:
        raise ValueError(f"in_features must be at most act_words = {act_words}, "
                         f"not {in_features}")
    groups, parts = -(-tokens // rows), rows // lanes
    jobs = -(-groups // (act_words // in_features))
    spacing = tile_spacing(rows=rows, cols=cols, lanes=lanes)
    latency = ISSUE_TO_SUMS + rows - 1 + SUMS_TO_RESULTS
    width = 4 if raw else 1
    # A word of raw results is several beats; its room is free when the first of them leaves.
    early = max(width * lanes // bus_bytes, 1) - 1
    loads = {columns: strip_load_cycles(columns, in_features=in_features, cols=cols,
                                        bus_bytes=bus_bytes, block_inputs=block_inputs)
             for columns in set(columns_per_strip)}
    table = spec.LUT_ENTRIES + 2 * (spec.ALIGN_BYTES // bus_bytes) + 5 if lut else 0

    begin, columns, end = STARTED, 0, STARTED  # of the last tile: first column, columns, after all
    left = [STARTED, STARTED]                  # when the last two tiles' results had left
    bank_free, half_free = [0, 0], [0, 0]      # two strip banks, two activation halves
    strip_at = acts_at = 0                     # when the last strip, activations were there
    port_beats = 0
    for job in range(jobs):
        share = groups * (job + 1) // jobs - groups * job // jobs
        acts_at = max(acts_at, half_free[0]) + max(-(-in_features * share * rows // bus_bytes),
                                                   in_features * share) + WALK
        strip_at += table
        if not alone and job == 0:
            acts_at = 0
        for strip, kept in enumerate(columns_per_strip):
            strip_at = max(strip_at, bank_free[0]) + loads[kept]
            if not alone and job == strip == 0:
                strip_at = 0
            columns_now = max(kept, 1)
            outputs = min(cols, out_features - strip * cols)
            drain = (outputs - 1) * max(parts, 2) + parts
            beats = max(outputs * parts, -(-outputs * rows * width // bus_bytes))
            port_beats += beats * share
            done = 0
            while done < share:
                start = max(begin + columns, end + spacing - columns_now, left[0] - early,
                            strip_at + WALK, acts_at + WALK)
                steady = (start == begin + columns and columns == columns_now
                          and columns >= latency + max(drain, beats))
                # Long tiles follow each other without a gap: no need to walk each of them.
                times = share - done if steady and done > 2 else 1
                begin, columns = start + (times - 1) * columns_now, columns_now
                end = begin + columns
                out = max(end + latency + drain, max(end + latency, left[1]) + beats)
                left = [left[1] if times == 1 else out - columns, out]
                done += times
            bank_free = [bank_free[1], end + RELEASE]
        half_free = [half_free[1], end + RELEASE]
    if alone:
        return left[1]
    acts = max(-(-in_features * groups * rows // bus_bytes), in_features * groups)
    strips = jobs * (table + sum(loads[kept] for kept in columns_per_strip))
    return max(end, acts, strips, port_beats)
