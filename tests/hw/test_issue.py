# amaranth: UnusedElaboratable=no
import itertools
import random

import pytest

from sparseloom.hw.array import tile_spacing
from sparseloom.hw.issue import Issue
from sparseloom.hw.strip_loader import STRIP_BANKS
from sparseloom.hw.tile_walk import Cause
from tests.hw.bench import run

MAX_K, DEPTH_STRIPS, DEPTH_ACTS = 40, 128, 256
GEOMETRIES = [(3, 5, 3), (3, 5, 1), (1, 1, 1), (8, 4, 4)]
DELAY = 5


def make(rows, cols, lanes, room_words=None, release_delay=DELAY):
    tile_words = cols * (rows // lanes)
    return Issue(rows=rows, cols=cols, lanes=lanes, max_k=MAX_K, depth_strips=DEPTH_STRIPS,
                 depth_acts=DEPTH_ACTS, room_words=room_words or 2 * tile_words,
                 release_delay=release_delay)


def random_tile(rng, rows, cols, lanes, longest=MAX_K):
    channels = rng.choice([cols, rng.randint(1, cols)])
    last = rng.random() < 0.3
    return {"columns": rng.choice([1, rng.randint(1, longest)]),
            "strip_base": rng.randrange(STRIP_BANKS),
            "act_base": rng.randrange(DEPTH_ACTS), "words": channels * (rows // lanes),
            "strip_end": int(last or rng.random() < 0.5),
            "tile": {"channels": channels, "tokens": rng.randint(1, rows),
                     "bank": rng.randrange(4), "zero_point": rng.randint(-128, 127),
                     "raw": rng.randrange(2), "lut": rng.randrange(2),
                     "lut_bank": rng.randrange(2), "last": int(last)}}


def simulate(dut, tiles, *, gap=lambda: 0, returns=lambda: True, cycles=None, drained_in=7):
    """Offer tiles, take their results, and tell each cycle.

    Parameters
    ----------
    gap : function
        Cycles before the next tile is offered.
    returns : function
        Whether one of the words that are there leaves in this cycle.
    cycles : int, optional
        By default until 20 cycles after the last word left.
    drained_in : int
        Cycles from a tile's last column until its words are there.

    Returns
    -------
    list of dict
        Of each cycle: inputs ``valid``, ``returned``, ``waits_for``, and every output;
        ``begin`` is the tile taken in it or None.
    """
    trace = []

    async def drive(ctx):
        queue, wait, there, due, quiet = list(tiles), gap(), 0, {}, 0
        rng = random.Random(9)
        while quiet < 20 if cycles is None else len(trace) < cycles:
            there += due.pop(len(trace), 0)
            quiet = 0 if queue or there or due else quiet + 1
            valid = bool(queue) and not wait
            wait = max(0, wait - 1)
            returned = bool(there and returns())
            there -= returned
            waits_for = rng.choice([Cause.STALL_WEIGHTS, Cause.STALL_ACTS, Cause.OTHER])
            ctx.set(dut.i.valid, valid)
            if valid:
                columns = queue[0]["columns"]
                ctx.set(dut.i.payload, {**queue[0], "single": columns == 1,
                                        "near": columns + 1 >= dut.spacing,
                                        "long": columns >= dut.spacing})
            ctx.set(dut.returned, returned)
            ctx.set(dut.waits_for, waits_for)
            (*_, ready, addr, act_base, first, last, tile_end, tile, strip_release, acts_release,
             cause) = await ctx.tick().sample(
                dut.i.ready, dut.strip_addr, dut.act_base, dut.first, dut.last, dut.tile_end,
                dut.tile, dut.strip_release, dut.acts_release, dut.cause)
            begin = None
            if valid and ready:
                begin = queue.pop(0)
                at = len(trace) + begin["columns"] + drained_in
                due[at] = due.get(at, 0) + begin["words"]
                wait = 1 + gap()                    # the payload outlives the begin
            trace.append({"valid": valid, "returned": returned, "waits_for": waits_for,
                          "begin": begin, "addr": addr, "act_base": act_base, "first": first,
                          "last": last, "tile_end": tile_end, "tile": tile,
                          "strip_release": strip_release, "acts_release": acts_release,
                          "cause": cause,
                          "offered": queue[0] if valid and begin is None else begin})

    run(dut, drive, max_cycles=20000)
    return trace


def check(trace, dut, room_words, delay=DELAY):
    """Everything that follows from when the tiles began, and that they began as soon as may be."""
    columns, lasts = {}, {}             # cycle: (tile, index), cycle: tile
    begins = [(t, cycle["begin"]) for t, cycle in enumerate(trace) if cycle["begin"]]
    for t, tile in begins:
        for index in range(tile["columns"]):
            assert t + 1 + index not in columns, "two tiles at once"
            columns[t + 1 + index] = (tile, index)
        lasts[t + tile["columns"]] = tile
    times = sorted(lasts)
    assert all(after - before >= dut.spacing
               for before, after in itertools.pairwise(times))

    room, last_end = room_words, None
    for t, cycle in enumerate(trace):
        active = t in columns
        there = t > 0 and cycle["valid"] and trace[t - 1]["valid"] and not trace[t - 1]["begin"]
        assert cycle["first"] == (active and columns[t][1] == 0), f"first in cycle {t}"
        assert cycle["last"] == (t in lasts), f"last in cycle {t}"
        if active:
            tile, index = columns[t]
            assert cycle["addr"] == tile["strip_base"] + STRIP_BANKS * index
        if t in lasts:
            last_end = t
        if t - Issue.BEHIND in columns:
            tile = columns[t - Issue.BEHIND][0]
            assert cycle["act_base"] == tile["act_base"]
            assert {name: getattr(cycle["tile"], name) for name in tile["tile"]} == tile["tile"]
        assert cycle["tile_end"] == (t - Issue.BEHIND in lasts)
        ended = lasts.get(t - delay)
        assert cycle["strip_release"] == bool(ended and ended["strip_end"])
        assert cycle["acts_release"] == bool(ended and ended["tile"]["last"])

        may = there and (not active or t in lasts)
        if may:
            tile = cycle["offered"]
            far = last_end is None or t + tile["columns"] - last_end >= dut.spacing
            may = far and room >= tile["words"]
        assert (cycle["begin"] is not None) == may, f"begin in cycle {t}"
        returned = t >= Issue.RETURNED and trace[t - Issue.RETURNED]["returned"]
        room += returned - (cycle["begin"]["words"] if cycle["begin"] else 0)
        assert 0 <= room <= room_words

        if t + 1 == len(trace):
            continue
        cause = trace[t + 1]["cause"]   # told in the cycle behind
        if active:
            assert cause == Cause.ACTIVE
        elif not there:
            assert cause == cycle["waits_for"]
        else:
            assert cause == (Cause.OTHER if cycle["begin"] else Cause.STALL_RESULTS)
    assert room == room_words
    return begins, times


@pytest.mark.parametrize("stall", ["free", "tiles", "results"])
@pytest.mark.parametrize(("rows", "cols", "lanes"), GEOMETRIES)
def test_tiles_whole_in_order_and_as_soon_as_may_be(rows, cols, lanes, stall):
    rng = random.Random(rows + cols)
    dut = make(rows, cols, lanes)
    tiles = [random_tile(rng, rows, cols, lanes) for _ in range(25)]
    slow_tiles, slow_results = stall == "tiles", stall == "results"
    trace = simulate(
        dut, tiles, gap=lambda: rng.choice([0, 0, rng.randrange(40)]) if slow_tiles else 0,
        returns=lambda: rng.random() < 0.3 if slow_results else True)
    begins, _ = check(trace, dut, 2 * cols * (rows // lanes))
    assert [tile for _, tile in begins] == tiles
    causes = {cycle["cause"] for cycle in trace}
    assert Cause.ACTIVE in causes
    if slow_results:
        assert Cause.STALL_RESULTS in causes


@pytest.mark.parametrize(("rows", "cols", "lanes"), GEOMETRIES)
def test_long_tiles_follow_without_a_gap_and_short_ones_at_the_spacing(rows, cols, lanes):
    spacing = tile_spacing(rows=rows, cols=cols, lanes=lanes)
    rng = random.Random(1)
    for columns in (spacing, 1, max(1, spacing - 1), min(MAX_K, spacing + 3)):
        tiles = [{**random_tile(rng, rows, cols, lanes), "columns": columns} for _ in range(8)]
        dut = make(rows, cols, lanes, room_words=8 * cols * (rows // lanes))
        trace = simulate(dut, tiles)
        _, times = check(trace, dut, 8 * cols * (rows // lanes))
        steps = {after - before for before, after in itertools.pairwise(times)}
        assert steps == {max(columns, spacing, 2 + Issue.NOTICE)}


def test_without_room_nothing_begins_until_a_word_leaves():
    dut = make(3, 5, 1, room_words=17)
    rng = random.Random(3)
    tiles = [{**random_tile(rng, 3, 5, 1), "columns": 4, "words": words}
             for words in (15, 2, 1, 15)]
    trace = simulate(dut, tiles, returns=lambda: False, cycles=200)
    assert [cycle["begin"] for cycle in trace if cycle["begin"]] == tiles[:2]
    assert all(cycle["cause"] == Cause.STALL_RESULTS for cycle in trace[-100:])
    trace = simulate(make(3, 5, 1, room_words=17), tiles)
    begins, _ = check(trace, dut, 17)
    assert [tile for _, tile in begins] == tiles


@pytest.mark.parametrize("delay", [1, 2, 9])
def test_release_after_the_delay(delay):
    rng = random.Random(delay)
    dut = make(3, 5, 3, release_delay=delay)
    tiles = [random_tile(rng, 3, 5, 3, longest=12) for _ in range(20)]
    trace = simulate(dut, tiles)
    check(trace, dut, 10, delay=delay)
    for name, ends in (("strip_release", sum(tile["strip_end"] for tile in tiles)),
                       ("acts_release", sum(tile["tile"]["last"] for tile in tiles))):
        assert sum(cycle[name] for cycle in trace) == ends > 0


def test_refuses_too_little_room():
    with pytest.raises(ValueError, match="room_words must be at least 15"):
        make(3, 5, 1, room_words=14)


def test_refuses_a_release_before_the_column_is_known():
    with pytest.raises(ValueError, match="release_delay must be at least 1, not 0"):
        make(3, 5, 1, release_delay=0)
