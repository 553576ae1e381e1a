"""The flow in three calls: prune a checkpoint, quantise one, score one."""
from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from torch import nn

from sparseloom.model import prune as pruning
from sparseloom.model.checkpoint import Checkpoint, load_checkpoint, state_hash
from sparseloom.model.config import PruneConfig, QuantizeConfig, TrainConfig
from sparseloom.model.encode import Encoder
from sparseloom.model.errors import InputError
from sparseloom.model.evaluate import predict, score
from sparseloom.model.export import read_pruning, write_export, write_pruned
from sparseloom.model.folder import check_target
from sparseloom.model.groups import check_blocks, surviving
from sparseloom.model.heads import Head, head_of
from sparseloom.model.integer_model import make_integer
from sparseloom.model.layers import EncoderLinear, base_model, encoder_layers
from sparseloom.model.observe import draw_items, input_moments, mean_squares, value_ranges
from sparseloom.model.packed.artefact import artefact_path, read_artefact, stored_bits_per_weight
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.penalty import GroupPenalty
from sparseloom.model.quantize import quantize_linear
from sparseloom.model.reconstruct import reconstruct
from sparseloom.model.tasks import Row, Task
from sparseloom.model.train import Lesson, bfloat16_is_faster, draw_batches, hold_masks, train


@dataclass(frozen=True, kw_only=True)
class PruneReport:
    """What pruning did.

    Parameters
    ----------
    dense_score, pruned_score : float
        The task's metric on the validation rows; 1 is best.
    compression : float
        All weights of the encoder's Linear layers over the surviving ones, counted in the result.
    densities : dict of str to float
        Surviving share of each layer.
    steps : int
        Optimiser steps of all stages.
    seconds : float
        Wall time, scores and writing included.
    checkpoint : Path
    """

    task: str
    model: str
    metric: str
    dense_score: float
    pruned_score: float
    compression: float
    densities: dict[str, float]
    steps: int
    seconds: float
    checkpoint: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"checkpoint": str(self.checkpoint)}


@dataclass(frozen=True, kw_only=True)
class QuantizeReport:
    """What quantisation did.

    Parameters
    ----------
    float_score, integer_score : float, optional
        Of the checkpoint, as its pruning noted it, and of the integer model. The latter is None
        where none was asked for.
    stored_bits_per_weight : float
        Weights and masks over surviving weights, of the worst layer.
    """

    task: str
    model: str
    metric: str
    float_score: float | None
    integer_score: float | None
    compression: float
    densities: dict[str, float]
    stored_bits_per_weight: float
    seconds: float
    artefact: Path

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return asdict(self) | {"artefact": str(self.artefact)}


@dataclass(kw_only=True, eq=False)
class _Work:
    """A checkpoint on its way through the stages."""

    checkpoint: Checkpoint
    task: Task
    head: Head
    encoder: Encoder        # inputs as long as the model takes them, for scores
    short: Encoder          # inputs cut for training and calibration
    linears: list[EncoderLinear]
    progress: Progress | None

    @property
    def model(self) -> nn.Module:
        return self.checkpoint.model

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        return {linear.name: _weight(linear) for linear in self.linears}

    def score(self, title: str, batch: int) -> float:
        return score(self.model, self.head, self.encoder, self.task.validation, batch=batch,
                     progress=self.progress, title=title)


def _weight(linear: EncoderLinear) -> nn.Parameter:
    weight = linear.module.weight
    assert isinstance(weight, nn.Parameter)
    return weight


def _start(ref: str | Path, task: Task, max_tokens: int, seed: int, progress: Progress | None,
           name: str | None = None) -> _Work:
    checkpoint = load_checkpoint(ref, task, name=name, seed=seed)
    limit = checkpoint.max_tokens
    return _Work(checkpoint=checkpoint, task=task, head=head_of(task),
                 encoder=Encoder(checkpoint.tokenizer, limit),
                 short=Encoder(checkpoint.tokenizer, min(limit, max_tokens)),
                 linears=encoder_layers(checkpoint.model), progress=progress)


