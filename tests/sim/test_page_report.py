"""From files to the page, and the command."""
import json
from pathlib import Path

import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.packed.artefact import write_artefact
from sparseloom.sim import console
from sparseloom.sim.page.report import WHOLE, Sources, default_sources, write_report
from tests.sim.receipts import (
    TOKENS,
    demo_report,
    dense_of,
    explore_report,
    fit_row,
    model_report,
    small_layers,
    write,
)

LAYERS = small_layers()
TITLES = ["The receipt", "What survived", "A layer's cycles", "Score against compression",
          "On the FPGA", "Arrays and prunings that nothing beats"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An artefact and the demo's report, where nothing else lies."""
    monkeypatch.chdir(tmp_path)
    write_artefact(tmp_path / "pruned", list(LAYERS.values()), {"source": {"model": "tiny"}})
    write(tmp_path / "report.json", demo_report(LAYERS))
    return tmp_path


def call(monkeypatch, capsys, *words):
    monkeypatch.setattr("sys.argv", ["sparseloom", "report", *map(str, words)])
    with pytest.raises(SystemExit) as left:
        console.main()
    shown = capsys.readouterr()
    return left.value.code or 0, shown.out, shown.err


def test_without_anything_each_section_says_what_makes_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    code, out, err = call(monkeypatch, capsys, "--json")
    assert code == 0, err
    assert json.loads(out) == {"file": "build/report.html", "missing": TITLES}
    page = (tmp_path / "build/report.html").read_text()
    for command in ("make demo", "make bench-glue DATA_DIR=folder", "make bench-fit",
                    "sparseloom explore build/demo/pruned --json &gt; build/explore.json"):
        assert f"<pre>{command}" in page


def test_what_lies_beside_the_artefact_is_found(folder, monkeypatch, capsys):
    code, out, err = call(monkeypatch, capsys, "pruned", "-o", "page.html", "--no-cpu")
    assert code == 0, err
    assert out.splitlines()[-1] == "report: page.html"
    assert [line for line in out.splitlines() if line.startswith("not there")] == [
        f"not there: {title} (the page says what makes it)" for title in TITLES[3:]]
    page = (folder / "page.html").read_text()
    outputs = sum(row["outputs"] for row in model_report(LAYERS)["layers"])
    for text in ("<title>tiny on Sparseloom</title>", f"stsb, 3 × 5 array, 32-bit streams, "
                 f"{TOKENS} tokens", "<b>86.7</b><span>spearman × 100, dense</span>",
                 f"<b>0 of {outputs}</b>", "encoder.0.down"):
        assert text in page


def test_what_lies_there_of_another_artefact_is_left_out(folder, monkeypatch, capsys):
    """Nobody named it: the unpruned artefact lies beside the pruned one's figures."""
    full = dense_of(LAYERS)
    write_artefact(folder / "dense", list(full.values()), {"source": {"model": "tiny"}})
    write(folder / "model.json", model_report(LAYERS))
    write(folder / "model-dense.json", model_report(full))
    code, _, err = call(monkeypatch, capsys, "dense", "-o", "page.html", "--no-cpu")
    assert code == 0
    said = [line for line in err.splitlines() if line.startswith("left out")]
    assert len(said) == 2 and "report.json" in said[0] and "model.json" in said[1]
    assert all("the artefact's, or 1, found 0." in line for line in said)
    assert "2 layers pruned and 2 dense of 2" in (folder / "page.html").read_text()
    code, _, err = call(monkeypatch, capsys, "pruned", "-o", "page.html", "--no-cpu",
                        "--tokens", TOKENS + 1, "--clock-mhz", 50)
    assert code == 0
    assert err.count(f"expected {TOKENS + 1} tokens, found {TOKENS}") == 3
    page = (folder / "page.html").read_text()
    assert "no RTL cycles were given" in page and "at 50 MHz" in page
    code, _, err = call(monkeypatch, capsys, "dense", "-o", "page.html", "--no-cpu",
                        "-m", "model.json")
    assert code == 2 and err.count("\n") == 1         # what is named must fit


def test_tables_that_are_named(folder, monkeypatch, capsys):
    words = ["pruned", "-o", "page.html", "--no-cpu",
             "--fit", write(folder / "f.json", fit_row()),
             "--explore", write(folder / "e.json", explore_report()),
             "-m", write(folder / "dense.json", model_report(dense_of(LAYERS))), "--json"]
    code, out, err = call(monkeypatch, capsys, *words)
    assert code == 0, err
    assert json.loads(out)["missing"] == ["Score against compression"]
    page = (folder / "page.html").read_text()
    assert "100 MHz; dense" in page and "2 layers" not in page
    assert "0 layers pruned and 2 dense of 2" in page       # the demo's cycles gave way


@pytest.mark.parametrize(("option", "value", "message"), [
    ("--demo", {"task": "x"}, "demo x.json: expected the demo's report.json"),
    ("--scores", {"rows": [{}]}, "scores x.json: expected the table of 'make bench-glue'"),
    ("--fit", {"rows": [{"fmax_mhz": {"median": 1}, "config": {"rows": 1},
                         "device": {"part": "p"}}]}, "fits x.json: expected rows as"),
    ("--explore", [], "explore x.json: expected the JSON of 'sparseloom explore --json'"),
    ("-m", {"layers": 3}, "measured x.json: expected the JSON of"),
])
def test_files_that_are_something_else(folder, monkeypatch, capsys, option, value, message):
    write(folder / "x.json", value)
    words = ["-m", "report.json"] if option == "--demo" else []
    code, _, err = call(monkeypatch, capsys, "pruned", "-o", "page.html", "--no-cpu", *words,
                        option, "x.json")
    assert code == 2 and message in err and err.count("\n") == 1
    assert not (folder / "page.html").exists()
    code, _, err = call(monkeypatch, capsys, "pruned", option, "absent.json")
    assert code == 2 and "absent.json" in err


def test_a_difference_is_at_the_head_of_the_page(folder):
    report = demo_report(LAYERS)
    report["layers"][0]["cycles"] += 1
    report["layers"][1]["mismatches"] = 4
    demo = write(folder / "report.json", report)
    write_report(folder / "page.html", Sources(artefact=folder / "pruned", measured=[demo]))
    page = (folder / "page.html").read_text()
    assert '<p class="warn">4 outputs of the RTL differ' in page
    assert "The cycle model and the RTL differ in 1 layers: encoder.0.up." in page


def test_an_old_page_stays_where_the_new_one_fails(folder, monkeypatch):
    page = folder / "page.html"
    page.write_text("old")

    def full(path, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sparseloom.sim.page.report.write_whole", full)
    with pytest.raises(InputError, match=r"page\.html: expected room to write"):
        write_report(page, Sources())
    assert page.read_text() == "old"


def test_usual_places(folder):
    found = default_sources(folder / "pruned")
    assert found.demo == folder / "report.json" and found.measured == [found.demo]
    assert found.scores is found.fits is found.explore is None
    others = {name: write(folder / name, {}) for name in (*WHOLE.values(), "explore.json")}
    found = default_sources(folder / "pruned")
    assert found.measured == [found.demo, *(others[name] for name in WHOLE.values())]
    assert found.explore == others["explore.json"]
    (folder / "build").mkdir()
    write(folder / "build" / "explore.json", {})    # of whatever was explored here last
    assert default_sources(folder / "pruned").explore == others["explore.json"]
    others["explore.json"].unlink()
    assert default_sources(folder / "pruned").explore == Path("build/explore.json")
    (folder / "build/explore.json").unlink()
    (folder / "report.json").unlink()       # the others are of a run that did not end
    assert default_sources(folder / "pruned").measured == ()
    assert default_sources() == Sources()
