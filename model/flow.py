"""The flow in four calls: fine-tune a checkpoint, prune one, quantise one, score one."""
from __future__ import annotations

import copy
import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from torch import nn

from sparseloom.model import prune as pruning
from sparseloom.model.arguments import training_arguments
from sparseloom.model.attention import attention_name
from sparseloom.model.bfloat16 import bfloat16_is_faster
from sparseloom.model.budget import Geometry, model_cycles
from sparseloom.model.card import scores_of
from sparseloom.model.checkpoint import Checkpoint, load_checkpoint, state_hash
from sparseloom.model.config import DEFAULT_ARGUMENTS, PruneConfig, QuantizeConfig, TrainConfig
from sparseloom.model.data import RowDataset
from sparseloom.model.encode import Encoder
from sparseloom.model.errors import InputError
from sparseloom.model.evaluate import Evaluation, score
from sparseloom.model.export import (
    read_pruning,
    read_training,
    write_export,
    write_finetuned,
    write_pruned,
)
from sparseloom.model.folder import check_target
from sparseloom.model.groups import check_blocks, surviving
from sparseloom.model.heads import Head, head_of
from sparseloom.model.integer_model import make_integer
from sparseloom.model.layers import EncoderLinear, attention_layers, base_model, encoder_layers
from sparseloom.model.masks import read_masks
from sparseloom.model.observe import (
    activation_function,
    draw_items,
    input_moments,
    value_ranges,
)
from sparseloom.model.packed.artefact import artefact_path, read_artefact, stored_bits_per_weight
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.products import FIELD as ATTENTION
from sparseloom.model.products import Attention
from sparseloom.model.pruner import GroupPruner
from sparseloom.model.qat import fake_quantize
from sparseloom.model.quantize import quantize_linear
from sparseloom.model.reports import FinetuneReport, PruneReport, QuantizeReport
from sparseloom.model.schedule import Schedule, make_schedule
from sparseloom.model.tasks import Task
from sparseloom.model.teacher import Teacher
from sparseloom.model.trainer import SparseTrainer, optimizer_steps
from sparseloom.model.work import DENSE, fingerprint, is_first_process, working_folder
from sparseloom.model.write import write_whole


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
    def model(self) -> Any:
        return self.checkpoint.model

    def score(self, title: str, batch: int) -> Evaluation:
        return score(self.model, self.head, self.encoder, self.task.validation, batch=batch,
                     progress=self.progress, title=title)

    def dataset(self) -> RowDataset:
        return RowDataset(self.task.train, self.head, self.short)


def _start(ref: str | Path, task: Task, max_tokens: int, seed: int, progress: Progress | None,
           name: str | None = None) -> _Work:
    checkpoint = load_checkpoint(ref, task, name=name, seed=seed)
    limit = checkpoint.max_tokens
    return _Work(checkpoint=checkpoint, task=task, head=head_of(task),
                 encoder=Encoder(checkpoint.tokenizer, limit),
                 short=Encoder(checkpoint.tokenizer, min(limit, max_tokens)),
                 linears=encoder_layers(checkpoint.model), progress=progress)


def _need_rows(task: Task) -> None:
    if not task.train:
        raise InputError(f"task {task.name}: expected training rows, found none")


def _is_bfloat16(config: TrainConfig) -> bool:
    return config.precision == "bfloat16" or (config.precision == "auto"
                                              and bfloat16_is_faster())


def _precision(config: TrainConfig, folder: Path) -> bool:
    """Whether a run uses bfloat16; an interrupted one goes on as it began."""
    note = folder / "precision.txt"
    if note.is_file():
        return note.read_text(encoding="utf-8") == "bfloat16"
    found = _is_bfloat16(config)
    if is_first_process():
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(note, b"bfloat16" if found else b"float32")
    return found


def _is_one_of_several() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def _wait_for_all() -> None:
    """The first process has opened the working folder: all may look into it."""
    if _is_one_of_several():
        torch.distributed.barrier()


def _from_first(value: bool) -> bool:
    """What the first process found: a trial of speed may end otherwise elsewhere."""
    if not _is_one_of_several():
        return value
    found = [value]
    torch.distributed.broadcast_object_list(found, 0)
    return found[0]


