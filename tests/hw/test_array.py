# amaranth: UnusedElaboratable=no
import numpy as np
import pytest

from sparseloom.hw.array import Array, drain_spacing, skew, tile_spacing
from sparseloom.hw.cell import Cell
from sparseloom.hw.drain_link import DrainLink
from tests.hw.bench import run

GEOMETRIES = [(3, 5), (1, 1), (8, 4), (1, 6), (5, 1)]
SUM_BITS = 22


def words(w, weight_bits):
    """Weights of one k as the array takes them."""
    if weight_bits == 8:
        return [int(v) for v in w]
    w = [*(int(v) for v in w), *[0] * (len(w) % 2)]
    return [16 * high + low for low, high in zip(w[::2], w[1::2], strict=True)]


def simulate(dut, schedule):
    """``edge`` in each cycle of a schedule of (x, w, first, last, shift), x and w of one k."""
    edges = []
    weights = [words(w, dut.weight_bits) for _, w, *_ in schedule]

    async def drive(ctx):
        for t, (*_, first, last, shift) in enumerate(schedule):
            ctx.set(dut.x, [int(schedule[t - skew(r)][0][r]) for r in range(dut.rows)])
            ctx.set(dut.w, [weights[t - skew(c)][c] for c in range(len(dut.w))])
            ctx.set(dut.first, int(first))
            ctx.set(dut.last, int(last))
            ctx.set(dut.shift, int(shift))
            *_, edge = await ctx.tick().sample(dut.edge)
            edges.append([edge[r] for r in range(dut.rows)])

    run(dut, drive, max_cycles=len(schedule) + 10)
    return np.array(edges)


def plan(rng, rows, cols, lengths, distance, shifts, total, weight_bits=8):
    """Noise everywhere, and tiles of ``lengths`` whose last columns are ``distance`` apart.

    Answers the schedule, the tiles' sums (R, C) each, and the cycles of their last columns.
    ``shifts`` are cycles after each last column.
    """
    limit = 1 << weight_bits - 1
    x, w = rng.integers(-128, 128, (total, rows)), rng.integers(-limit, limit, (total, cols))
    flags = np.zeros((total, 3), bool)
    lasts = [max(lengths) + index * distance for index in range(len(lengths))]
    sums = []
    for length, last in zip(lengths, lasts, strict=True):
        run_of = slice(last - length + 1, last + 1)
        sums.append(x[run_of].T @ w[run_of])
        flags[last - length + 1, 0] = flags[last, 1] = True
        flags[[last + shift for shift in shifts], 2] = True
    return [(x[t], w[t], *flags[t]) for t in range(total)], sums, lasts


@pytest.mark.parametrize(("rows", "cols"), GEOMETRIES)
@pytest.mark.parametrize("length", [1, 13])
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_each_row_shows_its_sum_by_its_skew_and_holds_it(rows, cols, length, weight_bits):
    rng = np.random.default_rng(rows * 10 + cols + weight_bits)
    dut = Array(rows=rows, cols=cols, sum_bits=SUM_BITS, weight_bits=weight_bits)
    assert dut.capture_latency == skew(rows - 1) + Cell.SUM + DrainLink.LATENCY
    schedule, (sums,), (last,) = plan(rng, rows, cols, [length], 0, [], length + rows + 40,
                                       weight_bits)
    assert np.all(sums[:, 0] != 0)
    edges = simulate(dut, schedule)
    for r in range(rows):
        lands = last + Cell.SUM + DrainLink.LATENCY + skew(r)
        assert not edges[:lands, r].any(), f"row {r} came early"
        assert np.all(edges[lands:, r] == sums[r, 0]), f"row {r}"


