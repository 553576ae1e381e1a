"""The Trainer with what is ours, on tiny encoders: zeros hold, the teacher teaches, NaN stops."""
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import TrainerCallback

from sparseloom.model import flow
from sparseloom.model.arguments import training_arguments
from sparseloom.model.config import PruneConfig, TrainConfig
from sparseloom.model.data import RowDataset
from sparseloom.model.encode import Encoder
from sparseloom.model.errors import InputError
from sparseloom.model.evaluate import predict, score
from sparseloom.model.groups import group_rms
from sparseloom.model.heads import head_of
from sparseloom.model.layers import base_model, encoder_layers
from sparseloom.model.observe import draw_items, input_moments
from sparseloom.model.prune import compression_of
from sparseloom.model.pruner import GroupPruner
from sparseloom.model.schedule import make_schedule
from sparseloom.model.teacher import Teacher, hidden_loss
from sparseloom.model.trainer import SparseTrainer, optimizer_steps

from .tiny import class_task, regression_task, similarity_task, tiny_model, tiny_tokenizer

STEPS, PRUNE_STEP = 8, 4
TASKS = {"cosine": similarity_task(), "regression": regression_task(),
         "classification": class_task()}
LABELS = {"cosine": 0, "regression": 1, "classification": 2}


class Stop(Exception):
    """Ends a run where a test has seen enough."""


class Watch(TrainerCallback):
    """Calls a function with the step at an event, after the trainer's own callback."""

    def __init__(self, event, function):
        def call(args, state, control, **_):
            function(state.global_step)
        setattr(self, event, call)


def trainer_of(folder, kind="cosine", *, model=None, prune=None, teacher=None, arguments=None,
               bfloat16=False, watch=(), task=None, **settings) -> Any:
    """A trainer of some steps on a tiny task; ``prune`` holds settings of a pruner."""
    task = task or TASKS[kind]
    model = model if model is not None else tiny_model(labels=LABELS[kind])
    head, encoder = head_of(task), Encoder(tiny_tokenizer(), 32)
    args = training_arguments(folder / "checkpoints", {
        "max_steps": STEPS, "per_device_train_batch_size": 8, "learning_rate": 1e-3,
        **(arguments or {})}, bfloat16=bfloat16)
    linears = encoder_layers(model)
    pruner = None
    if prune is not None:
        prune = {"prune_at": 0.5, "milestones": ("0", "0.5"), "p": 12, "q": 8, **prune}
        config = PruneConfig(**prune)
        steps, epoch_steps = optimizer_steps(len(task.train), args)
        items = draw_items(task.train, head, 16, 1)
        pruner = GroupPruner(
            {linear.name: linear.module for linear in linears}, config,
            make_schedule(config, steps, epoch_steps, penalty_rate=0.5, warmup=0.05),
            lambda full: input_moments(model, linears, encoder, items, full=full),
            table=flow._word_table(model) if config.embeddings else None, seed=1)
    if teacher is not None:
        teacher = Teacher(teacher, head, hidden=bool(settings.get("distil_hidden", 1.0)),
                          cache_bytes=1 << 24)
    trainer = SparseTrainer(
        model, args, TrainConfig(**settings), head=head, encoder=encoder,
        train_dataset=RowDataset(task.train, head, encoder), tokenizer=tiny_tokenizer(),
        eval_dataset=RowDataset(task.validation, head, encoder), teacher=teacher, pruner=pruner)
    for event, function in watch:
        trainer.add_callback(Watch(event, lambda step, call=function: call(trainer, step)))
    return trainer


def weights_of(model):
    return {linear.name: linear.module.weight for linear in encoder_layers(model)}