def _resolved(config: TrainConfig) -> dict[str, Any]:
    """Settings of training with our defaults filled in."""
    return asdict(config) | {"arguments": {**DEFAULT_ARGUMENTS, **config.arguments}}


def _teacher(work: _Work, ref: str | Path | None, config: TrainConfig) -> Teacher | None:
    """The dense model to copy: another checkpoint, or the one that pruning begins with."""
    if not config.distil and not config.distil_hidden:
        return None
    if ref is None:
        model = copy.deepcopy(work.model)
    else:
        other = load_checkpoint(ref, work.task)
        if other.new_head:
            raise InputError(f"teacher {ref}: expected a head for {work.task.name}, found none; "
                             "fine-tune it first")
        model = other.model
        one, two = (each.base_model.config for each in (model, work.model))
        if config.distil_hidden and (
                (one.hidden_size, one.num_hidden_layers)
                != (two.hidden_size, two.num_hidden_layers)):
            raise InputError(
                f"teacher {ref}: expected {two.num_hidden_layers} layers of "
                f"{two.hidden_size} as in the model, found {one.num_hidden_layers} of "
                f"{one.hidden_size}; distil_hidden 0 takes any")
    return Teacher(model, work.head, hidden=bool(config.distil_hidden),
                   cache_bytes=config.teacher_cache_mb << 20)


def _settings(kind: str, work: _Work, source: str, teacher: str | Path | None,
              **parts: Any) -> dict[str, Any]:
    """All that decides a run's result."""
    rows = [[*row.sentences, row.label] for row in work.task.train]
    return {"kind": kind, "model": source, "teacher": _mark(teacher),
            "task": work.task.name, "head": work.task.head, "rows": fingerprint(rows), **parts}


