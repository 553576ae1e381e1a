import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.packed.cycles import ideal_cycles
from sparseloom.model.reference import linear
from sparseloom.model.schedule import make_schedule
from sparseloom.sim import demo as demo_module
from sparseloom.sim.console import main
from sparseloom.sim.demo import STEPS, DemoSettings
from sparseloom.sim.layer import LayerRun
from sparseloom.sim.layer_queues import QueueRun
from sparseloom.sim.model import ModelRun
from sparseloom.sim.page.report import WHOLE
from tests.model.tiny import BERT_LAYER, FFN, HIDDEN, tiny_checkpoint, write_sts

TOKENS = 5


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> list[str]:
    """Options that name a tiny model and task."""
    folder = tmp_path_factory.mktemp("inputs")
    return ["--model", str(tiny_checkpoint(folder / "model")),
            "--task", str(write_sts(folder / "task"))]


@pytest.fixture
def invoke(capsys, monkeypatch):
    """The command as a user calls it, on a small array: exit code, standard output, error."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*options: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["sparseloom", "demo", "--rows", "2", "--cols", "4",
                                         *map(str, options)])
        with pytest.raises(SystemExit) as caught:
            main()
        shown = capsys.readouterr()
        assert isinstance(caught.value.code, int)
        return caught.value.code, shown.out, shown.err
    return run


def pretend(layer, x, config, *, progress=None) -> LayerRun:
    """A run that is right, without a simulator."""
    results = linear(layer, x)
    ideal = ideal_cycles(layer, rows=config.rows, cols=config.cols, tokens=len(x))
    return LayerRun(name=layer.name, results=results, expected=results, cycles=2 * ideal + 10,
                    ideal_cycles=ideal, counters={}, outputs=results.size, mismatches=0,
                    tokens=len(x), jobs=1, seconds=0.0)


def pretend_whole(artefact, acts, config, progress) -> ModelRun:
    """The same of the whole encoder."""
    runs = []
    for name, layer in artefact.layers.items():
        one, tokens = pretend(layer, acts[name], config), len(acts[name])
        runs.append(QueueRun(
            name=name, layers=1, jobs=1, cycles=one.cycles, counted_cycles=one.cycles,
            counters={"busy": one.cycles, "active": one.cycles}, predicted_cycles=one.cycles,
            predicted={"busy": one.cycles}, ideal_cycles=one.ideal_cycles, load_cycles=1,
            outputs=one.outputs, mismatches=0))
    return ModelRun(layers=list(artefact.layers.values()), runs=runs, tokens=tokens, seconds=1.0,
                    build_seconds=1.0)


def spoil_whole(monkeypatch, **changes) -> None:
    """The encoder's first layer, unpruned and pruned, is not as it should be."""
    def spoilt(*args) -> ModelRun:
        run = pretend_whole(*args)
        return replace(run, runs=[replace(run.runs[0], **changes), *run.runs[1:]])

    monkeypatch.setattr(demo_module, "run_whole", spoilt)


def test_tiny_model_through_real_rtl(inputs, tmp_path, invoke):
    out = tmp_path / "demo"
    code, shown, _ = invoke(*inputs, "--tokens", TOKENS, "--steps", 8, "--layer-index", 1,
                            "-o", out)
    assert code == 0
    report = json.loads((out / "report.json").read_text())
    assert report["model"] == Path(inputs[1]).name
    card = (out / "pruned" / "README.md").read_text()
    assert Path(inputs[1]).name in card
    assert str(Path(inputs[1]).parent) not in card
    assert set(report["score"]) == {"dense", "pruned", "integer"}
    assert report["compression"] >= 2
    shapes = {"intermediate.dense": [FFN, HIDDEN], "output.dense": [HIDDEN, FFN]}
    assert [(layer["name"], layer["shape"]) for layer in report["layers"]] == [
        (f"encoder.layer.1.{part}", shapes.get(part, [HIDDEN, HIDDEN])) for part in BERT_LAYER]
    for layer in report["layers"]:
        assert layer["outputs"] == layer["dense_outputs"] == TOKENS * layer["shape"][0]
        assert layer["mismatches"] == layer["dense_mismatches"] == 0
        assert 0 < layer["ideal_cycles"] <= layer["cycles"]
        assert layer["speedup_vs_dense"] == layer["dense_cycles"] / layer["cycles"] > 1
        assert layer["speedup_over_compression"] == pytest.approx(
            layer["speedup_vs_dense"] * layer["density"])
    assert report["exact"]
    sentence = report["sentence"]
    assert sentence["exact"] and sentence["integers"] > 1000 and sentence["layers"] == 12
    assert sentence["products"] == 12 + 2 * 2 * 4 and sentence["answer_values"] == 1
    assert f"{sentence['integers']:,} integers compared with the oracle: bit-exact" in shown
    whole = report["whole"]
    files = {kind: json.loads((out / name).read_text()) for kind, name in WHOLE.items()}
    # Four heads: two encoder layers of six Linear layers and two products.
    linears = 2 * (4 * HIDDEN + FFN + HIDDEN)
    products = 2 * (4 * TOKENS + HIDDEN)
    for kind, found in files.items():
        assert whole[kind]["products"] == len(found["layers"]) == 16
        assert whole[kind]["outputs"] == TOKENS * (linears + products)
        assert whole[kind]["exact"] and found["exact"] and not whole[kind]["problems"]
        assert all(one["cycles"] == one["predicted_cycles"] + one["late_cycles"]
                   for one in found["layers"])
    assert whole["pruned"]["cycles"] < whole["dense"]["cycles"]
    by_name = {one["name"]: one["cycles"] for one in files["pruned"]["layers"]}
    assert all(by_name[layer["name"]] == layer["cycles"] for layer in report["layers"])
    assert (f"{2 * whole['dense']['outputs']:,} outputs bit-exact, and every cycle the cycle "
            "model's") in shown
    assert "speed-" in shown
    assert "NO" not in shown
    for file in ("pruned/sparseloom.safetensors", "pruned/config.json",
                 "dense/sparseloom.safetensors", "rtl/sparseloom.v", "rtl/manifest.json"):
        assert (out / file).is_file(), file
    assert f"report: {out / 'report.json'}, and for people {out / 'report.html'}" in shown
    page = (out / "report.html").read_text()
    assert Path(inputs[1]).name in page and str(Path(inputs[1]).parent) not in page
    compared = 2 * (sum(layer["outputs"] for layer in report["layers"])
                    + whole["dense"]["outputs"])
    assert f"<b>0 of {compared:,}</b><span>RTL outputs differ" in page
    explored = json.loads((out / "explore.json").read_text())
    assert explored["model"] == Path(inputs[1]).name and explored["front"]
    assert "not in the page: Arrays and prunings" not in shown and 'id="front"' in page


