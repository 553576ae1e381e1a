"""Transformers' Trainer with what is ours: task heads, a teacher, pruning, and a stop on NaN.

Mixed precision, gradient accumulation, distributed data parallel, logging, checkpoints and their
resumption are the library's.
"""
from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from rich.progress import Progress
from safetensors import SafetensorError
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainingArguments
from transformers.trainer import TRAINER_STATE_NAME
from transformers.trainer_callback import PrinterCallback, ProgressCallback

from sparseloom.model.checkpoint import quiet
from sparseloom.model.config import TrainConfig
from sparseloom.model.data import Collator, LengthSampler, RowDataset
from sparseloom.model.encode import Encoder
from sparseloom.model.errors import DivergedError, InputError, cut
from sparseloom.model.heads import Head
from sparseloom.model.pruner import STATE_FILE, GroupPruner
from sparseloom.model.teacher import Teacher, hidden_loss
from sparseloom.model.write import system_reason

CHECKPOINT = "checkpoint-"


class SparseTrainer(Trainer):
    """Trains a model on the rows of a task, prunes it on the way if asked to.

    Parameters
    ----------
    model : PreTrainedModel
        Its Linear weights are what ``pruner`` holds.
    args : TrainingArguments
        See :func:`sparseloom.model.arguments.training_arguments`.
    config : TrainConfig
    head : Head
    encoder : Encoder
        Cuts rows to the length that is trained on.
    train_dataset, eval_dataset : RowDataset, optional
    tokenizer
        Saved with each checkpoint.
    teacher : Teacher, optional
    pruner : GroupPruner, optional
    progress : Progress, optional
    title : str
        What the bar calls it.

    Raises
    ------
    InputError
        For FSDP and DeepSpeed, which cut weights into pieces: groups would be torn.
    """

    def __init__(self, model: Any, args: TrainingArguments, config: TrainConfig, *, head: Head,
                 encoder: Encoder, train_dataset: RowDataset,
                 eval_dataset: RowDataset | None = None, tokenizer: Any = None,
                 teacher: Teacher | None = None, pruner: GroupPruner | None = None,
                 progress: Progress | None = None, title: str = "train"):
        for name, asked in (("fsdp", args.fsdp), ("deepspeed", args.deepspeed)):
            # accelerate launch asks for them by its environment.
            if asked or os.environ.get(f"ACCELERATE_USE_{name.upper()}", "").lower() == "true":
                raise InputError(
                    f"{name}: expected whole weights on each device (one process, or DDP by "
                    "torchrun or accelerate launch), found sharded ones, whose groups would be "
                    "torn")
        if args.fp16 and pruner is not None and pruner.movement is not None:
            raise InputError("fp16: expected bf16 or float32 for method movement, whose scores "
                             "gather gradients, found fp16, whose gradients may overflow")
        self.config, self.head, self.teacher, self.pruner = config, head, teacher, pruner
        self.frozen = _freeze(model, config, pruner)
        super().__init__(
            model=model, args=args, train_dataset=train_dataset, eval_dataset=eval_dataset,
            data_collator=Collator(head, encoder), processing_class=tokenizer,
            compute_metrics=self._metrics,
            callbacks=[_Steps(self), *([_Bar(progress, title)] if progress else [])])
        self.label_names = ["labels"]
        self.model_accepts_loss_kwargs = False  # our losses are means over the batch
        self.remove_callback(PrinterCallback)
        if progress is not None:
            self.remove_callback(ProgressCallback)
        if teacher is not None:
            teacher.model.to(args.device)

    # Data

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        dataset: Any = train_dataset if train_dataset is not None else self.train_dataset
        if self.args.train_sampling_strategy != "group_by_length":
            return super()._get_train_sampler(dataset)
        args = self.args
        seed = args.seed if args.data_seed is None else args.data_seed
        step_rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
        return LengthSampler(dataset.lengths, step_rows, seed)

    def _get_eval_sampler(self, eval_dataset: Any) -> Any:
        if self.args.world_size > 1:
            return None
        return torch.utils.data.SequentialSampler(eval_dataset)

    # Steps

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        """What weight decay is for: not what the penalty shrinks already."""
        names = super().get_decay_parameter_names(model)
        pruner = self.pruner
        if not self.args.weight_decay or pruner is None or not pruner.schedule.milestones:
            return names
        penalised = {id(weight) for weight in pruner.weights.values()}
        return [name for name in names if id(model.get_parameter(name)) not in penalised]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """Two rises and falls where the model is pruned on the way; else the library's."""
        if (self.pruner is None or self.lr_scheduler is not None
                or self.args.lr_scheduler_type != "linear"):
            return super().create_scheduler(num_training_steps, optimizer)
        steps: Any = optimizer or self.optimizer
        self.lr_scheduler = LambdaLR(steps, self.pruner.schedule.rate)
        self._created_lr_scheduler = True
        return self.lr_scheduler

    def _clip_grad_norm(self, model: nn.Module) -> Any:
        """Clip by the gradients of weights that live: dead ones must not shorten the step."""
        if self.pruner is not None:
            self.pruner.mask_gradients()
        return super()._clip_grad_norm(model)

    def training_step(self, model: nn.Module, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """One forward and backward pass; a loss that is no number stops the run."""
        loss = super().training_step(model, inputs, num_items_in_batch)
        if not torch.isfinite(loss):
            raise DivergedError(f"loss: expected a number, found {loss.item()} at step "
                             f"{self.state.global_step + 1} of {self.state.max_steps}; "
                             f"{self._cause(inputs)}")
        return loss

    def _cause(self, inputs: dict[str, torch.Tensor]) -> str:
        """Why a loss is no number, as far as can be told."""
        if not torch.isfinite(inputs["labels"]).all():
            return "a label is not finite"
        model: Any = self.model
        for name, parameter in model.named_parameters():
            if not torch.isfinite(parameter).all():
                return (f"{name} is not finite any more: the learning rate "
                        f"({self.args.learning_rate:g}) or λ is too high for it")
        return ("all weights are finite, so the answers overflow: try a lower learning rate than "
                f"{self.args.learning_rate:g}, or float32")

    def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False,
                     num_items_in_batch: Any = None) -> Any:
        """The task's loss; in training the teacher's and the penalty's parts too."""
        inputs = dict(inputs)
        labels, rows = inputs.pop("labels"), inputs.pop("rows")
        if return_outputs:  # evaluation
            with _without_autocast(self.model):
                answers = self.head.answers(model, inputs).float()
            found = self.head.predictions(answers)
            return self.head.loss(answers, labels), {"found": found}
        config, hidden = self.config, self.teacher is not None and self.teacher.hidden
        if self.teacher is not None and not config.dropout:
            model.eval()  # the Trainer has just switched dropout on
        outputs = model(**inputs, output_hidden_states=hidden)
        answers = self.head.of_outputs(outputs, inputs["attention_mask"]).float()
        loss = self.head.loss(answers, labels)
        if self.teacher is not None:
            wanted, states = self.teacher(inputs, rows.tolist())
            if config.distil:
                copied = self.head.distil_loss(answers, wanted, config.temperature)
                loss = (1 - config.distil) * loss + config.distil * copied
            if hidden:
                loss = loss + config.distil_hidden * hidden_loss(
                    outputs.hidden_states[1:], states, inputs["attention_mask"], self.head.width)
        if self.pruner is not None and (penalty := self.pruner.loss()) is not None:
            loss = loss + penalty
        return loss

    def _metrics(self, evaluated: Any) -> dict[str, float]:
        from sparseloom.model import metrics
        return metrics.compute(self.head.metrics, evaluated.predictions.astype(float),
                               evaluated.label_ids.astype(float))

    # Checkpoints

    def _determine_best_metric(self, metrics: dict[str, float], trial: Any) -> bool:
        """The best checkpoint is one whose masks are final: none from before the prune."""
        if self.pruner is not None and not self.pruner.pruned:
            return False
        return super()._determine_best_metric(metrics, trial)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Masks and γ first: the library's last file then tells that a checkpoint is whole."""
        folder = Path(str(self.args.output_dir)) / f"{CHECKPOINT}{self.state.global_step}"
        try:
            if self.pruner is not None and self.args.should_save:
                folder.mkdir(parents=True, exist_ok=True)
                self.pruner.save(folder)
            with quiet():
                super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError, SafetensorError) as error:  # torch's writer has the second
            raise InputError(f"checkpoint {folder}: expected room to write, found: "
                             f"{system_reason(error) or _first_line(error)}") from None

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        with _readable(resume_from_checkpoint):
            super()._load_from_checkpoint(resume_from_checkpoint, model)
        if self.pruner is not None:
            self.pruner.load(resume_from_checkpoint)

    def _load_optimizer_and_scheduler(self, checkpoint: Any) -> None:
        with _readable(checkpoint):
            super()._load_optimizer_and_scheduler(checkpoint)

    def run(self) -> int:
        """Train, going on from the last whole checkpoint in the output folder if there is one.

        Returns
        -------
        int
            Optimiser steps in all.

        Raises
        ------
        InputError
            If the loss becomes no number, or a checkpoint cannot be written or read.
        """
        last = last_whole_checkpoint(str(self.args.output_dir), pruning=self.pruner is not None)
        try:
            result = self.train(resume_from_checkpoint=str(last) if last else None)
        finally:
            for parameter in self.frozen:
                parameter.requires_grad_(True)
            for name in _WRAPPED:
                vars(self.model).pop(name, None)
        if self.pruner is not None:
            self.pruner.hold()
        model: Any = self.model
        model.eval()
        for name, parameter in model.named_parameters():  # no loss tells of the last step
            if not torch.isfinite(parameter).all():
                raise DivergedError(f"loss: expected a number to the end, found {name} not finite "
                                 f"after step {result.global_step} of {self.state.max_steps}; try "
                                 f"a lower learning rate than {self.args.learning_rate:g}")
        return result.global_step


