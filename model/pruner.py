"""What pruning does along a training run, step by step, whoever runs the steps.

The order within a step: :meth:`GroupPruner.begin_step`, forward and backward passes (with
:meth:`GroupPruner.loss`), :meth:`GroupPruner.before_optimizer`, the optimiser,
:meth:`GroupPruner.after_optimizer`.
"""
from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from sparseloom.model.budget import Geometry, masks_for_cycles
from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.groups import expand_groups, group_grid, group_rms
from sparseloom.model.movement import Movement
from sparseloom.model.observe import mean_squares
from sparseloom.model.penalty import GroupPenalty
from sparseloom.model.prune import choose_groups
from sparseloom.model.reconstruct import reconstruct
from sparseloom.model.schedule import Schedule
from sparseloom.model.write import write_whole

STATE_FILE = "sparseloom-pruning.safetensors"
"""In each of the Trainer's checkpoints: masks, γ, scores."""

Measure = Callable[[bool], dict[str, torch.Tensor]]
"""Second moments of what enters each Linear layer now; the argument asks for cross moments."""


class GroupPruner:
    """Penalty, prune and masks of one run.

    Parameters
    ----------
    linears : mapping of str to nn.Linear
        The encoder's, by name.
    config : PruneConfig
    schedule : Schedule
    measure : callable
        See :data:`Measure`.
    table : (str, nn.Embedding), optional
        The word embeddings, where they are pruned too.
    seed : int
        Of ``method="random"``.
    outputs : pair of sequences of str
        Layers that leave the unit as sums, and through a table: for a budget in cycles.

    Attributes
    ----------
    alive : dict of str to Tensor of bool, or None
        Groups that survived the last hard prune, by layer.
    pruned : bool
        Whether the last prune has been: from here on a checkpoint may be kept.
    """

    def __init__(self, linears: Mapping[str, nn.Linear], config: PruneConfig, schedule: Schedule,
                 measure: Measure, *, table: tuple[str, nn.Embedding] | None = None,
                 seed: int = 0, outputs: tuple[Sequence[str], Sequence[str]] = ((), ())):
        self.linears, self.config, self.schedule = dict(linears), config, schedule
        self.measure, self.seed, self.outputs = measure, seed, outputs
        self.table = table[0] if table else None
        self.weights: dict[str, nn.Parameter] = {
            name: _parameter(module) for name, module in linears.items()}
        if table:
            self.weights[table[0]] = _parameter(table[1])
        self.cut = (config.structure, config.p, config.q)
        self.alive: dict[str, torch.Tensor] | None = None
        self.pruned = False
        self.compression = config.compression
        self.penalty: GroupPenalty | None = None
        self.movement: Movement | None = None
        self._dead: dict[str, torch.Tensor] = {}
        self._updates = 0
        if config.method == "movement" and schedule.prune_step:
            self.movement = Movement(self.weights, config, schedule.prune_step, self._choose)

    # The steps of a run

    def begin_step(self, step: int, optimizer: torch.optim.Optimizer | None = None) -> bool:
        """Tell which step begins: γ is computed and groups are pruned where it is time.

        Returns
        -------
        bool
            Whether weights were changed.
        """
        changed = False
        for index, (when, compression) in enumerate(self.schedule.events):
            if when == step and not self.pruned:
                last = index == len(self.schedule.events) - 1
                self._prune(compression, last, optimizer)
                changed = True
        if step in self.schedule.milestones and not self.pruned:
            if self.penalty is None:
                inputs = self.measure(False) if self.config.saliency == "activation" else None
                self.penalty = GroupPenalty(self.weights, self.config, inputs)
            self.penalty.reweight()
            self._updates = self.penalty.updates
        return changed

    def loss(self) -> torch.Tensor | None:
        """The penalty's term of the loss, if it is one now."""
        if self.penalty is None or self.pruned or self.config.penalty != "loss":
            return None
        return self.penalty.loss()

    def to_weights(self) -> None:
        """Follow the weights to the device that the Trainer has put them on."""
        if self.alive is not None:
            self._set(self.alive)
        if self.movement is not None:
            self.movement.to_weights()

    def mask_gradients(self) -> None:
        """Gradients of dead weights become zero: before clipping, whose norm they would enter."""
        for name, dead in self._dead.items():
            if (gradient := self.weights[name].grad) is not None:
                gradient.masked_fill_(dead, 0)

    def before_optimizer(self, step: int) -> None:
        """Gradients are there, and whole."""
        if self.movement is not None and not self.pruned:
            self.movement.before_step(self.schedule.rate(step))
        self.mask_gradients()

    def after_optimizer(self, step: int) -> None:
        """The optimiser has been: shrink, and hold dead weights at zero."""
        if self.movement is not None and not self.pruned:
            self.movement.after_step(step)
        if (self.penalty is not None and not self.pruned
                and self.config.penalty == "decoupled"):
            self.penalty.shrink(self.schedule.share(step))
        self.hold()

    @torch.no_grad()
    def hold(self) -> None:
        """Set dead weights to exactly zero."""
        for name, dead in self._dead.items():
            self.weights[name].data.masked_fill_(dead, 0)

    @property
    def reweightings(self) -> int:
        """How often γ has been computed."""
        return self._updates

    def adopt(self, masks: Mapping[str, torch.Tensor]) -> None:
        """Hold masks that an earlier run chose; nothing else is pruned.

        Parameters
        ----------
        masks : mapping of str to Tensor of bool, shape (N, K)
        """
        self._set({name: group_rms(mask.float(), *self.cut) > 0 for name, mask in masks.items()})
        self.pruned = True

    def masks(self) -> dict[str, torch.Tensor]:
        """Surviving weights: bool of shape (N, K) by name; all of them before the prune."""
        if self.alive is None:
            return {name: torch.ones(weight.shape, dtype=torch.bool)
                    for name, weight in self.weights.items()}
        return {name: expand_groups(alive, *self.cut, self.weights[name].shape).cpu()
                for name, alive in self.alive.items()}

    # The prune

    @torch.no_grad()
    def _prune(self, compression: float, last: bool,
               optimizer: torch.optim.Optimizer | None) -> None:
        config = self.config
        moments: dict[str, torch.Tensor] = {}
        if config.reconstruct or (config.saliency == "activation"
                                  and config.method not in ("movement", "random")):
            moments = self.measure(True)
        strengths = self._strengths(moments)
        if last and config.cycles is not None:
            shapes = self._shapes(False)
            geometry = Geometry.of(config)
            masks, self.compression = masks_for_cycles(
                {name: strengths[name] for name in shapes}, shapes, config, geometry,
                config.cycles, raw=self.outputs[0], lut=self.outputs[1])
            alive = {name: group_rms(mask.float(), *self.cut) > 0 for name, mask in masks.items()}
            if self.table is not None:
                alive |= self._choose_some(strengths, [self.table], self.compression)
        else:
            alive = self._choose(strengths, compression)
        if self.alive is not None:  # whatever the masks were chosen by, what died stays dead
            alive = {name: groups & self.alive[name] for name, groups in alive.items()}
        self._set(alive)
        if self.movement is not None:  # a group that has just come back has its weights again
            self.movement.alive = alive
            self.movement.apply()
        if config.reconstruct:
            self._refit(moments)
        self.hold()
        if optimizer is not None:
            self._forget(optimizer)
        if last:
            self.pruned, self.penalty, self.movement = True, None, None

    def _strengths(self, moments: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What each group is worth to the method; dead ones nothing."""
        config = self.config
        if self.movement is not None:
            return self.movement.standing()
        found: dict[str, torch.Tensor] = {}
        generator = torch.Generator().manual_seed(self.seed)
        for name, weight in self.weights.items():
            if config.method == "random":
                grid = group_rms(weight.detach(), *self.cut)
                worth = torch.rand(grid.shape, generator=generator).to(grid.device)
            else:
                seen = None
                if config.saliency == "activation" and name in moments:
                    seen = mean_squares(moments[name])
                worth = group_rms(weight.detach(), *self.cut, seen)
            if self.alive is not None:
                worth = torch.where(self.alive[name], worth, -1.0)
            found[name] = worth
        return found

    def _shapes(self, table: bool = True) -> dict[str, tuple[int, int]]:
        return {name: (weight.shape[0], weight.shape[1]) for name, weight in self.weights.items()
                if table or name != self.table}

    def _choose(self, strengths: Mapping[str, torch.Tensor], compression: float,
                ) -> dict[str, torch.Tensor]:
        alive = self._choose_some(strengths, list(self._shapes(False)), compression)
        if self.table is not None:
            alive |= self._choose_some(strengths, [self.table], compression)
        return alive

    def _choose_some(self, strengths: Mapping[str, torch.Tensor], names: list[str],
                     compression: float) -> dict[str, torch.Tensor]:
        shapes = {name: shape for name, shape in self._shapes().items() if name in names}
        config = replace(self.config, compression=compression,
                         pad=self.config.pad or self.table in names)
        return choose_groups({name: strengths[name] for name in shapes}, shapes, config)

    def _set(self, alive: Mapping[str, torch.Tensor]) -> None:
        self.alive = {name: groups.to(self.weights[name].device)
                      for name, groups in alive.items()}
        self._dead = {name: ~expand_groups(groups, *self.cut, self.weights[name].shape)
                      for name, groups in self.alive.items()}

    def _refit(self, moments: Mapping[str, torch.Tensor]) -> None:
        for name, module in self.linears.items():
            weight, bias = reconstruct(
                module.weight.detach(), None if module.bias is None else module.bias.detach(),
                ~self._dead[name], moments[name], self.config.damping)
            module.weight.data.copy_(weight)
            if bias is not None:
                module.bias.data.copy_(bias)

    def _forget(self, optimizer: torch.optim.Optimizer) -> None:
        """Zero what the optimiser remembers of dead weights, so that none moves one."""
        inner = getattr(optimizer, "optimizer", optimizer)  # accelerate wraps it
        for name, dead in self._dead.items():
            for moment in inner.state.get(self.weights[name], {}).values():
                if isinstance(moment, torch.Tensor) and moment.shape == dead.shape:
                    moment.masked_fill_(dead, 0)

    # What a checkpoint must keep

    def save(self, folder: str | Path) -> None:
        """Write masks, γ, scores and whole weights beside a checkpoint, whole or not at all."""
        tensors: dict[str, torch.Tensor] = {}
        parts = self._parts()
        for part, values in parts.items():
            tensors |= {f"{part}/{name}": value.detach().cpu().contiguous()
                        for name, value in values.items()}
        note = {"pruned": self.pruned, "compression": self.compression,
                "updates": self._updates, "parts": sorted(part for part in parts if parts[part])}
        write_whole(Path(folder) / STATE_FILE, save(tensors, {"sparseloom": json.dumps(note)}))

    def _parts(self) -> dict[str, dict[str, torch.Tensor]]:
        parts: dict[str, dict[str, torch.Tensor]] = {}
        if self.alive is not None:
            parts["alive"] = self.alive
        if self.penalty is not None:
            parts["gamma"], parts["inputs"] = self.penalty.gamma, self.penalty.inputs
        if self.movement is not None:
            parts["scores"], parts["whole"] = self.movement.scores, self.movement.whole
            parts["moving"] = self.movement.alive
        return parts

    def load(self, folder: str | Path) -> None:
        """Take up what :meth:`save` wrote; the model's weights are loaded already.

        Raises
        ------
        InputError
            If the file is missing, damaged or of another model.
        """
        path = Path(folder) / STATE_FILE
        parts: dict[str, dict[str, torch.Tensor]] = {}
        try:
            with safe_open(path, "pt") as file:  # pyright: ignore[reportGeneralTypeIssues]
                note: dict[str, Any] = json.loads((file.metadata() or {})["sparseloom"])
                for key in file.keys():  # noqa: SIM118 - not a mapping
                    part, _, name = key.partition("/")
                    parts.setdefault(part, {})[name] = file.get_tensor(key)
            if sorted(parts) != note["parts"]:
                raise ValueError(f"{', '.join(parts) or 'nothing'} of {', '.join(note['parts'])}")
            for part, values in parts.items():
                if (set(values) != set(self.weights)
                        if part != "inputs" else not set(values) <= set(self.weights)):
                    raise ValueError(f"{part} of other layers")
                for name, value in values.items():
                    self._check_shape(part, name, value)
            device = next(iter(self.weights.values())).device
            parts = {part: {name: value.to(device) for name, value in values.items()}
                     for part, values in parts.items()}
            self.pruned, self.compression = bool(note["pruned"]), float(note["compression"])
            self._updates = int(note["updates"])
            if "alive" in parts:
                self._set(parts["alive"])
            if "gamma" in parts:
                self.penalty = GroupPenalty(self.weights, self.config, parts.get("inputs"))
                self.penalty.gamma, self.penalty.updates = parts["gamma"], self._updates
            if self.pruned:
                self.movement = None
            elif self.movement is not None:
                self.movement.scores, self.movement.whole = parts["scores"], parts["whole"]
                self.movement.alive = parts["moving"]
        except (OSError, SafetensorError, ValueError, KeyError, RuntimeError) as error:
            raise InputError(f"{path}: expected the pruning of this model, found: {error}"
                             ) from None

    def _check_shape(self, part: str, name: str, value: torch.Tensor) -> None:
        shape = self.weights[name].shape
        wanted = {"whole": tuple(shape), "inputs": (shape[1],)}.get(
            part, group_grid(shape, *self.cut, True))
        if tuple(value.shape) != wanted:
            raise ValueError(f"{part} of {name} with shape {tuple(value.shape)}, not {wanted}")


def _parameter(module: nn.Module) -> nn.Parameter:
    weight = module.weight
    assert isinstance(weight, nn.Parameter)
    return weight
