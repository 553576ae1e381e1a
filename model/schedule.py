"""When things happen on the way of a pruning run, in optimiser steps. No torch."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from sparseloom.model.config import PruneConfig, parse_milestone
from sparseloom.model.errors import InputError


def milestone_steps(milestones: Sequence[str], steps: int, epoch_steps: float) -> list[int]:
    """Steps of the penalised stage at which γ is computed.

    Parameters
    ----------
    milestones : sequence of str
        Shares of the stage (``0.25``) or epochs (``1.5ep``).
    steps : int
        Length of the stage.
    epoch_steps : float
        Optimiser steps of one epoch.

    Raises
    ------
    InputError
        If one would never fire, or two would fire at the same step.
    """
    found: dict[int, str] = {}
    for text in milestones:
        value, unit = parse_milestone(text)
        step = int(value * (steps if unit == "share" else epoch_steps) + 1e-9)
        if step >= steps:
            raise InputError(f"milestones: expected steps below {steps}, the length of the "
                             f"penalised stage, found {text}, which is step {step}")
        if step in found:
            raise InputError(f"milestones: expected a step of its own for each, found {found[step]}"
                             f" and {text} at step {step} of {steps}; train longer or name fewer")
        found[step] = text
    return sorted(found)


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A run of ``steps`` optimiser steps: before the hard prune, and after it.

    Parameters
    ----------
    steps : int
        In all.
    prune_step : int
        The hard prune comes before this step.
    events : tuple of (int, float)
        All prunes, with the compression each leaves; the last is at ``prune_step``.
    milestones : tuple of int
        Steps at which γ is computed; none where nothing is penalised.
    penalty_rate : float
        Learning rate before the prune as a share of the one after it.
    warmup : float
        Share of each part over which the rate rises.
    """

    steps: int
    prune_step: int
    events: tuple[tuple[int, float], ...]
    milestones: tuple[int, ...]
    penalty_rate: float = 1.0
    warmup: float = 0.05

    def rate(self, step: int) -> float:
        """Learning rate of a step, as a share of the peak: up and down before the prune, and
        again after it."""
        if step < self.prune_step:
            return self.penalty_rate * self._linear(step, self.prune_step)
        return self._linear(step - self.prune_step, self.steps - self.prune_step)

    def _linear(self, step: int, steps: int) -> float:
        rise = max(1.0, steps * self.warmup)
        return max(0.0, min((step + 1) / rise, (steps - step) / max(1, steps)))

    def share(self, step: int) -> float:
        """A step's learning rate over the sum of all before the prune: what it takes of λ."""
        return self.rate(step) / self._total if self._total else 0.0

    @cached_property
    def _total(self) -> float:
        """Sum of the learning rates before the prune."""
        return sum(self.rate(step) for step in range(self.prune_step))


def make_schedule(config: PruneConfig, steps: int, epoch_steps: float, *, penalty_rate: float,
                  warmup: float) -> Schedule:
    """The schedule of a run.

    Raises
    ------
    InputError
        If a milestone or a prune has no step of its own.
    """
    prune_step = 0 if config.at_once else int(config.prune_at * steps + 1e-9)
    milestones: tuple[int, ...] = ()
    if config.penalised and prune_step:
        names = config.milestones if config.method == "reweighted" else ("0",)
        milestones = tuple(milestone_steps(names, prune_step, epoch_steps))
    elif not prune_step and not config.at_once:
        raise InputError(f"prune_at: expected at least one step before the prune, found "
                         f"{config.prune_at:g} of {steps} steps")
    # Movement has its own way to the compression.
    count = 1 if config.at_once or config.method == "movement" else config.gradual
    if count > 1 and count > prune_step:
        raise InputError(f"gradual: expected at most {prune_step}, the steps before the prune, "
                         f"found {count}")
    events = tuple((prune_step * (index + 1) // count,
                    config.compression**((index + 1) / count)) for index in range(count))
    return Schedule(steps=steps, prune_step=prune_step, events=events, milestones=milestones,
                    penalty_rate=penalty_rate, warmup=warmup)