def state_of(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def state_after(folder, step, **settings):
    """Parameters as a step ends."""
    found = {}

    def see(trainer, now):
        if now == step:
            found.update(state_of(trainer.model))
            raise Stop

    with pytest.raises(Stop):
        trainer_of(folder, watch=[("on_step_end", see)], **settings).run()
    return found


def differing(one, other):
    return {name for name in one if not torch.equal(one[name], other[name])}


# Zeros

@pytest.mark.parametrize(("method", "arguments"), [
    ("reweighted", {"weight_decay": 0.1}),
    ("reweighted", {"optim": "sgd", "optim_args": "momentum=0.9", "learning_rate": 0.05,
                    "weight_decay": 0.1}),
    ("movement", {"weight_decay": 0.1, "gradient_accumulation_steps": 2}),
    ("magnitude", {"weight_decay": 0.1, "gradient_accumulation_steps": 2}),
    ("random", {"weight_decay": 0.1, "max_grad_norm": 0.0}),
])
def test_pruned_weights_are_zero_after_every_step(tmp_path, method, arguments):
    """And so are their moments, from the prune on."""
    seen, first = [], 0 if method in ("magnitude", "random") else PRUNE_STEP

    def moments(trainer, step):
        if trainer.pruner.pruned:
            for name, mask in trainer.pruner.masks().items():
                state = trainer.optimizer.optimizer.state.get(weights[name], {})
                for value in state.values():
                    if isinstance(value, torch.Tensor) and value.shape == mask.shape:
                        assert not value[~mask].any() and value[mask].any(), (name, step)
                        seen.append(step)

    def zeros(trainer, step):
        assert trainer.pruner.pruned == (step > first)
        for name, mask in trainer.pruner.masks().items():
            assert not weights[name][~mask].any(), (name, step)
            assert trainer.pruner.pruned is False or (weights[name][mask] != 0).all()

    trainer = trainer_of(tmp_path, prune={"method": method, "compression": 3.0},
                         arguments=arguments,
                         watch=[("on_step_begin", moments), ("on_step_end", zeros)])
    weights, before = weights_of(trainer.model), state_of(trainer.model)
    assert trainer.run() == STEPS
    assert set(seen) == set(range(max(1, first), STEPS))
    masks = trainer.pruner.masks()
    assert set(masks) == set(weights) and compression_of(masks) >= 3.0
    moved = differing(before, state_of(trainer.model))
    assert moved >= {f"{name}.weight" for name in weights}


def test_a_pruned_table_learns_and_its_zeros_hold(tmp_path):
    """36 words in strips of 24: its edge is padded."""
    def zeros(trainer, step):
        for name, mask in trainer.pruner.masks().items():
            assert not trainer.pruner.weights[name][~mask].any()

    trainer = trainer_of(tmp_path, prune={"embeddings": True, "p": 24, "q": 16},
                         watch=[("on_step_end", zeros)])
    table = trainer.model.embeddings.word_embeddings.weight
    before = table.detach().clone()
    assert trainer.frozen == []
    trainer.run()
    mask = trainer.pruner.masks()["embeddings.word_embeddings"]
    assert mask.shape == table.shape and compression_of({"": mask}) >= 2.0
    assert (table[~mask] == 0).all() and not torch.equal(table[mask], before[mask])


@pytest.mark.parametrize("method", ["reweighted", "movement"])
def test_the_best_checkpoint_is_a_masked_one(tmp_path, method):
    """Scores fall from step to step, so that the first evaluation would win: at step 2, unmasked.

    The one at step 4 comes before the prune too; step 5 begins with it.
    """
    trainer = trainer_of(
        tmp_path, prune={"method": method}, arguments={
            "eval_strategy": "steps", "eval_steps": 2, "save_steps": 2, "save_total_limit": 1,
            "load_best_model_at_end": True, "metric_for_best_model": "spearman"})
    trainer.compute_metrics = lambda _: {"spearman": 1 - trainer.state.global_step / 100}
    seen = {}
    trainer.add_callback(Watch("on_step_end", lambda step: seen.setdefault(
        step, state_of(trainer.model))))
    trainer.run()
    assert [entry["eval_spearman"] for entry in trainer.state.log_history
            if "eval_spearman" in entry] == pytest.approx([0.98, 0.96, 0.94, 0.92])
    assert str(trainer.state.best_model_checkpoint).endswith("checkpoint-6")
    found = state_of(trainer.model)
    assert not differing(found, seen[6]) and differing(found, seen[8])
    for name, mask in trainer.pruner.masks().items():
        assert not weights_of(trainer.model)[name][~mask].any() and not mask.all()


# The penalty

@pytest.mark.parametrize("penalty", ["decoupled", "loss"])
def test_the_penalty_moves_the_encoders_matrices_alone(tmp_path, penalty):
    """Twins after one step: the same biases, LayerNorm and tables bit for bit, smaller matrices."""
    plain, penalised = (
        state_after(tmp_path / str(strength), 1,
                    prune={"strength": strength, "penalty": penalty},
                    arguments={"max_grad_norm": 0.0})
        for strength in (0.0, 0.3))
    moved = differing(plain, penalised)
    assert moved == {f"{name}.weight" for name in weights_of(tiny_model())}
    if penalty == "decoupled":
        assert all(penalised[name].norm() < plain[name].norm() for name in moved)


@pytest.mark.parametrize(("penalty", "strength"), [("decoupled", 0.3), ("loss", 3.0)])
def test_penalty_shrinks_groups_in_training(tmp_path, penalty, strength):
    """The trap: a penalty that trains nothing. Twins at the prune, with and without it."""
    sizes = []
    for now in (0.0, strength):
        prune = {"strength": now, "penalty": penalty, "saliency": "magnitude"}
        state = state_after(tmp_path / str(now), PRUNE_STEP, prune=prune)
        sizes.append({name: group_rms(value, "column", 12, 8).mean()
                      for name, value in state.items() if value.ndim == 2 and "encoder" in name})
    assert len(sizes[0]) == 12
    assert all(sizes[1][name] < sizes[0][name] for name in sizes[0])


@pytest.mark.parametrize(("penalty", "strength"), [("decoupled", 0.1), ("loss", 1e-3)])
def test_weight_decay_does_not_count_twice(tmp_path, penalty, strength):
    """Penalised matrices move as without decay; the head's, which nothing else shrinks, decays."""
    plain, decayed = (
        state_after(tmp_path / str(decay), 1, kind="classification",
                    prune={"penalty": penalty, "strength": strength},
                    arguments={"weight_decay": decay})
        for decay in (0.0, 0.5))
    assert differing(plain, decayed) == {"classifier.weight", "bert.pooler.dense.weight"}
    assert decayed["classifier.weight"].norm() < plain["classifier.weight"].norm()


@pytest.mark.parametrize("prune", [None, {"method": "magnitude"}, {"method": "movement"}])
def test_weight_decay_counts_where_nothing_is_penalised(tmp_path, prune):
    trainer = trainer_of(tmp_path, prune=prune, arguments={"weight_decay": 0.5})
    trainer.create_optimizer()
    decays = {parameter: group["weight_decay"] for group in trainer.optimizer.param_groups
              for parameter in group["params"]}
    matrices = set(weights_of(trainer.model).values())
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            wanted = 0.0 if name.endswith("bias") or "LayerNorm" in name else 0.5
            assert decays[parameter] == wanted, name
    assert len(matrices & set(decays)) == 12


@pytest.mark.parametrize(("prune", "expected"), [
    ({"milestones": ("0", "0.25", "0.5", "0.75")}, [1, 2, 3, 4, 4, 4, 4, 4]),
    ({"milestones": ("0", "0.6ep")}, [1, 1, 1, 2, 2, 2, 2, 2]),
    ({"method": "lasso"}, [1] * 8), ({"method": "movement"}, [0] * 8),
])
def test_every_milestone_fires(tmp_path, prune, expected):
    """An epoch has 5 steps: 0.6 of it is step 3."""
    seen = []
    trainer_of(tmp_path, prune=prune, watch=[("on_step_begin", lambda trainer, _: seen.append(
        trainer.pruner.reweightings))]).run()
    assert seen == expected


# Steps and rates

def test_rates_are_the_schedules(tmp_path):
    seen = []
    trainer = trainer_of(tmp_path, prune={}, watch=[(
        "on_pre_optimizer_step",
        lambda trainer, _: seen.append(trainer.optimizer.param_groups[0]["lr"]))])
    trainer.run()
    assert seen == pytest.approx([1e-3 * trainer.pruner.schedule.rate(step)
                                  for step in range(STEPS)])
    assert seen[PRUNE_STEP - 1] < seen[PRUNE_STEP] and seen[0] == pytest.approx(5e-4)


@pytest.mark.parametrize(("prune", "kind"), [(None, "linear"), ({}, "constant")])
def test_other_rates_are_the_librarys(tmp_path, prune, kind):
    seen = []
    trainer_of(tmp_path, prune=prune,
               arguments={"lr_scheduler_type": kind, "warmup_steps": 0},
               watch=[("on_pre_optimizer_step", lambda trainer, _: seen.append(
                   trainer.optimizer.param_groups[0]["lr"]))]).run()
    wanted = [1e-3 if kind == "constant" else 1e-3 * (1 - step / STEPS) for step in range(STEPS)]
    assert seen == pytest.approx(wanted)


@pytest.mark.parametrize("rows", [40, 47, 48, 5])
@pytest.mark.parametrize("arguments", [
    {"num_train_epochs": 3}, {"num_train_epochs": 2.5, "gradient_accumulation_steps": 2},
    {"max_steps": 7}, {"num_train_epochs": 1.3, "train_sampling_strategy": "random"},
    {"num_train_epochs": 2, "train_sampling_strategy": "random",
     "gradient_accumulation_steps": 3},
], ids=str)
def test_steps_are_counted_as_the_trainer_does(tmp_path, rows, arguments):
    """The schedule is made before the Trainer is."""
    seen = []

    def begin(trainer, _):
        seen.append(trainer.state.max_steps)
        raise Stop

    trainer = trainer_of(tmp_path, task=similarity_task(train=rows),
                         arguments={"max_steps": -1, **arguments},
                         watch=[("on_train_begin", begin)])
    with pytest.raises(Stop):
        trainer.run()
    assert seen == [optimizer_steps(rows, trainer.args)[0]]


def test_a_resumed_run_sees_the_rows_that_it_would_have(tmp_path):
    """12 steps in epochs of 5: broken off in the second one, after a checkpoint in it."""
    def run(folder, stop=None):
        seen = []

        def begin(trainer, step):
            if step == stop:
                raise Stop

        trainer = trainer_of(folder, arguments={"max_steps": 12, "save_steps": 3},
                             watch=[("on_step_begin", begin)])
        loss = trainer.compute_loss

        def compute_loss(model, inputs, *more, **named):
            seen.append(inputs["rows"].tolist())
            return loss(model, inputs, *more, **named)

        trainer.compute_loss = compute_loss
        if stop is None:
            assert trainer.run() == 12
        else:
            with pytest.raises(Stop):
                trainer.run()
        return seen

    whole = run(tmp_path / "whole")
    assert len(whole) == 12 and sorted(row for step in whole[:5] for row in step) == list(range(40))
    assert {frozenset(step) for step in whole[:5]} != {frozenset(step) for step in whole[5:10]}
    assert run(tmp_path / "two", stop=8) == whole[:8]
    assert run(tmp_path / "two") == whole[6:]


def test_same_seed_same_weights(tmp_path):
    states = []
    for place, seed in enumerate((1, 1, 2)):
        trainer = trainer_of(tmp_path / str(place), arguments={"seed": seed, "max_steps": 3})
        trainer.run()
        states.append(state_of(trainer.model))
    assert not differing(states[0], states[1]) and differing(states[0], states[2])


# The teacher

@pytest.mark.parametrize("kind", list(TASKS))
@pytest.mark.parametrize("distil", [0.0, 0.25, 1.0])
def test_the_loss_by_its_parts(tmp_path, kind, distil):
    """Label, teacher's answer, its hidden states at three times, and the penalty."""
    model, other = (tiny_model(labels=LABELS[kind], seed=seed) for seed in (0, 1))
    trainer = trainer_of(tmp_path, kind, model=model, teacher=other, prune={
        "penalty": "loss", "strength": 0.01}, distil=distil, distil_hidden=3.0, temperature=2.0)
    trainer.pruner.begin_step(0)
    head, rows = trainer.head, [trainer.train_dataset[row] for row in (3, 1, 8, 2)]
    batch = trainer.data_collator(rows)
    inputs = {name: batch[name] for name in batch if name not in ("labels", "rows")}
    with torch.no_grad():
        found = trainer.compute_loss(model.train(), batch).item()
        model.eval()
        one, two = (each(**inputs, output_hidden_states=True) for each in (model, other))
        answers, wanted = (head.of_outputs(each, inputs["attention_mask"]) for each in (one, two))
        parts = ((1 - distil) * head.loss(answers, batch["labels"]),
                 distil * head.distil_loss(answers, wanted, 2.0),
                 3 * hidden_loss(one.hidden_states[1:], two.hidden_states[1:],
                                 inputs["attention_mask"], head.width),
                 trainer.pruner.loss())
    assert found == pytest.approx(float(sum(map(float, parts))), rel=2e-3)  # bfloat16 states
    assert all(part > 0 for part in parts[2:]) and "labels" in batch


def test_a_numbers_teacher_is_met_by_squared_error(tmp_path):
    """Two answers 3 and 1 off the teacher's, none of the loss from labels: (9 + 1) / 2."""
    class Constant(nn.Module):
        def __init__(self, values):
            super().__init__()
            self.values = nn.Parameter(torch.tensor(values))

        def forward(self, **_):
            return SimpleNamespace(logits=self.values[:, None], hidden_states=())

    trainer = trainer_of(tmp_path, "regression", distil=1.0, distil_hidden=0.0,
                         teacher=Constant([4.0, 2.0]))
    batch = trainer.data_collator([trainer.train_dataset[row] for row in (0, 1)])
    assert trainer.compute_loss(Constant([1.0, 3.0]), batch).item() == pytest.approx(5.0)


@pytest.mark.parametrize("with_teacher", [True, False])
@pytest.mark.parametrize("dropout", [True, False])
def test_dropout_is_off_beside_a_teacher(tmp_path, with_teacher, dropout):
    """Unless it is asked for; without a teacher it is always on."""
    model, seen = tiny_model(), set()
    trainer = trainer_of(tmp_path, model=model, dropout=dropout, arguments={"max_steps": 2},
                         teacher=tiny_model(seed=1) if with_teacher else None)
    model.embeddings.dropout.register_forward_hook(lambda part, *_: seen.add(part.training))
    trainer.run()
    assert seen == {dropout or not with_teacher}
    assert not model.training


def test_teacher_is_followed_and_stays(tmp_path):
    """With the labels' weight at zero, the student's vectors turn to the teacher's."""
    other, model = tiny_model(seed=1), tiny_model(seed=2)
    trainer = trainer_of(tmp_path, model=model, teacher=other, distil=1.0,
                         arguments={"max_steps": 40, "learning_rate": 3e-3})
    items = [item for row in TASKS["cosine"].train for item in trainer.head.items(row)]
    encoder, before = trainer.data_collator.encoder, state_of(other)

    def angle():
        found, wanted = (predict(each, trainer.head, encoder, items, batch=16)
                         for each in (model, other))
        return torch.stack([1 - torch.cosine_similarity(found[item], wanted[item], dim=0)
                            for item in items]).mean()

    start = angle()
    trainer.run()
    assert angle() < 0.5 * start
    assert not differing(before, state_of(other))
    assert all(parameter.grad is None for parameter in other.parameters())


def test_labels_are_learned_and_scored(tmp_path):
    """The Trainer's own scores are ours."""
    task, model = class_task(), tiny_model(labels=2)
    trainer = trainer_of(tmp_path, "classification", model=model,
                         arguments={"max_steps": 60, "learning_rate": 3e-3})
    encoder = trainer.data_collator.encoder
    before = score(model, trainer.head, encoder, task.validation, batch=8).scores["accuracy"]
    trainer.run()
    after = score(model, trainer.head, encoder, task.validation, batch=8).scores["accuracy"]
    assert before < 0.8 < 0.9 < after
    assert trainer.evaluate()["eval_accuracy"] == pytest.approx(after)


# Precision, embeddings

@pytest.mark.parametrize("kind", ["cosine", "classification"])
def test_bfloat16_trains_float32_weights(tmp_path, kind):
    """Only steps are in bfloat16: what is measured for the prune, and all scores, are not."""
    task, model, seen = TASKS[kind], tiny_model(labels=LABELS[kind]), set()
    before = state_of(model)
    trainer = trainer_of(tmp_path, kind, model=model, bfloat16=True, prune={}, arguments={
        "eval_strategy": "steps", "eval_steps": 4})
    name, weight = next(iter(weights_of(model).items()))
    base_model(model).get_submodule(name).register_forward_hook(
        lambda part, inputs, output: seen.add((part.training, output.dtype)))
    trainer.run()
    assert seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert all(parameter.dtype == torch.float32 and torch.isfinite(parameter).all()
               for parameter in model.parameters())
    assert trainer.optimizer.optimizer.state[weight]["exp_avg"].dtype == torch.float32
    assert differing(before, state_of(model))
    seen.clear()
    score(model, trainer.head, trainer.data_collator.encoder, task.validation, batch=8)
    assert seen == {(False, torch.float32)}  # accelerate's autocast went with the Trainer


@pytest.mark.parametrize(("precision", "faster", "expected"), [
    ("auto", True, True), ("auto", False, False), ("bfloat16", False, True),
    ("float32", True, False)])
def test_what_a_precision_means(monkeypatch, precision, faster, expected):
    monkeypatch.setattr(flow, "bfloat16_is_faster", lambda: faster)
    assert flow._is_bfloat16(TrainConfig(precision=precision)) is expected


@pytest.mark.parametrize("freeze", [True, False])
def test_embeddings_rest_and_everything_is_trainable_afterwards(tmp_path, freeze):
    model = tiny_model()
    before = state_of(model)
    trainer_of(tmp_path, model=model, freeze_embeddings=freeze, arguments={"max_steps": 2}).run()
    moved = differing(before, state_of(model))
    assert ("embeddings.word_embeddings.weight" in moved) is not freeze
    assert "embeddings.LayerNorm.weight" in moved
    assert all(parameter.requires_grad for parameter in model.parameters())


# What stops a run

def stopped(folder, **settings):
    trainer = trainer_of(folder, **settings)
    with pytest.raises(InputError) as problem:
        trainer.run()
    assert all(parameter.requires_grad for parameter in trainer.model.parameters())
    return str(problem.value)


def spoil(step, value, name="encoder.layer.1.output.dense"):
    """A weight becomes ``value`` as a step begins."""
    def begin(trainer, now):
        if now == step:
            trainer.model.get_submodule(name).weight.data[0, 0] = value
    return [("on_step_begin", begin)]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_weight_that_is_no_number(tmp_path, accumulated):
    message = stopped(tmp_path, watch=spoil(2, math.nan),
                      arguments={"gradient_accumulation_steps": accumulated})
    assert message == (
        "loss: expected a number, found nan at step 3 of 8; encoder.layer.1.output.dense.weight is "
        "not finite any more: the learning rate (0.001) or λ is too high for it")


def test_a_learning_rate_that_is_too_high(tmp_path):
    message = stopped(tmp_path, arguments={"learning_rate": 1e38, "max_grad_norm": 0.0})
    assert message.startswith("loss: expected a number, found nan at step ")
    assert "learning rate" in message and "1e+38" in message and "\n" not in message


def test_answers_that_overflow(tmp_path):
    """All weights are numbers, but the loss is none."""
    model = tiny_model(labels=1)
    with torch.no_grad():
        model.classifier.weight.fill_(3e38)
    message = stopped(tmp_path, kind="regression", model=model)
    assert "at step 1 of 8; all weights are finite, so the answers overflow" in message


def test_a_label_that_is_no_number(tmp_path):
    """A task's reader refuses it; rows can be made otherwise."""
    task = regression_task()
    object.__setattr__(task.train[0], "label", math.inf)
    message = stopped(tmp_path, kind="regression", task=task)
    assert message.startswith("loss: expected a number, found inf at step ")
    assert message.endswith("of 8; a label is not finite")


@pytest.mark.parametrize("prune", [None, {"method": "magnitude"}])
def test_the_last_step_counts_too(tmp_path, prune):
    """What it makes of the weights no loss has seen."""
    def end(trainer, now):
        if now == STEPS:
            weights_of(trainer.model)["encoder.layer.0.output.dense"].data.fill_(math.inf)

    message = stopped(tmp_path, watch=[("on_step_end", end)], prune=prune)
    assert message == ("loss: expected a number to the end, found encoder.layer.0.output.dense."
                       "weight not finite after step 8 of 8; try a lower learning rate than 0.001")


def test_a_prune_of_what_is_no_number(tmp_path):
    """The step before it spoils a weight: masks by such a norm would mean nothing."""
    def end(trainer, now):
        if now == PRUNE_STEP:
            weights_of(trainer.model)["encoder.layer.0.output.dense"].data[0, 0] = math.nan

    message = stopped(tmp_path, watch=[("on_step_end", end)],
                      prune={"saliency": "magnitude", "reconstruct": False})
    assert message == ("strength of encoder.layer.0.output.dense: expected finite numbers, "
                       "found nan")


@pytest.mark.parametrize("name", ["fsdp", "deepspeed"])
@pytest.mark.parametrize("by", ["arguments", "launcher"])
def test_sharded_weights_are_refused(tmp_path, monkeypatch, name, by):
    """Asked for by TrainingArguments, or by accelerate launch in the environment."""
    args = training_arguments(tmp_path, {}, bfloat16=False)
    if by == "arguments":
        setattr(args, name, True)
    else:
        monkeypatch.setenv(f"ACCELERATE_USE_{name.upper()}", "true")
    model, task = tiny_model(), TASKS["cosine"]
    head, encoder = head_of(task), Encoder(tiny_tokenizer(), 32)
    with pytest.raises(InputError) as problem:
        SparseTrainer(model, args, TrainConfig(), head=head, encoder=encoder,
                      train_dataset=RowDataset(task.train, head, encoder))
    assert str(problem.value) == (
        f"{name}: expected whole weights on each device (one process, or DDP by torchrun or "
        "accelerate launch), found sharded ones, whose groups would be torn")
    assert all(parameter.requires_grad for parameter in model.parameters())
