"""Cards have a front matter that the hub reads, and say what was done; no local path is in them."""
import json
from dataclasses import replace
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from sparseloom.model.card import (
    Sizes,
    is_local,
    make_card,
    read_source_card,
    scores_of,
    without_paths,
)

from .tiny import class_task, regression_task, similarity_task

SOURCE = {"license": "apache-2.0", "base_model": "org/base", "tags": ["english"],
          "language": "en"}
PRUNING = {
    "version": 2, "structure": "column", "p": 24, "q": 16, "compression": 2.5,
    "densities": {"encoder.layer.0.output.dense": 0.4},
    "source": {"model": "org/tiny", "sha256": 64 * "a"},
    "score": {"dense": {"accuracy": 0.9, "f1": 0.91}, "pruned": {"accuracy": 0.88, "f1": 0.885}},
    "prune": {"method": "movement", "structure": "column", "compression": 2.5, "strength": None,
              "milestones": ["0", "0.5"]},
    "train": {"arguments": {"seed": 42, "learning_rate": 2e-4, "output_dir": "/home/me/out",
                            "logging_dir": "runs", "report_to": ["/tmp/x"],
                            "deepspeed": "/home/me/ds.json"}, "distil": 0.5}}
METADATA = {"score": {"integer": {"accuracy": 0.87, "f1": 0.88}},
            "quantize": {"calibration_rows": 256}, "densities": {"encoder.layer.0": 0.41}}
SIZES = Sizes(encoder=1000, encoder_alive=400, model=3000, model_alive=2400)


def front(text):
    head, _, body = text.removeprefix("---\n").partition("\n---\n")
    return yaml.safe_load(head), body


def results(data):
    return {(metric["type"], metric["name"]): metric["value"]
            for result in data["model-index"][0]["results"] for metric in result["metrics"]}


def test_front_matter_of_a_pruned_one():
    text = make_card("org/tiny", class_task(pair=True), source=SOURCE, pruning=PRUNING,
                     sizes=SIZES)
    data, _ = front(text)
    assert {key: data[key] for key in ("base_model", "license", "library_name", "datasets",
                                       "metrics", "pipeline_tag", "tags", "language")} == {
        "base_model": "org/tiny", "license": "apache-2.0", "library_name": "transformers",
        "datasets": ["nyu-mll/glue"],
        "metrics": ["accuracy", "f1"], "pipeline_tag": "text-classification", "language": "en",
        "tags": ["sparseloom", "pruned", "english"]}
    assert results(data) == {("accuracy", "Accuracy"): 0.88, ("f1", "F1"): 0.885}
    index = data["model-index"][0]
    assert index["name"] == "tiny-mrpc-pruned"
    assert index["results"][0]["dataset"] == {"name": "GLUE mrpc", "type": "nyu-mll/glue",
                                              "config": "mrpc", "split": "validation"}
    read: Any = ModelCard(text).data  # as the hub's own library takes it
    assert read.eval_results is not None and len(read.eval_results) == 2


def test_text_of_a_pruned_one():
    _, text = front(make_card("org/tiny", class_task(pair=True), source=SOURCE, pruning=PRUNING,
                              sizes=SIZES))
    for part in ("| the encoder's Linear layers | 2.50× |",
                 "| the whole model, embeddings and head included | 1.25× |",
                 "`column` groups, 24 × 1 weights each, in blocks of p × q = 24 outputs × 16",
                 "Method: movement pruning of groups (arXiv 2109.04838)", "- Seed: 42",
                 "`arguments.learning_rate` 0.0002", "`distil` 0.5", "`milestones` 0, 0.5",
                 "GLUE task `mrpc`: 48 training rows, 24 validation rows.",
                 "each task keeps the licence", "| Accuracy | 0.9000 | 0.8800 |",
                 "| F1 | 0.9100 | 0.8850 |", "| `encoder.layer.0.output.dense` | 40.0% |",
                 "from_pretrained", "## Limits", f"SHA-256 `{64 * 'a'}`",
                 "Base model: `org/tiny`", "Licence: `apache-2.0`"):
        assert part in text, part
    for part in ("/home", "/tmp", "output_dir", "logging_dir", "report_to", "strength", "int8"):
        assert part not in text, part


def test_integers_and_their_scores():
    text = make_card("org/tiny", class_task(pair=True), source=SOURCE, pruning=PRUNING,
                     metadata=METADATA, sizes=SIZES)
    data, body = front(text)
    assert results(data) == {
        ("accuracy", "Accuracy"): 0.88, ("f1", "F1"): 0.885,
        ("accuracy", "Accuracy (int8)"): 0.87, ("f1", "F1 (int8)"): 0.88}
    assert "| Accuracy | 0.9000 | 0.8800 | 0.8700 |" in body and "`calibration_rows` 256" in body
    assert "| `encoder.layer.0` | 41.0% |" in body and "int8" in data["tags"]
    assert data["model-index"][0]["name"] == "tiny-mrpc-pruned-int8"