@pytest.fixture
def no_simulator(monkeypatch):
    monkeypatch.setattr(demo_module, "run_layer", pretend)
    monkeypatch.setattr(demo_module, "run_sentence", lambda *_: {})
    monkeypatch.setattr(demo_module, "run_whole", pretend_whole)


def test_json_and_blocks(inputs, tmp_path, invoke, no_simulator):
    code, out, progress = invoke(*inputs, "--tokens", TOKENS, "--steps", 4, "--structure", "block",
                                 "--json", "-o", tmp_path / "demo")
    assert code == 0
    assert "prune" in progress
    assert json.loads(out) == json.loads((tmp_path / "demo/report.json").read_text())


def test_one_wrong_output_fails_the_demo(inputs, tmp_path, invoke, no_simulator, monkeypatch):
    def spoil(layer, x, config, *, progress=None):
        run = pretend(layer, x, config)
        if not layer.name.endswith("attention.output.dense"):
            return run
        results = run.results.copy()
        results[-1, -1] += 1
        return replace(run, results=results, mismatches=int(np.sum(results != run.expected)))

    monkeypatch.setattr(demo_module, "run_layer", spoil)
    code, out, _ = invoke(*inputs, "--tokens", TOKENS, "--steps", 4, "-o", tmp_path / "demo")
    assert code == 1
    assert "NO: 2 differ" in out       # one pruned, one unpruned
    assert json.loads((tmp_path / "demo/report.json").read_text())["exact"] is False
    page = (tmp_path / "demo/report.html").read_text()
    assert '<p class="warn">2 outputs of the RTL differ from the integer oracle.</p>' in page


def test_a_wrong_cycle_of_the_encoder_fails_the_demo(inputs, tmp_path, invoke, no_simulator,
                                                     monkeypatch):
    spoil_whole(monkeypatch, predicted_cycles=3)
    code, out, _ = invoke(*inputs, "--tokens", TOKENS, "--steps", 4, "-o", tmp_path / "demo")
    assert code == 1
    assert ("NOT as they should be: encoder.layer.0.attention.self.query, dense: cycles by the "
            "cycle model: expected ") in " ".join(out.split())
    assert json.loads((tmp_path / "demo/report.json").read_text())["exact"] is False


def test_what_is_wrong_of_either_model_is_told(inputs, tmp_path, invoke, no_simulator, monkeypatch):
    spoil_whole(monkeypatch, mismatches=2)
    code, out, _ = invoke(*inputs, "--tokens", TOKENS, "--steps", 4, "-o", tmp_path / "demo")
    assert code == 1
    for kind in ("dense", "pruned"):
        assert (f"encoder.layer.0.attention.self.query, {kind}: mismatches: expected 0, found 2"
                ) in " ".join(out.split())


def test_attention_that_cannot_be_taken_is_refused_before_anything_is_trained(
        inputs, tmp_path, invoke, no_simulator, monkeypatch):
    monkeypatch.setattr("sparseloom.model.integer_model._attend_alone", lambda base: None)
    code, out, err = invoke(*inputs, "--steps", 4, "-o", tmp_path / "demo")
    assert code == 2 and "expected one call for a sentence, found 0" in err
    assert "prune and retrain" not in out


