"""A few proofs, and that none passes for nothing; continuous integration runs `make prove`."""
import ast
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from bench.folders import read_json
from tests.formal.elaborate import Planted
from tests.formal.page import render
from tests.formal.proof import Bug, all_proofs
from tests.formal.sby import check, run

ROOT = Path(__file__).parents[2]
PROOFS = all_proofs()


@pytest.mark.parametrize("name", ["drain_link_3", "input_port", "stream_break"])
def test_proof_holds_and_its_bugs_are_found(name, tmp_path):
    runs = check(PROOFS[name], work=tmp_path)
    assert set(runs) >= {"claim", "cover", "bug0"}
    assert [(run.task, run.said) for run in runs.values() if not run.holds] == []


@pytest.mark.parametrize("name", PROOFS)
def test_every_bug_still_is_a_change_of_the_source(name):
    proof = PROOFS[name]
    assert proof.bugs
    for bug in proof.bugs:
        changed = Planted(bug).changed((ROOT / "hw" / bug.file).read_text())
        ast.parse(changed)


@pytest.mark.parametrize("task", ["cover", "bug0"])
def test_a_cover_or_bug_out_of_reach_is_a_failure_that_can_be_run_again(task, tmp_path):
    found = run(replace(PROOFS["stream_break"], cover_depth=1), task, work=tmp_path)
    assert not found.holds
    assert f"make prove ARGS='--only stream_break --task {task}'" in found.said
    assert str(tmp_path / "stream_break" / task) in found.said


def test_bugs_are_looked_for_without_what_holds_between_the_cycles(tmp_path):
    out, asserted = tmp_path / "design.il", []
    for bug in ([], ["--bug", "0"]):
        subprocess.run([sys.executable, "-m", "tests.formal.elaborate", "unit_goes_on", str(out),
                        *bug], cwd=ROOT, check=True)
        asserted.append(len(re.findall(r'FLAVOR "assert"', out.read_text())))
    assert asserted[0] > 100
    assert asserted[1] == 1


def test_a_bug_that_is_nowhere_is_refused():
    bug = Bug(what="nothing", file="input_port.py", old="not in there", new="")
    with pytest.raises(ValueError, match=r"hw/input_port.py: expected 'not in there' once, .*"
                                         r"found 0 times"):
        Planted(bug).changed("source")


def test_results_are_of_these_proofs_and_the_page_of_these_results():
    table = read_json(ROOT / "bench/results/prove.json")
    assert [row["name"] for row in table["proofs"]] == list(PROOFS)
    assert all(row["holds"] for row in table["proofs"])
    assert {row["name"]: row["claim"] for row in table["proofs"]} == {
        name: proof.claim for name, proof in PROOFS.items()}
    assert (ROOT / "docs/proofs.md").read_text() == render(table)
