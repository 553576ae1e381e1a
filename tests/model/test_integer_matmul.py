"""Both ways of an exact product, and the choice between them."""
import numpy as np
import pytest
import torch

from sparseloom.model import integer_matmul
from sparseloom.model.reference import accumulate

SHAPES = [(1, 1, 1), (1, 1, 7), (3, 1, 7), (3, 1, 1), (1, 5, 7), (3, 5, 1), (3, 5, 7), (2, 1024, 3),
          (2, 1025, 3), (4, 3071, 2)]


@pytest.mark.parametrize(("m", "k", "n"), SHAPES)
@pytest.mark.parametrize("way", ["matmul_bytes", "matmul_floats", "integer_matmul"])
def test_exact(way, m, k, n):
    rng = np.random.default_rng(k)
    x = rng.integers(-128, 128, (m, k)).astype(np.int8)
    w = rng.integers(-127, 128, (n, k)).astype(np.int8)
    ends = [(np.full_like(x, a), np.full_like(w, b)) for a, b in ((-128, -127), (127, 127))]
    for x_now, w_now in ((x, w), *ends):
        found = getattr(integer_matmul, way)(torch.from_numpy(x_now), torch.from_numpy(w_now))
        assert found.dtype == torch.int32
        assert np.array_equal(found.numpy(), accumulate(x_now, w_now, np.zeros(n, np.int32)))


@pytest.mark.parametrize("stride", [0, 1, 3])
@pytest.mark.parametrize("way", ["matmul_bytes", "matmul_floats", "integer_matmul"])
def test_any_stride_of_a_side_of_one(way, stride):
    """As slices and expanded tensors have them; oneDNN refuses some, and PyTorch does not tell."""
    row = torch.arange(-60, 60, dtype=torch.int8)
    one, many = row[:40].as_strided((1, 40), (stride, 1)), row[:120].view(3, 40)
    column = row.as_strided((7, 1), (stride, 0))
    for x, w in ((one, many), (many, one), (one, one), (column, column), (column, row[:1, None])):
        found = getattr(integer_matmul, way)(x, w)
        assert torch.equal(found, (x.long() @ w.long().t()).int())


def test_floats_are_not_used_where_they_may_round(monkeypatch):
    monkeypatch.setattr(torch, "get_float32_matmul_precision", lambda: "medium")
    monkeypatch.setattr(integer_matmul, "matmul_floats", None)  # a call would fail
    x = torch.full((2, 300), 127, dtype=torch.int8)
    assert integer_matmul.integer_matmul(x, x).tolist() == [[300 * 127**2] * 2] * 2


def test_no_rows():
    x, w = torch.zeros(0, 4, dtype=torch.int8), torch.ones(3, 4, dtype=torch.int8)
    assert integer_matmul.integer_matmul(x, w).shape == (0, 3)
