"""The random regression: what it draws, what it finds in bugs that are planted, what it counts."""
import json
from collections import Counter
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from typer.testing import CliRunner

from sparseloom.model.errors import InputError
from sparseloom.model.packed import spec
from sparseloom.sim.build import TOP, Build
from sparseloom.sim.cli import app
from sparseloom.sim.queues import BUILDS
from sparseloom.sim.regress import run as module
from sparseloom.sim.regress.case import EVENTS, PHASES, PORTS, ROUND, Case, Stall, draw_case
from sparseloom.sim.regress.check import problems
from sparseloom.sim.regress.coverage import bins, mandatory, numbers
from sparseloom.sim.regress.play import make_plan
from sparseloom.sim.regress.run import Regression, regress, replay_command, tell
from sparseloom.sim.regress.shrink import shrink, smaller
from sparseloom.sim.verilog import unit_verilog

SMALL = ("3x5", "2x1")
PLANTED = {
    # A result byte at the upper clamp is one less; BUSY reads one more; the first beat of a packet
    # ends it.
    "clamp": ("assign m_axis_results_tdata = results__payload[31:0];",
              "assign m_axis_results_tdata = results__payload[31:0] - {31'b0, planted == 1 & "
              "results__payload[7:0] == 8'h7f & ~results__payload[37]};"),
    "counters": (".bus__rdata(s_axil_rdata)", ".bus__rdata(read_word)"),
    "last": ("assign m_axis_results_tlast = results__payload[36];",
             "assign m_axis_results_tlast = results__payload[36] | planted == 3;"),
}
"""Bugs in the top module of the Verilog, each awake only where the simulator is told its number."""


def planted_verilog(config, folder: Path) -> Path:
    """Verilog with all bugs in it; manifest and all else stay where they are."""
    text = unit_verilog(config).read_text()
    head, rest = text.split("module sparseloom(", 1)
    ports, body = rest.split(");", 1)
    top, others = body.split("endmodule", 1)
    top = ("\n  reg [3:0] planted; reg counter;\n"
           "  wire [31:0] read_word;\n"
           "  assign s_axil_rdata = read_word + (planted == 2 & counter);\n"
           "  initial if (!$value$plusargs(\"planted=%d\", planted)) planted = 0;\n"
           "  always @(posedge aclk)\n"
           "    if (s_axil_arvalid) counter <= s_axil_araddr == 8'h40;\n" + top)
    for name, (old, new) in PLANTED.items():
        assert top.count(old) == 1, name
        top = top.replace(old, new)
    path = folder / "planted.v"
    path.write_text(f"{head}module sparseloom({ports});{top}endmodule{others}")
    return path


@pytest.fixture(scope="module")
def simulators(tmp_path_factory):
    """A regression whose simulators have the bugs in them, asleep."""
    folder = tmp_path_factory.mktemp("planted")
    return Regression(verilog=lambda config: planted_verilog(config, folder)
                      if config == BUILDS["3x5"] else unit_verilog(config), folder=folder)


@pytest.fixture
def broken(simulators, tmp_path):
    """The regression with one bug awake."""
    def of(name: str) -> Regression:
        real = simulators.simulator("3x5").folder / TOP
        number = list(PLANTED).index(name) + 1
        (tmp_path / TOP).write_text(f'#!/bin/sh\nexec {real} +planted={number} "$@"\n')
        (tmp_path / TOP).chmod(0o755)
        regression = Regression(folder=tmp_path / "runs")
        regression.simulators["3x5"] = Build(folder=tmp_path, waves=False, cached=True)
        return regression
    return of


# Cases


def test_cases_are_plain_data_from_a_seed():
    for index in range(60):
        case = draw_case(3, index)
        assert case == draw_case(3, index)
        assert Case.from_json(json.loads(json.dumps(case.to_json()))) == case
    assert draw_case(3, 5) != draw_case(4, 5)


def test_every_event_is_drawn_in_a_round():
    cases = [draw_case(1, index) for index in range(2 * len(ROUND))]
    drawn = Counter((case.event.kind, case.event.cause, case.event.phase)
                    for case in cases if case.event)
    assert drawn == Counter(ROUND) and set(ROUND) == set(EVENTS)
    assert len(EVENTS) == (len(spec.ERROR_CAUSES) - 1 + 2) * len(PHASES)
    assert {case.build for case in cases} == set(BUILDS)
    assert {stall.kind for case in cases for stall in case.stalls.values()} == {
        "free", "light", "heavy", "freeze"}