def _mark(ref: str | Path | None) -> str | None:
    """What tells one teacher from another: the weights in a folder, or a hub name."""
    if ref is None or not Path(ref).is_dir():
        return None if ref is None else str(ref)
    digest = hashlib.sha256()
    for path in sorted(Path(ref).glob("*.safetensors")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def finetune_checkpoint(model_ref: str | Path, task: Task, out_dir: str | Path, *,
                        train: TrainConfig = TrainConfig(), teacher: str | Path | None = None,
                        name: str | None = None, restart: bool = False,
                        progress: Progress | None = None) -> FinetuneReport:
    """Fine-tune a checkpoint for a task; nothing is pruned.

    An interrupted run goes on where its last checkpoint was, if it is called the same way again.

    Parameters
    ----------
    model_ref : str or path
        A local checkpoint folder or a hub name.
    out_dir : str or path
        Becomes a plain Hugging Face checkpoint: whole or not at all.
    teacher : str or path, optional
        A dense checkpoint to copy beside the labels, as :class:`TrainConfig` weighs it.
    name : str, optional
        What to call the model in notes and reports: by default the hub name, or the folder's.
    restart : bool
        Discard what an interrupted run left.

    Raises
    ------
    InputError
        If checkpoint, rows or settings cannot be used, the loss becomes no number, or the result
        cannot be written.
    """
    began = time.perf_counter()
    check_target(out_dir)
    _need_rows(task)
    work = _start(model_ref, task, train.max_tokens, train.seed, progress, name)
    source = state_hash(work.model)
    training_arguments("", train.arguments, bfloat16=False)  # refuses wrong ones, joins processes
    main = is_first_process()
    settings = _settings("finetune", work, source, teacher, train=_resolved(train))
    with working_folder(out_dir, settings, restart=restart, main=main) as folder:
        _wait_for_all()
        copied = _teacher(work, teacher, train) if teacher is not None else None
        steps = _train(work, train, folder, title="fine-tune", teacher=copied)
        evaluation = work.score("score of the dense model", train.eval_batch)
        note = {"version": 1, "source": {"model": work.checkpoint.name, "sha256": source},
                "score": {"dense": evaluation.scores}, "metric": task.metric, "task": task.name,
                "steps": steps, "train": _resolved(train), "distilled": teacher is not None}
        if main:
            write_finetuned(out_dir, work.checkpoint, task, note)
    return FinetuneReport(
        task=task.name, model=work.checkpoint.name, metric=task.metric,
        scores=evaluation.scores, found=evaluation.found, steps=steps,
        seconds=time.perf_counter() - began, checkpoint=Path(out_dir))


def _train(work: _Work, config: TrainConfig, folder: Path, *, title: str,
           teacher: Teacher | None = None, pruner: GroupPruner | None = None,
           **overrides: Any) -> int:
    """One run of the Trainer; the number of its steps."""
    arguments = training_arguments(folder / "checkpoints", {**config.arguments, **overrides},
                                   bfloat16=_from_first(_precision(config, folder)))
    evaluated = arguments.eval_strategy != "no"
    trainer = SparseTrainer(
        work.model, arguments, config, head=work.head, encoder=work.short,
        train_dataset=work.dataset(), tokenizer=work.checkpoint.tokenizer,
        eval_dataset=RowDataset(work.task.validation, work.head, work.encoder)
        if evaluated else None,
        teacher=teacher, pruner=pruner, progress=work.progress, title=title)
    steps = trainer.run()
    work.model.to("cpu")
    return steps


def prune_checkpoint(model_ref: str | Path, task: Task, out_dir: str | Path, *,
                     prune: PruneConfig = PruneConfig(), train: TrainConfig = TrainConfig(),
                     teacher: str | Path | None = None, name: str | None = None,
                     dense_score: bool = True, restart: bool = False,
                     progress: Progress | None = None) -> PruneReport:
    """Prune a checkpoint for a task: penalised training, hard prune, refit, masked retraining.

    A head that the checkpoint does not bring is fine-tuned first. The dense model teaches the
    pruned one. An interrupted run goes on where its last checkpoint was, masks and γ included, if
    it is called the same way again.

    Parameters
    ----------
    model_ref : str or path
        A local checkpoint folder or a hub name.
    out_dir : str or path
        Becomes a plain Hugging Face checkpoint with zeros in place, its tokenizer, masks, notes
        and a model card: whole or not at all.
    teacher : str or path, optional
        A dense checkpoint to copy; by default the one that pruning begins with.
    name : str, optional
        What to call the model in notes and reports: by default the hub name, or the folder's.
    dense_score : bool
        Whether to score the dense model too.
    restart : bool
        Discard what an interrupted run left.

    Raises
    ------
    InputError
        If the checkpoint cannot be used, the groups do not fit its layers, the loss becomes no
        number, or the result cannot be written.
    """
    began = time.perf_counter()
    check_target(out_dir)
    _need_rows(task)
    work = _start(model_ref, task, train.max_tokens, train.seed, progress, name)
    for linear in work.linears:
        check_blocks(linear.name, linear.module.weight.shape, prune.p, prune.q, prune.pad)
    source = state_hash(work.model)
    plan = training_arguments("", train.arguments, bfloat16=False)
    main = is_first_process()
    steps, epoch_steps = optimizer_steps(len(task.train), plan)
    schedule = make_schedule(
        prune, steps, epoch_steps, penalty_rate=train.penalty_rate,
        warmup=plan.get_warmup_steps(steps) / max(1, steps))
    settings = _settings("prune", work, source, teacher, train=_resolved(train),
                         prune=asdict(prune))
    with working_folder(out_dir, settings, restart=restart, main=main) as folder:
        _wait_for_all()
        finetuned = _new_head(work, train, folder) if work.checkpoint.new_head else 0
        dense = work.score("score of the dense model", train.eval_batch) if dense_score else None

        copied = _teacher(work, teacher, train)
        pruner = _pruner(work, prune, train, schedule)
        trained = _train(work, train, folder / "prune", title="prune and retrain", teacher=copied,
                         pruner=pruner)
        if not pruner.pruned:
            raise InputError(f"prune_at: expected the prune at step {schedule.prune_step}, found "
                             f"a run that ended after {trained} steps")
        pruned = work.score("score of the pruned model", train.eval_batch)

        masks = pruner.masks()
        inner = {linear.name: masks[linear.name] for linear in work.linears}
        compression, densities = pruning.compression_of(inner), pruning.densities_of(masks)
        parameters = sum(parameter.numel() for parameter in work.model.parameters())
        dead = sum(int((~mask).sum()) for mask in masks.values())
        geometry = Geometry.of(prune)
        raw, lut = _outputs(work.linears)
        cycles, dense_cycles = (
            model_cycles(some, geometry, p=prune.p, raw=raw, lut=lut)
            for some in (inner, {name: torch.ones_like(mask) for name, mask in inner.items()}))
        note = {
            "version": 2, "structure": prune.structure, "p": prune.p, "q": prune.q,
            "pad": prune.pad, "compression": compression,
            "model_compression": parameters / (parameters - dead),
            "densities": densities, "cycles": cycles, "dense_cycles": dense_cycles,
            "source": {"model": work.checkpoint.name, "sha256": source},
            "score": ({"dense": dense.scores} if dense else {}) | {"pruned": pruned.scores},
            "metric": task.metric, "task": task.name, "reweightings": pruner.reweightings,
            "steps": finetuned + trained, "prune": asdict(prune), "train": _resolved(train)}
        if main:
            write_pruned(out_dir, work.checkpoint, task, note, masks)
    return PruneReport(
        task=task.name, model=work.checkpoint.name, metric=task.metric,
        dense_scores=dense.scores if dense else None, pruned_scores=pruned.scores,
        found=pruned.found, compression=compression, model_compression=note["model_compression"],
        densities=densities, cycles=cycles, dense_cycles=dense_cycles,
        reweightings=pruner.reweightings, steps=finetuned + trained,
        seconds=time.perf_counter() - began, checkpoint=Path(out_dir))


def _outputs(linears: Sequence[EncoderLinear]) -> tuple[list[str], list[str]]:
    """Layers that leave as sums, and those that leave through a table."""
    return ([linear.name for linear in linears if linear.residual and linear.activation is None],
            [linear.name for linear in linears if linear.activation is not None])


def _new_head(work: _Work, config: TrainConfig, folder: Path) -> int:
    """Fine-tune a head that the checkpoint lacks, once; steps taken."""
    done = folder / DENSE
    if done.is_dir():
        again = load_checkpoint(done, work.task)
        work.model.load_state_dict(again.model.state_dict())
        return int((read_training(done) or {}).get("steps", 0))
    steps = _train(work, config, folder / "finetune", title="fine-tune a new head",
                   learning_rate=config.head_rate, num_train_epochs=config.head_epochs,
                   max_steps=config.head_steps or -1)
    if is_first_process():
        note = {"version": 1, "task": work.task.name, "metric": work.task.metric, "steps": steps,
                "train": _resolved(config)}
        write_finetuned(done, work.checkpoint, work.task, note)
    return steps


def _pruner(work: _Work, prune: PruneConfig, train: TrainConfig, schedule: Schedule,
            ) -> GroupPruner:
    """The pruner of a run, which measures inputs on training rows."""
    seen = draw_items(work.task.train, work.head, train.calibration_rows, train.seed)

    def measure(full: bool) -> dict[str, torch.Tensor]:
        return input_moments(work.model, work.linears, work.short, seen, full=full,
                             progress=work.progress, title="measure inputs for the prune"
                             if full else "measure inputs")

    table = _word_table(work.model) if prune.embeddings else None
    return GroupPruner({linear.name: linear.module for linear in work.linears}, prune, schedule,
                       measure, table=table, seed=train.seed, outputs=_outputs(work.linears))


def _word_table(model: nn.Module) -> tuple[str, nn.Embedding]:
    """The word embeddings, by the name that they have in the base model."""
    base: Any = base_model(model)
    table = base.get_input_embeddings()
    name = next((name for name, part in base.named_modules() if part is table), None)
    if not isinstance(table, nn.Embedding) or name is None:
        raise InputError(f"embeddings: expected a table of word embeddings, found none in "
                         f"{type(base).__name__}")
    return name, table


def quantize_checkpoint(model_ref: str | Path, task: Task, out_dir: str | Path, *,
                        quantize: QuantizeConfig = QuantizeConfig(),
                        train: TrainConfig = TrainConfig(), evaluate: bool = True,
                        structure: str = "column", p: int = 24, q: int = 16, pad: bool = False,
                        teacher: str | Path | None = None, name: str | None = None,
                        restart: bool = False, progress: Progress | None = None,
                        ) -> QuantizeReport:
    """Quantise a checkpoint and write its artefact folder, whole or not at all.

    Parameters
    ----------
    model_ref : str or path
        What :func:`prune_checkpoint` wrote, or any dense checkpoint, which gets full masks.
    train : TrainConfig
        Of quantisation-aware retraining, where ``quantize.qat_steps`` asks for it.
    evaluate : bool
        Whether to score the integer model on the validation rows.
    structure, p, q, pad
        Used only for a dense checkpoint; a pruned one knows its own.
    teacher : str or path, optional
        To copy in retraining; by default the checkpoint before it.
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
    _need_rows(task)
    note = read_pruning(model_ref)
    if note is not None:
        structure, p, q = note["structure"], note["p"], note["q"]
        pad = bool(note.get("pad", False))
    shape = PruneConfig(structure=structure, p=p, q=q, pad=pad)  # checks them
    name = name or (note["source"].get("model") if note else None)
    work = _start(model_ref, task, quantize.max_tokens, quantize.seed, progress, name)
    name = work.checkpoint.name
    masks = _masks(work, shape, model_ref, dense=note is None)
    items = draw_items(task.train, work.head, quantize.calibration_rows, quantize.seed)
    ranges = value_ranges(work.model, work.linears, work.short, items,
                          calibration=quantize.calibration, percentile=quantize.percentile,
                          progress=progress)
    if evaluate and work.checkpoint.new_head:
        raise InputError(f"checkpoint {model_ref}: expected a head for {task.name}, found none; "
                         "fine-tune it first")
    floats = _float_scores(model_ref, note, task.metric)
    if quantize.qat_steps:
        _retrain_quantised(work, quantize, train, shape, masks, ranges, out_dir, teacher, restart)
        floats = {}  # of other weights
        if evaluate:
            state = "dense" if note is None else "pruned"
            floats = {state: work.score("score after retraining", quantize.eval_batch).scores}
    moments = {}
    if quantize.compensates:
        moments = input_moments(work.model, work.linears, work.short, items, full=True,
                                progress=progress, title="measure inputs for rounding")
    layers = _quantize_layers(work, shape, quantize, masks, ranges, moments)
    total = sum(layer.in_features * layer.out_features for layer in layers)
    alive = sum(layer.surviving_weights for layer in layers)
    densities = {layer.name: layer.density for layer in layers}
    hash_here = state_hash(work.model)
    checkpoint = replace(work.checkpoint, model=copy.deepcopy(work.model))  # keeps its floats
    result = None
    if evaluate:
        make_integer(work.model, {layer.name: layer for layer in layers})
        result = work.score("score of the integer model", quantize.eval_batch)
    metadata = {
        "source": {"model": name,
                   "sha256": (note["source"].get("sha256") if note else None) or hash_here},
        "checkpoint_sha256": hash_here, "task": task.name, "metric": task.metric,
        "structure": structure, "p": p, "q": q, "pad": pad,
        "compression": total / alive if alive else None, "densities": densities,
        "score": {**floats, **({"integer": result.scores} if result else {})},
        "quantize": asdict(quantize), ATTENTION: _attention_note(work)}
    if is_first_process():
        write_export(out_dir, checkpoint, task, layers, pruning=note, metadata=metadata,
                     masks=masks if note is not None else None)
    return QuantizeReport(
        task=task.name, model=name, metric=task.metric,
        float_scores=floats.get("dense" if note is None else "pruned"),
        integer_scores=result.scores if result else None,
        found=result.found if result else None,
        compression=total / alive if alive else float("inf"), densities=densities,
        stored_bits_per_weight=max(stored_bits_per_weight(layer) for layer in layers),
        qat_steps=quantize.qat_steps, seconds=time.perf_counter() - began, artefact=Path(out_dir))


def _attention_note(work: _Work) -> list[dict[str, Any]]:
    """Attention's products, for the metadata: of none, if they do not run on the unit."""
    base: Any = base_model(work.model)
    if not hasattr(base, "set_attn_implementation"):
        return []
    notes = []
    for roles in attention_layers(work.linears).values():
        names = {role: linear.name for role, linear in roles.items()}
        heads = int(base.config.num_attention_heads)
        notes.append(Attention(name=attention_name(names), heads=heads, **names,
                               head_size=roles["key"].module.out_features // heads).as_dict())
    return notes


def _float_scores(ref: str | Path, pruned: Mapping[str, Any] | None, metric: str,
                  ) -> dict[str, dict[str, float]]:
    """What the checkpoint's own note says that it scored, before rounding."""
    return scores_of(pruned if pruned is not None else read_training(ref), metric)


def _masks(work: _Work, shape: PruneConfig, ref: str | Path, *, dense: bool,
           ) -> dict[str, torch.Tensor]:
    """The masks beside a checkpoint; of one without them, its groups that are not wholly zero."""
    for linear in work.linears:
        check_blocks(linear.name, linear.module.weight.shape, shape.p, shape.q, shape.pad)
    weights = {linear.name: linear.module.weight.detach() for linear in work.linears}
    if dense:
        return {name: torch.ones_like(weight, dtype=torch.bool)
                for name, weight in weights.items()}
    stored = (read_masks(ref) if Path(ref).is_dir() else None) or {}
    masks = {name: surviving(weight, shape.structure, shape.p, shape.q)
             for name, weight in weights.items()}
    for name, mask in stored.items():
        if name not in weights:
            masks[name] = torch.from_numpy(mask)  # of the word embeddings
        elif mask.shape != tuple(weights[name].shape):
            raise InputError(f"masks of {name}: expected shape {tuple(weights[name].shape)} as in "
                             f"the checkpoint, found {mask.shape}")
        else:
            masks[name] = torch.from_numpy(mask)
            if bool((weights[name][~masks[name]] != 0).any()):
                raise InputError(f"masks of {name}: expected zeros where they prune, found other "
                                 "weights in the checkpoint")
    return masks


def _retrain_quantised(work: _Work, quantize: QuantizeConfig, train: TrainConfig,
                       shape: PruneConfig, masks: Mapping[str, torch.Tensor],
                       ranges: Mapping[str, Mapping[str, tuple[float, float]]],
                       out_dir: str | Path, teacher: str | Path | None, restart: bool) -> None:
    """Train with the integers' rounding in place; pruned weights stay at zero."""
    schedule = Schedule(steps=quantize.qat_steps, prune_step=0, events=(), milestones=())
    linears = {linear.name: linear.module for linear in work.linears}
    table = _word_table(work.model) if masks.keys() - linears.keys() else None
    pruner = GroupPruner(linears, shape, schedule, lambda full: {}, table=table)
    pruner.adopt({name: masks[name] for name in pruner.weights})
    training_arguments("", train.arguments, bfloat16=False)  # joins other processes, if any
    settings = _settings("quantize", work, state_hash(work.model), teacher,
                         train=_resolved(train), quantize=asdict(quantize))
    with working_folder(out_dir, settings, restart=restart, main=is_first_process()) as folder:
        _wait_for_all()
        copied = _teacher(work, teacher, train)
        with fake_quantize(work.model, work.linears, ranges, quantize.weight_bits):
            _train(work, train, folder, title="retrain with rounding", teacher=copied,
                   pruner=pruner, max_steps=quantize.qat_steps, learning_rate=quantize.qat_rate,
                   seed=quantize.seed)


def _quantize_layers(work: _Work, shape: PruneConfig, config: QuantizeConfig,
                     masks: Mapping[str, torch.Tensor],
                     ranges: Mapping[str, Mapping[str, tuple[float, float]]],
                     moments: Mapping[str, torch.Tensor]) -> list[PackedLayer]:
    layers = []
    for linear in work.linears:
        bias = linear.module.bias
        seen = ranges[linear.name]
        layers.append(quantize_linear(
            name=linear.name, weight=linear.module.weight.detach().numpy(),
            keep=masks[linear.name].numpy(),
            bias=None if bias is None else bias.detach().numpy(), structure=shape.structure,
            p=shape.p, q=shape.q, input_range=seen["input"], output_range=seen["output"],
            raw=linear.residual and linear.activation is None,
            activation=activation_function(work.model, linear),
            activation_range=seen.get("activation"), weight_bits=config.weight_bits,
            moments=moments[linear.name].numpy() if moments else None, operand=linear.operand))
    return layers


def evaluate_checkpoint(model_ref: str | Path, task: Task, *, integer: bool = False,
                        batch: int = 32, progress: Progress | None = None) -> Evaluation:
    """A checkpoint's scores on a task's validation rows.

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
                         "fine-tune it first")
    if artefact is not None:
        make_integer(work.model, artefact.layers)
    return work.score("score of the integer model" if integer else "score", batch)
