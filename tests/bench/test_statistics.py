import math

import numpy as np
import pytest
from scipy.stats import spearmanr

from bench.statistics import mean_sd, paired_bootstrap, scores_of, trivial_score


def test_mean_and_deviation_by_hand():
    mean, deviation = mean_sd([80.0, 82.0, 87.0])
    assert mean == 83.0
    assert deviation == pytest.approx(math.sqrt((9 + 1 + 16) / 2))  # n - 1
    assert mean_sd([5.0]) == (5.0, None)


def test_trivial_answers():
    assert trivial_score("accuracy", [1, 1, 0], [1, 0, 0, 0]) == 25.0  # train's class, not ours
    assert trivial_score("matthews", [1, 1, 0], [1, 0]) == 0.0
    assert trivial_score("spearman", [1.5, 2.0], [1.0, 0.3]) == 0.0


def score(metric, found, wanted):
    return scores_of(metric, np.array([found], float), np.array([wanted], float))[0]


def test_scores_by_hand():
    assert score("accuracy", [1, 0, 1, 1], [1, 0, 0, 1]) == 75.0
    # true positives 2, true negatives 1, false positive 1, no false negative
    assert score("matthews", [1, 0, 1, 1], [1, 0, 0, 1]) == pytest.approx(
        100 * (2 * 1 - 1 * 0) / math.sqrt(3 * 2 * 2 * 1))
    # ranks 1 2 3 against 1 3 2: 1 - 6 * 2 / (3 * 8)
    assert score("spearman", [0.1, 0.2, 0.9], [1, 5, 2]) == pytest.approx(50.0)
    assert score("spearman", [1, 1, 2], [3, 4, 5]) == pytest.approx(100 * math.sqrt(3) / 2)  # ties


def test_constant_answers_score_nothing():
    assert score("matthews", [1, 1, 1], [1, 0, 1]) == 0.0
    assert score("spearman", [2, 2, 2], [1, 0, 1]) == 0.0
    with pytest.raises(ValueError, match="expected accuracy, matthews or spearman, found 'f1'"):
        score("f1", [1], [1])


def test_many_samples_at_once():
    dice = np.random.default_rng(3)
    found, wanted = dice.integers(0, 6, (7, 30)), dice.random((7, 30))
    assert scores_of("spearman", found, wanted) == pytest.approx(
        [100 * np.asarray(spearmanr(a, b))[0] for a, b in zip(found, wanted, strict=True)])


def test_bootstrap_against_the_binomial():
    # The first model is right on 60 of 100 rows more, so the difference of a resample is
    # binomial: 60 ± 1.96 · 4.90.
    wanted = [1.0] * 100
    first, second = [1.0] * 60 + [0.0] * 40, [0.0] * 100
    found = paired_bootstrap("accuracy", wanted, [(first, second)])
    assert (found["difference"], found["seeds"]) == (60.0, 1)
    assert found["low"] == pytest.approx(50.4, abs=1.1)
    assert found["high"] == pytest.approx(69.6, abs=1.1)
    assert found == paired_bootstrap("accuracy", wanted, [(first, second)]), "seeded"


def test_bootstrap_is_paired():
    # Both wrong on the same half: the same in every resample, which draws apart would not be.
    half = [1.0, 0.0] * 30
    found = paired_bootstrap("accuracy", [1.0] * 60, [(half, half)])
    assert (found["low"], found["high"]) == (0.0, 0.0)


def test_bootstrap_averages_seeds():
    wanted = [1.0] * 10
    good, bad = [1.0] * 10, [0.0] * 10
    found = paired_bootstrap("accuracy", wanted, [(good, bad), (bad, bad)])
    assert found == {"difference": 50.0, "low": 50.0, "high": 50.0, "seeds": 2}
