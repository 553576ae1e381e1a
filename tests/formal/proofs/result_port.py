"""The end of the result stream: nothing offered is taken back, nothing is lost but by a stop.

:class:`ResultPack` in front of it is cut free, within what ``result_pack`` proves of it.
"""
from unittest.mock import patch

from amaranth.hdl import Array, Cat, Module, Mux, Signal
from amaranth.lib import wiring

from sparseloom.hw import result_port
from sparseloom.hw.result_port import ResultPack, ResultPort
from tests.formal.parts import Assert, Assume, Cover, Opened, free, implies, keeps_rules, past
from tests.formal.proof import Bug, Proof

BUS_BITS = 8
LANES = 1


class AnyPack(wiring.Component):
    """The ports of :class:`ResultPack`, and nothing behind them."""

    STILL_COME = ResultPack.STILL_COME

    def __init__(self, **parameters):
        super().__init__(dict(ResultPack(**parameters).signature.members.items()))

    def elaborate(self, platform):
        m = Module()
        m.d.comb += [self.o.valid.eq(free(m, name="valid")),
                     self.o.p.data.eq(free(m, BUS_BITS, name="data")),
                     self.o.p.keep.eq(free(m, name="keep")),
                     self.o.p.last.eq(free(m, name="last"))]
        return m