@pytest.mark.parametrize(("change", "message"), [
    ({"build": "7x7"}, "expected the fields of a case"),
    ({"jobs": [{}]}, "expected the fields of a case"),
    ({"stalls": {}}, "expected the fields of a case"),
    ({"more": 1}, "expected the fields of a case")])
def test_a_case_that_is_none(change, message):
    with pytest.raises(InputError, match=message):
        Case.from_json({**draw_case(1, 0).to_json(), **change})


def test_a_case_that_does_not_fit():
    data = draw_case(1, 0, ["3x5"]).to_json()
    data["jobs"] = [{**data["jobs"][0], "inputs": 46}]
    with pytest.raises(InputError, match="expected jobs that fit build 3x5"):
        Case.from_json(data)


# The unit as it is


def test_random_jobs_pass(simulators):
    report = regress(110, 11, builds=SMALL, regression=simulators)
    assert [failure.problems for failure in report.failures] == []
    assert report.jobs >= 110 and report.results > 5000 and report.packets >= report.jobs
    # Every error, clear and reset that was drawn came, nearly all of them in the phase intended.
    wanted = [case.event for case in (draw_case(11, index, SMALL) for index in range(report.cases))
              if case.event]
    assert report.events == len(wanted) > 20
    met = sum(report.bins[f"{event.kind} {event.cause}".strip() + f" while {event.phase}"] > 0
              for event in wanted)
    assert met > 0.8 * len(wanted)
    assert not set(report.empty) & {"clamp: low", "tie: negative", "strip: empty", "build: 3x5"}
    assert report.empty and set(report.empty) < set(mandatory(SMALL))
    again = regress(110, 11, builds=SMALL, regression=simulators)
    assert again.bins == report.bins, "not the same again"


# Bugs


@pytest.mark.parametrize(("bug", "jobs", "says"), [
    ("clamp", 60, "result bytes differ"), ("counters", 8, "its parts are"),
    ("last", 4, "a job's results have another count of bytes")])
def test_a_planted_bug_is_found_told_and_shrunk(broken, bug, jobs, says, capsys):
    regression, told = broken(bug), []
    report = regress(jobs, 3, builds=("3x5",), regression=regression, told=told.append)
    assert report.failures and report.failures == told
    failure = next(one for one in report.failures if one.shrunk is not None)
    assert says in "; ".join(failure.problems)
    assert failure.replay == f"sparseloom sim regress --replay 3:{failure.index} --build 3x5"
    small = failure.shrunk
    assert small is not None and says in "; ".join(failure.shrunk_problems)
    assert problems(regression.play([small])[0]) == failure.shrunk_problems
    assert len(small.jobs) == 1
    job = small.jobs[0]
    assert job.tokens * job.outputs * job.inputs <= {"clamp": 400, "counters": 1, "last": 40}[bug]
    tell(failure, Console())
    words = capsys.readouterr().out
    assert failure.replay in words and '"rows": 3' in words and json.dumps(small.to_json()) in words


def test_what_is_behind_a_broken_rule_is_played(broken):
    cases = [draw_case(3, index, ["3x5"]) for index in range(4)]
    seen = broken("last").play(cases)
    assert [bool(one.broken) for one in seen] == [True] * 4


# The checker


@pytest.fixture(scope="module")
def played(simulators):
    """A plain case without pauses, and one of each event, as they were seen; all passed."""
    chosen, index = {}, 0
    while len(chosen) < 4:
        case = draw_case(5, index, ["3x5"])
        if case.event is None:
            chosen.setdefault("plain", replace(case, stalls=dict.fromkeys(PORTS, Stall())))
        elif case.event.phase == "draining" and case.event.cause != "job":
            chosen.setdefault(case.event.kind, case)
        index += 1
    seen = dict(zip(chosen, simulators.play(list(chosen.values())), strict=True))
    assert not any(problems(deepcopy(one)) for one in seen.values())
    return seen


def spoilt(data: bytes, at: int = 0) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1:]


