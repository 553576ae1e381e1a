"""Cycle model of the unit, exact, in plain arithmetic, so that the pruner can use it.

:func:`predict` follows a queue of jobs through the unit and gives the counters that the unit will
show, cycle for cycle, where the streams never pause; :func:`delay_bounds` says what pauses may do.
:func:`ideal_cycles` is the array's work alone, :func:`layer_cycles` a layer by itself.

Nothing is stepped. Each event (a strip is loaded, a tile begins, a word of results leaves) is the
latest of the events it waits for, each with a distance: recurrences over strips and tiles, and
whole runs of equal tiles at once. Distances are sums of :mod:`~sparseloom.model.packed.timing`;
``docs/cycles.md`` has the derivation.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import gcd
from typing import Any, NamedTuple

import numpy as np

from sparseloom.model.packed import spec, timing
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.packed.stream import strip_columns
from sparseloom.model.packed.strip_load import (
    block_counts,
    gearbox_cycles,
    load_cycles,
    spread_counts,
)

LONG_AGO = -10**9
"""Before everything: the time of what need not be waited for."""
BANKS, HALVES = 2, 2
"""Strips, and jobs' activations, that the unit holds."""
TILES_OF_ROOM = 4
"""Whole tiles of results that have room behind the array."""
TILES_AT_ONCE = 3
"""Groups of tokens from which on whole tiles are not looked at one by one."""


