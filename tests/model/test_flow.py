"""The whole flow on tiny encoders: prune, quantise, score, capture."""
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoModel

from sparseloom.model import flow
from sparseloom.model.capture import capture_activations, capture_layers
from sparseloom.model.checkpoint import load_checkpoint
from sparseloom.model.config import PruneConfig, QuantizeConfig, TrainConfig
from sparseloom.model.encode import Encoder
from sparseloom.model.errors import InputError
from sparseloom.model.export import read_pruning, read_task_note
from sparseloom.model.flow import evaluate_checkpoint, prune_checkpoint, quantize_checkpoint
from sparseloom.model.integer_model import make_integer
from sparseloom.model.packed.artefact import read_artefact
from sparseloom.model.reference import linear

from .tiny import LAYER_NAMES, class_task, similarity_task, tiny_checkpoint

SHORT = TrainConfig(finetune_steps=20, penalty_steps=4, retrain_steps=8, batch=8,
                    finetune_rate=3e-3, retrain_rate=1e-3, calibration_rows=20,
                    precision="float32")
CALIBRATE = QuantizeConfig(calibration_rows=20)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A pruned checkpoint and its artefact, for a similarity task."""
    root = tmp_path_factory.mktemp("flow")
    task = similarity_task()
    source = tiny_checkpoint(root / "source")
    pruned = prune_checkpoint(source, task, root / "pruned", train=SHORT, name="tiny")
    artefact = quantize_checkpoint(root / "pruned", task, root / "artefact", quantize=CALIBRATE)
    return root, task, pruned, artefact


def test_prune_report(done):
    root, task, report, _ = done
    assert (report.task, report.model, report.metric) == ("stsb", "tiny", "spearman")
    assert report.compression == 2.0 and set(report.densities) == set(LAYER_NAMES["bert"])
    assert report.steps == 12 and report.seconds > 0
    assert report.dense_score == pytest.approx(evaluate_checkpoint(root / "source", task))
    assert report.pruned_score == pytest.approx(evaluate_checkpoint(root / "pruned", task))
    assert json.loads(json.dumps(report.as_dict()))["checkpoint"] == str(root / "pruned")


def test_pruned_checkpoint_is_plain(done):
    """Any user's from_pretrained loads it; strips of p = 24 share their columns."""
    root, _, _, _ = done
    model = AutoModel.from_pretrained(root / "pruned")
    for name in LAYER_NAMES["bert"]:
        weight = model.get_submodule(name).weight
        columns = (weight != 0).reshape(-1, 24, weight.shape[1])
        assert torch.equal(columns.any(dim=1), columns.all(dim=1))
        assert set(columns[:, 0].sum(dim=1).tolist()) == {weight.shape[1] // 2}
    note = read_pruning(root / "pruned")
    assert note is not None and note["reweightings"] == 4 and note["prune"]["compression"] == 2.0
    assert len(note["source"]["sha256"]) == 64
    for file in (root / "pruned").iterdir():
        assert str(root).encode() not in file.read_bytes(), file


def test_artefact(done):
    root, task, pruned, report = done
    artefact = read_artefact(root / "artefact")
    assert list(artefact.layers) == LAYER_NAMES["bert"]
    assert report.compression == 2.0 and report.densities == pruned.densities
    assert artefact.metadata["score"] == {
        "dense": pruned.dense_score, "pruned": pruned.pruned_score,
        "integer": report.integer_score}
    note = read_pruning(root / "pruned")
    assert note is not None
    assert artefact.metadata["source"] == note["source"]
    assert report.integer_score == pytest.approx(
        evaluate_checkpoint(root / "artefact", task, integer=True))
    assert (report.model, report.float_score) == ("tiny", pruned.pruned_score)
    card = (root / "artefact" / "README.md").read_text()
    assert "# tiny, for stsb" in card and f"| integer | {report.integer_score:.4f} |" in card
    assert read_task_note(root / "artefact").metric == "spearman"
    sums = [layer.raw for layer in artefact.layers.values()]
    tables = [layer.lut is not None for layer in artefact.layers.values()]
    assert sums == [False, False, False, True, False, True] * 2
    assert tables == [False, False, False, False, True, False] * 2
    for name, layer in artefact.layers.items():  # the integers are the checkpoint's weights
        weight = AutoModel.from_pretrained(root / "pruned").get_submodule(name).weight
        real = layer.dense_weight() * layer.weight_scale[:, None]
        assert np.abs(real - weight.detach().numpy()).max() <= layer.weight_scale.max() * 0.51
        break


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
    # the same rows as in a batch with padding
    checkpoint = load_checkpoint(root / "artefact")
    modules = make_integer(checkpoint.model, layers)
    seen = []
    modules[ffn2].tap = seen.append
    batch = Encoder(checkpoint.tokenizer, 32).batch([(s,) for s in task.sentences()[:12]])
    with torch.inference_mode():
        checkpoint.model(**batch)
    real = seen[0][batch["attention_mask"].reshape(-1).bool()]
    assert np.array_equal(real[:33].numpy(), found[ffn2])
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
    assert (report.compression, report.integer_score, report.float_score) == (1.0, None, None)
    layers = read_artefact(tmp_path / "dense").layers
    assert all(layer.block_mask.all() and layer.column_masks.all() and (layer.p, layer.q) == (12, 8)
               for layer in layers.values())
    assert not (tmp_path / "dense" / "pruning.json").exists()
    model = AutoModel.from_pretrained(root / "source")
    for name, layer in layers.items():
        weight = model.get_submodule(name).weight.detach().numpy()
        real = layer.dense_weight() * layer.weight_scale[:, None]
        assert np.abs(real - weight).max() <= layer.weight_scale.max() * 0.51


@pytest.mark.parametrize(("structure", "compression"), [("block", 3.0), ("row", 2.0)])
@pytest.mark.parametrize("kind", ["distilbert", "roberta"])
def test_other_structures_and_models(tmp_path, kind, structure, compression):
    task = similarity_task()
    source = tiny_checkpoint(tmp_path / "source", kind)
    report = prune_checkpoint(
        source, task, tmp_path / "pruned", train=SHORT,
        prune=PruneConfig(structure=structure, compression=compression, p=12, q=8))
    assert report.compression >= compression
    quantised = quantize_checkpoint(tmp_path / "pruned", task, tmp_path / "out",
                                    quantize=CALIBRATE)
    assert quantised.compression == report.compression
    layers = read_artefact(tmp_path / "out").layers
    assert list(layers) == LAYER_NAMES[kind]
    assert {(layer.structure, layer.p, layer.q) for layer in layers.values()} == {
        (structure, 12, 8)}


@pytest.mark.parametrize("pair", [False, True])
def test_classification(tmp_path, pair):
    """A head that the checkpoint lacks is trained first, kept, and scored."""
    task = class_task(pair=pair)
    source = tiny_checkpoint(tmp_path / "source")
    with pytest.raises(InputError, match=r"expected a head for \w+, found none; prune it"):
        evaluate_checkpoint(source, task)
    report = prune_checkpoint(source, task, tmp_path / "pruned",
                              train=replace(SHORT, finetune_steps=40, retrain_steps=16))
    assert report.steps == 60 and report.dense_score > 0.7 and report.pruned_score > 0.6
    out = quantize_checkpoint(tmp_path / "pruned", task, tmp_path / "out", quantize=CALIBRATE)
    assert out.integer_score is not None and abs(out.integer_score - report.pruned_score) < 0.2
    assert out.integer_score == evaluate_checkpoint(tmp_path / "out", task, integer=True)
    assert list(read_artefact(tmp_path / "out").layers) == LAYER_NAMES["bert"]
    seen = capture_activations(tmp_path / "out", LAYER_NAMES["bert"][0], tokens=20)
    assert seen.shape == (20, 48)
    again = prune_checkpoint(tmp_path / "pruned", task, tmp_path / "again", train=SHORT)
    assert again.steps == 12  # it has its head now


def test_same_seed_same_result(tmp_path):
    task, weights = similarity_task(), []
    source = tiny_checkpoint(tmp_path / "source")
    for run in ("a", "b"):
        prune_checkpoint(source, task, tmp_path / run, train=SHORT)
        weights.append((tmp_path / run / "model.safetensors").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize("prune", [
    PruneConfig(penalty="loss", strength=1e-4), PruneConfig(saliency="magnitude"),
    PruneConfig(reconstruct=False), PruneConfig(saliency="magnitude", reconstruct=False)],
    ids=["loss", "magnitude", "plain", "paper"])
def test_options(tmp_path, prune):
    source = tiny_checkpoint(tmp_path / "source")
    report = prune_checkpoint(source, similarity_task(), tmp_path / "out", prune=prune,
                              train=replace(SHORT, distil=0.0))
    assert report.compression == 2.0 and -1 <= report.pruned_score <= 1


def test_no_training_at_all(tmp_path):
    source = tiny_checkpoint(tmp_path / "source")
    train = replace(SHORT, penalty_steps=0, retrain_steps=0)
    assert prune_checkpoint(source, similarity_task(), tmp_path / "out", train=train).steps == 0


def test_refusals_come_before_the_work(tmp_path, monkeypatch):
    """Nothing is trained, and nothing written, for what could not be finished."""
    monkeypatch.setattr(flow, "train", None)
    monkeypatch.setattr(flow, "score", None)
    task, source = similarity_task(), tiny_checkpoint(tmp_path / "source")
    with pytest.raises(InputError, match="p: expected a divisor of the 48 outputs of encoder"):
        prune_checkpoint(source, task, tmp_path / "out", prune=PruneConfig(p=32))
    with pytest.raises(InputError, match="p: expected a divisor of the 48 outputs of encoder"):
        quantize_checkpoint(source, task, tmp_path / "out", p=32)
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "file").touch()
    for act in (prune_checkpoint, quantize_checkpoint):
        with pytest.raises(InputError, match="expected an empty folder or an earlier result"):
            act(source, task, tmp_path / "home")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["home", "source"]


def test_damaged_notes(done, tmp_path):
    import shutil
    root, task, _, _ = done
    folder = shutil.copytree(root / "pruned", tmp_path / "pruned")
    (folder / "pruning.json").write_text('{"structure": "column", "p": "24"}')
    with pytest.raises(InputError, match=r"pruning.json, p: expected int, found '24'"):
        quantize_checkpoint(folder, task, tmp_path / "out")
    (folder / "pruning.json").write_text("{")
    with pytest.raises(InputError, match=r"pruning.json: expected JSON, found:"):
        quantize_checkpoint(folder, task, tmp_path / "out")
    (folder / "task.json").write_text('{"name": "stsb"}')
    with pytest.raises(InputError, match=r"task.json: expected name, kind, metric, num_labels"):
        read_task_note(folder)
    (folder / "task.json").unlink()
    with pytest.raises(InputError, match=r"expected task.json in the folder, found none"):
        read_task_note(folder)
