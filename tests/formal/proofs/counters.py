"""Counters: each is the number of its cycles, and the causes add up to busy."""
from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal

from sparseloom.hw.counters import Counters
from sparseloom.hw.registers import COUNTERS
from sparseloom.hw.tile_walk import Cause
from tests.formal.memory import RegisterMemory
from tests.formal.parts import Assert, Assume, Cover, Opened, free, implies, past
from tests.formal.proof import Bug, Proof

WIDTH = 6
MOST_WAIT = len(COUNTERS) + 3
"""Cycles from a read to its answer at most, as documented."""


def design():
    m = Module()
    dut = Counters(width=WIDTH)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    turns, bank = len(COUNTERS), dut.bank
    m.d.comb += [dut.count.eq(free(m, name="count")),
                 Cat(dut.cause).eq(free(m, 3, name="cause")), Assume(dut.cause.as_value() <= 4),
                 dut.clear.eq(free(m, name="clear")), bank.read.eq(free(m, name="read")),
                 bank.index.eq(free(m, bank.index.shape(), name="index"))]

    # The host: one read at a time, whose index stays.
    asked, waited = Signal(), Signal(range(MOST_WAIT + 2))
    index_before = past(m, bank.index, name="index_before")
    with m.If(bank.read):
        m.d.sync += [asked.eq(1), waited.eq(1)]
    with m.Elif(asked):
        m.d.sync += waited.eq(waited + 1)
        with m.If(bank.there):
            m.d.sync += asked.eq(0)
    m.d.comb += [Assume(~(bank.read & asked)), Assume(bank.index < turns),
                 Assume(implies(asked, bank.index == index_before))]

    # Cycles counted, up to three before this one.
    count, cause = dut.count, dut.cause.as_value()
    clear = dut.clear
    for stage in range(2):
        count, cause = (past(m, count, name=f"count_q{stage}"),
                        past(m, cause, name=f"cause_q{stage}"))
        later = Signal(name=f"clear_q{stage}", init=1)
        m.d.sync += later.eq(clear)
        clear = later
    true = []
    for name in COUNTERS:
        number = Signal(WIDTH, name=f"true_{name.lower()}")
        step = count if name == "BUSY" else count & (cause == Cause[name].value)
        m.d.sync += number.eq(Mux(clear, 0, number + step))
        true.append(number)
    m.d.comb += Assert(true[0] == sum(true[1:], Const(0, 1))[:WIDTH], "causes add up to busy")

    answers = [Array(true)[bank.index]]
    for stage in range(Counters.LATENCY - 3):
        answers.append(past(m, answers[-1], name=f"answer_{stage}"))
    m.d.comb += [
        Assert(implies(bank.there, bank.value == answers[-1]), "as of LATENCY cycles before"),
        Assert(implies(bank.there, asked), "an answer for a question"),
        Assert(implies(asked, waited <= MOST_WAIT), "soon"),
    ]

    # What holds between the cycles: where each count lies.
    low, high = opened.all_of(RegisterMemory)
    turn_low, turn_high = opened.signal("turn_low"), opened.signal("turn_high")
    sum_low, sum_high = opened.signal("sum_low"), opened.signal("sum_high")
    turn, at, next_turn = low.reads[0].addr, inside.at, inside.next_turn
    to_forget = inside.to_forget
    forget, forget_high = opened.signal("forget"), opened.signal("forget_q")
    low_bits = len(low.words[0])

    def after(number):
        return Mux(number == turns - 1, 0, number + 1)[:3]

    m.d.comb += [
        Assert(turn < turns), Assert(next_turn == after(turn)), Assert(at == (1 << turn)[:turns]),
        Assert(turn_low < turns), Assert(turn_high < turns),
        Assert(forget == (to_forget != 0)), Assert(to_forget <= turns),
        Assert(inside.count == past(m, dut.count, name="count_reg")),
    ]
    hit, hit_low, wanted = opened.signal("hit"), opened.signal("hit_low"), inside.wanted
    away = (bank.index + turns - turn)[:4]
    m.d.comb += [
        Assert(asked == (wanted | hit | hit_low | bank.there)),
        Assert((wanted & ~hit) + hit + hit_low + bank.there <= 1), Assert(implies(hit, wanted)),
        Assert(implies(hit, turn_low == bank.index)),
        Assert(implies(asked, inside.its_turn == (turn == bank.index))),
        Assert(implies(wanted & ~hit, waited + Mux(away >= turns, away - turns, away) <= turns)),
        Assert(implies(hit, waited <= MOST_WAIT - 2)),
        # The answer on its way: lower half read, upper half read, both in the register.
        Assert(implies(hit, ((Mux(forget_high, 0, Array(high.words)[bank.index]) << low_bits)
                             + sum_low)[:WIDTH] == answers[1])),
        Assert(implies(hit_low, Cat(bank.value[:low_bits], sum_high) == answers[2])),
        Assert(implies(hit_low, turn_high == bank.index)),
        Assert(implies(hit_low, waited <= MOST_WAIT - 1)),
    ]
    aged = Signal(range(4))        # since a reset: what is on its way before is nobody's
    with m.If(aged != 3):
        m.d.sync += aged.eq(aged + 1)
    m.d.comb += [Assert(implies(aged >= 1, turn == after(turn_low))),
                 Assert(implies(aged >= 2, turn_low == after(turn_high))),
                 Assert(implies(aged < 3, to_forget >= turns - aged))]
    for number, name in enumerate(COUNTERS):
        recent = opened.signal(f"{name}_recent")
        ahead = (number + turns - turn)[:4]
        stale = Mux(ahead >= turns, ahead - turns, ahead) < to_forget
        base = Signal(WIDTH, name=f"base_{number}")
        with m.If(stale):
            m.d.comb += base.eq(0)
        with m.Elif(turn_low == number):
            m.d.comb += base.eq((Mux(forget_high, 0, high.words[number]) << low_bits) + sum_low)
        with m.Elif(turn_high == number):
            m.d.comb += base.eq(Cat(low.words[number], sum_high))
        with m.Else():
            m.d.comb += base.eq(Cat(low.words[number], high.words[number]))
        m.d.comb += [Assert(true[number] == (base + recent)[:WIDTH]), Assert(recent <= turns)]
        passed = Mux(turn >= number, turn - number, turn + turns - number)[:3]
        m.d.comb += Assert(recent <= Mux(passed == 0, turns, passed))
    wide, cleared = Signal(), Signal()
    with m.If(dut.clear):
        m.d.sync += cleared.eq(1)
    with m.If(bank.there & (bank.value == 3)):
        m.d.sync += wide.eq(1)
    m.d.comb += [Cover(wide & cleared & bank.there & (bank.value == 1)),
                 Cover(bank.there & (bank.index == 2) & (bank.value == 17))]
    return m


PROOFS = [Proof(
    name="counters",
    claim="A counter that is read is the number of cycles that it counted since the last clear, "
          "as of LATENCY cycles before, and is answered in time; the five causes add up to busy, "
          "in every cycle.",
    at=f"counters of {WIDTH} bits",
    given="One read at a time, whose index stays until the answer.",
    design=design, depth=3, cover_depth=36,
    bugs=(
        Bug(what="a cycle that counts in the counter's turn is lost", file="counters.py",
            old="recent.eq(Mux(at[index], Const(0, len(recent)), recent) + step)",
            new="recent.eq(Mux(at[index], Const(0, len(recent)), recent + step))"),
        Bug(what="a clear forgets all totals but one", file="counters.py",
            old="m.d.sync += [to_forget.eq(turns), forget.eq(1)]",
            new="m.d.sync += [to_forget.eq(turns - 1), forget.eq(1)]"),
    ))]
