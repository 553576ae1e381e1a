"""The reweighted group Lasso: as a term of the loss, or as a shrink after the optimiser's step.

Source: arXiv 2009.08065, section 3: task loss + λ Σ_g γ_g ‖w_g‖₂, with γ_g = 1 / (‖w_g‖₂ + ε)
held constant between milestones. Groups of unequal size are made comparable as group Lasso does
(Yuan and Lin, 2006): with s_g the size of a group over the mean size, ‖w_g‖₂ becomes √s_g ‖w_g‖₂
and γ_g = 1 / (‖w_g‖₂ / √s_g + ε), which is the paper's where all sizes are equal.
"""
from __future__ import annotations

from collections.abc import Mapping

import torch

from sparseloom.model.config import PruneConfig
from sparseloom.model.groups import expand_groups, group_rms, group_sizes, sum_groups

RELATIVE_EPSILON = 0.01
"""Of the decoupled step: γ = r̄² / (r + 0.01 r̄)."""


class GroupPenalty:
    """The penalty of a set of weight matrices; biases and LayerNorm are never among them.

    Parameters
    ----------
    weights : mapping of str to Tensor of shape (N, K)
        The parameters themselves: they are read, and shrunk in place.
    config : PruneConfig
        ``method="lasso"`` keeps γ constant: 1 in the loss, the layer's mean RMS in the decoupled
        step.
    inputs : mapping of str to Tensor of shape (K,), optional
        Mean square of each layer's inputs, for ``saliency="activation"``.

    Attributes
    ----------
    gamma : dict of str to Tensor
        γ of each group.
    updates : int
        How often γ has been computed.
    """

    def __init__(self, weights: Mapping[str, torch.Tensor], config: PruneConfig,
                 inputs: Mapping[str, torch.Tensor] | None = None):
        self.weights = weights
        self.config = config
        self.inputs = dict(inputs or {}) if config.saliency == "activation" else {}
        self.gamma: dict[str, torch.Tensor] = {}
        self.updates = 0
        sizes = {name: group_sizes(weight.shape, *self._cut).to(weight.device)
                 for name, weight in weights.items()}
        mean = (sum(int(size.sum()) for size in sizes.values())
                / max(1, sum(size.numel() for size in sizes.values())))
        self._root = {name: (size / mean).sqrt() for name, size in sizes.items()}

    @property
    def _cut(self) -> tuple[str, int, int]:
        return self.config.structure, self.config.p, self.config.q

    def rms(self, name: str) -> torch.Tensor:
        """RMS of each group of a layer, as its inputs excite it where that is asked for."""
        return group_rms(self.weights[name].detach(), *self._cut, self.inputs.get(name))

    def reweight(self) -> None:
        """Compute γ from the weights as they are: at milestones."""
        for name, weight in self.weights.items():
            if self.config.penalty == "loss":
                norms = self._norms(weight.detach()) / self._root[name]
                self.gamma[name] = (1 / (norms + self.config.epsilon)
                                    if self.config.method == "reweighted"
                                    else torch.ones_like(norms))
            else:
                rms = self.rms(name)
                mean = rms[rms > 0].mean() if bool((rms > 0).any()) else rms.mean()
                self.gamma[name] = (mean**2 / (rms + RELATIVE_EPSILON * mean).clamp_min(1e-30)
                                    if self.config.method == "reweighted"
                                    else mean.expand(rms.shape).clone())
        self.updates += 1

    def _norms(self, weight: torch.Tensor) -> torch.Tensor:
        squares = sum_groups(weight.square(), *self._cut)
        # The root has no gradient at 0: a dead group stays out of it.
        return torch.where(squares > 0, squares.clamp_min(1e-30).sqrt(), 0.0)

    def loss(self) -> torch.Tensor:
        """λ Σ γ √s ‖w_g‖₂ over all layers, a scalar with a gradient; for ``penalty="loss"``."""
        terms = [self.config.strength_of(name)
                 * (self.gamma[name] * self._root[name] * self._norms(weight)).sum()
                 for name, weight in self.weights.items()]
        return torch.stack(terms).sum()

    @torch.no_grad()
    def shrink(self, share: float) -> None:
        """Take ``share · λ · γ`` from each group's RMS, not below 0; for ``"decoupled"``.

        Parameters
        ----------
        share : float
            The step's learning rate over the sum of the stage's, so that λ means the same on
            schedules of any length.
        """
        for name, weight in self.weights.items():
            rms = self.rms(name)
            left = (rms - share * self.config.strength_of(name) * self.gamma[name]).clamp_min(0)
            factor = torch.where(rms > 0, left / rms.clamp_min(1e-30), 0.0)
            weight.mul_(expand_groups(factor, *self._cut, weight.shape))
