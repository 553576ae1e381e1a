import numpy as np
import pytest
import torch

from bench.pack import (
    block_sparse,
    encoder_weights,
    measure,
    pack,
    peak_memory,
    prune,
)
from sparseloom.model.config import PruneConfig
from sparseloom.model.groups import expand_groups


def settings(structure="column"):
    return PruneConfig(structure=structure, p=24, q=16, compression=2.0, saliency="magnitude")


def test_the_encoder_is_bert_base():
    shapes = [tuple(weight.shape) for weight in encoder_weights(1).values()]
    assert shapes == [(768, 768)] * 4 + [(3072, 768), (768, 3072)]
    assert 12 * sum(a * b for a, b in shapes) == 84_934_656


@pytest.mark.parametrize("structure", ["column", "block"])
def test_both_ways_keep_the_same_weights(structure):
    config = settings(structure)
    weights = encoder_weights(1, 48, 96)
    alive = prune(weights, config)
    packed, sparse = pack(weights, alive, config), block_sparse(weights, alive, config)
    for layer, other in zip(packed, sparse, strict=True):
        weight = weights[layer.name]
        keep = expand_groups(alive[layer.name], structure, 24, 16, weight.shape)
        assert torch.equal(other.to_dense(), torch.where(keep, weight, 0))
        back = layer.dense_weight() * layer.weight_scale[:, None]
        assert not back[~keep.numpy()].any()
        error = np.abs(back - other.to_dense().numpy())
        assert (error <= layer.weight_scale[:, None] / 2 + 1e-6).all()
        assert layer.surviving_weights == int(keep.sum())


def test_figures():
    found = measure(settings(), rounds=1, layers=1, hidden=48, ffn=96)
    assert found["matrices"] == 6 and found["weights"] == 2 * found["survivors"]
    assert found["prune_and_pack_seconds"] == pytest.approx(
        found["seconds"]["prune"] + found["seconds"]["pack"], abs=2e-3)


def test_memory_sees_what_was_freed_again():
    with peak_memory() as extra:
        block = np.ones(8_000_000)  # 64 MB
        assert block.sum() == 8_000_000
        del block
        for _ in range(1000):
            pass
        found = extra()
    assert 55e6 < found < 120e6