CHANGES = {
    "plain": {
        "result bytes differ": lambda s: s.packets[0].__setitem__(
            0, (spoilt(s.packets[0][0][0]), False)),
        "job 0: expected": lambda s: s.packets[0].__setitem__(0, (s.packets[0][0][0][:-1], False)),
        "results are void": lambda s: s.packets[0].__setitem__(0, (s.packets[0][0][0], True)),
        "packets of results": lambda s: s.packets[0].pop(),
        "did not finish": lambda s: s.log.__setitem__("done", [0]),
        "access was refused": lambda s: s.log.__setitem__("push0", [s.log["push0"][0], 2]),
        "cycles, active": lambda s: s.log["ACTIVE"].__setitem__(0, s.log["ACTIVE"][0] + 1),
        "cycles, end": lambda s: s.log["note"].__setitem__(1, s.log["note"][1] + 1),
        "its parts are": lambda s: s.log["BUSY"].__setitem__(0, s.log["BUSY"][0] + 1),
        "act beats": lambda s: s.log["note"].__setitem__(4, s.log["note"][4] + 1),
        "after the last result": lambda s: s.log["note:late"].__setitem__(
            5, s.log["note:late"][5] + 1),
        "DONE": lambda s: s.log["DONE"].__setitem__(0, s.log["DONE"][0] + (1 << 16)),
        "expected no error": lambda s: s.log["ERROR"].__setitem__(0, 11),
        "STATUS.busy": lambda s: s.log["STATUS"].__setitem__(0, 1),
        "without a TLAST": lambda s: s.rest.__setitem__(0, b"1"),
        "a rule": lambda s: setattr(s, "broken", "a rule"),
    },
    "error": {
        "expected error": lambda s: s.log["ERROR:raised"].__setitem__(0, 18),
        "closing beat: expected cause": lambda s: _change_void(s, -1),
        "wrong results before": lambda s: _change_void(s, None),
        "a push was taken": lambda s: s.log["refused"].__setitem__(1, 0),
        "IRQ_STATUS": lambda s: s.log["IRQ_STATUS:raised"].__setitem__(0, 0),
        "STATUS in error": lambda s: s.log["STATUS:raised"].__setitem__(0, 3),
        "expected a void packet, found 0": lambda s: s.packets.__setitem__(
            0, [one for one in s.packets[0] if not one[1]]),
        "ERROR behind the clear": lambda s: s.log["ERROR:cleared"].__setitem__(0, 1),
        "queue_space behind the clear": lambda s: s.log["STATUS:cleared"].__setitem__(0, 0),
        "good packets at the end": lambda s: s.packets[0].reverse(),
    },
    "clear": {
        "result bytes differ": lambda s: s.packets[0].__setitem__(
            -1, (spoilt(s.packets[0][-1][0]), False)),
        "expected 2 good packets": lambda s: s.packets[0].append((b"\0", True)),
    },
    "reset": {
        "behind a reset: expected 0": lambda s: s.log["BUSY:reset"].__setitem__(0, 1),
        "expected 2 packets behind": lambda s: s.packets[1].append(s.packets[1][0]),
        "wrong results before the reset": lambda s: s.rest.__setitem__(0, b"wrong" * 999),
        "void packet behind": lambda s: s.packets[1].__setitem__(0, (s.packets[1][0][0], True)),
    },
}


def _change_void(seen, at):
    for index, (data, user) in enumerate(seen.packets[0]):
        if user:
            data = spoilt(data, len(data) - 1) if at == -1 else b"wrong results" * 99 + data[-1:]
            seen.packets[0][index] = (data, True)


@pytest.mark.parametrize(("case", "says"), [
    (case, says) for case, changes in CHANGES.items() for says in changes])
def test_every_check_can_fail(played, case, says):
    seen = deepcopy(played[case])
    CHANGES[case][says](seen)
    assert any(says in problem for problem in problems(seen)), problems(seen)


def test_an_oracle_that_is_wrong_by_one_is_found(played):
    seen = deepcopy(played["plain"])
    work = seen.plan.works[0]
    seen.plan.works[0] = replace(work, results=spoilt(work.results, len(work.results) - 1))
    assert any("1 of" in problem for problem in problems(seen))


# Shrinking


