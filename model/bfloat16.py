"""Whether this processor gains by bfloat16."""
from __future__ import annotations

import time

import torch
from torch import nn

from sparseloom.model.integer_matmul import one_thread


def bfloat16_is_faster(*, rows: int = 512, width: int = 384) -> bool:
    """Try a matrix product of an encoder's size both ways; on a GPU, ask it.

    Processors without bfloat16 instructions emulate it, several times slower than float32.
    """
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()

    def best(dtype: torch.dtype) -> float:
        x, w = torch.ones(rows, width, dtype=dtype), torch.ones(4 * width, width, dtype=dtype)
        times = []
        for _ in range(4):
            start = time.perf_counter()
            nn.functional.linear(x, w)
            times.append(time.perf_counter() - start)
        return min(times)
    with one_thread():
        return best(torch.bfloat16) < 0.8 * best(torch.float32)
