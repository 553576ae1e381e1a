"""``sparseloom model``: options, files, JSON, and errors that end as one line and exit code 2."""
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForSequenceClassification,
    GPT2Config,
    GPT2Model,
    T5Config,
    T5Model,
)
from typer.testing import CliRunner

from sparseloom.model.cli import app
from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import write_artefact
from sparseloom.sim import console
from tests.layers import random_layer

from .tiny import (
    LAYER_NAMES,
    class_task,
    similarity_task,
    tiny_checkpoint,
    tiny_tokenizer,
    write_jsonl,
    write_sts,
)

RUNNER = CliRunner()
COMMANDS = ("finetune", "prune", "quantize", "eval", "show")
STEPS = ["--max-steps", "4", "--milestone", "0", "--batch", "8", "--precision", "float32"]


def call(*arguments):
    """Run a command; what it raised is raised here, as the console would see it."""
    result = RUNNER.invoke(app, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def report_of(*arguments):
    """What a command prints as JSON, and nothing else."""
    return json.loads(call(*arguments, "--json").stdout)


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
def test_help(command):
    result = call(*command, "--help")
    assert result.exit_code == 0 and "Usage" in result.stdout


def test_help_loads_no_torch():
    code = ("import sys\nfrom typer.testing import CliRunner\n"
            "from sparseloom.model.cli import app\n"
            "CliRunner().invoke(app, ['prune', '--help'])\nsys.exit('torch' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_whole_way(tmp_path):
    """STS-B as its package ships it, by the cosine of two vectors."""
    task, source = write_sts(tmp_path / "sts"), tiny_checkpoint(tmp_path / "source")
    report = report_of("prune", source, "-t", task, "--head", "cosine", "-o", tmp_path / "pruned",
                       "--compression", "3", *STEPS)
    assert report["compression"] == 3.0 and report["steps"] == 4 and report["reweightings"] == 1
    scored = report_of("eval", tmp_path / "pruned", "-t", task)  # the folder knows its head
    assert scored["scores"] == pytest.approx(report["pruned_scores"])
    assert scored["integer"] is False
    report = report_of("quantize", tmp_path / "pruned", "-t", task, "-o", tmp_path / "out",
                       "--calibration-rows", "8")
    wanted = {"task": "stsb", "metric": "spearman", "rows": 20, "integer": True,
              "score": report["integer_scores"]["spearman"], "scores": report["integer_scores"]}
    assert report_of("eval", tmp_path / "out", "-t", task) == wanted
    floats = report_of("eval", tmp_path / "out", "-t", task, "--float")
    assert floats["integer"] is False and floats["scores"] == pytest.approx(scored["scores"])
    shown = report_of("show", tmp_path / "out")
    assert len(shown["layers"]) == 12
    assert shown["layers"][4]["output"] == "table" and shown["layers"][5]["output"] == "sums"
    for folder in ("out", "pruned"):
        table = call("show", tmp_path / folder).stdout
        assert "33.3%" in table and "encoder" in table
    assert "spearman" in call("eval", tmp_path / "pruned", "-t", task).stdout


def test_tables_are_for_people(tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    task, source = write_sts(tmp_path / "sts"), tiny_checkpoint(tmp_path / "source")
    shown = call("prune", source, "-t", task, "--head", "cosine", "-o", tmp_path / "out",
                 *STEPS).stdout
    assert "pruned" in shown and "spearman 0." in shown and "2.0000" in shown
    assert "densities" not in shown and "train_runtime" not in shown and "it/s" not in shown


def test_names_of_classes_in_files(tmp_path):
    """--train-file and --validation-file, named classes, three of them; eval knows their order."""
    words = {0.0: "no", 1.0: "yes"}
    for split, rows in (("train", class_task().train), ("other", class_task().validation)):
        lines = [json.dumps({"text": row.sentences[0], "label": words[row.label]}) for row in rows]
        if split == "train":
            lines.append(json.dumps({"text": "a river", "label": "maybe"}))
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    files = ["--train-file", tmp_path / "train.jsonl", "--validation-file",
             tmp_path / "other.jsonl", "--task-name", "dogs"]
    source = tiny_checkpoint(tmp_path / "source")
    report = report_of("finetune", source, *files, "-o", tmp_path / "dense", "--max-steps", "30",
                       "--batch", "8", "--learning-rate", "3e-3", "--precision", "float32")
    assert report["task"] == "dogs" and report["metric"] == "accuracy" and report["steps"] == 30
    assert report["scores"]["accuracy"] > 0.6
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "dense")
    assert model.config.id2label == {0: "maybe", 1: "no", 2: "yes"}
    # These rows alone have two classes; the checkpoint says that there are three.
    scored = report_of("eval", tmp_path / "dense", "--validation-file", tmp_path / "other.jsonl")
    assert scored["task"] == "dogs"
    assert scored["scores"]["accuracy"] == pytest.approx(report["scores"]["accuracy"])
    pruned = report_of("prune", tmp_path / "dense", *files, "-o", tmp_path / "pruned", *STEPS)
    assert pruned["dense_scores"]["accuracy"] == pytest.approx(report["scores"]["accuracy"])
    report_of("quantize", tmp_path / "pruned", *files, "-o", tmp_path / "out", "--no-evaluate",
              "--calibration-rows", "8")
    whole = report_of("eval", tmp_path / "out", "--validation-file", tmp_path / "other.jsonl")
    assert whole["integer"] is True and whole["rows"] == 24


def test_a_folder_for_many_tasks(tmp_path):
    write_jsonl(tmp_path / "glue" / "sst2", class_task())
    source = tiny_checkpoint(tmp_path / "source", labels=2)
    report = report_of("finetune", source, "-t", "sst2", "--data-dir", tmp_path / "glue", "-o",
                       tmp_path / "out", "--max-steps", "2", "--batch", "8", "--train-rows", "16")
    assert report["task"] == "sst2"
    scored = report_of("eval", tmp_path / "out", "--data-dir", tmp_path / "glue")
    assert scored["scores"] == pytest.approx(report["scores"])


def test_a_file_and_flags_that_override_it(tmp_path):
    task = write_jsonl(tmp_path / "sst2", class_task())
    source = tiny_checkpoint(tmp_path / "source", labels=2)
    (tmp_path / "run.yaml").write_text(
        "max_steps: 99\nper_device_train_batch_size: 8\nlearning_rate: 1.0e-3\nseed: 7\n"
        "output_dir: /elsewhere\n"
        "train: {precision: float32, distil: 0.25, calibration_rows: 8}\n"
        "prune:\n  structure: block\n  p: 12\n  q: 8\n  compression: 5\n  milestones: [0]\n"
        "  layer_strengths: {'*.output.dense': 0.3}\n"
        "quantize: {calibration: minmax, calibration_rows: 8}\n")
    report = report_of("prune", source, "-t", task, "--config", tmp_path / "run.yaml", "-o",
                       tmp_path / "pruned", "--max-steps", "4", "--compression", "2.5", "--set",
                       "weight_decay=0.01", "--distil", "0.75", "--lambda-of", "*.key=0")
    assert report["steps"] == 4 and 2.5 <= report["compression"] < 3
    note = json.loads((tmp_path / "pruned" / "pruning.json").read_text())
    assert {key: note["prune"][key] for key in ("structure", "p", "q", "compression")} == {
        "structure": "block", "p": 12, "q": 8, "compression": 2.5}
    assert note["prune"]["layer_strengths"] == [["*.key", 0.0]]
    arguments = note["train"]["arguments"]
    assert (arguments["max_steps"], arguments["seed"], arguments["learning_rate"],
            arguments["weight_decay"]) == (4, 7, 1e-3, 0.01)
    assert (note["train"]["distil"], note["train"]["precision"]) == (0.75, "float32")
    call("quantize", tmp_path / "pruned", "-t", task, "--config", tmp_path / "run.yaml", "-o",
         tmp_path / "out", "--percentile", "99")
    metadata = report_of("show", tmp_path / "out")["metadata"]
    assert metadata["quantize"]["calibration"] == "minmax"
    assert metadata["quantize"]["percentile"] == 99


def test_show_draws_masks(tmp_path):
    task, source = write_sts(tmp_path / "sts"), tiny_checkpoint(tmp_path / "source")
    call("prune", source, "-t", task, "--head", "cosine", "-o", tmp_path / "out", *STEPS)
    call("show", tmp_path / "out", "--image", tmp_path / "all.png")
    found = report_of("show", tmp_path / "out", "--image", tmp_path / "one.png", "--layer",
                      LAYER_NAMES["bert"][4])
    assert found["image"] == str(tmp_path / "one.png")
    sizes = []
    for name in ("all", "one"):
        with Image.open(tmp_path / f"{name}.png") as image:
            sizes.append(image.width * image.height)
    assert sizes[0] > sizes[1] > 0
    with pytest.raises(InputError, match="layer: expected --image FILE to draw it to, found none"):
        call("show", tmp_path / "out", "--layer", LAYER_NAMES["bert"][4])
    with pytest.raises(InputError, match="layer nosuch: expected one of encoder"):
        call("show", tmp_path / "out", "--image", tmp_path / "no.png", "--layer", "nosuch")
    assert not (tmp_path / "no.png").exists()


@pytest.fixture
def refused(monkeypatch, capfd, tmp_path):
    """Runs the command, which must refuse and write nothing; gives its one line."""
    def run(*words):
        before = sorted(path for path in tmp_path.rglob("*"))
        capfd.readouterr()
        monkeypatch.setattr("sys.argv", ["sparseloom", "model", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            console.main()
        shown = capfd.readouterr()
        assert left.value.code == 2
        assert shown.out == ""
        lines = [line for line in shown.err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1 and shown.err.rstrip().endswith(lines[0])
        assert "Traceback" not in shown.err
        assert sorted(path for path in tmp_path.rglob("*")) == before
        return lines[0].removeprefix("error: ")
    return run


@pytest.fixture
def places(tmp_path):
    """Names in the words of a command, and what they stand for."""
    (tmp_path / "bad.yaml").write_text("learning_rate: [1,\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "unknown.yaml").write_text("learning_rat: 1\n")
    (tmp_path / "setting.yaml").write_text("prune: {blocks: 3}\n")
    (tmp_path / "value.yaml").write_text("prune: {p: big}\n")
    return {"source": tiny_checkpoint(tmp_path / "source"),
            "head": tiny_checkpoint(tmp_path / "head", labels=2),
            "sts": write_sts(tmp_path / "sts"),
            "sst2": write_jsonl(tmp_path / "sst2", class_task()),
            "scores": write_jsonl(tmp_path / "pairs", similarity_task()),
            "out": tmp_path / "out", "tmp": tmp_path}


PRUNE = ["prune", "{source}", "-t", "{sts}", "--head", "cosine", "-o", "{out}"]
TRAIN = ["finetune", "{head}", "-t", "{sst2}", "-o", "{out}", "--precision", "float32"]


@pytest.mark.parametrize(("words", "message"), [
    ([*PRUNE, "--compression", "0"], "compression: expected a number of at least 1, found 0.0"),
    ([*PRUNE, "--p", "7"], "p: expected a divisor of the 48 outputs of "
     "encoder.layer.0.attention.self.query (such as 6 or 8), found 7"),
    (["prune", "{source}", "-t", "{source}", "-o", "{out}"], "task {source}: expected a file "),
    (["prune", "{source}", "-t", "nosuch", "-o", "{out}"], "task nosuch: expected "),
    (["prune", "{sts}", "-t", "{sts}", "-o", "{out}"],
     "checkpoint {sts}: expected config.json in the folder, found none"),
    (["quantize", "{source}", "-t", "{sts}", "-o", "{out}", "--weight-bits", "3"],
     "weight_bits: expected 8 or 4, found 3"),
    (["eval", "{source}", "-t", "{sts}", "--integer"],
     "artefact {source}/sparseloom.safetensors: expected a file, found none"),
    (["eval", "{source}", "-t", "{sst2}"],
     "checkpoint {source}: expected a head for sst2, found none; fine-tune it first"),
    (["show", "{source}"], "artefact {source}/sparseloom.safetensors: expected a file, found none"),
    (["finetune", "{head}", "-t", "{scores}", "--head", "classification", "-o", "{out}"],
     "{scores}/train.jsonl"),
    (["finetune", "{source}", "-t", "{sst2}", "--head", "cosine", "-o", "{out}"],
     "task {sst2}: expected two sentences a row, found one"),
    ([*TRAIN, "--config", "{tmp}/bad.yaml"], "config {tmp}/bad.yaml: expected YAML, found: "),
    ([*TRAIN, "--config", "{tmp}/none.yaml"], "config {tmp}/none.yaml: expected YAML, found: "),
    ([*TRAIN, "--config", "{tmp}/list.yaml"],
     "config {tmp}/list.yaml: expected names with values, found [1]"),
    ([*TRAIN, "--config", "{tmp}/unknown.yaml"], "config {tmp}/unknown.yaml: expected fields of "
     "TrainingArguments or one of prune, train, quantize, found 'learning_rat'"),
    ([*PRUNE, "--config", "{tmp}/setting.yaml"], "config {tmp}/setting.yaml, prune: expected one "),
    ([*PRUNE, "--config", "{tmp}/value.yaml"], "p: expected an integer of 1 or more, found 'big'"),
    ([*TRAIN, "--set", "nosuch=1"], "training arguments: expected fields of TrainingArguments"),
    ([*TRAIN, "--set", "learning_rate"], "set: expected name=value, found 'learning_rate'"),
    ([*TRAIN, "--set", "fsdp=full_shard"], ("fsdp", "training arguments")),
    ([*TRAIN, "--set", "lr_scheduler_type=nosuch"], "training arguments: expected values that "),
    ([*PRUNE, "--max-steps", "4"], "milestones: expected a step of its own for each, found 0 and "),
    ([*PRUNE, "--milestone", "20ep", "--max-steps", "40"], "milestones: expected steps below "),
    ([*PRUNE, "--lambda-of", "key"], "lambda-of: expected pattern=number, found 'key'"),
], ids=lambda value: None if isinstance(value, list) else str(value)[:30])
def test_bad_input(places, refused, words, message):
    found = refused(*(word.format(**places) for word in words))
    starts = message if isinstance(message, tuple) else (message,)
    assert found.startswith(tuple(start.format(**places) for start in starts)), found


@pytest.mark.parametrize("command", ["finetune", "prune"])
def test_a_loss_that_is_no_number(places, refused, command):
    """The step and the cause, and no working folder that would be in the way of the next try."""
    words = [command, places["head"], "-t", places["sst2"], "-o", places["out"], "--max-steps", "8",
             "--batch", "8", "--precision", "float32", "--learning-rate", "1e30"]
    found = refused(*words, *(["--milestone", "0"] if command == "prune" else []))
    assert found.startswith("loss: expected a number, found nan at step "), found
    assert " of 8; " in found and "1e+30" in found and "learning rate" in found


def test_a_checkpoint_that_is_no_number(tmp_path, places, refused):
    model = AutoModelForSequenceClassification.from_pretrained(places["head"])
    model.bert.encoder.layer[1].output.dense.weight.data[3, 4] = torch.nan
    model.save_pretrained(tmp_path / "head")
    for command in ("finetune", "prune"):
        found = refused(command, places["head"], "-t", places["sst2"], "-o", places["out"],
                        "--batch", "8", "--precision", "float32")
        assert "bert.encoder.layer.1.output.dense.weight" in found, found


@pytest.mark.parametrize("model", [
    GPT2Model(GPT2Config(n_embd=48, n_layer=2, n_head=4, vocab_size=64, n_positions=40)),
    T5Model(T5Config(d_model=16, d_kv=8, d_ff=16, num_layers=1, num_heads=2, vocab_size=64)),
    None], ids=["gpt2", "t5", "unknown"])
def test_another_architecture(tmp_path, places, refused, model):
    folder = tmp_path / "other"
    if model is None:
        folder.mkdir()
        (folder / "config.json").write_text('{"model_type": "abacus"}')
    else:
        model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    for command in ("finetune", "prune", "quantize"):
        found = refused(command, folder, "-t", places["sts"], "--head", "cosine", "-o",
                        places["out"])
        assert found.startswith("checkpoint") and "encoder" in found, found


def test_other_settings_in_a_working_folder(places, refused):
    """What an interrupted run left is neither used nor lost."""
    from sparseloom.model.work import open_work
    folder = open_work(places["out"], {"an": "other run"}, restart=False)
    found = refused(*(word.format(**places) for word in TRAIN))
    assert found.startswith(f"working folder {folder}: expected an interrupted run with these ")
    assert found.endswith("finish that one, or --restart to discard it")
    report = report_of(*(word.format(**places) for word in TRAIN), "--restart", "--max-steps", "1",
                       "--batch", "8")
    assert report["steps"] == 1 and not folder.exists()


@pytest.mark.parametrize(("metadata", "title"), [
    ({"source": ["x"]}, "{folder}"), ({"source": {"model": "[/a] b"}}, "[/a] b"),
    ({"source": {}}, "{folder}"), ({}, "{folder}")])
def test_show_what_others_wrote(tmp_path, metadata, title, monkeypatch):
    """Notes of another kind, names in brackets."""
    monkeypatch.chdir(tmp_path)
    layer = random_layer(np.random.default_rng(1), inputs=8, outputs=6, p=3, q=4, density=1.0,
                         name="[b]")
    write_artefact("out", [layer], metadata)
    shown = call("show", "out").stdout
    assert title.format(folder="out") in shown.splitlines()[0]
    assert "[b]" in shown
