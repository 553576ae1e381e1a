import dataclasses

import pytest

from sparseloom.hw.devices import DEVICES
from sparseloom.model.errors import InputError
from sparseloom.sim.explore import run as module
from sparseloom.sim.explore.farm import Serial
from sparseloom.sim.explore.front import pareto_front
from sparseloom.sim.explore.run import Question, explore, measure_front
from sparseloom.sim.explore.scores import Score, Scores
from sparseloom.sim.explore.space import Axes
from sparseloom.sim.explore.store import PointStore
from tests.sim.explorations import AXES, TINY, lines, question

BUILDS = 2 * 2 * 2 * 2


class Counted(Serial):
    """Notes what it is asked to compute; stops like Ctrl-C after so many tasks."""

    def __init__(self, stop_after=None):
        self.tasks, self.stop_after = 0, stop_after

    def results(self, function, arguments):
        for result in super().results(function, arguments):
            if self.tasks == self.stop_after:
                raise KeyboardInterrupt
            self.tasks += 1
            yield result


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keep")
    return explore(question(), Serial(), PointStore(folder)), folder


def test_every_candidate_is_a_point(found):
    findings, folder = found
    assert len(findings.points) == BUILDS * 2 * 2 * 3
    # Without pruning a structure is none.
    assert findings.distinct == findings.computed == len(lines(folder)) == BUILDS * 2 * (2 * 2 + 1)
    assert findings.refused == {}
    clocks = {(point.config.rows, point.config.cols): point.clock.source
              for point in findings.points}
    assert clocks[3, 4] == "4x4-25k" and clocks[8, 7] == "12x12-85k"
    point = findings.points[0]
    assert point.latency_ms == point.cycles / (1000 * point.clock.mhz)


def test_equal_masks_share_their_points(tmp_path):
    axes = dataclasses.replace(AXES, blocks=((6, 4), (6, 5)), structures=("column",))
    findings = explore(question(axes=axes), Serial(), PointStore(tmp_path))
    assert len(findings.points) == 2 * findings.distinct == 2 * BUILDS * 3


def test_a_repeat_computes_nothing(found):
    findings, folder = found
    farm = Counted()
    again = explore(question(), farm, PointStore(folder))
    assert farm.tasks == again.computed == 0
    assert again.points == findings.points and again.front == findings.front
    other = explore(question(device="25k", clock_mhz=50.0, fill=0.5), farm, PointStore(folder))
    assert farm.tasks == 0, "cycles do not depend on the device"
    assert {point.clock.source for point in other.points} == {"given"}
    more = explore(question(axes=dataclasses.replace(AXES, compressions=(2.0, 3.0))), farm,
                   PointStore(folder))
    assert more.computed == more.distinct / 2


def test_an_interrupted_run_goes_on_where_it_was(found, tmp_path):
    findings, _ = found
    with pytest.raises(KeyboardInterrupt):
        explore(question(), Counted(stop_after=5), PointStore(tmp_path))
    assert len(lines(tmp_path)) == 5 * module.CHUNK
    farm = Counted()
    rest = explore(question(), farm, PointStore(tmp_path))
    assert rest.computed == findings.computed - 5 * module.CHUNK
    assert len(lines(tmp_path)) == findings.computed, "each once"
    assert rest.points == findings.points and rest.front == findings.front


def test_another_cycle_model_computes_anew(found, monkeypatch):
    _, folder = found
    monkeypatch.setattr("sparseloom.sim.explore.point.code_digest", lambda: "another")
    small = question(axes=Axes(arrays=((2, 3),), blocks=((6, 4),), compressions=(2.0,)))
    assert explore(small, Serial(), PointStore(folder)).computed == 1


def test_the_front_is_over_compression_and_bits_where_nothing_was_scored(found):
    findings, _ = found
    points = findings.points
    costs = [(point.pruning.compression, -point.config.weight_bits, point.latency_ms,
              point.resources.comb, point.resources.dsp, point.resources.bram)
             for point in points]
    assert sorted(findings.front) == pareto_front(costs)
    assert 0 < len(findings.front) < len(points)
    latencies = [points[index].latency_ms for index in findings.front]
    assert latencies == sorted(latencies)
    assert {points[index].config.weight_bits for index in findings.front} == {8, 4}
    assert not findings.by_score


def test_the_front_is_over_scores_where_some_are_known(tmp_path, found):
    low, high = (Score(value=value, seeds=1, metric="m") for value in (70.0, 80.0))
    scores = Scores({("column", 6, 4, 2.0, 8): high, ("column", 6, 4, 4.0, 8): low,
                     ("block", 4, 5, 4.0, 8): high})
    findings = explore(question(scores=scores), Serial(), PointStore(found[1]))
    assert findings.by_score and findings.computed == 0
    front = [findings.points[index] for index in findings.front]
    assert all(point.score is not None for point in front)
    scored = [point for point in findings.points if point.score is not None]
    assert len(scored) == 3 * BUILDS / 2
    costs = [(-score.value, point.latency_ms, point.resources.comb, point.resources.dsp,
              point.resources.bram)
             for point in scored if (score := point.score) is not None]
    assert sorted(map(repr, front)) == sorted(
        repr(scored[index]) for index in pareto_front(costs))
    # 4x with a high score beats 2x with the same one wherever it is faster.
    assert {point.pruning.compression for point in front} == {4.0}


