"""A whole run with a runner that trains nothing."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import glue, statistics
from bench.collect import (
    collect,
    finished_rows,
    format_table,
    missing_rows,
    read_table,
    read_trials,
)
from bench.folders import Folders, write_json
from bench.measure import Stages, measure, measure_into, with_changes
from bench.page import render
from bench.plan import PLAN, planned
from tests.bench.fake import ROWS, Runner

ROOT = Path(__file__).parents[2]
FAKE = ["--runner", "tests.bench.fake:Runner"]


@pytest.fixture
def folders(tmp_path):
    return Folders(tmp_path)


@pytest.fixture
def runner(folders):
    return Runner(folders, None)


def row(name):
    found = planned(name)
    assert found is not None
    return found


def make(folders, runner, *names):
    for name in names:
        assert measure_into(row(name), folders, runner, root=ROOT) is not None


def calls(folders):
    return (folders.root / "calls.txt").read_text().splitlines()


def start(folders, *words, **env):
    return subprocess.Popen(
        [sys.executable, "-m", "bench.glue", "--root", str(folders.root), *words, *FAKE], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **env})


def test_a_row_holds_what_the_table_needs(folders, runner):
    name = "minilm-mrpc-reweighted-2x-s1"
    make(folders, runner, name)
    record = json.loads(folders.row(name).read_text())
    assert record["metric"] == "accuracy"
    assert record["loss"]["int8"] == pytest.approx(record["dense"] - record["int8"])
    assert record["int8_minus_dense"]["difference"] == pytest.approx(-record["loss"]["int8"])
    assert record["trivial"] == pytest.approx(100 * sum(i % 3 > 0 for i in range(ROWS)) / ROWS)
    assert record["compression"] == {"asked": 2.0, "encoder": 2.0, "model": 1.25}
    assert record["cycles"]["dense"] == 2 * record["cycles"]["encoder"]
    assert record["command"] == f"make bench-glue ROW={name}"
    assert record["rows"] == {"train": ROWS, "validation": ROWS}
    assert record["settings"] == json.loads(json.dumps(row(name).settings()))
    assert record["device"]["dtype"] == "float32"
    assert {"revision", "dirty"} == set(record["git"])
    assert not (folders.scratch / "work" / name).exists()


def test_stages_are_made_once_and_by_the_dense_recipe(folders, runner):
    make(folders, runner, "minilm-mrpc-reweighted-2x-s1", "minilm-mrpc-random-3x-s1")
    assert calls(folders) == ["finetune minilm", "dense checkpoint", "prune reweighted", "quantize",
                              "prune random", "quantize"]


def test_a_half_made_stage_is_made_again(folders, runner):
    one = row("minilm-mrpc-reweighted-2x-s1")
    stages = Stages(folders, runner)
    final = stages.folder(one, one.settings(), "finetune")
    (final.with_name(f"{final.name}.part") / "checkpoint").mkdir(parents=True)  # a worker died
    found = stages.finetuned(one, one.settings(), runner.task(one, one.settings()))
    assert found == final and (found / "stage.json").is_file()
    assert len(list(folders.stages.iterdir())) == 1


def test_a_row_being_measured_is_left_alone(folders, runner):
    from bench.locks import locked

    name = "minilm-mrpc-reweighted-2x-s1"
    with locked(folders.lock(f"row-{name}")):
        assert measure_into(row(name), folders, runner, root=ROOT) is None
    assert not folders.row(name).exists()


def test_a_failed_row_writes_nothing(folders, runner, monkeypatch):
    monkeypatch.setenv("FAKE_FAILS", "random")
    with pytest.raises(RuntimeError, match="planted"):
        make(folders, runner, "minilm-mrpc-random-3x-s1")
    assert not folders.row("minilm-mrpc-random-3x-s1").exists()
    assert len(missing_rows(folders)) == len(PLAN)
    monkeypatch.delenv("FAKE_FAILS")
    make(folders, runner, "minilm-mrpc-random-3x-s1")
    assert len(missing_rows(folders)) == len(PLAN) - 1


def test_collected_rows_survive_an_empty_build_folder(folders, runner):
    make(folders, runner, "minilm-stsb-random-3x-s1", "minilm-stsb-reweighted-3x-s1")
    table = collect(folders)
    before = {path: path.read_bytes() for path in folders.root.rglob("*")
              if path.is_file() and "build" not in path.parts}
    assert {path.name for path in before} == {"glue.json", "results.md", "stsb-minilm-1.json",
                                              "calls.txt"}
    for path in [*folders.row("x").parent.iterdir(), *folders.predictions("x").parent.iterdir()]:
        path.unlink()
    assert collect(folders) == table
    assert {path: path.read_bytes() for path in before} == before
    assert len(missing_rows(folders)) == len(PLAN) - 2
    make(folders, runner, "minilm-stsb-lasso-3x-s1")
    assert [one["second"] for one in collect(folders)["comparisons"]] == ["lasso", "random"]


def test_losses_are_of_all_seeds_together(folders, runner):
    make(folders, runner, "minilm-cola-reweighted-2x-s1", "minilm-cola-reweighted-5x-s1")
    alone = {one["rows"]: one for one in collect(folders)["losses"]}
    rows = finished_rows(folders)
    assert set(alone) == {"minilm-cola-reweighted-2x", "minilm-cola-reweighted-5x"}
    for name, one in alone.items():  # of one seed, the row's own interval
        own = rows[f"{name}-s1"]["int8_minus_dense"]
        assert {key: one[key] for key in own} == own
    make(folders, runner, "minilm-cola-reweighted-2x-s2")
    both = next(one for one in collect(folders)["losses"]
                if one["rows"] == "minilm-cola-reweighted-2x")
    each = [row["int8_minus_dense"]["difference"]
            for name, row in finished_rows(folders).items()
            if name.startswith("minilm-cola-reweighted-2x")]
    assert both["seeds"] == len(each) == 2
    assert both["difference"] == pytest.approx(sum(each) / 2, abs=0.002)


def test_equal_answers_keep_their_own_names(folders, runner):
    """As of two methods that both give the commonest class: one interval, two lines."""
    names = [f"minilm-mrpc-{method}-3x-s1" for method in ("reweighted", "lasso", "random")]
    make(folders, runner, *names)
    answers = folders.predictions(names[1]).read_bytes()
    folders.predictions(names[2]).write_bytes(answers)
    table = collect(folders)
    assert [one["second"] for one in table["comparisons"]] == ["lasso", "random"]
    assert table["comparisons"][0]["of"] == table["comparisons"][1]["of"]
    assert [one["rows"] for one in table["losses"]] == [name[:-3] for name in names]
    assert collect(folders) == table


def test_the_table_has_a_row_a_line(folders, runner):
    make(folders, runner, "minilm-stsb-random-3x-s1", "minilm-mrpc-reweighted-2x-s1")
    collect(folders)
    lines = folders.table.read_text().splitlines()
    assert [json.loads(line.strip().rstrip(","))["row"] for line in lines if '"row"' in line] == [
        "minilm-mrpc-reweighted-2x-s1", "minilm-stsb-random-3x-s1"]  # the plan's order
    assert format_table(read_table(folders)) == folders.table.read_text()


def test_the_page_comes_from_the_table_alone(folders, runner):
    make(folders, runner, *(one.name for one in PLAN if one.seed == 1 and one.must))
    collect(folders)
    page = folders.page.read_text()
    assert render(json.loads(folders.table.read_text()), read_trials(folders), PLAN) == page
    assert "30 of 76 rows" in page
    assert "`minilm-mrpc-reweighted-2x-s2`" in page.partition("## What is missing")[2]
    assert "`minilm-mrpc-reweighted-2x-s1`" not in page.partition("## What is missing")[2]
    assert "Reweighted against magnitude" in page


def test_committed_predictions_stay_small(folders, runner, monkeypatch):
    monkeypatch.setattr("tests.bench.fake.ROWS", 1500)  # STS-B has most, and scores
    monkeypatch.setattr(statistics, "RESAMPLES", 20)    # intervals are in another file
    make(folders, runner, *(one.name for one in PLAN if one.seed == 1 and one.task == "stsb"
                            and one.model == "minilm"))
    collect(folders)
    sizes = {path.name: path.stat().st_size for path in (folders.results / "predictions").iterdir()}
    assert set(sizes) == {"stsb-minilm-1.json", "stsb-cosine-minilm-1.json"}
    assert 50_000 < max(sizes.values()) < 100_000


def test_a_changed_plan_shows_old_rows(folders, runner):
    name = "minilm-mrpc-reweighted-2x-s1"
    make(folders, runner, name)
    record = json.loads(folders.row(name).read_text())
    record["settings"]["train"]["distil"] = 0.9
    write_json(folders.row(name), record)
    assert row(name) in missing_rows(folders)
    collect(folders)
    assert "other settings than the plan has now (1)" in folders.page.read_text()


def test_all_measures_what_is_missing_and_goes_on_after_a_failure(folders):
    words = ("all", "--match", "minilm-mrpc-m", "--must", "--jobs", "2")
    first = start(folders, *words, FAKE_FAILS="movement")
    text = first.communicate(timeout=200)[0]
    assert first.returncode == 1
    assert "minilm-mrpc-movement-3x-s1: failed" in text and "planted failure" in text
    rows = {one["row"] for one in read_table(folders)["rows"]}
    assert len(rows) == 6 - 3 and not any("movement" in name for name in rows)
    made = [line.split()[0] for line in calls(folders)]
    assert made.count("finetune") == made.count("dense") == 3, "one for each seed"
    assert made.count("prune") == 3 + 3 * glue.ATTEMPTS
    second = start(folders, *words)
    assert "3 rows to measure" in second.communicate(timeout=100)[0]
    assert second.returncode == 0
    assert len(read_table(folders)["rows"]) == 6


def test_a_stopped_run_keeps_finished_rows(folders, runner):
    make(folders, runner, "minilm-rte-reweighted-2x-s1")
    run = start(folders, "all", "--match", "minilm-rte", FAKE_SLOW="30")
    deadline = time.monotonic() + 60
    while len(calls(folders)) < 5 and time.monotonic() < deadline:  # a stage of seed 2 has begun
        time.sleep(0.1)
    run.send_signal(signal.SIGTERM)
    assert "finished rows are kept" in run.communicate(timeout=60)[0]
    assert run.returncode == 130
    assert "minilm-rte-reweighted-2x-s1" in {one["row"] for one in read_table(folders)["rows"]}
    assert not list(folders.stages.glob("*s2-finetune*/stage.json"))


def test_workers_do_not_wait_for_one_stage(folders, runner):
    waiting = [row(f"minilm-{name}-s1") for name in ("mrpc-reweighted-5x", "stsb-reweighted-2x")]
    running = [row("minilm-mrpc-reweighted-2x-s1")]
    assert glue.next_row(waiting, running, folders) == waiting[1]
    assert glue.next_row(waiting[:1], running, folders) is None
    make(folders, runner, running[0].name)
    assert glue.next_row(waiting, running, folders) == waiting[0]


def test_trials_read_no_validation(folders, runner, monkeypatch):
    seen = []
    monkeypatch.setattr(Runner, "task", lambda self, one, settings, task=Runner.task: (
        seen.append(settings.get("held_out")), task(self, one, settings))[1])
    name = "minilm-mrpc-reweighted-2x-s1"
    changed = {**with_changes(row(name).settings(), {"prune.strength": 0.2}), "held_out": 0.15}
    assert changed["prune"]["strength"] == 0.2 and row(name).settings()["prune"]["strength"] == 0.1
    record, _ = measure(row(name), changed, folders, runner, root=ROOT)
    assert seen == [0.15] and record["settings"]["held_out"] == 0.15
    done = start(folders, "tune", name, "--set", "prune.strength=0.2")
    assert "held-out" in done.communicate(timeout=60)[0]
    assert read_trials(folders)[0]["changes"] == {"prune.strength": 0.2}
    assert not folders.table.exists()
    collect(folders)
    assert "prune.strength = 0.2" in folders.page.read_text()


def test_unknown_row_is_one_line(tmp_path, capsys):
    assert glue.main(["--root", str(tmp_path), "run", "minilm-mrpc"]) == 2
    assert capsys.readouterr().err == (
        "error: row: expected a name of the plan (python -m bench.glue plan), "
        "found 'minilm-mrpc'\n")
    assert glue.main(["--root", str(tmp_path), "all", "--jobs", "0"]) == 2
    with pytest.raises(KeyError):
        with_changes({"prune": {}}, {"pruning.strength": 1})
