"""Settings refuse what makes no sense."""
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from sparseloom.model.config import (
    DEFAULT_ARGUMENTS,
    PruneConfig,
    QuantizeConfig,
    TrainConfig,
    parse_milestone,
)
from sparseloom.model.errors import InputError


@pytest.mark.parametrize(("config", "setting", "value", "expected"), [
    (PruneConfig, "structure", "diagonal", "one of column, block, row"),
    (PruneConfig, "p", 0, "an integer of 1 or more"),
    (PruneConfig, "q", 1.5, "an integer of 1 or more"),
    (PruneConfig, "p", True, "an integer of 1 or more"),
    (PruneConfig, "compression", 0.5, "a number of at least 1"),
    (PruneConfig, "compression", float("nan"), "a number of at least 1"),
    (PruneConfig, "strength", -1, "a number of at least 0"),
    (PruneConfig, "penalty", "L1", "one of decoupled, loss"),
    (PruneConfig, "epsilon", 0, "a number above 0"),
    (PruneConfig, "milestones", (), "at least one"),
    (PruneConfig, "prune_at", -0.1, "a number of at least 0"),
    (PruneConfig, "prune_at", 1.0, "a share below 1"),
    (PruneConfig, "gradual", 0, "an integer of 1 or more"),
    (PruneConfig, "cycles", 0, "an integer of 1 or more"),
    (PruneConfig, "tokens", 0, "an integer of 1 or more"),
    (PruneConfig, "scope", "model", "one of strip, layer, global"),
    (PruneConfig, "method", "l0", "one of reweighted, lasso, magnitude, movement, random"),
    (PruneConfig, "pad", 1, "true or false"),
    (PruneConfig, "saliency", "", "one of activation, magnitude"),
    (PruneConfig, "damping", 0.0, "a number above 0"),
    (TrainConfig, "head_steps", 0, "an integer of 1 or more"),
    (TrainConfig, "eval_batch", 0, "an integer of 1 or more"),
    (TrainConfig, "teacher_cache_mb", -1, "an integer of 0 or more"),
    (TrainConfig, "penalty_rate", 0, "a number above 0"),
    (TrainConfig, "distil_hidden", float("inf"), "a number of at least 0"),
    (TrainConfig, "distil", 1.5, "a number from 0 to 1"),
    (TrainConfig, "precision", "fp8", "one of auto, float32, bfloat16"),
    (TrainConfig, "max_tokens", 2, "an integer of 4 or more"),
    *((config, "weight_bits", bits, "8 or 4")
      for config in (PruneConfig, QuantizeConfig) for bits in (2, 7, 16, 8.0, "8", True)),
    (QuantizeConfig, "rounding", "stochastic", "one of nearest, compensated"),
    (QuantizeConfig, "calibration_rows", 0, "an integer of 1 or more"),
])
def test_refusals(config, setting, value, expected):
    with pytest.raises(InputError) as problem:
        config(**{setting: value})
    assert str(problem.value) == f"{setting}: expected {expected}, found {value!r}"


@pytest.mark.parametrize(("text", "expected"), [
    ("0", (0.0, "share")), ("0.75", (0.75, "share")), ("1.5ep", (1.5, "epochs")),
    ("3ep", (3.0, "epochs")),
])
def test_milestones(text, expected):
    assert parse_milestone(text) == expected


@pytest.mark.parametrize("text", ["1", "1.0", "-0.1", "-1ep", "infep", "nan", "nanep", "half", "",
                                  "ep", "1 epoch"])
def test_milestones_that_say_no_time(text):
    with pytest.raises(InputError) as problem:
        PruneConfig(milestones=("0", text))
    assert str(problem.value) == (
        "milestones: expected shares of the penalised stage from 0 to below 1 (0.25) or epochs "
        f"(1.5ep), found {text!r}")


def test_strength_of_a_layer():
    """The first pattern that matches counts; then λ of all layers; then the penalty's default."""
    own = (("*.output.dense", 3.0), ("*.1.*", 0.0))
    config = PruneConfig(strength=0.7, layer_strengths=own)
    assert config.strength_of("layer.1.output.dense") == 3.0
    assert config.strength_of("layer.1.query") == 0.0
    assert config.strength_of("layer.0.query") == 0.7
    assert PruneConfig().strength_of("any") == 0.1
    assert PruneConfig(penalty="loss").strength_of("any") == 1e-5
    assert PruneConfig(strength=0.0).strength_of("any") == 0.0


@pytest.mark.parametrize(("entry", "message"), [
    (("*.dense", -1.0), "strength of *.dense: expected a number of at least 0, found -1.0"),
    (("*.dense",), "layer_strengths: expected pairs of a pattern and a number, found ('*.dense',)"),
    ((1, 2.0), "layer_strengths: expected pairs of a pattern and a number, found (1, 2.0)"),
])
def test_strengths_of_layers_are_checked(entry, message):
    with pytest.raises(InputError) as problem:
        PruneConfig(layer_strengths=(entry,))
    assert str(problem.value) == message


@pytest.mark.parametrize(("method", "penalised", "at_once"), [
    ("reweighted", True, False), ("lasso", True, False), ("magnitude", False, True),
    ("movement", False, False), ("random", False, True),
])
def test_what_a_method_does(method, penalised, at_once):
    config = PruneConfig(method=method)
    assert (config.penalised, config.at_once) == (penalised, at_once)


def test_arguments_are_replaced_one_by_one():
    config = TrainConfig(arguments={"learning_rate": 1e-3, "seed": 4})
    other = config.with_arguments(seed=7, max_steps=20, bf16=None)
    assert other.arguments == {"learning_rate": 1e-3, "seed": 7, "max_steps": 20}
    assert (config.seed, other.seed) == (4, 7)
    assert TrainConfig().seed == DEFAULT_ARGUMENTS["seed"]


def test_no_gradual_prunes_to_a_budget_in_cycles():
    with pytest.raises(InputError) as problem:
        PruneConfig(gradual=2, cycles=1000)
    assert str(problem.value) == ("gradual: expected 1 with a budget in cycles, whose compression "
                                  "is not known before the prune, found 2")


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        PruneConfig().p = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_no_torch_before_it_is_needed():
    code = ("import sys, sparseloom.model, sparseloom.model.cli, sparseloom.model.tasks; "
            "import sparseloom.model.names, sparseloom.model.packed.artefact; "
            "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_few_bits_are_rounded_with_care():
    assert not QuantizeConfig().compensates
    assert QuantizeConfig(weight_bits=4).compensates
    assert not QuantizeConfig(weight_bits=4, qat_steps=1).compensates
    assert not QuantizeConfig(weight_bits=4, rounding="nearest").compensates
    assert QuantizeConfig(rounding="compensated").compensates
