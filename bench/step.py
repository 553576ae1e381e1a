"""How much longer a penalised training step takes than a plain one: ``python -m bench.step``."""
from __future__ import annotations

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch

from bench.device import device_note, git_revision
from bench.folders import Folders, write_json
from sparseloom.model.config import PENALTIES, PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.pruner import GroupPruner
from sparseloom.model.schedule import Schedule

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 1.10
PLAIN = "plain"
RATE = 2e-5
MILESTONES = 4
"""Over all timed steps, as many as a run has by default."""


class Contestant:
    """A copy of a model that takes steps of one kind on one batch.

    The same loop for all, with what a pruning run adds in the order that ``model/pruner.py`` gives.

    Parameters
    ----------
    model : nn.Module
        Copied.
    loss : callable
        Task loss of a model.
    pruner : callable, optional
        Makes the pruner of the copy; without it steps are plain.
    """

    def __init__(self, model: Any, loss: Callable[[Any], torch.Tensor],
                 pruner: Callable[[Any], GroupPruner] | None = None):
        self.model, self.task_loss = copy.deepcopy(model).train(), loss
        self.optimizer = torch.optim.AdamW(
            [one for one in self.model.parameters() if one.requires_grad], lr=RATE, fused=True)
        self.pruner = pruner(self.model) if pruner else None

    def step(self, index: int) -> float:
        """Take one; seconds."""
        began = time.perf_counter()
        pruner = self.pruner
        if pruner is not None:
            pruner.begin_step(index, self.optimizer)
        loss = self.task_loss(self.model)
        if pruner is not None and (penalty := pruner.loss()) is not None:
            loss = loss + penalty
        loss.backward()
        if pruner is not None:
            pruner.before_optimizer(index)
        self.optimizer.step()
        if pruner is not None:
            pruner.after_optimizer(index)
        self.optimizer.zero_grad()
        return time.perf_counter() - began


def compare(contestants: Mapping[str, Any], *, steps: int, warm: int) -> dict[str, Any]:
    """Time all in turn, so that whatever else the machine does falls on all of them.

    The order turns by one each round. Steps at which γ is computed are among the timed ones; a
    median hides them, so the ratio of the sums is given too.

    Parameters
    ----------
    contestants : mapping of str to Contestant
        ``plain`` among them.

    Returns
    -------
    dict
        ``median_seconds``, ``ratio`` (of medians to plain's) and ``ratio_of_sums`` by name.
    """
    names, times = list(contestants), {name: [] for name in contestants}
    for index in range(warm + steps):
        turn = index % len(names)
        for name in names[turn:] + names[:turn]:
            seconds = contestants[name].step(index)
            if index >= warm:
                times[name].append(seconds)
    medians = {name: statistics.median(each) for name, each in times.items()}
    sums = {name: sum(each) for name, each in times.items()}
    others = [name for name in names if name != PLAIN]
    return {"median_seconds": {name: round(value, 5) for name, value in medians.items()},
            "ratio": {name: round(medians[name] / medians[PLAIN], 4) for name in others},
            "ratio_of_sums": {name: round(sums[name] / sums[PLAIN], 4) for name in others}}


def schedule_of(steps: int, warm: int) -> Schedule:
    """Penalised for all steps; γ at the first, and the rest evenly over the timed ones."""
    milestones = {0, *(warm + steps * index // MILESTONES for index in range(1, MILESTONES))}
    total = warm + steps + 1
    return Schedule(steps=total, prune_step=total, events=((total, 2.0),),
                    milestones=tuple(sorted(milestones)))


def measure(model_ref: Path, task_name: str, data_dir: Path | None, *, batch: int, steps: int,
            warm: int, precision: str, name: str | None = None) -> dict[str, Any]:
    """Set up plain fine-tuning and both penalties on one batch of a task, and compare."""
    from sparseloom.model.checkpoint import load_checkpoint
    from sparseloom.model.data import Collator
    from sparseloom.model.encode import Encoder
    from sparseloom.model.heads import head_of
    from sparseloom.model.layers import encoder_layers
    from sparseloom.model.observe import draw_items, input_moments
    from sparseloom.model.tasks import load_task

    task = load_task(task_name, data_dir=data_dir)
    checkpoint = load_checkpoint(model_ref, task, name=name, seed=1)
    head, encoder = head_of(task), Encoder(checkpoint.tokenizer, min(128, checkpoint.max_tokens))
    rows = task.train[:batch]
    encoder.add([item for row in rows for item in head.items(row)])
    inputs = Collator(head, encoder)([{"row": row, "index": i} for i, row in enumerate(rows)])
    labels, _ = inputs.pop("labels"), inputs.pop("rows")
    for part in checkpoint.model.modules():
        if isinstance(part, torch.nn.Embedding):
            part.requires_grad_(False)  # as TrainConfig's default
    seen = draw_items(task.train, head, 256, 1)
    encoder.add(seen)

    def loss(model: Any) -> torch.Tensor:
        with (torch.autocast("cpu", torch.bfloat16) if precision == "bfloat16"
              else nullcontext()):
            answers = head.answers(model, inputs)
        return head.loss(answers.float(), labels)

    def pruner(penalty: str) -> Callable[[Any], GroupPruner]:
        def make(model: Any) -> GroupPruner:
            linears = encoder_layers(model)
            return GroupPruner(
                {linear.name: linear.module for linear in linears}, PruneConfig(penalty=penalty),
                schedule_of(steps, warm),
                lambda full: input_moments(model, linears, encoder, seen, full=full))
        return make

    contestants = {PLAIN: Contestant(checkpoint.model, loss)}
    contestants |= {penalty: Contestant(checkpoint.model, loss, pruner(penalty))
                    for penalty in PENALTIES}
    found = compare(contestants, steps=steps, warm=warm)
    return {"model": checkpoint.name, "task": task.name, "batch": batch,
            "tokens": int(inputs["input_ids"].shape[1]), "precision": precision, "steps": steps,
            **found, "limit": LIMIT, "met": all(each <= LIMIT for each in found["ratio"].values())}


def main(words: Sequence[str] | None = None) -> int:
    """Entry of ``python -m bench.step``."""
    parser = argparse.ArgumentParser(prog="python -m bench.step", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--model", type=Path, default=None, help="by default the plan's MiniLM")
    parser.add_argument("--task", default="mrpc")
    parser.add_argument("--data-dir", type=Path, default=None)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warm", type=int, default=3)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    options = parser.parse_args(words)
    try:
        model = options.model
        if model is None:
            from bench.checkpoints import model_folder
            model = model_folder("minilm", options.root / "build")
        found = measure(model, options.task, options.data_dir, batch=options.batch,
                        steps=options.steps, warm=options.warm, precision=options.precision,
                        name=None if options.model else "all-MiniLM-L6-v2")
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    found |= {"device": device_note(), "git": git_revision(ROOT),
              "command": "python -m bench.step"}
    write_json(Folders(options.root).results / "step.json", found, indent=2)
    print(", ".join(f"{name} {ratio:.3f}×" for name, ratio in found["ratio"].items()),
          f"of a plain step ({found['median_seconds'][PLAIN]:.3f} s); limit {LIMIT:.2f}×:",
          "met" if found["met"] else "missed")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
