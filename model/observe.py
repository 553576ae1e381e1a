"""What passes through the encoder's Linear layers on real rows: moments, ranges. No padding."""
from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import nn

from sparseloom.model.calibrate import Histogram, choose_range
from sparseloom.model.encode import Encoder, Item, by_length
from sparseloom.model.heads import Head
from sparseloom.model.layers import EncoderLinear, base_model
from sparseloom.model.progress import stage
from sparseloom.model.quantize import Elementwise
from sparseloom.model.tasks import Row


def draw_items(rows: Sequence[Row], head: Head, count: int, seed: int) -> list[Item]:
    """The distinct items of ``count`` rows drawn at random."""
    chosen = random.Random(seed).sample(list(rows), min(count, len(rows)))
    return list(dict.fromkeys(item for row in chosen for item in head.items(row)))


@contextmanager
def _hooks(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _RealTokens:
    """The rows of a hidden state that are not padding."""

    def __init__(self):
        self.keep = torch.zeros(0, dtype=torch.bool)

    def start(self, batch: dict[str, torch.Tensor]) -> None:
        self.keep = batch["attention_mask"].reshape(-1).bool()

    def __call__(self, hidden: torch.Tensor) -> torch.Tensor:
        return hidden.detach().reshape(-1, hidden.shape[-1])[self.keep]


@torch.no_grad()
def _run(model: nn.Module, encoder: Encoder, items: Sequence[Item], real: _RealTokens,
         batch: int, progress: Progress | None, title: str) -> None:
    base = base_model(model)
    device = next(base.parameters()).device
    training = base.training
    base.eval()
    encoder.add(items)
    with stage(progress, title, len(items)) as advance:
        for indices in by_length([encoder.length(item) for item in items], batch):
            inputs = {key: value.to(device) for key, value in
                      encoder.batch([items[index] for index in indices]).items()}
            real.start(inputs)
            base(**inputs)
            advance(len(indices))
    base.train(training)


def input_moments(model: nn.Module, linears: Sequence[EncoderLinear], encoder: Encoder,
                  items: Sequence[Item], *, full: bool, batch: int = 32,
                  progress: Progress | None = None, title: str = "measure inputs",
                  ) -> dict[str, torch.Tensor]:
    """Second moments of what enters each layer.

    Parameters
    ----------
    full : bool
        Whether cross moments are wanted, or mean squares only.

    Returns
    -------
    dict of str to Tensor of float32
        ``full``: Σ x xᵀ of shape (K + 1, K + 1), the constant 1 last. Otherwise the mean of x²,
        shape (K,).
    """
    real = _RealTokens()
    sums: dict[str, torch.Tensor] = {}
    tokens: dict[str, int] = {}
    last: list[torch.Tensor] = []  # the input seen last, and what came of it: Q, K and V share one

    def hook(name: str):
        def see(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            if not last or last[0] is not inputs[0]:
                x = real(inputs[0]).float()
                if full:
                    x = torch.cat([x, x.new_ones(len(x), 1)], dim=1)
                last[:] = [inputs[0], x.T @ x if full else x.square().sum(dim=0)]
            sums[name] = sums[name] + last[1] if name in sums else last[1].clone()
            tokens[name] = tokens.get(name, 0) + int(real.keep.sum())
        return see

    with _hooks([linear.module.register_forward_pre_hook(hook(linear.name))
                 for linear in linears]):
        _run(model, encoder, items, real, batch, progress, title)
    return sums if full else {name: total / tokens[name] for name, total in sums.items()}


def mean_squares(moments: torch.Tensor) -> torch.Tensor:
    """The mean of x², shape (K,), from full moments."""
    return moments.diagonal()[:-1] / moments[-1, -1].clamp_min(1)


def activation_function(model: nn.Module, linear: EncoderLinear) -> Elementwise | None:
    """The activation behind a layer as a function of float64 arrays; None where there is none."""
    if linear.activation is None:
        return None
    module = base_model(model).get_submodule(linear.activation)

    def function(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(np.asarray(x, dtype=np.float64))).numpy()
    return function


def value_ranges(model: nn.Module, linears: Sequence[EncoderLinear], encoder: Encoder,
                 items: Sequence[Item], *, calibration: str = "minmax", percentile: float = 100.0,
                 batch: int = 32, progress: Progress | None = None, title: str = "calibrate",
                 ) -> dict[str, dict[str, tuple[float, float]]]:
    """The range of what enters and leaves each layer, and its activation, that gets levels.

    What leaves as sums is never rounded to levels, and what a table reads is cut where the table's
    chosen range makes it flat: of both, all that was seen is the range here.

    Parameters
    ----------
    calibration : str
        ``minmax``, ``percentile`` or ``mse``; see :func:`sparseloom.model.calibrate.choose_range`.
    percentile : float
        Of all values, the share in percent that ``percentile`` keeps.

    Returns
    -------
    dict of str to dict
        By layer name, then ``input``, ``output`` and, where there is one, ``activation``: a pair
        (low, high).
    """
    real = _RealTokens()
    found: dict[str, dict[str, Histogram]] = {
        linear.name: {what: Histogram() for what in ("input", "output", "activation")}
        for linear in linears}
    whole = {linear.name for linear in linears if linear.residual or linear.activation is not None}
    last: list[Any] = []  # the input seen last, and what came of it: Q, K and V share one

    def measure(values: torch.Tensor, ends_only: bool) -> tuple[torch.Tensor | None, float, float]:
        kept = real(values)
        low, high = (float(end) for end in torch.aminmax(kept))
        return None if ends_only else Histogram.count(kept), low, high

    def see(name: str, what: str, values: torch.Tensor) -> None:
        if what == "output":
            found[name][what].add(*measure(values, calibration == "minmax" or name in whole))
            return
        if not last or last[0] is not values:
            last[:] = [values, *measure(values, calibration == "minmax")]
        found[name][what].add(*last[1:])

    def linear_hook(name: str):
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            see(name, "input", inputs[0])
            see(name, "output", output)
        return hook

    def activation_hook(name: str):
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            see(name, "activation", output)
        return hook

    base = base_model(model)
    handles = []
    for linear in linears:
        handles.append(linear.module.register_forward_hook(linear_hook(linear.name)))
        if linear.activation is not None:
            handles.append(base.get_submodule(linear.activation).register_forward_hook(
                activation_hook(linear.name)))
    with _hooks(handles):
        _run(model, encoder, items, real, batch, progress, title)

    ranges: dict[str, dict[str, tuple[float, float]]] = {}
    for linear in linears:
        seen = found[linear.name]
        chosen = {"input": choose_range(seen["input"], calibration, percentile),
                  "output": choose_range(seen["output"], "minmax" if linear.name in whole
                                         else calibration, percentile)}
        if linear.activation is not None:
            chosen["activation"] = choose_range(seen["activation"], calibration, percentile)
        ranges[linear.name] = chosen
    return ranges
