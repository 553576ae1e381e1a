"""What passes through the encoder's Linear layers on real rows: moments, ranges. No padding."""
from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from rich.progress import Progress
from torch import nn

from sparseloom.model.encode import Encoder, Item, by_length
from sparseloom.model.heads import Head
from sparseloom.model.layers import EncoderLinear, base_model
from sparseloom.model.progress import stage
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
    training = base.training
    base.eval()
    encoder.add(items)
    with stage(progress, title, len(items)) as advance:
        for indices in by_length([encoder.length(item) for item in items], batch):
            inputs = encoder.batch([items[index] for index in indices])
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
                    x = torch.cat([x, torch.ones(len(x), 1)], dim=1)
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


def value_ranges(model: nn.Module, linears: Sequence[EncoderLinear], encoder: Encoder,
                 items: Sequence[Item], *, batch: int = 32, progress: Progress | None = None,
                 title: str = "calibrate") -> dict[str, dict[str, tuple[float, float]]]:
    """Smallest and largest value that enters and leaves each layer, and its activation.

    Returns
    -------
    dict of str to dict
        By layer name, then ``input``, ``output`` and, where there is one, ``activation``: a pair
        (low, high).
    """
    real = _RealTokens()
    found: dict[str, dict[str, tuple[float, float]]] = {linear.name: {} for linear in linears}

    def widen(name: str, what: str, values: torch.Tensor) -> None:
        low, high = (float(value) for value in torch.aminmax(real(values)))
        old = found[name].get(what, (low, high))
        found[name][what] = (min(low, old[0]), max(high, old[1]))

    def linear_hook(name: str):
        def see(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            widen(name, "input", inputs[0])
            widen(name, "output", output)
        return see

    def activation_hook(name: str):
        def see(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            widen(name, "activation", output)
        return see

    base = base_model(model)
    handles = []
    for linear in linears:
        handles.append(linear.module.register_forward_hook(linear_hook(linear.name)))
        if linear.activation is not None:
            handles.append(base.get_submodule(linear.activation).register_forward_hook(
                activation_hook(linear.name)))
    with _hooks(handles):
        _run(model, encoder, items, real, batch, progress, title)
    return found
