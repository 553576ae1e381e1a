"""Repack a stream of words of one width into words of another."""
from math import gcd
from typing import NamedTuple

from amaranth.hdl import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

FANOUT_BYTES = 4
"""Output bytes that are chosen by one register."""


def choices(in_bytes: int, out_bytes: int) -> int:
    """Two-way choices in front of a gearbox's output word, of a bit each.

    An output byte is chosen among the places that it has for the different rests.
    """
    granule = gcd(in_bytes, out_bytes)
    step_in, step_out = in_bytes // granule, out_bytes // granule
    rests = _rests(_states(step_in, step_out), unused=step_in < step_out)
    return 8 * out_bytes * (len(rests) - 1)


class Gearbox(wiring.Component):
    """Repack packets of ``in_bytes`` words into words of ``out_bytes``, lowest byte first.

    The bytes of a packet go out in their order and without gaps, ``out_bytes`` at a time. Behind
    the input word with ``last`` the remainder is flushed as a word with ``count < out_bytes``
    and zeros above it; without a remainder the final full word carries ``last``. The next packet
    starts in byte 0.

    **Latency** ``LATENCY`` cycles from the input word that completes an output word; a remainder
    follows a cycle behind the word before it, and ``LATENCY + 1`` behind an input word that
    completes none. **Throughput** one input word per cycle if ``out_bytes >= in_bytes``, one output
    word per cycle if ``in_bytes >= out_bytes``; behind ``last`` the input waits until its packet
    has moved into the output register. **Back-pressure** full; ``o.ready`` reaches ``i.ready`` in
    the same cycle, through one gate. Outputs come from registers.

    Input words are kept as they come, and output bytes are chosen as they leave. What an output
    word begins with is the rest of one input word, of which there are few different lengths:
    multiples of g = gcd(in_bytes, out_bytes). So the choice is between as many places as a packet
    has lengths, known a cycle before, and no byte has a position that is computed.

    Parameters
    ----------
    in_bytes, out_bytes : int
        Bytes in a word, at least 1 each.

    Members
    -------
    i : In(stream of {data, last})
        Always ``in_bytes`` bytes; ``last`` ends a packet.
    o : Out(stream of {data, count, last})
        ``count`` is the number of valid bytes, from bit 0; ``out_bytes`` except with ``last``.
    level : Out(range)
        Bytes held.
    empty : Out(1)
        ``level`` is 0.

    Raises
    ------
    ValueError
        If a width is below 1.
    """

    LATENCY = 1

    def __init__(self, in_bytes: int, out_bytes: int):
        for name, value in (("in_bytes", in_bytes), ("out_bytes", out_bytes)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, not {value!r}")
        self.in_bytes = in_bytes
        self.out_bytes = out_bytes
        self.granule_bytes = gcd(in_bytes, out_bytes)
        super().__init__({
            "i": In(stream.Signature(data.StructLayout({"data": in_bytes * 8, "last": 1}))),
            "o": Out(stream.Signature(data.StructLayout({
                "data": out_bytes * 8, "count": range(out_bytes + 1), "last": 1}))),
            "level": Out(range(in_bytes + 2 * out_bytes)),
            "empty": Out(1),
        })

    def elaborate(self, platform):
        m = Module()
        granule = self.granule_bytes
        step_in, step_out = self.in_bytes // granule, self.out_bytes // granule
        states = _states(step_in, step_out)
        following = [*states[1:], states[0]]
        cuts = step_in > step_out

        # What is held, as a ring of the states above; and what the next step is.
        ring = Signal(len(states), init=1)
        takes, gives = Signal(init=1), Signal()     # a word; an output word out of what is held
        completes = Signal(init=step_in >= step_out) if step_in < step_out else Const(1)
        ending = Signal() if cuts else gives        # ``last`` was taken
        finishes = Signal() if cuts else gives      # what is given is the last of its packet
        valid = Signal()
        free, put, step = Signal(), Signal(), Signal()

        def next_is(condition):
            return Cat(ring[at] for at, state in enumerate(following) if condition(state)).any()

        to_empty = ring[-1]
        m.d.comb += [
            free.eq(~valid | self.o.ready),
            self.i.ready.eq(takes & (free | ~completes)),
            put.eq(self.i.valid & self.i.ready),
            step.eq(put | (gives & free)),
        ]
        last = (takes & self.i.p.last) | ending
        beyond = [Signal(name=f"beyond_{place}") for place in range(step_out)]  # of a remainder
        choices = [_Choice(number, states, unused=step_in < step_out)
                   for number in range(-(-self.out_bytes // FANOUT_BYTES))]
        flush = Signal()            # what is given is a remainder, or nothing remains
        m.d.comb += flush.eq(gives & finishes)

        def follow(register, value, init=0):
            """With each step; behind a packet from the start. Gates, no reset that waits for it."""
            bits = zip(register, value, strict=True)
            return [bit.eq(new | flush if init >> place & 1 else new & ~flush)
                    for place, (bit, new) in enumerate(bits)]

        with m.If(step):
            m.d.sync += [
                *follow(ring, ring.rotate_left(1), 1),
                *follow(takes, Mux(last, to_empty,
                                   next_is(lambda state: state.held < step_out)), 1),
                *follow(gives, next_is(lambda state: state.held >= step_out) | (last & ~to_empty)),
            ]
            for choice in choices:
                m.d.sync += follow(choice.code, Cat(
                    Cat(ring[at - 1] for at in range(len(states))
                        if choice.codes[at] >> place & 1).any()
                    for place in range(len(choice.code))), choice.codes[0])
            for place in range(1, step_out):
                m.d.sync += follow(beyond[place], last & next_is(
                    lambda state, place=place: 0 < state.held <= place))
            if step_in < step_out:
                m.d.sync += follow(completes, next_is(
                    lambda state: state.held + step_in >= step_out))
            if cuts:
                m.d.sync += [
                    *follow(ending, last & ~to_empty),
                    *follow(finishes, last & next_is(lambda state: 0 < state.held <= step_out)),
                ]

        # The words kept. Where nothing of a word is held it follows the input, nonsense too; only
        # what replaces a rest waits until that has left.
        kept = [Signal(self.in_bytes * 8, name=f"kept_{slot}", reset_less=True)
                for slot in range(1 + max(state.words for state in states))]
        replaces = any(state.held < step_out and state.rest and after.rest and not after.words
                       for state, after in zip(states, following, strict=True))
        with m.If(ring[0] | (put & completes & Const(replaces))):
            m.d.sync += kept[0].eq(self.i.p.data)
        for slot, word in enumerate(kept[1:], start=1):
            with m.If(takes & Cat(ring[at - 1] for at, state in enumerate(states)
                                  if state.words == slot).any()):
                m.d.sync += word.eq(self.i.p.data)

        def source(rest, place):
            """Granule ``place`` of an output word that begins with ``rest`` granules kept."""
            if place < rest:
                word, at = kept[0], step_in - rest + place
            else:
                number, at = divmod(place - rest, step_in)
                words = max(state.words for state in states if state.rest == rest)
                word = self.i.p.data if number == words else kept[1 + number]
            return word.word_select(at, granule * 8)

        word = Signal(self.out_bytes * 8, reset_less=True)
        word_last = Signal(reset_less=True)
        count = Signal(range(self.out_bytes + 1), reset_less=True)
        with m.If(free):            # what leaves is right only with ``valid``
            m.d.sync += [
                valid.eq(gives | (takes & completes & self.i.valid)),
                word_last.eq(Mux(gives, finishes, self.i.p.last & to_empty)),
                count.eq(self.out_bytes),
            ]
            with m.If(flush):
                m.d.sync += count.eq(Cat(
                    Cat(ring[at] for at, state in enumerate(states)
                        if state.held * granule >> bit & 1).any() for bit in range(len(count))))
            for place in range(step_out):
                part = word.word_select(place, granule * 8)
                choice = choices[place * granule // FANOUT_BYTES]
                value = _choose(choice.code, [source(rest, place) for rest in choice.rests])
                if len(choice.rests) == 1:      # there is a LUT to spare in front of each bit
                    m.d.sync += part.eq(value & (~beyond[place]).replicate(len(part)))
                else:
                    m.d.sync += part.eq(value)
                    with m.If(beyond[place]):
                        m.d.sync += part.eq(0)
        m.d.comb += [
            self.o.valid.eq(valid), self.o.p.data.eq(word), self.o.p.count.eq(count),
            self.o.p.last.eq(word_last),
            self.empty.eq(~valid & ring[0]),
            self.level.eq(Mux(valid, count, 0) + sum(
                Mux(ring[at], state.held * granule, 0) for at, state in enumerate(states))),
        ]
        return m


class _State(NamedTuple):
    """What a gearbox holds, in granules."""

    rest: int       # of the first word kept
    words: int      # whole ones behind it
    held: int


def _states(step_in: int, step_out: int) -> list[_State]:
    """What is held from step to step, from nothing until nothing is left.

    A step takes a word if there is no whole output word, and gives one if there is one then.
    """
    states, rest, words = [], 0, 0
    while True:
        held = rest + words * step_in
        states.append(_State(rest, words, held))
        if held >= step_out:
            rest = held - step_out
        elif held + step_in >= step_out:
            rest, words = held + step_in - step_out, 0
        elif rest:
            words += 1
        else:
            rest = step_in
        if not rest:
            return states


def _rests(states: list[_State], *, unused: bool) -> list[int]:
    """What an output word may begin with; ``unused`` if there are states that give none."""
    return sorted({state.rest for state in states if state.rest or not unused})


class _Choice:
    """Which of the possible rests is at hand, for some of the output bytes.

    Every number has another code for it, so that synthesis does not make one net of many.
    """

    def __init__(self, number: int, states: list[_State], *, unused: bool):
        rests = _rests(states, unused=unused)
        turn = number % len(rests)
        self.rests = rests[turn:] + rests[:turn]
        spare = number // len(rests) % len(rests)       # where no output word is given
        self.codes = [self.rests.index(state.rest) if state.rest in self.rests else spare
                      for state in states]
        self.code = Signal(range(len(rests)), init=self.codes[0], name=f"choice_{number}")


def _choose(code, values):
    """The value at index ``code``, as a tree of two-way choices."""
    for bit in code:
        values = [Mux(bit, pair[-1], pair[0]) if len(pair) > 1 else pair[0]
                  for pair in (values[at:at + 2] for at in range(0, len(values), 2))]
    return values[0]
