"""Frozen settings of pruning, training and quantisation, checked once. Imports no torch."""
from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from sparseloom.model.errors import InputError, shown

STRUCTURES = ("column", "block", "row")
SCOPES = ("strip", "layer", "global")
METHODS = ("reweighted", "lasso", "magnitude", "movement", "random")
SALIENCIES = ("activation", "magnitude")
PENALTIES = ("decoupled", "loss")
CALIBRATIONS = ("minmax", "percentile", "mse")
ROUNDINGS = ("nearest", "compensated")
STRENGTHS = {"decoupled": 0.1, "loss": 1e-5}
DEFAULT_ARGUMENTS: Mapping[str, Any] = {
    "learning_rate": 2e-4, "num_train_epochs": 3.0, "per_device_train_batch_size": 32,
    "save_steps": 0.2, "warmup_steps": 0.05, "weight_decay": 0.0, "adam_beta2": 0.98, "seed": 1,
}
"""Our values of transformers' ``TrainingArguments``; all others are the library's."""


def _refuse(setting: str, expected: str, found: object) -> None:
    raise InputError(f"{setting}: expected {expected}, found {shown(found)}")


def _choice(setting: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        _refuse(setting, f"one of {', '.join(choices)}", value)


def _weight_bits(value: object) -> None:
    if type(value) is not int or value not in (8, 4):
        _refuse("weight_bits", "8 or 4", value)


def _integer(setting: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        _refuse(setting, f"an integer of {low} or more", value)


def _number(setting: str, value: object, low: float, *, above: bool = False) -> None:
    if (isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)
            or value < low or (above and value == low)):
        _refuse(setting, f"a number {'above' if above else 'of at least'} {low:g}", value)


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """What is pruned, how groups are chosen, and how hard.

    Parameters
    ----------
    structure : str
        Groups that live or die together inside a block of p outputs by q inputs: ``column``
        (p × 1), ``block`` (p × q) or ``row`` (1 × q).
    p, q : int
        Outputs and inputs of a block.
    pad : bool
        Take a matrix that p or q does not divide as if zeros followed it; its last groups are
        smaller then. Otherwise it is refused.
    embeddings : bool
        Prune the word embeddings' table too (always padded: vocabularies have odd sizes). The
        unit does not read it.
    compression : float
        All weights of the encoder's Linear layers over the surviving ones, at least; 1 or more.
    cycles : int, optional
        A budget instead of a compression: what the whole encoder may take on the array, in cycles
        of the cycle model for ``tokens`` tokens.
    rows, cols, tokens : int
        R and C of the array and M, for ``cycles`` and for the cycles that a report tells.
    weight_bits : int
        Bits of a weight on that array, 8 or 4. Training does not depend on it; an artefact has
        those of :class:`QuantizeConfig`.
    scope : str
        Where groups compete: ``strip`` (each strip of p outputs keeps the same share, so that the
        array is evenly loaded), ``layer`` (each layer the same share) or ``global``.
    method : str
        ``reweighted`` (group Lasso with γ recomputed at milestones), ``lasso`` (γ constant),
        ``magnitude`` (one shot, by norms), ``movement`` (by scores that follow the gradient) or
        ``random``.
    strength : float, optional
        λ of the penalty. ``decoupled``: what the whole stage takes from a group of mean RMS, as a
        share of it, if nothing pushes back; a group of a third of the mean loses three times as
        much. ``loss``: the paper's λ, in units of the task's loss. By default 0.1 and 1e-5.
    layer_strengths : tuple of (str, float)
        λ of layers whose name matches a shell pattern (``*.output.dense``); the first match counts.
    penalty : str
        ``decoupled`` (a shrink after the optimiser's step) or ``loss`` (the paper's term).
    epsilon : float
        Of the paper's γ = 1 / (‖w‖ + ε); the decoupled step has its own.
    milestones : tuple of str
        When γ is computed: fractions of the penalised stage (``0.25``) or epochs (``1.5ep``).
        One that would never fire, or would fire together with another, is refused.
    prune_at : float
        Share of all steps that come before the hard prune, 0 to below 1. ``magnitude`` and
        ``random`` prune at once and train as many steps in all.
    gradual : int
        Hard prunes on the way: the last at ``prune_at`` with the whole compression, the others
        evenly before it with less. ``movement`` has a cubic of its own instead.
    saliency : str
        What a norm counts, in the penalty and at the prune. ``activation``: a weight counts as
        often as its input is large (weight times the input's RMS over training rows);
        ``magnitude``: the weight alone, as in the paper.
    reconstruct : bool
        After the prune, refit the survivors of each layer to the layer's old outputs.
    damping : float
        Ridge of that fit, relative to the inputs' mean square.

    Raises
    ------
    InputError
        If a setting is outside its range.

    Source: arXiv 2009.08065, section 3, for the penalty and its reweighting; arXiv 2109.04838 for
    movement pruning of groups.
    """

    structure: str = "column"
    p: int = 24
    q: int = 16
    pad: bool = False
    embeddings: bool = False
    compression: float = 2.0
    cycles: int | None = None
    rows: int = 12
    cols: int = 12
    tokens: int = 128
    weight_bits: int = 8
    scope: str = "strip"
    method: str = "reweighted"
    strength: float | None = None
    layer_strengths: tuple[tuple[str, float], ...] = ()
    penalty: str = "decoupled"
    epsilon: float = 1e-3
    milestones: tuple[str, ...] = ("0", "0.25", "0.5", "0.75")
    prune_at: float = 0.25
    gradual: int = 1
    saliency: str = "activation"
    reconstruct: bool = True
    damping: float = 0.01

    def __post_init__(self):
        _choice("structure", self.structure, STRUCTURES)
        for name in ("p", "q", "rows", "cols", "tokens", "gradual"):
            _integer(name, getattr(self, name), 1)
        _weight_bits(self.weight_bits)
        for name in ("pad", "embeddings", "reconstruct"):
            if not isinstance(getattr(self, name), bool):
                _refuse(name, "true or false", getattr(self, name))
        _number("compression", self.compression, 1.0)
        if self.cycles is not None:
            _integer("cycles", self.cycles, 1)
            if self.gradual > 1:
                _refuse("gradual", "1 with a budget in cycles, whose compression is not known "
                        "before the prune", self.gradual)
        _choice("scope", self.scope, SCOPES)
        _choice("method", self.method, METHODS)
        if self.strength is not None:
            _number("strength", self.strength, 0.0)
        for entry in self.layer_strengths:
            if len(entry) != 2 or not isinstance(entry[0], str):
                _refuse("layer_strengths", "pairs of a pattern and a number", entry)
            _number(f"strength of {entry[0]}", entry[1], 0.0)
        _choice("penalty", self.penalty, PENALTIES)
        _number("epsilon", self.epsilon, 0.0, above=True)
        if not self.milestones:
            _refuse("milestones", "at least one", self.milestones)
        for milestone in self.milestones:
            parse_milestone(milestone)
        _number("prune_at", self.prune_at, 0.0)
        if self.prune_at >= 1:
            _refuse("prune_at", "a share below 1", self.prune_at)
        _choice("saliency", self.saliency, SALIENCIES)
        _number("damping", self.damping, 0.0, above=True)

    @property
    def penalised(self) -> bool:
        """Whether weights are shrunk before the prune."""
        return self.method in ("reweighted", "lasso")

    @property
    def at_once(self) -> bool:
        """Whether the prune comes before any training."""
        return self.method in ("magnitude", "random")

    def strength_of(self, name: str) -> float:
        """λ of a layer: its own, or what was chosen for all, or the penalty's default."""
        for pattern, value in self.layer_strengths:
            if fnmatchcase(name, pattern):
                return value
        return STRENGTHS[self.penalty] if self.strength is None else self.strength


def parse_milestone(text: str) -> tuple[float, str]:
    """``0.25`` or ``1.5ep`` as a number and its unit, ``share`` or ``epochs``.

    Raises
    ------
    InputError
        For anything else, and for shares that are not below 1.
    """
    number, unit = (text[:-2], "epochs") if str(text).endswith("ep") else (text, "share")
    try:
        value = float(number)
    except (TypeError, ValueError):
        value = math.nan
    if not value >= 0 or math.isinf(value) or (unit == "share" and value >= 1):
        _refuse("milestones", "shares of the penalised stage from 0 to below 1 (0.25) or epochs "
                "(1.5ep)", text)
    return value, unit


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How models are trained, beside what transformers' ``TrainingArguments`` say.

    Parameters
    ----------
    arguments : mapping of str to value
        Fields of ``TrainingArguments``, over our defaults (:data:`DEFAULT_ARGUMENTS`).
    head_rate, head_epochs, head_steps : float, float, int (optional)
        Learning rate and length of the fine-tuning that a head needs which the checkpoint does not
        bring; steps count before epochs.
    penalty_rate : float
        Learning rate before the hard prune, as a share of the one after it.
    distil : float
        Weight of the dense teacher's answer in the loss, 0 to 1; the rest is the label.
    distil_hidden : float
        Weight of the teacher's hidden states, which is added: relative squared error of each
        encoder layer's output. Large, since the error is a share of the teacher's own size: 25
        was best of 1, 5, 25 and 100 where it was tried (``bench/README.md``).
    temperature : float
        Of the softened classes that a student learns from its teacher.
    dropout : bool
        Whether the model's dropout is on where there is a teacher. A student that copies its
        teacher learns faster without. Without a teacher it is always on.
    max_tokens : int
        Training and calibration rows are cut here; evaluation is not.
    calibration_rows : int
        Training rows that measure what enters each layer, for saliency and reconstruction.
    freeze_embeddings : bool
        Leave the embeddings' tables as they are: a short schedule barely moves them, and they
        would be half of the optimiser's work. Never where they are pruned.
    eval_batch : int
        Rows of one evaluation batch.
    precision : str
        ``auto`` (bfloat16 autocast where a trial finds it faster), ``float32`` or ``bfloat16``.
        Scores are always computed in float32.
    teacher_cache_mb : int
        Memory for the teacher's answers; what does not fit is computed again.

    Raises
    ------
    InputError
        If a setting is outside its range.
    """

    arguments: Mapping[str, Any] = field(default_factory=dict)
    head_rate: float = 1e-4
    head_epochs: float = 3.0
    head_steps: int | None = None
    penalty_rate: float = 0.5
    distil: float = 0.5
    distil_hidden: float = 25.0
    temperature: float = 2.0
    dropout: bool = False
    max_tokens: int = 128
    calibration_rows: int = 256
    freeze_embeddings: bool = True
    eval_batch: int = 32
    precision: str = "auto"
    teacher_cache_mb: int = 2048

    def __post_init__(self):
        for name in ("calibration_rows", "eval_batch"):
            _integer(name, getattr(self, name), 1)
        _integer("max_tokens", self.max_tokens, 4)
        _integer("teacher_cache_mb", self.teacher_cache_mb, 0)
        if self.head_steps is not None:
            _integer("head_steps", self.head_steps, 1)
        for name in ("head_rate", "head_epochs", "penalty_rate", "temperature"):
            _number(name, getattr(self, name), 0.0, above=True)
        for name in ("distil", "distil_hidden"):
            _number(name, getattr(self, name), 0.0)
        if self.distil > 1:
            _refuse("distil", "a number from 0 to 1", self.distil)
        _choice("precision", self.precision, ("auto", "float32", "bfloat16"))

    @property
    def seed(self) -> int:
        """Of everything random."""
        return int(self.arguments.get("seed", DEFAULT_ARGUMENTS["seed"]))

    def with_arguments(self, **arguments: Any) -> TrainConfig:
        """The same with some ``TrainingArguments`` replaced; None leaves one as it is."""
        given = {name: value for name, value in arguments.items() if value is not None}
        return replace(self, arguments={**self.arguments, **given})


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """How float weights and activations become integers.

    Parameters
    ----------
    weight_bits : int
        8 (±127) or 4 (±7), in all layers: a unit is built for one of them.
    rounding : str, optional
        How weights become integers: ``nearest``, each by itself, or ``compensated``, so that the
        rounding of one makes up for that of others on the calibration rows. By default the latter
        with 4 bits and no retraining, else the former.
    calibration : str
        How the activations' ranges are chosen from what they are on training rows: ``minmax`` (all
        values), ``percentile`` (the middle share of them) or ``mse`` (least squared error of
        rounding and clipping together). ``docs/numerics.md`` compares them.
    percentile : float
        What ``percentile`` keeps of all values, in percent: above 50, up to 100.
    calibration_rows : int
        Training rows that the ranges are chosen from.
    qat_steps : int
        Optimiser steps of quantisation-aware retraining before the integers are made.
    qat_rate : float
        Peak learning rate of them.
    max_tokens : int
        Calibration rows are cut here.
    eval_batch : int
        Rows of one evaluation batch.
    seed : int
        Chooses the calibration rows.

    Raises
    ------
    InputError
        If a setting is outside its range.
    """

    weight_bits: int = 8
    rounding: str | None = None
    calibration: str = "mse"
    percentile: float = 99.99
    calibration_rows: int = 256
    qat_steps: int = 0
    qat_rate: float = 2e-5
    max_tokens: int = 128
    eval_batch: int = 32
    seed: int = 1

    def __post_init__(self):
        _weight_bits(self.weight_bits)
        if self.rounding is not None:
            _choice("rounding", self.rounding, ROUNDINGS)
        _choice("calibration", self.calibration, CALIBRATIONS)
        _number("percentile", self.percentile, 50.0, above=True)
        if self.percentile > 100:
            _refuse("percentile", "a number above 50, up to 100", self.percentile)
        _integer("qat_steps", self.qat_steps, 0)
        _number("qat_rate", self.qat_rate, 0.0, above=True)
        _integer("calibration_rows", self.calibration_rows, 1)
        _integer("eval_batch", self.eval_batch, 1)
        _integer("max_tokens", self.max_tokens, 4)
        _integer("seed", self.seed, 0)

    @property
    def compensates(self) -> bool:
        """Whether the rounding of one weight makes up for that of others."""
        default = "compensated" if self.weight_bits == 4 and not self.qat_steps else "nearest"
        return (self.rounding or default) == "compensated"
