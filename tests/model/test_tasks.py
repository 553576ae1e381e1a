"""Task files: what is read, and what is said of files that cannot be read."""
import json
import sys

import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.tasks import Row, load_task

STS = "main\tMSR\t2012\t0001\t{}\tA \"man\" runs.\tA man\u2028 is running.\textra\n"


TRAIN, DEV = STS.format("4.5") + STS.format("0"), STS.format("3.250")


def sts(folder, train=TRAIN, dev=DEV):
    (folder / "sts-train.csv").write_text(train, encoding="utf-8")
    (folder / "sts-dev.csv").write_text(dev, encoding="utf-8")
    return folder


def jsonl(folder, rows, validation=None, name="train.jsonl"):
    folder.mkdir(exist_ok=True, parents=True)
    for file, data in ((name, rows), ("validation.jsonl", validation or rows)):
        (folder / file).write_text("".join(json.dumps(row) + "\n" for row in data))
    return folder


def test_sts_as_packaged(tmp_path):
    """Tabs, no header, no quoting; a quote or an odd line separator is a letter like any other."""
    task = load_task(sts(tmp_path))
    assert (task.name, task.kind, task.metric) == ("stsb", "similarity", "spearman")
    assert [row.label for row in task.train] == [4.5, 0.0]
    assert task.validation == (Row(sentences=('A "man" runs.', "A man\u2028 is running."),
                                   label=3.25),)
    assert task.sentences("train") == ['A "man" runs.', "A man\u2028 is running."]


@pytest.mark.parametrize(("name", "row", "kind", "metric"), [
    ("sst2", {"sentence": "good", "label": 1, "idx": 0}, "classification", "accuracy"),
    ("mrpc", {"sentence1": "a", "sentence2": "b", "label": 0}, "classification", "f1"),
    ("cola", {"sentence": "good", "label": 1}, "classification", "matthews"),
    ("qnli", {"question": "a", "sentence": "b", "label": 0}, "classification", "accuracy"),
    ("mnli", {"premise": "a", "hypothesis": "b", "label": 2}, "classification", "accuracy"),
])
def test_glue_rows(tmp_path, name, row, kind, metric):
    task = load_task(jsonl(tmp_path / name, [row]))
    assert (task.name, task.kind, task.metric) == (name, kind, metric)
    texts = tuple(str(value) for key, value in row.items() if key not in ("label", "idx"))
    assert task.train == (Row(sentences=texts, label=float(row["label"])),)


def test_csv_tsv_and_a_name(tmp_path):
    (tmp_path / "train.csv").write_text('sentence,label\n"so, good",1\nbad,0\n')
    (tmp_path / "dev.tsv").write_text('idx\tlabel\tsentence\n1\t1\t"not quoted\n')
    task = load_task(tmp_path, name="sst2")
    assert task.train == (Row(sentences=("so, good",), label=1.0),
                          Row(sentences=("bad",), label=0.0))
    assert task.validation[0].sentences == ('"not quoted',)


def test_unknown_task_is_inferred(tmp_path):
    pair = {"sentence1": "a", "sentence2": "b"}
    scores = load_task(jsonl(tmp_path / "mine", [{**pair, "label": 0.5}, {**pair, "label": 1}]))
    assert (scores.kind, scores.num_labels) == ("similarity", 1)
    classes = load_task(jsonl(tmp_path / "other", [{**pair, "label": 0}, {**pair, "label": 3}]))
    assert (classes.kind, classes.metric, classes.num_labels) == ("classification", "accuracy", 4)


def refused(folder, message, **options):
    with pytest.raises(InputError) as problem:
        load_task(folder, **options)
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_missing_columns(tmp_path):
    refused(jsonl(tmp_path / "a", [{"text1": "x", "label": 1}]),
            "train.jsonl:1: expected columns sentence (or sentence1 and sentence2) and label, "
            "found text1, label")
    (tmp_path / "train.csv").write_text("sentence,class\ngood,1\n")
    (tmp_path / "validation.csv").write_text("sentence,class\ngood,1\n")
    refused(tmp_path, "train.csv:2: expected columns sentence (or sentence1 and sentence2) and "
                      "label, found sentence, class")
    (tmp_path / "train.csv").write_text("sentence,class\n")
    refused(tmp_path, "train.csv: expected columns")
    refused(sts(tmp_path, train="main\tMSR\t4.0\tA man.\n"),
            "sts-train.csv:1: expected 7 columns (score in the fifth, sentences in the sixth and "
            "seventh), found 4")


def test_rows_that_cannot_be_read(tmp_path):
    refused(sts(tmp_path, train=STS.format("1") + STS.format("high")),
            "sts-train.csv:2, label: expected a number, found 'high'")
    refused(sts(tmp_path, train=STS.format("nan")), "expected a number, found 'nan'")
    refused(sts(tmp_path, train=STS.format("1")), "expected scores that differ")
    refused(sts(tmp_path, train="\n"), "train: expected rows, found none")
    refused(jsonl(tmp_path / "a", [{"sentence": "", "label": 1}]), "expected a sentence, found ''")
    refused(jsonl(tmp_path / "b", [{"sentence": 3, "label": 1}]), "expected a sentence, found 3")
    refused(jsonl(tmp_path / "c", [{"sentence": "a", "label": True}]), "found True")
    refused(jsonl(tmp_path / "d", [[1, 2]]), "expected a JSON object, found list")
    refused(jsonl(tmp_path / "sst2", [{"sentence": "a", "label": 2}]),
            "train row 1, label: expected a class from 0 to 1, found 2")
    refused(jsonl(tmp_path / "e" / "stsb", [{"sentence": "a", "label": 2}]),
            "expected two sentences a row, found one")
    (tmp_path / "a" / "train.jsonl").write_text('{"sentence": "cut of')
    refused(tmp_path / "a", "train.jsonl:1: expected a JSON object, found:")
    (tmp_path / "a" / "train.jsonl").write_bytes(b"\xff\xfe\x00")
    refused(tmp_path / "a", "train.jsonl: expected UTF-8 text, found:")
    (tmp_path / "a" / "train.jsonl").write_text("[" * 100_000)
    refused(tmp_path / "a", "train.jsonl:1: expected a JSON object, found:")
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "train.csv").write_text("sentence,label\na,1,2\n")
    (tmp_path / "f" / "dev.csv").write_text("sentence,label\na,1\n")
    refused(tmp_path / "f", "train.csv:2: expected 2 columns as in the header, found 3")


