"""The whole flow on tiny encoders: fine-tune, prune, quantise, score, capture."""
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModel, AutoModelForSequenceClassification

from sparseloom.model import flow
from sparseloom.model.capture import capture_activations, capture_layers
from sparseloom.model.checkpoint import load_checkpoint, state_hash
from sparseloom.model.config import PruneConfig, QuantizeConfig, TrainConfig
from sparseloom.model.encode import Encoder
from sparseloom.model.errors import InputError
from sparseloom.model.export import read_pruning, read_task_note, read_training
from sparseloom.model.flow import (
    evaluate_checkpoint,
    finetune_checkpoint,
    prune_checkpoint,
    quantize_checkpoint,
)
from sparseloom.model.integer_model import make_integer
from sparseloom.model.masks import read_masks
from sparseloom.model.packed.artefact import read_artefact
from sparseloom.model.reference import linear

from .tiny import (
    KINDS,
    LAYER_NAMES,
    class_task,
    regression_task,
    similarity_task,
    tiny_checkpoint,
)

CALIBRATE = QuantizeConfig(calibration_rows=20)
BRIEF = PruneConfig(milestones=("0", "0.5"))
TASKS = {"classification": class_task, "regression": regression_task, "cosine": similarity_task}


def training(steps=8, *, arguments=None, **settings):
    """A short schedule on the tiny tasks."""
    return TrainConfig(**{"head_steps": 20, "head_rate": 3e-3, "calibration_rows": 20,
                          "precision": "float32", **settings},
                       arguments={"max_steps": steps, "per_device_train_batch_size": 8,
                                  "learning_rate": 1e-3, **(arguments or {})})


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A pruned checkpoint and its artefact, for a similarity task."""
    root = tmp_path_factory.mktemp("flow")
    task = similarity_task()
    source = tiny_checkpoint(root / "source")
    pruned = prune_checkpoint(source, task, root / "pruned", train=training(16), name="tiny")
    artefact = quantize_checkpoint(root / "pruned", task, root / "artefact", quantize=CALIBRATE)
    return root, task, pruned, artefact


def survivors(folder, names):
    """Which weights of a checkpoint's layers are not zero."""
    model = AutoModel.from_pretrained(folder)
    return {name: (model.get_submodule(name).weight != 0).numpy() for name in names}


def test_prune_report(done):
    root, task, report, _ = done
    assert (report.task, report.model, report.metric) == ("stsb", "tiny", "spearman")
    assert report.compression == 2.0 and set(report.densities) == set(LAYER_NAMES["bert"])
    assert report.steps == 16 and report.reweightings == 4 and report.seconds > 0
    for scores, folder in ((report.dense_scores, "source"), (report.pruned_scores, "pruned")):
        found = evaluate_checkpoint(root / folder, task)
        assert set(scores) == {"spearman", "pearson"}
        assert scores == pytest.approx(found.scores) and found.rows == 20
    assert report.pruned_score == report.pruned_scores["spearman"]
    assert report.dense_score == report.dense_scores["spearman"]
    assert report.found == pytest.approx(found.found)
    model = AutoModel.from_pretrained(root / "source")
    inner = sum(model.get_submodule(name).weight.numel() for name in report.densities)
    every = sum(parameter.numel() for parameter in model.parameters())
    assert report.model_compression == pytest.approx(every / (every - inner / 2))
    assert set(report.cycles) == set(report.dense_cycles) == set(report.densities)
    assert all(report.cycles[name] < report.dense_cycles[name] for name in report.cycles)
    data = json.loads(json.dumps(report.as_dict()))
    assert data["checkpoint"] == str(root / "pruned") and "found" not in data


def test_nothing_stays_beside_the_results(done):
    root = done[0]
    assert sorted(path.name for path in root.iterdir()) == ["artefact", "pruned", "source"]


