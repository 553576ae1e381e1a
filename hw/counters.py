"""Counts what the unit spends its cycles on."""
from amaranth.hdl import Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In

from sparseloom.hw.axi_lite import bank_signature
from sparseloom.hw.memory import inferred_memory
from sparseloom.hw.registers import COUNTERS, DATA_BITS
from sparseloom.hw.tile_walk import Cause


class Counters(wiring.Component):
    """Busy cycles, and their split by cause; the parts always add up to ``busy``.

    What happened lately is counted for each counter by itself; the totals are in a memory, and
    their turns come round, in which one adder brings them up to date.

    Parameters
    ----------
    width : int
        Bits of a counter.
    target : str
        ``ecp5`` keeps the totals in look-up tables.

    Members
    -------
    count : In(1)
        This cycle is a busy one.
    cause : In(Cause)
    clear : In(1)
        All to zero; wins over ``count``.
    bank : In(bank_signature(len(COUNTERS)))
        Reads a counter, in the order of the register table; they wrap. The value is that of
        ``LATENCY`` cycles before it is ``there``, at most ``len(COUNTERS) + 3`` cycles after
        ``read``.
    """

    LATENCY = 6
    """Cycles from a cycle that counts to the earliest value that shows it."""

    def __init__(self, *, width: int = DATA_BITS, target: str = "generic"):
        self.width, self.target = width, target
        super().__init__({
            "count": In(1), "cause": In(Cause), "clear": In(1),
            "bank": In(bank_signature(len(COUNTERS))),
        })

    def elaborate(self, platform):
        m = Module()
        turns = len(COUNTERS)
        bank = self.bank
        # Registered, so that no stage's decision waits for a counter. Reset clears as well,
        # through the register.
        count, cause, clear, clear_q = Signal(), Signal(Cause), Signal(init=1), Signal(init=1)
        m.d.sync += [count.eq(self.count), cause.eq(self.cause), clear.eq(self.clear),
                     clear_q.eq(clear)]

        # Whose turn it is, as a number and one hot.
        turn, at = Signal(range(turns)), Signal(turns, init=1)
        next_turn = Signal(range(turns), init=1)
        m.d.sync += [turn.eq(next_turn), at.eq(at.rotate_left(1)),
                     next_turn.eq(Mux(at[-2], 0, next_turn + 1))]
        latest: Value = Const(0)        # since the counter's turn before
        for index, name in enumerate(COUNTERS):
            step = Signal(name=f"{name}_step")
            recent = Signal(range(turns + 1), name=f"{name}_recent")
            m.d.sync += [
                step.eq(count if name == "BUSY" else count & (cause == Cause[name])),
                recent.eq(Mux(at[index], Const(0, len(recent)), recent) + step),
            ]
            with m.If(clear_q):
                m.d.sync += recent.eq(0)
            latest = latest | (recent & at[index].replicate(len(recent)))

        # From a clear on, each total is forgotten in its next turn.
        to_forget, forget = Signal(range(turns + 1), init=turns), Signal(init=1)
        with m.If(clear_q):
            m.d.sync += [to_forget.eq(turns), forget.eq(1)]
        with m.Elif(forget):
            m.d.sync += [to_forget.eq(to_forget - 1), forget.eq(to_forget != 1)]

        # The upper half of a total has its turn a cycle after the lower one.
        more = Signal(range(turns + 1))
        m.d.sync += more.eq(latest)
        # A hit is known a cycle ahead: its turn's is the total that is up to date in its cycle.
        wanted, its_turn, hit = Signal(), Signal(), Signal()
        m.d.sync += [its_turn.eq(next_turn == bank.index), hit.eq(wanted & its_turn & ~hit)]
        with m.If(hit):
            m.d.sync += wanted.eq(0)
        with m.If(bank.read):
            m.d.sync += wanted.eq(1)
        value = Signal(self.width, reset_less=True)
        m.d.comb += bank.value.eq(value)
        low = max(self.width // 2, len(more))
        for name, bits in (("low", slice(0, low)), ("high", slice(low, self.width))):
            size = bits.stop - bits.start
            memory = inferred_memory(shape=size, depth=turns, distributed=self.target == "ecp5")
            m.submodules[f"totals_{name}"] = memory
            read, write = memory.read_port(domain="comb"), memory.write_port()
            total = Signal(size, name=f"total_{name}")
            result = Signal(size + (name == "low"), name=f"sum_{name}")
            turn_q, hit_q = Signal.like(turn, name=f"turn_{name}"), Signal(name=f"hit_{name}")
            m.d.comb += [read.addr.eq(turn), result.eq(total + more),
                         write.addr.eq(turn_q), write.data.eq(result), write.en.eq(1)]
            m.d.sync += [turn_q.eq(turn), hit_q.eq(hit), total.eq(read.data)]
            with m.If(forget):
                m.d.sync += total.eq(0)
            with m.If(hit):
                m.d.sync += value[bits].eq(result)
            hit, turn = hit_q, turn_q
            if name == "low":
                carry, forget_q = Signal(), Signal()
                m.d.sync += [carry.eq(result[-1]), forget_q.eq(forget)]
                forget, more = forget_q, carry
        m.d.comb += bank.there.eq(hit)
        return m
