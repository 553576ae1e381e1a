"""The cycle model's spans against what the RTL's counters counted in each single cycle."""
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from sparseloom.model.packed.cycles import CAUSES, Span
from sparseloom.sim.layer import run_layer
from sparseloom.sim.page.timeline import layer_spans
from tests.layers import random_acts, random_layer
from tests.sim.test_unit import CONFIGS

CONFIG = CONFIGS["1x1"]
PERIOD = 10_000
"""Of the bench's clock, in the waveform's units of 1 ps; it rises at whole periods."""


def counted(waves: Path) -> list[str]:
    """Cause of each busy cycle, in order, from the steps of the unit's counters in a VCD."""
    steps: dict[str, str] = {}
    state: dict[str, bool] = {}
    found, time = [], 0

    def cycle():
        if time % PERIOD == 0 and state.get("busy"):
            cause, = (name for name in CAUSES if state.get(name))   # exactly one
            found.append(cause)

    for line in waves.read_text().splitlines():
        match line.split():
            case ["$var", _, _, key, name, *_] if name.endswith("_step"):
                steps[key] = name.removesuffix("_step").lower()
            case [word] if word[0] == "#":
                cycle()
                time = int(word[1:])
            case [word] if word[0] in "01" and word[1:] in steps:
                state[steps[word[1:]]] = word[0] == "1"
    cycle()
    return found


def wrong(spans: list[Span], seen: list[str], shift: int = 0) -> list[Span]:
    """Spans in whose cycles the RTL counted something else; both end with the last result beat.

    Cycles in which the unit is idle are in no span, and it does not count them.
    """
    # Busy before the first beat was offered: the spans do not begin as early.
    at, found = len(seen) - sum(span.end - span.begin for span in spans) + shift, []
    for span in spans:
        there, at = seen[at:at + span.end - span.begin], at + span.end - span.begin
        if Counter(there) != Counter({name: getattr(span, name) for name in CAUSES
                                      if getattr(span, name)}):
            found.append(span)
    return found


@pytest.mark.parametrize(("shape", "tokens", "jobs"), [
    ({"inputs": 12, "outputs": 9, "density": 0.6}, 4, 1),
    ({"inputs": 20, "outputs": 6, "density": 0.5, "raw": True}, 9, 2),
], ids=["a job", "two raw jobs"])
def test_each_span_is_what_the_unit_counted(shape, tokens, jobs, tmp_path):
    rng = np.random.default_rng(3)
    layer = random_layer(rng, p=1, q=1, **shape)
    run = run_layer(layer, random_acts(rng, tokens, layer.in_features), CONFIG, waves=True,
                    folder=tmp_path)
    assert run.waves is not None and (run.mismatches, run.jobs) == (0, jobs)
    seen, spans = counted(run.waves), layer_spans(layer, tokens, CONFIG)
    assert Counter(seen) == Counter({name: run.counters[name] for name in CAUSES
                                     if run.counters[name]})
    assert wrong(spans, seen) == []
    assert wrong(spans, seen, shift=-1) != []       # a cycle early would be noticed
    assert {name for span in spans for name in CAUSES if getattr(span, name)} == set(CAUSES)