def prune_checkpoint(model_ref: str | Path, task: Task, out_dir: str | Path, *,
                     prune: PruneConfig = PruneConfig(), train: TrainConfig = TrainConfig(),
                     name: str | None = None, progress: Progress | None = None) -> PruneReport:
    """Prune a checkpoint for a task: penalised training, hard prune, refit, masked retraining.

    A classification head that the checkpoint does not bring is fine-tuned first. The dense model's
    answers, computed once, teach the pruned one.

    Parameters
    ----------
    model_ref : str or path
        A local checkpoint folder or a hub name.
    out_dir : str or path
        Becomes a plain Hugging Face checkpoint with zeros in place, its tokenizer, ``task.json``
        and ``pruning.json``: whole or not at all.
    name : str, optional
        What to call the model in notes and reports: by default the hub name, or the folder's.

    Raises
    ------
    InputError
        If the checkpoint cannot be used, the groups do not fit its layers, or the output folder
        holds something else.
    """
    began = time.perf_counter()
    check_target(out_dir)
    work = _start(model_ref, task, train.max_tokens, train.seed, progress, name)
    for linear in work.linears:
        check_blocks(linear.name, linear.module.weight.shape, prune.p, prune.q)
    bfloat16 = train.precision == "bfloat16" or (train.precision == "auto"
                                                 and bfloat16_is_faster())
    source = state_hash(work.model)
    finetuned = train.finetune_steps if work.checkpoint.new_head else 0
    if finetuned:
        _learn(work, train, bfloat16, finetuned, train.finetune_rate, "fine-tune", None, seed=0)
    dense = work.score("score of the dense model", train.eval_batch)

    teacher_rows = [_batches(work, train, steps, seed)
                    for seed, steps in ((1, train.penalty_steps), (2, train.retrain_steps))]
    items = [item for batches in teacher_rows for rows in batches for row in rows
             for item in work.head.items(row)]
    teacher = predict(work.model, work.head, work.short, items, batch=train.eval_batch,
                      progress=progress, title="teacher's answers") if train.distil else None
    seen = draw_items(task.train, work.head, train.calibration_rows, train.seed)

    penalty = None
    if train.penalty_steps:
        inputs = input_moments(work.model, work.linears, work.short, seen, full=False,
                               progress=progress) if prune.saliency == "activation" else None
        penalty = GroupPenalty(work.weights, prune, train.penalty_steps, inputs)
        _learn(work, train, bfloat16, train.penalty_steps, train.penalty_rate,
               "penalised training", teacher, seed=1, penalty=penalty)
    masks = _hard_prune(work, prune, seen)
    if train.retrain_steps:
        _learn(work, train, bfloat16, train.retrain_steps, train.retrain_rate,
               "masked retraining", teacher, seed=2, masks=masks)
    pruned = work.score("score of the pruned model", train.eval_batch)

    alive = {name: surviving(weight.detach(), prune.structure, prune.p, prune.q)
             for name, weight in work.weights.items()}
    compression, densities = pruning.compression_of(alive), pruning.densities_of(alive)
    note = {
        "version": 1, "structure": prune.structure, "p": prune.p, "q": prune.q,
        "compression": compression, "densities": densities,
        "source": {"model": work.checkpoint.name, "sha256": source},
        "score": {"dense": dense, "pruned": pruned}, "metric": task.metric, "task": task.name,
        "reweightings": penalty.updates if penalty else 0,
        "prune": asdict(prune) | {"strength": prune.effective_strength}, "train": asdict(train)}
    path = write_pruned(out_dir, work.checkpoint, task, note)
    return PruneReport(
        task=task.name, model=work.checkpoint.name, metric=task.metric, dense_score=dense,
        pruned_score=pruned, compression=compression, densities=densities,
        steps=finetuned + train.penalty_steps + train.retrain_steps,
        seconds=time.perf_counter() - began, checkpoint=path)


def _batches(work: _Work, config: TrainConfig, steps: int, seed: int) -> list[list[Row]]:
    return draw_batches(work.task.train, work.head, work.short, batch=config.batch, steps=steps,
                        seed=3 * config.seed + seed)


def _learn(work: _Work, config: TrainConfig, bfloat16: bool, steps: int, rate: float, title: str,
           teacher: Mapping[tuple[str, ...], torch.Tensor] | None, *, seed: int,
           penalty: GroupPenalty | None = None,
           masks: Mapping[str, torch.Tensor] | None = None) -> None:
    torch.manual_seed(config.seed)  # dropout
    lesson = Lesson(head=work.head, encoder=work.short, teacher=teacher, distil=config.distil,
                    batches=_batches(work, config, steps, seed))
    train(work.model, lesson, rate=rate, bfloat16=bfloat16, dropout=teacher is None,
          weights=work.weights, penalty=penalty, masks=masks, progress=work.progress, title=title)


def _hard_prune(work: _Work, config: PruneConfig, seen: list[tuple[str, ...]],
                ) -> dict[str, torch.Tensor]:
    """Choose the masks, refit the survivors, set the rest to zero."""
    moments: dict[str, torch.Tensor] = {}
    if config.reconstruct or config.saliency == "activation":
        moments = input_moments(work.model, work.linears, work.short, seen, full=True,
                                progress=work.progress, title="measure inputs for the prune")
    masks = pruning.prune_layers(work.weights, config,
                                 {name: mean_squares(value) for name, value in moments.items()})
    if config.reconstruct:
        for linear in work.linears:
            module = linear.module
            weight, bias = reconstruct(module.weight.detach(),
                                       None if module.bias is None else module.bias.detach(),
                                       masks[linear.name], moments[linear.name], config.damping)
            module.weight.data.copy_(weight)
            if bias is not None:
                module.bias.data.copy_(bias)
    hold_masks(work.weights, masks)
    return masks


