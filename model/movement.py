"""Movement pruning of groups: what training moves away from zero stays.

Source: Lagunas et al., Block Pruning For Faster Transformers (arXiv 2109.04838), section 3, after
Sanh et al., Movement Pruning (arXiv 2005.07683): a group's score S gathers -∂L/∂W' · W over its
weights, forward passes use W' = W · mask(S), and the share that survives falls along a cubic.
Scores take plain gradient steps here: only their order within a matrix counts.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from sparseloom.model.config import PruneConfig
from sparseloom.model.groups import expand_groups, group_grid, group_sizes, sum_groups

UPDATES = 50
"""How often the masks follow the scores."""

Choose = Callable[[Mapping[str, torch.Tensor], float], dict[str, torch.Tensor]]


class Movement:
    """Scores, masks and the whole weights behind the masked ones.

    Parameters
    ----------
    weights : mapping of str to Parameter of shape (N, K)
        Hold the masked weights between steps and the whole ones inside the optimiser's.
    config : PruneConfig
    steps : int
        Length of the stage.
    choose : callable
        Scores by layer and a compression to groups that stay.

    Attributes
    ----------
    scores : dict of str to Tensor
        Of each group.
    whole : dict of str to Tensor of shape (N, K)
        Weights without a mask.
    """

    def __init__(self, weights: Mapping[str, nn.Parameter], config: PruneConfig, steps: int,
                 choose: Choose):
        self.weights, self.config, self.steps, self.choose = weights, config, steps, choose
        self.cut = (config.structure, config.p, config.q)
        self.scores = {name: torch.zeros(group_grid(weight.shape, *self.cut, True),
                                         device=weight.device)
                       for name, weight in weights.items()}
        self._sizes = {name: group_sizes(weight.shape, *self.cut)
                       for name, weight in weights.items()}
        self.whole = {name: weight.detach().clone() for name, weight in weights.items()}
        self.alive = {name: torch.ones_like(score, dtype=torch.bool)
                      for name, score in self.scores.items()}

    def compression(self, step: int) -> float:
        """What is asked after a step: from 1 to the whole, along a cubic in the surviving share."""
        last = 1 / self.config.compression
        left = max(0.0, 1 - (step + 1) / self.steps)
        return 1 / (last + (1 - last) * left**3)

    def to_weights(self) -> None:
        """Move everything to where the weights are."""
        for parts in (self.scores, self.whole, self.alive):
            for name, part in parts.items():
                parts[name] = part.to(self.weights[name].device)

    def standing(self) -> dict[str, torch.Tensor]:
        """Scores of the groups' weights on average, so that groups of any size compare."""
        return {name: score / self._sizes[name].to(score.device)
                for name, score in self.scores.items()}

    @torch.no_grad()
    def before_step(self, rate: float) -> None:
        """Let scores follow the gradients, and give the optimiser the whole weights."""
        for name, weight in self.weights.items():
            if weight.grad is not None:
                self.scores[name] -= rate * sum_groups(weight.grad * self.whole[name], *self.cut)
                weight.grad.mul_(expand_groups(self.alive[name], *self.cut, weight.shape))
            weight.data.copy_(self.whole[name])

    @torch.no_grad()
    def after_step(self, step: int) -> None:
        """Take the whole weights back; masks follow the scores now and then."""
        for name, weight in self.weights.items():
            self.whole[name].copy_(weight.data)
        if step % max(1, self.steps // UPDATES) == 0 or step == self.steps - 1:
            self.alive = self.choose(self.standing(), self.compression(step))
        self.apply()

    @torch.no_grad()
    def apply(self) -> None:
        """Put the masked weights where forward passes read them."""
        for name, weight in self.weights.items():
            weight.data.copy_(self.whole[name]
                              * expand_groups(self.alive[name], *self.cut, weight.shape))