class _Steps(TrainerCallback):
    """Tells the pruner what the Trainer does."""

    def __init__(self, trainer: SparseTrainer):
        self.trainer = trainer

    @property
    def _pruner(self) -> GroupPruner | None:
        return self.trainer.pruner

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """The model is where it will be trained."""
        if self._pruner is not None:
            self._pruner.to_weights()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Reweight and prune where it is time, the same on all processes."""
        optimizer: Any = self.trainer.optimizer
        if self._pruner is None:
            return
        with _without_autocast(self.trainer.model):  # inputs are measured as scores are
            changed = self._pruner.begin_step(state.global_step, optimizer)
        if changed:
            _agree(self._pruner)

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Gradients are whole."""
        if self._pruner is not None:
            self._pruner.before_optimizer(state.global_step)

    def on_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Weights have moved."""
        if self._pruner is not None:
            self._pruner.after_optimizer(state.global_step)


class _Bar(TrainerCallback):
    """A bar on our own display."""

    def __init__(self, progress: Progress, title: str):
        self.progress, self.title, self.task = progress, title, None

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Show it, at the step where a resumed run begins."""
        if state.is_world_process_zero:
            self.task = self.progress.add_task(self.title, total=state.max_steps,
                                               completed=state.global_step)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """One step further."""
        if self.task is not None:
            self.progress.update(self.task, completed=state.global_step)


