"""Finished rows into the committed table, with the intervals between methods."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.answers import expand
from bench.folders import Folders, read_json
from bench.locks import locked
from bench.page import current_rows, over_seeds, render
from bench.plan import METHOD_TASKS, METHODS, PLAN, Planned, is_current
from bench.statistics import paired_bootstrap
from sparseloom.model.write import write_whole

VERSION = 1
COMPARED = "reweighted"
"""The method that the others are compared with."""
COMPARED_AT = 3.0


def read_table(folders: Folders) -> dict[str, Any]:
    """The committed table; an empty one if there is none."""
    return read_json(folders.table) or {"version": VERSION, "rows": [], "comparisons": [],
                                         "losses": []}


def finished_rows(folders: Folders) -> dict[str, dict[str, Any]]:
    """All finished rows by name: the committed ones, and over them those in build/."""
    rows = {row["row"]: row for row in read_table(folders)["rows"]}
    for path in sorted(folders.row("x").parent.glob("*.json")):
        row = read_json(path)
        rows[row["row"]] = row
    return rows


def missing_rows(folders: Folders, plan: Sequence[Planned] = PLAN) -> list[Planned]:
    """Rows of the plan that are not measured, or were with other settings, in the plan's order."""
    rows = finished_rows(folders)
    return [planned for planned in plan if not is_current(rows.get(planned.name), planned)]


def collect(folders: Folders, plan: Sequence[Planned] = PLAN) -> dict[str, Any]:
    """Merge all finished rows into the table, the predictions and the page.

    The same rows give the same bytes. Safe to run from several processes.

    Returns
    -------
    dict
        The table.
    """
    with locked(folders.lock("collect")):
        rows = finished_rows(folders)
        order = {planned.name: index for index, planned in enumerate(plan)}
        table = {"version": VERSION, "rows": sorted(
            rows.values(), key=lambda row: (order.get(row["row"], len(order)), row["row"]))}
        answers = _merge_predictions(folders, table["rows"])
        known, now = read_table(folders), current_rows(table["rows"], plan)
        table["comparisons"] = _comparisons(known["comparisons"], now, answers)
        table["losses"] = _losses(known["losses"], now, answers)
        folders.results.mkdir(parents=True, exist_ok=True)
        write_whole(folders.table, format_table(table).encode())
        folders.page.parent.mkdir(parents=True, exist_ok=True)
        write_whole(folders.page, render(table, read_trials(folders), plan).encode())
        return table


def format_table(table: Mapping[str, Any]) -> str:
    """JSON with one row a line, so that a new row is one line of a diff."""
    def block(values: Sequence[Any]) -> str:
        lines = ",\n".join("  " + _line(value) for value in values)
        return f"[\n{lines}\n ]" if lines else "[]"
    return (f'{{"version": {table["version"]},\n "rows": {block(table["rows"])},\n'
            f' "comparisons": {block(table["comparisons"])},\n'
            f' "losses": {block(table["losses"])}\n}}\n')


def _line(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, sort_keys=True)


def _short(value: Any) -> str:
    """Without spaces: scores of STS-B's rows would not fit into 100 kB with them."""
    return json.dumps(value, separators=(",", ":"))


def read_trials(folders: Folders) -> list[dict[str, Any]]:
    """Trials on a part of the training rows, in the order in which they were made."""
    try:
        lines = folders.tuning.read_text().splitlines()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in lines if line.strip()]


def predictions_path(folders: Folders, row: Mapping[str, Any]) -> Path:
    """Committed predictions of one task, model and seed: labels, dense, and int8 of each row."""
    head = "-cosine" if row["head"] == "cosine" else ""
    name = f"{row['task']}{head}-{row['model']}-{row['seed']}.json"
    return folders.results / "predictions" / name


