"""Task files: what is read, and what is said of files that cannot be read."""
import json
import sys
from dataclasses import replace

import pytest

from sparseloom.model.errors import InputError
from sparseloom.model.metrics import METRICS
from sparseloom.model.tasks import KINDS, Row, Task, load_task, split, subset

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
    assert (task.name, task.head, task.metric) == ("stsb", "regression", "spearman")
    assert (task.labels, task.num_labels) == ((), 1)
    assert [row.label for row in task.train] == [4.5, 0.0]
    assert task.validation == (Row(sentences=('A "man" runs.', "A man\u2028 is running."),
                                   label=3.25),)
    assert task.sentences("train") == ['A "man" runs.', "A man\u2028 is running."]


@pytest.mark.parametrize(("name", "row", "metrics"), [
    ("sst2", {"sentence": "good", "label": 1, "idx": 0}, ("accuracy",)),
    ("mrpc", {"sentence1": "a", "sentence2": "b", "label": 0}, ("accuracy", "f1")),
    ("qqp", {"question1": "a", "question2": "b", "label": 0}, ("accuracy", "f1")),
    ("cola", {"sentence": "good", "label": 1}, ("matthews",)),
    ("rte", {"sentence1": "a", "sentence2": "b", "label": 0}, ("accuracy",)),
    ("wnli", {"sentence1": "a", "sentence2": "b", "label": 0}, ("accuracy",)),
    ("qnli", {"question": "a", "sentence": "b", "label": 0}, ("accuracy",)),
    ("mnli", {"premise": "a", "hypothesis": "b", "label": 2}, ("accuracy",)),
])
def test_glue_rows(tmp_path, name, row, metrics):
    task = load_task(jsonl(tmp_path / name, [row]))
    assert (task.name, task.head, task.metrics) == (name, "classification", metrics)
    assert task.labels == (("0", "1", "2") if name == "mnli" else ("0", "1"))
    texts = tuple(str(value) for key, value in row.items() if key not in ("label", "idx"))
    assert task.train == (Row(sentences=texts, label=float(row["label"])),)


def test_every_metric_exists():
    for head, metrics, labels in KINDS.values():
        assert set(metrics) <= set(METRICS) and (len(labels) >= 2) is (head == "classification")


def test_csv_tsv_and_a_name(tmp_path):
    (tmp_path / "train.csv").write_text('sentence,label\n"so, good",1\nbad,0\n')
    (tmp_path / "dev.tsv").write_text('idx\tlabel\tsentence\n1\t1\t"not quoted\n')
    task = load_task(tmp_path, name="sst2")
    assert task.train == (Row(sentences=("so, good",), label=1.0),
                          Row(sentences=("bad",), label=0.0))
    assert task.validation[0].sentences == ('"not quoted',)


def test_unknown_task_is_inferred(tmp_path):
    pair = {"sentence1": "a", "sentence2": "b"}
    scores = load_task(jsonl(tmp_path / "mine", [{**pair, "label": 1}, {**pair, "label": 0.5}]))
    assert (scores.head, scores.metrics) == ("regression", ("spearman", "pearson"))
    assert scores.num_labels == 1
    four = load_task(jsonl(tmp_path / "other", [{**pair, "label": 0}, {**pair, "label": 3}]))
    assert (four.head, four.metrics) == ("classification", ("accuracy", "f1_macro"))
    assert four.labels == ("0", "1", "2", "3")
    two = load_task(jsonl(tmp_path / "two", [{"text": "a", "label": 1}]))
    assert (two.labels, two.metrics) == (("0", "1"), ("accuracy", "f1"))


def refused(folder, message, **options):
    with pytest.raises(InputError) as problem:
        load_task(folder, **options)
    assert message in str(problem.value)
    assert "\n" not in str(problem.value)