def test_a_dense_one():
    training = {"score": {"spearman": 0.8, "pearson": 0.81}, "source": {"model": "m"},
                "train": {"arguments": {"seed": 7}}}
    data, body = front(make_card("model", regression_task(), source=SOURCE, training=training))
    assert results(data) == {("spearmanr", "Spearman correlation"): 0.8,
                             ("pearsonr", "Pearson correlation"): 0.81}
    assert data["base_model"] == "org/base" and "pruned" not in data["tags"]
    assert "nothing is pruned" in body and "- Seed: 7" in body and "logits[0, 0]" in body
    data, body = front(make_card("model", similarity_task(), source=SOURCE))
    assert "model-index" not in data and "None were computed." in body
    assert data["pipeline_tag"] == "feature-extraction" and "source checkpoint.\n" in body


def test_nothing_known_of_the_source():
    unknown = {"license": "unknown", "base_model": "unknown", "tags": []}
    data, body = front(make_card("model", replace(class_task(), name="my own | task`"),
                                 source=unknown, pruning=PRUNING))
    assert data["license"] == "unknown" and "base_model" not in data and "datasets" not in data
    assert "Base model: unknown" in body and "Licence: unknown" in body
    assert "not a task of GLUE" in body and "licence of these data is not known" in body
    assert "`my own   task `" in body
    assert data["model-index"][0]["results"][0]["dataset"]["type"] == "my-own-task"


def test_a_first_versions_scores():
    assert scores_of({"score": {"dense": 0.5, "pruned": 1}}, "spearman") == {
        "dense": {"spearman": 0.5}, "pruned": {"spearman": 1.0}}
    assert scores_of({"score": {"integer": None}}, "f1") == {} == scores_of(None, "f1")
    assert scores_of({"score": {"f1": 0.5}}, "f1") == {"finetuned": {"f1": 0.5}}


@pytest.mark.parametrize(("text", "found"), [
    ("---\nlicense: mit\nbase_model: a/b\ntags: [x, sentence-transformers, 'dataset:9']\n---\nHi",
     {"license": "mit", "base_model": "a/b", "tags": ["x"]}),
    ("---\r\nlicense: [mit, x]\r\nbase_model: [a/b, c/d]\r\n---\r\n",
     {"license": "mit", "base_model": "a/b", "tags": []}),
    ("---\nlicense: other\nlicense_name: own\nlicense_link: https://x.y/z\nlanguage: [en]\n---\n",
     {"license": "other", "base_model": "unknown", "tags": [], "license_name": "own",
      "license_link": "https://x.y/z", "language": ["en"]}),
    ("---\nlicense: mit\nbase_model: /home/me/models/bert\nlicense_link: ./LICENSE\n---\n",
     {"license": "mit", "base_model": "unknown", "tags": []}),
    ("---\nbase_model: ../bert\nlicense: 3\n---\n",
     {"license": "unknown", "base_model": "unknown", "tags": []}),
    ("---\n[\n---\n", {"license": "unknown", "base_model": "unknown", "tags": []}),
    ("---\n- a\n---\n", {"license": "unknown", "base_model": "unknown", "tags": []}),
    ("license: mit", {"license": "unknown", "base_model": "unknown", "tags": []}),
    (None, {"license": "unknown", "base_model": "unknown", "tags": []}),
])
def test_the_sources_card(tmp_path, text, found):
    if text is not None:
        (tmp_path / "README.md").write_bytes(text.encode())
    assert read_source_card(tmp_path) == found


def test_a_card_that_is_no_text(tmp_path):
    (tmp_path / "README.md").write_bytes(b"---\nlicense: mit\xff\n---\n")
    assert read_source_card(tmp_path)["license"] == "unknown"
    assert read_source_card("org/no-such-model-in-the-cache")["license"] == "unknown"


def test_a_card_of_ours_passes_its_source_on(tmp_path):
    (tmp_path / "README.md").write_text(make_card("org/tiny", class_task(), source=SOURCE))
    assert read_source_card(tmp_path) == {**SOURCE, "base_model": "org/tiny"}


def test_local_paths():
    for path in ("/a/b", "~/a", "./a", "../a", "C:\\a", "d:/a", "\\\\host\\a", "file:///a"):
        assert is_local(path)
    for other in ("org/name", "https://a/b", "0.5ep", "a", "", 3, None, ".5", "mit"):
        assert not is_local(other)
    note = {"a": "/home/me/model/", "b": [{"c": ("../x", "y", 1, None)}], "d": "C:\\me\\z"}
    assert without_paths(note) == {"a": "model", "b": [{"c": ["x", "y", 1, None]}], "d": "z"}
    assert json.loads(json.dumps(without_paths(PRUNING)))["train"]["arguments"][
        "output_dir"] == "out"