def test_no_such_task(tmp_path, monkeypatch):
    refused(tmp_path, "expected a file train.jsonl|.csv|.tsv, found none")
    refused(tmp_path / "none", "expected a folder or one of stsb, sst2")
    (tmp_path / "sts-train.csv").write_text(STS.format(1))
    refused(tmp_path, "expected a file sts-dev.csv, found none")
    monkeypatch.setitem(sys.modules, "datasets", None)  # as if it were not installed
    refused("stsb", "task stsb: expected a folder, or the package `datasets` to fetch it from the "
                    "hub, found neither")


def test_hub_rows(monkeypatch):
    """The optional package gives the same rows; it is stood in for here."""
    class Split(list):
        column_names = ("sentence1", "sentence2", "label", "idx")

    class Hub:
        @staticmethod
        def load_dataset(path, name):
            if name == "rte":
                raise ConnectionError("no route\nto host")
            row = {"sentence1": "a", "sentence2": "b", "label": 1, "idx": 0}
            return {"train": Split([row]), "validation": Split([row, row])}

    monkeypatch.setitem(sys.modules, "datasets", Hub)
    task = load_task("mrpc")
    assert (len(task.train), len(task.validation)) == (1, 2)
    assert task.train[0] == Row(sentences=("a", "b"), label=1.0)
    refused("rte", "task rte: expected nyu-mll/glue on the hub, found: no route")


def named(folder, text, suffix="csv"):
    folder.mkdir()
    (folder / f"train.{suffix}").write_bytes(text.encode())
    (folder / "dev.jsonl").write_text('{"sentence": "a", "label": 1}\n')
    return folder


def test_csv_quotes_hold_line_ends(tmp_path):
    text = 'sentence,label\r\n"a\nb",1\r\n"a ""quoted""\r\n\r\nline",0\r\n\r\nlast\u2028one,1'
    assert load_task(named(tmp_path / "a", text)).train == (
        Row(sentences=("a\nb",), label=1.0),
        Row(sentences=('a "quoted"\r\n\r\nline',), label=0.0),
        Row(sentences=("last\u2028one",), label=1.0))


@pytest.mark.parametrize(("row", "message"), [
    ("x,high", "train.csv:6, label: expected a number, found 'high'"),
    ("x,1,2", "train.csv:6: expected 2 columns as in the header, found 3"),
    ('"x\n\n,1', "train.csv:6: expected CSV, found: unexpected end of data"),
    ('"x"y,1', "train.csv:6: expected CSV, found: ',' expected after '\"'"),
])
def test_csv_line_numbers_are_the_files(tmp_path, row, message):
    """Counted from 1, empty lines and those inside quotes included."""
    refused(named(tmp_path / "a", f'sentence,label\n"a\n\nb",1\n\n{row}\n'), message)


@pytest.mark.parametrize(("suffix", "text"), [
    ("csv", "sentence,label\r\ngood,1\r\n"), ("tsv", "sentence\tlabel\r\ngood\t1\r\n"),
    ("jsonl", '{"sentence": "good", "label": 1}\r\n')])
def test_byte_order_mark(tmp_path, suffix, text):
    """As spreadsheets write it."""
    task = load_task(named(tmp_path / "a", "\ufeff" + text, suffix))
    assert task.train == (Row(sentences=("good",), label=1.0),)


@pytest.mark.parametrize("label", ["1" + 400 * "0", "-1e999", '"' + 400 * "9" + '"'])
def test_labels_beyond_any_float(tmp_path, label):
    text = f'{{"sentence": "a", "label": {label}}}\n'
    refused(named(tmp_path / "a", text, "jsonl"), "train.jsonl:1, label: expected a number, found")


def test_a_stray_number_makes_no_giant_head(tmp_path):
    rows = [{"sentence": "a", "label": label} for label in (0, 1, 1e300)]
    refused(jsonl(tmp_path / "mine", rows),
            "train row 3, label: expected a class from 0 to 65534, found 1e+300")


def test_half_a_character(tmp_path):
    refused(jsonl(tmp_path / "a", [{"sentence": "so \ud83d", "label": 1}]),
            "train.jsonl:1: expected a sentence, found 'so \\ud83d'")


def test_messages_are_short(tmp_path):
    """Whatever the file holds."""
    long = 1000 * "x"
    rows = ({"sentence": [long], "label": 1}, {"sentence": "a", "label": long}, {long: 1})
    for index, row in enumerate(rows):
        with pytest.raises(InputError) as problem:
            load_task(named(tmp_path / str(index), json.dumps(row), "jsonl"))
        assert len(str(problem.value)) < 250 + len(str(tmp_path)) and "…" in str(problem.value)
    with pytest.raises(InputError) as problem:
        load_task(long)
    assert len(str(problem.value)) < 250