def _freeze(model: nn.Module, config: TrainConfig, pruner: GroupPruner | None,
            ) -> list[nn.Parameter]:
    """Stop the embeddings' tables from learning, unless they are pruned."""
    if not config.freeze_embeddings or (pruner is not None and pruner.table is not None):
        return []
    frozen = [parameter for part in model.modules() if isinstance(part, nn.Embedding)
              for parameter in part.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen


_WRAPPED = ("forward", "_original_forward")
"""Attributes that accelerate puts over a model's own forward for mixed precision, and leaves."""


@contextmanager
def _without_autocast(model: Any) -> Iterator[None]:
    """In the block a model computes in the precision of its weights."""
    wrapped = {name: vars(model).pop(name) for name in _WRAPPED if name in vars(model)}
    try:
        with torch.autocast(next(model.parameters()).device.type, enabled=False):
            yield
    finally:
        vars(model).update(wrapped)


def _agree(pruner: GroupPruner) -> None:
    """Every process takes what the first one chose: sums may round differently elsewhere."""
    if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
        return
    biases = [module.bias for module in pruner.linears.values() if module.bias is not None]
    for parameter in (*pruner.weights.values(), *biases):
        torch.distributed.broadcast(parameter.data, 0)
    compression = [pruner.compression]
    torch.distributed.broadcast_object_list(compression, 0)
    pruner.compression = compression[0]
    if pruner.alive is not None:
        for alive in pruner.alive.values():
            flags = alive.to(torch.uint8)
            torch.distributed.broadcast(flags, 0)
            alive.copy_(flags.bool())
        pruner._set(pruner.alive)
        pruner.hold()


def last_whole_checkpoint(folder: str | Path, *, pruning: bool) -> Path | None:
    """The newest checkpoint that was written to its end; one that a kill cut short is passed over.

    Parameters
    ----------
    pruning : bool
        Whether the run prunes: its checkpoints have a :data:`STATE_FILE` besides.
    """
    found = [path for path in Path(folder).glob(f"{CHECKPOINT}*")
             if path.name.removeprefix(CHECKPOINT).isdigit() and _is_whole(path)
             and (not pruning or (path / STATE_FILE).is_file())]
    return max(found, key=lambda path: int(path.name.removeprefix(CHECKPOINT)), default=None)


def _is_whole(checkpoint: Path) -> bool:
    """Whether the Trainer wrote its last file, to its end."""
    try:
        json.loads((checkpoint / TRAINER_STATE_NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return True


@contextmanager
def _readable(checkpoint: Any) -> Iterator[None]:
    """A checkpoint that was damaged after it was written is one clear error."""
    try:
        yield
    except Exception as error:  # whatever torch, pickle and safetensors make of it
        raise InputError(f"checkpoint {checkpoint}: expected an interrupted run's, found: "
                         f"{_first_line(error)}; --restart discards it") from None


def _first_line(error: BaseException) -> str:
    return cut((str(error).strip().splitlines() or [type(error).__name__])[0])


def optimizer_steps(rows: int, args: TrainingArguments) -> tuple[int, float]:
    """Optimiser steps of a whole run, and of one epoch, as the Trainer will count them."""
    step_rows = args.train_batch_size * args.gradient_accumulation_steps * args.world_size
    if args.train_sampling_strategy == "group_by_length" and rows >= step_rows:
        epoch = rows // step_rows
    else:
        whole = math.floor if args.dataloader_drop_last else math.ceil
        batches = whole(rows / (args.train_batch_size * args.world_size))
        epoch = max(1, math.ceil(batches / args.gradient_accumulation_steps))
    if args.max_steps > 0:
        return args.max_steps, epoch
    return math.ceil(args.num_train_epochs * epoch), epoch
