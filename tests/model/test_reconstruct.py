"""The refit of surviving weights."""
import pytest
import torch

from sparseloom.model.reconstruct import reconstruct


def moments_of(x):
    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    return x.T @ x


def test_by_hand():
    """x = (a, 2a): the second input says what the first did; w = (1, 0.5) becomes (0, 1)."""
    x = torch.tensor([[1.0, 2.0], [-1.0, -2.0], [3.0, 6.0], [-3.0, -6.0]])
    weight, mask = torch.tensor([[1.0, 0.5]]), torch.tensor([[False, True]])
    new, bias = reconstruct(weight, torch.zeros(1), mask, moments_of(x), 1e-9)
    assert torch.allclose(new, torch.tensor([[0.0, 1.0]]), atol=1e-6)
    assert bias is not None and torch.allclose(bias, torch.zeros(1), atol=1e-6)


def test_bias_takes_the_mean_of_what_died():
    x = torch.stack([torch.full((50,), 4.0), torch.randn(50)], dim=1)
    new, bias = reconstruct(torch.tensor([[2.0, 1.0]]), torch.tensor([1.0]),
                            torch.tensor([[False, True]]), moments_of(x), 1e-9)
    assert bias is not None and bias.item() == pytest.approx(9.0, abs=1e-3)
    assert new[0, 1].item() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("with_bias", [True, False])
def test_never_worse_and_zero_outside(with_bias):
    generator = torch.Generator().manual_seed(3)
    x = torch.randn(400, 20, generator=generator) @ torch.randn(20, 20, generator=generator) + 1
    weight = torch.randn(12, 20, generator=generator)
    bias = torch.randn(12, generator=generator) if with_bias else None
    mask = torch.rand(12, 20, generator=generator) < 0.5
    mask[3] = False  # a row of which nothing is left
    new, new_bias = reconstruct(weight, bias, mask, moments_of(x), 1e-4)
    def answer(w, b):
        return x @ w.T + (0 if b is None else b)
    wanted = answer(weight, bias)
    plain = (answer(weight * mask, bias) - wanted).square().mean(dim=0)
    fitted = (answer(new, new_bias) - wanted).square().mean(dim=0)
    assert (fitted <= plain * 1.001).all()
    assert fitted.mean() < 0.7 * plain.mean()
    # at the least-squares solution no survivor is correlated with what is still wrong
    gradient = x.T @ (answer(new, new_bias) - wanted) / len(x)   # (K, N)
    scale = (x.T @ (answer(weight * mask, bias) - wanted) / len(x)).abs().max()
    assert gradient.T[mask].abs().max() < 0.01 * scale
    assert (new[~mask] == 0).all()
    assert (new_bias is None) == (bias is None)


def test_a_full_mask_changes_nothing():
    weight, bias = torch.randn(4, 6), torch.randn(4)
    new, new_bias = reconstruct(weight, bias, torch.ones(4, 6, dtype=torch.bool),
                                moments_of(torch.randn(100, 6)), 0.01)
    assert torch.allclose(new, weight, atol=1e-4)
    assert new_bias is not None and torch.allclose(new_bias, bias, atol=1e-4)
