"""Bars of whole sentences; that a failure leaves no result."""
from dataclasses import replace

import pytest

from bench import offload as module
from bench.offload import bars, long_sentence, main
from sparseloom.model.errors import InputError
from sparseloom.model.flow import quantize_checkpoint
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.offload import OffloadRun, SentenceRun
from tests.model.tiny import similarity_task, tiny_checkpoint

SENTENCE = SentenceRun(tokens=32, products=180, integers=1000, mismatches=0, equal=True, cycles=9,
                       seconds=20.0)


def run(*sentences):
    return OffloadRun(backend="rtl", layers=36, products=180, sentences=list(sentences),
                      difference=None, answer_values=384, build_seconds=0.0, seconds=1.0)


@pytest.mark.parametrize(("timed", "others", "met"), [
    (SENTENCE, [SENTENCE] * 2, [True, True, True, True]),
    (replace(SENTENCE, seconds=20.1), [SENTENCE] * 2, [False, True, True, True]),
    (SENTENCE, [SENTENCE], [True, False, True, True]),
    (SENTENCE, [SENTENCE, replace(SENTENCE, mismatches=1)], [True, True, False, True]),
    (replace(SENTENCE, equal=False), [SENTENCE] * 2, [True, True, True, False])])
def test_bars(timed, others, met):
    assert [bar["met"] for bar in bars(run(timed), run(*others), 2)] == met


def test_a_sentence_is_long_enough(tmp_path):
    quantize_checkpoint(tiny_checkpoint(tmp_path / "c"), similarity_task(), tmp_path / "a",
                        evaluate=False)
    text = long_sentence(tmp_path / "a", 25)
    assert 23 <= len(text.split()) < 60                   # and the two special tokens
    with pytest.raises(InputError, match="expected 999 tokens or more, found fewer"):
        long_sentence(tmp_path / "a", 999)


@pytest.mark.parametrize(("error", "code"), [(InputError, 2), (SimulationError, 1)])
def test_a_failure_is_one_line_and_no_table(tmp_path, monkeypatch, capsys, error, code):
    def fail(*_):
        raise error("no artefact")

    monkeypatch.setattr(module, "measure", fail)
    assert main(["--root", str(tmp_path)]) == code
    assert capsys.readouterr().err == "error: no artefact\n"
    assert not (tmp_path / "bench").exists()
