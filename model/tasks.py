"""Task files to rows: GLUE by name, any file of sentences and labels, or the hub. No torch."""
from __future__ import annotations

import csv
import io
import json
import math
import os
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from sparseloom.model.errors import SHOWN, InputError, cut, shown

HEADS = ("classification", "regression", "cosine")
CORRELATIONS = ("spearman", "pearson")
KINDS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "stsb": ("regression", CORRELATIONS, ()),
    "sst2": ("classification", ("accuracy",), ("negative", "positive")),
    "cola": ("classification", ("matthews",), ("unacceptable", "acceptable")),
    "mrpc": ("classification", ("accuracy", "f1"), ("not_equivalent", "equivalent")),
    "qqp": ("classification", ("accuracy", "f1"), ("not_duplicate", "duplicate")),
    "rte": ("classification", ("accuracy",), ("entailment", "not_entailment")),
    "wnli": ("classification", ("accuracy",), ("not_entailment", "entailment")),
    "qnli": ("classification", ("accuracy",), ("entailment", "not_entailment")),
    "mnli": ("classification", ("accuracy",), ("entailment", "neutral", "contradiction")),
}
"""GLUE tasks: their head, their metrics, what their files' numbers 0, 1, … mean."""

TEXT_COLUMNS = (("sentence1", "sentence2"), ("question1", "question2"), ("question", "sentence"),
                ("premise", "hypothesis"), ("text", "text_pair"), ("sentence",), ("text",))
