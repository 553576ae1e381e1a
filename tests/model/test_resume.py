"""Runs that are stopped go on as if they had not been; a full disk leaves what was there."""
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from sparseloom.model import flow, trainer
from sparseloom.model.config import PruneConfig, QuantizeConfig, TrainConfig
from sparseloom.model.errors import InputError
from sparseloom.model.flow import finetune_checkpoint, prune_checkpoint, quantize_checkpoint
from sparseloom.model.integer_matmul import one_thread
from sparseloom.model.pruner import STATE_FILE, GroupPruner
from sparseloom.model.trainer import last_whole_checkpoint

from .tiny import class_task, similarity_task, tiny_checkpoint, write_jsonl

STEPS, PRUNE_STEP = 12, 6
PRUNE = PruneConfig(prune_at=0.5, milestones=("0", "0.67"), p=12, q=8, strength=0.3)
ARGUMENTS = {"max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": 1e-3,
             "save_steps": 2}
TRAIN = TrainConfig(arguments=ARGUMENTS, calibration_rows=20, precision="float32", head_steps=4,
                    teacher_cache_mb=0)
"""Without the teacher's memory, which a killed run loses: an answer's last bits depend on the rows
beside it, so that equal to the bit would be but nearly equal."""
KILLER = """
import os, signal, sys
from sparseloom.model.pruner import GroupPruner
from sparseloom.sim.console import main
begin, last = GroupPruner.begin_step, int(sys.argv.pop(1))
def begin_step(self, step, optimizer=None):
    if step == last:
        os.kill(os.getpid(), signal.SIGKILL)
    return begin(self, step, optimizer)
GroupPruner.begin_step = begin_step
main()
"""
"""The command, killed as a step begins."""


class Stop(Exception):
    """Ends a run as suddenly as Python can."""


@contextmanager
def stopped_at(monkeypatch, step):
    """Runs in the block end as a step begins."""
    begin = GroupPruner.begin_step

    def begin_step(self, now, optimizer=None):
        if now == step:
            raise Stop
        return begin(self, now, optimizer)

    with monkeypatch.context() as patch:
        patch.setattr(GroupPruner, "begin_step", begin_step)
        with pytest.raises(Stop):
            yield


