"""What holds between the cycles of the unit's parts, and how soon the next step comes."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetInserter, Signal, Value
from amaranth.lib import data

from sparseloom.hw.job_queue import STAGES
from sparseloom.hw.postprocess import PostLane, PostProcess
from tests.formal.parts import Assert, Opened, implies, ones, past, times

NEVER = 63
TAKE = 2
WORD = 2 * TAKE + 1
TILE = 4 + 2 * (WORD + 1)
"""Weights of what is left: a word to take, a word, a tile."""


def total(values: Iterable[Any]) -> Value:
    """A sum that loses nothing."""
    return sum(values, Const(0, 1))


def nearest(m: Module, bounds: Iterable[tuple[Any, Any]], *, name: str) -> Value:
    """The least of the cycles whose condition holds, or ``NEVER``."""
    least: Value = Const(NEVER, 6)
    for at, (holds, cycles) in enumerate(bounds):
        this, after = Signal(6, name=f"{name}_{at}"), Signal(6, name=f"{name}_least_{at}")
        m.d.comb += [this.eq(Mux(Value.cast(holds).bool(), cycles, NEVER)),
                     after.eq(Mux(this < least, this, least))]
        least = after
    return least


def strips(outputs: Any) -> Value:
    """Strips of a job, or of what is left of it."""
    low = Value.cast(outputs)[:3]
    return Mux(low <= 2, 1, (low + 1) >> 1)


class Between:
    """The unit, opened: what holds between its cycles, its steps and the work that is left.

    At two places for jobs, jobs of up to seven outputs, strips of up to four columns. What the
    parts hold is counted from one to the next: jobs, strips, halves, words and jobs' last words.

    Parameters
    ----------
    m : Module
        Gets the statements.
    dut : Unit
    opened : Opened
        Of the unit.
    raw : Value
        Whether all jobs are raw; none is otherwise.
    said : callable
        What becomes of a statement: ``Assert``, ``Assume``, or nothing.
    """

    def __init__(self, m: Module, dut: Any, opened: Opened, raw: Any,
                 said: Callable[[Any], Any] = Assert):
        self.opened, self.unit, self.raw = opened, opened[dut], raw
        self.config = dut.config
        self.ghosts = Module()      # forget with the parts they are about
        m.submodules.ghosts = ResetInserter(self.unit.flush_q)(self.ghosts)
        self.m = m
        self.said = said
        self.stops()
        self.queue()
        self.loaders()
        self.walk()
        self.issue()
        self.drain()
        self.post()
        self.pack()
        self.port()
        self.related()

    def holds(self, name: str, *claims: Any) -> None:
        """State what holds; by name and number it is found in a trace."""
        for number, claim in enumerate(claims):
            said = Signal(name=f"claim_{name.replace(' ', '_')}_{number}")
            self.m.d.comb += [said.eq(claim), self.said(said)]

    def register(self, name: str) -> Signal:
        """The output of one of the unit's registers of its own."""
        return self.unit.m._named_submodules[name][0].o

    def part(self, name: str) -> SimpleNamespace:
        """The inside of one of the unit's parts."""
        return self.opened[getattr(self.unit, name)]

    def before(self, value: Any, name: str) -> Signal:
        """The value of a cycle before, forgotten with the parts."""
        return past(self.ghosts, value, name=name)

    def stops(self) -> None:
        """When the unit runs, and what a stop leaves."""
        unit, fault, inside = self.unit, self.unit.fault, self.part("fault")
        port = self.part("result_port")
        self.flushed = Signal(init=1)
        self.m.d.sync += self.flushed.eq(unit.flush_q)
        self.sound = ~fault.halt | self.flushed
        settled = inside.settled
        names = list(unit.m._named_submodules)
        self.holds(
            "stops",
            *(self.register(name) == 0 for name in names
              if name in ("dead", "fresh") or str(name).startswith("reset_")),
            *(self.register(name) == unit.flush_q for name in names
              if str(name).startswith("flush_")),
            fault.run + fault.stopped + fault.clearing == Const(1, 2),
            implies(~fault.halt, fault.run),
            implies(fault.halt, ~fault.run | inside.is_found | inside.clear_q | self.flushed),
            (settled == 0) | (settled == 1) | (settled == 3) | (settled == 7),
            implies(settled[0], unit.flush), implies(settled[1], unit.flush_q),
            implies(settled[2], self.flushed),
            implies(fault.run, ~port.closes), implies(fault.run, ~fault.close | fault.halt),
            implies(port.closing, port.closes), implies(fault.close, settled == 0),
            implies(fault.close, ~fault.run),
            implies(inside.quiet & port.closes, ~settled[1]),
            implies(unit.flush & ~fault.run, unit.dropping | ~unit.flush_q),
            implies(unit.flush | unit.flush_q, fault.halt | unit.dropping),
        )

    def queue(self) -> None:
        """Jobs in the queue, held beside it, and the stages' own."""
        q, dut = self.part("queue"), self.unit.queue
        depth = dut.depth
        assert depth == 2
        g, job = self.ghosts, dut.descriptor
        said = Signal(3, name="said_outputs")
        with g.If(q.taken):
            g.d.sync += said.eq(job.outputs)
        retires = q.leaving["retire"]
        words = [Signal(3, name=f"held_{at}") for at in range(depth)]
        count, after = Signal(range(depth + 1), name="held_count"), Signal(range(depth + 1))
        self.m.d.comb += after.eq(count - retires)
        for at, word in enumerate(words):
            moved = words[at + 1] if at + 1 < depth else Const(0, 3)
            g.d.sync += word.eq(Mux(q.accept & (after == at), said, Mux(retires, moved, word)))
        g.d.sync += count.eq(after + q.accept)
        numbers = [Signal(4, name=f"held_groups_{at}") for at in range(depth)]
        for at, number in enumerate(numbers):
            moved = numbers[at + 1] if at + 1 < depth else Const(0, 4)
            g.d.sync += number.eq(Mux(q.accept & (after == at), q.groups,
                                      Mux(retires, moved, number)))
        self.held, self.words, self.numbers = count, words, numbers
        left = {name: q.leaving[name] if name != "retire" else Const(0, 1) for name in STAGES}
        self.due = {name: (q.waiting[name] - left[name])[:2] for name in STAGES}
        self.shown = {name: getattr(dut, name).valid for name in STAGES}
        self.leaving = left
        was_taken = self.before(q.taken, "was_taken")
        kept = self.opened.signal("kept_outputs")
        index = {name: self.opened.signal(f"{name}_index") for name in STAGES}
        judged, phases = q.judged, q.first + q.counting + total(q.judged)
        self.holds(
            "queue",
            phases == q.checking, q.first == was_taken, implies(q.accept, judged[-1]),
            implies(q.first, (said == kept) & self.opened.signal("pushed")),
            implies(q.first | q.counting | judged.any(), q.checking),
            implies(q.checking & q.first, q.some_outputs.any() == (said != 0)),
            implies(q.checking, q.some_outputs.any() == (said != 0)),
            implies(q.counting | judged.any(), q.unfit[1] == (said == 0)),
            implies(judged.any(), implies(said == 0, q.unusable)),
            implies(q.accept, said != 0),
            implies(q.first, (q.groups == 0) & (q.beyond >= 0) & (q.beyond <= 7)),
            implies(q.counting, (q.beyond >= -3) & (q.beyond + (q.groups << 1) <= 4)
                    & (q.groups <= 3)),
            implies(judged.any(), (q.groups >= 1) & (q.groups <= 4)),
            *(implies(count > at, (number >= 1) & (number <= 4))
              for at, number in enumerate(numbers)),
            *(implies(count > at, word != 0) for at, word in enumerate(words)),
            count <= depth, q.waiting["retire"] == count, implies(retires, count != 0),
            q.free + count + q.retired == depth,
            implies(q.opens, ~q.checking & (count + q.retired < depth)),
            count + q.retired + q.checking <= depth,
            implies(self.flushed, (count == 0) & ~q.checking & q.opens),
        )
        for name in STAGES:
            waits = q.waiting[name]
            self.holds(
                f"queue {name}",
                waits <= depth, implies(left[name], waits != 0), waits - left[name] <= count,
                index[name] + waits[0] == q.head + ((index[name] & waits[0]) << 1),
                implies(self.shown[name], (waits != 0) & ~left[name]),
            )
        self.front = {name: self._front(name, words) for name in ("weights", "issue")}
        self.groups = self._front("issue", numbers)
        self._stored("weights", "sizes", "outputs", words, said)
        self._stored("issue", "sizes", "outputs", words, said)
        self._stored("issue", "rest", "raw", [self.raw] * depth, self.raw)
        self._stored("issue", "checked", "groups", numbers)

    def _front(self, name: str, held: list[Any]) -> Value:
        """What is held of the job at the front of a stage; its jobs are the last ones of all."""
        return Array(held)[(self.held - self.due[name])[0]]

    def _stored(self, name: str, part: str, field: str, held: list[Any], said: Any = None) -> None:
        """A field lies in a stage's memory as it is held, and so is shown."""
        q, dut = self.part("queue"), self.unit.queue
        registers, count = q.m._named_submodules, self.held
        memory = registers[f"{name}_{part}"][0]
        stored = [data.View(memory._shape, word)[field] for word in memory.words]
        index = {stage: self.opened.signal(f"{stage}_index") for stage in (name, "retire")}
        claims = [
            implies(~self.flushed, registers[f"{name}_{part}_head"][0].o == q.head),
            implies(~self.flushed, registers[f"{name}_{part}_index"][0].o == index[name]),
            implies(self.shown[name], getattr(dut, name).job[field] == self._front(name, held)),
            *(implies((number < count) & (number + self.due[name] >= count),
                      Array(stored)[(index["retire"] + number)[:1]] == value)
              for number, value in enumerate(held)),
        ]
        if said is None:
            claims += [implies(~self.flushed, registers[f"{name}_{part}_accept"][0].o == q.accept),
                       implies(q.accept, ~self.flushed)]
        else:
            opens = registers[f"{name}_{part}_opens"][0].o
            claims += [implies(opens & ~self.flushed, count + q.retired < dut.depth),
                       implies(q.first, opens), implies(q.checking & ~q.first, ~opens),
                       implies(q.checking & ~q.first, Array(stored)[q.head] == said)]
        self.holds(f"queue {name} {part}", *claims)

    def to_come(self, name: str, begun: Any, left: Any) -> Value:
        """Strips that a stage has not done."""
        first = Mux(begun, strips(left), strips(self.front[name]))
        return (Mux(self.due[name] != 0, first, 0)
                + Mux(self.due[name] == 2, strips(self.words[1]), 0))

    def loaders(self) -> None:
        """Strips and halves that are there, and those to load."""
        strip, acts = self.unit.strip_loader, self.unit.act_loader
        for name, loader in (("strips", strip), ("acts", acts)):
            there = loader.waiting + loader.told
            self.holds(f"loaders {name}", loader.loaded <= 2, there <= loader.loaded)
        self.strips_to_load = self.to_come("weights", strip.begun, strip.left)
        length = Mux(strip.oldest, *reversed(strip.lengths))
        self.length = length
        self.holds(
            "loaders",
            implies(strip.begun, self.shown["weights"]),
            implies(strip.begun, (strip.left != 0) & (strip.left + 2 <= self.front["weights"])),
            strip.last == strip.oldest ^ (strip.waiting + strip.told)[0],
            implies(strip.waiting + strip.told != 0, (length >= 1) & (length <= 4)),
            implies(strip.waiting + strip.told == 2, Cat(
                (one >= 1) & (one <= 4) for one in strip.lengths).all()),
        )

    def walk(self) -> None:
        """Tiles: what they are made of is right when they are taken."""
        w, unit = self.part("walk"), self.unit
        self.w, o = w, unit.walk.o
        tile = o.payload
        self.took = self.before(w.take, "took")
        self.took_2 = self.before(self.took, "took_2")
        self.was_begun = self.before(w.begun, "was_begun")
        strip = unit.strip_loader
        ready = strip.waiting != 0
        self.strips_to_walk = self.to_come("issue", w.begun, w.outputs_left)
        spacing = unit.walk.spacing
        length = self.length
        self.holds(
            "walk",
            implies(w.looks, ~w.take), implies(w.take, ~o.valid & w.begun),
            implies(w.looks, w.begun | self.took),
            implies(w.begun, self.shown["issue"]),
            implies(w.take, strip.waiting != 0), implies(w.take, unit.act_loader.waiting != 0),
            implies(w.end_strip, w.take), implies(w.end_job, w.end_strip),
            implies(w.end_strip, w.end_job == w.last_strip),
            implies(w.looks & w.begun, self.was_begun),
            implies(~w.begun, w.restart),
            implies(w.begun & w.restart, ~self.was_begun | w.end_strip),
            implies(w.begun & ~self.was_begun, w.restart & (w.groups_left == self.groups)),
            implies(w.begun & self.was_begun & ~self.took,
                    w.last_group == (w.groups_left == 1)),
            implies(w.take, w.end_strip == w.last_group), implies(w.end_strip, w.restart),
            implies(w.begun, (w.groups_left >= 1) & (w.groups_left <= self.groups)),
            implies(w.take, self.was_begun),
            implies(self.took, o.valid), implies(self.took_2, o.valid),
            implies(w.begun, (w.outputs_left != 0) & (w.outputs_left <= self.front["issue"])),
            implies(w.begun & self.was_begun & ~self.took,
                    w.last_strip == (w.outputs_left <= 2)),
            implies(ready & ~self.took, w.length == length),
            implies(w.take, (w.channels == Mux(w.outputs_left <= 2, w.outputs_left, 2))),
            implies(w.take, w.words == w.channels),
            implies(w.take, (w.single == (w.length == 1))
                    & (w.near == (w.length >= spacing - 1)) & (w.long == (w.length >= spacing))),
        )
        began = self.before(o.valid & o.ready, "began")
        self.began = began
        self.holds("tile", *(implies(o.valid | began, claim) for claim in (
            (tile.columns >= 1) & (tile.columns <= 4),
            (tile.words >= 1) & (tile.words <= 2), tile.words == tile.tile.channels,
            (tile.single == (tile.columns == 1)) & (tile.near == (tile.columns >= spacing - 1))
            & (tile.long == (tile.columns >= spacing)),
            tile.tile.raw == self.raw)), ~(began & (w.take | o.valid)))

    def issue(self) -> None:
        """As the proof of that name states it."""
        i, dut, g = self.part("issue"), self.unit.issue, self.ghosts
        self.i = i
        offer, payload = dut.i.payload, Value.cast(dut.i.payload)
        begin = dut.i.valid & dut.i.ready
        spacing = dut.spacing
        began = self.began
        left = Signal(range(self.config.max_k + 1), name="columns_left")
        tile = Signal(payload.shape(), name="tile_begun")
        view = data.View(offer.shape(), tile)
        since = Signal(range(spacing + 1), init=spacing, name="since_end")
        with g.If(begin):
            g.d.sync += [left.eq(offer.columns), tile.eq(payload)]
        with g.Elif(left != 0):
            g.d.sync += left.eq(left - 1)
        with g.If(dut.last):
            g.d.sync += since.eq(1)
        with g.Elif(since != spacing):
            g.d.sync += since.eq(since + 1)
        offered = self.before(dut.i.valid & ~begin, "was_offered")
        self.columns, self.view, self.since = left, view, since
        behind = i.behind
        self.holds(
            "issue",
            implies(begin, left <= 1), dut.first == began, dut.last == (left == 1),
            i.idle == (left == 0), left <= 4,
            implies((left != 0) & ~dut.first, i.left == left),
            implies(offered, i.two == (offer.columns == 2)),
            implies(dut.first, i.two == (view.columns == 2)),
            implies(left != 0, (view.columns >= 1) & (view.columns <= 4)),
            implies(left != 0, (view.words == view.tile.channels) & (view.words >= 1)
                    & (view.words <= 2) & (view.tile.raw == self.raw)),
            implies(dut.first, left == view.columns),
            *(implies(began, a == b) for a, b in (
                (offer.columns, view.columns), (offer.words, view.words),
                (offer.strip_end, view.strip_end), (offer.tile.channels, view.tile.channels),
                (offer.tile.raw, view.tile.raw), (offer.tile.last, view.tile.last))),
            i.least == Mux(since >= spacing - 1, 0, spacing - 1 - since),
            since >= 1, since <= spacing,
            implies(left != 0, left + since > spacing),
            i.there == offered, implies(i.may, offered), implies(offered, dut.i.valid),
            implies(dut.first, i.left_over + view.words + 1 == i.room),
            implies(i.may, i.room > offer.words), i.room != 0,
            implies(dut.first, i.room > view.words), implies(dut.first, i.left_over >= 0),
            implies(offered, i.late == (offer.columns + since >= spacing)),
            implies(offered, ~dut.first),
            i.not_returned == ~i.returned,
            *(implies(~self.flushed, one == dut.first) for one in i.begun.values()),
            implies(self.flushed, left == 0),
            dut.tile_end == (since == 1),
            *(implies((left != 0) & ~dut.first, a == b) for a, b in (
                (behind.strip_end, view.strip_end),
                (behind.tile.channels, view.tile.channels),
                (behind.tile.raw, view.tile.raw), (behind.tile.last, view.tile.last))),
            implies(dut.tile_end, (behind.tile.channels >= 1) & (behind.tile.channels <= 2)
                    & (behind.tile.raw == self.raw)),
            implies(self.took, ~i.may), implies(dut.first, left != 0),
        )
        self.chains = {name: [self.opened.signal(f"{name}_release_{stage}")
                              for stage in range(dut.BEHIND, dut.release_delay)]
                       for name in ("strip", "acts")}

    def drain(self) -> None:
        """Tiles that wait, apart, and the one that is read."""
        d, dut, g = self.part("drain"), self.unit.drain, self.ghosts
        self.d = d
        wait = d.wait
        start = [self.opened.signal(f"start_{stage}") for stage in range(wait)]
        self.start = start
        reads = [self.opened.signal(f"reads_{stage}") for stage in range(2)]
        walks = [data.View(d.walk.shape(), self.opened.signal(f"walk_{stage}"))
                 for stage in range(2)]
        phase = self.opened.signal("phase")
        places = d.in_flight
        assert places >= d.most
        count = ones(Cat(start))
        valid = [((at - d.head)[:len(d.head)] < count) for at in range(places)]
        slots = [d.pending[at] for at in range(places)]
        age = Signal(range(6), init=5, name="since_start")
        with g.If(start[-1]):
            g.d.sync += age.eq(1)
        with g.Elif(age != 5):
            g.d.sync += age.eq(age + 1)
        final = d.final_channel
        chain = [self.unit.issue.tile_end, *start]
        self.rest = Mux(d.walking, (age == 1) + ((age <= 3) & (final == 1)), 0)
        in_final = d.in_final
        self.reads = reads
        self.drain_words = [*(Mux(there, slot.channels, 0) for there, slot in
                              zip(valid, slots, strict=True)), self.rest, *reads, dut.valid]
        self.drain_lasts = [
            *(there & slot.last for there, slot in zip(valid, slots, strict=True)),
            d.tile.last & (self.rest != 0), reads[0] & walks[0].last & in_final,
            reads[1] & walks[1].last, dut.valid & dut.last]
        self.holds(
            "drain",
            count <= d.most, d.tail == (d.head + count)[:len(d.tail)],
            *(ones(Cat(chain[at:at + 3])) <= 1 for at in range(len(chain) - 2)),
            implies(start[0], self.since == 2), implies(self.since == 2, start[0]),
            *(implies(there, (slot.channels >= 1) & (slot.channels <= 2)
                      & (slot.raw == self.raw))
              for there, slot in zip(valid, slots, strict=True)),
            implies(start[-1], age >= 3), implies(start[-2], (age == 5) | (age >= 2)),
            age >= 1, age <= 5,
            d.walking == ((age <= 2) | ((final == 1) & (age <= 4))),
            implies(d.walking, (d.channel == (age >= 3)) & (phase == ((age == 2) | (age == 4)))),
            implies(d.walking, final == (d.tile.channels - 1)[0]),
            implies(d.walking, (d.tile.channels >= 1) & (d.tile.channels <= 2)
                    & (d.tile.raw == self.raw)),
            implies(age == 2, reads[0] & (in_final == (final == 0))),
            implies(age == 4, (reads[0] == (final == 1)) & implies(final == 1, in_final)),
            implies((age == 3) | (age == 5), ~reads[0]),
            implies((age == 1) & reads[0], in_final),
            *(implies(read, walk.tile.raw == self.raw)
              for read, walk in zip(reads, walks, strict=True)),
            implies(dut.valid, dut.o_tile.raw == self.raw),
        )

    def post(self) -> None:
        """A delay, in registers and a memory."""
        p = self.part("post")
        valid = p.valid
        stages = PostProcess.LATENCY
        memory = p.m._named_submodules["high_bytes_0"][0]
        acc = PostLane.ACC
        behind = stages - acc - 2
        write_at = self.opened.signal("high_bytes_0_to")
        read_at = self.opened.signal("high_bytes_0_at")
        inside = self.opened[memory]
        words = Array(inside.words.words)
        shape = memory._shape

        def seen(word):
            view = data.View(shape, word)
            return view.raw, view.last

        flow = [(self.opened.signal(f"raw_in_q{at + 1}"), self.opened.signal(f"last_in_q{at + 1}"))
                for at in range(acc)]
        flow += [seen(words[(write_at - at)[:len(write_at)]]) for at in range(1, behind + 1)]
        flow += [(inside.read.data.raw, inside.read.data.last),
                 (inside.read_q.raw, inside.read_q.last)]
        assert len(flow) == stages == len(valid)
        self.post_valid = valid
        self.post_lasts = [there & last for there, (_, last) in zip(valid, flow, strict=True)]
        self.holds(
            "post", read_at == (write_at - behind)[:len(read_at)],
            *(implies(there, raw == self.raw) for there, (raw, _) in
              zip(valid, flow, strict=True)))

    def pack(self) -> None:
        """Words wait in a queue and are taken into beats."""
        port = self.part("result_port")
        self.port_inside = port
        p = self.opened[port.pack]
        f = self.opened[p.fifo]
        memory = self.opened[f.words]
        self.p, self.f = p, f
        out = p.fifo.o
        words = Array(memory.words.words)
        shape = f.words._shape
        places = f.self._places
        slots = [data.View(shape, words[(f.read_at + at)[:len(f.read_at)]])
                 for at in range(places)]
        unread = [f.unread > at for at in range(places)]
        read = memory.read.data
        valid = port.pack.valid
        came = self.before(valid, "came")
        came_2 = self.before(came, "came_2")
        self.fifo_words = [f.unread, f.latched, out.valid & (p.part == 0), port.pack.returned]
        self.fifo_lasts = [*(there & slot.last for there, slot in
                             zip(unread, slots, strict=True)),
                           f.latched & read.last, out.valid & out.payload.last]
        raw_in = [self.opened.signal(f"raw_in_{at}") for at in range(2)]
        parts = p.parts
        room = self.before(port.pack.room, "had_room")
        self.holds(
            "pack",
            f.has_unread == (f.unread != 0), f.unread <= f.self._depth,
            f.write_at == (f.read_at + f.unread)[:len(f.write_at)],
            implies(out.valid, f.free == p.may_go), implies(~out.valid, f.free),
            *(implies(there, slot.raw == self.raw) for there, slot in
              zip(unread, slots, strict=True)),
            implies(f.latched, read.raw == self.raw),
            implies(out.valid, out.payload.raw == self.raw),
            implies(came, raw_in[0] == self.raw), implies(came_2, raw_in[1] == self.raw),
            implies(f.latched & ~out.valid, came_2), implies(f.has_unread & ~f.latched, came),
            implies(out.valid, p.raw == self.raw),
            ones(p.at) == 1, p.last_part == (p.part == parts - 1),
            p.may_go == (p.may & (~p.raw | p.last_part)),
            implies(p.part != 0, out.valid & p.raw),
            implies(p.ending, ~p.may), implies(p.may, room),
        )

    def port(self) -> None:
        """Beats wait; a job's last one lets the next job's words through."""
        s, p, dut = self.port_inside, self.p, self.unit.result_port
        behind = s.behind
        ends = p.full & p.last
        self.port_lasts = [ends, s.last_waits, dut.offered]
        self.holds(
            "port",
            s.any_behind == (behind != 0), s.one_behind == (behind == 1),
            behind + p.full + p.may <= s.self.BEATS - 2,
            implies(s.last_waits, s.any_behind),
            implies(self.sound, p.ending == total(self.port_lasts)),
            total(self.port_lasts) <= p.ending,
            implies(self.sound & (s.last_waits | dut.offered), ~p.full),
        )

    def related(self) -> None:
        """How the parts stand to each other."""
        unit, i = self.unit, self.i
        o, view, end = unit.walk.o, self.view, unit.issue.tile_end
        behind, active = i.behind, self.columns != 0
        words = total([Mux(active, view.words, 0), Mux(end, behind.tile.channels, 0),
                       *self.drain_words, *self.post_valid, *self.fifo_words])
        lasts = total([o.valid & o.payload.tile.last, active & view.tile.last,
                       end & behind.tile.last,
                       *self.drain_lasts, *self.post_lasts, *self.fifo_lasts, *self.port_lasts])
        strip, acts = unit.strip_loader, unit.act_loader
        room = unit.issue.room_words
        self.strips_held = [o.valid & o.payload.strip_end, active & view.strip_end,
                            end & behind.strip_end, *self.chains["strip"]]
        self.acts_held = [o.valid & o.payload.tile.last, active & view.tile.last,
                          end & behind.tile.last, *self.chains["acts"]]
        self.holds(
            "related",
            i.room + i.returned + words == room + 1 + Mux(unit.issue.first, view.words, 0),
            implies(self.sound, self.held == self.due["issue"] + lasts),
            self.held >= self.due["issue"] + lasts,
            strip.waiting + strip.told + self.strips_to_load == self.strips_to_walk,
            acts.waiting + acts.told + self.due["acts"] == self.due["issue"],
            strip.loaded == strip.waiting + strip.told + total(self.strips_held),
            acts.loaded == acts.waiting + acts.told + total(self.acts_held),
        )

    def tiles(self) -> Value:
        """Tiles to walk."""
        w, due, name = self.w, self.due["issue"], "issue"
        first, second, left = (Signal(6, name=f"tiles_{part}") for part in ("1", "2", "left"))
        groups = self.numbers[1]
        count = strips(Mux(w.begun, w.outputs_left, self.front[name]))
        self.m.d.comb += [
            first.eq(times(count, self.groups)),
            left.eq(Mux(w.begun, first - self.groups + w.groups_left, first)),
            second.eq(times(strips(self.words[1]), groups))]
        return Mux(due != 0, left, 0) + Mux(due == 2, second, 0)

    def parts(self) -> dict[str, tuple[Value, Any, Any, int]]:
        """Work that is left of the jobs accepted: how much of it, what comes, what goes; weight.

        A beat weighs 1; taking a word into one 2, for the beat and the step; a word 1 more than it
        is taken, in each stage before; a tile as four columns and two words.
        """
        unit, p, s, w = self.unit, self.p, self.port_inside, self.w
        tile, strip, port = unit.walk.o, unit.strip_loader, unit.result_port
        out = p.fifo.o.valid
        words = total(self.fifo_words[:-1])
        upstream = total([
            Mux(tile.valid, tile.payload.words, 0), Mux(self.columns != 0, self.view.words, 0),
            Mux(unit.issue.tile_end, self.i.behind.tile.channels, 0), *self.drain_words])
        return {
            "jobs": (self.held, 0, unit.offered, 1),
            "strips": (self.strips_to_load, 0, strip.done, 1),
            "activations": (self.due["acts"], 0, unit.act_loader.done, 1),
            "tiles": (self.tiles(), 0, w.take, TILE),
            "columns": (self.columns + Mux(tile.valid, tile.payload.columns, 0),
                        Mux(w.take, w.length, 0), ~self.i.idle, 1),
            "sums": (upstream, Mux(w.take, w.words, 0), unit.drain.valid, WORD + 1),
            "words": (total(self.post_valid), unit.drain.valid, unit.post.o.valid, WORD),
            "takes": (Mux(self.raw, words << 1, words) + (out & (p.part != 0)),
                      Mux(unit.post.o.valid, Mux(self.raw, 2, 1), 0), p.takes, TAKE),
            "beats": (p.full + s.behind + port.o.valid, p.takes & p.fills,
                      port.o.valid & port.o.ready, 1),
        }

    def within(self, stalled: Any, stall: int) -> Value:
        """Cycles until the next step at most: the least of what each thing under way says."""
        unit, w, i, d, f, p = self.unit, self.w, self.i, self.d, self.f, self.p
        port, s = unit.result_port, self.port_inside
        o = unit.walk.o
        post = len(self.post_valid)
        wait = len(self.start)
        roomy = i.room > unit.cols
        strip, acts = unit.strip_loader, unit.act_loader
        show = {name: Mux(self.shown[name], 0, Mux(self.leaving[name], 2, 1))
                for name in STAGES[:-1]}
        bounds = [
            *((now, 0) for now in (~i.idle, unit.drain.valid, self.part("queue").checking,
                                   unit.offered, strip.can, acts.can,
                                   p.fifo.o.valid & p.may)),
            (port.o.valid, stall - stalled), (s.any_behind, stall + 1), (p.full, stall + 2),
            (p.fifo.o.valid, stall + 3), (f.latched, stall + 4), (f.unread != 0, stall + 5),
            *((self.post_valid[at], post - 1 - at) for at in range(post)),
            (self.reads[1], 1), (self.reads[0], 2), (d.walking & (self.rest != 0), 3),
            *((self.start[at], 3 + wait - at) for at in range(wait)),
            (unit.issue.tile_end, 4 + wait),
            (roomy & o.valid, 1 + Mux(3 - self.since > ~i.may, 3 - self.since, ~i.may)),
            (roomy & w.take, 4),
        ]
        base = Mux(w.begun, Mux(w.looks, 5, 6), 7 + show["issue"])
        strips_there, acts_there = strip.waiting + strip.told, acts.waiting + acts.told
        bounds.append((roomy & ~o.valid & ~w.take & (self.due["issue"] != 0)
                       & (strips_there != 0) & (acts_there != 0),
                       base + ((strip.waiting == 0) | (acts.waiting == 0))))
        for name, there, loader, chain, ends in (
                ("weights", strips_there, strip, "strip", i.behind.strip_end),
                ("acts", acts_there, acts, "acts", i.behind.tile.last)):
            released = self.chains[chain]
            until = nearest(self.m, [
                (loader.loaded != 2, 0),
                *((one, len(released) - at) for at, one in enumerate(released)),
                (unit.issue.tile_end & ends, len(released) + 1)], name=f"until_{name}")
            bounds.append(((there == 0) & (self.due["issue"] != 0) & (until != NEVER),
                           until + show[name]))
        return nearest(self.m, bounds, name="bound")
