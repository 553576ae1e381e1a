"""Counts, page and reasons of mutation testing."""
from bench import rtl_mutants as module
from bench.rtl_mutants import page_part, row, summary
from sparseloom.sim.mutation.design import Mutant
from sparseloom.sim.mutation.hunt import Verdict


def one(number: int, fate: str, component: str = "crc") -> dict:
    """A row."""
    mutant = Mutant(number=number, component=component, place="unit.x", array=component == "cell",
                    cell_type="and", command="mutate -mode inv -cell c -port Y -portbit 3 -wire $w")
    return row(mutant, Verdict(number=number, killed=fate == "killed",
                               equivalent=fate == "equivalent", case=None, problem="", cases=9,
                               seconds=0.5, prover=""))


ROWS = [one(1, "killed"), one(2, "killed", "cell"), one(3, "equivalent"), one(4, "survived"),
        one(5, "killed")]


def test_the_rate_leaves_out_what_is_shown_equivalent():
    total = summary(ROWS)
    assert (total["mutants"], total["killed"], total["equivalent"], total["survived"]) == (
        5, 3, 1, 1)
    assert total["kill_rate"] == 75.0 and total["array"] == 1 and total["unexplained"] == 1
    assert total["components"]["cell"] == {"mutants": 1, "killed": 1, "equivalent": 0,
                                           "survived": 0, "kill_rate": 100.0}
    assert summary([one(1, "equivalent")])["kill_rate"] is None


def test_a_survivor_is_listed_with_its_reason(monkeypatch):
    monkeypatch.setattr(module, "REASONS", {"unit.x: inv of and Y[3] to $w": "It does not matter."})
    rows = [*ROWS[:3], one(4, "survived")]
    part = page_part({"build": "3x5", "seed": 1, "cases": 9, "directed_cases": 7,
                      "summary": summary(rows), "mutants": rows})
    assert "4 mutants, 1 shown equivalent, 2 of the other 3 killed: 66.67 %" in part
    assert "| crc | 3 | 1 | 1 | 1 |" in part
    assert "- `unit.x`: inv of and Y[3] to w. It does not matter." in part
