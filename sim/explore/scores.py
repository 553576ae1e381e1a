"""Measured scores of a pruned model: looked up in a table, never guessed."""
from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparseloom.model.errors import InputError
from sparseloom.sim.explore.workload import Pruning

Key = tuple[str, int, int, float, int]
"""Structure, p, q, compression, bits of a weight."""


@dataclass(frozen=True, kw_only=True)
class Score:
    """A measured score.

    Parameters
    ----------
    value : float
        Of the integer model, mean over the seeds.
    seeds : int
    metric : str
    """

    value: float
    seeds: int
    metric: str


@dataclass(frozen=True)
class Scores:
    """Scores of one model on one task, by pruning and bits of a weight.

    Parameters
    ----------
    by_key : dict
    """

    by_key: Mapping[Key, Score]

    def find(self, pruning: Pruning, weight_bits: int) -> Score | None:
        """The score that was measured for exactly this, or None."""
        return self.by_key.get((pruning.structure, pruning.p, pruning.q, pruning.compression,
                                weight_bits))


NONE = Scores({})


def read_scores(path: Path, *, model: str, task: str, method: str = "reweighted",
                head: str | None = None) -> Scores:
    """From a table such as ``bench/results/glue.json``.

    Parameters
    ----------
    path : Path
        JSON with ``rows``; of each ``model``, ``task``, ``method``, ``head``, ``structure``, ``p``,
        ``q``, ``compression.asked``, ``metric``, ``label`` (of an ablation), ``settings`` and
        ``int8``, the score of the integer model, are looked at.
    model, task, method : str
        Rows that count.
    head : str, optional
        Needed where rows of several heads are there.

    Raises
    ------
    InputError
        If the table cannot be read, or has no such row.
    """
    rows = list(_rows(path))
    mine = [row for row in rows if row["model"] == model and row["task"] == task]
    if not mine:
        known = sorted({f"{row['model']} on {row['task']}" for row in rows})
        raise InputError(f"--scores {path}: expected rows of {model} on {task}, found "
                         f"{', '.join(known) or 'none'}")
    mine = [row for row in mine if row["method"] == method]
    if not mine:
        raise InputError(f"--scores {path}: expected rows of method {method} for {model} on "
                         f"{task}, found none")
    heads = sorted({row["head"] for row in mine})
    if head is None and len(heads) > 1:
        raise InputError(f"--head: expected one of {', '.join(heads)}, found none")
    if head is not None and head not in heads:
        raise InputError(f"--head: expected one of {', '.join(heads)}, found {head}")
    values: dict[Key, list[float]] = {}
    metric = {}
    for row in mine:
        if (head is not None and row["head"] != head) or not _plain(row):
            continue
        key = (row["structure"], row["p"], row["q"], float(row["compression"]["asked"]),
               row["settings"].get("quantize", {}).get("weight_bits", 8))
        values.setdefault(key, []).append(row["int8"])
        metric[key] = row["metric"]
    return Scores({key: Score(value=round(statistics.fmean(found), 3), seeds=len(found),
                              metric=metric[key]) for key, found in values.items()})


def _plain(row: Mapping[str, Any]) -> bool:
    """Whether only the groups make a row an ablation, if anything does."""
    groups = f"{row['structure']}{row['p']}x{row['q']}"
    return row.get("label", "") in ("", groups)


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    """Rows that have all that is looked at."""
    needed = {"model": str, "task": str, "method": str, "head": str, "structure": str, "p": int,
              "q": int, "int8": (int, float), "metric": str, "compression": dict,
              "settings": dict}
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        for row in rows:
            if not all(isinstance(row[name], kind) for name, kind in needed.items()) or (
                    not isinstance(row["compression"]["asked"], (int, float))):
                raise TypeError("a row with a value of another type")
    except (OSError, ValueError, KeyError, TypeError) as error:
        what = error.strerror if isinstance(error, OSError) else f"{type(error).__name__}: {error}"
        raise InputError(f"--scores {path}: expected a table of scores as `make bench-glue` "
                         f"writes, found: {what}") from None
    return rows