LABEL_COLUMNS = ("label", "score")
COUNTERS = ("idx", "id", "index")
"""Columns that are neither sentence nor label."""
SUFFIXES = (".jsonl", ".json", ".csv", ".tsv")
TRAIN_STEMS = ("train",)
VALIDATION_STEMS = ("validation", "dev", "validation_matched", "dev_matched")
STS_FILES = ("sts-train.csv", "sts-dev.csv", "sts-test.csv")
MAX_CLASSES = 0xFFFF
"""Of a task that is not GLUE's: a stray number as a label is no reason to make a giant head."""
HUB_DATA_SET = "nyu-mll/glue"
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can hold and no tokenizer takes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One or two sentences and what they are worth: the index of a class, or a score."""

    sentences: tuple[str, ...]
    label: float


@dataclass(frozen=True, kw_only=True)
class Task:
    """Rows to train on and rows to score.

    Parameters
    ----------
    name : str
    head : str
        ``classification``: one or two sentences, a class each; ``regression``: a score each;
        ``cosine``: pairs, scored by the cosine of their sentence vectors.
    metrics : tuple of str
        Names in :mod:`sparseloom.model.metrics`, the primary one first.
    labels : tuple of str
        Class names in the order of their indices; none for scores.
    train, validation : tuple of Row
        ``train`` may be empty where a model is only scored.
    """

    name: str
    head: str
    metrics: tuple[str, ...]
    labels: tuple[str, ...]
    train: tuple[Row, ...]
    validation: tuple[Row, ...]

    @property
    def metric(self) -> str:
        """The primary metric."""
        return self.metrics[0]

    @property
    def num_labels(self) -> int:
        """Outputs of a head: classes, or one score."""
        return len(self.labels) or 1

    def sentences(self, split: str = "validation") -> list[str]:
        """The distinct sentences of a split, in order of appearance."""
        rows = self.train if split == "train" else self.validation
        return list(dict.fromkeys(text for row in rows for text in row.sentences))


class _Raw(NamedTuple):
    """A row as read: what its label means is not known before all of them are."""

    where: str
    sentences: tuple[str, ...]
    label: str | float


def load_task(ref: str | Path | None = None, *, name: str | None = None,
              data_dir: str | Path | None = None, train_file: str | Path | None = None,
              validation_file: str | Path | None = None, head: str | None = None,
              labels: Sequence[str] | None = None) -> Task:
    """Read a task by its GLUE name, from a folder, or from two files.

    Parameters
    ----------
    ref : str or path, optional
        A folder, or a task's name. A GLUE name alone is fetched from the hub, which needs a
        network; with ``data_dir`` or files it only says which task they hold.
    name : str, optional
        Which task it is; by default ``ref``, or the name of the folder that holds the files.
    data_dir : str or path, optional
        A folder with the task's files, or with a folder of the task's name that has them:
        ``train`` and ``validation`` or ``dev`` as ``.jsonl``, ``.json``, ``.csv`` or ``.tsv`` with
        named columns; or STS-B's ``sts-train.csv`` and ``sts-dev.csv`` (tab-separated, no header,
        no quoting; score and sentences in columns 4, 5 and 6 counted from 0). Columns are
        ``sentence``, or ``sentence1`` and ``sentence2``, or as GLUE names them, or whatever one or
        two columns stand beside ``label`` (or ``score``).
    train_file, validation_file : str or path, optional
        Such files, wherever they are; without ``train_file`` there are no training rows.
    head : str, optional
        ``classification``, ``regression`` or ``cosine``, which takes pairs with scores. By default
        GLUE's own; elsewhere ``regression`` where a label is fractional, else ``classification``.
    labels : sequence of str, optional
        The classes in the order of their indices, as a trained model has them. By default whole
        numbers are indices, and names are sorted. Names of GLUE's classes are known.

    Raises
    ------
    InputError
        If there is no such task, a file or column is missing, a row cannot be read, or a label is
        not what the head takes.
    """
    _check_options(head, labels)
    given = next((what for what, value in (("data_dir", data_dir), ("train_file", train_file),
                                           ("validation_file", validation_file))
                  if value is not None), None)
    if given is None and ref is not None and os.path.isdir(ref):
        data_dir = ref  # unlike Path.is_dir, isdir never raises, however odd the name
    elif ref is not None:
        if given and Path(ref).name != str(ref):
            raise InputError(f"task {cut(str(ref))}: expected a task's name beside {given}, "
                             "found a path")
        if given is None and str(ref) not in KINDS:
            raise _unknown(str(ref))
        name = name or str(ref)
    if data_dir is not None:
        if train_file is not None or validation_file is not None:
            raise InputError("task: expected data_dir, or train_file and validation_file, "
                             "found both")
        folder = _task_folder(data_dir, name)
        train_file, validation_file = _split_files(folder)
    if validation_file is not None:
        where = str(validation_file if data_dir is None else data_dir)
        train, validation = ([] if path is None else list(_rows(Path(path)))
                             for path in (train_file, validation_file))
        if not name:
            path = Path(validation_file)
            name = "stsb" if path.name in STS_FILES else path.parent.resolve().name
    elif train_file is not None:
        raise InputError("task: expected validation_file beside train_file, found none")
    else:
        if (known := str(ref or name or "")) not in KINDS:
            raise _unknown(known)
        where = known
        train, validation = _hub_rows(known)
    only_scored = train_file is None and validation_file is not None
    for part, rows in (("train", train), ("validation", validation)):
        if not rows and not (part == "train" and only_scored):
            raise InputError(f"task {where}, {part}: expected rows, found none")
    return _task(name or where, train, validation, where, head, tuple(labels or ()))


def subset(task: Task, rows: int, seed: int) -> Task:
    """The task with some of its training rows, drawn at random, in their old order.

    Parameters
    ----------
    task : Task
    rows : int
        How many; all of them if there are not more.
    seed : int

    Raises
    ------
    InputError
        If ``rows`` is less than 1.
    """
    if rows < 1:
        raise InputError(f"task {task.name}: expected 1 training row or more, found {rows}")
    if rows >= len(task.train):
        return task
    kept = sorted(random.Random(seed).sample(range(len(task.train)), rows))
    return replace(task, train=tuple(task.train[index] for index in kept))


def split(task: Task, share: float, seed: int) -> Task:
    """A task to make choices on: its validation is a part of the training rows.

    The true validation rows are not in it; both parts keep the old order.

    Parameters
    ----------
    task : Task
    share : float
        Of the training rows that become validation, between 0 and 1; rounded, one row at least.
    seed : int

    Raises
    ------
    InputError
        If ``share`` is not between 0 and 1, or there are fewer than two training rows.
    """
    count = len(task.train)
    if not 0 < share < 1:
        raise InputError(f"task {task.name}: expected a share between 0 and 1, found {share:g}")
    if count < 2:
        raise InputError(f"task {task.name}: expected 2 training rows or more to split, "
                         f"found {count}")
    held = min(max(1, round(share * count)), count - 1)
    chosen = set(random.Random(seed).sample(range(count), held))
    parts = [tuple(row for index, row in enumerate(task.train) if (index in chosen) is wanted)
             for wanted in (False, True)]
    return replace(task, train=parts[0], validation=parts[1])


def _unknown(ref: str) -> InputError:
    return InputError(f"task {cut(ref)}: expected a folder or one of {', '.join(KINDS)}, "
                      "found neither" if ref else
                      f"task: expected a folder, files, or one of {', '.join(KINDS)}, found none")


def _check_options(head: str | None, labels: Sequence[str] | None) -> None:
    if head is not None and head not in HEADS:
        raise InputError(f"head: expected one of {', '.join(HEADS)}, found {shown(head)}")
    if not labels:
        return
    if isinstance(labels, str) or not all(isinstance(one, str) and one.strip() for one in labels):
        raise InputError(f"labels: expected a list of class names, found {shown(labels)}")
    if len(set(labels)) != len(labels) or len(labels) < 2:
        raise InputError(f"labels: expected two or more different class names, "
                         f"found {cut(', '.join(labels))}")
    if head not in (None, "classification"):
        raise InputError(f"labels: expected none with head {head}, which learns scores, "
                         f"found {cut(', '.join(labels))}")


def _task(name: str, train: list[_Raw], validation: list[_Raw], where: str, head: str | None,
          labels: tuple[str, ...]) -> Task:
    """Decide what the labels are, and check every row against it."""
    rows = [*train, *validation]
    own, metrics, _ = KINDS.get(name, ("", (), ()))
    numbers = [_number(row.label) for row in rows]
    if head is None:
        whole = all(number is not None and number.is_integer() for number in numbers)
        named = bool(labels) or None in numbers
        head = own or ("classification" if whole or named else "regression")
    _check_options(head, labels)
    for row in rows:
        if len(row.sentences) != len(rows[0].sentences):
            raise InputError(f"{row.where}: expected {len(rows[0].sentences)} sentence(s) a row "
                             f"as in {rows[0].where}, found {len(row.sentences)}")
    if head == "cosine" and len(rows[0].sentences) != 2:
        raise InputError(f"task {where}: expected two sentences a row, found one")
    if head == "classification":
        labels = labels or _class_names(name, train or validation)
        index = _class_index(name, labels)
        values = [_class(row, index, labels) for row in rows]
    else:
        values = [_score(row, glue=bool(own)) for row in rows]
        if train and len(set(values[:len(train)])) < 2:
            raise InputError(f"task {where}, train: expected scores that differ, found one value")
    if head != own or not metrics:
        metrics = CORRELATIONS if head != "classification" else (
            "accuracy", "f1" if len(labels) == 2 else "f1_macro")
    made = tuple(Row(sentences=row.sentences, label=value)
                 for row, value in zip(rows, values, strict=True))
    return Task(name=name, head=head, metrics=metrics, labels=labels, train=made[:len(train)],
                validation=made[len(train):])


def _number(label: str | float) -> float | None:
    """A label as a number, if it is one; text with an underscore is none, whatever Python says."""
    if isinstance(label, str) and "_" in label:
        return None
    try:
        return float(label)
    except ValueError:
        return None
    except OverflowError:  # an integer of hundreds of digits
        return math.inf


def _found(label: str | float) -> str:
    number = _number(label)
    if number == -1:
        return "-1, which marks rows without a label, as in GLUE's test files"
    return shown(label) if number is None else f"{number:g}"


def _score(row: _Raw, *, glue: bool) -> float:
    number = _number(row.label)
    if number is None or (glue and number == -1):
        raise InputError(f"{row.where}, label: expected a number, found {_found(row.label)}")
    return number


def _class_names(name: str, rows: list[_Raw]) -> tuple[str, ...]:
    """The classes of rows whose order nobody gave: GLUE's, indices, or sorted names."""
    _, _, known = KINDS.get(name, ("", (), ()))
    numbers = [_number(row.label) for row in rows]
    numeric = numbers[0] is not None
    if known:
        return tuple(map(str, range(len(known)))) if numeric else known
    for row, number in zip(rows, numbers, strict=True):
        if (number is not None) is not numeric:
            expected = "a number" if numeric else f"a class name as in {rows[0].where}"
            raise InputError(f"{row.where}, label: expected {expected}, found {_found(row.label)}")
    if numeric:
        top = max(number for number in numbers if number is not None)
        return tuple(map(str, range(min(max(2, int(top) + 1), MAX_CLASSES))))
    names = sorted({str(row.label) for row in rows})
    if not 2 <= len(names) <= MAX_CLASSES:
        raise InputError(f"{rows[0].where}, label: expected 2 to {MAX_CLASSES} different classes "
                         f"in all rows, found {len(names)}: {cut(', '.join(names[:SHOWN]))}")
    return tuple(names)