@contextmanager
def small_disk(kib):
    """No file may grow beyond this."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    old = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (kib << 10, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, old)


def same(one, other):
    """Two results with the same weights and masks, bit for bit."""
    for name in ("model.safetensors", "masks.safetensors"):
        assert (one / name).is_file() == (other / name).is_file()
        if (one / name).is_file():
            left, right = load_file(one / name), load_file(other / name)
            assert left.keys() == right.keys()
            for key in left:
                assert torch.equal(left[key], right[key]), key
    return True


def parts_of(checkpoint):
    """What kinds of state are beside a checkpoint."""
    with safe_open(checkpoint / STATE_FILE, "pt") as file:
        return {key.partition("/")[0] for key in file.keys()}  # noqa: SIM118 - not a mapping


def test_killed_before_and_after_the_prune(tmp_path):
    """SIGKILL with γ in the state, again with masks in it; then the run ends as if never killed."""
    source = tiny_checkpoint(tmp_path / "source")
    data = write_jsonl(tmp_path / "stsb", similarity_task())
    (tmp_path / "run.yaml").write_text(json.dumps(
        {**ARGUMENTS, "train": {"calibration_rows": 20, "precision": "float32",
                                   "teacher_cache_mb": 0},
         "prune": {"prune_at": 0.5, "milestones": [0, 0.67], "p": 12, "q": 8, "strength": 0.3}}))
    words = ["model", "prune", str(source), "-t", str(data), "--head", "cosine", "--config",
             str(tmp_path / "run.yaml"), "--json", "-o"]
    work = tmp_path / "out.work" / "prune" / "checkpoints"
    for step, parts in ((3, {"gamma", "inputs"}), (9, {"alive"})):
        done = subprocess.run(
            [sys.executable, "-c", KILLER, str(step), *words, str(tmp_path / "out")], check=False,
            env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, timeout=240)
        assert done.returncode == -signal.SIGKILL, done.stderr[-2000:]
        last = last_whole_checkpoint(work, pruning=True)
        assert last is not None and last.name == f"checkpoint-{step - 1}"
        assert parts_of(last) == parts
        assert not (tmp_path / "out").exists()
    from typer.testing import CliRunner

    from sparseloom.model.cli import app
    with one_thread():  # as the killed ones: sums over more threads round otherwise
        for out in ("out", "whole"):
            result = CliRunner().invoke(app, [*words[1:], str(tmp_path / out)])
            assert result.exit_code == 0, result.exception
    reports = [json.loads((tmp_path / out / "pruning.json").read_text())
               for out in ("out", "whole")]
    assert reports[0] == reports[1] and reports[0]["reweightings"] == 2
    assert same(tmp_path / "out", tmp_path / "whole")
    assert not (tmp_path / "out.work").exists()


@pytest.mark.parametrize("settings", [
    {"gradual": 2}, {"penalty": "loss", "strength": 1e-4}, {"method": "lasso"},
    {"method": "movement", "gradual": 2}, {"method": "magnitude"}, {"embeddings": True},
], ids=["gradual", "loss", "lasso", "movement", "magnitude", "embeddings"])
def test_every_method_goes_on(tmp_path, monkeypatch, settings):
    source, task = tiny_checkpoint(tmp_path / "source"), similarity_task()
    prune = PruneConfig(**{"prune_at": 0.5, "milestones": ("0", "0.67"), "p": 12, "q": 8,
                           "strength": 0.3, **settings})
    for step in (5, 9):
        with stopped_at(monkeypatch, step):
            prune_checkpoint(source, task, tmp_path / "out", prune=prune, train=TRAIN)
    report = prune_checkpoint(source, task, tmp_path / "out", prune=prune, train=TRAIN)
    whole = prune_checkpoint(source, task, tmp_path / "whole", prune=prune, train=TRAIN)
    assert same(tmp_path / "out", tmp_path / "whole")
    assert (report.steps, report.reweightings) == (whole.steps, whole.reweightings)
    assert report.pruned_scores == whole.pruned_scores


def test_a_new_head_is_trained_once(tmp_path, monkeypatch):
    source, task = tiny_checkpoint(tmp_path / "source"), class_task()
    titles, train = [], flow._train
    monkeypatch.setattr(flow, "_train", lambda *parts, **settings: titles.append(
        settings["title"]) or train(*parts, **settings))
    with stopped_at(monkeypatch, 7):
        prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    report = prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    assert titles == ["fine-tune a new head", "prune and retrain", "prune and retrain"]
    whole = prune_checkpoint(source, task, tmp_path / "whole", prune=PRUNE, train=TRAIN)
    assert report.steps == whole.steps == STEPS + 4 and same(tmp_path / "out", tmp_path / "whole")


def test_fine_tuning_goes_on(tmp_path, monkeypatch):
    """With dropout on and no pruner: the library's own state is enough."""
    source, task = tiny_checkpoint(tmp_path / "source", labels=2), class_task()
    begin, seen = trainer._Steps.on_step_begin, []

    def on_step_begin(self, args, state, control, **kwargs):
        seen.append(state.global_step)
        if state.global_step == 7 and seen.count(7) == 1:
            raise Stop
        return begin(self, args, state, control, **kwargs)

    monkeypatch.setattr(trainer._Steps, "on_step_begin", on_step_begin)
    with pytest.raises(Stop):
        finetune_checkpoint(source, task, tmp_path / "out", train=TRAIN)
    finetune_checkpoint(source, task, tmp_path / "out", train=TRAIN)
    assert seen == [*range(8), *range(6, STEPS)]
    finetune_checkpoint(source, task, tmp_path / "whole", train=TRAIN)
    assert same(tmp_path / "out", tmp_path / "whole")


def test_a_checkpoint_that_was_cut_short_is_passed_over(tmp_path, monkeypatch):
    source, task = tiny_checkpoint(tmp_path / "source"), similarity_task()
    with stopped_at(monkeypatch, 5):
        prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    work = tmp_path / "out.work" / "prune" / "checkpoints"
    whole, cut = work / "checkpoint-2", work / "checkpoint-4"
    assert last_whole_checkpoint(work, pruning=True) == cut
    (cut / "trainer_state.json").write_text('{"epoch": 1')  # the last file of all
    (cut / "model.safetensors").write_bytes(b"half")
    shutil.copytree(whole, work / "checkpoint-best")
    assert last_whole_checkpoint(work, pruning=True) == whole
    (cut / "trainer_state.json").write_text("{}")
    (cut / STATE_FILE).unlink()
    assert last_whole_checkpoint(work, pruning=True) == whole
    assert last_whole_checkpoint(work, pruning=False) == cut
    assert last_whole_checkpoint(tmp_path / "nowhere", pruning=False) is None
    prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    prune_checkpoint(source, task, tmp_path / "whole", prune=PRUNE, train=TRAIN)
    assert same(tmp_path / "out", tmp_path / "whole")


