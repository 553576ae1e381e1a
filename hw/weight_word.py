"""One column's weights on their way to the array: bytes of the stream to words of the array."""
from amaranth.hdl import Cat, Const, Value, signed
from amaranth.lib import data

PAIR_BITS = 9
"""Bits of a pair of 4-bit weights: w0, and above it what (w1 << 4) + w0 makes of w1, signed."""

PAIR_SHIFT = 12
"""Place of the upper weight in a joint factor, and so bits of the lower product."""


def word_count(cols: int, weight_bits: int) -> int:
    """Multipliers across the array: one for each output, or for two outputs of 4 bits."""
    return cols if weight_bits == 8 else -(-cols // 2)


def word_layout(cols: int, weight_bits: int) -> data.ArrayLayout:
    """Weights of one column as the strip buffer holds them, a word for each multiplier.

    Returns
    -------
    ArrayLayout
        ``signed(8)`` for each output. With weights of 4 bits ``signed(9)`` for each two of them:
        ``16 * w1 + w0``, which is w0 alone where the last output has no neighbour.
    """
    return data.ArrayLayout(signed(8 if weight_bits == 8 else PAIR_BITS),
                            word_count(cols, weight_bits))


def from_stream(packed: Value, cols: int, weight_bits: int) -> Value:
    """A column as the stream has it (:func:`~sparseloom.model.packed.spec.column_bytes`).

    The borrow of a negative w0 is taken from w1 here, once, so that no cell needs logic in front
    of its multiplier.
    """
    if weight_bits == 8:
        return packed
    words = []
    for first in range(0, cols, 2):
        low = packed[4 * first:4 * first + 4]
        upper = (packed[4 * first + 4:4 * first + 8].as_signed() if first + 1 < cols
                 else Const(0, signed(4)))
        words += [low, (upper - low[3])[:PAIR_BITS - 4]]
    return Cat(words)


def joint_factor(word: Value) -> Value:
    """``(w1 << 12) + w0`` of a pair's word, 17 bits signed: wires only."""
    low = word[:4]
    return Cat(low, low[3].replicate(PAIR_SHIFT - 4), word[4:PAIR_BITS]).as_signed()