def test_shrinking_stops_at_what_still_fails():
    case = next(case for case in (draw_case(1, index, ["4x4"]) for index in range(0, 99, 2))
                if any(job.inputs > 60 and job.outputs > 6 for job in case.jobs))

    def fails(one: Case) -> bool:
        make_plan(one)                      # every candidate is a case that can be played
        return any(job.inputs >= 7 and job.outputs >= 5 for job in one.jobs)

    asked = []
    small = shrink(case, lambda cases: [asked.append(1) or fails(one) for one in cases])
    assert len(small.jobs) == 1 and (small.jobs[0].inputs, small.jobs[0].outputs) == (7, 5)
    assert small.jobs[0].tokens == 1 and small.free and small.wait == 0 and len(asked) < 400
    assert shrink(case, lambda cases: [False] * len(cases)) == case


@given(seed=st.integers(0, 1 << 30), index=st.integers(0, 1 << 20),
       build=st.sampled_from(list(BUILDS)))
def test_cases_and_all_that_is_smaller_can_be_played(seed, index, build):
    case = draw_case(seed, index, [build])
    for one in (case, *smaller(case)):
        assert Case.from_json(one.to_json()) == one
        assert 1 <= one.early <= max(1, min(len(one.jobs), one.config.queue_depth))
    assert case not in list(smaller(case))


# Coverage


def test_numbers_are_counted_from_the_oracle(played):
    seen = deepcopy(played["plain"])
    work = seen.plan.works[0]
    # Halves of both signs, both clamps, a zero: (sum << 15) >> 16, zero point 0.
    sums = np.array([[1, -1, 2, 0, 260, -260, 255]], np.int32)
    count = sums.size
    layer: Any = SimpleNamespace(
        raw=False, output_zero_point=0, mult=np.full(count, 1 << 15, np.uint16),
        shift=np.full(count, 16, np.uint8))
    found = numbers(replace(work, layer=layer, sums=sums))
    assert {name: found[name] for name in (
        "tie: positive", "tie: negative", "clamp: low", "clamp: high", "sum: zero")} == {
        "tie: positive": 2, "tie: negative": 1, "clamp: low": 1, "clamp: high": 2, "sum: zero": 1}


def test_phases_come_from_the_observer(played):
    seen = deepcopy(played["error"])
    own = [line for line in seen.events if line[0] == "error"]
    assert len(own) == 1
    for phase, name in enumerate(PHASES):
        own[0][1] = str(phase)
        cause = spec.ERROR_CAUSES[int(own[0][3])][0]
        assert bins(seen)[f"error {cause} while {name}"] == 1
    own[0][1:] = ["1", "1", "11", "9", "0", "0", "0"]       # only the spoilt packet was there
    seen.log["ERROR:raised"] = [11, 0]
    assert bins(seen)["error crc while idle"] == 1
    seen.broken = "a rule"
    assert not bins(seen), "what failed covers nothing"


# Commands


def test_a_missing_bin_fails_the_run(simulators, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "Regression", lambda: simulators)
    command = ["regress", "-n", "3", "--build", "3x5", "--json", str(tmp_path / "out" / "r.json")]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 1 and "mandatory bins that stayed empty" in ran.output
    assert "error crc while draining" in ran.output
    found = json.loads((tmp_path / "out" / "r.json").read_text())
    assert found["failed_cases"] == 0 and "error crc while draining" in found["empty_bins"]
    assert CliRunner().invoke(app, [*command, "--allow-empty"]).exit_code == 0


def test_replay(simulators, broken, monkeypatch, tmp_path):
    monkeypatch.setattr(module, "Regression", lambda: simulators)
    command = replay_command(3, 1, ("3x5",)).split()[2:]
    ran = CliRunner().invoke(app, command)
    assert ran.exit_code == 0 and "the case passed on build 3x5" in ran.output
    file = tmp_path / "case.json"
    file.write_text(json.dumps(draw_case(3, 0, ["3x5"]).to_json()))
    monkeypatch.setattr(module, "Regression", lambda: broken("counters"))
    ran = CliRunner().invoke(app, ["regress", "--case", str(file)])
    assert ran.exit_code == 1 and f"--case {file}" in ran.output and "shrunk" in ran.output


@pytest.mark.parametrize(("options", "says"), [
    (["--replay", "1"], "expected SEED:INDEX, found '1'"),
    (["--build", "9x9"], "expected one of 1x1"),
    (["--replay", "1:1", "--case", "x"], "found both"), (["--case", "none.json"], "as JSON")])
def test_wrong_options(options, says):
    with pytest.raises(InputError, match=says):
        CliRunner().invoke(app, ["regress", *options], catch_exceptions=False)
