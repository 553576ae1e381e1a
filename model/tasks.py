"""Task files to rows: STS-B as its packages ship it, GLUE-style files, or the hub. No torch."""
from __future__ import annotations

import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseloom.model.errors import InputError, cut, shown

KINDS = {
    "stsb": ("similarity", "spearman", 1),
    "sst2": ("classification", "accuracy", 2),
    "cola": ("classification", "matthews", 2),
    "mrpc": ("classification", "f1", 2),
    "qqp": ("classification", "f1", 2),
    "rte": ("classification", "accuracy", 2),
    "wnli": ("classification", "accuracy", 2),
    "qnli": ("classification", "accuracy", 2),
    "mnli": ("classification", "accuracy", 3),
}
"""GLUE tasks: how they are learned, their metric, how many labels."""

TEXT_COLUMNS = (("sentence1", "sentence2"), ("question1", "question2"), ("question", "sentence"),
                ("premise", "hypothesis"), ("sentence",), ("text",))
LABEL_COLUMNS = ("label", "score")
SUFFIXES = (".jsonl", ".csv", ".tsv")
MAX_CLASSES = 0xFFFF
"""Of a task that is not GLUE's: a stray number as a label is no reason to make a giant head."""
HUB_DATA_SET = "nyu-mll/glue"
_SURROGATE = re.compile("[\ud800-\udfff]")
"""Half a character, which JSON can hold and no tokenizer takes."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One or two sentences and what they are worth: a class, or a score."""

    sentences: tuple[str, ...]
    label: float


@dataclass(frozen=True, kw_only=True)
class Task:
    """Rows to train on and rows to score.

    Parameters
    ----------
    name : str
    kind : str
        ``similarity``: pairs, scored by the cosine of their sentence vectors;
        ``classification``: one or two sentences, a class each.
    metric : str
        ``spearman``, ``accuracy``, ``f1`` or ``matthews``; all of them 1 at best.
    num_labels : int
        Classes; 1 for similarity.
    train, validation : tuple of Row
    """

    name: str
    kind: str
    metric: str
    num_labels: int
    train: tuple[Row, ...]
    validation: tuple[Row, ...]

    def sentences(self, split: str = "validation") -> list[str]:
        """The distinct sentences of a split, in order of appearance."""
        rows = self.train if split == "train" else self.validation
        return list(dict.fromkeys(text for row in rows for text in row.sentences))


def load_task(ref: str | Path, *, name: str | None = None) -> Task:
    """Read a task from a folder, or by its GLUE name from the hub.

    Parameters
    ----------
    ref : str or path
        A folder with ``sts-train.csv`` and ``sts-dev.csv`` (tab-separated, no header, no quoting;
        score and sentences in columns 4, 5 and 6 counted from 0), or with ``train`` and
        ``validation`` or ``dev`` files as ``.jsonl``, ``.csv`` or ``.tsv`` with named columns
        (``sentence``, or ``sentence1`` and ``sentence2``; ``label``). Otherwise a GLUE task name,
        which needs the ``datasets`` package and a network.
    name : str, optional
        Which task it is; the folder's name by default. A name that is not GLUE's is taken for
        ``similarity`` if its pairs carry fractional labels, else for ``classification``.

    Raises
    ------
    InputError
        If there is no such task, a file or column is missing, or a row cannot be read.
    """
    folder = Path(ref)
    if os.path.isdir(folder):  # unlike Path.is_dir, never raises, however odd the name
        if (folder / "sts-train.csv").is_file():
            train, validation = (tuple(_sts_rows(_file(folder, f"sts-{split}", (".csv",))))
                                 for split in ("train", "dev"))
            return _task(name or "stsb", train, validation, str(folder))
        paths = [_file(folder, "train"), _file(folder, "validation", also="dev")]
        train, validation = (tuple(_named_rows(path)) for path in paths)
        return _task(name or folder.resolve().name, train, validation, str(folder))
    if str(ref) not in KINDS:
        raise InputError(f"task {cut(str(ref))}: expected a folder or one of {', '.join(KINDS)}, "
                         "found neither")
    train, validation = _hub_rows(str(ref))
    return _task(name or str(ref), train, validation, str(ref))


