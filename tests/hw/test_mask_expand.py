# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.mask_expand import MaskExpand
from tests.hw.bench import run


def words(bits, beat_bits):
    """List of bits to words, least significant first."""
    bits = bits + [0] * (-len(bits) % beat_bits)
    return [sum(bit << i for i, bit in enumerate(bits[at:at + beat_bits]))
            for at in range(0, len(bits), beat_bits)]


def packet(columns, inputs, q, beat_bits):
    """Bitmap words and mask words of a set of columns."""
    blocks = sorted({k // q for k in columns})
    bitmap = [int(b in blocks) for b in range(-(-inputs // q))]
    masks = [int(b * q + i in columns) for b in blocks for i in range(q)]
    return words(bitmap, beat_bits), words(masks, beat_bits), len(blocks)


def expand(dut, strips, stall=0.0, seed=1, extra=60):
    """Columns given out for each strip, and (blocks, out_of_range, starved, done) at its end."""
    rng, seen, ends, now = random.Random(seed), [], [], []

    queues = {"bitmap": [], "masks": []}

    def source(name):
        port = getattr(dut, name)

        async def process(ctx):     # words of a strip that are not taken are thrown away with it
            while True:
                offers = bool(queues[name]) and rng.random() >= stall
                ctx.set(port.valid, offers)
                if offers:
                    ctx.set(port.payload, queues[name][0])
                queue, taken = queues[name], False
                while offers and not taken and queues[name] is queue:
                    *_, taken = await ctx.tick().sample(port.ready)
                if taken:
                    queue.pop(0)
                elif not offers:
                    await ctx.tick()
        return process

    async def control(ctx):
        for bitmap, masks, inputs in strips:
            for name in queues:
                queues[name] = []
            await ctx.tick().repeat(3)
            ctx.set(dut.inputs, inputs)
            ctx.set(dut.start, 1)
            await ctx.tick()
            ctx.set(dut.start, 0)
            now.clear()
            queues["bitmap"] += bitmap
            queues["masks"] += masks
            idle = 0
            while idle < extra:
                *_, valid, k = await ctx.tick().sample(dut.valid, dut.k)
                if valid:
                    now.append(k)
                over = ctx.get(dut.done) or (ctx.get(dut.starved) and not queues["masks"])
                idle = idle + 1 if over else 0
            ends.append((ctx.get(dut.blocks), ctx.get(dut.out_of_range), ctx.get(dut.starved),
                         ctx.get(dut.done)))
            seen.append(list(now))

    run(dut, control, max_cycles=20000 * len(strips),
        background=[source("bitmap"), source("masks")])
    return seen, ends


@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize(("beat_bits", "q", "max_k"), [
    (32, 8, 40), (64, 16, 384), (32, 32, 70), (32, 16, 8), (32, 16, 3), (64, 8, 1)])
def test_gives_out_exactly_the_set_bits_ascending(beat_bits, q, max_k, stall):
    rng, strips, expected = random.Random(7), [], []
    last_but_one = beat_bits // q - 2       # mask of a word: the next word comes to a gap behind it
    for density in (0.0, 1.0, 0.05, 0.2, 0.5, 0.9, None):
        for inputs in (max_k, rng.randrange(1, max_k + 1), 1):
            columns = ({k for k in range(inputs) if rng.random() < density}
                       if density is not None else
                       {k for k in range(inputs)
                        if not k % q or k // q % (beat_bits // q) == last_but_one})
            bitmap, masks, blocks = packet(columns, inputs, q, beat_bits)
            strips.append((bitmap, masks, inputs))
            expected.append((sorted(columns), blocks))
    seen, ends = expand(MaskExpand(beat_bits=beat_bits, block_inputs=q, max_k=max_k), strips,
                        stall=stall, extra=4)
    assert seen == [columns for columns, _ in expected]
    assert ends == [(blocks, 0, 0, 1) for _, blocks in expected]


def test_a_full_strip_takes_a_cycle_for_each_index():
    dut = MaskExpand(beat_bits=64, block_inputs=16, max_k=64)
    cycles = []

    async def control(ctx):
        ctx.set(dut.inputs, 64)
        ctx.set(dut.start, 1)
        ctx.set(dut.bitmap.payload, 0xF)
        ctx.set(dut.bitmap.valid, 1)
        ctx.set(dut.masks.payload, 2**64 - 1)
        ctx.set(dut.masks.valid, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        for cycle in range(80):
            *_, valid = await ctx.tick().sample(dut.valid)
            if valid:
                cycles.append(cycle)

    run(dut, control, max_cycles=200)
    assert len(cycles) == 64
    assert cycles[-1] - cycles[0] == 63


def test_a_missing_mask_starves_and_a_bit_too_high_is_told():
    q, beat_bits, inputs = 8, 32, 20
    dut = MaskExpand(beat_bits=beat_bits, block_inputs=q, max_k=40)
    bitmap, _, _ = packet({1, 9}, inputs, q, beat_bits)
    two_words = [0b111]
    full = [0b111]
    strips = [
        (bitmap, [], inputs),               # no masks at all
        (two_words, [0x00000101], inputs),  # third mask is zero padding: blocks differ
        (full, [0x80FF01], inputs),         # third block's bit 7 is k = 23
        ([0b1001], [0x0101], inputs),       # a bit behind the last block
    ]
    seen, ends = expand(dut, strips, extra=4)
    assert seen == [[], [0, 8], [0, *range(8, 16)], [0]]
    assert ends == [(0, 0, 1, 0), (3, 0, 0, 1), (3, 1, 0, 1), (1, 1, 0, 1)]


@pytest.mark.parametrize(("keywords", "message"), [
    ({"beat_bits": 64, "block_inputs": 12, "max_k": 8}, "block_inputs"),
    ({"beat_bits": 40, "block_inputs": 16, "max_k": 8}, "beat_bits"),
])
def test_refuses(keywords, message):
    with pytest.raises(ValueError, match=message):
        MaskExpand(**keywords)
