"""The same layers on this machine's processor, by PyTorch: a familiar yardstick."""
from __future__ import annotations

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.products import Product

REPEATS = 9
"""Runs of each layer, behind one to warm up; the median counts."""


@dataclass(frozen=True, kw_only=True)
class CpuTimes:
    """Wall times of each layer, and where they were taken.

    Parameters
    ----------
    float32, int8 : dict of str to float
        Milliseconds a layer: ``torch.nn.functional.linear``, and ``torch._int_mm``, the product
        of signed bytes alone, without requantisation. Pruned weights are zeros in place: PyTorch
        multiplies them like others. Of a product of attention ``torch.bmm``, and what the integer
        model does, :func:`~sparseloom.model.integer_matmul.integer_bmm`.
    threads : int
        Of PyTorch.
    load : float
        Processes that wanted a core, mean of the last minute: the machine may be busy.
    cores : int
    processor, torch : str
    """

    float32: dict[str, float]
    int8: dict[str, float]
    threads: int
    load: float
    cores: int
    processor: str
    torch: str

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready, with sums."""
        return {**asdict(self), "float32_ms": sum(self.float32.values()),
                "int8_ms": sum(self.int8.values())}


def time_layers(layers: Iterable[PackedLayer | Product], tokens: int, *, threads: int | None = None,
                repeats: int = REPEATS) -> CpuTimes:
    """Time layers one after the other, all heads of a product of attention at once.

    Parameters
    ----------
    layers : iterable of PackedLayer or Product
    tokens : int
        M; activations are random, which no product here notices.
    threads : int, optional
        Of PyTorch; by default as it is.
    repeats : int
    """
    # Only now: it takes seconds to load.
    import torch

    from sparseloom.model.integer_matmul import integer_bmm, matmul_bytes

    linear = torch.nn.functional.linear
    before = torch.get_num_threads()
    if threads is not None:
        torch.set_num_threads(threads)
    floats: dict[str, float] = {}
    integers: dict[str, float] = {}
    draw = np.random.default_rng(1)
    try:
        with torch.inference_mode():
            for layer in layers:
                if isinstance(layer, Product):
                    parts = [torch.from_numpy(draw.integers(
                        -127, 128, (layer.heads, rows, layer.in_features)).astype(np.int8))
                        for rows in (tokens, layer.out_features)]
                    left, right = (part.float() for part in parts)
                    floats[layer.name] = _median_ms(
                        lambda a=left, b=right: torch.bmm(a, b.transpose(1, 2)), repeats)
                    integers[layer.name] = _median_ms(
                        lambda a=parts[0], b=parts[1]: integer_bmm(a, b), repeats)
                    continue
                dense = layer.dense_weight()
                x = torch.from_numpy(
                    draw.integers(-128, 128, (tokens, layer.in_features)).astype(np.int8))
                weight, real = torch.from_numpy(dense), torch.from_numpy(
                    dense * layer.weight_scale[:, None])
                bias, real_x = torch.from_numpy(layer.bias).float(), x.float()
                floats[layer.name] = _median_ms(
                    lambda a=real_x, w=real, b=bias: linear(a, w, b), repeats)
                integers[layer.name] = _median_ms(
                    lambda a=x, w=weight: matmul_bytes(a, w), repeats)
        return CpuTimes(float32=floats, int8=integers, threads=torch.get_num_threads(),
                        load=round(os.getloadavg()[0], 2), cores=len(os.sched_getaffinity(0)),
                        processor=processor_name(), torch=torch.__version__)
    finally:
        torch.set_num_threads(before)


def _median_ms(work: Callable[[], object], repeats: int) -> float:
    work()
    found = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        found.append(1e3 * (time.perf_counter() - began))
    return statistics.median(found)


def processor_name() -> str:
    """As the system calls it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
