"""Expands a strip's block bitmap and column masks into input indices."""
from functools import partial, reduce
from itertools import combinations, zip_longest

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

WINDOW = 4
"""Blocks of the bitmap that are read at once."""
WINDOW_LOG = WINDOW.bit_length() - 1
GROUP = 4
"""Bits of a mask that are emptied together."""

Register = partial(Signal, reset_less=True)
"""A signal that only ``start`` sets back: no gate in front of that for a reset."""


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
    masks_next : Out(1)
        ``masks.ready`` of the cycle behind; never without ``masks.valid``.
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
            "masks_next": Out(1), "valid": Out(1), "k": Out(range(max_k)),
            "blocks": Out(range(max_blocks + 1)),
            "out_of_range": Out(1), "starved": Out(1), "done": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        q, max_blocks = self.block_inputs, -(-self.max_k // self.block_inputs)
        q_log, group = q.bit_length() - 1, min(q, GROUP)
        groups = q // group

        # Start, sampled; a reset is one. ``last`` is the last input: its block, the window of that,
        # and so on.
        start, running = Signal(init=1), Register(3)
        last = Register(range(max(self.max_k, 2)))
        last_input, last_place = last[:q_log], last[q_log:][:WINDOW_LOG]
        last_window = last[q_log + WINDOW_LOG:]
        m.d.sync += [start.eq(self.start), running.eq(Cat(running[0], running))]
        with m.If(self.start):
            m.d.sync += last.eq(self.inputs - 1)

        # A window of the bitmap is read while the one before is looked at: out of a part of the
        # word, which stays at the input until then, and which is chosen in two cycles.
        windows = self.beat_bits // WINDOW
        at = Register(range(-(-max_blocks // WINDOW) + 1))
        at_end, ended, closing = Register(), Register(), Register()   # this is, was the last window
        part, inside = Register(WINDOW * WINDOW), Register(WINDOW)
        window = Signal(WINDOW)
        next_window, next_inside = Register(WINDOW), Register(WINDOW)
        next_single = Register()
        there, was_there = Register(), Register()
        has_next, had_next, pop = Register(), Register(), Register()
        fill = Signal()
        place = at[:(windows - 1).bit_length()]
        which = place[WINDOW_LOG + 1:]          # of the pairs of parts that K reaches
        pairs = _parts(self.bitmap.payload, 2 * WINDOW * WINDOW)[:1 << len(which)]
        every_other = Register(len(pairs) * WINDOW * WINDOW)
        m.d.comb += [
            window.eq(part.word_select(place[:WINDOW_LOG], WINDOW)),
            fill.eq(was_there & ~has_next & ~had_next & ~ended),
            self.bitmap.ready.eq(pop),
        ]
        m.d.sync += [
            there.eq(self.bitmap.valid & running[2] & ~pop), was_there.eq(there),
            had_next.eq(has_next),
            every_other.eq(Cat(pair.word_select(place[WINDOW_LOG:WINDOW_LOG + 1], WINDOW * WINDOW)
                               for pair in pairs)),
            part.eq(every_other.word_select(which, WINDOW * WINDOW) if len(pairs) > 1
                    else every_other),
            at_end.eq(at == last_window), closing.eq(fill & at_end),
            inside.eq(Cat(1, *(~at_end | (last_place >= i) for i in range(1, WINDOW)))),
            pop.eq(fill & (place == windows - 1) & ~at_end),
        ]
        with m.If(~has_next):
            m.d.sync += [next_window.eq(window), next_inside.eq(inside),
                         next_single.eq(~inside[1])]
        with m.If(fill):
            m.d.sync += [at.eq(at + 1), ended.eq(at_end)]

        # Bits of the bitmap behind the last block, in its word.
        last_bit = last[q_log:][:(self.beat_bits - 1).bit_length()]
        last_place_of_word = last_bit[WINDOW_LOG:]
        set_windows, late = Register(windows - 1), Register(windows // 2)
        behind = Register(-(-len(late) // 4))
        within, left_over = Register(), Register()
        m.d.sync += [
            set_windows.eq(Cat(self.bitmap.payload.word_select(i, WINDOW).any()
                               for i in range(1, windows))),
            late.eq(Cat(Cat(set_windows[i - 1] & (last_place_of_word < i) for i in
                            range(first, min(first + 2, windows))).any()
                        for first in range(1, windows, 2))),
            behind.eq(Cat(closing & some.any() for some in _parts(late, 4))),
            within.eq(closing & (next_window & ~next_inside).any()),
            left_over.eq(behind.any() | within),
        ]

        # The scan: a block of the window a cycle; ``low`` while at most one is left in it.
        present, absent = Register(WINDOW), Register(WINDOW)
        number, place_in, low = Register(len(at), init=-1), Register(WINDOW_LOG), Register(init=1)
        has_first, has_ahead = Register(), Register()
        take, advance, refill = Signal(), Signal(), Signal()
        # The same twice, for gates and for enables; inverted, or synthesis makes one net of them.
        free, busy = Register(init=1), Register()
        m.d.comb += [
            take.eq(present[0] & has_first & ~busy),
            advance.eq(~present[0] | (has_first & ~busy)),
            refill.eq(has_next & low),
        ]
        with m.If(advance):
            m.d.sync += [
                present.eq(Mux(refill, next_window & next_inside, present >> 1)),
                absent.eq(Mux(refill, ~next_window & next_inside, absent >> 1)),
                low.eq(Mux(refill, next_single, ~(present[2] | absent[2]))),
                place_in.eq(Mux(refill, 0, place_in + 1)), number.eq(number + refill),
            ]
        m.d.sync += has_next.eq((has_next & ~(low & advance)) | fill)

        # Masks on their way: three registers behind the word at the input. Of the second one it is
        # known which groups of bits have any, and which several; of the third one, what the first
        # and the second group with any hold, and which follow. All three move with the take; else
        # each if one from it on is empty.
        mask_count = self.beat_bits // q
        mask_pop, mask_there, mask_moves = Register(), Signal(), Signal()
        mask_at = Register(range(mask_count))
        mask_not_at = Register(len(mask_at), init=-1)     # its twin, for half of the bits
        fetched, ahead = Register(q), Register(q)
        ahead_any, ahead_several = Register(groups), Register(groups)
        has_fetched, all_there = Register(), Register()
        leaves, first_free, ahead_free, fetched_free = Signal(), Signal(), Signal(), Signal()
        m.d.comb += [
            mask_there.eq(self.masks.valid & running[2] & ~mask_pop),
            leaves.eq(present[0] & ~busy),
            first_free.eq(~has_first | leaves),
            ahead_free.eq(~has_first | ~has_ahead | (present[0] & free)),
            fetched_free.eq(~all_there | leaves),
            mask_moves.eq(fetched_free & mask_there),
            self.masks_next.eq(mask_moves & (mask_at == mask_count - 1)),
            self.masks.ready.eq(mask_pop),
        ]
        m.d.sync += [
            mask_pop.eq(self.masks_next),
            all_there.eq(Mux(first_free, has_ahead & has_fetched & mask_there,
                             (has_ahead & has_fetched)
                             | ((has_ahead | has_fetched) & mask_there))),
        ]
        choices = [self.masks.payload.word_select(at, q) for at in (mask_at, ~mask_not_at)]
        with m.If(fetched_free):
            m.d.sync += [fetched.eq(Cat(choices[0][:q // 2], choices[1][q // 2:])),
                         has_fetched.eq(mask_there)]
        with m.If(mask_moves):
            following = Signal.like(mask_at, name="following")
            m.d.comb += following.eq(Mux(mask_at == mask_count - 1, 0, mask_at + 1))
            m.d.sync += [mask_at.eq(following), mask_not_at.eq(~following)]
        with m.If(ahead_free):
            m.d.sync += [
                ahead.eq(fetched), has_ahead.eq(has_fetched),
                ahead_any.eq(Cat(bits.any() for bits in _parts(fetched, group))),
                ahead_several.eq(Cat(_at_least(bits, 2) for bits in _parts(fetched, group))),
            ]
        # Behind a group with any, one with any is not the first; behind two, neither the second.
        behind_one = Cat(ahead_any[i] & ahead_any[:i].any() for i in range(1, groups))
        behind_two = Cat(ahead_any[i] & _at_least(ahead_any[:i], 2) for i in range(2, groups))
        rest, rest_several = Register(max(q - 2 * group, 0)), Register(len(behind_two))
        group_rest = Register(len(behind_two))
        first_bits, second_bits = Register(group), Register(group)
        first_group, second_group = Register(range(max(groups, 2))), Register(range(max(groups, 2)))
        second_several = Register()
        not_only, not_single, only_second = Register(), Register(), Register()
        has_second, has_rest = Register(), Register()
        first_several = _first(ahead_any, [*ahead_several])
        with m.If(first_free):
            m.d.sync += [
                has_first.eq(has_ahead),
                first_bits.eq(_first(ahead_any, _parts(ahead, group))),
                first_group.eq(_encoded(_lowest(ahead_any))),
                second_bits.eq(_first(behind_one, _parts(ahead, group)[1:])),
                second_group.eq(_encoded(Cat(0, _lowest(behind_one)))),
                second_several.eq(_first(behind_one, [*ahead_several[1:]])),
                rest.eq(ahead[2 * group:]), rest_several.eq(ahead_several[2:]),
                group_rest.eq(behind_two),
                not_only.eq(ahead_several.any() | _at_least(ahead_any, 2)),
                not_single.eq(first_several),
                only_second.eq(_at_least(ahead_any, 2) & ~first_several),
                has_second.eq(_at_least(ahead_any, 2)), has_rest.eq(_at_least(ahead_any, 3)),
            ]

        # Out of the mask that was taken an index a cycle: the bits of a group, then those of the
        # next group with any, if there is some. ``leave`` while the group has at most one bit:
        # then the next one ``follows``, or the mask is through, ``free``. What is at hand while it
        # is free is right if the mask is taken.
        now, now_group = Register(group), Signal.like(first_group)
        next_bits, next_group, next_several = Register(group), Signal.like(first_group), Register()
        taken, taken_several = Signal.like(rest), Signal.like(rest_several)
        waiting = Signal.like(group_rest)
        some_next, some_waiting = Register(), Register()
        block = Register(range(max(max_blocks, 2)))
        is_last, leave, follows, took = Register(), Register(init=1), Register(), Register()
        stays, comes, keeps = Signal(), Signal(), Signal()

        def begun(value):
            return value & take.replicate(len(value))

        m.d.comb += [
            stays.eq(_at_least(now, 3) | (follows & next_several)),
            comes.eq(Mux(follows, some_waiting, some_next)),
            keeps.eq(begun(not_only) | stays | comes),
        ]
        m.d.sync += [
            now.eq(begun(first_bits) | (now & ~_lowest(now))
                   | (next_bits & follows.replicate(group))),
            leave.eq(~(begun(not_single) | stays)),
            follows.eq(begun(only_second) | (comes & ~stays)),
            free.eq(~keeps), busy.eq(keeps),
            some_next.eq(begun(has_second) | comes),
            some_waiting.eq(begun(has_rest) | Mux(follows, _at_least(waiting, 2), some_waiting)),
            took.eq(take),
        ]
        with m.If(leave):
            m.d.sync += [
                now_group.eq(Mux(free, first_group, next_group)),
                next_bits.eq(Mux(free, second_bits, _first(waiting, _parts(taken, group), group))),
                next_group.eq(Mux(free, second_group,
                                  _encoded(Cat(0, 0, _lowest(waiting))))),
                next_several.eq(Mux(free, second_several, _first(waiting, [*taken_several]))),
                waiting.eq((group_rest & free.replicate(len(waiting)))
                           | (waiting & ~_lowest(waiting) & busy.replicate(len(waiting)))),
            ]
        with m.If(free):
            m.d.sync += [taken.eq(rest), taken_several.eq(rest_several),
                         block.eq(Cat(place_in, number)), is_last.eq(ended & ~has_next & low)]
        blocks = Signal.like(self.blocks, reset_less=True)
        with m.If(took):
            m.d.sync += blocks.eq(blocks + 1)

        found, valid = Register(), Register()
        group_log = (group - 1).bit_length()
        k, k_q = Register(max(len(self.k), group_log, 1)), Signal.like(self.k, reset_less=True)
        index = Cat(_encoded(_lowest(now))[:group_log], now_group[:q_log - group_log])
        above, at_last = Register(), Register()     # the last group of all
        m.d.sync += [
            found.eq(now.any()), k.eq(Cat(index, block)),
            above.eq(is_last & _above(index[group_log:], last_input[group_log:])),
            at_last.eq(is_last & (index[group_log:] == last_input[group_log:])),
        ]
        beyond, outside, out_of_range = Register(), Signal(), Register()
        m.d.comb += outside.eq(above | (at_last & _above(k[:group_log], last_input[:group_log])))
        m.d.sync += [valid.eq(found & ~outside), k_q.eq(k), beyond.eq(found & outside)]
        with m.If(beyond | left_over):
            m.d.sync += out_of_range.eq(1)

        over, done, starved = Register(), Register(), Register()
        m.d.sync += [
            over.eq(ended & ~has_next & ~present[0] & ~absent[0]), done.eq(over & ~found),
            starved.eq(present[0] & ~has_first & ~has_ahead & ~has_fetched & ~self.masks.valid),
        ]
        with m.If(start):
            m.d.sync += [
                running.eq(1), at.eq(0), ended.eq(0), closing.eq(0), pop.eq(0), has_next.eq(0),
                there.eq(0), was_there.eq(0), has_fetched.eq(0), all_there.eq(0),
                behind.eq(0), within.eq(0), left_over.eq(0),
                present.eq(0), absent.eq(0), low.eq(1), number.eq(-1), has_first.eq(0),
                has_ahead.eq(0), mask_at.eq(0), mask_not_at.eq(-1), mask_pop.eq(0),
                now.eq(0), some_next.eq(0), some_waiting.eq(0),
                leave.eq(1), free.eq(1), busy.eq(0), follows.eq(0), found.eq(0), valid.eq(0),
                beyond.eq(0), over.eq(0), done.eq(0), starved.eq(0),
                blocks.eq(0), took.eq(0), out_of_range.eq(0),
            ]
        m.d.comb += [
            self.valid.eq(valid), self.k.eq(k_q), self.blocks.eq(blocks),
            self.out_of_range.eq(out_of_range), self.starved.eq(starved), self.done.eq(done),
        ]
        return m


def _parts(value: Value, width: int) -> list[Value]:
    return [value[at:at + width] for at in range(0, len(value), width)]


def _above(value: Value, other: Value) -> Value:
    """Whether a number of few bits is the larger one: no carry chain."""
    above = Const(0, 1)
    for bit, other_bit in zip_longest(value, other, fillvalue=Const(0, 1)):
        above = (bit & ~other_bit) | (~(bit ^ other_bit) & above)
    return above


def _lowest(flags: Value) -> Value:
    """The lowest bit that is set, alone."""
    return Cat(flags[i] & ~flags[:i].any() if i else flags[0] for i in range(len(flags)))


def _encoded(one_hot: Value) -> Value:
    return Cat(Cat(one_hot[i] for i in range(len(one_hot)) if i >> bit & 1).any()
               for bit in range(max((len(one_hot) - 1).bit_length(), 1)))


def _first(flags: Value, values: list[Value], width: int = 1) -> Value:
    """The value of the lowest flag that is set; of the last one if none is, or zero of ``width``.
    """
    if not values:
        return Const(0, width)
    return reduce(lambda chosen, pair: Mux(pair[0], pair[1], chosen),
                  reversed(list(zip(flags, values[:-1], strict=False))), values[-1])


def _at_least(flags: Value, number: int) -> Value:
    """Whether so many bits are set."""
    return Cat(Cat(some).all() for some in combinations(flags, number)).any()