def _class_index(name: str, labels: tuple[str, ...]) -> Mapping[str, int]:
    """Every way to write a class, with its index."""
    _, _, known = KINDS.get(name, ("", (), ()))
    lower = {label.casefold(): index for index, label in enumerate(labels)}
    index: dict[str, int] = {}
    if known and all(one in lower for one in known):
        # A model may order GLUE's classes in its own way: its files' numbers follow their names.
        for number, one in enumerate(known):
            index[one] = index[str(number)] = lower[one]
    elif all(_number(label) is None for label in labels) or _counted(labels):
        index.update((str(number), number) for number in range(len(labels)))
        if len(known) == len(labels) and (_counted(labels) or _default(labels)):
            index.update((one, number) for number, one in enumerate(known))
    return {**index, **{label: number for number, label in enumerate(labels)}}


def _counted(labels: tuple[str, ...]) -> bool:
    return labels == tuple(map(str, range(len(labels))))


def _default(labels: tuple[str, ...]) -> bool:
    """Whether these are the names that transformers gives to classes without names."""
    return labels == tuple(f"LABEL_{number}" for number in range(len(labels)))


def _class(row: _Raw, index: Mapping[str, int], labels: tuple[str, ...]) -> float:
    key = str(row.label)
    if key not in index:
        number = _number(row.label)
        key = str(int(number)) if number is not None and number.is_integer() else key
    if key not in index:
        expected = (f"a class from 0 to {len(labels) - 1}" if _counted(labels)
                    else f"a class of {cut(', '.join(labels))}")
        raise InputError(f"{row.where}, label: expected {expected}, found {_found(row.label)}")
    return float(index[key])


