"""Words of one width into words of another: the same bytes, in order, packet by packet."""
from functools import partial

from amaranth.hdl import Cat, Module, Mux, Signal

from sparseloom.hw.gearbox import Gearbox
from tests.formal.parts import Assert, Cover, Opened, free, implies, keeps_rules, ones, past
from tests.formal.proof import Bug, Proof


class Bytes:
    """What was taken and not given: bytes, oldest first, and which end a packet."""

    def __init__(self, m, dut, in_bytes, out_bytes):
        self.places = in_bytes + 2 * out_bytes
        self.bytes = Signal(8 * self.places)
        self.ends = Signal(self.places)
        self.count = Signal(range(self.places + 1))
        left, after = Signal(range(out_bytes + 1)), Signal.like(self.count)
        comes = dut.i.valid & dut.i.ready
        m.d.comb += [left.eq(Mux(dut.o.valid & dut.o.ready, dut.o.p.count, 0)),
                     after.eq(self.count - left)]
        kept, kept_ends = self.bytes >> (left << 3), self.ends >> left
        m.d.sync += [
            self.bytes.eq(kept | Mux(comes, dut.i.p.data << (after << 3), 0)),
            self.ends.eq(kept_ends | ((comes & dut.i.p.last) << after << in_bytes - 1)),
            self.count.eq(after + Mux(comes, in_bytes, 0)),
        ]
        m.d.comb += [Assert(left <= self.count, "no underflow"),
                     Assert(self.count < self.places, "no overflow")]


def contract(m, dut, *, in_bytes, out_bytes):
    """What a gearbox promises, of its ports alone.

    Returns
    -------
    Bytes
    """
    held = Bytes(m, dut, in_bytes, out_bytes)
    keeps_rules(m, dut.o, name="o")

    # What is offered is the oldest bytes of one packet, zeros above.
    count, last = dut.o.p.count, dut.o.p.last
    with m.If(dut.o.valid):
        m.d.comb += [
            Assert((count == out_bytes) | (last & (count > 0) & (count < out_bytes))),
            Assert(held.count >= count, "no byte that never came"),
        ]
        for byte in range(out_bytes):
            m.d.comb += [
                Assert(dut.o.p.data.word_select(byte, 8) == Mux(
                    count > byte, held.bytes.word_select(byte, 8), 0), "in order, unchanged"),
                Assert(implies(count > byte, held.ends[byte] == (last & (count == byte + 1))),
                       "of one packet, to its end"),
            ]
    m.d.comb += [Assert(dut.level == held.count), Assert(dut.empty == (held.count == 0))]

    # It is never late.
    could = past(m, ~dut.o.valid & ((held.count >= out_bytes) | held.ends.any()), name="could")
    left = held.count - count
    follows = past(m, dut.o.valid & dut.o.ready
                   & ((left >= out_bytes) | (held.ends >> count).any()), name="follows")
    m.d.comb += [
        Assert(implies(could, dut.o.valid), "a word that is complete is offered in the next cycle"),
        Assert(implies(follows, dut.o.valid), "... and in the cycle behind the word before it"),
        Assert(implies((held.count < out_bytes) & ~held.ends.any(), dut.i.ready),
               "a word is taken as long as none is complete"),
    ]
    return held


