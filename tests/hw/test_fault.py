# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.fault import SOURCES, Fault
from tests.hw.bench import run

INPUTS = (*SOURCES, "strip", "clear", "results_open", "results_idle", "inputs_started")
OUTPUTS = ("run", "stopped", "clearing", "raised", "cause", "at_strip", "close", "halt")
RUN, STOPPED, CLEARING = (1, 0, 0), (0, 1, 0), (0, 0, 1)


def simulate(cycles):
    """Outputs in each cycle as dicts; inputs not given are 0, ``results_idle`` 1.

    Errors and clears come a cycle before the cycle they are listed in: they are registered.
    """
    dut, seen = Fault(), []

    async def drive(ctx):
        for inputs, early in zip([{}, *cycles], [*cycles, {}], strict=True):
            assert set(early) <= set(INPUTS)
            for name in INPUTS:
                chosen = early if name in (*SOURCES, "strip", "clear") else inputs
                ctx.set(getattr(dut, name), chosen.get(name, int(name == "results_idle")))
            *_, close_cause, values = await sample(ctx)
            seen.append({**dict(zip(OUTPUTS, values, strict=True)), "close_cause": close_cause})

    async def sample(ctx):
        *values, close_cause = (await ctx.tick().sample(
            *(getattr(dut, name) for name in OUTPUTS), dut.close_cause))[2:]
        return close_cause, values

    run(dut, drive, max_cycles=len(cycles) + 10)
    assert state(seen.pop(0)) == RUN
    for cycle, inputs in zip(seen, cycles, strict=True):
        stops = inputs.get("clear") or any(inputs.get(source) for source in SOURCES)
        assert cycle["halt"] == (not cycle["run"] or bool(stops))
        assert state(cycle) in (RUN, STOPPED, CLEARING)
    return seen


def state(cycle):
    return cycle["run"], cycle["stopped"], cycle["clearing"]


def test_runs_and_asks_for_nothing():
    seen = simulate([{"results_open": 1, "inputs_started": 1, "strip": 5}] * 5)
    assert [state(cycle) for cycle in seen] == [RUN] * 5
    assert not any(cycle["close"] or cycle["raised"] for cycle in seen)
    assert {(cycle["cause"], cycle["at_strip"]) for cycle in seen} == {(0, 0)}


@pytest.mark.parametrize("found", [
    {source: index + 3 for index, source in enumerate(SOURCES) if chosen >> index & 1}
    for chosen in range(1, 8)], ids=lambda found: "+".join(found))
def test_an_error_stops_with_the_first_source_as_cause(found):
    cause = found[next(source for source in SOURCES if source in found)]
    later = {"job": 18, "weights": 11, "acts": 16, "strip": 1}
    for is_open in (0, 1):
        seen = simulate([{"strip": 6}, {**found, "strip": 7, "results_open": is_open},
                         {"strip": 8}, later, {}])
        assert [state(cycle) for cycle in seen] == [RUN, RUN, STOPPED, STOPPED, STOPPED]
        assert [cycle["raised"] for cycle in seen] == [0, 1, 0, 0, 0]
        assert [cycle["close"] for cycle in seen] == [0, 1, 0, 0, 0]
        assert seen[1]["close_cause"] == cause
        assert [(cycle["cause"], cycle["at_strip"]) for cycle in seen] == [
            (0, 0), (0, 0), (cause, 7), (cause, 7), (cause, 7)]


@pytest.mark.parametrize("is_open", [0, 1])
def test_clear_while_running_ends_an_open_packet_with_cause_0(is_open):
    """Even if an error is found in the same cycle."""
    seen = simulate([{"clear": 1, "results_open": is_open, "weights": 11, "strip": 3}, {}, {}, {}])
    assert [state(cycle) for cycle in seen] == [RUN, CLEARING, CLEARING, RUN]
    assert [cycle["close"] for cycle in seen] == [is_open, 0, 0, 0]
    assert seen[0]["close_cause"] == 0
    assert not any(cycle["raised"] or cycle["cause"] or cycle["at_strip"] for cycle in seen)


