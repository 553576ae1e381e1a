"""Scales by search, and rounding that makes up for itself, beside plain rounding."""
import numpy as np
import pytest
import torch

from sparseloom.model.rounding import RATIOS, compensate, search_scales


def error_of(weight, scale, limit):
    """Squared error of one row, number by number."""
    return sum((max(-limit, min(limit, round(w / scale))) * scale - w) ** 2 for w in weight)


@pytest.mark.parametrize("limit", [7, 127])
def test_no_scale_of_those_tried_is_better(limit):
    rng = np.random.default_rng(limit)
    weight = rng.standard_t(3, (20, 48))            # with a few large ones
    found = search_scales(torch.from_numpy(weight), limit).numpy()
    for row, scale in zip(weight, found, strict=True):
        tried = [np.abs(row).max() / limit * ratio for ratio in RATIOS]
        errors = [error_of(row, one, limit) for one in tried]
        assert error_of(row, scale, limit) == pytest.approx(min(errors), rel=1e-9)


def test_few_levels_clip_and_many_do_not():
    weight = torch.from_numpy(np.random.default_rng(1).standard_normal((30, 400)))
    whole = weight.abs().amax(dim=1)
    four, eight = search_scales(weight, 7) * 7 / whole, search_scales(weight, 127) * 127 / whole
    assert (four < 0.9).all() and (eight > 0.94).all()
    plain = (weight - (weight / (whole / 7)[:, None]).round() * (whole / 7)[:, None]).square().sum()
    scales = search_scales(weight, 7)[:, None]
    clipped = ((weight / scales).round().clamp(-7, 7) * scales - weight).square().sum()
    assert clipped < 0.8 * plain


def test_rows_of_zeros_and_of_one_weight():
    weight = torch.zeros(3, 5, dtype=torch.float64)
    weight[1, 2] = -3.5
    weight[2] = 0.7
    assert search_scales(weight, 7).tolist() == pytest.approx([0, 0.5, 0.1])


def setting(seed, n=16, k=40, tokens=300, keep_share=1.0):
    """Weights, a mask by blocks of 4 outputs, inputs that hang together, their moments."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((k, k)) * rng.uniform(0.05, 1, (k, 1))
    x = rng.standard_normal((tokens, k)) @ mixing + rng.standard_normal(k)
    keep = np.repeat(rng.random((n // 4, k)) < keep_share, 4, axis=0)
    weight = np.where(keep, rng.standard_normal((n, k)), 0)
    ones = np.concatenate([x, np.ones((tokens, 1))], axis=1)
    found = [torch.from_numpy(part) for part in (weight, rng.standard_normal(n), keep, ones)]
    return (*found[:3], found[3], found[3].T @ found[3])


@pytest.mark.parametrize(("keep_share", "most"), [(1.0, 0.6), (0.5, 0.6), (0.1, 0.9)])
def test_the_answers_are_nearer_than_with_each_weight_rounded_by_itself(keep_share, most):
    weight, bias, keep, x, moments = setting(3, keep_share=keep_share)
    scales = search_scales(weight, 7).clamp_min(1e-6)
    integer, fitted = compensate(weight, bias, keep, scales, 7, moments)
    assert (integer == integer.round()).all() and integer.abs().max() <= 7
    assert not integer[~keep].any()
    wanted = x @ torch.cat([weight, bias[:, None]], dim=1).T
    found = x @ torch.cat([integer * scales[:, None], fitted[:, None]], dim=1).T
    nearest = (weight / scales[:, None]).round().clamp(-7, 7) * scales[:, None]
    plain = x @ torch.cat([nearest, bias[:, None]], dim=1).T
    assert (found - wanted).square().sum() < most * (plain - wanted).square().sum()
    assert (integer != (weight / scales[:, None]).round().clamp(-7, 7)).any()


def test_independent_inputs_have_nothing_to_make_up_for():
    """With moments that are diagonal each weight goes to its nearest level, and the bias stays."""
    weight, bias, keep, _, _ = setting(4)
    moments = torch.diag(torch.rand(41, dtype=torch.float64) + 0.5)
    scales = search_scales(weight, 7)
    integer, fitted = compensate(weight, bias, keep, scales, 7, moments)
    assert (integer == (weight / scales[:, None]).round().clamp(-7, 7)).all()
    assert torch.equal(fitted, bias)


def test_a_constant_input_is_made_up_for_by_the_bias():
    weight, bias = torch.tensor([[0.34]], dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    x = torch.tensor([[5.0, 1.0]] * 10, dtype=torch.float64)
    integer, fitted = compensate(weight, bias, torch.ones(1, 1, dtype=torch.bool),
                                 torch.tensor([0.1], dtype=torch.float64), 7, x.T @ x)
    assert integer.tolist() == [[3]]
    assert fitted.tolist() == pytest.approx([5 * 0.04], rel=0.02)      # but for the damping


def test_outputs_without_survivors_keep_their_bias():
    weight, bias, keep, _, moments = setting(5)
    keep[:4], weight[:4] = False, 0
    integer, fitted = compensate(weight, bias, keep, search_scales(weight, 7).clamp_min(1e-6), 7,
                                 moments)
    assert not integer[:4].any() and torch.equal(fitted[:4], bias[:4])
    assert not torch.equal(fitted[4:], bias[4:])