def _merge_predictions(folders: Folders, rows: Sequence[Mapping[str, Any]],
                       ) -> dict[str, dict[str, Any]]:
    """Add new rows' predictions to the committed files; returns them by row."""
    files: dict[Path, dict[str, Any]] = {}
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        path = predictions_path(folders, row)
        if path not in files:
            files[path] = read_json(path) or {"wanted": None, "dense": {}, "int8": {}}
        stored, fresh = files[path], read_json(folders.predictions(row["row"]))
        if fresh is not None:
            kept = {"wanted": fresh["wanted"], "int8": fresh["int8"], "dense": fresh["dense"]}
        elif row["row"] in stored["int8"]:
            kept = {"wanted": stored["wanted"], "int8": stored["int8"][row["row"]],
                    "dense": stored["dense"][stored["of"][row["row"]]]}
        else:
            continue
        found[row["row"]] = kept
        if row["must"]:  # ablations stay in build/: files below 100 kB
            digest = hashlib.sha256(_line(kept["dense"]).encode()).hexdigest()[:8]
            stored["wanted"] = kept["wanted"]
            stored["int8"][row["row"]] = kept["int8"]
            stored["dense"][digest] = kept["dense"]
            stored.setdefault("of", {})[row["row"]] = digest
    for path, stored in files.items():
        if not stored["int8"]:
            continue
        used = set(stored["of"].values())
        stored["dense"] = {key: value for key, value in stored["dense"].items() if key in used}
        lines = [f'"wanted": {_short(stored["wanted"])}', f'"of": {_line(stored["of"])}']
        for part in ("dense", "int8"):
            inner = ",\n".join(f"  {_line(key)}: {_short(value)}"
                               for key, value in sorted(stored[part].items()))
            lines.append(f'"{part}": {{\n{inner}\n }}')
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, ("{" + ",\n ".join(lines) + "}\n").encode())
    return found


def _interval(known: dict[str, Mapping[str, Any]], what: Mapping[str, Any], metric: str,
              wanted: Any, pairs: Sequence[tuple[Any, Any]],
              own: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
    """An interval over seeds, with what it is of.

    The same predictions are not drawn twice, whosever they are, nor is what a single row knows of
    itself (``own``).
    """
    of = hashlib.sha256(_line([metric, wanted, pairs]).encode()).hexdigest()[:16]
    if of not in known:
        known[of] = {"metric": metric, "of": of, **(own or paired_bootstrap(
            metric, expand(wanted), [(expand(a), expand(b)) for a, b in pairs]))}
    return {**known[of], **what}


def _losses(earlier: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]],
            answers: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Int8 minus dense of what differs by the seed alone, over all seeds."""
    known = {one["of"]: one for one in earlier}
    series: dict[str, list[Mapping[str, Any]]] = {}
    for row in sorted(rows, key=lambda row: row["seed"]):
        if row["row"] in answers:
            series.setdefault(over_seeds(row), []).append(row)
    found = []
    for name, some in series.items():
        pairs = [(answers[row["row"]]["int8"], answers[row["row"]]["dense"]) for row in some]
        first = some[0]
        found.append(_interval(known, {"rows": name}, first["metric"],
                               answers[first["row"]]["wanted"], pairs,
                               first["int8_minus_dense"] if len(some) == 1 else None))
    return found


def _comparisons(earlier: Sequence[Mapping[str, Any]], rows: Sequence[Mapping[str, Any]],
                 answers: Mapping[str, Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Reweighted minus each other method at 3×, int8, over the seeds that both have."""
    known = {one["of"]: one for one in earlier}
    at = {(row["task"], row["method"], row["seed"]): row for row in rows
          if row["model"] == "minilm" and row["head"] != "cosine" and not row["label"]
          and row["compression"]["asked"] == COMPARED_AT and row["row"] in answers}
    found = []
    for task in METHOD_TASKS:
        for method in METHODS:
            seeds = sorted(seed for (its_task, its_method, seed) in at
                           if (its_task, its_method) == (task, method)
                           and (task, COMPARED, seed) in at and method != COMPARED)
            if not seeds:
                continue
            first = [at[task, COMPARED, seed] for seed in seeds]
            second = [at[task, method, seed] for seed in seeds]
            pairs = [(answers[a["row"]]["int8"], answers[b["row"]]["int8"])
                     for a, b in zip(first, second, strict=True)]
            wanted = answers[first[0]["row"]]["wanted"]
            found.append(_interval(known, {"task": task, "first": COMPARED, "second": method},
                                   first[0]["metric"], wanted, pairs))
    return found
