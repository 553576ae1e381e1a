# amaranth: UnusedElaboratable=no
import itertools
import random

import numpy as np
import pytest
from amaranth.hdl import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.weight_word import from_stream, joint_factor, word_layout
from sparseloom.model.packed import spec
from sparseloom.model.packed.codec import pack_nibbles
from tests.hw.bench import run


class Words(wiring.Component):
    """A column's bytes to its words, and the first one's joint factor."""

    def __init__(self, cols, weight_bits):
        self.cols, self.weight_bits = cols, weight_bits
        super().__init__({"i": In(8 * spec.column_bytes(cols, weight_bits)),
                          "o": Out(word_layout(cols, weight_bits)), "joint": Out(17)})

    def elaborate(self, platform):
        m = Module()
        tick = Signal()                     # the bench wants a clock
        m.d.sync += tick.eq(~tick)
        m.d.comb += self.o.eq(from_stream(self.i, self.cols, self.weight_bits))
        if self.weight_bits == 4:
            m.d.comb += self.joint.eq(joint_factor(self.o[0].as_unsigned()))
        return m


def answers(cols, weight_bits, columns):
    dut, seen = Words(cols, weight_bits), []

    async def drive(ctx):
        for column in columns:
            packed = pack_nibbles(column) if weight_bits == 4 else column
            ctx.set(dut.i, int.from_bytes(packed.tobytes(), "little"))
            await ctx.tick()
            word = ctx.get(dut.o)
            seen.append(([word[index] for index in range(len(dut.o))], ctx.get(dut.joint)))

    run(dut, drive, max_cycles=len(columns) + 10)
    return seen


def test_every_pair():
    """16 w1 + w0 in nine bits, (w1 << 12) + w0 in seventeen, for each of 256 pairs."""
    pairs = [np.array(pair, np.int8) for pair in itertools.product(range(-8, 8), repeat=2)]
    for (low, high), (words, joint) in zip(pairs, answers(2, 4, pairs), strict=True):
        assert words == [16 * int(high) + int(low)]
        assert (joint ^ 1 << 16) - (1 << 16) == (int(high) << 12) + int(low)


@pytest.mark.parametrize("cols", [1, 3, 5, 24])
def test_a_last_output_without_a_neighbour_stands_alone(cols):
    rng = np.random.default_rng(cols)
    columns = list(rng.integers(-8, 8, (40, cols)).astype(np.int8))
    for column, (words, _) in zip(columns, answers(cols, 4, columns), strict=True):
        padded = [*column.tolist(), *[0] * (cols % 2)]
        assert words == [16 * high + low
                         for low, high in zip(padded[::2], padded[1::2], strict=True)]


def test_bytes_stay_as_they_are():
    rng = random.Random(2)
    columns = [np.array([rng.randrange(-128, 128) for _ in range(5)], np.int8) for _ in range(20)]
    assert [words for words, _ in answers(5, 8, columns)] == [c.tolist() for c in columns]