def ideal_cycles(layer: PackedLayer, *, rows: int, cols: int, tokens: int) -> int:
    """Cycles of pure array work: one per stored column of a strip and group of tokens.

    Parameters
    ----------
    layer : PackedLayer
    rows, cols : int
        R and C of the array.
    tokens : int
        M.

    Returns
    -------
    int
        Sum over strips of (columns that must run) * ceil(M / R). Filling and draining the array
        come on top; an empty strip costs nothing here.
    """
    columns = sum(len(strip) for strip in strip_columns(layer, cols))
    return columns * -(-tokens // rows)


def drain_spacing(*, rows: int, cols: int, lanes: int) -> int:
    """Cycles between two outputs of a tile, as in ``hw/array.py``."""
    return max(rows // lanes, 2 if cols > 1 else 1)


def tile_spacing(*, rows: int, cols: int, lanes: int) -> int:
    """Least distance in cycles between the last columns of two tiles, as in ``hw/array.py``."""
    return (-(-rows // min(lanes, timing.STEP))
            + (cols - 1) * drain_spacing(rows=rows, cols=cols, lanes=lanes))


@dataclass(frozen=True, kw_only=True)
class UnitShape:
    """What a build's cycles depend on.

    Parameters
    ----------
    rows, cols, lanes : int
        R and C of the array, and results post-processed in a cycle (a divisor of R).
    bus_bytes : int
        Bytes of a beat: 4, 8 or 16.
    block_inputs : int
        Inputs of a mask.
    act_words : int
        Words of half the activation buffer.
    queue_depth : int
        Jobs that may be outstanding.
    weight_bits : int
        8 or 4: bits of a weight in the weight stream.

    Raises
    ------
    ValueError
        If a size is below 1 or ``lanes`` does not divide ``rows``.
    """

    rows: int
    cols: int
    lanes: int
    bus_bytes: int = 8
    block_inputs: int = 16
    act_words: int = 8192
    queue_depth: int = 4
    weight_bits: int = 8

    def __post_init__(self):
        sizes = (self.rows, self.cols, self.lanes, self.bus_bytes, self.block_inputs,
                 self.act_words, self.queue_depth, self.weight_bits)
        if min(sizes) < 1:
            raise ValueError("sizes must be 1 or more")
        if self.rows % self.lanes:
            raise ValueError(f"lanes must divide rows = {self.rows}, not {self.lanes}")

    @classmethod
    def of(cls, config: Any) -> UnitShape:
        """Of a build's settings, a ``sparseloom.hw.config.ArrayConfig``."""
        return cls(rows=config.rows, cols=config.cols, lanes=config.post_lanes,
                   bus_bytes=config.bus_bytes, block_inputs=config.block_inputs,
                   act_words=config.act_words, queue_depth=config.queue_depth,
                   weight_bits=config.weight_bits)


@dataclass(frozen=True, kw_only=True, eq=False)
class UnitJob:
    """One job, as far as its cycles depend on it.

    Parameters
    ----------
    inputs, outputs, tokens : int
        K, N and M, 1 or more.
    counts : ndarray of int, shape (ceil(N / C), ceil(K / block_inputs))
        Columns that each strip runs of each block; an empty strip runs one of weight zero.
    raw, lut : bool
        Results are int32; the weight stream begins with a table.
    """

    inputs: int
    outputs: int
    tokens: int
    counts: np.ndarray
    raw: bool = False
    lut: bool = False
    found: dict = field(default_factory=dict, repr=False)     # what was computed of ``counts``

    def __post_init__(self):
        if min(self.inputs, self.outputs, self.tokens) < 1:
            raise ValueError("sizes must be 1 or more")

    @property
    def columns(self) -> list[int]:
        """Columns of each strip."""
        if "columns" not in self.found:
            self.found["columns"] = self.counts.sum(axis=1).tolist()
        return self.found["columns"]

    def loads(self, shape: UnitShape) -> list[int]:
        """Cycles that each strip loads, see :func:`~.strip_load.load_cycles`."""
        key = (shape.cols, shape.bus_bytes, shape.block_inputs, shape.weight_bits)
        if key not in self.found:
            self.found[key] = load_cycles(
                self.counts, inputs=self.inputs, cols=shape.cols, bus_bytes=shape.bus_bytes,
                block_inputs=shape.block_inputs, weight_bits=shape.weight_bits).tolist()
        return self.found[key]

    @classmethod
    def of(cls, layer: PackedLayer, tokens: int, shape: UnitShape) -> UnitJob:
        """The job that runs a layer on so many tokens."""
        mask = np.zeros((-(-layer.out_features // shape.cols), layer.in_features), bool)
        for strip, columns in enumerate(strip_columns(layer, shape.cols)):
            mask[strip, columns] = True
        return cls(inputs=layer.in_features, outputs=layer.out_features, tokens=tokens,
                   counts=block_counts(mask, shape.block_inputs), raw=layer.raw,
                   lut=layer.lut is not None)


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What a queue of jobs does, in cycles. Cycle 0 is the first in which beats are offered.

    Parameters
    ----------
    busy, active, stall_weights, stall_acts, stall_results, other : int
        The unit's counters, as its registers will show them.
    first_act : int
        Cycle of the first activation beat.
    ends : tuple of int
        Cycle of each job's last result beat.
    """

    busy: int
    active: int
    stall_weights: int
    stall_acts: int
    stall_results: int
    other: int
    first_act: int
    ends: tuple[int, ...]

    @property
    def cycles(self) -> int:
        """From the first activation beat to the last result beat, both included."""
        return self.ends[-1] - self.first_act + 1

    def counters(self) -> dict[str, int]:
        """The counters alone, by register."""
        return {name: getattr(self, name) for name in
                ("busy", "active", "stall_weights", "stall_acts", "stall_results", "other")}


class Span(NamedTuple):
    """A run of cycles of one job, and what the unit's counters call them.

    Waits before a strip's first tile are spans of one cause each; a strip's tiles, with what lies
    between them, are one span. Spans follow each other without a gap, but where the unit is idle.

    Parameters
    ----------
    job, strip : int
        From 0. The strip is the one that is waited for, or runs; behind a queue's last tile it is
        the last one.
    begin, end : int
        First cycle, and the first one behind.
    active, stall_weights, stall_acts, stall_results, other : int
        Cycles of each kind in it; their sum is ``end - begin``.
    """

    job: int
    strip: int
    begin: int
    end: int
    active: int = 0
    stall_weights: int = 0
    stall_acts: int = 0
    stall_results: int = 0
    other: int = 0


CAUSES = Span._fields[4:]
"""The counters that share out a span."""


class _Results:
    """The result side: when each word is taken from the FIFO, when each job's last beat leaves.

    A word that arrives at cycle a is taken at the latest of a, the cycle after the word before, and
    the cycle in which the gearbox has room for it; a job's first also waits until the job before
    it has left. Words of a tile arrive ``parts`` in a row for each channel. Where the gearbox gives
    out queued words at one distance (``service``), a tile is two sums and a maximum.

    A word that is cut into ``service`` beats keeps its register for as many cycles.
    """

    def __init__(self, shape: UnitShape):
        self.shape = shape
        self.parts = shape.rows // shape.lanes
        spacing = drain_spacing(rows=shape.rows, cols=shape.cols, lanes=shape.lanes)
        # From a tile's last column to each of its words at the FIFO's output.
        latency = (timing.OPERANDS + (shape.rows - 1) // timing.STEP + timing.CAPTURE
                   + timing.DRAIN + timing.POSTPROCESS + timing.RESULT_FIFO)
        self.arrival = [latency + channel * spacing + part
                        for channel in range(shape.cols) for part in range(self.parts)]
        self.whole = len(self.arrival)  # words of a tile with all its channels
        self.room = TILES_OF_ROOM * self.whole
        self.taken = 0                  # words, since the queue began
        # When the last words of the tiles were taken that the next one may have to wait for.
        self.lasts = [LONG_AGO] * TILES_OF_ROOM
        self.last = LONG_AGO            # of the words, or what the next one has to wait for
        self.left = LONG_AGO            # when the last beat of the job before left the gearbox
        self.tiles: list[_Tile] = []
        self.wholes = TILES_OF_ROOM     # so many tiles were whole, without one in between
        self.queues: dict[int, _Queued] = {}

    def begin_job(self, *, raw: bool) -> None:
        """Another job's words follow."""
        word, bus = self.shape.lanes * (4 if raw else 1), self.shape.bus_bytes
        self.word, self.words, self.level = word, 0, 0
        # Cycles between two words that queue; 0 if that is not always the same.
        self.service = 1 if word <= bus else word // bus if word % bus == 0 else 0
        self.limit = bus - gcd(word, bus) + min(word, bus)      # a word fits behind so many bytes
        self.last = self.left + timing.RESULTS_NEXT - (self.service or 1)
        if self.service not in self.queues:
            taken, last = [], LONG_AGO
            for arrival in self.arrival:
                last = max(last + self.service, arrival)
                taken.append(last)
            self.queues[self.service] = _Queued(taken, self.service)
        self.queued = self.queues[self.service]

    def tile(self, end: int, words: int) -> None:
        """Take the words of a tile whose last column was in cycle ``end``."""
        if self.service:
            found = _Tile(self.taken, end, self.queued, self.last)
            self.last = found.time(words - 1)
        else:
            bus, times, last, level = self.shape.bus_bytes, [], self.last, self.level
            for arrival in self.arrival[:words]:
                # Beats leave in each cycle that finds a whole one; the level is that after a word.
                wait = max(-(-(level - self.limit) // bus), 0)
                time = max(end + arrival, last + 1 + wait)
                level -= bus * min(time - last - 1, level // bus)
                level += self.word - (bus if level >= bus else 0)
                last = time
                times.append(time)
            self.level, self.last = level, last
            found = _Tile(self.taken, 0, _Queued(times, 0), LONG_AGO)
        self.tiles.append(found)
        if len(self.tiles) > 4 * self.room:
            del self.tiles[:-2 * self.room]
        self.lasts = [*self.lasts[1:], self.last]
        self.taken += words
        self.words += words
        self.wholes = self.wholes + 1 if words == self.whole else 0

    def run(self, tiles: int, kept: Sequence[tuple[int, int]], lasts: list[int]) -> None:
        """Whole tiles were taken.

        Parameters
        ----------
        tiles : int
            How many.
        kept : sequence of (int, int)
            Last column, and when the word before it was taken, of the last ``TILES_OF_ROOM`` of
            them, or of all.
        lasts : list of int
            As the attribute, behind them.
        """
        self.taken += tiles * self.whole
        self.words += tiles * self.whole
        self.wholes += tiles
        self.lasts, self.last = lasts, lasts[-1]
        if tiles >= TILES_OF_ROOM:
            self.tiles.clear()
        first = self.taken - len(kept) * self.whole
        self.tiles += [_Tile(first + place * self.whole, end, self.queued, before)
                       for place, (end, before) in enumerate(kept)]

    def room_for(self, words: int) -> int:
        """Cycle in which the last word is taken whose room so many more words need."""
        if words == self.whole and self.wholes >= TILES_OF_ROOM:
            return self.lasts[0]
        wanted = self.taken + words - self.room - 1
        if wanted < 0:
            return LONG_AGO
        tile = next(tile for tile in reversed(self.tiles) if tile.first <= wanted)
        return tile.time(wanted - tile.first)

    def end_job(self) -> int:
        """All words were taken: the cycle in which the job's last beat leaves the gearbox."""
        bus, size = self.shape.bus_bytes, self.words * self.word
        if not self.service:
            left = self.level
        elif self.word <= bus:
            before = (size - self.word) // bus
            left = size - before * bus
            fits = bus % self.shape.lanes == 0 and 4 * self.shape.lanes % bus == 0
            if size // bus == before and not fits:      # a gearbox, and no beat was completed
                left += bus
        else:
            left = self.word
        self.left = self.last + -(-left // bus)
        return self.left


class _Queued(NamedTuple):
    """When a tile's words are taken, from the tile's end, if none was before."""

    taken: list[int]
    service: int        # distance of two words that queue


class _Tile(NamedTuple):
    """When the words of a tile are taken: see :class:`_Results`."""

    first: int          # of its words, in the queue
    end: int
    queued: _Queued
    before: int         # when the word before was taken

    def time(self, place: int) -> int:
        """Cycle in which its word ``place`` is taken."""
        taken, service = self.queued
        return max(self.end + taken[place], self.before + (place + 1) * service)


def predict(jobs: Sequence[UnitJob], shape: UnitShape, *,
            pushes: Sequence[int] | None = None,
            spans: list[Span] | None = None) -> Prediction:
    """Counters of a queue of jobs, exact where both sources always offer and the sink takes.

    Parameters
    ----------
    jobs : sequence of UnitJob
        At least one, in the queue's order.
    shape : UnitShape
        The build.
    pushes : sequence of int, optional
        Cycle in which the write to JOB_PUSH of each job takes effect; cycle 0 is the first one with
        beats on the inputs, so that earlier pushes are negative. ``busy`` counts from the cycle
        after the queue took the first of them, ``timing.PUSH`` later. Jobs beyond those named, and
        all but the first ``queue_depth`` by default, are pushed in the first cycle with a place for
        them. By default the first ``queue_depth`` were pushed, and checked, long before cycle 0,
        and counters start there.
    spans : list of Span, optional
        Gets the spans of all cycles that the counters count, in their order.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        If there is no job, one does not fit the buffers, or a push would be refused.
    """
    if not jobs:
        raise ValueError("expected a job")
    results = _Results(shape)
    parts, spacing = results.parts, tile_spacing(rows=shape.rows, cols=shape.cols,
                                                 lanes=shape.lanes)
    whole = results.whole
    # From a tile's end until its bank may load.
    freed = timing.READ + (max(shape.rows, shape.cols) - 1) // timing.STEP + timing.FREED
    apart_begins = timing.WALK_NEXT + timing.TILE_OFFER
    table = _table_cycles(shape.bus_bytes)
    given = [] if pushes is None else list(pushes)

    def note(job: int, strip: int, cause: str, begin: int, end: int) -> None:
        """Cycles of one cause, if there are any."""
        if spans is not None and end > begin:
            spans.append(Span(job, strip, begin, end, **{cause: end - begin}))

    # When each stage may look for work again, and when it may see another job.
    loader = next_load = next_acts = next_walk = LONG_AGO
    bank_free, half_free = [LONG_AGO] * BANKS, [LONG_AGO] * HALVES
    begin = end = offer = LONG_AGO                  # of the last tile: begin, last column, offer
    retired: list[int] = []                         # when each job's last beat left the gearbox
    ends: list[int] = []
    push = groups = first_act = active = weights = acts = stalled = other = 0
    idle_from = 0                                   # first cycle not accounted for
    for number, job in enumerate(jobs):
        # The queue.
        place = LONG_AGO
        if number >= shape.queue_depth:
            place = retired[number - shape.queue_depth] + timing.RETIRED + timing.PLACE_SEEN
        if number:
            place = max(place, push + groups + timing.JUDGE + 1 + timing.PLACE_SEEN)
        groups = -(-job.tokens // shape.rows)
        if job.inputs * groups > shape.act_words:
            raise ValueError(f"K * groups must be at most act_words = {shape.act_words}, not "
                             f"{job.inputs * groups}")
        if number < len(given):
            if given[number] < place:
                raise ValueError(f"job {number} must be pushed in cycle {place} or later, "
                                 f"not {given[number]}")
            place = given[number]
        elif number < shape.queue_depth and not given:
            place = LONG_AGO + number * (shape.act_words + timing.PUSH + timing.JUDGE + 1
                                         + timing.PLACE_SEEN)
        push = place + timing.PUSH                  # when the queue takes it
        seen = push + groups + timing.JUDGE + timing.JOB_SEEN
        noted = idle_from                           # as idle_from, by spans
        if number == 0:
            noted = idle_from = push + 1 if given else 0
        elif push > ends[-1]:                       # the unit was done in between
            other -= push - ends[-1]
            note(number - 1, len(jobs[number - 1].columns) - 1, "other", idle_from, ends[-1] + 1)
            noted = push + 1

        # Activations.
        start = max(next_acts, seen, half_free[number % HALVES]) + timing.ACTS_START
        start = max(start, 0)
        if number == 0:
            first_act = start
        beats = -(-job.inputs * groups * shape.rows // shape.bus_bytes)
        empty = int(gearbox_cycles(beats, in_bytes=shape.bus_bytes, out_bytes=shape.rows)[1])
        next_acts = start + empty - 1 + timing.ACTS_END + timing.JOB_NEXT
        acts_ready = start + empty - 1 + timing.ACTS_READY

        # Strips, each loaded, then walked for all groups of tokens.
        loader = max(next_load, seen) + timing.JOB_START
        if job.lut:
            if number >= 2:
                loader = max(loader, retired[number - 2] + timing.RETIRED
                             + timing.TABLE_FREED)
            loader = max(loader + timing.PACKET_START, 0) + table + timing.PACKET_END
        loads = job.loads(shape)
        results.begin_job(raw=job.raw)
        known_from = max(next_walk, seen)           # a job, by the walk
        outputs_left = job.outputs
        for strip, kept in enumerate(job.columns):
            header = max(loader, bank_free[0]) + timing.PACKET_START
            loader = max(header, 0) + loads[strip]
            ready = loader + timing.STRIP_READY
            next_load = loader + timing.JOB_NEXT
            loader += timing.PACKET_END
            columns = kept or 1
            words = whole if outputs_left >= shape.cols else outputs_left * parts
            outputs_left -= shape.cols

            # Its first tile.
            offer = max(begin + timing.WALK_NEXT, ready + timing.TILE_TAKE,
                        acts_ready + timing.TILE_TAKE, known_from + timing.JOB_BEGUN)
            begin = max(offer + timing.TILE_OFFER, end, end + spacing - columns,
                        results.room_for(words) + timing.ROOM)
            if begin >= idle_from:                  # idle_from .. begin have no column
                known = max(known_from, idle_from)
                loaded = max(ready, known)
                there = max(acts_ready, loaded)
                offered = max(offer + timing.TILE_OFFER, idle_from)
                if there > offered:                 # all was there long before
                    known, loaded, there = min(known, offered), min(loaded, offered), offered
                weights += loaded - known
                acts += there - loaded
                stalled += begin - offered
                # No job is known, a job begins, a tile is offered; a tile begins.
                other += known - idle_from + offered - there + 1
                if spans is not None:
                    for cause, first, last in (
                            ("other", noted, known), ("stall_weights", known, loaded),
                            ("stall_acts", loaded, there), ("other", there, offered),
                            ("stall_results", offered, begin), ("other", begin, begin + 1)):
                        note(number, strip, cause, first, last)
            first_tile, before = begin + 1, (stalled, other)
            end = begin + columns

            # The others: only the array and the results can hold them up.
            many = results.service and words == whole and groups >= TILES_AT_ONCE
            least = max(columns, spacing, apart_begins)
            # A tile that waits takes so many cycles without a column that are no stall: until it
            # is in front of the issuer, and the one in which it begins.
            ahead = 1 + max(0, apart_begins - columns - 1)
            results.tile(end, words)
            done = 1
            while done < groups:
                if many and results.wholes >= TILES_OF_ROOM - 1:    # no smaller tile to wait for
                    offer, begin, waits, held = _whole_tiles(results, begin, columns,
                                                             groups - done, least)
                    end = begin + columns
                    other += waits * ahead
                    stalled += held - waits * ahead
                    break
                offer = begin + timing.WALK_NEXT
                begin = max(offer + timing.TILE_OFFER, end, end + spacing - columns,
                            results.room_for(words) + timing.ROOM)
                if begin > end:
                    other += ahead
                    stalled += begin - end - ahead
                end = begin + columns
                results.tile(end, words)
                done += 1
            noted = idle_from = end + 1
            active += columns * groups
            if spans is not None:
                spans.append(Span(number, strip, first_tile, idle_from, active=columns * groups,
                                  stall_results=stalled - before[0], other=other - before[1]))
            bank_free = [bank_free[1], end + freed]
        next_walk = offer + timing.JOB_NEXT
        half_free[number % HALVES] = end + freed
        retired.append(results.end_job())
        ends.append(retired[-1] + timing.RESULT_REGISTER)
    other += ends[-1] - end
    note(len(jobs) - 1, len(jobs[-1].columns) - 1, "other", end + 1, ends[-1] + 1)
    return Prediction(
        busy=active + weights + acts + stalled + other, active=active, stall_weights=weights,
        stall_acts=acts, stall_results=stalled, other=other, first_act=first_act,
        ends=tuple(ends))


def _whole_tiles(results: _Results, begin: int, columns: int, count: int, least: int,
                 ) -> tuple[int, int, int, int]:
    """Tiles behind one of the same strip; they and those they may wait for have every channel.

    Begins are ``least`` apart, or more. They go through ``results`` as well.

    Returns
    -------
    offer, begin : int
        Of the last tile.
    waits, held : int
        Tiles that did not follow at once, and cycles without a column before them.
    """
    taken, service = results.queued
    to_last = columns + taken[-1]       # from a begin to the last word, unless it waits for another
    apart = results.whole * service                 # of two tiles' last words, at least
    easy = apart <= least and to_last + timing.ROOM <= TILES_OF_ROOM * least
    lasts = results.lasts
    kept: list[tuple[int, int]] = []
    left, waits, held = count, 0, 0
    while left:
        last = lasts[-1]
        if (easy and last == begin + to_last
                and all(late + timing.ROOM <= begin + place * least
                        for place, late in enumerate(lasts, 1))):
            step, same = least, True                # nothing but the array's pace from here on
            following = last + step
        else:
            step = max(begin + least, lasts[0] + timing.ROOM) - begin
            following = max(begin + step + to_last, last + apart)
            # Does all that the next step depends on move by this one? Then so do all further ones.
            same = (following - last == step
                    and all(late - early == step for early, late in pairwise(lasts)))
        run = left if same else 1
        new = range(max(0, run - TILES_OF_ROOM), run)
        kept += [(begin + (tile + 1) * step + columns, last + tile * step) for tile in new]
        lasts = lasts[run:] + [following + tile * step for tile in new]
        begin += run * step
        if step > columns:
            waits += run
            held += run * (step - columns)
        left -= run
    results.run(count, kept[-TILES_OF_ROOM:], lasts)
    return begin - step + timing.WALK_NEXT, begin, waits, held


def _table_cycles(bus_bytes: int) -> int:
    """Cycles from a table packet's first beat to its last check."""
    unit_beats = spec.ALIGN_BYTES // bus_bytes
    return (unit_beats + timing.HEADER_CHECK + spec.LUT_ENTRIES + unit_beats
            + timing.PACKET_CHECK)


def strip_load_cycles(columns: int, *, in_features: int, cols: int, bus_bytes: int = 8,
                      block_inputs: int = 16, weight_bits: int = 8) -> int:
    """Cycles from one strip's first beat to the next one's, where its columns are evenly spread.

    Parameters
    ----------
    columns : int
        Columns of the strip; 0 for an empty one.
    in_features : int
        K.
    cols : int
        C of the array.
    bus_bytes, block_inputs, weight_bits : int
        Of the build.
    """
    counts = spread_counts(np.array([columns]), inputs=in_features, block_inputs=block_inputs)
    return timing.PACKET_END + timing.PACKET_START + int(load_cycles(
        counts, inputs=in_features, cols=cols, bus_bytes=bus_bytes, block_inputs=block_inputs,
        weight_bits=weight_bits)[0])


def split_tokens(tokens: int, *, inputs: int, rows: int, act_words: int) -> list[int]:
    """Tokens of each job: as few jobs as the activation buffer allows, evenly filled.

    Parameters
    ----------
    tokens, inputs : int
        M and K, which must not be above ``act_words``.
    rows : int
        R of the array; only the last job's tokens need not fill whole groups of them.
    act_words : int
        Words of half the activation buffer.
    """
    groups = -(-tokens // rows)
    jobs = -(-groups // (act_words // inputs))
    ends = [groups * job // jobs for job in range(jobs + 1)] if jobs else []
    return [min(end * rows, tokens) - begin * rows for begin, end in pairwise(ends)]


def layer_jobs(job: UnitJob, shape: UnitShape) -> list[UnitJob]:
    """The jobs that a layer takes where its tokens do not fit the activation buffer.

    Each takes the whole weight stream again.

    Raises
    ------
    ValueError
        If K activations do not fit.
    """
    if job.inputs > shape.act_words:
        raise ValueError(f"in_features must be at most act_words = {shape.act_words}, "
                         f"not {job.inputs}")
    return [replace(job, tokens=tokens) for tokens in split_tokens(
        job.tokens, inputs=job.inputs, rows=shape.rows, act_words=shape.act_words)]


def layer_cycles(columns_per_strip: Sequence[int], *, rows: int, cols: int, lanes: int,
                 tokens: int, in_features: int, out_features: int | None = None,
                 bus_bytes: int = 8, act_words: int = 8192, block_inputs: int = 16,
                 weight_bits: int = 8, raw: bool = False, lut: bool = False, alone: bool = True,
                 counts: np.ndarray | None = None) -> int:
    """Cycles of a layer on the unit.

    Parameters
    ----------
    columns_per_strip : sequence of int
        Columns of each strip of C outputs; an empty strip (0) runs one of weight zero. They are
        taken to be evenly spread, unless ``counts`` says where they are.
    rows, cols, lanes : int
        R and C of the array, and results post-processed in a cycle.
    tokens : int
        M. Split over jobs where the activation buffer is too small, see :func:`layer_jobs`.
    in_features : int
        K.
    out_features : int, optional
        N; by default every strip is whole.
    bus_bytes, act_words, block_inputs, weight_bits : int
        Of the build: bytes of a beat, words of half the activation buffer, inputs of a mask, bits
        of a weight.
    raw, lut : bool
        Results are int32; the stream begins with a table.
    alone : bool
        From the first activation beat to the last result beat. Otherwise what the layer adds to a
        queue of layers like it.
    counts : ndarray of int, shape (strips, ceil(K / block_inputs)), optional
        Columns of each block, as in :class:`UnitJob`. The answer is exact only with them.

    Returns
    -------
    int

    Raises
    ------
    ValueError
        If a size is below 1, or K activations do not fit the buffer.
    """
    shape = UnitShape(rows=rows, cols=cols, lanes=lanes, bus_bytes=bus_bytes,
                      block_inputs=block_inputs, act_words=act_words, weight_bits=weight_bits)
    out_features = len(columns_per_strip) * cols if out_features is None else out_features
    if in_features < 1:
        raise ValueError("sizes must be 1 or more")
    if counts is None:
        counts = spread_counts(np.asarray(columns_per_strip, np.int64), inputs=in_features,
                               block_inputs=block_inputs)
    jobs = layer_jobs(UnitJob(inputs=in_features, outputs=out_features, tokens=tokens,
                              counts=counts, raw=raw, lut=lut), shape)
    if alone:
        return predict(jobs, shape).cycles
    return predict(jobs * 4, shape).ends[-1] - predict(jobs * 3, shape).ends[-1]


def delay_bounds(free: int, stalls: Mapping[str, int]) -> tuple[int, int]:
    """Bounds of a time where sources pause and the sink does not always take.

    Parameters
    ----------
    free : int
        ``busy`` or one of ``ends`` of a :class:`Prediction`: the same queue and pushes, no pauses.
    stalls : mapping of str to int
        For ``weights``, ``acts`` and ``results`` the cycles, from cycle 0 to the last result, in
        which only the other side held up the port: TREADY without TVALID on the inputs, TVALID
        without TREADY on the results.

    Returns
    -------
    low, high : int
        Pauses never make the unit faster, and a cycle in which ports were held up delays all that
        follows by one at most: each event waits for the latest of some others. ``docs/cycles.md``
        has the argument. ``active`` does not depend on pauses at all.
    """
    return free, free + sum(stalls[port] for port in ("weights", "acts", "results"))