def test_pruned_checkpoint_is_plain(done):
    """Any user's from_pretrained loads it; strips of p = 24 share their columns."""
    root, _, _, _ = done
    masks = read_masks(root / "pruned")
    assert masks is not None and list(masks) == LAYER_NAMES["bert"]
    for name, alive in survivors(root / "pruned", masks).items():
        assert np.array_equal(alive, masks[name])
        columns = alive.reshape(-1, 24, alive.shape[1])
        assert np.array_equal(columns.any(axis=1), columns.all(axis=1))
        assert set(columns[:, 0].sum(axis=1).tolist()) == {alive.shape[1] // 2}
    note = read_pruning(root / "pruned")
    assert note is not None and note["reweightings"] == 4 and note["prune"]["compression"] == 2.0
    assert note["train"]["arguments"]["max_steps"] == 16 and note["train"]["arguments"]["seed"] == 1
    assert len(note["source"]["sha256"]) == 64
    for file in (root / "pruned").iterdir():
        assert str(root).encode() not in file.read_bytes(), file


def test_artefact(done):
    root, task, pruned, report = done
    artefact = read_artefact(root / "artefact")
    assert list(artefact.layers) == LAYER_NAMES["bert"]
    assert report.compression == 2.0 and report.densities == pruned.densities
    assert artefact.metadata["score"] == {
        "dense": pruned.dense_scores, "pruned": pruned.pruned_scores,
        "integer": report.integer_scores}
    note = read_pruning(root / "pruned")
    assert note is not None
    assert artefact.metadata["source"] == note["source"]
    found = evaluate_checkpoint(root / "artefact", task, integer=True)
    assert report.integer_scores == pytest.approx(found.scores)
    assert report.found == pytest.approx(found.found)
    floats = evaluate_checkpoint(root / "artefact", task)
    assert floats.scores == pytest.approx(pruned.pruned_scores)
    assert not np.array_equal(floats.found, found.found)
    assert (report.model, report.float_scores) == ("tiny", pruned.pruned_scores)
    assert read_task_note(root / "artefact").metric == "spearman"
    masks = read_masks(root / "artefact")
    assert masks is not None
    sums = [layer.raw for layer in artefact.layers.values()]
    tables = [layer.lut is not None for layer in artefact.layers.values()]
    assert sums == [False, False, False, True, False, True] * 2
    assert tables == [False, False, False, False, True, False] * 2
    model = AutoModel.from_pretrained(root / "pruned")
    for name, layer in artefact.layers.items():  # the integers are the checkpoint's weights
        assert np.array_equal(layer.surviving_mask(), masks[name])
        real = layer.dense_weight() * layer.weight_scale[:, None]
        assert np.abs(real - model.get_submodule(name).weight.detach().numpy()
                      ).max() <= layer.weight_scale.max() * 0.51


def test_integer_score_is_near_the_float_score(done):
    _, _, pruned, report = done
    assert abs(report.integer_score - pruned.pruned_score) < 0.05


def test_captured_activations_are_the_models(done):
    """Rows for the simulator: first real tokens, and consistent from layer to layer."""
    root, task, _, _ = done
    layers = read_artefact(root / "artefact").layers
    found = capture_layers(root / "artefact", list(layers), tokens=33)
    assert all(x.shape == (33, layers[name].in_features) and x.dtype == np.int8
               for name, x in found.items())
    q, k, v, _, ffn1, ffn2 = LAYER_NAMES["bert"][:6]
    assert np.array_equal(found[q], found[k]) and np.array_equal(found[q], found[v])
    # what the first FFN matrix answers is what enters the second
    assert np.array_equal(linear(layers[ffn1], found[ffn1]), found[ffn2])
    # the same rows as in a batch with padding, which is not shown
    checkpoint = load_checkpoint(root / "artefact")
    modules = make_integer(checkpoint.model, layers)
    seen = []
    modules[ffn2].tap = seen.append
    batch = Encoder(checkpoint.tokenizer, 32).batch([(s,) for s in task.sentences()[:12]])
    with torch.inference_mode():
        checkpoint.model(**batch)
    assert len(seen[0]) == batch["attention_mask"].sum() < batch["attention_mask"].numel()
    assert np.array_equal(seen[0][:33].numpy(), found[ffn2])
    one = capture_activations(root / "artefact", ffn2, tokens=4, sentences=["a dog runs"])
    assert one.shape == (4, 96)


def test_capture_refuses(done):
    root = done[0]
    with pytest.raises(InputError, match=r"^layer nosuch: not in the artefact, which has encoder"):
        capture_layers(root / "artefact", ["nosuch"])
    name = LAYER_NAMES["bert"][0]
    with pytest.raises(InputError, match="tokens: expected at most 4, all that the sentences "
                                         "hold, found 5"):
        capture_layers(root / "artefact", [name], tokens=5, sentences=["a dog"])
    with pytest.raises(InputError, match="tokens: expected 1 or more, found 0"):
        capture_layers(root / "artefact", [name], tokens=0)
    with pytest.raises(InputError, match=r"expected a file, found none"):
        capture_layers(root / "pruned", [name])


def test_dense_artefact(done, tmp_path):
    """Full masks: the yardstick of every speed-up."""
    root, task, _, _ = done
    report = quantize_checkpoint(root / "source", task, tmp_path / "dense", quantize=CALIBRATE,
                                 evaluate=False, p=12, q=8)
    assert (report.compression, report.integer_scores, report.float_scores) == (1.0, None, None)
    assert report.found is None and report.integer_score is None
    layers = read_artefact(tmp_path / "dense").layers
    assert all(layer.block_mask.all() and layer.column_masks.all() and (layer.p, layer.q) == (12, 8)
               for layer in layers.values())
    assert not (tmp_path / "dense" / "pruning.json").exists()
    assert read_masks(tmp_path / "dense") is None
    model = AutoModel.from_pretrained(root / "source")
    for name, layer in layers.items():
        weight = model.get_submodule(name).weight.detach().numpy()
        real = layer.dense_weight() * layer.weight_scale[:, None]
        assert np.abs(real - weight).max() <= layer.weight_scale.max() * 0.51


@pytest.mark.parametrize("head", list(TASKS))
@pytest.mark.parametrize(("kind", "structure"), [("bert", "row"), ("roberta", "block"),
                                                 ("distilbert", "column")])
def test_structures_models_and_heads(tmp_path, kind, structure, head):
    """Each architecture and structure with each head, to the integers and back from the folder."""
    task = TASKS[head]()
    labels = 0 if head == "cosine" else task.num_labels
    source = tiny_checkpoint(tmp_path / "source", kind, labels=labels)
    report = prune_checkpoint(
        source, task, tmp_path / "pruned", train=training(),
        prune=replace(BRIEF, structure=structure, compression=3.0, p=12, q=8, prune_at=0.5))
    assert report.compression >= 3 and report.steps == 8 and report.reweightings == 2
    assert set(report.pruned_scores) == set(report.dense_scores or {}) == set(task.metrics)
    alive = survivors(tmp_path / "pruned", LAYER_NAMES[kind])
    rows, cols = {"row": (1, 8), "block": (12, 8), "column": (12, 1)}[structure]
    for name, mask in alive.items():
        groups = mask.reshape(mask.shape[0] // rows, rows, mask.shape[1] // cols, cols)
        assert np.array_equal(groups.any(axis=(1, 3)), groups.all(axis=(1, 3))), name
        assert mask.mean() == report.densities[name] <= 1 / 3 + 0.1
    quantised = quantize_checkpoint(tmp_path / "pruned", task, tmp_path / "out",
                                    quantize=CALIBRATE)
    assert quantised.compression == report.compression
    layers = read_artefact(tmp_path / "out").layers
    assert list(layers) == LAYER_NAMES[kind]
    assert {(layer.structure, layer.p, layer.q) for layer in layers.values()} == {
        (structure, 12, 8)}
    assert quantised.integer_scores == pytest.approx(
        evaluate_checkpoint(tmp_path / "out", task, integer=True).scores)
    note = read_task_note(tmp_path / "out")
    assert (note.head, note.metrics, note.labels) == (head, task.metrics, task.labels)
    if labels:
        config = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").config
        assert config.num_labels == labels
        assert config.problem_type == {"regression": "regression",
                                       "classification": "single_label_classification"}[head]


@pytest.mark.parametrize("pair", [False, True])
def test_classification(tmp_path, pair):
    """A head that the checkpoint lacks is trained first, kept, and scored."""
    task = class_task(pair=pair)
    source = tiny_checkpoint(tmp_path / "source")
    with pytest.raises(InputError, match=r"expected a head for \w+, found none; fine-tune it"):
        evaluate_checkpoint(source, task)
    report = prune_checkpoint(source, task, tmp_path / "pruned", prune=replace(BRIEF, q=8),
                              train=training(24, head_steps=40))
    assert report.steps == 64 and (report.dense_score or 0) > 0.7 and report.pruned_score > 0.6
    out = quantize_checkpoint(tmp_path / "pruned", task, tmp_path / "out", quantize=CALIBRATE)
    assert out.integer_score is not None and abs(out.integer_score - report.pruned_score) < 0.2
    assert list(read_artefact(tmp_path / "out").layers) == LAYER_NAMES["bert"]
    seen = capture_activations(tmp_path / "out", LAYER_NAMES["bert"][0], tokens=20)
    assert seen.shape == (20, 48)
    again = prune_checkpoint(tmp_path / "pruned", task, tmp_path / "again", prune=BRIEF,
                             train=training())
    assert again.steps == 8  # it has its head now


def test_finetune(tmp_path):
    """Plain fine-tuning: better than before, a plain checkpoint, a teacher for a pruned one."""
    task, source = class_task(), tiny_checkpoint(tmp_path / "source")
    report = finetune_checkpoint(source, task, tmp_path / "dense",
                                 train=training(40, arguments={"learning_rate": 3e-3}))
    assert report.steps == 40 and report.scores["accuracy"] > 0.7
    assert (report.task, report.model, report.metric) == ("sst2", "source", "accuracy")
    found = evaluate_checkpoint(tmp_path / "dense", task)
    assert found.scores == report.scores and np.array_equal(found.found, report.found)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "dense")
    assert model.config.num_labels == 2
    note = read_training(tmp_path / "dense")
    assert note is not None and note["steps"] == 40 and note["score"] == {"dense": report.scores}
    assert read_pruning(tmp_path / "dense") is None and read_masks(tmp_path / "dense") is None
    assert not (tmp_path / "dense.work").exists()
    pruned = prune_checkpoint(tmp_path / "dense", task, tmp_path / "pruned", prune=BRIEF,
                              train=training())
    assert pruned.dense_scores == report.scores and pruned.steps == 8
    taught = prune_checkpoint(source, task, tmp_path / "taught", prune=BRIEF,
                              train=training(head_steps=1), teacher=tmp_path / "dense")
    assert taught.steps == 9
    student = finetune_checkpoint(source, task, tmp_path / "student", train=training(),
                                  teacher=tmp_path / "dense")
    assert student.steps == 8
    note = read_training(tmp_path / "student")
    assert note is not None and note["distilled"] is True


def test_teachers_that_do_not_fit(tmp_path):
    task, source = class_task(), tiny_checkpoint(tmp_path / "source")
    with pytest.raises(InputError, match=r"^teacher .*source: expected a head for sst2, found "
                                         r"none; fine-tune it first$"):
        finetune_checkpoint(source, task, tmp_path / "out", train=training(), teacher=source)
    other = tiny_checkpoint(tmp_path / "other", "distilbert", labels=2)
    model = AutoModelForSequenceClassification.from_pretrained(other)
    model.distilbert.transformer.layer = model.distilbert.transformer.layer[:1]
    model.config.n_layers = 1
    model.save_pretrained(other)
    with pytest.raises(InputError, match="expected 2 layers of 48 as in the model, found 1 of 48"):
        finetune_checkpoint(source, task, tmp_path / "out", train=training(), teacher=other)
    assert not (tmp_path / "out").exists()


def test_padding(tmp_path):
    """p and q that divide nothing: refused, or taken as if zeros followed, to the integers."""
    task, source = similarity_task(), tiny_checkpoint(tmp_path / "source")
    odd = replace(BRIEF, structure="block", p=10, q=7)
    with pytest.raises(InputError, match="p: expected a divisor of the 48 outputs of encoder"):
        prune_checkpoint(source, task, tmp_path / "out", prune=odd)
    report = prune_checkpoint(source, task, tmp_path / "out", prune=replace(odd, pad=True),
                              train=training())
    assert report.compression >= 2
    masks = read_masks(tmp_path / "out")
    assert masks is not None
    assert all(np.array_equal(alive, masks[name])
               for name, alive in survivors(tmp_path / "out", masks).items())
    quantised = quantize_checkpoint(tmp_path / "out", task, tmp_path / "q", quantize=CALIBRATE)
    assert quantised.compression == report.compression
    layers = read_artefact(tmp_path / "q").layers
    assert all(np.array_equal(layer.surviving_mask(), masks[name])
               for name, layer in layers.items())


def test_embeddings(tmp_path):
    """The table of words is pruned beside the layers, and counts for the whole model only."""
    task, source = similarity_task(), tiny_checkpoint(tmp_path / "source")
    report = prune_checkpoint(source, task, tmp_path / "out", train=training(),
                              prune=replace(BRIEF, embeddings=True, p=8))
    name = "embeddings.word_embeddings"
    assert report.compression == 2.0 and report.densities[name] <= 0.5
    assert name not in report.cycles
    masks = read_masks(tmp_path / "out")
    assert masks is not None
    table = survivors(tmp_path / "out", [name])[name]
    # Whole strips only: padding's row is zero in any checkpoint.
    assert not (table & ~masks[name]).any() and 0 < masks[name].mean() <= 0.5
    quantised = quantize_checkpoint(tmp_path / "out", task, tmp_path / "q", quantize=CALIBRATE)
    assert quantised.compression == 2.0
    again = read_masks(tmp_path / "q")
    assert again is not None and np.array_equal(again[name], masks[name])


def test_budget_in_cycles(tmp_path):
    task, source = similarity_task(), tiny_checkpoint(tmp_path / "source")
    prune = replace(BRIEF, cycles=45_000, rows=3, cols=5, tokens=16, p=8, q=8)
    report = prune_checkpoint(source, task, tmp_path / "out", train=training(), prune=prune)
    assert sum(report.cycles.values()) <= 45_000 < sum(report.dense_cycles.values())
    assert report.compression > 1
    tighter = prune_checkpoint(source, task, tmp_path / "tight", train=training(),
                               prune=replace(prune, cycles=38_000))
    assert sum(tighter.cycles.values()) <= 38_000 and tighter.compression > report.compression


def test_retraining_with_rounding(done, tmp_path):
    """QAT moves what survived, and nothing else."""
    root, task, pruned, _ = done
    report = quantize_checkpoint(
        root / "pruned", task, tmp_path / "out", train=training(),
        quantize=QuantizeConfig(calibration_rows=20, qat_steps=4, qat_rate=1e-3))
    assert report.qat_steps == 4 and report.densities == pruned.densities
    before, after = (survivors(folder, LAYER_NAMES["bert"])
                     for folder in (root / "pruned", tmp_path / "out"))
    assert all(np.array_equal(before[name], after[name]) for name in before)
    old, new = (load_file(folder / "model.safetensors")
                for folder in (root / "pruned", tmp_path / "out"))
    name = f"{LAYER_NAMES['bert'][0]}.weight"
    assert old.keys() == new.keys() and not torch.equal(old[name], new[name])
    assert report.integer_scores == pytest.approx(
        evaluate_checkpoint(tmp_path / "out", task, integer=True).scores)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("settings", [{}, {"rounding": "nearest"}, {"qat_steps": 4}], ids=str)
def test_weights_of_4_bits(done, tmp_path, settings):
    root, task, pruned, eight = done
    report = quantize_checkpoint(
        root / "pruned", task, tmp_path / "out", train=training(),
        quantize=QuantizeConfig(calibration_rows=20, weight_bits=4, **settings))
    assert report.densities == pruned.densities
    assert abs(report.integer_score - pruned.pruned_score) < 0.15
    assert report.stored_bits_per_weight < eight.stored_bits_per_weight - 3.9
    layers = read_artefact(tmp_path / "out").layers
    masks = read_masks(tmp_path / "out")
    assert masks is not None
    for name, layer in layers.items():
        assert layer.weight_bits == 4 and np.abs(layer.dense_weight()).max() == 7
        assert not layer.dense_weight()[~masks[name]].any()
    assert report.integer_scores == pytest.approx(
        evaluate_checkpoint(tmp_path / "out", task, integer=True).scores)
    assert "4-bit weights per channel" in (tmp_path / "out" / "README.md").read_text()


def test_same_seed_same_result(tmp_path):
    task, weights = similarity_task(), []
    source = tiny_checkpoint(tmp_path / "source")
    for run, seed in (("a", 1), ("b", 1), ("c", 2)):
        prune_checkpoint(source, task, tmp_path / run, prune=BRIEF,
                         train=training(arguments={"seed": seed}))
        weights.append((tmp_path / run / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


@pytest.mark.parametrize("prune", [
    PruneConfig(penalty="loss", strength=1e-4), PruneConfig(saliency="magnitude"),
    PruneConfig(saliency="magnitude", reconstruct=False, gradual=2, scope="global"),
    PruneConfig(method="lasso", scope="layer"), PruneConfig(method="magnitude"),
    PruneConfig(method="movement"), PruneConfig(method="random")],
    ids=["loss", "magnitude saliency", "plain", "lasso", "magnitude", "movement", "random"])
def test_options(tmp_path, prune):
    source = tiny_checkpoint(tmp_path / "source")
    report = prune_checkpoint(source, similarity_task(), tmp_path / "out",
                              prune=replace(prune, milestones=("0", "0.5")),
                              train=training(distil=0.0, distil_hidden=0.0))
    assert 2 <= report.compression < 2.1 and -1 <= report.pruned_score <= 1
    assert report.reweightings == {"reweighted": 2, "lasso": 1}.get(prune.method, 0)
    alive = survivors(tmp_path / "out", LAYER_NAMES["bert"])
    masks = read_masks(tmp_path / "out")
    assert masks is not None
    assert all(not (alive[name] & ~masks[name]).any() for name in alive)


def test_the_best_checkpoint_is_a_masked_one(tmp_path):
    """Evaluated and saved every step, with the best loaded at the end: its zeros are there."""
    source = tiny_checkpoint(tmp_path / "source")
    report = prune_checkpoint(
        source, similarity_task(), tmp_path / "out", prune=replace(BRIEF, prune_at=0.5),
        train=training(arguments={
            "eval_strategy": "steps", "eval_steps": 1, "save_steps": 1, "save_total_limit": 1,
            "load_best_model_at_end": True, "metric_for_best_model": "spearman"}))
    assert report.compression == 2.0
    alive, masks = survivors(tmp_path / "out", LAYER_NAMES["bert"]), read_masks(tmp_path / "out")
    assert masks is not None
    assert all(np.array_equal(alive[name], masks[name]) for name in alive)


def test_refusals_come_before_the_work(tmp_path, monkeypatch):
    """Nothing is trained, and nothing written, for what could not be finished."""
    monkeypatch.setattr(flow, "SparseTrainer", None)
    monkeypatch.setattr(flow, "score", None)
    task, source = similarity_task(), tiny_checkpoint(tmp_path / "source")
    with pytest.raises(InputError, match="p: expected a divisor of the 48 outputs of encoder"):
        prune_checkpoint(source, task, tmp_path / "out", prune=PruneConfig(p=32))
    with pytest.raises(InputError, match="p: expected a divisor of the 48 outputs of encoder"):
        quantize_checkpoint(source, task, tmp_path / "out", p=32)
    with pytest.raises(InputError, match="milestones: expected a step of its own for each"):
        prune_checkpoint(source, task, tmp_path / "out", train=training(8))
    for act in (finetune_checkpoint, prune_checkpoint, quantize_checkpoint):
        with pytest.raises(InputError, match="task stsb: expected training rows, found none"):
            act(source, replace(task, train=()), tmp_path / "out")
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").touch()
    for act in (finetune_checkpoint, prune_checkpoint, quantize_checkpoint):
        with pytest.raises(InputError, match="expected an empty folder or an earlier result"):
            act(source, task, tmp_path / "home")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "source"]


def test_damaged_notes(done, tmp_path):
    root, task, _, _ = done
    folder = shutil.copytree(root / "pruned", tmp_path / "pruned")
    (folder / "pruning.json").write_text('{"structure": "column", "p": "24"}')
    with pytest.raises(InputError, match=r"pruning.json, p: expected int, found '24'"):
        quantize_checkpoint(folder, task, tmp_path / "out")
    (folder / "pruning.json").write_text("{")
    with pytest.raises(InputError, match=r"pruning.json: expected JSON, found:"):
        quantize_checkpoint(folder, task, tmp_path / "out")
    (folder / "task.json").write_text('{"name": "stsb"}')
    with pytest.raises(InputError, match=r"task.json, version: expected 1 to 2, found None"):
        read_task_note(folder)
    (folder / "task.json").unlink()
    with pytest.raises(InputError, match=r"expected task.json in the folder, found none"):
        read_task_note(folder)


def test_masks_that_are_not_the_weights(done, tmp_path):
    """A weight that its mask calls dead is refused, not cut."""
    root, task, _, _ = done
    folder = shutil.copytree(root / "pruned", tmp_path / "pruned")
    model = AutoModel.from_pretrained(folder)
    name = LAYER_NAMES["bert"][2]
    weight = model.get_submodule(name).weight
    weight.data[weight == 0] = 1e-3
    model.save_pretrained(folder)
    with pytest.raises(InputError, match=f"^masks of {name}: expected zeros where they prune"):
        quantize_checkpoint(folder, task, tmp_path / "out", quantize=CALIBRATE)
    assert state_hash(load_checkpoint(folder).model)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", KINDS)
def test_frozen_embeddings_stay(tmp_path, kind):
    task, source = similarity_task(), tiny_checkpoint(tmp_path / "source", kind)
    for freeze in (True, False):
        out = tmp_path / str(freeze)
        finetune_checkpoint(source, task, out, train=training(2, freeze_embeddings=freeze))
        old, new = (load_file(folder / "model.safetensors") for folder in (source, out))
        name = "embeddings.word_embeddings.weight"
        assert torch.equal(old[name], new[name]) is freeze