def test_missing_columns(tmp_path):
    for index, row in enumerate((
            {"a": "x", "b": "x", "c": "x", "label": 1}, {"label": 1},
            {"sentence2": "x", "label": 1}, {"sentence1": "a", "sentence2": "b", "idx": 1})):
        refused(jsonl(tmp_path / str(index), [row]),
                "train.jsonl:1: expected columns sentence (or sentence1 and sentence2) and label, "
                f"found {', '.join(row)}")
    rows = [{"sentence": "a", "label": 1}, {"sentence": "a", "labels": 1}]
    refused(jsonl(tmp_path / "later", rows), "train.jsonl:2: expected columns sentence, label as "
                                             "in the first row, found sentence, labels")
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
            "train.jsonl:1, label: expected a class from 0 to 1, found 2")
    refused(jsonl(tmp_path / "e" / "stsb", [{"sentence": "a", "label": 2}]),
            "expected two sentences a row, found one", head="cosine")
    pair = {"sentence1": "a", "sentence2": "b", "label": 1}
    refused(jsonl(tmp_path / "e", [pair], [{"sentence": "a", "label": 1}]),
            "validation.jsonl:1: expected 2 sentence(s) a row as in ")
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
    refused(tmp_path, "expected a file train.jsonl|.json|.csv|.tsv, found none")
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
            part = "validation_matched" if name == "mnli" else "validation"
            rows = [row, {**row, "label": -1}] if name == "wnli" else [row, row]
            return {"train": Split([row]), part: Split(rows)}

    monkeypatch.setitem(sys.modules, "datasets", Hub)
    task = load_task("mrpc")
    assert (len(task.train), len(task.validation)) == (1, 2)
    assert task.train[0] == Row(sentences=("a", "b"), label=1.0)
    assert len(load_task(name="mnli").validation) == 2
    refused("wnli", "wnli validation row 2, label: expected a class from 0 to 1, found -1, which "
                    "marks rows without a label, as in GLUE's test files")
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
            "train.jsonl:3, label: expected a class from 0 to 65534, found 1e+300")


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


def test_data_dir_and_files(tmp_path):
    """The task's own folder, the folder above it, and files by their paths: the same task."""
    pair = {"sentence1": "a", "sentence2": "b"}
    rows = [{**pair, "label": 1}, {**pair, "label": 0}]
    folder = jsonl(tmp_path / "rte", rows)
    train, validation = folder / "train.jsonl", folder / "validation.jsonl"
    task = load_task("rte", data_dir=tmp_path)
    assert (len(task.train), task.metrics) == (2, ("accuracy",))
    for options in ({"data_dir": folder}, {"data_dir": str(tmp_path), "name": "rte"},
                    {"data_dir": folder, "ref": "rte"}, {"ref": str(folder)},
                    {"train_file": str(train), "validation_file": validation}):
        assert load_task(**options) == task
    assert load_task("mrpc", train_file=train, validation_file=validation).metric == "accuracy"
    scored = load_task(validation_file=validation)
    assert scored == replace(task, train=())
    refused("qqp", "expected a folder qqp or files train and validation in it, found neither",
            data_dir=tmp_path)
    refused("rte", "data_dir none: expected a folder, found none", data_dir="none")
    refused(None, "expected data_dir, or train_file and validation_file, found both",
            data_dir=folder, validation_file=validation)
    refused(None, "expected validation_file beside train_file, found none", train_file=train)
    refused("a/b", "expected a task's name beside validation_file, found a path",
            validation_file=validation)
    refused(None, "expected a file, found none", validation_file=folder / "no.csv")
    (folder / "rows.txt").write_text("sentence,label\na,1\n")
    refused(None, "rows.txt: expected a file .jsonl, .json, .csv, .tsv, found .txt",
            validation_file=folder / "rows.txt")
    (folder / "rows.csv").write_text("sentence,label\n")
    refused(None, "validation: expected rows, found none", validation_file=folder / "rows.csv")
    refused(None, "train: expected rows, found none", train_file=folder / "rows.csv",
            validation_file=validation)
    refused(None, "task: expected a folder, files, or one of stsb")
    refused(None, "task mine: expected a folder or one of stsb", name="mine")


def test_sts_files_by_path(tmp_path):
    folder = sts(tmp_path)
    assert load_task(validation_file=folder / "sts-dev.csv").name == "stsb"
    assert load_task("stsb", data_dir=folder) == load_task(folder)


def test_json_lines_and_array(tmp_path):
    rows = [{"sentence": "a", "label": 1}, {"sentence": "b", "label": 0}]
    (tmp_path / "train.json").write_text(json.dumps(rows, indent=1))
    (tmp_path / "dev.json").write_text("\n".join(map(json.dumps, rows)))
    task = load_task(tmp_path)
    assert task.train == task.validation and len(task.train) == 2
    (tmp_path / "dev.json").write_text(json.dumps([rows[0], 3]))
    refused(tmp_path, "dev.json:2: expected a JSON object, found int")
    (tmp_path / "dev.json").write_text("[{")
    refused(tmp_path, "dev.json:1: expected a JSON object, found:")