def read(edges, lasts, rows, cols, lanes, latency):
    """Sums as a drain of ``lanes`` reads them: (R, C) for each tile."""
    spacing = drain_spacing(rows=rows, cols=cols, lanes=lanes)
    return [np.array([[edges[last + latency + c * spacing + r // lanes, r] for c in range(cols)]
                      for r in range(rows)]) for last in lasts]


def drained(rows, cols, lanes, distance, seed, weight_bits):
    """Sums due and sums read of tiles whose last columns are ``distance`` apart."""
    rng = np.random.default_rng(seed)
    dut = Array(rows=rows, cols=cols, sum_bits=SUM_BITS, weight_bits=weight_bits)
    spacing = drain_spacing(rows=rows, cols=cols, lanes=lanes)
    lengths = [distance, 1, distance, distance, max(1, distance // 2), distance]
    shifts = [dut.capture_latency + c * spacing - dut.SHIFT_LATENCY for c in range(1, cols)]
    total = max(lengths) + (len(lengths) + 2) * (distance + spacing) + dut.capture_latency + 10
    schedule, sums, lasts = plan(rng, rows, cols, lengths, distance, shifts, total, weight_bits)
    edges = simulate(dut, schedule)
    return sums, read(edges, lasts, rows, cols, lanes, dut.capture_latency)


@pytest.mark.parametrize(("rows", "cols", "lanes"), [
    (3, 5, 3), (3, 5, 1), (1, 1, 1), (8, 4, 8), (8, 4, 2), (1, 6, 1), (5, 1, 1), (4, 2, 4),
    (2, 8, 2), (1, 13, 1), (2, 24, 2)])
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_tiles_at_their_least_distance_drain_whole(rows, cols, lanes, weight_bits):
    distance = tile_spacing(rows=rows, cols=cols, lanes=lanes)
    expected, got = drained(rows, cols, lanes, distance, 3, weight_bits)
    assert len(got) == 6
    for due, seen in zip(expected, got, strict=True):
        np.testing.assert_array_equal(seen, due)


@pytest.mark.parametrize(("rows", "cols", "lanes"), [
    (3, 5, 3), (8, 4, 8), (5, 1, 1), (5, 2, 1), (8, 4, 2)])
@pytest.mark.parametrize("weight_bits", [8, 4])
def test_the_least_distance_is_the_least(rows, cols, lanes, weight_bits):
    distance = tile_spacing(rows=rows, cols=cols, lanes=lanes)
    expected, got = drained(rows, cols, lanes, distance - 1, 3, weight_bits)
    assert any((due != seen).any() for due, seen in zip(expected, got, strict=True))


def test_the_largest_sums_of_4_bits():
    columns, rows, cols = 30, 2, 3
    dut = Array(rows=rows, cols=cols, sum_bits=16, weight_bits=4)   # holds 30 * 2**10, signed
    last = columns - 1
    schedule = [([-128, 127], [-8, 7, -8], t == 0, t == last,
                 t - last - dut.capture_latency in (0, 2)) for t in range(columns + 16)]
    edges = simulate(dut, schedule)
    at = last + dut.capture_latency
    assert edges[[at, at + 2, at + 4]].tolist() == [
        [30 * 1024, 30 * 127 * -8], [30 * -128 * 7, 30 * 127 * 7], [30 * 1024, 30 * 127 * -8]]


def test_the_largest_sums():
    columns, rows, cols = 30, 2, 2
    dut = Array(rows=rows, cols=cols, sum_bits=20)   # holds 30 * 2**14, signed
    last = columns - 1
    schedule = [([-128, 127], [-128, 127], t == 0, t == last, t == last + dut.capture_latency)
                for t in range(columns + 12)]
    edges = simulate(dut, schedule)
    at = last + dut.capture_latency
    assert edges[at].tolist() == [30 * 2**14, 30 * 127 * -128]
    assert edges[at + 2].tolist() == [30 * -128 * 127, 30 * 127 * 127]


@pytest.mark.parametrize(("spacing", "rows", "cols", "lanes"), [
    (2 + 4 * 2, 3, 5, 3), (3 + 4 * 3, 3, 5, 1), (1, 1, 1, 1), (4 + 3 * 4, 8, 4, 2),
    (6 + 11 * 3, 12, 12, 4)])
def test_spacing(spacing, rows, cols, lanes):
    assert tile_spacing(rows=rows, cols=cols, lanes=lanes) == spacing


@pytest.mark.parametrize(("keywords", "message"), [
    ({"rows": 0, "cols": 1}, "rows must be in 1..32, not 0"),
    ({"rows": 1, "cols": 33}, "cols must be in 1..32, not 33"),
    ({"rows": 1, "cols": 2, "weight_bits": 2}, "weight_bits must be 8 or 4, not 2")])
def test_refuses(keywords, message):
    with pytest.raises(ValueError, match=message):
        Array(sum_bits=20, **keywords)
