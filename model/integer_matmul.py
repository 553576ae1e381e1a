"""Exact products of signed bytes, by whichever of two ways this machine does faster."""
from __future__ import annotations

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch

FLOAT_INPUTS = 1024
"""Inputs in one float32 product: sums of 1024 terms of at most 128 · 128 stay within 2**24, below
which float32 holds each integer, in any order of summation."""


def matmul_bytes(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x · weightᵀ`` through ``torch._int_mm``.

    Parameters
    ----------
    x : Tensor of int8, shape (M, K)
    weight : Tensor of int8, shape (N, K)

    Returns
    -------
    Tensor of int32, shape (M, N)

    Notes
    -----
    The stride of a side of length 1 is arbitrary, but ``_int_mm`` hands it to oneDNN as the leading
    dimension; if it is too short, oneDNN computes nothing and the sums are whatever the memory held
    (PyTorch issue 195066). So both operands come with strides that fit.
    """
    x = x.reshape(-1).view(x.shape)
    flat = weight.reshape(-1)
    other = flat.view(1, -1) if weight.shape[1] == 1 else flat.view(weight.shape).t()
    return torch._int_mm(x, other)  # pyright: ignore[reportPrivateImportUsage]


def matmul_floats(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """The same integers through float32 products that round nothing."""
    total = torch.zeros(x.shape[0], weight.shape[0], dtype=torch.int32)
    for start in range(0, x.shape[1], FLOAT_INPUTS):
        part = slice(start, start + FLOAT_INPUTS)
        total += (x[:, part].float() @ weight[:, part].float().t()).to(torch.int32)
    return total


@contextmanager
def one_thread() -> Iterator[None]:
    """For a trial: threads that wait for a busy core would be all that is measured."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


@functools.cache
def _floats_are_faster() -> bool:
    """Try both in turn, several times; the best of each counts, since the machine may be busy."""
    x = torch.ones(256, 384, dtype=torch.int8)
    best = {way: float("inf") for way in (matmul_bytes, matmul_floats)}
    with one_thread():
        for _ in range(5):
            for way in best:
                start = time.perf_counter()
                way(x, x)
                best[way] = min(best[way], time.perf_counter() - start)
    return best[matmul_floats] < best[matmul_bytes]


def integer_matmul(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x · weightᵀ``, exact: int8 of shape (M, K) and (N, K) to int32 of shape (M, N).

    ``torch._int_mm`` where it exists and is the faster way. Without byte dot products in the
    processor it is some thirty times slower than float32, whose products are then used, unless
    PyTorch may do them in a shorter format.
    """
    whole = torch.get_float32_matmul_precision() == "highest"
    if not hasattr(torch, "_int_mm") or x.shape[0] == 0:
        if not whole and x.shape[0]:
            return (x.long() @ weight.long().t()).to(torch.int32)
        return matmul_floats(x, weight)
    return matmul_floats(x, weight) if whole and _floats_are_faster() else matmul_bytes(x, weight)


def integer_bmm(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """A batch of exact products: int8 of shapes (B, M, K) and (B, N, K) to int32 (B, M, N)."""
    if x.shape[2] <= FLOAT_INPUTS and torch.get_float32_matmul_precision() == "highest":
        return torch.bmm(x.float(), weight.float().transpose(1, 2)).to(torch.int32)
    return torch.bmm(x.long(), weight.long().transpose(1, 2)).to(torch.int32)
