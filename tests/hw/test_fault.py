# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.fault import SOURCES, Fault
from tests.hw.bench import run

INPUTS = (*SOURCES, "strip", "drop", "clear", "results_open", "results_idle", "inputs_started")
OUTPUTS = ("run", "stopped", "clearing", "raised", "cause", "at_strip", "close", "halt")
EARLY = (*SOURCES, "strip", "drop", "clear")
RUN, STOPPED, CLEARING = (1, 0, 0), (0, 1, 0), (0, 0, 1)
SETTLE = 2 + Fault.DOORS_SHUT
"""Cycles of a clear that waits for nothing."""


def simulate(cycles):
    """Outputs in each cycle as dicts; inputs not given are 0, ``results_idle`` 1.

    Errors and clears come ``NOTICE`` cycles before the cycle they are listed in.
    """
    dut, seen, notice = Fault(), [], Fault.NOTICE

    async def drive(ctx):
        for inputs, early in zip([{}] * notice + cycles, cycles + [{}] * notice, strict=True):
            assert set(early) <= set(INPUTS)
            for name in INPUTS:
                chosen = early if name in EARLY else inputs
                ctx.set(getattr(dut, name), chosen.get(name, int(name == "results_idle")))
            _, _, *values = await ctx.tick().sample(*(getattr(dut, name) for name in OUTPUTS))
            seen.append(dict(zip(OUTPUTS, values, strict=True)))

    run(dut, drive, max_cycles=len(cycles) + 10)
    assert all(state(cycle) == RUN for cycle in seen[:notice])
    seen = seen[notice:]
    ran = 1
    for cycle in seen:
        assert state(cycle) in (RUN, STOPPED, CLEARING)
        assert cycle["halt"] or (ran and cycle["run"]), "a cycle longer than stopped"
        ran = cycle["run"]
    return seen


def state(cycle):
    return cycle["run"], cycle["stopped"], cycle["clearing"]


def flags(seen, name):
    return [cycle[name] for cycle in seen]


def test_runs_and_asks_for_nothing():
    seen = simulate([{"results_open": 1, "inputs_started": 1, "strip": 5}] * 5)
    assert [state(cycle) for cycle in seen] == [RUN] * 5
    assert not any(cycle["close"] or cycle["raised"] or cycle["halt"] for cycle in seen)
    assert {(cycle["cause"], cycle["at_strip"]) for cycle in seen} == {(0, 0)}


@pytest.mark.parametrize("found", [
    {source: index + 3 for index, source in enumerate(SOURCES) if chosen >> index & 1}
    for chosen in range(1, 8)], ids=lambda found: "+".join(found))
def test_an_error_stops_with_the_first_source_as_cause(found):
    cause = found[next(source for source in SOURCES if source in found)]
    later = {"job": 18, "weights": 11, "acts": 16, "strip": 1}
    for is_open in (0, 1):
        seen = simulate([{"strip": 6}, {**found, "strip": 7, "results_open": is_open},
                         {**later, "strip": 8}, later, {}])
        assert [state(cycle) for cycle in seen] == [RUN, RUN, STOPPED, STOPPED, STOPPED]
        assert flags(seen, "halt") == [0, 1, 1, 1, 1]
        assert flags(seen, "raised") == flags(seen, "close") == [0, 0, 1, 0, 0]
        assert [(cycle["cause"], cycle["at_strip"]) for cycle in seen] == [
            (0, 0), (0, 0), (cause, 7), (cause, 7), (cause, 7)]


def test_an_error_of_what_is_dropped_is_none():
    seen = simulate([{source: 4, "drop": 1} for source in SOURCES] + [{}] * 3)
    assert [state(cycle) for cycle in seen] == [RUN] * 6
    assert not any(cycle["close"] or cycle["raised"] or cycle["cause"] for cycle in seen)


@pytest.mark.parametrize("is_open", [0, 1])
def test_clear_while_running_ends_an_open_packet_with_cause_0(is_open):
    """Even if an error is found in the same cycle; the packet is looked at when results halt."""
    seen = simulate([{"results_open": 1 - is_open},
                     {"clear": 1, "results_open": is_open, "weights": 11, "strip": 3},
                     *[{"results_open": 1 - is_open}] * SETTLE, {}])
    assert [state(cycle) for cycle in seen] == [RUN, RUN, *[CLEARING] * SETTLE, RUN]
    assert flags(seen, "halt") == [0, 1, *[1] * SETTLE, 1]
    assert flags(seen, "close") == [0, 0, is_open, *[0] * SETTLE]
    assert not any(cycle["raised"] or cycle["cause"] or cycle["at_strip"] for cycle in seen)


