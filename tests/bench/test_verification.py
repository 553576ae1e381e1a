"""The page of the verification says what the results say."""
import json

from bench import verification


def test_the_page_is_of_these_results():
    assert (verification.ROOT / verification.PAGE).read_text() == verification.render(
        verification.read())


def test_every_test_that_is_named_is_there():
    for _, _, path in verification.TESTED:
        assert (verification.ROOT / path).exists(), path


def test_what_is_missing_or_failed_is_told(tmp_path):
    folder = tmp_path / verification.RESULTS
    folder.mkdir(parents=True)
    text = verification.render(verification.read(tmp_path))
    assert text.count("No results are recorded") == len(verification.INPUTS)
    proof = {"name": "one", "at": "4 bits", "claim": "It holds.", "proved": False, "bounded": "",
             "bugs": [{"found": False}, {"found": True}]}
    (folder / "prove.json").write_text(json.dumps({"proofs": [proof]}))
    (folder / "regress.json").write_text(json.dumps({
        "jobs": 10, "builds": {"2x2": {}}, "results": 100, "events": 1, "mandatory_bins": 5,
        "empty_bins": ["tie: positive"], "failed_cases": 2, "seed": 3}))
    text = verification.render(verification.read(tmp_path))
    assert "0 of 1 proofs hold" in text and "**Not proved: one.**" in text
    assert "1 of 2 planted bugs" in text
    assert "4 of 5 mandatory bins filled, 2 cases failed" in text


def test_what_is_bounded_is_no_proof(tmp_path):
    folder = tmp_path / verification.RESULTS
    folder.mkdir(parents=True)
    row = {"name": "one", "at": "4 bits", "claim": "It holds.", "proved": True, "bounded": "",
           "depth": 3, "bugs": []}
    (folder / "prove.json").write_text(json.dumps({"proofs": [
        row, {**row, "name": "two", "bounded": "no more was reached", "depth": 72}]}))
    text = verification.render(verification.read(tmp_path))
    head, checked = text.split("Checked for every input, but only in so many cycles")
    assert "1 of 1 proofs hold" in head and "**one**" in head and "two" not in head
    assert "- **two** (72 cycles; 4 bits): It holds." in checked