@pytest.mark.parametrize("damage", [lambda data: data[:100], lambda data: b"",
                                    lambda data: data.replace(b"gamma/", b"gamme/")])
def test_a_damaged_state_is_refused(tmp_path, monkeypatch, damage):
    source, task = tiny_checkpoint(tmp_path / "source"), similarity_task()
    with stopped_at(monkeypatch, 3):
        prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    state = tmp_path / "out.work" / "prune" / "checkpoints" / "checkpoint-2" / STATE_FILE
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(InputError, match=rf"{STATE_FILE}: expected the pruning of this model, "):
        prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    report = prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN,
                              restart=True)
    assert report.steps == STEPS


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.pt"])
def test_a_damaged_checkpoint_is_one_error(tmp_path, monkeypatch, name):
    source, task = tiny_checkpoint(tmp_path / "source"), similarity_task()
    with stopped_at(monkeypatch, 3):
        prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    (tmp_path / "out.work" / "prune" / "checkpoints" / "checkpoint-2" / name).write_bytes(b"no")
    with pytest.raises(InputError) as problem:
        prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    assert "checkpoint-2: expected an interrupted run's, found: " in str(problem.value)
    assert str(problem.value).endswith("; --restart discards it")
    assert "\n" not in str(problem.value)


def test_other_settings_do_not_go_on(tmp_path, monkeypatch):
    """Whatever decides the result: settings, rows, model, teacher."""
    source, task = tiny_checkpoint(tmp_path / "source"), similarity_task()
    with stopped_at(monkeypatch, 3):
        prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    other = tiny_checkpoint(tmp_path / "other", seed=1)
    for call in (
            {"prune": PruneConfig(prune_at=0.5, milestones=("0",))},
            {"train": TRAIN.with_arguments(seed=2)}, {"task": similarity_task(train=41)},
            {"model_ref": other}, {"teacher": other}):
        given = {"model_ref": source, "task": task, "prune": PRUNE, "train": TRAIN, **call}
        with pytest.raises(InputError, match="expected an interrupted run with these settings, "
                                             "model and data, found one with others"):
            prune_checkpoint(given.pop("model_ref"), given.pop("task"), tmp_path / "out", **given)
    assert prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)


@pytest.mark.parametrize("kib", [8, 300], ids=["any file", "the optimiser's"])
def test_no_room_for_a_checkpoint(tmp_path, kib):
    """The earlier result survives; with room again the run goes on or starts anew."""
    source, task = tiny_checkpoint(tmp_path / "source"), similarity_task()
    prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=TRAIN)
    shutil.copytree(tmp_path / "out", tmp_path / "kept")
    train = TRAIN.with_arguments(seed=2)
    with small_disk(kib), pytest.raises(InputError) as problem:
        prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=train)
    assert "checkpoint-2: expected room to write, found: " in str(problem.value)
    assert str(problem.value).startswith("checkpoint ") and "\n" not in str(problem.value)
    assert same(tmp_path / "out", tmp_path / "kept")
    assert prune_checkpoint(source, task, tmp_path / "out", prune=PRUNE, train=train)


@pytest.mark.parametrize("command", [prune_checkpoint, finetune_checkpoint, quantize_checkpoint])
def test_no_room_for_the_result(tmp_path, monkeypatch, command):
    source, task = tiny_checkpoint(tmp_path / "source"), similarity_task()
    settings = {prune_checkpoint: {"prune": PRUNE, "train": TRAIN},
                finetune_checkpoint: {"train": TRAIN},
                quantize_checkpoint: {"quantize": QuantizeConfig(calibration_rows=8),
                                      "evaluate": False}}[command]
    command(source, task, tmp_path / "out", **settings)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    name = {prune_checkpoint: "write_pruned", finetune_checkpoint: "write_finetuned",
            quantize_checkpoint: "write_export"}[command]
    write = getattr(flow, name)

    def without_room(*parts, **more):
        with small_disk(8):
            return write(*parts, **more)

    monkeypatch.setattr(flow, name, without_room)
    with pytest.raises(InputError, match=r"^output .*out: expected room to write, found: File too"):
        command(source, task, tmp_path / "out", **settings)
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert not [path for path in Path(tmp_path).iterdir() if path.name.startswith(".")]
