import numpy as np
import pytest

from sparseloom.model.packed.cycles import UnitJob, UnitShape
from sparseloom.model.packed.stream import strip_columns
from sparseloom.sim.explore.masks import LayerMask, ModelMasks
from tests.layers import random_layer


def mask_of(layer, count=1):
    return LayerMask.of(layer.column_mask(), outputs=layer.out_features, p=layer.p, raw=layer.raw,
                        lut=layer.lut is not None, count=count)


@pytest.mark.parametrize("cols", [1, 3, 5, 7, 8, 24])
@pytest.mark.parametrize(("p", "outputs"), [(1, 20), (5, 20), (8, 24), (6, 24)])
def test_strips_are_those_of_the_weight_stream(cols, p, outputs):
    rng = np.random.default_rng(100 * cols + p)
    layer = random_layer(rng, inputs=45, outputs=outputs, p=p, q=5, lut=p == 5, raw=p == 8)
    mask = mask_of(layer)
    assert (mask.columns() == layer.column_mask()).all()
    wanted = strip_columns(layer, cols)
    strips = mask.strips(cols)
    assert len(strips) == len(wanted)
    assert all((np.flatnonzero(row) == columns).all()
               for row, columns in zip(strips, wanted, strict=True))
    shape = UnitShape(rows=3, cols=cols, lanes=1, block_inputs=8)
    job, direct = mask.job(shape, 10), UnitJob.of(layer, 10, shape)
    assert (job.counts == direct.counts).all()
    assert (job.inputs, job.outputs, job.tokens, job.raw, job.lut) == (
        direct.inputs, direct.outputs, direct.tokens, direct.raw, direct.lut)


def test_blocks_at_the_edge_and_an_empty_mask():
    columns = np.zeros((3, 11), bool)
    columns[0, 4] = columns[2, :] = True
    mask = LayerMask.of(columns, outputs=10, p=4)         # the last block has 2 outputs
    assert mask.alive() == 4 + 2 * 11
    assert mask.strips(3).sum(axis=1).tolist() == [1, 1, 11, 11]
    empty = ModelMasks(kind="norms", layers=(LayerMask.of(columns & False, outputs=10, p=4),))
    assert empty.compression == float("inf")


def test_compression_and_digest_count_equal_layers():
    rng = np.random.default_rng(1)
    layer = random_layer(rng, inputs=40, outputs=20, p=5, q=8)
    one = ModelMasks(kind="artefact", layers=(mask_of(layer), mask_of(layer)))
    two = ModelMasks(kind="norms", layers=(mask_of(layer, count=2),))
    assert one.compression == two.compression == pytest.approx(1 / layer.density)
    assert one.digest != two.digest
    assert one.digest == ModelMasks(kind="norms", layers=one.layers).digest
    other = LayerMask.of(~layer.column_mask(), outputs=20, p=5)
    assert ModelMasks(kind="artefact", layers=(other,)).digest != ModelMasks(
        kind="artefact", layers=(mask_of(layer),)).digest
    assert one.most_inputs == 40