def quantize_checkpoint(model_ref: str | Path, task: Task, out_dir: str | Path, *,
                        quantize: QuantizeConfig = QuantizeConfig(), evaluate: bool = True,
                        structure: str = "column", p: int = 24, q: int = 16,
                        name: str | None = None, progress: Progress | None = None,
                        ) -> QuantizeReport:
    """Quantise a checkpoint and write its artefact folder, whole or not at all.

    Parameters
    ----------
    model_ref : str or path
        What :func:`prune_checkpoint` wrote, or any dense checkpoint, which gets full masks.
    evaluate : bool
        Whether to score the integer model on the validation rows.
    structure, p, q
        Used only for a dense checkpoint; a pruned one knows its own.
    name : str, optional
        What to call the model: by default as its pruning did, or the hub name, or the folder's.

    Raises
    ------
    InputError
        If the checkpoint cannot be used, a scale does not fit the unit's numbers, or the output
        folder holds something else.
    """
    began = time.perf_counter()
    check_target(out_dir)
    note = read_pruning(model_ref)
    if note is not None:
        structure, p, q = note["structure"], note["p"], note["q"]
    shape = PruneConfig(structure=structure, p=p, q=q)  # checks them
    name = name or (note["source"].get("model") if note else None)
    work = _start(model_ref, task, quantize.max_tokens, quantize.seed, progress, name)
    name = work.checkpoint.name
    layers = _quantize_layers(work, shape, quantize, dense=note is None)
    total = sum(layer.in_features * layer.out_features for layer in layers)
    alive = sum(layer.surviving_weights for layer in layers)
    densities = {layer.name: layer.density for layer in layers}
    hash_here = state_hash(work.model)
    # Again, for its floats: the other one turns into integers.
    checkpoint = load_checkpoint(model_ref, task, name=name, seed=quantize.seed)
    result = None
    if evaluate:
        make_integer(work.model, {layer.name: layer for layer in layers})
        result = work.score("score of the integer model", quantize.eval_batch)
    written = note["score"] if note else {}
    metadata = {
        "source": {"model": name,
                   "sha256": (note["source"].get("sha256") if note else None) or hash_here},
        "checkpoint_sha256": hash_here, "task": task.name, "metric": task.metric,
        "structure": structure, "p": p, "q": q, "compression": total / alive if alive else None,
        "densities": densities, "score": {**written, "integer": result},
        "quantize": asdict(quantize)}
    path = write_export(out_dir, checkpoint, task, layers, pruning=note, metadata=metadata)
    return QuantizeReport(
        task=task.name, model=name, metric=task.metric, float_score=written.get("pruned"),
        integer_score=result, compression=total / alive if alive else float("inf"),
        densities=densities,
        stored_bits_per_weight=max(stored_bits_per_weight(layer) for layer in layers),
        seconds=time.perf_counter() - began, artefact=path)


def _quantize_layers(work: _Work, shape: PruneConfig, config: QuantizeConfig, *,
                     dense: bool) -> list[PackedLayer]:
    items = draw_items(work.task.train, work.head, config.calibration_rows, config.seed)
    ranges = value_ranges(work.model, work.linears, work.short, items, progress=work.progress)
    base, layers = base_model(work.model), []
    for linear in work.linears:
        weight = linear.module.weight.detach()
        check_blocks(linear.name, weight.shape, shape.p, shape.q)
        keep = (torch.ones_like(weight, dtype=torch.bool) if dense
                else surviving(weight, shape.structure, shape.p, shape.q))
        bias = linear.module.bias
        seen = ranges[linear.name]
        layers.append(quantize_linear(
            name=linear.name, weight=weight.numpy(), keep=keep.numpy(),
            bias=None if bias is None else bias.detach().numpy(), structure=shape.structure,
            p=shape.p, q=shape.q, input_range=seen["input"], output_range=seen["output"],
            raw=linear.residual and linear.activation is None,
            activation=_as_function(base, linear), activation_range=seen.get("activation"),
            weight_bits=config.weight_bits))
    return layers


def _as_function(base: nn.Module, linear: EncoderLinear):
    """An activation module as a function of float64 arrays, or None."""
    if linear.activation is None:
        return None
    module = base.get_submodule(linear.activation)

    def function(x: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return module(torch.from_numpy(np.asarray(x, dtype=np.float64))).numpy()
    return function


def evaluate_checkpoint(model_ref: str | Path, task: Task, *, integer: bool = False,
                        batch: int = 32, progress: Progress | None = None) -> float:
    """A checkpoint's score on a task's validation rows.

    Parameters
    ----------
    integer : bool
        Score the integer model; ``model_ref`` must be an artefact folder.

    Raises
    ------
    InputError
        If the checkpoint or its artefact cannot be used, or it has no head for the task.
    """
    artefact = read_artefact(model_ref) if integer else None
    if integer and artefact_path(model_ref) == Path(model_ref):
        raise InputError(f"checkpoint {model_ref}: expected the artefact's folder, found a file")
    work = _start(model_ref, task, 4, 0, progress)
    if work.checkpoint.new_head:
        raise InputError(f"checkpoint {model_ref}: expected a head for {task.name}, found none; "
                         "prune it first, which trains one")
    if artefact is not None:
        make_integer(work.model, artefact.layers)
    return work.score("score of the integer model" if integer else "score", batch)