def test_clear_when_stopped_forgets_the_cause_and_closes_no_second_time():
    seen = simulate([{"acts": 15, "strip": 2}, {"results_open": 1}, {"clear": 1, "results_open": 1},
                     {"results_open": 1}, {"results_open": 1}, {}])
    assert [state(cycle) for cycle in seen] == [RUN, STOPPED, STOPPED, CLEARING, CLEARING, RUN]
    assert [cycle["close"] for cycle in seen] == [1, 0, 0, 0, 0, 0]
    assert [cycle["cause"] for cycle in seen] == [0, 15, 15, 0, 0, 0]
    assert [cycle["at_strip"] for cycle in seen] == [0, 2, 2, 0, 0, 0]


def test_clearing_waits_for_results_and_inputs():
    busy = [{"results_idle": 0}] * 3 + [{"inputs_started": 1}] * 3 + [
        {"results_idle": 0, "inputs_started": 1}]
    seen = simulate([{"clear": 1}, *busy, {}, {}])
    assert [state(cycle) for cycle in seen] == [RUN, *[CLEARING] * 8, RUN]


def test_a_close_just_asked_for_is_waited_for():
    """The result port shows it as not idle only in the next cycle."""
    seen = simulate([{"clear": 1, "results_open": 1, "results_idle": 1}, {"results_idle": 0},
                     {"results_idle": 0}, {"results_idle": 1}, {}])
    assert [state(cycle) for cycle in seen] == [RUN, CLEARING, CLEARING, CLEARING, RUN]
    seen = simulate([{"clear": 1}, {"results_idle": 1}, {"results_idle": 0}, {}, {}])
    assert [state(cycle) for cycle in seen] == [RUN, CLEARING, CLEARING, CLEARING, RUN]


def test_errors_and_clears_while_clearing_change_nothing():
    seen = simulate([{"clear": 1}, {"clear": 1, "job": 18, "results_open": 1},
                     {"clear": 1, "weights": 3, "inputs_started": 1, "results_open": 1}, {}, {}])
    assert [state(cycle) for cycle in seen] == [RUN, CLEARING, CLEARING, CLEARING, RUN]
    assert not any(cycle["raised"] or cycle["close"] or cycle["cause"] for cycle in seen)


def test_random_sequences():
    """One closing beat for each error and each clear of an open packet, and never another."""
    rng = random.Random(8)
    cycles = [{**{source: rng.choice([0] * 12 + [rng.randint(1, 19)]) for source in SOURCES},
               "strip": rng.randrange(1 << 16), "clear": int(rng.random() < 0.15),
               "results_open": rng.randrange(2), "results_idle": rng.randrange(2),
               "inputs_started": rng.randrange(2)} for _ in range(2000)]
    seen = simulate(cycles)
    now, latched, settle, visits = RUN, (0, 0), False, {RUN: 0, STOPPED: 0, CLEARING: 0}
    for at, (inputs, cycle) in enumerate(zip(cycles, seen, strict=True)):
        where = f"cycle {at}"
        found = next((inputs[source] for source in SOURCES if inputs[source]), 0)
        assert state(cycle) == now, where
        assert (cycle["cause"], cycle["at_strip"]) == latched, where
        close = now == RUN and bool(inputs["results_open"] if inputs["clear"] else found)
        assert cycle["close"] == close, where
        if close:
            assert cycle["close_cause"] == (0 if inputs["clear"] else found), where
        assert cycle["raised"] == (now == RUN and not inputs["clear"] and bool(found)), where
        visits[now] += 1
        if now == CLEARING:
            if not settle and inputs["results_idle"] and not inputs["inputs_started"]:
                now = RUN
            settle = False
        elif inputs["clear"]:
            now, latched, settle = CLEARING, (0, 0), True
        elif now == RUN and found:
            now, latched = STOPPED, (found, inputs["strip"])
    assert min(visits.values()) > 100