def _task(name: str, train: tuple[Row, ...], validation: tuple[Row, ...], where: str) -> Task:
    """Check the rows against what the task is."""
    for split, rows in (("train", train), ("validation", validation)):
        if not rows:
            raise InputError(f"task {where}, {split}: expected rows, found none")
    labels = [row.label for row in (*train, *validation)]
    if name in KINDS:
        kind, metric, count = KINDS[name]
    elif all(label.is_integer() for label in labels):
        kind, metric = "classification", "accuracy"
        count = min(max(2, int(max(labels)) + 1), MAX_CLASSES)
    else:
        kind, metric, count = "similarity", "spearman", 1
    if kind == "similarity":
        if any(len(row.sentences) != 2 for row in (*train, *validation)):
            raise InputError(f"task {where}: expected two sentences a row, found one")
        if len({row.label for row in train}) < 2:
            raise InputError(f"task {where}, train: expected scores that differ, found one value")
    else:
        for split, rows in (("train", train), ("validation", validation)):
            for index, row in enumerate(rows):
                if not row.label.is_integer() or not 0 <= row.label < count:
                    raise InputError(f"task {where}, {split} row {index + 1}, label: expected a "
                                     f"class from 0 to {count - 1}, found {row.label:g}")
    return Task(name=name, kind=kind, metric=metric, num_labels=count, train=train,
                validation=validation)


def _file(folder: Path, stem: str, suffixes: Sequence[str] = SUFFIXES, also: str = "") -> Path:
    stems = [stem, also] if also else [stem]
    for candidate in stems:
        for suffix in suffixes:
            if (path := folder / f"{candidate}{suffix}").is_file():
                return path
    expected = " or ".join(f"{candidate}{'|'.join(suffixes)}" for candidate in stems)
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


def _row(where: str, sentences: Sequence[Any], label: Any) -> Row:
    for text in sentences:
        if not isinstance(text, str) or not text.strip() or _SURROGATE.search(text):
            raise InputError(f"{where}: expected a sentence, found {shown(text)}")
    try:
        value = float(label)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if isinstance(label, bool) or not math.isfinite(value):
        raise InputError(f"{where}, label: expected a number, found {shown(label)}")
    return Row(sentences=tuple(sentences), label=value)


def _sts_rows(path: Path) -> Iterator[Row]:
    for number, line in _lines(path):
        cells = line.split("\t")
        if len(cells) < 7:
            raise InputError(f"{path}:{number}: expected 7 columns (score in the fifth, sentences "
                             f"in the sixth and seventh), found {len(cells)}")
        yield _row(f"{path}:{number}", cells[5:7], cells[4])


def _records(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Numbered records of a file with named columns."""
    if path.suffix == ".jsonl":
        for number, line in _lines(path):
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}:{number}: expected a JSON object, found: {error}"
                                 ) from None
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
    texts = next((names for names in TEXT_COLUMNS if all(name in present for name in names)), None)
    label = next((name for name in LABEL_COLUMNS if name in present), None)
    if texts is None or label is None:
        raise InputError(f"{where}: expected columns sentence (or sentence1 and sentence2) and "
                         f"label, found {cut(', '.join(present)) or 'none'}")
    return texts, label


def _named_rows(path: Path) -> Iterator[Row]:
    for number, record in _records(path):
        where = f"{path}:{number}"
        texts, label = _columns(where, list(record))
        yield _row(where, [record[name] for name in texts], record[label])


def _hub_rows(name: str) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    try:
        from datasets import load_dataset  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise InputError(f"task {name}: expected a folder, or the package `datasets` to fetch it "
                         "from the hub, found neither") from None
    try:
        data: Any = load_dataset(HUB_DATA_SET, name)
        splits = [data["train"], data["validation_matched" if name == "mnli" else "validation"]]
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"task {name}: expected {HUB_DATA_SET} on the hub, found: {reason}"
                         ) from None
    train, validation = (
        tuple(_row(f"{name} row {index}", [record[column] for column in texts], record[label])
              for index, record in enumerate(split, 1))
        for split in splits
        for texts, label in [_columns(name, split.column_names)])
    return train, validation
