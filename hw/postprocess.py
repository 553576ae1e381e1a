"""Sums to results: bias, scale, zero point, clamp and table look-up, several lanes at once."""
from itertools import pairwise

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.kept_register import KeptRegister
from sparseloom.hw.layouts import ScaleParams
from sparseloom.hw.memory import SimpleDualPort
from sparseloom.hw.wide_multiplier import WideMultiplier
from sparseloom.model.packed import spec

LutWrite = wiring.Signature({"en": Out(1), "bank": Out(1), "addr": Out(8), "data": Out(signed(8))})
"""Write port of the tables: entry ``addr`` of ``bank`` serves the result ``y = addr - 128``."""

NARROW = 9
"""Bits that a shifted product is clamped to before the zero point is added."""

RAW_DEPTH = 64
"""Words of the memory that delays raw sums: a block memory, of which there are enough."""


def post_input_layout(*, lanes: int, sum_bits: int) -> data.StructLayout:
    """One step of post-processing: ``lanes`` sums of one output, and what belongs to them.

    Parameters
    ----------
    lanes : int
        Sums, one per token.
    sum_bits : int
        Width of a signed sum.

    Returns
    -------
    StructLayout
        ``sums`` (array of signed), ``params`` (:data:`~.layouts.ScaleParams`), ``zero_point``
        (int8), ``raw`` (answer acc + bias as int32), ``use_lut``, ``lut_bank``, ``last`` (passed
        along), ``keep`` (one bit per lane: 0 makes that lane's result zero).
    """
    return data.StructLayout({
        "sums": data.ArrayLayout(signed(sum_bits), lanes),
        "params": ScaleParams,
        "zero_point": signed(8),
        "raw": 1,
        "use_lut": 1,
        "lut_bank": 1,
        "last": 1,
        "keep": lanes,
    })


def post_output_layout(*, lanes: int) -> data.StructLayout:
    """Result of one step: ``values`` (int32; int8 results sign-extended), ``raw``, ``last``."""
    return data.StructLayout({
        "values": data.ArrayLayout(signed(32), lanes),
        "raw": 1,
        "last": 1,
    })


def _delay(m: Module, value, cycles: int, name: str):
    """``value``, ``cycles`` cycles later, through registers without reset."""
    for step in range(cycles):
        delayed = Signal(value.shape(), name=f"{name}_q{step + 1}", reset_less=True)
        m.d.sync += delayed.eq(value)
        value = delayed
    return value