def test_the_page_shows_this_runs_exploration_or_none(inputs, tmp_path, invoke, no_simulator,
                                                      monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("build").mkdir()
    Path("build/explore.json").write_text("of another model")
    words = [*inputs, "--tokens", TOKENS, "--steps", 4, "-o", "demo"]
    code, _, _ = invoke(*words)
    assert code == 0 and "The star is the array" in Path("demo/report.html").read_text()

    def none(*_):
        raise InputError("no array fits")

    monkeypatch.setattr(demo_module, "explore_arrays", none)
    code, out, _ = invoke(*words)
    assert code == 0 and "note: no exploration: no array fits" in out
    assert json.loads(Path("demo/report.json").read_text())["exact"]
    assert "not in the page: Arrays and prunings that nothing beats" in out


def test_a_wrong_sentence_fails_the_demo(inputs, tmp_path, invoke, no_simulator, monkeypatch):
    wrong = {"exact": False, "products": 28, "integers": 2000}
    monkeypatch.setattr(demo_module, "run_sentence", lambda *_: wrong)
    code, out, _ = invoke(*inputs, "--tokens", TOKENS, "--steps", 4, "-o", tmp_path / "demo")
    assert code == 1
    assert "2,000 integers compared with the oracle: NOT exact" in out
    assert json.loads((tmp_path / "demo/report.json").read_text())["exact"] is False


def test_a_run_that_fails_leaves_no_older_report(inputs, tmp_path, invoke, no_simulator):
    report = tmp_path / "demo" / "report.json"
    report.parent.mkdir()
    report.write_text("{}")
    page, *others = (report.with_name(name) for name in (
        "report.html", "explore.json", *WHOLE.values()))
    for file in (page, *others):
        file.write_text("<html>")
    code, _, error = invoke(*inputs, "--layer-index", 2, "--steps", 4, "-o", report.parent)
    assert (code, error) == (2, "error: layer-index: expected one of 0, 1, the model's encoder "
                                "layers, found 2\n")
    assert not report.exists() and not any(file.exists() for file in (page, *others))


@pytest.mark.parametrize(("settings", "message"), [
    ({"rows": 0}, "rows must be an integer in 1..32, not 0"),
    ({"cols": 33}, "cols must be an integer in 1..32, not 33"),
    ({"tokens": 0}, r"tokens must be in 1..4096, not 0"),
    ({"layer_index": -1}, r"layer-index must be in 0..1000, not -1"),
    ({"jobs": 0}, "jobs must be in 1..64"),
    ({"steps": 3}, "steps must be 4 or more, not 3"),
    ({"compression": 0.5}, "compression: expected"),
    ({"structure": "diagonal"}, "structure: expected one of"),
    ({"data_dir": Path("x")}, "data-dir holds the files of a task"),
])
def test_settings_are_checked_first(settings, message):
    with pytest.raises(InputError, match=message):
        DemoSettings(**settings)


def test_bad_settings_end_with_one_line_and_code_2(invoke):
    assert invoke("--compression", 0.5) == (
        2, "", "error: compression: expected a number of at least 1, found 0.5\n")


def test_missing_model_is_refused(inputs, tmp_path, invoke):
    code, _, error = invoke("--model", tmp_path / "nothing", *inputs[2:], "-o", tmp_path / "demo")
    assert code == 2
    assert error.startswith("error: ")
    assert "nothing" in error
    assert error.count("\n") == 1


def test_the_build_grows_with_the_layers():
    standard = DemoSettings().array()
    assert (standard.max_k, standard.act_words) == (1536, 8192)
    assert DemoSettings().array(1536) == standard
    assert DemoSettings().array(3072) == replace(standard, max_k=3072)
    assert DemoSettings().array(9000) == replace(standard, max_k=9000, act_words=9000)


@pytest.mark.parametrize("steps", [4, 15, 16, 40, None])
def test_any_number_of_steps_makes_a_schedule(steps):
    """A quarter before the prune, each milestone at a step of its own."""
    settings = DemoSettings(steps=steps, seed=3)
    prune, train = settings.prune_config(), settings.train_config()
    count = steps or STEPS
    assert (train.arguments["max_steps"], train.seed, train.head_steps) == (count, 3, steps)
    made = make_schedule(prune, count, 10, penalty_rate=1.0, warmup=0.05)
    assert made.prune_step == count // 4
    assert len(made.milestones) == (4 if count >= 16 else 1)


def test_the_head_is_the_tasks_unless_asked_for(inputs, tmp_path, invoke, no_simulator):
    """STS-B in a folder of the user's own is a regression, which needs a head; or a cosine."""
    for options, head in ((["--head", "cosine"], "cosine"), ([], "regression")):
        out = tmp_path / head
        code, _, _ = invoke(*inputs, *options, "--tokens", TOKENS, "--steps", 4, "-o", out)
        assert code == 0
        assert json.loads((out / "pruned" / "task.json").read_text())["head"] == head
        score = json.loads((out / "report.json").read_text())["score"]
        assert all(isinstance(value, float) for value in score.values())
