"""Tiles to the array: whole, far enough apart, and only with room for their results."""
from amaranth.hdl import Module, Mux, Signal, Value

from sparseloom.hw.issue import Issue
from sparseloom.hw.strip_loader import STRIP_BANKS
from sparseloom.hw.tile_walk import Cause
from tests.formal.parts import Assert, Assume, Cover, Opened, free, implies, keeps_rules, past
from tests.formal.proof import Bug, Proof

ROWS, COLS, LANES, MAX_K = 2, 2, 1, 6
ROOM = COLS * ROWS // LANES + 1
RELEASE_DELAY = 3


def design():
    m = Module()
    dut = Issue(rows=ROWS, cols=COLS, lanes=LANES, max_k=MAX_K, depth_strips=STRIP_BANKS * MAX_K,
                depth_acts=8, room_words=ROOM, release_delay=RELEASE_DELAY)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    inside, spacing = opened[dut], dut.spacing
    offer, payload = dut.i.payload, Value.cast(dut.i.payload)
    begin = dut.i.valid & dut.i.ready

    # What walks the tiles: an offer stays, a taken one for a cycle more, and then none is there.
    began, before = past(m, begin, name="began"), past(m, payload, name="payload_before")
    outstanding = Signal(range(ROOM + 8))
    m.d.comb += [
        dut.i.valid.eq(free(m, name="i_valid")),
        payload.eq(free(m, len(payload), name="i_payload")),
        dut.returned.eq(free(m, name="returned_free")),
        Value.cast(dut.waits_for).eq(free(m, 3, name="waits_for_free")),
        Assume((Value.cast(dut.waits_for) >= 1) & (Value.cast(dut.waits_for) <= 4)),
        Assume(implies(began, ~dut.i.valid & (payload == before))),
        Assume(implies(dut.i.valid, (offer.columns >= 1) & (offer.columns <= MAX_K)
                       & (offer.words >= 1) & (offer.words <= COLS * ROWS // LANES)
                       & (offer.single == (offer.columns == 1))
                       & (offer.near == (offer.columns >= max(1, spacing - 1)))
                       & (offer.long == (offer.columns >= spacing)))),
        Assume(implies(dut.returned, outstanding != 0)),
    ]
    keeps_rules(m, dut.i, name="i", assumed=True)
    m.d.sync += outstanding.eq(outstanding + Mux(begin, offer.words, 0) - dut.returned)

    # The tile under way, and the cycles since the last column of one.
    left, at = Signal(range(MAX_K + 1)), Signal(range(MAX_K + 1))
    tile = Signal(payload.shape())
    view = type(offer)(offer.shape(), tile)
    since = Signal(range(spacing + 1), init=spacing)
    with m.If(begin):
        m.d.sync += [left.eq(offer.columns), at.eq(0), tile.eq(payload)]
    with m.Elif(left != 0):
        m.d.sync += [left.eq(left - 1), at.eq(at + 1)]
    with m.If(dut.last):
        m.d.sync += since.eq(1)
    with m.Elif(since != spacing):
        m.d.sync += since.eq(since + 1)
    active = past(m, left != 0, name="was_active")
    act_base = past(m, view.act_base, name="act_base_before")
    tile_before = past(m, view.tile, name="tile_before")
    strip_ends = past(m, (left == 1) & view.strip_end, name="strip_ends_0")
    acts_end = past(m, (left == 1) & view.tile.last, name="acts_end_0")
    chains = []
    for stage in range(1, RELEASE_DELAY):
        chains.append((strip_ends, acts_end))
        strip_ends, acts_end = (past(m, strip_ends, name=f"strip_ends_{stage}"),
                                past(m, acts_end, name=f"acts_end_{stage}"))
    offered = past(m, dut.i.valid & ~begin, name="offered_before")
    waited_for = Signal(3, init=Cause.OTHER.value)
    m.d.sync += waited_for.eq(Value.cast(dut.waits_for))
    offered_2 = past(m, offered, name="offered_2")
    waits = Signal(range(spacing + 3))
    with m.If(dut.i.valid & ~begin & (outstanding + offer.words <= ROOM) & (left <= 1)):
        m.d.sync += waits.eq(waits + 1)
    with m.Else():
        m.d.sync += waits.eq(0)
    address = Signal(range(STRIP_BANKS * MAX_K + 2 * MAX_K))
    m.d.comb += address.eq(view.strip_base + STRIP_BANKS * at)
    cause = Value.cast(dut.cause)
    m.d.comb += [
        Assert(implies(begin, left <= 1), "a tile once begun is never interrupted"),
        Assert(dut.first == ((left != 0) & (at == 0))), Assert(dut.last == (left == 1)),
        Assert(implies(left != 0, dut.strip_addr == address[:len(dut.strip_addr)]),
               "a column a cycle"),
        Assert(implies(active, (dut.act_base == act_base)
                       & (Value.cast(dut.tile) == tile_before))),
        Assert(dut.tile_end == past(m, left == 1, name="ended")),
        Assert(implies(dut.last, since >= spacing), "ends far enough apart"),
        Assert(outstanding <= ROOM, "room for every result"),
        Assert(dut.strip_release == strip_ends), Assert(dut.acts_release == acts_end),
        Assert(waits <= spacing, "what may begin does so soon"),
        Assert((cause == Cause.ACTIVE.value) == active, "a cycle with a column and no other"),
        Assert(active | (cause == Mux(
            ~offered_2, waited_for,
            Mux(dut.first, Cause.OTHER.value, Cause.STALL_RESULTS.value)))),
        # What holds between the cycles.
        Assert(left + at == Mux(left != 0, view.columns, left + at)),
        Assert((left <= MAX_K) & (at <= MAX_K)),
        Assert(inside.idle == (left == 0)),
        Assert(implies((left != 0) & ~dut.first, inside.left == left)),
        Assert(implies(offered, inside.two == (offer.columns == 2))),
        Assert(implies(dut.first, inside.two == (view.columns == 2))),
        Assert(implies(left != 0, (view.columns >= 1) & (view.columns <= MAX_K))),
        Assert(dut.first == began), Assert(implies(began, (tile == before))),
        Assert(inside.least == Mux(since >= spacing - 1, 0, spacing - 1 - since)),
        Assert((since >= 1) & (since <= spacing)),
        Assert(implies(left > 1, left + since >= spacing)),
        Assert(implies(left == 1, since >= spacing)),
        Assert(inside.there == offered), Assert(implies(inside.may, offered)),
        Assert(inside.room + inside.returned + outstanding
               == ROOM + 1 + Mux(dut.first, view.words, 0)),
        Assert(implies(dut.first, inside.left_over + view.words + 1 == inside.room)),
        Assert(implies(inside.may, inside.room > offer.words)),
        Assert(implies(offered, inside.late == (offer.columns + since >= spacing))),
        Assert(implies(waits != 0, inside.may)), Assert(implies(left > 1, waits == 0)),
        Assert(waits <= Mux(left == 1, 0, since)),
        Assert(implies(offered, ~dut.first)),
        *(Assert(implies(dut.first, begun)) for begun in inside.begun.values()),
        Assert(implies(inside.begun["left"], dut.first | (left == 0))),
        Assert(implies(active, inside.behind.strip_end
                       == past(m, view.strip_end, name="strip_end_before"))),
        Assert(inside.active == active), Assert(waited_for == Value.cast(inside.waited_for)),
        Assert(inside.had_tile == offered_2),
        *(Assert(opened.signal(f"strip_release_{stage}") == chain[0])
          for stage, chain in enumerate(chains[1:], 1)),
        *(Assert(opened.signal(f"acts_release_{stage}") == chain[1])
          for stage, chain in enumerate(chains[1:], 1)),
    ]
    full = Signal()
    with m.If(outstanding == ROOM):
        m.d.sync += full.eq(1)
    at_once = Signal()
    with m.If(begin & dut.last):
        m.d.sync += at_once.eq(1)
    m.d.comb += [Cover(full & at_once & dut.strip_release & ~dut.acts_release),
                 Cover(full & begin & (offer.columns == 1))]
    return m


PROOFS = [Proof(
    name="issue",
    claim="A tile's columns go out one a cycle, all of them, in order, with their first and last "
          "marked; the ends of two tiles are at least tile_spacing apart; never are more words of "
          "results under way than there is room for; a bank and a half are released once, the "
          "stated delay after their last column; a tile that may begin does so within the spacing; "
          "a cycle counts as active if and only if a column went out.",
    at=f"{ROWS} x {COLS}, {LANES} lane, {MAX_K} columns, room for {ROOM} words",
    given="An offered tile stays until it is taken and its payload for a cycle more, in which none "
          "is offered; what it says of its columns is right; no word returns that was not sent.",
    design=design, depth=3, cover_depth=24,
    bugs=(
        Bug(what="a tile of one column less than the spacing follows at once", file="issue.py",
            old="timely.eq(Mux(last, tile.long, idle & late))",
            new="timely.eq(Mux(last, tile.near, idle & late))"),
        Bug(what="a tile of two columns does not end behind them", file="issue.py",
            old="two.eq(tile.columns == 2)", new="two.eq(0)"),
        Bug(what="room is there for a word less than a tile has", file="issue.py",
            old="range(self.room_words + 2), init=self.room_words + 1)",
            new="range(self.room_words + 3), init=self.room_words + 2)"),
        Bug(what="a bank is released a column early", file="issue.py",
            old="value = self.tile_end & freed", new="value = self.last & freed"),
    ))]
