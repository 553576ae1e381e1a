import numpy as np
import pytest

from sparseloom.model.budget import columns_per_strip
from sparseloom.model.config import PruneConfig
from sparseloom.model.errors import InputError
from sparseloom.model.groups import group_rms
from sparseloom.model.packed.artefact import write_artefact
from sparseloom.model.prune import prune_masks
from sparseloom.sim.explore.encoders import ENCODERS, EncoderShape
from sparseloom.sim.explore.masks import Heads
from sparseloom.sim.explore.workload import (
    ArtefactWorkload,
    CheckpointWorkload,
    Pruning,
    ShapeWorkload,
    columns_by_norm,
    find_workload,
)
from tests.layers import random_layer
from tests.model.tiny import tiny_checkpoint

SHAPE = EncoderShape(blocks=3, hidden=24, inner=50, heads=4)


def pruning(**changes):
    return Pruning(**{"structure": "column", "p": 6, "q": 4, "compression": 2.5, **changes})


@pytest.mark.parametrize("structure", ["column", "block"])
@pytest.mark.parametrize("p", [1, 6, 7])
def test_balanced_strips_have_as_many_columns_within_one_group(structure, p):
    masks = ShapeWorkload("x", SHAPE).masks(pruning(structure=structure, p=p))
    assert [(layer.outputs, layer.inputs, layer.raw, layer.lut, layer.count)
            for layer in masks.layers] == [
        (24, 24, False, False, 9), (24, 24, True, False, 3), (50, 24, False, True, 3),
        (24, 50, True, False, 3)]
    for layer in masks.layers:
        columns = layer.columns()
        groups = columns.sum(axis=1) / (4 if structure == "block" else 1)
        assert np.ptp(np.ceil(groups)) <= 1
        if structure == "block":
            whole = columns[:, :layer.inputs // 4 * 4].reshape(len(columns), -1, 4)
            assert (whole.any(axis=2) == whole.all(axis=2)).all()
    # As much is kept as was asked for, but for groups at the edges.
    assert masks.compression == pytest.approx(2.5, rel=0.25 if p == 7 else 0.1)
    assert masks.kind == "balanced"


def test_seeds_decide_balanced_masks():
    one, again = ShapeWorkload("x", SHAPE, seed=1), ShapeWorkload("y", SHAPE, seed=1)
    other = ShapeWorkload("x", SHAPE, seed=2)
    assert one.masks(pruning()).digest == again.masks(pruning()).digest
    assert one.masks(pruning()).digest != other.masks(pruning()).digest
    assert one.masks(pruning()).digest == one.masks(pruning(q=3)).digest, "a column knows no q"
    strips = one.masks(pruning()).layers[0].columns()
    assert (strips[0] != strips[1]).any(), "strips do not lose the same inputs"
    dense = one.masks(pruning(compression=1.0))
    assert dense.compression == 1
    assert one.max_inputs == 50


def test_heads_of_shapes_and_checkpoints(tmp_path):
    assert {name: (shape.heads, shape.hidden // shape.heads)
            for name, shape in ENCODERS.items()}["minilm"] == (12, 32)
    assert all(shape.hidden % shape.heads == 0 for shape in ENCODERS.values())
    masks = ShapeWorkload("x", SHAPE).masks(pruning())
    assert masks.attention == (Heads(heads=4, size=6, count=3),)
    folder = tiny_checkpoint(tmp_path / "c", hidden=16, ffn=24, depth=2, heads=2)
    found = CheckpointWorkload(folder)
    assert found.attention == (Heads(heads=2, size=8, count=2),)
    assert found.masks(pruning(p=8, compression=2.0)).attention == found.attention


def test_too_much_compression_is_refused():
    with pytest.raises(InputError, match=r"^compression: expected at most 96 for a layer of 24 x "
                                         r"24 in groups of 6 x 1, found 97$"):
        ShapeWorkload("x", SHAPE).masks(pruning(compression=97))


@pytest.mark.parametrize("structure", ["column", "block"])
def test_norms_choose_as_the_pruner_does(structure):
    import torch

    generator = torch.Generator().manual_seed(4)
    weights = {"a": torch.randn((24, 40), generator=generator),
               "b": torch.randn((36, 24), generator=generator)}
    found = columns_by_norm(weights, pruning(structure=structure))
    config = PruneConfig(compression=2.5, structure=structure, p=6, q=4, scope="strip",
                         method="magnitude")
    masks = prune_masks({name: group_rms(weight, structure, 6, 4)
                         for name, weight in weights.items()},
                        {name: tuple(weight.shape) for name, weight in weights.items()}, config)
    for name, mask in masks.items():
        assert (mask.numpy() == found[name].repeat(6, axis=0)).all()
        assert columns_per_strip(mask, 6) == found[name].sum(axis=1).tolist()


def test_a_checkpoint_by_its_norms(tmp_path):
    workload = find_workload(str(tiny_checkpoint(tmp_path / "mine")))
    assert isinstance(workload, CheckpointWorkload) and workload.name == "mine"
    masks = workload.masks(pruning(p=8, compression=2.0))
    assert masks.kind == "norms" and masks.compression == pytest.approx(2, rel=0.02)
    assert {layer.raw for layer in masks.layers} == {layer.lut for layer in masks.layers} == {
        False, True}
    assert workload.max_inputs == masks.most_inputs


@pytest.fixture
def artefact(tmp_path):
    rng = np.random.default_rng(3)
    folder = tmp_path / "art"
    folder.mkdir()
    write_artefact(folder, [
        random_layer(rng, name="encoder.0.key", inputs=40, outputs=20, p=5, q=8),
        random_layer(rng, name="encoder.0.value", inputs=40, outputs=20, p=5, q=8, raw=True)], {})
    return folder


def test_an_artefact_keeps_its_own_masks(artefact):
    workload = find_workload(str(artefact))
    assert isinstance(workload, ArtefactWorkload) and workload.max_inputs == 40
    assert workload.weight_bits == {8}
    own = workload.pruning
    assert own is not None and (own.p, own.q, own.structure) == (5, 8, "column")
    assert workload.compression == pytest.approx(2.5, rel=0.2)
    close = pruning(p=5, q=3, compression=round(workload.compression, 2))
    masks = workload.masks(close)
    assert masks.kind == "artefact" and masks.layers[1].raw
    with pytest.raises(InputError, match=r"^compression: expected 2\.\d+ or more, as the artefact "
                                         r"has it \(less needs the dense checkpoint\), found 1$"):
        workload.masks(pruning(p=5, compression=1.0))


def test_an_artefact_pruned_more_is_pruned_by_norms(artefact, monkeypatch):
    import torch

    workload = ArtefactWorkload(artefact)
    asked = []

    def load(self):
        asked.append(self.folder)
        self._kinds = {"a": (True, False)}
        return {"a": torch.arange(800.0).reshape(20, 40)}

    monkeypatch.setattr(CheckpointWorkload, "_load", load)
    masks = workload.masks(pruning(p=5, compression=8.0))
    assert masks.kind == "norms" and asked == [artefact]
    assert workload.masks(pruning(p=4, compression=workload.compression)).kind == "norms"


@pytest.mark.parametrize(("ref", "says"), [
    ("bert-huge", "model: expected a folder or one of bert-tiny, .*, found bert-huge"),
    ("./nothing", r"model \./nothing: expected a folder, found none"),
    ("tests", "model tests: expected an artefact or a checkpoint in the folder, found neither")])
def test_what_is_no_model(ref, says):
    with pytest.raises(InputError, match=f"^{says}$"):
        find_workload(ref)


@pytest.mark.parametrize(("changes", "says"), [
    ({"structure": "row"}, "structure: expected one of column, block, found 'row'"),
    ({"p": 0}, "block: expected 1 x 1 or more, found 0 x 4"),
    ({"compression": 0.5}, "compression: expected 1 or more, found 0.5"),
    ({"compression": float("nan")}, "compression: expected 1 or more, found nan")])
def test_bad_prunings(changes, says):
    with pytest.raises(InputError, match=f"^{says}$"):
        pruning(**changes)


def test_named_shapes_have_their_well_known_sizes():
    weights = {name: sum(outputs * inputs * count for outputs, inputs, _, count in shape.linears())
               for name, shape in ENCODERS.items()}
    assert weights["minilm"] == 10_616_832
    assert weights["bert-base"] == weights["roberta-base"] == 84_934_656
    assert weights["bert-large"] == 301_989_888