class PostLane(wiring.Component):
    """Arithmetic of one lane; the controls come from outside, each in the cycle it is needed.

    Fixed latency, one result per cycle, no back-pressure, no reset. A sum in cycle t wants its
    other inputs in cycle t + the stage's constant, and answers in cycle t + ``LATENCY``.
    Equals ``requantise`` and ``apply_lut`` of :mod:`sparseloom.model.reference`.
    ``sum + bias`` wraps to 32 bits (the exporter keeps it inside them). For a raw result it goes
    out as ``acc`` and comes back as ``word``, since a delay of so many wide registers is cheaper in
    a memory.

    Parameters
    ----------
    sum_bits : int
        Width of the signed sum, 2 to 32.
    target : str
        Technology body of multiplier and memory.

    Members
    -------
    sum, bias : In
        Stage ``BIAS``.
    factor : In(16)
        Stage ``MULTIPLY``.
    half : In(47)
        Rounding constant, 2**(shift - 1). Stage ``ROUND``.
    coarse, middle, fine : In
        shift // 16, at most 2, shift // 4 % 4 and shift % 4, each a cycle before its stage
        ``COARSE``, ``MIDDLE``, ``FINE``: every lane keeps a register of its own in front.
    zero_point : In(signed(8))
        Stage ``OFFSET``.
    lut_bank : In(1)
        Bank of the table. Stage ``LOOKUP``.
    use_lut : In(1)
        Stage ``SELECT``.
    acc : Out(signed(32))
        ``sum + bias``, in stage ``MULTIPLY``.
    word : In(signed(32))
    raw : In(1)
        Answer ``word`` instead of int8; a cycle before stage ``MERGE``.
    drop : In(1)
        Answer 0; stage ``MERGE``. From a register, since it is the reset of the last one.
    lut_write : In(LutWrite)
    value : Out(signed(32))
        Cycle t + ``LATENCY``.

    Raises
    ------
    ValueError
        Unless ``2 <= sum_bits <= 32``.
    """

    BIAS = 0
    MULTIPLY = BIAS + 1
    ROUND = MULTIPLY + WideMultiplier.ADDEND
    COARSE = MULTIPLY + WideMultiplier.LATENCY
    MIDDLE = COARSE + 1
    FINE = MIDDLE + 1
    SATURATE = FINE + 1
    OFFSET = SATURATE + 1
    CLAMP = OFFSET + 1
    LOOKUP = CLAMP + 1
    SELECT = LOOKUP + SimpleDualPort.LATENCY
    MERGE = SELECT + 1
    LATENCY = MERGE + 1

    def __init__(self, *, sum_bits: int, target: str = "generic"):
        if not 2 <= sum_bits <= 32:
            raise ValueError(f"sum_bits must be in 2..32, not {sum_bits!r}")
        self._target = target
        super().__init__({
            "sum": In(signed(sum_bits)),
            "bias": In(signed(32)),
            "factor": In(16),
            "half": In(spec.SHIFT_MAX),
            "coarse": In(2),
            "middle": In(2),
            "fine": In(2),
            "zero_point": In(signed(8)),
            "lut_bank": In(1),
            "use_lut": In(1),
            "acc": Out(signed(32)),
            "word": In(signed(32)),
            "raw": In(1),
            "drop": In(1),
            "lut_write": In(LutWrite),
            "value": Out(signed(32)),
        })

    def elaborate(self, platform):
        m = Module()

        acc = Signal(signed(32), reset_less=True)
        m.d.sync += acc.eq(self.sum + self.bias)
        m.d.comb += self.acc.eq(acc)

        m.submodules.multiplier = multiplier = WideMultiplier(a_bits=32, b_bits=17,
                                                              target=self._target)
        m.d.comb += [
            multiplier.a.eq(acc),
            multiplier.b.eq(Cat(self.factor, 0)),
            multiplier.addend.eq(self.half),
        ]
        rounded = multiplier.product

        def own(value, name):
            """A register of this lane, since one that steers all lanes has far to go."""
            m.submodules[name] = register = KeptRegister(len(value), target=self._target)
            m.d.comb += register.i.eq(value)
            return register.o

        # The shift takes three cycles, since 48 places in one would be the slowest step of all.
        # Each keeps what the next ones may bring into nine bits. What lies above is lost, and
        # matters only if a lost bit differs from the sign: nine bits keep apart all that a zero
        # point can bring back. Bits that a step may lose are looked at in groups as wide as its
        # unit, and the next step, which still knows the count, says which groups are lost.
        value, over, sign = rounded, Const(0, 1), rounded[-1]
        for name, places, kept, choices in (("coarse", 16, NARROW + 15, 3),
                                            ("middle", 4, NARROW + 3, 4), ("fine", 1, NARROW, 4)):
            count = own(getattr(self, name), f"{name}_count")
            value_q = Signal(signed(kept), name=name, reset_less=True)
            sign_q = Signal(name=f"{name}_sign", reset_less=True)
            over_q = Signal(name=f"{name}_over", reset_less=True)
            edges = [*range(kept - 1, len(value) - 1, places), len(value) - 1]
            groups = [value[low:high] for low, high in pairwise(edges)]
            differs = Signal(len(groups), name=f"{name}_differs", reset_less=True)
            count_q = Signal(2, name=f"{name}_count_q", reset_less=True)
            m.d.sync += [
                value_q.eq(_shifted(value, places, count, choices)),
                sign_q.eq(sign), over_q.eq(over), count_q.eq(count),
                *(differs[index].eq((group ^ sign.replicate(len(group))).any())
                  for index, group in enumerate(groups)),
            ]
            value, sign = value_q, sign_q
            over = over_q | Cat((count_q <= index) & differs[index]
                                for index in range(len(groups))).any()

        narrow = Signal(signed(NARROW), reset_less=True)
        limit = 1 << (NARROW - 1)
        m.d.sync += narrow.eq(Mux(over, Mux(sign, -limit, limit - 1), value))
        moved = Signal(signed(NARROW + 1), reset_less=True)
        y = Signal(signed(8), reset_less=True)
        m.d.sync += [moved.eq(narrow + self.zero_point), y.eq(_clamp(moved))]

        m.submodules.lut = lut = SimpleDualPort(shape=signed(8), depth=2 * spec.LUT_ENTRIES,
                                                target=self._target)
        m.d.comb += [
            lut.write.en.eq(self.lut_write.en),
            lut.write.addr.eq(Cat(self.lut_write.addr, self.lut_write.bank)),
            lut.write.data.eq(self.lut_write.data),
            lut.read.addr.eq(Cat(y[:7], ~y[7], self.lut_bank)),     # y + 128
        ]
        direct = _delay(m, y, SimpleDualPort.LATENCY, "direct")
        byte = Signal(signed(8), reset_less=True)
        m.d.sync += byte.eq(Mux(self.use_lut, lut.read.data, direct))

        value = Signal(signed(32), reset_less=True)
        m.d.sync += value.eq(Mux(self.drop, 0, Mux(own(self.raw, "raw_q"), self.word, byte)))
        m.d.comb += self.value.eq(value)
        return m


