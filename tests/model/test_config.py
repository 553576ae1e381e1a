"""Settings refuse what makes no sense."""
import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest

from sparseloom.model.config import PruneConfig, QuantizeConfig, TrainConfig
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
    (PruneConfig, "milestones", 0, "an integer of 1 or more"),
    (PruneConfig, "saliency", "", "one of activation, magnitude"),
    (PruneConfig, "damping", 0.0, "a number above 0"),
    (TrainConfig, "retrain_steps", -1, "an integer of 0 or more"),
    (TrainConfig, "batch", 0, "an integer of 1 or more"),
    (TrainConfig, "retrain_rate", 0, "a number above 0"),
    (TrainConfig, "distil", 1.5, "a number from 0 to 1"),
    (TrainConfig, "precision", "fp8", "one of auto, float32, bfloat16"),
    (TrainConfig, "max_tokens", 2, "an integer of 4 or more"),
    *((QuantizeConfig, "weight_bits", bits, "8, as the unit takes them")
      for bits in (2, 4, 16, 8.0, "8")),
    (QuantizeConfig, "calibration_rows", 0, "an integer of 1 or more"),
])
def test_refusals(config, setting, value, expected):
    with pytest.raises(InputError) as problem:
        config(**{setting: value})
    assert str(problem.value) == f"{setting}: expected {expected}, found {value!r}"


def test_frozen():
    with pytest.raises(FrozenInstanceError):
        PruneConfig().p = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_no_torch_before_it_is_needed():
    code = ("import sys, sparseloom.model, sparseloom.model.cli, sparseloom.model.tasks; "
            "import sparseloom.model.names, sparseloom.model.packed.artefact; "
            "sys.exit('torch' in sys.modules or 'transformers' in sys.modules)")
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
