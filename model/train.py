"""The training loop of every stage, and what holds dead weights at zero."""
from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from rich.progress import Progress
from torch import nn

from sparseloom.model.encode import Encoder, Item, training_batches
from sparseloom.model.heads import Head
from sparseloom.model.integer_matmul import one_thread
from sparseloom.model.penalty import GroupPenalty
from sparseloom.model.progress import stage
from sparseloom.model.tasks import Row

WARMUP = 0.05
"""Share of the steps over which the learning rate rises; it falls to zero over the rest."""


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What is learned: rows in batches, and the teacher's answers to their items.

    Parameters
    ----------
    head : Head
    encoder : Encoder
    batches : sequence of sequences of Row
        One for each step.
    teacher : mapping of Item to Tensor, optional
        Answers of the dense model, computed once.
    distil : float
        Weight of the teacher in the loss.
    """

    head: Head
    encoder: Encoder
    batches: Sequence[Sequence[Row]]
    teacher: Mapping[Item, torch.Tensor] | None = None
    distil: float = 0.5


def draw_batches(rows: Sequence[Row], head: Head, encoder: Encoder, *, batch: int, steps: int,
                 seed: int) -> list[list[Row]]:
    """Rows of similar length for each step; a row is as long as its longest item."""
    if not steps:
        return []
    encoder.add([item for row in rows for item in head.items(row)])
    lengths = [max(encoder.length(item) for item in head.items(row)) for row in rows]
    return [[rows[index] for index in indices]
            for indices in training_batches(lengths, batch, steps, seed)]


def trainable(model: nn.Module) -> list[nn.Parameter]:
    """All parameters but the embeddings' tables.

    A short schedule barely moves those, and they would be half of the optimiser's work.
    """
    tables = {id(parameter) for part in model.modules() if isinstance(part, nn.Embedding)
              for parameter in part.parameters()}
    return [parameter for parameter in model.parameters() if id(parameter) not in tables]


def rate_at(step: int, steps: int, peak: float) -> float:
    """Learning rate of a step: linear up over the first twentieth, then linear down to zero."""
    rise = max(1.0, steps * WARMUP)
    return peak * min((step + 1) / rise, (steps - step) / steps)


def bfloat16_is_faster(*, rows: int = 512, width: int = 384) -> bool:
    """Try a matrix product of an encoder's size both ways.

    Processors without bfloat16 instructions emulate it, several times slower than float32.
    """
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


@torch.no_grad()
def hold_masks(weights: Mapping[str, nn.Parameter], masks: Mapping[str, torch.Tensor],
               optimizer: torch.optim.Optimizer | None = None) -> None:
    """Set dead weights to exactly zero, and the optimiser's moments of them too."""
    for name, weight in weights.items():
        dead = ~masks[name]
        weight.masked_fill_(dead, 0)
        for moment in (optimizer.state.get(weight, {}) if optimizer else {}).values():
            if isinstance(moment, torch.Tensor) and moment.shape == weight.shape:
                moment.masked_fill_(dead, 0)


def train(model: nn.Module, lesson: Lesson, *, rate: float, dropout: bool = False,
          bfloat16: bool = False, weights: Mapping[str, nn.Parameter] | None = None,
          penalty: GroupPenalty | None = None, masks: Mapping[str, torch.Tensor] | None = None,
          progress: Progress | None = None, title: str = "train",
          after_step: Callable[[int, torch.optim.Optimizer], None] | None = None) -> float:
    """Take one AdamW step for each of the lesson's batches.

    Parameters
    ----------
    rate : float
        Peak learning rate.
    dropout : bool
        Whether the model's dropout is on. A student that copies its teacher learns faster without.
    bfloat16 : bool
        Autocast of the forward pass; weights, loss and optimiser stay in float32.
    weights : mapping of str to Parameter, optional
        The Linear weights that ``masks`` speak of.
    penalty : GroupPenalty, optional
        Penalised training.
    masks : mapping of str to Tensor of bool, optional
        Masked training: what is not in them is exactly zero after each step.
    after_step : callable, optional
        Called with the step and the optimiser when all of it is done.

    Returns
    -------
    float
        Mean loss over the last tenth of the steps, without the penalty; 0 if there are none.
    """
    parameters = trainable(model)
    optimizer = torch.optim.AdamW(parameters, lr=rate, betas=(0.9, 0.98), weight_decay=0.0)
    frozen = [parameter for parameter in model.parameters()
              if all(parameter is not other for other in parameters)]
    steps, losses = len(lesson.batches), []
    total = sum(rate_at(step, steps, rate) for step in range(steps))
    for parameter in frozen:
        parameter.requires_grad_(False)
    model.train(dropout)
    autocast = torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext()
    try:
        with stage(progress, title, steps) as advance:
            for step, rows in enumerate(lesson.batches):
                now = rate_at(step, steps, rate)
                for group in optimizer.param_groups:
                    group["lr"] = now
                if penalty is not None:
                    penalty.at_step(step)
                items = [item for row in rows for item in lesson.head.items(row)]
                with autocast:
                    answers = lesson.head.answers(model, lesson.encoder.batch(items)).float()
                teacher = None if lesson.teacher is None else torch.stack(
                    [lesson.teacher[item] for item in items])
                loss = lesson.head.loss(answers, rows, teacher, lesson.distil)
                losses.append(loss.detach().item())
                if penalty is not None and penalty.config.penalty == "loss":
                    loss = loss + penalty.loss()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                if penalty is not None and penalty.config.penalty == "decoupled":
                    penalty.shrink(now / total)
                if masks is not None and weights is not None:
                    hold_masks(weights, masks, optimizer)
                if after_step is not None:
                    after_step(step, optimizer)
                advance(1)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(True)
        model.eval()
    last = losses[-max(1, steps // 10):]
    return sum(last) / len(last) if last else 0.0