def design(in_bytes, out_bytes):
    m = Module()
    dut = Gearbox(in_bytes, out_bytes)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    m.d.comb += [dut.i.valid.eq(free(m, name="i_valid")),
                 dut.i.p.data.eq(free(m, 8 * in_bytes, name="i_data")),
                 dut.i.p.last.eq(free(m, name="i_last")),
                 dut.o.ready.eq(free(m, name="o_ready"))]
    held = contract(m, dut, in_bytes=in_bytes, out_bytes=out_bytes)
    count, last = dut.o.p.count, dut.o.p.last

    # What holds between the cycles: what each place of the ring stands for.
    granule, states, ring = inside.granule, inside.states, inside.ring
    step_in, step_out, ending = inside.step_in, inside.step_out, inside.ending
    behind = Signal(range(out_bytes + 1))       # bytes of the output word
    rest_bytes, rest_ends = Signal.like(held.bytes), Signal.like(held.ends)
    m.d.comb += [behind.eq(Mux(inside.valid, count, 0)), Assert(ones(ring) == 1),
                 rest_bytes.eq(held.bytes >> (behind << 3)), rest_ends.eq(held.ends >> behind),
                 Assert((held.bytes >> (held.count << 3)) == 0),
                 Assert((held.ends >> held.count) == 0)]
    for at, state in enumerate(states):
        stored = Cat(inside.kept[0][8 * granule * (step_in - state.rest):],
                     *inside.kept[1:1 + state.words])
        size = state.held * granule
        with m.If(ring[at]):
            m.d.comb += [
                Assert(held.count == behind + size),
                Assert(inside.takes == (~ending & (state.held < step_out))),
                Assert(inside.gives == (ending | (state.held >= step_out))),
                Assert(rest_ends == ((ending << size - 1) if size else 0)),
                *(Assert(choice.code == choice.codes[at]) for choice in inside.choices),
                *(Assert(inside.beyond[place] == (ending & (0 < state.held <= place)))
                  for place in range(1, step_out)),
            ]
            if size:
                m.d.comb += Assert(rest_bytes[:8 * size] == stored)
            else:
                m.d.comb += Assert(~ending)
            if step_in < step_out:
                m.d.comb += Assert(inside.completes == (state.held + step_in >= step_out))
            if inside.cuts:
                m.d.comb += Assert(inside.finishes == (ending & (state.held <= step_out)))
    waited, one_ended = Signal(), Signal()
    m.d.sync += waited.eq(dut.o.valid & ~dut.o.ready)
    with m.If(dut.o.valid & dut.o.ready & last):
        m.d.sync += one_ended.eq(1)
    m.d.comb += [
        Cover(one_ended & waited & dut.o.valid & dut.o.ready & last),
        Cover((count < out_bytes if in_bytes % out_bytes else count == out_bytes)
              & one_ended & dut.o.valid & last),
    ]
    return m


PROOFS = [Proof(
    name=f"gearbox_{in_bytes}_{out_bytes}",
    claim="Stream rules at the output; the bytes of a packet come out once, in order, unchanged, "
          "zeros above them; packets stay apart and end where they ended; level and empty are "
          "right; nothing is held beyond the stated level; a complete word is offered in the next "
          "cycle, and a word is taken in each cycle in which none is complete.",
    at=f"{in_bytes} to {out_bytes} bytes",
    design=partial(design, in_bytes, out_bytes), depth=2, cover_depth=12,
    bugs=bugs)
    for in_bytes, out_bytes, bugs in (
        (2, 3, (
            Bug(what="a remainder leaves bytes of the word before above it", file="gearbox.py",
                old="m.d.sync += part.eq(0)", new="m.d.sync += part.eq(value)"),
            Bug(what="the input is taken while the output word waits", file="gearbox.py",
                old="self.i.ready.eq(takes & (free | ~completes))",
                new="self.i.ready.eq(takes)"))),
        (3, 2, (
            Bug(what="the word behind a packet is taken before the packet has left",
                file="gearbox.py", old="*follow(takes, Mux(last, to_empty,",
                new="*follow(takes, Mux(last, 1,"),)),
        (4, 2, (
            Bug(what="a packet's last word is not told", file="gearbox.py",
                old="word_last.eq(Mux(gives, finishes, self.i.p.last & to_empty))",
                new="word_last.eq(Mux(gives, 0, self.i.p.last & to_empty))"),)),
        (8, 12, (
            Bug(what="the next word replaces a rest that has not left", file="gearbox.py",
                old="with m.If(ring[0] | (put & completes & Const(replaces))):",
                new="with m.If(ring[0] | (takes & completes & Const(replaces))):"),)),
    )]
