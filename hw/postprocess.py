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
"""Bits that a shifted product is clamped to before it is rounded and the zero point is added."""

PART = 4
"""Bits that are compared with a sign at once."""

DELAY_WORDS = 16
"""Words of a memory that delays raw sums."""


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
    """Result of one step: ``values``, ``raw``, ``last``.

    A value is an int32, or without ``raw`` an int8 in the low byte; what stands above it then is
    nobody's.
    """
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
    Equals ``requantise`` and ``apply_lut`` of :mod:`sparseloom.model.reference`: half is added and
    the rest cut off by adding the bit below the point of a shifted product.
    ``sum + bias`` wraps to 32 bits (the exporter keeps it inside them). For a raw result it goes
    out as ``acc`` and its low byte comes back as ``low``, since a delay of so many wide registers
    is cheaper in a memory; the others need not come back.

    Parameters
    ----------
    sum_bits : int
        Width of the signed sum, 2 to 32.
    target : str
        Technology body of multiplier and memory.

    Members
    -------
    sum, bias : In
        Stage ``BIAS``: registered, since they come from afar and their sum is long.
    keep : In(1)
        0 makes ``acc`` 0. Stage ``BIAS``.
    factor : In(17)
        mult, or 2 * mult if shift is even, so that all places to shift by are even. A cycle before
        stage ``MULTIPLY``.
    coarse, middle, fine : In
        shift // 16, at most 2, shift // 4 % 4 and shift // 2 % 2, each a cycle before its stage
        ``COARSE``, ``MIDDLE``, ``FINE``: as for ``factor``, every lane keeps a register of its own
        in front.
    zero_point : In(signed(8))
        Stage ``OFFSET``.
    lut_bank : In(1)
        Bank of the table. Stage ``LOOKUP``.
    low : In(8)
        Of the sum. Stage ``LOOKUP``.
    raw : In(1)
        Answer ``low``; a cycle before stage ``LOOKUP``.
    use_lut : In(1)
        Stage ``SELECT``; not with ``raw``.
    drop : In(1)
        Answer 0; stage ``SELECT``. From a register, since it is the reset of the last one.
    acc : Out(signed(32))
        ``sum + bias``, in stage ``ACC``.
    lut_write : In(LutWrite)
    byte : Out(8)
        Cycle t + ``LATENCY``.

    Raises
    ------
    ValueError
        Unless ``2 <= sum_bits <= 32``.
    """

    BIAS = 0
    MULTIPLY = BIAS + 2
    ACC = MULTIPLY
    COARSE = MULTIPLY + WideMultiplier.LATENCY
    MIDDLE = COARSE + 1
    FINE = MIDDLE + 1
    SATURATE = FINE + 1
    OFFSET = SATURATE + 1
    CLAMP = OFFSET + 1
    LOOKUP = CLAMP + 1 + KeptRegister.LATENCY
    SELECT = LOOKUP + SimpleDualPort.LATENCY
    LATENCY = SELECT + 1

    def __init__(self, *, sum_bits: int, target: str = "generic"):
        if not 2 <= sum_bits <= 32:
            raise ValueError(f"sum_bits must be in 2..32, not {sum_bits!r}")
        self._target = target
        super().__init__({
            "sum": In(signed(sum_bits)),
            "bias": In(signed(32)),
            "keep": In(1),
            "factor": In(17),
            "coarse": In(2),
            "middle": In(2),
            "fine": In(1),
            "zero_point": In(signed(8)),
            "lut_bank": In(1),
            "low": In(8),
            "raw": In(1),
            "use_lut": In(1),
            "drop": In(1),
            "acc": Out(signed(32)),
            "lut_write": In(LutWrite),
            "byte": Out(8),
        })

    def elaborate(self, platform):
        m = Module()

        acc = Signal(signed(32), reset_less=True)
        addend = _delay(m, self.sum, 1, "sum")
        bias, keep = _delay(m, self.bias, 1, "bias"), _delay(m, self.keep, 1, "keep")
        m.d.sync += acc.eq(Mux(keep, addend + bias, 0))
        m.d.comb += self.acc.eq(acc)

        m.submodules.multiplier = multiplier = WideMultiplier(a_bits=32, b_bits=18,
                                                              target=self._target)
        def own(value, name):
            """A register of this lane, since one that steers all lanes has far to go."""
            m.submodules[name] = register = KeptRegister(len(value), target=self._target)
            m.d.comb += register.i.eq(value)
            return register.o

        m.d.comb += [
            multiplier.a.eq(acc),
            multiplier.b.eq(Cat(own(self.factor, "factor_q"), 0)),
        ]

        # An odd place was the factor's. The shift takes three cycles, since 48 places in one would
        # be the slowest step of all. Each keeps what the next ones may bring into nine bits, and
        # one below the point, whatever the shift. What lies above is lost, and matters only if a
        # lost bit differs from the sign: nine bits keep apart all that a zero point can bring back.
        # Bits that a step may lose are looked at in groups as wide as its unit, which are cut into
        # parts that take two look-up tables in a row, and the next step, which still knows the
        # count, says what is lost.
        value, over, sign = multiplier.product, Const(0, 1), multiplier.product[-1]
        for name, places, kept, choices in (
                ("coarse", 16, NARROW + 15, 3), ("middle", 4, NARROW + 3, 4),
                ("fine", 2, NARROW + 1, 2)):
            count = own(getattr(self, name), f"{name}_count")
            value_q = Signal(signed(kept), name=name, reset_less=True)
            sign_q = Signal(name=f"{name}_sign", reset_less=True)
            over_q = Signal(name=f"{name}_over", reset_less=True)
            edges = [*range(kept - 1, len(value) - 1, places), len(value) - 1]
            parts = [(index, value[at:min(at + PART, high)])
                     for index, (low, high) in enumerate(pairwise(edges))
                     for at in range(low, high, PART)]
            differs = Signal(len(parts), name=f"{name}_differs", reset_less=True)
            count_q = Signal.like(count, name=f"{name}_count_q", reset_less=True)
            m.d.sync += [
                value_q.eq(_shifted(value, places, count, choices)),
                sign_q.eq(sign), over_q.eq(over), count_q.eq(count),
                *(bit.eq((part ^ sign.replicate(len(part))).any())
                  for bit, (_, part) in zip(differs, parts, strict=True)),
            ]
            value, sign = value_q, sign_q
            over = over_q | Cat((count_q <= index) & bit
                                for bit, (index, _) in zip(differs, parts, strict=True)).any()

        # Beyond the limits the bit below the point is nobody's: the clamp does not see it.
        narrow = Signal(signed(NARROW), reset_less=True)
        up = Signal(reset_less=True)
        limit = 1 << (NARROW - 1)
        m.d.sync += [narrow.eq(Mux(over, Mux(sign, -limit, limit - 1), value[1:].as_signed())),
                     up.eq(value[0])]
        moved = Signal(signed(NARROW + 1), reset_less=True)
        y = Signal(signed(8), reset_less=True)
        m.d.sync += [
            moved.eq((Cat(1, narrow).as_signed() + Cat(up, self.zero_point).as_signed()) >> 1),
            y.eq(_clamp(moved)),
        ]

        # From the clamp to the table's pins is a cycle of its own.
        y_q = own(y, "y_q")
        m.submodules.lut = lut = SimpleDualPort(shape=signed(8), depth=2 * spec.LUT_ENTRIES,
                                                target=self._target)
        m.d.comb += [
            lut.write.en.eq(self.lut_write.en),
            lut.write.addr.eq(Cat(self.lut_write.addr, self.lut_write.bank)),
            lut.write.data.eq(self.lut_write.data),
            lut.read.addr.eq(Cat(y_q[:7], ~y_q[7], self.lut_bank)),     # y + 128
        ]
        raw = own(self.raw, "raw_q")
        direct = _delay(m, Mux(raw, self.low, y_q), SimpleDualPort.LATENCY, "direct")
        byte = Signal(8, reset_less=True)
        m.d.sync += byte.eq(Mux(self.drop, 0, Mux(self.use_lut, lut.read.data, direct)))
        m.d.comb += self.byte.eq(byte)
        return m


def _shifted(value, places: int, count, choices: int):
    """``value >> places * count``; ``choices`` is 2 to 4, and ``count`` below it."""
    step = [value >> places * shift for shift in range(choices)]
    if choices == 2:
        return Mux(count[0], step[1], step[0])
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
        pairs = _delay(m, step.params.shift[1:], 1, "pairs")        # of places
        coarse = _delay(m, pairs[3:5], PostLane.COARSE - 2, "coarse")
        middle = _delay(m, pairs[1:3], PostLane.MIDDLE - 2, "middle")
        fine = _delay(m, pairs[:1], PostLane.FINE - 2, "fine")
        factor = _delay(m, Mux(step.params.shift[0], step.params.mult, step.params.mult << 1),
                        PostLane.MULTIPLY - 1, "factor")
        zero_point = _delay(m, step.zero_point, PostLane.OFFSET, "zero_point")
        lut_bank = _delay(m, step.lut_bank, PostLane.LOOKUP, "lut_bank")
        raw = _delay(m, step.raw, PostLane.LOOKUP - 1, "raw")
        use_lut = _delay(m, step.use_lut & ~step.raw, PostLane.SELECT, "use_lut")

        # Written a cycle late, so that one register drives all tables.
        lut_write = Signal.like(Cat(self.lut_write.addr, self.lut_write.bank), reset_less=True)
        lut_data = _delay(m, self.lut_write.data, 1, "lut_data")
        lut_en = Signal()
        m.d.sync += [
            lut_write.eq(Cat(self.lut_write.addr, self.lut_write.bank)),
            lut_en.eq(self.lut_write.en),
        ]

        # Raw sums go round the arithmetic, a word of all lanes in every cycle, and flags with them.
        # Low bytes come back to where bytes are chosen, out of one block memory; the others would
        # take three, and have look-up tables.
        def memory(name, shape, arrival, distributed):
            """A word written in stage ``ACC``, in stage ``arrival``."""
            behind = arrival - PostLane.ACC - SimpleDualPort.LATENCY
            assert 0 < behind < DELAY_WORDS
            m.submodules[name] = delay = SimpleDualPort(
                shape=data.StructLayout(shape), depth=DELAY_WORDS, target=self._target,
                distributed=distributed)
            write_at = Signal(range(DELAY_WORDS), name=f"{name}_to")
            read_at = Signal(range(DELAY_WORDS), name=f"{name}_at", init=DELAY_WORDS - behind)
            m.d.sync += [write_at.eq(write_at + 1), read_at.eq(read_at + 1)]
            m.d.comb += [delay.write.en.eq(1), delay.write.addr.eq(write_at),
                         delay.read.addr.eq(read_at)]
            return delay.write.data, delay.read.data

        low_in, low = memory("low_bytes", {
            "bytes": data.ArrayLayout(8, self._lanes), "drop": self._lanes}, PostLane.LOOKUP, 0)
        # One for each lane, since an address to steer all of them would have far to go.
        highs = [memory(f"high_bytes_{lane}", {
            "bytes": 24, **({} if lane else {"raw": 1, "last": 1})}, self.LATENCY, DELAY_WORDS)
            for lane in range(self._lanes)]
        high_in, high = highs[0]
        drop = _delay(m, low.drop, PostLane.SELECT - PostLane.LOOKUP, "drop")
        m.d.comb += [
            low_in.drop.eq(_delay(m, ~step.keep, PostLane.ACC, "drop_in")),
            high_in.raw.eq(_delay(m, step.raw, PostLane.ACC, "raw_in")),
            high_in.last.eq(_delay(m, step.last, PostLane.ACC, "last_in")),
            self.o.p.raw.eq(high.raw), self.o.p.last.eq(high.last),
        ]

        for index in range(self._lanes):
            m.submodules[f"lane{index}"] = lane = PostLane(sum_bits=self._sum_bits,
                                                           target=self._target)
            m.d.comb += [
                lane.sum.eq(step.sums[index]),
                lane.bias.eq(step.params.bias),
                lane.keep.eq(step.keep[index]),
                lane.factor.eq(factor),
                lane.coarse.eq(coarse),
                lane.middle.eq(middle),
                lane.fine.eq(fine),
                lane.zero_point.eq(zero_point),
                lane.lut_bank.eq(lut_bank),
                lane.use_lut.eq(use_lut),
                low_in.bytes[index].eq(lane.acc), highs[index][0].bytes.eq(lane.acc >> 8),
                lane.low.eq(low.bytes[index]),
                lane.raw.eq(raw),
                lane.drop.eq(drop[index]),
                lane.lut_write.en.eq(lut_en),
                Cat(lane.lut_write.addr, lane.lut_write.bank).eq(lut_write),
                lane.lut_write.data.eq(lut_data),
                self.o.p.values[index].eq(Cat(lane.byte, highs[index][1].bytes)),
            ]
        return m
