import json
from pathlib import Path

import pytest

from sparseloom.model.errors import InputError
from sparseloom.sim.explore.scores import read_scores
from sparseloom.sim.explore.workload import Pruning

ROOT = Path(__file__).parents[2]


def row(**changes):
    return {"model": "m", "task": "t", "method": "reweighted", "head": "regression",
            "structure": "column", "p": 12, "q": 16, "int8": 80.0, "metric": "spearman",
            "compression": {"asked": 2.0, "encoder": 2.001}, "label": "", "settings": {},
            **changes}


def write(tmp_path, *rows):
    path = tmp_path / "scores.json"
    path.write_text(json.dumps({"rows": rows}))
    return path


def pruning(**changes):
    return Pruning(**{"structure": "column", "p": 12, "q": 16, "compression": 2.0, **changes})


def test_only_what_was_measured_has_a_score(tmp_path):
    path = write(
        tmp_path, row(int8=80.0), row(int8=81.0, seed=2), row(method="random", int8=1.0),
        row(model="other", int8=2.0), row(task="other", int8=3.0),
        row(label="lambda0.3", int8=4.0), row(label="column24x16", p=24, int8=70.0),
        row(compression={"asked": 5.0}, int8=60.0),
        row(settings={"quantize": {"weight_bits": 4}}, int8=50.0))
    scores = read_scores(path, model="m", task="t")
    two = scores.find(pruning(), 8)
    assert two is not None and (two.value, two.seeds, two.metric) == (80.5, 2, "spearman")
    for found, value in ((scores.find(pruning(p=24), 8), 70.0),
                         (scores.find(pruning(compression=5.0), 8), 60.0),
                         (scores.find(pruning(), 4), 50.0)):
        assert found is not None and (found.value, found.seeds) == (value, 1)
    for missing in (pruning(p=6), pruning(q=8), pruning(compression=2.01),
                    pruning(structure="block"), pruning(compression=1.0)):
        assert scores.find(missing, 8) is None
    assert scores.find(pruning(compression=5.0), 4) is None


def test_heads_are_not_mixed(tmp_path):
    path = write(tmp_path, row(), row(head="cosine", int8=90.0))
    with pytest.raises(InputError, match=r"^--head: expected one of cosine, regression, found "
                                         r"none$"):
        read_scores(path, model="m", task="t")
    with pytest.raises(InputError, match=r"^--head: expected one of cosine, regression, found x$"):
        read_scores(path, model="m", task="t", head="x")
    found = read_scores(path, model="m", task="t", head="cosine").find(pruning(), 8)
    assert found is not None and found.value == 90.0


@pytest.mark.parametrize(("text", "says"), [
    ("{", "found: JSONDecodeError"), ("{}", "found: KeyError: 'rows'"),
    ('{"rows": [{}]}', "found: KeyError"), ('{"rows": 5}', "found: TypeError"),
    (json.dumps({"rows": [row(p="x")]}), "found: TypeError: a row with a value of another type"),
    (json.dumps({"rows": [row(compression={"asked": None})]}), "found: TypeError"),
    (json.dumps({"rows": []}), "expected rows of m on t, found none"),
    (json.dumps({"rows": [row(task="u")]}), "expected rows of m on t, found m on u"),
    (json.dumps({"rows": [row(method="lasso")]}), "expected rows of method reweighted for m on t")])
def test_tables_that_say_nothing(tmp_path, text, says):
    path = tmp_path / "scores.json"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        read_scores(path, model="m", task="t")
    assert says in str(caught.value) and str(path) in str(caught.value)
    with pytest.raises(InputError, match="found: No such file or directory"):
        read_scores(tmp_path / "none.json", model="m", task="t")


def test_the_committed_table_is_one():
    rows = json.loads((ROOT / "bench/results/glue.json").read_text())["rows"]
    scores = read_scores(ROOT / "bench/results/glue.json", model="minilm", task="stsb",
                         head="regression")
    wanted = {found["compression"]["asked"]: found["int8"] for found in rows
              if found["row"].startswith("minilm-stsb-reweighted-") and found["seed"] == 1
              and not found["label"]}
    for compression in wanted:
        found = scores.find(pruning(compression=compression), 8)
        assert found is not None and found.metric == "spearman"
        if found.seeds == 1:
            assert found.value == wanted[compression]