@pytest.mark.parametrize("names", [("body",), ("query", "passage"), ("text", "text_pair")])
def test_any_column_names(tmp_path, names):
    row = {"id": 7, **dict.fromkeys(names, "words"), "score": 1.5}
    task = load_task(jsonl(tmp_path, [row, {**row, "score": 1}], name="train.jsonl"))
    assert task.train[0] == Row(sentences=("words",) * len(names), label=1.5)


def classes(folder, train, validation=("no",), suffix="csv"):
    folder.mkdir(exist_ok=True)
    for part, labels in (("train", train), ("validation", validation)):
        lines = [f"text{number},{label}" for number, label in enumerate(labels)]
        (folder / f"{part}.{suffix}").write_text("\n".join(["sentence,label", *lines]))
    return folder


def test_class_names(tmp_path):
    folder = classes(tmp_path, ("yes", "no", "perhaps"), ("perhaps ", "no"))
    task = load_task(folder)
    assert task.labels == ("no", "perhaps", "yes") and task.num_labels == 3
    assert [row.label for row in task.train] == [2.0, 0.0, 1.0]
    assert [row.label for row in task.validation] == [1.0, 0.0]
    own = load_task(folder, labels=["yes", "perhaps", "no"])
    assert own.labels == ("yes", "perhaps", "no")
    assert [row.label for row in own.train] == [0.0, 2.0, 1.0]
    classes(tmp_path, ("yes", "no"), ("no", "never"))
    refused(tmp_path, "validation.csv:3, label: expected a class of no, yes, found 'never'")
    refused(tmp_path, "train.csv:2, label: expected a class of a, b, found 'yes'",
            labels=("a", "b"))
    refused(classes(tmp_path, ("yes", "yes")), "train.csv:2, label: expected 2 to 65535 different "
                                               "classes in all rows, found 1: yes")
    refused(classes(tmp_path, ("yes", "1")), "train.csv:3, label: expected a class name as in")


def test_numbers_as_classes_of_a_trained_model(tmp_path):
    """Indices, unless the names are numbers themselves."""
    folder = classes(tmp_path, ("0", "1"), ("1",))
    assert load_task(folder, labels=("bad", "good")).validation[0].label == 1.0
    assert load_task(folder, labels=("LABEL_0", "LABEL_1")).validation[0].label == 1.0
    assert load_task(folder, labels=("1", "0")).validation[0].label == 0.0
    refused(folder, "train.csv:2, label: expected a class of 1, 5, found 0", labels=("1", "5"))
    assert load_task(classes(tmp_path, ("a", "1"), ("1",)), labels=("1", "a")
                     ).validation[0].label == 0.0


def test_glue_class_names(tmp_path):
    """GLUE's order, not the alphabet's, and a model's own order where it has the same names."""
    folder = classes(tmp_path, ("not_entailment", "entailment"), ("1",))
    task = load_task(folder, name="wnli")
    assert task.labels == ("not_entailment", "entailment")
    assert (task.train[0].label, task.validation[0].label) == (0.0, 1.0)
    turned = load_task(folder, name="wnli", labels=("ENTAILMENT", "NOT_ENTAILMENT"))
    assert (turned.train[0].label, turned.validation[0].label) == (1.0, 0.0)
    numbered = load_task(folder, name="wnli", labels=("0", "1"))
    assert (numbered.train[0].label, numbered.validation[0].label) == (0.0, 1.0)
    refused(classes(tmp_path, ("maybe", "entailment")), "train.csv:2, label: expected a class of "
            "not_entailment, entailment, found 'maybe'", name="wnli")