def design():
    m = Module()
    dut = ResultPort(lanes=LANES, bus_bits=BUS_BITS, room_words=4)
    with patch.object(result_port, "ResultPack", AnyPack):
        opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside = opened[dut]
    pack, closes, closing = inside.pack, inside.closes, inside.closing
    for name in ("flush", "halt", "close"):
        m.d.comb += getattr(dut, name).eq(free(m, name=name))
    m.d.comb += [dut.close_cause.eq(free(m, 8, name="cause")),
                 dut.o.ready.eq(free(m, name="ready"))]

    # What the parts around it keep to.
    comes, room = pack.o.valid, pack.room
    may_come = Signal(range(ResultPack.STILL_COME + 1), init=ResultPack.STILL_COME)
    job_ended, pause = Signal(), Signal(range(3))      # its last beat came; cycles until the next
    with m.If(room | dut.flush):
        m.d.sync += may_come.eq(ResultPack.STILL_COME)
    with m.Elif(comes):
        m.d.sync += may_come.eq(may_come - 1)
    with m.If(dut.flush):
        m.d.sync += job_ended.eq(0)
    with m.Elif(comes & pack.o.p.last):
        m.d.sync += job_ended.eq(1)
    with m.Elif(pack.ended):
        m.d.sync += job_ended.eq(0)
    with m.If(pack.ended):
        m.d.sync += pause.eq(2)
    with m.Elif(pause != 0):
        m.d.sync += pause.eq(pause - 1)
    stopping = Signal()
    m.d.sync += stopping.eq((stopping | dut.close) & ~dut.flush)
    m.d.comb += [
        Assume(implies(comes, room | (may_come != 0))),
        Assume(implies(comes, ~job_ended & (pause == 0))),
        Assume(implies(dut.close, dut.halt & ~closes & ~dut.flush)),
        Assume(implies(stopping, ~dut.close & (dut.halt | dut.flush))),
    ]

    # Beats that came and did not leave; a stop leaves the offered one alone.
    shape = 2 + BUS_BITS
    places = ResultPort.BEATS
    beats = [Signal(shape, name=f"beat_{at}") for at in range(places)]
    count, after = Signal(range(places + 1)), Signal(range(places + 1))
    beat = Cat(pack.o.p.data, pack.o.p.keep, pack.o.p.last)
    is_beat = dut.o.valid & ~closing
    leaves = is_beat & dut.o.ready
    goes_on = ~dut.halt & ~dut.flush & ~closes
    m.d.comb += after.eq(Mux(goes_on, count, is_beat) - leaves)
    for at, word in enumerate(beats):
        m.d.sync += word.eq(Mux(comes & goes_on & (after == at), beat,
                                Mux(leaves, beats[at + 1] if at + 1 < places else 0, word)))
    m.d.sync += count.eq(after + (comes & goes_on))
    came = past(m, comes & goes_on & (after == 0), name="came")

    keeps_rules(m, dut.o, name="o")
    told, cause, was_last = Signal(), Signal(8), Signal()
    with m.If(dut.close):
        m.d.sync += [told.eq(1), cause.eq(dut.close_cause)]
    with m.Elif(closing & dut.o.ready):
        m.d.sync += told.eq(0)
    m.d.sync += was_last.eq(is_beat & dut.o.p.last & ~dut.o.ready)
    apart = Signal(range(ResultPort.OFFERED_APART))
    with m.If(dut.offered):
        m.d.sync += apart.eq(ResultPort.OFFERED_APART - 1)
    with m.Elif(apart != 0):
        m.d.sync += apart.eq(apart - 1)
    m.d.comb += [
        Assert(implies(is_beat, (count != 0) & (Cat(dut.o.p.data, dut.o.p.keep, dut.o.p.last)
                                                == beats[0])
                       & ~dut.o.p.user), "in order, unchanged"),
        Assert(implies((count != 0) & ~is_beat, came), "what is there is offered a cycle later"),
        Assert(~(comes & goes_on & (after == places)), "no overflow"),
        Assert(implies(closing, dut.o.valid & dut.o.p.user & dut.o.p.last & (dut.o.p.keep == 1)
                       & (dut.o.p.data == cause)), "a close ends with its cause"),
        Assert(closes == told, "one closing byte for each close"),
        Assert(dut.offered == (is_beat & dut.o.p.last & ~was_last)),
        Assert(implies(dut.offered, apart == 0), "two jobs' ends are apart"),
        Assert(dut.finished == (leaves & dut.o.p.last)),
        Assert(dut.idle == (~dut.o.valid & ~told)),
    ]

    # What holds between the cycles.
    behind, read, write = inside.behind, inside.read.addr, inside.write.addr
    memory = inside.beats.words
    waiting_last = [beats[at][-1] & (count > at) for at in range(places)]
    m.d.comb += [
        Assert(implies(closing, closes & dut.o.valid & inside.head_last)),
        Assert(implies(told, inside.cause == cause)),
        Assert(implies(closes, (behind == 0) & (count == is_beat))),
        Assert(count == behind + is_beat),
        Assert(implies(came, (count == 1) & ~is_beat & ~closing)),
        Assert(inside.any_behind == (behind != 0)), Assert(inside.one_behind == (behind == 1)),
        Assert(implies(~closes, write == (read + count)[:len(write)])),
        Assert(behind <= places // 2 + ResultPack.STILL_COME),
        Assert(may_come <= ResultPack.STILL_COME),
        Assert(implies(behind >= places // 2, may_come <= places // 2 + ResultPack.STILL_COME
                       - behind)),
        Assert(inside.last_waits == (Cat(waiting_last[1:]).any()
                                     | (waiting_last[0] & ~is_beat))),
        Assert(implies(Cat(waiting_last).any() & ~dut.offered & ~is_beat, job_ended)),
        Assert(implies(inside.last_waits & goes_on, job_ended)),
        Assert(implies(dut.offered, (behind == 0) & job_ended)),
        Assert(apart < ResultPort.OFFERED_APART), Assert(implies(apart >= 2, behind == 0)),
        Assert(implies(apart >= 3, pause == apart - 2)),
        *(Assert(implies(waiting_last[at], count == at + 1)) for at in range(1, places)),
        Assert(implies(is_beat & waiting_last[0] & ~was_last, dut.offered)),
    ]
    for at in range(places):
        stored = Array(memory)[(read + at)[:len(read)]]
        m.d.comb += Assert(implies(count > at, stored == beats[at][:-1]))
    stopped_full, ended_one = Signal(), Signal()
    with m.If(dut.close & (count > 3)):
        m.d.sync += stopped_full.eq(1)
    with m.If(dut.finished):
        m.d.sync += ended_one.eq(1)
    m.d.comb += [Cover(stopped_full & closing & dut.o.ready),
                 Cover(ended_one & dut.finished), Cover(behind == places // 2 + 2)]
    return m


PROOFS = [Proof(
    name="result_port",
    claim="Stream rules at the output whatever stops the unit; beats leave once, in order, "
          "unchanged; the queue of 8 beats never overflows; a close drops what was not offered and "
          "ends with one byte, its cause, TLAST and TUSER; offered and finished are told once for "
          "each job, two ends at least OFFERED_APART cycles apart.",
    at=f"beats of {BUS_BITS} bits",
    given="Beats come as ResultPack gives them (proof result_pack): STILL_COME after room falls, "
          "the next job's 3 cycles behind the end of the one before. A close comes with halt, "
          "which stays until flush, and not before the byte of an earlier one was taken.",
    design=design, depth=3, cover_depth=16,
    bugs=(
        Bug(what="a stop takes back the offered beat", file="result_port.py",
            old="with m.If(free):", new="with m.If(free | self.flush):"),
        Bug(what="room is told one beat too long", file="result_port.py",
            old="pack.room.eq(~behind[-1])", new="pack.room.eq(~(behind[-1] & behind[1]))"),
        Bug(what="a beat that comes while the last one leaves is lost", file="result_port.py",
            old="with m.If(comes & ~moves):",
            new="with m.If(comes & ~moves & ~leaves):"),
    ))]