def _shifted(value, places: int, count, choices: int):
    """``value >> places * count``; ``choices`` is 3 or 4, and ``count`` below it."""
    step = [value >> places * shift for shift in range(choices)]
    return Mux(count[1], step[2] if choices == 3 else Mux(count[0], step[3], step[2]),
               Mux(count[0], step[1], step[0]))


def _clamp(value):
    """``value`` as a signed byte, or the nearer limit of one, from the upper bits alone."""
    sign, above = value[-1], value[7:-1]
    outside = (above ^ sign.replicate(len(above))).any()
    return Cat(Mux(outside, (~sign).replicate(7), value[:7]), sign)


class PostProcess(wiring.Component):
    """Scale ``lanes`` sums of one output in every cycle.

    Fixed latency of ``LATENCY`` cycles, one step per cycle, **no back-pressure**: whoever sends
    a step has room for its result. int8 results equal ``requantise`` and ``apply_lut`` of
    :mod:`sparseloom.model.reference`; raw results are ``sum + bias``. Only ``valid`` has a reset.

    Parameters
    ----------
    lanes : int
        Sums per step, at least 1.
    sum_bits : int
        Width of a signed sum, 2 to 32.
    target : str
        Technology body of multipliers and memories.

    Members
    -------
    i : In(stream of post_input_layout, always ready)
        ``raw`` overrides ``use_lut``. ``params.shift`` must be 1 to 47 unless ``raw``.
    o : Out(stream of post_output_layout, always ready)
    lut_write : In(LutWrite)
        Both banks hold 256 entries, shared by the lanes. An entry must be written before the
        first step that uses it, and a bank must rest until its last result came out.

    Raises
    ------
    ValueError
        If a parameter is outside its limits.
    """

    LATENCY = PostLane.LATENCY
    """Cycles from a step to its results."""

    def __init__(self, *, lanes: int, sum_bits: int, target: str = "generic"):
        if lanes < 1:
            raise ValueError(f"lanes must be at least 1, not {lanes!r}")
        if not 2 <= sum_bits <= 32:
            raise ValueError(f"sum_bits must be in 2..32, not {sum_bits!r}")
        self._lanes = lanes
        self._sum_bits = sum_bits
        self._target = target
        super().__init__({
            "i": In(stream.Signature(post_input_layout(lanes=lanes, sum_bits=sum_bits),
                                     always_ready=True)),
            "o": Out(stream.Signature(post_output_layout(lanes=lanes), always_ready=True)),
            "lut_write": In(LutWrite),
        })

    def elaborate(self, platform):
        m = Module()

        valid = Signal(self.LATENCY)
        m.d.sync += valid.eq(Cat(self.i.valid, valid))
        m.d.comb += self.o.valid.eq(valid[-1])

        step = self.i.p
        raw = [step.raw]
        for stage in range(self.LATENCY):
            raw.append(_delay(m, raw[-1], 1, f"raw_{stage}"))

        shift = _delay(m, step.params.shift, 1, "shift")
        # 1 << (shift - 1), without the subtraction: two digits first, then all bits, in the last
        # two cycles, since a shift is narrower than what comes of it.
        digits = _delay(m, shift, PostLane.ROUND - 3, "digits")
        low = Signal(8, reset_less=True)
        high = Signal(spec.SHIFT_MAX // 8 + 1, reset_less=True)
        half = Signal(spec.SHIFT_MAX, reset_less=True)
        m.d.sync += [
            low.eq(1 << digits[:3]), high.eq(1 << digits[3:]),
            half.eq(Cat(low[bit % 8] & high[bit // 8] for bit in range(1, spec.SHIFT_MAX + 1))),
        ]
        coarse = _delay(m, shift[4:6], PostLane.COARSE - 2, "coarse")
        middle = _delay(m, shift[2:4], PostLane.MIDDLE - 2, "middle")
        fine = _delay(m, shift[:2], PostLane.FINE - 2, "fine")
        factor = _delay(m, step.params.mult, PostLane.MULTIPLY, "factor")
        zero_point = _delay(m, step.zero_point, PostLane.OFFSET, "zero_point")
        lut_bank = _delay(m, step.lut_bank, PostLane.LOOKUP, "lut_bank")
        use_lut = _delay(m, step.use_lut, PostLane.SELECT, "use_lut")
        drop = _delay(m, ~step.keep, PostLane.MERGE, "drop")

        m.d.comb += [
            self.o.p.raw.eq(raw[self.LATENCY]),
            self.o.p.last.eq(_delay(m, step.last, self.LATENCY, "last")),
        ]
        # Written a cycle late, so that one register drives all tables.
        lut_write = Signal.like(Cat(self.lut_write.addr, self.lut_write.bank), reset_less=True)
        lut_data = _delay(m, self.lut_write.data, 1, "lut_data")
        lut_en = Signal()
        m.d.sync += [
            lut_write.eq(Cat(self.lut_write.addr, self.lut_write.bank)),
            lut_en.eq(self.lut_write.en),
        ]

        # Raw sums go round the arithmetic, a word of all lanes in every cycle.
        m.submodules.sums = sums = SimpleDualPort(shape=data.ArrayLayout(32, self._lanes),
                                                  depth=RAW_DEPTH, target=self._target)
        behind = PostLane.MERGE - PostLane.MULTIPLY - SimpleDualPort.LATENCY
        assert 0 < behind < RAW_DEPTH
        write_at = Signal(range(RAW_DEPTH), init=behind)
        read_at = Signal(range(RAW_DEPTH))
        m.d.sync += [write_at.eq(write_at + 1), read_at.eq(read_at + 1)]
        m.d.comb += [
            sums.write.en.eq(1), sums.write.addr.eq(write_at), sums.read.addr.eq(read_at),
        ]

        for index in range(self._lanes):
            m.submodules[f"lane{index}"] = lane = PostLane(sum_bits=self._sum_bits,
                                                           target=self._target)
            m.d.comb += [
                lane.sum.eq(step.sums[index]),
                lane.bias.eq(step.params.bias),
                lane.factor.eq(factor),
                lane.half.eq(half),
                lane.coarse.eq(coarse),
                lane.middle.eq(middle),
                lane.fine.eq(fine),
                lane.zero_point.eq(zero_point),
                lane.lut_bank.eq(lut_bank),
                lane.use_lut.eq(use_lut),
                sums.write.data[index].eq(lane.acc),
                lane.word.eq(sums.read.data[index]),
                lane.raw.eq(raw[PostLane.MERGE - 1]),
                lane.drop.eq(drop[index]),
                lane.lut_write.en.eq(lut_en),
                Cat(lane.lut_write.addr, lane.lut_write.bank).eq(lut_write),
                lane.lut_write.data.eq(lut_data),
                self.o.p.values[index].eq(lane.value),
            ]
        return m
