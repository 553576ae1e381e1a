"""Sums to results: bias, scale, zero point, clamp and table look-up, several lanes at once."""
from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.layouts import ScaleParams
from sparseloom.hw.memory import SimpleDualPort
from sparseloom.hw.wide_multiplier import WideMultiplier
from sparseloom.model.packed import spec

LutWrite = wiring.Signature({"en": Out(1), "bank": Out(1), "addr": Out(8), "data": Out(signed(8))})
"""Write port of the tables: entry ``addr`` of ``bank`` serves the result ``y = addr - 128``."""

PRODUCT_BITS = 49
"""Width of a rounded product: |acc * mult| < 2**47, plus a rounding constant up to 2**46."""


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
    Equals ``requantise`` and ``apply_lut`` of :mod:`sparseloom.model.reference`. Raw sums take
    the same way, multiplied by 1, rounded by 0 and shifted by 0, so that no second line of wide
    registers is needed. ``sum + bias`` wraps to 32 bits (the exporter keeps it inside them).

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
    coarse, fine : In
        shift // 16 in stage ``COARSE``, shift % 16 in stage ``FINE``.
    zero_point : In(signed(8))
        Stage ``OFFSET``.
    merge_raw, lut_bank : In(1)
        Answer the 32-bit sum instead of int8; bank of the table. Stage ``LOOKUP``.
    use_lut, keep : In(1)
        Stage ``SELECT``.
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
    ROUND = MULTIPLY + WideMultiplier.LATENCY
    COARSE = ROUND + 1
    FINE = COARSE + 1
    SATURATE = FINE + 1
    OFFSET = SATURATE + 1
    LOOKUP = OFFSET + 1
    SELECT = LOOKUP + SimpleDualPort.LATENCY
    LATENCY = SELECT + 1

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
            "fine": In(4),
            "zero_point": In(signed(8)),
            "merge_raw": In(1),
            "lut_bank": In(1),
            "use_lut": In(1),
            "keep": In(1),
            "lut_write": In(LutWrite),
            "value": Out(signed(32)),
        })

    def elaborate(self, platform):
        m = Module()

        acc = Signal(signed(32), reset_less=True)
        m.d.sync += acc.eq(self.sum + self.bias)

        m.submodules.multiplier = multiplier = WideMultiplier(a_bits=32, b_bits=17,
                                                              target=self._target)
        m.d.comb += [
            multiplier.a.eq(acc),
            multiplier.b.eq(Cat(self.factor, 0)),
        ]

        rounded = Signal(signed(PRODUCT_BITS), reset_less=True)
        m.d.sync += rounded.eq(multiplier.product + self.half)

        # The shift takes two cycles, since 48 places in one would be the slowest step of all.
        coarse = Signal(signed(PRODUCT_BITS), reset_less=True)
        m.d.sync += coarse.eq(rounded >> (self.coarse << 4))
        shifted = Signal(signed(PRODUCT_BITS), reset_less=True)
        m.d.sync += shifted.eq(coarse >> self.fine)

        # Nine bits keep apart all that a zero point can bring back into int8.
        narrow = Signal(signed(9), reset_less=True)
        m.d.sync += narrow.eq(_clamp(shifted, -256, 255))
        y = Signal(signed(8), reset_less=True)
        m.d.sync += y.eq(_clamp(narrow + self.zero_point, -128, 127))
        word = _delay(m, shifted[:32].as_signed(), self.LOOKUP - self.SATURATE, "word")

        m.submodules.lut = lut = SimpleDualPort(shape=signed(8), depth=2 * spec.LUT_ENTRIES,
                                                target=self._target)
        m.d.comb += [
            lut.write.en.eq(self.lut_write.en),
            lut.write.addr.eq(Cat(self.lut_write.addr, self.lut_write.bank)),
            lut.write.data.eq(self.lut_write.data),
            lut.read.addr.eq(Cat(y[:7], ~y[7], self.lut_bank)),     # y + 128
        ]
        direct = Signal(signed(32))
        m.d.comb += direct.eq(Mux(self.merge_raw, word, y))
        direct = _delay(m, direct, SimpleDualPort.LATENCY, "direct")

        value = Signal(signed(32), reset_less=True)
        m.d.sync += value.eq(Mux(self.keep, Mux(self.use_lut, lut.read.data, direct), 0))
        m.d.comb += self.value.eq(value)
        return m


def _clamp(value, low: int, high: int):
    """``value``, or the nearer limit outside ``low .. high``."""
    return Mux(value < low, low, Mux(value > high, high, value))


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

        shift = _delay(m, Mux(step.raw, 0, step.params.shift), 1, "shift")
        # 1 << (shift - 1), without the subtraction: zero for a shift of zero, as raw sums want.
        half = Signal(spec.SHIFT_MAX, reset_less=True)
        m.d.sync += half.eq((1 << shift) >> 1)
        half = _delay(m, half, PostLane.ROUND - 2, "half")
        coarse = _delay(m, shift[4:6], PostLane.COARSE - 1, "coarse")
        fine = _delay(m, shift[:4], PostLane.FINE - 1, "fine")
        factor = _delay(m, Mux(step.raw, 1, step.params.mult), PostLane.MULTIPLY, "factor")
        zero_point = _delay(m, step.zero_point, PostLane.OFFSET, "zero_point")
        lut_bank = _delay(m, step.lut_bank, PostLane.LOOKUP, "lut_bank")
        use_lut = _delay(m, step.use_lut & ~step.raw, PostLane.SELECT, "use_lut")
        keep = _delay(m, step.keep, PostLane.SELECT, "keep")

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

        for index in range(self._lanes):
            m.submodules[f"lane{index}"] = lane = PostLane(sum_bits=self._sum_bits,
                                                           target=self._target)
            m.d.comb += [
                lane.sum.eq(step.sums[index]),
                lane.bias.eq(step.params.bias),
                lane.factor.eq(factor),
                lane.half.eq(half),
                lane.coarse.eq(coarse),
                lane.fine.eq(fine),
                lane.zero_point.eq(zero_point),
                lane.merge_raw.eq(raw[PostLane.LOOKUP]),
                lane.lut_bank.eq(lut_bank),
                lane.use_lut.eq(use_lut),
                lane.keep.eq(keep[index]),
                lane.lut_write.en.eq(lut_en),
                Cat(lane.lut_write.addr, lane.lut_write.bank).eq(lut_write),
                lane.lut_write.data.eq(lut_data),
                self.o.p.values[index].eq(lane.value),
            ]
        return m