def _task_folder(data_dir: str | Path, name: str | None) -> Path:
    """The folder of a task's files: the one given, or the one of the task's name in it."""
    if not os.path.isdir(data_dir):
        raise InputError(f"data_dir {cut(str(data_dir))}: expected a folder, found none")
    folder = Path(data_dir)
    if name and os.path.isdir(folder / name):
        return folder / name
    files = (STS_FILES[0], *(f"{stem}{suffix}" for stem in TRAIN_STEMS for suffix in SUFFIXES))
    if name and not any(os.path.isfile(folder / file) for file in files):
        raise InputError(f"data_dir {cut(str(data_dir))}: expected a folder {cut(name)} or files "
                         "train and validation in it, found neither")
    return folder


def _split_files(folder: Path) -> tuple[Path, Path]:
    if (folder / STS_FILES[0]).is_file():
        return folder / STS_FILES[0], _file(folder, ("sts-dev",), (".csv",))
    return _file(folder, TRAIN_STEMS), _file(folder, VALIDATION_STEMS)


def _file(folder: Path, stems: Sequence[str], suffixes: Sequence[str] = SUFFIXES) -> Path:
    for stem in stems:
        for suffix in suffixes:
            if (path := folder / f"{stem}{suffix}").is_file():
                return path
    expected = " or ".join(f"{stem}{'|'.join(suffixes)}" for stem in stems[:2])
    raise InputError(f"task {folder}: expected a file {expected}, found none")


def _text(path: Path) -> str:
    """A whole file, its line ends as they are; spreadsheets put a byte order mark in front."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: expected UTF-8 text, found: {error}") from None


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines that are not empty."""
    # Only \n ends a line: sentences may hold the other separators that str.splitlines knows.
    for number, line in enumerate(_text(path).split("\n"), 1):
        if line.strip():
            yield number, line.rstrip("\r")


def _row(where: str, sentences: Sequence[Any], label: Any) -> _Raw:
    for text in sentences:
        if not isinstance(text, str) or not text.strip() or _SURROGATE.search(text):
            raise InputError(f"{where}: expected a sentence, found {shown(text)}")
    if isinstance(label, str):
        label = label.strip()
    if isinstance(label, bool) or not isinstance(label, (str, int, float)) or label == "" or (
            isinstance(label, str) and _SURROGATE.search(label)):
        raise InputError(f"{where}, label: expected a number or a class name, "
                         f"found {shown(label)}")
    number = _number(label)
    if number is not None and not math.isfinite(number):
        raise InputError(f"{where}, label: expected a number, found {shown(label)}")
    return _Raw(where, tuple(sentences), label)


def _rows(path: Path) -> Iterator[_Raw]:
    """Rows of one file of whichever form."""
    if not os.path.isfile(path):
        raise InputError(f"{cut(str(path))}: expected a file, found none")
    if path.name in STS_FILES:
        return _sts_rows(path)
    if path.suffix not in SUFFIXES:
        raise InputError(f"{path}: expected a file {', '.join(SUFFIXES)}, "
                         f"found {path.suffix or 'no ending'}")
    return _named_rows(path)


