"""How long the unit's loaders take, cycle for cycle, where the streams never pause.

A strip's packet is taken beat by beat, section after section; meanwhile the masks are expanded, and
the strip is there when both are through (``hw/strip_loader.py``, ``hw/mask_expand.py``). Nothing
else in the unit changes this time, so it is one number a strip, found for all strips of a layer at
once. ``docs/cycles.md`` derives the recurrences.
"""
from __future__ import annotations

from math import gcd

import numpy as np

from sparseloom.model.packed import spec, timing

UNIT_BITS = 8 * spec.ALIGN_BYTES
PARAM_BYTES = sum(bits for _, bits in spec.OUTPUT_PARAMS) // 8
_NEVER = -1 << 60


def units_of(bits):
    """Units of 16 bytes that hold so many bits; an int or an array of them."""
    return -(-bits // UNIT_BITS)


def gearbox_cycles(beats, *, in_bytes: int, out_bytes: int):
    """Cycles in which a gearbox takes a packet, and in which it gives it out.

    Its input always offers, its output is always taken (``hw/gearbox.py``).

    Parameters
    ----------
    beats : int or ndarray of int
        Words of the packet, 1 or more.
    in_bytes, out_bytes : int
        Bytes of a word on either side.

    Returns
    -------
    taken, empty : same as ``beats``
        From the first word's cycle on: cycles until the last word was taken, that one included, and
        cycles until nothing is left.
    """
    beats = np.asarray(beats)
    if in_bytes <= out_bytes:
        whole, before = beats * in_bytes // out_bytes, (beats - 1) * in_bytes // out_bytes
        left = beats * in_bytes - before * out_bytes
        # A remainder to which the last beat completed no word is put together a cycle later.
        return beats, beats + -(-left // out_bytes) + (whole == before)
    # From the second cycle on a word leaves in each; a beat enters where it fits behind them.
    full = 2 * out_bytes - gcd(in_bytes, out_bytes)
    waits = np.maximum(-(-(in_bytes * (beats - 1) - full) // out_bytes), 0)
    return np.where(beats == 1, 1, 2 + waits), 1 + -(-beats * in_bytes // out_bytes)


def block_counts(columns: np.ndarray, block_inputs: int) -> np.ndarray:
    """Columns of each block.

    Parameters
    ----------
    columns : ndarray of bool, shape (strips, K)
        Inputs that each strip runs.
    block_inputs : int
        Inputs of a block, as the unit was built.

    Returns
    -------
    ndarray of int64, shape (strips, ceil(K / block_inputs))
    """
    starts = np.arange(0, columns.shape[1], block_inputs)
    return np.add.reduceat(columns, starts, axis=1, dtype=np.int64)


def spread_counts(columns: np.ndarray, *, inputs: int, block_inputs: int) -> np.ndarray:
    """Columns of each block, if column j of n is input floor(j * K / n): evenly spread.

    Parameters
    ----------
    columns : ndarray of int, shape (strips,)
        n of each strip, at most K.
    inputs, block_inputs : int
        K, and inputs of a block.

    Returns
    -------
    ndarray of int64, shape (strips, ceil(K / block_inputs))
    """
    edges = np.minimum(np.arange(-(-inputs // block_inputs) + 1) * block_inputs, inputs)
    return np.diff(-(-edges * np.asarray(columns, np.int64)[:, None] // inputs), axis=1)


def load_cycles(counts: np.ndarray, *, inputs: int, cols: int, bus_bytes: int,
                block_inputs: int, weight_bits: int = 8) -> np.ndarray:
    """Cycles from the first beat of each strip's header until its last check.

    Parameters
    ----------
    counts : ndarray of int, shape (strips, ceil(K / block_inputs))
        Columns of each block; all zero for an empty strip.
    inputs : int
        K.
    cols, bus_bytes, block_inputs, weight_bits : int
        Of the build: C, bytes of a beat, inputs of a block, bits of a weight.

    Returns
    -------
    ndarray of int64, shape (strips,)
        The last check is in cycle h + this, where h is the first beat's.
    """
    unit_beats = spec.ALIGN_BYTES // bus_bytes
    columns, present = counts.sum(axis=1), np.count_nonzero(counts, axis=1)
    bitmap_at = unit_beats + timing.HEADER_CHECK
    masks_at = bitmap_at + units_of(counts.shape[1]) * unit_beats
    weights_at = masks_at + units_of(present * block_inputs) * unit_beats
    column_bytes = spec.column_bytes(cols, weight_bits)
    weight_beats = units_of(8 * columns * column_bytes) * unit_beats
    taken, empty = gearbox_cycles(np.maximum(weight_beats, 1), in_bytes=bus_bytes,
                                  out_bytes=column_bytes)
    some = columns > 0
    params_at = weights_at + np.where(some, taken, 0)
    # A beat of zeros is an empty strip's column.
    weights_left = np.where(some, weights_at + timing.BEAT, bitmap_at) + empty
    param_beats = units_of(8 * cols * PARAM_BYTES) * unit_beats
    taken, empty = gearbox_cycles(param_beats, in_bytes=bus_bytes, out_bytes=PARAM_BYTES)
    end = params_at + taken + unit_beats + timing.PACKET_CHECK      # behind the trailer
    through = np.maximum(end, np.maximum(weights_left, params_at + timing.BEAT + empty)
                         + timing.SETTLED)
    # Masks take a cycle for each index and each empty block, and some to fetch. Mostly that is over
    # long before the weights are there; else it has to be followed.
    fetches = -(-counts.shape[1] // (8 * bus_bytes)) + -(-present * block_inputs // (8 * bus_bytes))
    latest = (weights_at + timing.MASKS + timing.EXPAND_LOAD * (1 + fetches) + columns
              + counts.shape[1] - present + timing.EXPAND_DONE + timing.SETTLED)
    if (latest <= through).all():
        return through
    expanded = _expand_cycles(counts, bitmap_at, masks_at, bus_bytes, block_inputs)
    return np.maximum(through, expanded + timing.SETTLED)


def _expand_cycles(counts: np.ndarray, bitmap_at: int, masks_at: int, bus_bytes: int,
                   block_inputs: int) -> np.ndarray:
    """Cycle in which each strip's masks are expanded; sections begin at ``*_at``: (strips,)."""
    rows, last_block = np.arange(len(counts)), counts.shape[1] - 1
    mask_blocks = 8 * bus_bytes // block_inputs     # blocks in a beat of masks
    masks_seen = masks_at + timing.MASKS
    present = np.count_nonzero(counts, axis=1)
    order = np.argsort(counts == 0, axis=1, kind="stable")      # the present blocks first
    # Each block of the bitmap takes a cycle. A present one is taken when the scan has come to it,
    # when the one before has one index left, and when its mask is there. That was fetched, a cycle
    # later where a beat begins, and went from place to place as its predecessors made room.
    never = np.full(len(counts), _NEVER)
    taken = np.full(len(counts), bitmap_at + timing.BITMAP + timing.EXPAND_SCAN)
    fetched, moved, first = never, never, never
    at = number = np.zeros(len(counts), np.int64)
    for place in range(present.max(initial=0)):
        live, block = place < present, order[:, place]
        begins = place % mask_blocks == 0
        arrival = masks_seen + place // mask_blocks if begins else _NEVER
        fetched = np.maximum(np.maximum(fetched + 1 + begins, moved), arrival)
        moved = np.maximum(fetched + 1, first)
        first = np.maximum(fetched + timing.EXPAND_LOAD - 1, np.maximum(
            moved + 1, taken if place else never))
        taken = np.where(live, np.maximum(taken + np.maximum(number, block - at), first + 1), taken)
        number = np.where(live, counts[rows, block], number)
        at = np.where(live, block, at)
    return taken + np.maximum(number, last_block - at) + timing.EXPAND_DONE