def test_limits_of_the_device_hold_for_every_point(tmp_path):
    axes = Axes(arrays=tuple((rows, cols) for rows in (2, 4, 8) for cols in (2, 4, 8, 16)),
                compressions=(4.0,), blocks=((6, 4),), act_words=(2048, 8192))
    limits = DEVICES["25k"]
    findings = explore(question(axes=axes, device="25k", fill=0.3), Serial(), PointStore(tmp_path))
    for point in findings.points:
        cells = point.resources
        assert cells.dsp <= limits.dsp and cells.bram <= limits.bram
        assert cells.comb <= 0.3 * limits.lut4 and cells.ff <= 0.3 * limits.ff
    assert set(findings.refused) >= {"MULT18X18D", "DP16KD"}
    assert 0 < len(findings.points) < 24


def test_builds_hold_the_inputs_of_a_context(tmp_path):
    axes = Axes(arrays=((2, 3),), compressions=(2.0,), blocks=((6, 4),))
    assert TINY.max_inputs < 1536
    for tokens, max_k in ((17, 1536), (1600, 1600)):
        findings = explore(question(axes=axes, tokens=tokens), Serial(), PointStore(tmp_path))
        assert [point.config.max_k for point in findings.points] == [max_k]


def test_nothing_left_says_why(tmp_path):
    axes = Axes(arrays=((32, 32),), compressions=(1000.0,), blocks=((6, 4),))
    with pytest.raises(InputError) as caught:
        explore(question(axes=axes), Serial(), PointStore(tmp_path))
    assert str(caught.value).startswith("no candidate for LFE5U-85F is left: 1 × ")
    assert "1 × MULT18X18D" in str(caught.value)
    assert "1 × compression: expected at most" in str(caught.value)


def test_a_pruning_that_cannot_be_is_left_out(tmp_path):
    axes = Axes(arrays=((2, 3),), compressions=(2.0, 1000.0), blocks=((6, 4),))
    findings = explore(question(axes=axes), Serial(), PointStore(tmp_path))
    assert len(findings.points) == 1 and sum(findings.refused.values()) == 1


def test_builds_of_the_front_are_measured_once(tmp_path, monkeypatch):
    small = question(axes=Axes(arrays=((2, 3), (4, 3), (8, 3)), blocks=((6, 4),),
                               compressions=(2.0, 4.0)))
    asked = []

    def measure(build):
        asked.append((build.config.rows, build.kind, build.seeds))
        if build.config.rows == 8:
            return {"key": build.key, "kind": build.kind, "refused": "too large"}
        return {"key": build.key, "kind": build.kind, "lut4": 1, "comb": 12345, "ff": 3,
                "dsp": 4, "bram": 5, "mhz": 61.5}

    monkeypatch.setattr(module, "measure_build", measure)
    store = PointStore(tmp_path)
    findings = explore(small, Serial(), store)
    assert {point.measured for point in findings.points} == {None}
    measure_front(findings, Serial(), store, kind="fit", most=2, seeds=3, work=tmp_path)
    assert asked == [(8, "fit", 3), (4, "fit", 3)], "the fastest of the front first"
    by_rows = {point.config.rows: point for point in findings.points}
    assert set(by_rows) == {2, 4}, "what does not fit is gone"
    assert by_rows[4].measured == "fit" and by_rows[2].measured is None
    assert by_rows[4].resources.comb == 12345
    assert (by_rows[4].clock.mhz, by_rows[4].clock.source) == (61.5, "measured")
    assert findings.notes == ["8 × 3: too large"] and findings.measured == 2
    again = explore(small, Serial(), store)
    measure_front(again, Serial(), store, kind="fit", most=2, seeds=3, work=tmp_path)
    assert len(asked) == 2 and again.measured == 0
    assert again.points == findings.points and again.front == findings.front
    measure_front(again, Serial(), store, kind="synth", most=1, seeds=3, work=tmp_path)
    assert asked[2:] == [(again.points[again.front[0]].config.rows, "synth", 3)]


@pytest.mark.parametrize(("changes", "says"), [
    ({"device": "5k"}, "device: expected one of 25k, 45k, 85k, found '5k'"),
    ({"tokens": 0}, "tokens: expected 1 to 65535, found 0"),
    ({"fill": 0.0}, "fill: expected more than 0 and at most 1, found 0"),
    ({"clock_mhz": -1.0}, "clock: expected more than 0 MHz, found -1")])
def test_questions_that_make_no_sense(changes, says):
    with pytest.raises(InputError, match=f"^{says}$"):
        question(**changes)


def test_a_clock_is_needed_where_no_fit_is_known():
    bare: Question = question()
    bare = dataclasses.replace(bare, resources=dataclasses.replace(bare.resources, clocks=()))
    with pytest.raises(InputError, match=r"^--clock-mhz: expected a clock, since no measured"):
        bare.clock(next(AXES.builds(4)))
