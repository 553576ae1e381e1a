"""Expands a strip's block bitmap and column masks into input indices."""
from functools import reduce
from itertools import combinations
from operator import or_

from amaranth.hdl import Cat, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

WINDOW = 4
"""Blocks of the bitmap that are read at once."""
WINDOW_LOG = WINDOW.bit_length() - 1
GROUP = 4
"""Bits of a mask that are emptied together."""

class MaskExpand(wiring.Component):
    """From masks to the indices of the columns that survived, ascending, each once.

    One block of the bitmap is looked at in a cycle, and one index leaves in a cycle; while a block
    with several survivors empties, the scan runs at most one present block ahead. Between words
    no cycle is lost, but where a word of masks comes to its end in fewer cycles than indices wait.

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
        Begin a strip: drops all state, samples ``inputs``. Words are looked at from
        ``START`` cycles behind it on; the last of each may stay at the input, and must be gone by
        then.
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

    INDEX_LATENCY = 3
    """Cycles from a look at a present block of the bitmap to its first index."""

    START = 4
    """Cycles behind ``start`` before a word is looked at."""

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
        q_log, group = q.bit_length() - 1, min(q, GROUP)
        groups = q // group

        # Start, sampled. ``last`` is the last input: its block, the window of that, and so on.
        start, running = Signal(), Signal(3)
        last = Signal(range(max(self.max_k, 2)), reset_less=True)
        last_input, last_place = last[:q_log], last[q_log:][:WINDOW_LOG]
        last_window = last[q_log + WINDOW_LOG:]
        m.d.sync += [start.eq(self.start), running.eq(Cat(running[0], running))]
        with m.If(self.start):
            m.d.sync += last.eq(self.inputs - 1)

        # A window of the bitmap is read while the one before is looked at: out of a part of the
        # word, which stays at the input until then.
        windows = self.beat_bits // WINDOW
        parts = -(-windows // WINDOW)
        at = Signal(range(-(-max_blocks // WINDOW) + 1))
        at_end, ended, closing = Signal(), Signal(), Signal()   # this is, was the last window
        part, inside = Signal(WINDOW * WINDOW, reset_less=True), Signal(WINDOW)
        window = Signal(WINDOW)
        next_window, next_inside = Signal(WINDOW), Signal(WINDOW)
        next_number, next_single = Signal.like(at), Signal()
        there, has_next, had_next, fill, pop = Signal(), Signal(), Signal(), Signal(), Signal()
        place = at[:(windows - 1).bit_length()]
        m.d.comb += [
            window.eq(part.word_select(place[:WINDOW_LOG], WINDOW)),
            fill.eq(there & ~has_next & ~had_next & ~ended),
            self.bitmap.ready.eq(pop),
        ]
        m.d.sync += [
            there.eq(self.bitmap.valid & running[2]), had_next.eq(has_next),
            part.eq(self.bitmap.payload.word_select(place[WINDOW_LOG:], WINDOW * WINDOW)
                    if parts > 1 else self.bitmap.payload),
            at_end.eq(at == last_window), closing.eq(fill & at_end),
            inside.eq(Cat(1, *(~at_end | (last_place >= i) for i in range(1, WINDOW)))),
            pop.eq(fill & (place == windows - 1) & ~at_end),
        ]
        with m.If(~has_next):
            m.d.sync += [next_window.eq(window), next_inside.eq(inside),
                         next_number.eq(at), next_single.eq(~inside[1])]
        with m.If(fill):
            m.d.sync += [at.eq(at + 1), ended.eq(at_end)]

        # Bits of the bitmap behind the last block, in its word.
        last_bit = last[q_log:][:(self.beat_bits - 1).bit_length()]
        last_place_of_word = last_bit[WINDOW_LOG:]
        set_windows, behind = Signal(windows - 1, reset_less=True), Signal(-(-windows // 4))
        within, left_over = Signal(), Signal()
        m.d.sync += [
            set_windows.eq(Cat(self.bitmap.payload.word_select(i, WINDOW).any()
                               for i in range(1, windows))),
            behind.eq(Cat(
                closing & Cat(set_windows[i - 1] & (last_place_of_word < i)
                              for i in range(max(first, 1), min(first + 4, windows))).any()
                for first in range(0, windows, 4))),
            within.eq(closing & (next_window & ~next_inside).any()),
            left_over.eq(behind.any() | within),
        ]

        # The scan: a block of the window a cycle; ``low`` while at most one is left in it.
        present, absent = Signal(WINDOW), Signal(WINDOW)
        number, place_in, low = Signal.like(at), Signal(WINDOW_LOG), Signal(init=1)
        has_first, has_ahead = Signal(), Signal()
        free, take, advance, refill = Signal(init=1), Signal(), Signal(), Signal()
        m.d.comb += [
            take.eq(present[0] & has_first & free),
            advance.eq(~present[0] | (has_first & free)),
            refill.eq(has_next & low),
        ]
        with m.If(advance):
            m.d.sync += [
                present.eq(Mux(refill, next_window & next_inside, present >> 1)),
                absent.eq(Mux(refill, ~next_window & next_inside, absent >> 1)),
                low.eq(Mux(refill, next_single, ~(present[2] | absent[2]))),
                place_in.eq(Mux(refill, 0, place_in + 1)),
            ]
            with m.If(refill):
                m.d.sync += number.eq(next_number)
        m.d.sync += has_next.eq((has_next & ~(low & advance)) | fill)

        # Masks on their way: three registers behind the word at the input. Of the second one it is
        # known which groups of bits have any, and which several; of the third one, which group is
        # the first with any, which the second, and what follows.
        mask_count = self.beat_bits // q
        mask_at, mask_pop, mask_there = Signal(range(mask_count)), Signal(), Signal()
        fetched, ahead = Signal(q, reset_less=True), Signal(q, reset_less=True)
        ahead_any = Signal(groups, reset_less=True)
        ahead_several = Signal(groups, reset_less=True)
        has_fetched = Signal()
        first_free, ahead_free, fetched_free = Signal(), Signal(), Signal()
        m.d.comb += [
            mask_there.eq(self.masks.valid & running[2] & ~mask_pop),
            first_free.eq(~has_first | (present[0] & free)),
            ahead_free.eq(~has_ahead | first_free),
            fetched_free.eq(~has_fetched | ahead_free),
            self.masks.ready.eq(mask_pop),
        ]
        m.d.sync += mask_pop.eq(fetched_free & mask_there & (mask_at == mask_count - 1))
        with m.If(fetched_free):
            m.d.sync += [fetched.eq(self.masks.payload.word_select(mask_at, q)),
                         has_fetched.eq(mask_there)]
            with m.If(mask_there):
                m.d.sync += mask_at.eq(Mux(mask_at == mask_count - 1, 0, mask_at + 1))
        with m.If(ahead_free):
            m.d.sync += [
                ahead.eq(fetched), has_ahead.eq(has_fetched),
                ahead_any.eq(Cat(bits.any() for bits in _parts(fetched, group))),
                ahead_several.eq(Cat(_at_least(bits, 2) for bits in _parts(fetched, group))),
            ]
        lowest = _lowest(ahead_any)
        others = ahead_any & ~lowest
        second = _lowest(others)
        mask = Signal(q, reset_less=True)
        mask_several = Signal(groups, reset_less=True)
        group_second, group_rest = Signal(groups), Signal(groups)
        first_bits = Signal(group, reset_less=True)
        first_group = Signal(range(max(groups, 2)), reset_less=True)
        not_only, not_single = Signal(reset_less=True), Signal(reset_less=True)
        has_second, has_rest = Signal(), Signal()
        with m.If(first_free):
            m.d.sync += [
                has_first.eq(has_ahead), mask.eq(ahead), mask_several.eq(ahead_several),
                first_bits.eq(_selected(lowest, _parts(ahead, group))),
                first_group.eq(_encoded(lowest)),
                group_second.eq(second), group_rest.eq(others & ~second),
                not_only.eq(ahead_several.any() | _at_least(ahead_any, 2)),
                not_single.eq((lowest & ahead_several).any()),
                has_second.eq(_at_least(ahead_any, 2)), has_rest.eq(_at_least(ahead_any, 3)),
            ]

        # Out of the mask that was taken an index a cycle: the bits of a group, then the next group
        # with any, ``ready``. ``leave`` while the group has at most one bit, ``free`` while that is
        # the mask's last: then nothing is ready, and a sum of both will do.
        now, now_group = Signal(group), Signal.like(first_group, reset_less=True)
        taken, taken_several = Signal(q, reset_less=True), Signal(groups, reset_less=True)
        ready, waiting = Signal(groups), Signal(groups)
        some_ready, some_waiting = Signal(), Signal()
        block = Signal(range(max(max_blocks, 2)), reset_less=True)
        is_last, leave, took = Signal(reset_less=True), Signal(init=1), Signal()
        first_waiting = _lowest(waiting)
        ready_bits, ready_several = Signal(group), Signal()
        m.d.comb += [
            ready_bits.eq(_selected(ready, _parts(taken, group)) & leave.replicate(group)),
            ready_several.eq((ready & taken_several).any() & leave),
        ]

        def begun(value):
            return value & take.replicate(len(value))

        m.d.sync += [
            now.eq(begun(first_bits) | (now & ~_lowest(now)) | ready_bits),
            leave.eq(~(begun(not_single) | _at_least(now, 3) | ready_several)),
            free.eq(~(begun(not_only) | _at_least(now, 3) | ready_several
                      | Mux(leave, some_waiting, some_ready))),
            ready.eq(begun(group_second) | Mux(leave, first_waiting, ready)),
            waiting.eq(begun(group_rest) | (waiting & ~(first_waiting & leave.replicate(groups)))),
            some_ready.eq(begun(has_second) | Mux(leave, some_waiting, some_ready)),
            some_waiting.eq(begun(has_rest) | Mux(leave, _at_least(waiting, 2), some_waiting)),
            took.eq(take),
        ]
        with m.If(leave):
            m.d.sync += now_group.eq(Mux(free, first_group, _encoded(ready)))
        with m.If(free):
            m.d.sync += [taken.eq(mask), taken_several.eq(mask_several),
                         block.eq(Cat(place_in, number)), is_last.eq(ended & ~has_next & low)]
        with m.If(took):
            m.d.sync += self.blocks.eq(self.blocks + 1)

        found = Signal()
        group_log = (group - 1).bit_length()
        k = Signal(max(len(self.k), group_log, 1), reset_less=True)
        index = Cat(_encoded(_lowest(now))[:group_log], now_group[:q_log - group_log])
        above, at_last = Signal(reset_less=True), Signal(reset_less=True)   # the last group of all
        m.d.sync += [
            found.eq(now.any()), k.eq(Cat(index, block)),
            above.eq(is_last & (index[group_log:] > last_input[group_log:])),
            at_last.eq(is_last & (index[group_log:] == last_input[group_log:])),
        ]
        beyond, outside = Signal(), Signal()
        m.d.comb += outside.eq(above | (at_last & (k[:group_log] > last_input[:group_log])))
        m.d.sync += [self.valid.eq(found & ~outside), self.k.eq(k), beyond.eq(found & outside)]
        with m.If(beyond | left_over):
            m.d.sync += self.out_of_range.eq(1)

        over = Signal()
        m.d.sync += [
            over.eq(ended & ~has_next & ~present[0] & ~absent[0]), self.done.eq(over & ~found),
            self.starved.eq(present[0] & ~has_first & ~has_ahead & ~has_fetched
                            & ~self.masks.valid),
        ]
        with m.If(start):
            m.d.sync += [
                running.eq(1), at.eq(0), ended.eq(0), closing.eq(0), pop.eq(0), has_next.eq(0),
                there.eq(0), has_fetched.eq(0),
                behind.eq(0), within.eq(0), left_over.eq(0),
                present.eq(0), absent.eq(0), low.eq(1), has_first.eq(0), has_ahead.eq(0),
                mask_at.eq(0), mask_pop.eq(0),
                now.eq(0), ready.eq(0), waiting.eq(0), some_ready.eq(0), some_waiting.eq(0),
                leave.eq(1), free.eq(1), found.eq(0), self.valid.eq(0), beyond.eq(0),
                over.eq(0), self.done.eq(0), self.starved.eq(0),
                self.blocks.eq(0), took.eq(0), self.out_of_range.eq(0),
            ]
        return m


def _parts(value: Value, width: int) -> list[Value]:
    return [value[at:at + width] for at in range(0, len(value), width)]


def _lowest(flags: Value) -> Value:
    """The lowest bit that is set, alone."""
    return Cat(flags[i] & ~flags[:i].any() if i else flags[0] for i in range(len(flags)))


def _encoded(one_hot: Value) -> Value:
    return Cat(Cat(one_hot[i] for i in range(len(one_hot)) if i >> bit & 1).any()
               for bit in range(max((len(one_hot) - 1).bit_length(), 1)))


def _selected(one_hot: Value, values: list[Value]) -> Value:
    """The one of ``values`` that is pointed at, or zero."""
    return reduce(or_, (value & one_hot[i].replicate(len(value))
                        for i, value in enumerate(values)))


def _at_least(flags: Value, number: int) -> Value:
    """Whether so many bits are set."""
    return Cat(Cat(some).all() for some in combinations(flags, number)).any()
