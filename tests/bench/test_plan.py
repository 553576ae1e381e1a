from collections import Counter

import pytest

from bench.plan import METHODS, PLAN, TASKS, is_current, planned, stage_name
from sparseloom.model.config import PruneConfig, QuantizeConfig, TrainConfig


def must(**wanted):
    return [row for row in PLAN if row.must
            and all(getattr(row, key) == value for key, value in wanted.items())]


def test_names_are_unique():
    assert max(Counter(row.name for row in PLAN).values()) == 1
    assert planned("minilm-mrpc-reweighted-5x-s1") in PLAN
    assert planned("minilm-mrpc-reweighted-4x-s1") is None


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("compression", [2.0, 5.0])
def test_every_task_at_two_and_five(task, compression):
    rows = must(model="minilm", task=task, head="glue", method="reweighted",
                compression=compression)
    assert [row.seed for row in rows] == ([1] if task == "sst2" else [1, 2, 3])


@pytest.mark.parametrize("task", ["mrpc", "stsb", "cola"])
def test_every_method_at_three(task):
    rows = must(model="minilm", task=task, compression=3.0)
    assert {(row.method, row.seed) for row in rows} == {
        (method, seed) for method in METHODS for seed in (1, 2, 3)}


def test_other_models_and_sentence_vectors():
    assert [(row.task, row.compression) for row in must(model="distilbert")] == [
        ("mrpc", 1.79), ("stsb", 1.79)]
    assert [row.name for row in must(model="minilm-roberta")] == [
        "minilm-roberta-stsb-reweighted-2x-s1"]
    assert {(row.compression, row.seed) for row in must(head="cosine")} == {
        (2.0, 1), (5.0, 1)}
    assert len([row for row in PLAN if row.must]) == 76


def test_priorities():
    seeds = [row.seed for row in PLAN if row.must]
    assert seeds == sorted(seeds), "an answer to everything before a second seed"
    assert [row.must for row in PLAN] == sorted((row.must for row in PLAN), reverse=True)


@pytest.mark.parametrize("row", PLAN, ids=lambda row: row.name)
def test_settings_are_the_models(row):
    settings = row.settings()
    prune = PruneConfig(**settings["prune"])
    assert (prune.method, prune.compression) == (row.method, row.compression)
    assert TrainConfig(**settings["finetune"]).seed == row.seed
    assert TrainConfig(**settings["train"]).seed == row.seed
    assert QuantizeConfig(**settings["quantize"]).seed == row.seed
    assert (settings["train_rows"] == 10_000) == (row.task == "sst2")
    for size in (384, 1536) if row.model != "distilbert" else (768, 3072):
        assert size % prune.p == size % prune.q == 0


def test_rows_share_stages_and_changed_settings_do_not():
    row, other = (planned(f"minilm-mrpc-{name}-s1") for name in ("reweighted-5x", "random-3x"))
    seed = planned("minilm-mrpc-reweighted-5x-s2")
    assert row and other and seed
    for stage in ("finetune", "dense"):
        name = stage_name(row, row.settings(), stage)
        assert name == stage_name(other, other.settings(), stage)
        assert name != stage_name(seed, seed.settings(), stage)
        changed = {**row.settings(), "dense": {**row.settings()["dense"], "distil": 0.1}}
        assert (stage_name(row, changed, stage) == name) == (stage == "finetune")
        start = {**row.settings(), "finetune": {**row.settings()["finetune"], "distil": 0.1}}
        assert stage_name(row, start, stage) != name, "the dense stage begins there too"
        assert stage_name(row, {**row.settings(), "held_out": 0.2}, stage) != name
    cosine = planned("minilm-stsb-cosine-reweighted-2x-s1")
    plain = planned("minilm-stsb-reweighted-2x-s1")
    assert cosine and plain
    assert (stage_name(cosine, cosine.settings(), "dense")
            != stage_name(plain, plain.settings(), "dense"))


def test_a_row_with_other_settings_is_not_current():
    row = planned("minilm-mrpc-reweighted-5x-s1")
    assert row
    assert not is_current(None, row)
    assert is_current({"settings": row.settings()}, row)
    assert not is_current({"settings": {**row.settings(), "train_rows": 7}}, row)
