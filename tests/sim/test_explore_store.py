import multiprocessing
import os

import pytest

from sparseloom.model.errors import InputError
from sparseloom.sim.explore.store import PointStore
from tests.sim.explorations import lines


def record(number):
    return {"key": f"k{number}", "cycles": number}


def test_reads_what_was_added_and_no_more(tmp_path):
    store = PointStore(tmp_path / "new" / "folder")
    assert store.read(["k1"]) == {}
    store.add([record(1), record(2)])
    store.add([record(3)])
    store.add([])
    again = PointStore(tmp_path / "new" / "folder")
    assert again.read(["k1", "k3", "k4"]) == {"k1": record(1), "k3": record(3)}


def test_a_line_that_was_cut_off_costs_that_line_alone(tmp_path):
    store = PointStore(tmp_path)
    store.add([record(1), record(2)])
    os.truncate(store.path, store.path.stat().st_size - 5)      # killed in mid-write
    assert store.read(["k1", "k2"]) == {"k1": record(1)}
    store.add([record(3)])
    store.path.write_bytes(store.path.read_bytes() + b'[1]\n{"key":2}\n\xff\n')
    assert store.read(["k1", "k2", "k3"]) == {"k1": record(1), "k3": record(3)}


def add_many(folder, first):
    store = PointStore(folder)
    for number in range(first, first + 60, 2):
        store.add([record(number), record(number + 1)])


def test_two_runs_at_once(tmp_path):
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=add_many, args=(tmp_path, first)) for first in (0, 1000)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert len(lines(tmp_path)) == 120
    wanted = {*range(60), *range(1000, 1060)}
    assert PointStore(tmp_path).read(f"k{number}" for number in range(2000)) == {
        f"k{number}": record(number) for number in wanted}


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"^--keep \S+/file/x: expected a folder to write to, "
                                         "found: Not a directory$"):
        PointStore(tmp_path / "file" / "x")
    store = PointStore(tmp_path / "here")
    store.path.unlink()
    with pytest.raises(InputError, match=r"points.jsonl: expected room to write, found: No such"):
        store.add([record(1)])