@pytest.mark.parametrize(("labels", "options", "message"), [
    (("1.5", "high"), {"head": "regression"},
     "train.csv:3, label: expected a number, found 'high'"),
    (("1.5", "high"), {"name": "stsb"}, "train.csv:3, label: expected a number, found 'high'"),
    (("1", "0.5"), {"head": "classification"},
     "train.csv:3, label: expected a class from 0 to 1, found 0.5"),
    (("1", "0.5"), {"name": "sst2"}, "train.csv:3, label: expected a class from 0 to 1, found 0.5"),
    (("1", "-1"), {}, "train.csv:3, label: expected a class from 0 to 1, found -1, which marks"),
    (("1", "-1"), {"name": "stsb"}, "train.csv:3, label: expected a number, found -1, which marks"),
    (("1", "nan"), {}, "train.csv:3, label: expected a number, found 'nan'"),
    (("1", "-inf"), {"head": "regression"}, "train.csv:3, label: expected a number, found '-inf'"),
    (("1", ""), {}, "train.csv:3, label: expected a number or a class name, found ''"),
    (("1.5", "1.5"), {}, "train: expected scores that differ, found one value"),
    (("1", "2"), {"head": "cosine"}, "expected two sentences a row, found one"),
    (("1", "2"), {"head": "ranking"}, "head: expected one of classification, regression, cosine"),
    (("1", "2"), {"labels": "ab"}, "labels: expected a list of class names, found 'ab'"),
    (("1", "2"), {"labels": ["a", "a"]}, "labels: expected two or more different class names"),
    (("1", "2"), {"labels": ["a", "b"], "name": "stsb"},
     "labels: expected none with head regression, which learns scores, found a, b"),
])
def test_labels_of_the_wrong_kind(tmp_path, labels, options, message):
    refused(classes(tmp_path, labels, ("1",)), message, **options)


@pytest.mark.parametrize("label", ["true", "NaN", "Infinity", "null", "[1]", "{}"])
def test_json_labels_of_the_wrong_kind(tmp_path, label):
    text = f'{{"sentence": "a", "label": 1}}\n{{"sentence": "a", "label": {label}}}\n'
    for index, head in enumerate(("classification", "regression", None)):
        refused(named(tmp_path / str(index), text, "jsonl"), "train.jsonl:2, label: expected a "
                "number", head=head)


def test_heads(tmp_path):
    """What GLUE means by a task can be overruled."""
    folder = sts(tmp_path)
    assert load_task(folder, head="cosine").metrics == ("spearman", "pearson")
    pair = {"sentence1": "a", "sentence2": "b"}
    folder = jsonl(tmp_path / "mrpc", [{**pair, "label": 1}, {**pair, "label": 0}])
    task = load_task(folder, head="cosine")
    assert (task.labels, task.metrics) == ((), ("spearman", "pearson"))
    scores = jsonl(tmp_path / "mine", [{**pair, "label": -1}, {**pair, "label": 1}])
    assert load_task(scores, head="regression").train[0].label == -1.0


def numbered(count=50):
    train, validation = ([Row(sentences=(f"{part} {number}",), label=float(number % 2))
                          for number in range(count)] for part in ("train", "validation"))
    return Task(name="sst2", head="classification", metrics=("accuracy",), labels=("0", "1"),
                train=tuple(train), validation=tuple(validation))


def positions(rows):
    return [int(row.sentences[0].split()[1]) for row in rows]


def test_subset_keeps_order():
    task = numbered()
    small = subset(task, 20, seed=3)
    kept = positions(small.train)
    assert len(kept) == 20 and kept == sorted(set(kept)) and kept != list(range(20))
    assert small == subset(task, 20, seed=3) != subset(task, 20, seed=4)
    assert replace(small, train=task.train) == task == subset(task, 50, 1) == subset(task, 99, 1)
    with pytest.raises(InputError, match="expected 1 training row or more, found 0"):
        subset(task, 0, 1)


def test_split_takes_training_rows_only():
    task = numbered()
    part = split(task, 0.2, seed=3)
    train, held = positions(part.train), positions(part.validation)
    assert (len(train), len(held)) == (40, 10)
    assert train == sorted(train) and held == sorted(held)
    assert held[-1] - held[0] > 9  # not one stretch
    assert sorted(train + held) == list(range(50))
    assert not set(part.validation) & set(task.validation)
    assert set(part.validation) <= set(task.train)
    assert part == split(task, 0.2, seed=3) != split(task, 0.2, seed=4)
    assert [len(split(task, share, 1).validation) for share in (1e-9, 0.999999)] == [1, 49]
    for share in (0, 1, -0.5, float("nan")):
        with pytest.raises(InputError, match="expected a share between 0 and 1"):
            split(task, share, 1)
    with pytest.raises(InputError, match="expected 2 training rows or more to split, found 1"):
        split(replace(task, train=task.train[:1]), 0.5, 1)
