"""Masks to indices: exactly the set bits, ascending, each once; whatever the pauses.

What was not given out yet, kept as a set, equals what each stage still holds: the index on its way,
the bits of the mask at hand, the blocks that the scan has not met.
"""
from functools import partial, reduce
from operator import or_
from types import SimpleNamespace

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal

from sparseloom.hw.mask_expand import WINDOW, WINDOW_LOG, MaskExpand
from tests.formal.parts import Assert, Assume, Cover, Opened, free, goes_on, implies, ones, past
from tests.formal.proof import Bug, Proof

WITHIN = 4
"""Cycles in a row without a step, at most, where that is proved."""


def lowest(flags):
    """The lowest bit that is set, alone."""
    return (flags & (~flags + 1)[:len(flags)])[:len(flags)]


def contract(m, dut, *, beat_bits, block_inputs, max_k, padding=0):
    """A strip of any masks, and what comes out of it; the inputs are driven.

    ``padding`` words may come behind those of the masks.

    Returns
    -------
    SimpleNamespace
        The strip, and what was noted on the way.
    """
    q, q_log = block_inputs, (block_inputs - 1).bit_length()
    blocks = -(-max_k // q)
    words, mask_words = -(-blocks // beat_bits), -(-blocks * q // beat_bits) + padding
    mask_count = beat_bits // q

    # A strip: its masks change with ``start`` alone.
    m.d.comb += dut.start.eq(free(m, name="start"))
    inputs = Signal(range(max_k + 1), init=1)
    bitmap, masks = Signal(words * beat_bits), Signal(mask_words * beat_bits)
    age = Signal(range(8))          # cycles since a start; 0: there was none
    new_inputs = free(m, inputs.shape(), name="new_inputs")
    m.d.comb += [dut.inputs.eq(new_inputs),
                 Assume((new_inputs >= 1) & (new_inputs <= max_k))]
    with m.If(dut.start):
        m.d.sync += [age.eq(1), inputs.eq(new_inputs),
                     bitmap.eq(free(m, len(bitmap), name="new_bitmap")),
                     masks.eq(free(m, len(masks), name="new_masks"))]
    with m.Elif((age != 0) & (age != 7)):
        m.d.sync += age.eq(age + 1)
    fresh = age >= 2                # all state is that of this strip
    looked_at = age >= MaskExpand.START

    # The streams: each word in its turn, after a pause of any length.
    position = {}
    for name, port, bits, count in (("bitmap", dut.bitmap, bitmap, words),
                                    ("masks", dut.masks, masks, mask_words)):
        at = Signal(range(count + 1), name=f"{name}_word")
        waited = Signal(name=f"{name}_waited")
        other = free(m, beat_bits, name=f"{name}_old_word")
        m.d.comb += [
            port.valid.eq(free(m, name=f"{name}_valid")),
            port.payload.eq(Mux(looked_at, bits.word_select(at, beat_bits), other)),
            Assume(implies(looked_at & port.valid, at < count)),
            Assume(implies(waited & looked_at, port.valid)),
            Assert(implies(fresh & port.ready, looked_at & port.valid), f"{name}: a word is there"),
        ]
        m.d.sync += waited.eq(looked_at & port.valid & ~port.ready & ~dut.start)
        with m.If(dut.start):
            m.d.sync += at.eq(0)
        with m.Elif(fresh & port.ready):
            m.d.sync += at.eq(at + 1)
        position[name] = at

    # What is to come out, from the strip alone.
    last = Signal(range(max(max_k, 2)))
    last_block = Signal(range(max(blocks, 2)))
    in_range, present = Signal(blocks), Signal(blocks)
    m.d.comb += [Assert((inputs >= 1) & (inputs <= max_k)),
                 last.eq(inputs - 1), last_block.eq(last >> q_log),
                 in_range.eq(Cat(last_block >= block for block in range(blocks))),
                 present.eq(bitmap & in_range)]
    chunks = [masks.word_select(rank, q) for rank in range(mask_words * mask_count)]
    of_blocks = []
    for block in range(blocks):
        rank = Signal(range(len(chunks) + 1), name=f"rank_{block}")
        m.d.comb += rank.eq(ones(present[:block]) if block else 0)
        of_blocks.append(Mux(present[block], Array(chunks)[rank], 0))
    total = Signal(range(blocks + 1))
    every, allowed = Signal(blocks * q), Signal(blocks * q)
    outside_bitmap = Signal()
    word_of_last = Signal(beat_bits)
    m.d.comb += [
        total.eq(ones(present)), every.eq(Cat(*of_blocks)),
        allowed.eq(Cat(last >= k for k in range(blocks * q))),
        word_of_last.eq(bitmap.word_select(last_block >> (beat_bits - 1).bit_length(), beat_bits)),
        outside_bitmap.eq(Cat(
            word_of_last[bit] & (last_block[:(beat_bits - 1).bit_length()] < bit)
            for bit in range(beat_bits)).any()),
    ]
    expected_out = outside_bitmap | (every & ~allowed).any()

    # The claim.
    left, after_start = Signal(blocks * q), Signal()
    m.d.sync += after_start.eq(dut.start)
    with m.If(after_start):
        m.d.sync += left.eq(every & allowed)
    with m.Elif(dut.valid):
        m.d.sync += left.eq(left & (left - 1)[:len(left)])
    with m.If(fresh):
        m.d.comb += [
            Assert(implies(dut.valid, left.any() & (1 << dut.k == lowest(left))),
                   "the next index that is set"),
            Assert(implies(dut.done, ~left.any() & ~dut.valid), "all of them"),
            Assert(implies(dut.done, dut.blocks == total)),
            Assert(implies(dut.done, dut.out_of_range == expected_out)),
        ]
    return SimpleNamespace(**{name: value for name, value in locals().items()
                              if name not in ("m", "dut")})


def design(beat_bits, block_inputs, max_k, padding=0, within=0):
    m = Module()
    dut = MaskExpand(beat_bits=beat_bits, block_inputs=block_inputs, max_k=max_k)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    seen = contract(m, dut, beat_bits=beat_bits, block_inputs=block_inputs, max_k=max_k,
                    padding=padding)
    q, q_log, group, groups = block_inputs, inside.q_log, inside.group, inside.groups
    windows, mask_count, blocks = inside.windows, inside.mask_count, seen.blocks
    inputs, bitmap, chunks, age, fresh, looked_at, position = (
        seen.inputs, seen.bitmap, seen.chunks, seen.age, seen.fresh, seen.looked_at, seen.position)
    last, last_block, in_range, present, total, every, allowed, word_of_last = (
        seen.last, seen.last_block, seen.in_range, seen.present, seen.total, seen.every,
        seen.allowed, seen.word_of_last)
    left, expected_out = seen.left, seen.expected_out

    # What holds between the cycles. The bitmap's windows, and the scan.
    at, has_next, had_next, ended = inside.at, inside.has_next, inside.had_next, inside.ended
    number, place_in = inside.number, inside.place_in
    scan_present, scan_absent = inside.present, inside.absent
    last_window = Signal.like(at, name="last_window_of_strip")
    m.d.comb += last_window.eq(last_block >> 2)
    padded = Signal(4 * (-(-blocks // 4) + 1))
    padded_in = Signal.like(padded)
    m.d.comb += [padded.eq(present), padded_in.eq(in_range)]
    some = Signal()
    scan_at = Signal(range(4 * (-(-blocks // 4) + 2)))      # the next block that the scan looks at
    met = Signal(range(blocks + 1))
    m.d.comb += [
        some.eq((scan_present | scan_absent).any()),
        scan_at.eq(Mux(some, (number << 2) + place_in, (at - has_next)[:len(at)] << 2)),
        met.eq(sum((present[block] & (scan_at > block) for block in range(blocks)), Const(0, 1))),
    ]
    in_window = padded_in.word_select(number, 4) >> place_in
    in_scan = Mux(place_in == 0, 15, Mux(place_in == 1, 7, Mux(place_in == 2, 3, 1)))
    word_at = at >> (windows - 1).bit_length()
    place = inside.place
    filled = past(m, inside.fill, name="filled")
    filled_2 = past(m, filled, name="filled_2")
    word_now = Signal(beat_bits)
    m.d.comb += word_now.eq(bitmap.word_select(position["bitmap"], beat_bits))
    pairs = [word_now[first:first + 2 * WINDOW * WINDOW]
             for first in range(0, beat_bits, 2 * WINDOW * WINDOW)][:len(inside.pairs)]
    some_windows = Cat(word_now.word_select(number, WINDOW).any() for number in range(1, windows))
    with m.If(fresh):
        m.d.comb += [
            Assert(inside.start == (age == 1)),
            Assert(inside.last == last),
            Assert(inside.running == Mux(age == 2, 1, Mux(age == 3, 3, 7))),
            Assert(at <= last_window + 1), Assert(ended == (at == last_window + 1)),
            Assert(implies(~ended, position["bitmap"] + inside.pop == word_at)),
            Assert(implies(ended, ~inside.pop)),
            Assert(implies(inside.there, age >= 5)), Assert(implies(inside.was_there, age >= 6)),
            Assert(implies(filled & (age >= 3), has_next)),
            Assert(implies(filled_2 & (age >= 4), had_next)),
            Assert(implies(inside.there & ~filled & ~ended, (inside.every_other == Cat(
                pair.word_select(at[WINDOW_LOG:][:1] if len(place) > WINDOW_LOG else 0,
                                 WINDOW * WINDOW) for pair in pairs))
                           & (inside.set_windows == some_windows))),
            Assert(implies(inside.was_there & ~filled & ~filled_2 & ~ended,
                           inside.window == bitmap.word_select(at, WINDOW))),
            Assert(implies(inside.was_there & ~filled & ~filled_2 & ~ended,
                           inside.part == word_now.word_select(place[WINDOW_LOG:],
                                                               WINDOW * WINDOW))),
            Assert((number + has_next + 1)[:len(at)] == at),
            Assert(implies(has_next, at != 0)),
            Assert(implies(has_next, inside.next_window
                           == bitmap.word_select((at - 1)[:len(at)], WINDOW))),
            Assert(implies(has_next, inside.next_inside
                           == padded_in.word_select((at - 1)[:len(at)], WINDOW))),
            Assert(implies(has_next, inside.next_single == ~inside.next_inside[1])),
            Assert(implies(some, scan_present
                           == (padded.word_select(number, 4) >> place_in) & in_scan)),
            Assert(implies(some, (scan_present | scan_absent) == in_window & in_scan)),
            Assert((scan_present & scan_absent) == 0),
            Assert(inside.low == ~(scan_present[1] | scan_absent[1])),
            Assert(scan_present[0] | scan_absent[0] | ~some),
        ]
    settled = ~has_next & ~had_next & ~ended
    with m.If(fresh & settled & (age >= 3)):
        m.d.comb += Assert(inside.at_end == (at == last_window))
    with m.If(fresh & settled & (age >= 4)):
        m.d.comb += Assert(inside.inside == padded_in.word_select(at, WINDOW))

    # Masks on their way, by rank.
    mask_at = (position["masks"] + inside.mask_pop) * mask_count + inside.mask_at
    has_first, has_ahead, has_fetched = inside.has_first, inside.has_ahead, inside.has_fetched
    ahead_rank, fetched_rank = met + has_first, met + has_first + has_ahead

    def any_of(mask):
        return Cat(mask.word_select(at, group).any() for at in range(groups))

    def several_of(mask):
        return Cat(ones(mask.word_select(at, group)) >= 2 for at in range(groups))

    def bits_in(mask, chosen):
        return reduce(or_, (mask.word_select(at, group) & chosen[at].replicate(group)
                            for at in range(groups)))

    first, first_any = Signal(q), Signal(groups)
    lowest_group, other_groups, second_group = Signal(groups), Signal(groups), Signal(groups)
    m.d.comb += [first.eq(Array(chunks)[met]), first_any.eq(any_of(first)),
                 lowest_group.eq(lowest(first_any)), second_group.eq(lowest(other_groups)),
                 other_groups.eq(first_any & ~lowest_group)]
    with m.If(fresh):
        m.d.comb += [
            Assert(mask_at == met + has_first + has_ahead + has_fetched),
            Assert(implies(inside.mask_pop, inside.mask_at == 0)),
            Assert(implies(inside.mask_pop, looked_at & dut.masks.valid)),
            Assert(implies(has_fetched, inside.fetched == Array(chunks)[fetched_rank])),
            Assert(implies(has_ahead, inside.ahead == Array(chunks)[ahead_rank])),
            Assert(implies(has_ahead, inside.ahead_any == any_of(inside.ahead))),
            Assert(implies(has_ahead, inside.ahead_several == several_of(inside.ahead))),
            Assert(inside.mask_not_at == ~inside.mask_at),
            Assert(inside.all_there == (has_first & has_ahead & has_fetched)),
        ]
    with m.If(fresh & has_first):
        m.d.comb += [
            Assert(inside.first_bits == bits_in(first, lowest_group)),
            Assert(implies(other_groups.any(), (inside.second_bits == bits_in(first, second_group))
                           & (inside.second_several == (ones(inside.second_bits) >= 2)))),
            *(Assert(implies(lowest_group[at], inside.first_group == at))
              for at in range(groups)),
            *(Assert(implies(second_group[at], inside.second_group == at))
              for at in range(groups)),
            Assert(inside.rest == first[2 * group:]),
            Assert(inside.rest_several == several_of(first)[2:]),
            Assert(inside.group_rest == (other_groups & ~second_group)[2:]),
            Assert(inside.not_only == (ones(first) >= 2)),
            Assert(inside.not_single == (ones(inside.first_bits) >= 2)),
            Assert(inside.only_second == (other_groups.any() & (ones(inside.first_bits) == 1))),
            Assert(inside.has_second == other_groups.any()),
            Assert(inside.has_rest == (ones(other_groups) >= 2)),
        ]

    # The mask at hand.
    now, now_group, waiting = inside.now, inside.now_group, inside.waiting
    block, taken, follows = inside.block, inside.taken, inside.follows
    next_bits, next_group, some_next = inside.next_bits, inside.next_group, inside.some_next
    at_hand, later = Signal(q), Signal(groups)
    m.d.comb += [
        later.eq((waiting << 2) & some_next.replicate(groups)),
        at_hand.eq(Cat(
            (now & (now_group == at).replicate(group))
            | (next_bits & (some_next & (next_group == at)).replicate(group))
            | ((taken.word_select(at - 2, group) & later[at].replicate(group)) if at > 1 else 0)
            for at in range(groups))),
    ]
    at_hand_set, index_set, valid_set, scan_set = (
        Signal(blocks * q, name=name) for name in ("at_hand_set", "index_set", "valid_set",
                                                   "scan_set"))
    k, found = inside.k, inside.found
    m.d.comb += [
        at_hand_set.eq(at_hand << (block << q_log)), index_set.eq(Mux(found, 1 << k, 0)),
        valid_set.eq(Mux(dut.valid, 1 << dut.k, 0)),
        scan_set.eq(every & Cat((scan_at <= number).replicate(q) for number in range(blocks))),
    ]
    held_set = valid_set | (index_set & allowed) | (at_hand_set & allowed) | (scan_set & allowed)
    with m.If(fresh):
        m.d.comb += [
            Assert(left == held_set), Assert(implies(dut.valid, allowed.bit_select(dut.k, 1))),
            Assert(implies(found, (k >> q_log) <= last_block)),
            Assert(implies(dut.valid & found, dut.k < k)),
            Assert(implies(found, (at_hand_set & ((index_set - 1)[:len(left)] | index_set)) == 0)),
            Assert(implies(found, scan_at > (k >> q_log))),
            Assert(implies(found & now.any(), (k >> q_log) <= block)),
            Assert(implies(dut.valid, scan_at > (dut.k >> q_log))),
            Assert(implies(dut.valid & now.any(), (1 << dut.k) < lowest(at_hand_set))),
            Assert(implies(now.any(), (block < scan_at) & (block <= last_block))),
            Assert(implies(now.any(), inside.is_last == (block == last_block))),
            Assert(implies(found, inside.outside == (k > last))),
            Assert(inside.some_waiting == later.any()),
            Assert(inside.leave == (ones(now) <= 1)), Assert(follows == (inside.leave & some_next)),
            Assert(inside.free == (inside.leave & ~some_next)), Assert(inside.busy == ~inside.free),
            Assert(implies(some_next, now.any() & next_bits.any() & (now_group < next_group)
                           & (inside.next_several == (ones(next_bits) >= 2)))),
            Assert(implies(now.any(), now_group < groups)),
            Assert(implies(some_next, next_group < groups)),
            *(Assert(implies(later[at], (next_group < at)
                             & taken.word_select(at - 2, group).any()
                             & (inside.taken_several[at - 2]
                                == (ones(taken.word_select(at - 2, group)) >= 2))))
              for at in range(2, groups)),
            Assert(dut.blocks + inside.took == met),
            # The end.
            Assert(((index_set | at_hand_set) & ~every) == 0),
            Assert(implies(inside.over, ended & ~has_next & ~some)),
            Assert(implies(inside.over & now.any(), found)),
            Assert(implies(dut.done, inside.over & ~found & ~now.any() & ~inside.took)),
            Assert((dut.out_of_range | inside.beyond | inside.left_over | inside.behind.any()
                    | inside.within | inside.closing | ~ended
                    | ((index_set | at_hand_set | scan_set) & ~allowed).any()) | ~expected_out),
            Assert(implies(inside.closing, has_next & ended & (inside.late.any() == Cat(
                word_of_last.word_select(window, WINDOW).any()
                & (last_block[WINDOW_LOG:][:(windows - 1).bit_length()] < window)
                for window in range(1, windows)).any()))),
            Assert(implies(dut.out_of_range | inside.beyond | inside.left_over
                           | inside.behind.any() | inside.within, expected_out)),
        ]
    if within:
        bitmap_was, masks_were = (past(m, port.valid, name=f"{name}_before")
                                  for name, port in (("bitmap", dut.bitmap), ("masks", dut.masks)))
        steps = Cat(dut.bitmap.ready, dut.masks.ready, dut.bitmap.valid & ~bitmap_was,
                    dut.masks.valid & ~masks_were, inside.fill, inside.take, found,
                    inside.advance & (some | has_next))
        settled = looked_at & ~dut.start
        was_done = past(m, dut.done & settled, name="was_done")
        was_starved = past(m, dut.starved & settled, name="was_starved")
        goes_on(m, settled & ~steps.any() & ~dut.done & ~dut.starved & dut.bitmap.valid, within)
        m.d.comb += [
            Assert(implies(was_done, dut.done), "the end stays"),
            Assert(implies(settled & dut.starved, ~masks_were)),
            Assert(implies(was_starved & ~masks_were, dut.starved)),
            Assert(implies(fresh & dut.bitmap.ready,
                           position["bitmap"] < last_block >> (beat_bits - 1).bit_length()),
                   "the bitmap's last word stays"),
        ]
    m.d.comb += [
        Cover(fresh & dut.done & (total >= min(blocks, 3)) & (inputs == max_k - 1)
              & (every[:q].all() if q <= 4 else ones(every[:q]) >= 3)),
        Cover(fresh & dut.done & dut.out_of_range),
    ]
    return m


GIVEN = ("Words come in order, after pauses of any length, and stay until they are taken. A start "
         "comes at any time.")
PROOFS = [Proof(
    name=f"mask_expand_{beat_bits}_{block_inputs}_{max_k}",
    claim="The indices given out are exactly the bits that are set below K, ascending, each once; "
          "at done all of them were, and the count of blocks and out_of_range are right; no word "
          "is taken that is not there.",
    at=f"words of {beat_bits} bits, blocks of {block_inputs} inputs, K up to {max_k}"
       f"{', a word of padding behind the masks' if padding else ''}",
    given=GIVEN,
    design=partial(design, beat_bits, block_inputs, max_k, padding), depth=4, cover_depth=30,
    bugs=bugs)
    for beat_bits, block_inputs, max_k, padding, bugs in (
        (8, 4, 24, 1, (
            Bug(what="a block behind the last one is expanded", file="mask_expand.py",
                old="present.eq(Mux(refill, next_window & next_inside, present >> 1)),",
                new="present.eq(Mux(refill, next_window, present >> 1)),"),)),
        (16, 8, 24, 0, (
            Bug(what="the second group of a mask is given out twice", file="mask_expand.py",
                old="some_next.eq(begun(has_second) | comes)",
                new="some_next.eq(begun(has_second) | some_next)"),
            Bug(what="a mask is read again while the word behind it comes", file="mask_expand.py",
                old="mask_there.eq(self.masks.valid & running[2] & ~mask_pop)",
                new="mask_there.eq(self.masks.valid & running[2])"))),
        (16, 16, 32, 0, (
            Bug(what="the third group of a mask is given out again", file="mask_expand.py",
                old="| (waiting & ~_lowest(waiting) & busy.replicate(len(waiting)))),",
                new="| (waiting & busy.replicate(len(waiting)))),"),)),
        (32, 16, 48, 0, (
            Bug(what="of a third group that has several the first is given out alone",
                file="mask_expand.py",
                old="next_several.eq(Mux(free, second_several, _first(waiting, "
                    "[*taken_several]))),",
                new="next_several.eq(Mux(free, second_several, 0)),"),)),
    )] + [Proof(
    name="mask_expand_goes_on",
    claim=f"Once a word of the bitmap is there no more than {WITHIN} cycles in a row pass without "
          "a step, until all is expanded or a mask is missing: a word comes or is taken, a window "
          "of the bitmap, a block, a mask or an index is done. Of each a strip has so many. "
          "Both ends stay, that of a missing mask until one comes; the bitmap's last word is left "
          "where it is.",
    at="words of 8 bits, blocks of 4 inputs, K up to 24 (a bitmap of one word), a word of padding "
       "behind the masks",
    given=GIVEN, design=partial(design, 8, 4, 24, 1, WITHIN), depth=WITHIN + 3, cover_depth=30,
    bugs=(
        Bug(what="the scan waits for a block of a window to take the window", file="mask_expand.py",
            old="refill.eq(has_next & low),", new="refill.eq(has_next & ~low),"),
        Bug(what="a missing mask is told for a cycle alone", file="mask_expand.py",
            old="& ~has_fetched & ~self.masks.valid),",
            new="& ~has_fetched & ~self.masks.valid & ~starved),"),
    ))]
