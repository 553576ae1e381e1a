"""32 rows a step are 32 rows a step: at once, as 16 twice, or on two processes."""
import json
import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from sparseloom.model.config import PruneConfig, QuantizeConfig, TrainConfig
from sparseloom.model.flow import prune_checkpoint, quantize_checkpoint
from sparseloom.model.masks import read_masks

from .tiny import class_task, similarity_task, tiny_checkpoint, write_jsonl

STEPS = 8
TRAIN = TrainConfig(
    arguments={"max_steps": STEPS, "per_device_train_batch_size": 32, "learning_rate": 1e-3},
    precision="float32")
"""Dropout is off where there is a teacher, so that the same rows give the same step."""
SHAPE = {"prune_at": 0.5, "milestones": ("0", "0.5"), "p": 12, "q": 8}
CYCLES = 26_000
"""Of the tiny encoder's layers on a 2 × 3 array, below what the dense one takes."""
CASES = {
    "decoupled": (similarity_task(train=80), PruneConfig(**SHAPE, strength=0.5)),
    "loss": (class_task(train=80), PruneConfig(**SHAPE, strength=1e-3, penalty="loss",
                                               gradual=2, scope="global")),
    "movement": (class_task(train=80), PruneConfig(**SHAPE, method="movement")),
    "lasso": (class_task(train=80), PruneConfig(**SHAPE, method="lasso", strength=0.5)),
    "random": (class_task(train=80), PruneConfig(**SHAPE, method="random")),
    "cycles": (class_task(train=80), PruneConfig(
        **SHAPE, strength=0.5, cycles=CYCLES, rows=2, cols=3, tokens=8)),
    "embeddings": (similarity_task(train=80), PruneConfig(
        **SHAPE, strength=0.5, embeddings=True)),
}
RETRAIN = QuantizeConfig(calibration_rows=20, qat_steps=STEPS, qat_rate=1e-3)
"""Of the first case's pruned checkpoint, by the same three ways."""
RETRAINED = "retrained"
CLOSE = 1e-3
"""Where weights move by up to 0.6 in eight steps: Adam's first steps are as large for a gradient
that is almost zero as for any other, so that a last bit is seen there."""


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Each case by one process, by one that accumulates, and by two: folders by case and way."""
    root = tmp_path_factory.mktemp("several")
    calls = []
    for name, (task, prune) in CASES.items():
        labels = 0 if task.head == "cosine" else 2
        source = tiny_checkpoint(root / name / "source", labels=labels)
        write_jsonl(root / name / "data", task)
        prune_checkpoint(source, task, root / name / "one", prune=prune, train=TRAIN)
        twice = TRAIN.with_arguments(per_device_train_batch_size=16,
                                     gradient_accumulation_steps=2)
        prune_checkpoint(source, task, root / name / "accumulated", prune=prune, train=twice)
        settings = {key: list(value) if isinstance(value, tuple) else value
                    for key, value in vars(prune).items() if value != vars(PruneConfig())[key]}
        (root / name / "run.yaml").write_text(json.dumps(
            {**twice.arguments, "gradient_accumulation_steps": 1,
             "train": {"precision": "float32"}, "prune": settings}))
        calls.append(["model", "prune", str(source), "-t", str(root / name / "data"), "--head",
                      task.head, "--task-name", task.name, "--config",
                      str(root / name / "run.yaml"), "--json", "-o", str(root / name / "two")])
        if name != "decoupled":
            continue
        for way, train in (("one", TRAIN), ("accumulated", twice)):
            quantize_checkpoint(root / name / "one", task, root / RETRAINED / way,
                                quantize=RETRAIN, train=train)
        (root / "retrain.yaml").write_text(json.dumps(
            {**twice.arguments, "gradient_accumulation_steps": 1,
             "train": {"precision": "float32"},
             "quantize": {"calibration_rows": RETRAIN.calibration_rows, "qat_steps": STEPS,
                          "qat_rate": RETRAIN.qat_rate}}))
        retrain = ["model", "quantize", str(root / name / "one"), "-t", str(root / name / "data"),
                   "--head", task.head, "--task-name", task.name, "--config",
                   str(root / "retrain.yaml"), "--json", "-o", str(root / RETRAINED / "two")]
    calls.append(retrain)
    (root / "calls.json").write_text(json.dumps(calls))
    ran = subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         "-m", "tests.model.several", str(root / "calls.json")], check=False, capture_output=True,
        text=True, timeout=280, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert ran.returncode == 0, ran.stderr[-3000:]
    return root, ran.stdout


def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["accumulated", "two"])
@pytest.mark.parametrize("case", list(CASES))
def test_the_same_masks_and_weights(done, case, way):
    root, _ = done
    one, other = root / case / "one", root / case / way
    first, second = read_masks(one), read_masks(other)
    assert first is not None and second is not None and first.keys() == second.keys()
    assert all((first[name] == second[name]).all() for name in first)
    found, wanted, before = weights(other), weights(one), weights(root / case / "source")
    moved = max(float((wanted[key] - before[key]).abs().max()) for key in wanted)
    apart = max(float((wanted[key] - found[key]).abs().max()) for key in wanted)
    assert apart < CLOSE < moved / 50, (apart, moved)
    notes = [json.loads((folder / "pruning.json").read_text()) for folder in (one, other)]
    assert [note["steps"] for note in notes] == [STEPS, STEPS]
    assert notes[0]["reweightings"] == notes[1]["reweightings"]
    scores, others = (note["score"]["pruned"] for note in notes)
    assert scores.keys() == others.keys()
    for metric, score in scores.items():
        # Two almost equal answers of twenty may change places: 0.001 of Spearman for each pair.
        close = 5e-3 if metric == "spearman" else 1e-3
        assert score == pytest.approx(others[metric], abs=close), metric


@pytest.mark.timeout(300)
@pytest.mark.parametrize("way", ["accumulated", "two"])
def test_the_same_weights_after_retraining_with_rounding(done, way):
    """A last bit may send a value to the next of 256 levels, so weights agree less closely."""
    root, _ = done
    before, wanted, found = (weights(folder) for folder in (
        root / "decoupled" / "one", root / RETRAINED / "one", root / RETRAINED / way))
    moved = max(float((wanted[key] - before[key]).abs().max()) for key in wanted)
    apart = max(float((wanted[key] - found[key]).abs().max()) for key in wanted)
    mean_moved, mean_apart = (
        sum(float((wanted[key] - other[key]).abs().sum()) for key in wanted)
        for other in (before, found))
    assert apart < moved / 5 and mean_apart < mean_moved / 100
    masks, others = (read_masks(root / RETRAINED / one) for one in ("one", way))
    assert masks is not None and others is not None
    assert all((masks[name] == others[name]).all() for name in masks)


def test_one_process_speaks(done):
    """One JSON document for each call, nothing beside it, and no working folder is left."""
    root, printed = done
    decoder, text, reports = json.JSONDecoder(), printed.strip(), []
    while text:
        report, end = decoder.raw_decode(text)
        reports.append(report)
        text = text[end:].strip()
    assert [report.get("checkpoint") or report["artefact"] for report in reports] == [
        str(root / case / "two") for case in (*CASES, RETRAINED)]
    assert not list(root.glob("*/*.work"))


@pytest.mark.parametrize("change", [{"strength": 0.0}, {"milestones": ("0",)},
                                    {"method": "magnitude"}], ids=["penalty", "milestone", "prune"])
def test_what_is_compared_takes_part(done, tmp_path, change):
    """Without the penalty, or its reweighting, the result would be another by far."""
    root, _ = done
    task, prune = CASES["decoupled"]
    prune_checkpoint(root / "decoupled" / "source", task, tmp_path / "out", train=TRAIN,
                     prune=replace(prune, **change))
    one, other = weights(root / "decoupled" / "one"), weights(tmp_path / "out")
    apart = max(float((one[key] - other[key]).abs().max()) for key in one)
    assert apart > 10 * CLOSE and not all(torch.equal(one[key] == 0, other[key] == 0)
                                          for key in one)
