"""Frozen settings of pruning, training and quantisation, checked once. Imports no torch."""
from __future__ import annotations

import math
from dataclasses import dataclass

from sparseloom.model.errors import InputError

STRUCTURES = ("column", "block", "row")
SALIENCIES = ("activation", "magnitude")
PENALTIES = ("decoupled", "loss")
STRENGTHS = {"decoupled": 0.1, "loss": 1e-5}


def _refuse(setting: str, expected: str, found: object) -> None:
    raise InputError(f"{setting}: expected {expected}, found {found!r}")


def _choice(setting: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        _refuse(setting, f"one of {', '.join(choices)}", value)


def _integer(setting: str, value: object, low: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < low:
        _refuse(setting, f"an integer of {low} or more", value)


def _number(setting: str, value: object, low: float, *, above: bool = False) -> None:
    if (isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value)
            or value < low or (above and value == low)):
        _refuse(setting, f"a number {'above' if above else 'of at least'} {low:g}", value)


@dataclass(frozen=True, kw_only=True)
class PruneConfig:
    """What is pruned, and how hard.

    Parameters
    ----------
    structure : str
        Groups that live or die together inside a block of p outputs by q inputs: ``column``
        (p × 1), ``block`` (p × q) or ``row`` (1 × q).
    p, q : int
        Outputs and inputs of a block.
    compression : float
        All weights of the encoder's Linear layers over the surviving ones, at least; 1 or more.
    strength : float, optional
        λ of the penalty. ``decoupled``: what the whole stage takes from a group of mean RMS, as a
        share of it, if nothing pushes back; a group of a third of the mean loses three times as
        much. ``loss``: the paper's λ, in units of the task's loss. By default 0.1 and 1e-5.
    penalty : str
        ``decoupled`` (a shrink after the optimiser's step) or ``loss`` (the paper's term).
    epsilon : float
        Of the paper's γ = 1 / (‖w‖ + ε); the decoupled step has its own.
    milestones : int
        How many times γ is computed, evenly over the penalised steps, the first at step 0.
    saliency : str
        ``activation``: a weight counts as often as its input is large (weight times the input's
        RMS over training rows); ``magnitude``: the weight alone, as in the paper.
    reconstruct : bool
        After the prune, refit the survivors of each layer to the layer's old outputs.
    damping : float
        Ridge of that fit, relative to the inputs' mean square.

    Raises
    ------
    InputError
        If a setting is outside its range.

    Source: arXiv 2009.08065, section 3, for the penalty and its reweighting.
    """

    structure: str = "column"
    p: int = 24
    q: int = 16
    compression: float = 2.0
    strength: float | None = None
    penalty: str = "decoupled"
    epsilon: float = 1e-3
    milestones: int = 4
    saliency: str = "activation"
    reconstruct: bool = True
    damping: float = 0.01

    def __post_init__(self):
        _choice("structure", self.structure, STRUCTURES)
        _integer("p", self.p, 1)
        _integer("q", self.q, 1)
        _number("compression", self.compression, 1.0)
        if self.strength is not None:
            _number("strength", self.strength, 0.0)
        _choice("penalty", self.penalty, PENALTIES)
        _number("epsilon", self.epsilon, 0.0, above=True)
        _integer("milestones", self.milestones, 1)
        _choice("saliency", self.saliency, SALIENCIES)
        _number("damping", self.damping, 0.0, above=True)

    @property
    def effective_strength(self) -> float:
        """λ: what was chosen, or the penalty's default."""
        return STRENGTHS[self.penalty] if self.strength is None else self.strength


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """The schedule: fine-tune, penalised training, masked retraining, all in optimiser steps.

    The defaults are the schedule of ``make demo``; ``docs/decisions/0005-demo-schedule.md`` has
    what each costs and gives.

    Parameters
    ----------
    finetune_steps : int
        Steps of plain training before anything is pruned. Only for a classification head that
        the checkpoint does not bring; a sentence encoder is taken as it comes.
    penalty_steps : int
        Steps with the group penalty.
    retrain_steps : int
        Steps with the dead weights held at zero.
    batch : int
        Rows (pairs count as one) of one step.
    finetune_rate, penalty_rate, retrain_rate : float
        Peak learning rates of AdamW.
    distil : float
        Weight of the dense teacher's answer in the loss, 0 to 1; the rest is the label.
    max_tokens : int
        Training and calibration rows are cut here; evaluation is not.
    calibration_rows : int
        Training rows that measure what enters each layer, for saliency and reconstruction.
    eval_batch : int
        Rows of one evaluation batch.
    precision : str
        ``auto`` (bfloat16 autocast where a trial finds it faster), ``float32`` or ``bfloat16``.
        Scores are always computed in float32.
    seed : int

    Raises
    ------
    InputError
        If a setting is outside its range.
    """

    finetune_steps: int = 400
    penalty_steps: int = 20
    retrain_steps: int = 60
    batch: int = 32
    finetune_rate: float = 5e-5
    penalty_rate: float = 1e-4
    retrain_rate: float = 2e-4
    distil: float = 0.5
    max_tokens: int = 128
    calibration_rows: int = 256
    eval_batch: int = 32
    precision: str = "auto"
    seed: int = 1

    def __post_init__(self):
        for name in ("finetune_steps", "penalty_steps", "retrain_steps", "seed"):
            _integer(name, getattr(self, name), 0)
        for name in ("batch", "calibration_rows", "eval_batch"):
            _integer(name, getattr(self, name), 1)
        _integer("max_tokens", self.max_tokens, 4)
        for name in ("finetune_rate", "penalty_rate", "retrain_rate"):
            _number(name, getattr(self, name), 0.0, above=True)
        _number("distil", self.distil, 0.0)
        if self.distil > 1:
            _refuse("distil", "a number from 0 to 1", self.distil)
        _choice("precision", self.precision, ("auto", "float32", "bfloat16"))


@dataclass(frozen=True, kw_only=True)
class QuantizeConfig:
    """How float weights and activations become integers.

    Parameters
    ----------
    weight_bits : int
        8 (±127), which is all that the unit takes so far.
    calibration_rows : int
        Training rows whose smallest and largest activations set the scales.
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
    calibration_rows: int = 256
    max_tokens: int = 128
    eval_batch: int = 32
    seed: int = 1

    def __post_init__(self):
        if type(self.weight_bits) is not int or self.weight_bits != 8:
            _refuse("weight_bits", "8, as the unit takes them", self.weight_bits)
        _integer("calibration_rows", self.calibration_rows, 1)
        _integer("eval_batch", self.eval_batch, 1)
        _integer("max_tokens", self.max_tokens, 4)
        _integer("seed", self.seed, 0)
