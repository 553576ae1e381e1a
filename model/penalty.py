"""The reweighted group Lasso: as a term of the loss, or as a shrink after the optimiser's step.

Source: arXiv 2009.08065, section 3: task loss + λ Σ_g γ_g ‖w_g‖₂, with γ_g = 1 / (‖w_g‖₂ + ε)
held constant between milestones.
"""
from __future__ import annotations

from collections.abc import Mapping

import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.groups import expand_groups, group_rms, sum_groups

RELATIVE_EPSILON = 0.01
"""Of the decoupled step: γ = r̄² / (r + 0.01 r̄)."""


def milestone_steps(steps: int, milestones: int) -> list[int]:
    """Steps at which γ is computed: the first is 0, the rest evenly spaced, none falls outside.

    A schedule shorter than its milestones has one at each step.
    """
    return sorted({index * steps // milestones for index in range(milestones)}) if steps else []


class GroupPenalty:
    """The penalty of a set of Linear weights.

    Parameters
    ----------
    weights : mapping of str to Tensor of shape (N, K)
        The parameters themselves: they are read, and shrunk in place.
    config : PruneConfig
    steps : int
        Length of the penalised stage.
    inputs : mapping of str to Tensor of shape (K,), optional
        Mean square of each layer's inputs, for ``saliency="activation"``.

    Attributes
    ----------
    gamma : dict of str to Tensor
        γ of each group.
    updates : int
        How often γ has been computed.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], config: PruneConfig, steps: int,
                 inputs: Mapping[str, torch.Tensor] | None = None):
        self.weights = weights
        self.config = config
        self.milestones = set(milestone_steps(steps, config.milestones))
        self.inputs = inputs if inputs is not None and config.saliency == "activation" else {}
        self.gamma: dict[str, torch.Tensor] = {}
        self.updates = 0

    def _rms(self, name: str) -> torch.Tensor:
        config = self.config
        return group_rms(self.weights[name].detach(), config.structure, config.p, config.q,
                         self.inputs.get(name))

    def at_step(self, step: int) -> None:
        """Tell which step begins; γ is computed where that is a milestone."""
        if step not in self.milestones:
            return
        for name, weight in self.weights.items():
            if self.config.penalty == "loss":
                self.gamma[name] = 1 / (self._norms(weight.detach()) + self.config.epsilon)
            else:
                rms = self._rms(name)
                mean = rms.mean()
                self.gamma[name] = mean**2 / (rms + RELATIVE_EPSILON * mean).clamp_min(1e-30)
        self.updates += 1

    def _norms(self, weight: torch.Tensor) -> torch.Tensor:
        config = self.config
        squares = sum_groups(weight.square(), config.structure, config.p, config.q)
        # The root has no gradient at 0: a dead group stays out of it.
        return torch.where(squares > 0, squares.clamp_min(1e-30).sqrt(), 0.0)

    def loss(self) -> torch.Tensor:
        """λ Σ γ ‖w_g‖₂ over all layers, a scalar with a gradient; for ``penalty="loss"``."""
        terms = [(self.gamma[name] * self._norms(weight)).sum()
                 for name, weight in self.weights.items()]
        return self.config.effective_strength * torch.stack(terms).sum()

    @torch.no_grad()
    def shrink(self, share: float) -> None:
        """Take ``share · λ · γ`` from each group's RMS, not below 0; for ``"decoupled"``.

        Parameters
        ----------
        share : float
            The step's learning rate over the sum of the stage's, so that λ means the same on
            schedules of any length.
        """
        config = self.config
        for name, weight in self.weights.items():
            rms = self._rms(name)
            left = (rms - share * config.effective_strength * self.gamma[name]).clamp_min(0)
            factor = torch.where(rms > 0, left / rms.clamp_min(1e-30), 0.0)
            weight.mul_(expand_groups(factor, config.structure, config.p, config.q))
