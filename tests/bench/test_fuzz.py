"""A few thousand of the bench's inputs, and planted bugs of each kind that it must find."""
import json
import random
import subprocess
import sys
import time
from itertools import pairwise

import pytest

from bench import fuzz, fuzz_targets
from bench.fuzz import Tally, judge, main, parts
from bench.fuzz_targets import ArtefactTarget, FramesTarget, HostTarget, WeightsTarget, targets
from bench.mutate import mutate_bytes, mutate_tree
from sparseloom.model.errors import InputError


def test_a_few_thousand_inputs(tmp_path, capsys):
    """In a process of its own, with the limits of a whole run."""
    out = tmp_path / "fuzz.json"
    assert main(["--inputs", "4000", "--seed", "7", "--jobs", "1", "--out", str(out)]) == 0, (
        capsys.readouterr().out)
    found = json.loads(out.read_text())
    assert found["inputs"] == 4000 and found["findings"] == 0 and found["died"] == []
    rows = found["targets"]
    assert {name: row["inputs"] for name, row in rows.items()} == {
        "artefact": 1280, "weights": 1360, "frames": 640, "results": 560, "host": 160}
    for row in rows.values():
        assert row["taken"] + row["refused"] == row["inputs"]
        assert row["taken"] > 20 and row["refused"] > 20
        assert sum(row["reasons"].values()) == row["refused"]
    # Deep checks are reached: those behind the CRCs, of the record, of the masks, of each field.
    assert {"layer: bias", "layer: block_mask", "layer: column_masks", "layer: weights",
            "layer: mult", "layer: shift", "layer: structure", "layer: p", "file: version",
            "file: metadata crc32", "file: whole"} <= set(rows["artefact"]["reasons"])
    assert {"padding", "popcount", "range", "params", "count", "crc"} <= set(
        rows["weights"]["reasons"])
    assert {"CRC-32", "length", "frame"} <= set(rows["frames"]["reasons"])
    assert {"revision", "machine", "command", "seconds"} <= set(found)


def test_inputs_follow_from_seed_and_number(tmp_path):
    for target in targets(tmp_path):
        one, two, other = (target.draw(random.Random(f"{seed} {target.name} 5"))
                           for seed in (1, 1, 2))
        assert one == two != other


def test_parts_add_up():
    found = list(parts(["artefact", "host"], 10_001, 50))
    assert sum(count for _, _, count in found) == 10_001
    for name in ("artefact", "host"):
        mine = [(first, count) for part, first, count in found if part == name]
        assert mine[0][0] == 50
        assert all(first + count == after for (first, count), (after, _) in pairwise(mine))


def findings(target, inputs: int) -> list[str]:
    tally = Tally(target.name)
    for index in range(inputs):
        judge(target, 3, index, tally)
    assert tally.taken + tally.refused + len(tally.findings) == inputs
    return [finding["error"] for finding in tally.findings]


def test_another_error_is_found(tmp_path, monkeypatch):
    def careless(*_):
        raise IndexError("list index out of range")

    monkeypatch.setattr("sparseloom.model.packed.artefact._check_row", careless)
    found = findings(ArtefactTarget(tmp_path), 50)
    assert found and set(found) == {"IndexError: list index out of range"}


def test_a_wrong_answer_is_found(tmp_path, monkeypatch):
    real = fuzz_targets.decode_weights

    def unsorted(*words, **settings):
        table, strips = real(*words, **settings)
        for strip in strips:
            strip.columns[:] = strip.columns[::-1].copy()
        return table, strips

    monkeypatch.setattr(fuzz_targets, "decode_weights", unsorted)
    assert "Wrong: columns do not ascend" in findings(WeightsTarget(), 100)
    assert any(error.startswith("Wrong: strip") for error in findings(
        ArtefactTarget(tmp_path), 100))


def test_an_artefact_whose_crc_does_not_hold_is_found(tmp_path, monkeypatch):
    target = ArtefactTarget(tmp_path)
    data = bytearray(target.whole[0])
    data[-1] ^= 1                       # of a scale
    taken = fuzz_targets.read_artefact(tmp_path / "sparseloom.safetensors")
    monkeypatch.setattr(fuzz_targets, "read_artefact", lambda _: taken)
    monkeypatch.setattr(target, "draw", lambda _: bytes(data))
    assert findings(target, 1)[0].startswith("Wrong: crc32 of ")


def test_a_message_of_another_form_is_found(monkeypatch):
    def told(self, piece):
        raise fuzz_targets.FrameError("no\nframe")

    monkeypatch.setattr(fuzz_targets.Frame, "decode", classmethod(told))
    assert findings(FramesTarget(), 20)[0].startswith("Wrong: message 'no\\nframe'")


def test_a_hang_is_found(monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 0.05)
    previous = fuzz.signal.signal(fuzz.signal.SIGPROF, fuzz._too_long)

    def stuck(self, piece):
        while True:
            time.process_time()

    monkeypatch.setattr(fuzz_targets.Frame, "decode", classmethod(stuck))
    try:
        assert set(findings(FramesTarget(), 3)) == {"TooLong: more than 0.05 s"}
    finally:
        fuzz.signal.signal(fuzz.signal.SIGPROF, previous)


def test_a_session_without_end_is_found(monkeypatch):
    monkeypatch.setattr(fuzz_targets.Board, "MOST", 3)
    assert any(error.startswith("Hung: more than 3 questions") for error in findings(
        HostTarget(), 20))


def test_a_size_that_is_believed_is_found():
    """In a process with the limits of a whole run: 1 GB for a file of kilobytes."""
    code = """
import numpy as np
from bench import fuzz, fuzz_targets
fuzz._worker = fuzz.Worker()
fuzz_targets.read_artefact = lambda path: np.zeros(1 << 27)
print(*(finding["error"] for finding in fuzz.run_part("artefact", 1, 0, 3).findings), sep="\\n")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    errors = done.stdout.splitlines()
    assert len(errors) == 3
    assert all("MemoryError: Unable to allocate 1.00 GiB" in error for error in errors)


def test_mutations_change_something():
    rng = random.Random(1)
    data = bytes(range(200))
    changed = [mutate_bytes(rng, data, [b"x" * 50]) for _ in range(200)]
    assert sum(one != data for one in changed) > 180
    assert len({len(one) for one in changed}) > 20
    trees = [mutate_tree(rng, {"a": [1, 2, {"b": "c"}], "d": None}) for _ in range(200)]
    assert len({repr(tree) for tree in trees}) > 80


def test_a_shape_without_bytes_beyond_all_sizes_is_refused(tmp_path):
    """Found by the bench: input 308595 of seed 1."""
    target = next(one for one in targets(tmp_path) if one.name == "artefact")
    with pytest.raises(InputError, match="expected a shape that can be, found "):
        target.read(target.draw(random.Random("1 artefact 308595")))
