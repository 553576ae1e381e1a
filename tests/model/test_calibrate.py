"""Histograms of values, and the ranges chosen from them."""
import numpy as np
import pytest
import torch

from sparseloom.model.calibrate import Histogram, choose_range
from sparseloom.model.quantize import activation_scale

CORNERS = torch.tensor([0.0, -0.0, 1.0, -1.0, 1e-30, -1e-30, 3.4e38, 2.0**-140, 0.1, -0.1])


def histogram(values, parts=1):
    out = Histogram()
    for part in torch.as_tensor(values, dtype=torch.float32).chunk(parts):
        out.add(Histogram.count(part), float(part.min()), float(part.max()))
    return out


def squared_error(values, low, high):
    """Of the quantiser itself, on the values themselves."""
    scale, zero = activation_scale(low, high)
    integer = np.clip(np.rint(values / scale) + zero, -128, 127)
    return float(np.mean((scale * (integer - zero) - values)**2))


def heavy(seed, outliers, size=40000):
    """Bell-shaped values and a few that are far away."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.normal(0.2, 1.0, size), outliers]).astype(np.float32)


@pytest.mark.parametrize("value", CORNERS.tolist())
def test_a_value_lies_in_its_bin(value):
    seen = histogram([value, -3.4e38, 3.4e38])
    values, weights = seen.points()
    assert weights.sum() == 3 and (np.diff(values) >= 0).all()
    nearest = np.abs(values - np.float32(value)).min()
    assert nearest <= abs(value) / 128 + 1e-40


def test_points_stand_for_the_values():
    values = heavy(1, [50.0, -70.0])
    seen, parts = histogram(values), histogram(np.random.default_rng(0).permutation(values), 7)
    points, weights = seen.points()
    assert weights.sum() == len(values)
    assert (points.min(), points.max()) == (-70.0, 50.0) == (seen.low, seen.high)
    assert (points * weights).sum() / len(values) == pytest.approx(values.mean(), abs=1e-3)
    for one, other in zip(seen.points(), parts.points(), strict=True):
        assert np.array_equal(one, other)


def test_minmax_and_percentile():
    values = heavy(2, [196.0] * 3)
    seen = histogram(values)
    assert choose_range(seen, "minmax") == (values.min(), values.max())
    low, high = choose_range(seen, "percentile", 99.9)
    assert low == pytest.approx(np.quantile(values, 0.0005), rel=0.01)
    assert high == pytest.approx(np.quantile(values, 0.9995), rel=0.01)
    low, high = choose_range(seen, "percentile", 100.0)
    assert low == pytest.approx(values.min(), rel=0.01) and high == pytest.approx(196.0, rel=0.01)


@pytest.mark.parametrize("outliers", [
    [], [20.0, 22.0], [8.0] * 5, [-40.0, 12.0], [-9.0, 9.0, 196.0]])
def test_mse_is_the_least_error_of_a_grid(outliers):
    values = heavy(3, outliers)
    low, high = choose_range(histogram(values), "mse")
    found = squared_error(values, low, high)
    assert values.min() <= low * 1.01 and high <= values.max() * 1.01
    grid = [squared_error(values, values.min() * a, values.max() * b)
            for a in np.geomspace(0.02, 1, 25) for b in np.geomspace(0.02, 1, 25)]
    assert found <= 1.03 * min(grid)


def test_mse_cuts_what_costs_more_than_it_is_worth():
    values = heavy(4, [20.0], size=10**6)
    low, high = choose_range(histogram(values), "mse")
    assert 4 < high < 10
    assert squared_error(values, low, high) < 0.6 * squared_error(values, values.min(), 20.0)
    # Many of them are worth their levels.
    assert choose_range(histogram(heavy(4, [20.0] * 4000)), "mse")[1] > 19


@pytest.mark.parametrize("calibration", ["minmax", "percentile", "mse"])
def test_odd_tensors(calibration):
    def chosen(values):
        return choose_range(histogram(values), calibration, 99.99)
    assert chosen([0.0] * 5) == pytest.approx((0.0, 0.0), abs=1e-38)
    low, high = chosen([3.0] * 9)
    assert min(low, 0.0) == 0 and high == pytest.approx(3.0, rel=0.01)
    low, high = chosen([-3.0] * 9)
    assert low == pytest.approx(-3.0, rel=0.01) and max(high, 0.0) == 0
    assert not np.isfinite(chosen([1.0, float("inf")])).all()
    assert not np.isfinite(chosen([1.0, float("nan"), 2.0])).all()
