"""Expands a strip's block bitmap and column masks into input indices."""
from amaranth.hdl import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out


class MaskExpand(wiring.Component):
    """From masks to the indices of the columns that survived, ascending, each once.

    One block of the bitmap is looked at in a cycle, and one index leaves in a cycle; while a block
    with several survivors empties, the scan runs at most one present block ahead.

    Parameters
    ----------
    beat_bits : int
        Width of the bitmap and mask words, a multiple of ``block_inputs``.
    block_inputs : int
        Inputs per block, a power of two.
    max_k : int
        Largest number of inputs.

    Members
    -------
    start : In(1)
        Begin a strip: drops all state, samples ``inputs``. Words are taken from the next cycle on.
    inputs : In(range(max_k + 1))
        K of the strip, at least 1.
    bitmap, masks : In(stream of beat_bits)
        Least significant bit first; ``masks`` holds those of the present blocks only.
    valid : Out(1)
        ``k`` is an index, in this cycle. There is no back-pressure.
    k : Out(range(max_k))
    blocks : Out
        Present blocks met so far.
    out_of_range : Out(1)
        Sticky: a bit is set at or beyond ``inputs``; its index is not given out.
    starved : Out(1)
        The scan needs a mask and none is there. For ever so, if the stream has ended.
    done : Out(1)
        All blocks are expanded, ``blocks`` and ``out_of_range`` are final; stays up until
        ``start``.
    """

    INDEX_LATENCY = 2
    """Cycles from a look at a present block of the bitmap to its first index."""

    def __init__(self, *, beat_bits: int, block_inputs: int, max_k: int):
        if block_inputs & (block_inputs - 1) or block_inputs < 2:
            raise ValueError(f"block_inputs must be a power of two, not {block_inputs!r}")
        if beat_bits % block_inputs:
            raise ValueError(f"beat_bits must be a multiple of block_inputs = {block_inputs}, "
                             f"not {beat_bits!r}")
        self.beat_bits, self.block_inputs, self.max_k = beat_bits, block_inputs, max_k
        max_blocks = -(-max_k // block_inputs)
        super().__init__({
            "start": In(1), "inputs": In(range(max_k + 1)),
            "bitmap": In(stream.Signature(beat_bits)), "masks": In(stream.Signature(beat_bits)),
            "valid": Out(1), "k": Out(range(max_k)),
            "blocks": Out(range(max_blocks + 1)),
            "out_of_range": Out(1), "starved": Out(1), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        q, max_blocks = self.block_inputs, -(-self.max_k // self.block_inputs)
        q_log = q.bit_length() - 1
        masks_per_beat = self.beat_bits // q

        # Stage 1: the bitmap, one block a cycle. ``more``, ``has_bits`` and ``has_mask`` say that
        # blocks, bits of the bitmap, masks are left, known a cycle before.
        inputs = Signal(range(self.max_k + 1))
        scanned, total = Signal(range(max_blocks + 1)), Signal(range(max_blocks + 1))
        bits, bits_left = Signal(self.beat_bits), Signal(range(self.beat_bits + 1))
        mask_beat, masks_left = Signal(self.beat_bits), Signal(range(masks_per_beat + 1))
        running, has_bits, has_mask = Signal(), Signal(), Signal()
        more, scan_done = Signal(), Signal()
        # Stage 2: one block's mask, one index a cycle; ``free`` while it has at most one bit.
        mask, block = Signal(q), Signal(range(max_blocks))
        rest = Signal(q)
        free, advance, take = Signal(init=1), Signal(), Signal()
        m.d.comb += [
            rest.eq(mask & (mask - 1)),
            scan_done.eq(~more),
            take.eq(bits[0] & has_mask & free),
            advance.eq(more & has_bits & (~bits[0] | (has_mask & free))),
            self.bitmap.ready.eq(more & ~has_bits),
            self.masks.ready.eq(running & ~has_mask),
            self.starved.eq(more & bits[0] & ~has_mask & ~self.masks.valid),
        ]
        found = Signal()                # stage 3: an index, not yet held against ``inputs``
        over = Signal()
        m.d.sync += [over.eq(running & scan_done & (mask == 0)), self.done.eq(over)]
        with m.If(self.bitmap.ready & self.bitmap.valid):
            m.d.sync += [bits.eq(self.bitmap.payload), bits_left.eq(self.beat_bits),
                         has_bits.eq(1)]
        with m.If(self.masks.ready & self.masks.valid):
            m.d.sync += [mask_beat.eq(self.masks.payload), masks_left.eq(masks_per_beat),
                         has_mask.eq(1)]
        m.d.sync += [mask.eq(rest), free.eq(~_count(mask, 3)[2])]
        with m.If(advance):
            m.d.sync += [bits.eq(bits >> 1), bits_left.eq(bits_left - 1), scanned.eq(scanned + 1),
                         has_bits.eq(bits_left != 1), more.eq(scanned + 1 != total)]
            with m.If(bits[0]):     # and taken, or it would not advance
                m.d.sync += [
                    mask.eq(mask_beat[:q]), block.eq(scanned),
                    free.eq(~_count(mask_beat[:q], 2)[1]),
                    mask_beat.eq(mask_beat >> q), masks_left.eq(masks_left - 1),
                    has_mask.eq(masks_left != 1), self.blocks.eq(self.blocks + 1),
                ]

        one_hot, index = Signal(q), Signal(q_log)
        k = Signal(range(max(max_blocks * q, 2)), reset_less=True)
        m.d.comb += [
            one_hot.eq(mask & ~rest),
            *(index[bit].eq(Cat(one_hot[i] for i in range(q) if i >> bit & 1).any())
              for bit in range(q_log)),
        ]
        m.d.sync += [k.eq(Cat(index, block)), found.eq(mask != 0)]
        inside = Signal()
        m.d.comb += [
            inside.eq(k < inputs),
            self.valid.eq(found & inside),
            self.k.eq(k),
        ]
        with m.If((found & ~inside) | (running & scan_done & bits.any())):
            m.d.sync += self.out_of_range.eq(1)

        with m.If(self.start):
            m.d.sync += [
                running.eq(1), inputs.eq(self.inputs), scanned.eq(0),
                total.eq((self.inputs + (q - 1)) >> q_log),
                bits.eq(0), bits_left.eq(0), masks_left.eq(0), mask.eq(0), found.eq(0), over.eq(0),
                self.done.eq(0),
                more.eq(1), has_bits.eq(0), has_mask.eq(0), free.eq(1),
                self.blocks.eq(0), self.out_of_range.eq(0),
            ]
        return m


def _count(mask, limit: int) -> list:
    """Whether at least 1, 2, ... ``limit`` bits of ``mask`` are set, as a tree without carries."""
    if len(mask) == 1:
        return [mask[0], *[Const(0, 1)] * (limit - 1)]
    half = len(mask) // 2
    low, high = _count(mask[:half], limit), _count(mask[half:], limit)
    return [low[n] | high[n] | Cat(low[i] & high[n - 1 - i] for i in range(n)).any()
            for n in range(limit)]