def test_clear_when_stopped_forgets_the_cause_and_closes_no_second_time():
    seen = simulate([{"acts": 15, "strip": 2}, {"results_open": 1}, {"clear": 1, "results_open": 1},
                     *[{"results_open": 1}] * SETTLE, {}])
    assert [state(cycle) for cycle in seen] == [RUN, STOPPED, STOPPED, *[CLEARING] * SETTLE, RUN]
    assert flags(seen, "close") == [0, 1, 0, *[0] * SETTLE, 0]
    held = [0, 1, 1, 1, *[0] * SETTLE]      # gone a cycle after the clearing began
    assert flags(seen, "cause") == [15 * on for on in held]
    assert flags(seen, "at_strip") == [2 * on for on in held]


def test_clearing_waits_for_results_and_inputs():
    busy = [{"results_idle": 0}] * 4 + [{"inputs_started": 1}] * 4 + [
        {"results_idle": 0, "inputs_started": 1}]
    seen = simulate([{"clear": 1}, *busy, {}, {}, {}])
    assert [state(cycle) for cycle in seen] == [RUN, *[CLEARING] * 11, RUN]


@pytest.mark.parametrize("what", [{"results_idle": 0}, {"inputs_started": 1}])
def test_what_just_began_is_waited_for(what):
    """A close is not idle only in the cycle behind; a packet may begin while the doors shut."""
    late = 1 + Fault.DOORS_SHUT
    seen = simulate([{"clear": 1, "results_open": 1}, *[{}] * (late - 1), what, what, {}, {}, {}])
    assert [state(cycle) for cycle in seen] == [
        RUN, *[CLEARING] * (late + 3), RUN]


def test_errors_and_clears_while_clearing_change_nothing():
    seen = simulate([{"clear": 1}, {"clear": 1, "job": 18, "results_open": 1},
                     *[{}] * (Fault.DOORS_SHUT - 1),
                     {"clear": 1, "weights": 3, "inputs_started": 1, "results_open": 1},
                     *[{}] * (SETTLE + 1 - Fault.DOORS_SHUT)])
    assert [state(cycle) for cycle in seen] == [RUN, *[CLEARING] * (SETTLE + 1), RUN]
    assert not any(cycle["raised"] or cycle["close"] or cycle["cause"] for cycle in seen)


def test_random_sequences():
    """One closing beat for each error and each clear of an open packet, and never another."""
    rng = random.Random(8)
    cycles = [{**{source: rng.choice([0] * 12 + [rng.randint(1, 19)]) for source in SOURCES},
               "strip": rng.randrange(1 << 16), "clear": int(rng.random() < 0.15),
               "drop": int(rng.random() < 0.2),
               "results_open": rng.randrange(2), "results_idle": rng.randrange(2),
               "inputs_started": rng.randrange(2)} for _ in range(4000)]
    seen = simulate(cycles)
    now, latched, visits, closes = RUN, (0, 0), {RUN: 0, STOPPED: 0, CLEARING: 0}, 0
    since, quiet, due, strip, heard = 0, True, (False, False), 0, [True] * Fault.NOTICE
    told = False
    for at, (inputs, cycle) in enumerate(zip(cycles, seen, strict=True)):
        where = f"cycle {at}"
        found = next((inputs[source] for source in SOURCES if inputs[source]), 0)
        # Told in the cycle NOTICE before: only a running unit listens.
        is_found = heard.pop(0) and bool(found) and not inputs["drop"]
        if not told:
            strip = inputs["strip"]
        told = is_found
        assert state(cycle) == now, where
        assert (cycle["cause"], cycle["at_strip"]) == latched, where
        assert (cycle["close"], cycle["raised"]) == due, where
        closes += cycle["close"]
        visits[now] += 1
        since = since + 1 if now == CLEARING else 0
        heard.append(seen[at]["run"])
        due = (now == RUN and bool(inputs["results_open"] if inputs["clear"] else is_found),
               now == RUN and not inputs["clear"] and is_found)
        if now == CLEARING:
            latched = (0, 0)
            if since >= SETTLE and quiet:
                now = RUN
        elif inputs["clear"]:
            now = CLEARING
        elif now == RUN and is_found:
            now, latched = STOPPED, (found, strip)
        quiet = bool(inputs["results_idle"] and not inputs["inputs_started"])
    assert min(visits.values()) > 100 and closes > 100