def _sts_rows(path: Path) -> Iterator[_Raw]:
    for number, line in _lines(path):
        cells = line.split("\t")
        if len(cells) < 7:
            raise InputError(f"{path}:{number}: expected 7 columns (score in the fifth, sentences "
                             f"in the sixth and seventh), found {len(cells)}")
        yield _row(f"{path}:{number}", cells[5:7], cells[4])


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered records of a file with named columns."""
    if path.suffix in (".jsonl", ".json"):
        for number, record in _objects(path):
            if not isinstance(record, dict):
                raise InputError(f"{path}:{number}: expected a JSON object, "
                                 f"found {type(record).__name__}")
            yield number, record
        return
    header: list[str] = []
    for number, cells in _quoted(path) if path.suffix == ".csv" else _split(path):
        if not header:
            header = [cell.strip() for cell in cells]
            continue
        if len(cells) != len(header):
            raise InputError(f"{path}:{number}: expected {len(header)} columns as in the "
                             f"header, found {len(cells)}")
        yield number, dict(zip(header, cells, strict=True))
    if header:
        _columns(str(path), header)  # says so even where no row follows the header


def _objects(path: Path) -> Iterator[tuple[int, Any]]:
    """What JSON lines hold, by line; or the members of the one array in a ``.json`` file."""
    if path.suffix == ".json" and (text := _text(path)).lstrip().startswith("["):
        yield from enumerate(_parsed(path, 1, text), 1)
        return
    for number, line in _lines(path):
        yield number, _parsed(path, number, line)


def _parsed(path: Path, number: int, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}:{number}: expected a JSON object, found: {error}") from None


def _split(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a ``.tsv`` file; GLUE's do not quote."""
    for number, line in _lines(path):
        yield number, line.split("\t")


def _quoted(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Rows of a ``.csv`` file, each with its first line's number; quotes may hold line ends."""
    rows = csv.reader(io.StringIO(_text(path), newline=""), strict=True)
    while True:
        number = rows.line_num + 1
        try:
            cells = next(rows, None)
        except csv.Error as error:
            raise InputError(f"{path}:{number}: expected CSV, found: {error}") from None
        if cells is None:
            return
        if any(cell.strip() for cell in cells) or len(cells) > 1:  # else an empty line
            yield number, cells


def _columns(where: str, present: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Which columns hold the sentences and the label."""
    label = next((name for name in LABEL_COLUMNS if name in present), None)
    texts = next((names for names in TEXT_COLUMNS if all(name in present for name in names)), None)
    if texts is None:
        others = tuple(name for name in present if name not in (label, *COUNTERS))
        # Half of a known pair is a file gone wrong, not a task of single sentences.
        if 1 <= len(others) <= 2 and not any(name in names for name in others
                                             for names in TEXT_COLUMNS):
            texts = others
    if texts is None or label is None:
        raise InputError(f"{where}: expected columns sentence (or sentence1 and sentence2) and "
                         f"label, found {cut(', '.join(present)) or 'none'}")
    return texts, label


def _named_rows(path: Path) -> Iterator[_Raw]:
    columns = None
    for number, record in _records(path):
        where = f"{path}:{number}"
        texts, label = columns = columns or _columns(where, list(record))
        if any(name not in record for name in (*texts, label)):
            raise InputError(f"{where}: expected columns {cut(', '.join((*texts, label)))} as in "
                             f"the first row, found {cut(', '.join(record)) or 'none'}")
        yield _row(where, [record[name] for name in texts], record[label])


def _hub_rows(name: str) -> tuple[list[_Raw], list[_Raw]]:
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(f"task {name}: expected a folder, or the package `datasets` to fetch it "
                         "from the hub, found neither") from None
    try:
        data: Any = load_dataset(HUB_DATA_SET, name)
        parts = [data["train"], data["validation_matched" if name == "mnli" else "validation"]]
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"task {name}: expected {HUB_DATA_SET} on the hub, found: {reason}"
                         ) from None
    train, validation = (
        [_row(f"{name} {part} row {index}", [record[column] for column in texts], record[label])
         for index, record in enumerate(rows, 1)]
        for part, rows in zip(("train", "validation"), parts, strict=True)
        for texts, label in [_columns(name, rows.column_names)])
    return train, validation
