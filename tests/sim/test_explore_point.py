import dataclasses

import numpy as np
import pytest

from sparseloom.model.packed.artefact import write_artefact
from sparseloom.model.packed.cycles import UnitJob, UnitShape, layer_cycles, layer_jobs, predict
from sparseloom.model.products import FIELD, Attention, with_products
from sparseloom.sim.explore import point as module
from sparseloom.sim.explore.masks import Heads, LayerMask, ModelMasks
from sparseloom.sim.explore.point import chunks_of, evaluate_chunk, point_key
from sparseloom.sim.explore.workload import ArtefactWorkload, Pruning
from sparseloom.sim.receipt.receipt import make_receipt
from tests.layers import random_layer
from tests.sim.explorations import TINY
from tests.sim.receipts import CONFIG

SHAPES = [UnitShape(rows=rows, cols=cols, lanes=lanes, bus_bytes=bus, weight_bits=bits,
                    act_words=100)
          for rows, lanes in ((3, 1), (8, 4)) for cols in (5, 8) for bus in (4, 16)
          for bits in (4, 8)]
PRUNED = Pruning(structure="column", p=6, q=4, compression=2.5)


def cycles_of(masks, tokens, shapes=SHAPES):
    points = [(str(index), shape) for index, shape in enumerate(shapes)]
    found = [record for chunk in chunks_of(masks, tokens, points, 3)
             for record in evaluate_chunk(chunk)]
    return [record for _, record in sorted((int(record["key"]), record) for record in found)]


def test_real_layers_take_what_the_cycle_model_says_one_by_one():
    rng = np.random.default_rng(5)
    layers = [random_layer(rng, inputs=45, outputs=outputs, p=5, q=5, density=density, lut=lut,
                           raw=not lut, empty_outputs=slice(0, 10))
              for outputs, density, lut in ((20, 0.3, False), (25, 0.6, True), (20, 0.3, False))]
    masks = ModelMasks(kind="artefact", layers=tuple(
        LayerMask.of(layer.column_mask(), outputs=layer.out_features, p=5, raw=layer.raw,
                     lut=layer.lut is not None, count=count)
        for layer, count in zip(layers, (1, 2, 1), strict=True)))
    for shape, record in zip(SHAPES, cycles_of(masks, 13), strict=True):
        jobs = [UnitJob.of(layer, 13, shape) for layer in layers]
        each = [predict(layer_jobs(job, shape), shape).cycles for job in jobs]
        assert record["cycles"] == each[0] + 2 * each[1] + each[2]
        columns = [sum(job.columns) for job in jobs]
        assert record["ideal_cycles"] == (columns[0] + 2 * columns[1] + columns[2]) * -(
            -13 // shape.rows)


def test_dense_shapes_take_what_their_columns_say():
    masks = dataclasses.replace(TINY.masks(dataclasses.replace(PRUNED, compression=1.0)),
                                attention=())
    for shape, record in zip(SHAPES, cycles_of(masks, 9), strict=True):
        wanted = 0
        for outputs, inputs, kind, count in TINY.shape.linears():
            wanted += count * layer_cycles(
                [inputs] * -(-outputs // shape.cols), rows=shape.rows, cols=shape.cols,
                lanes=shape.lanes, tokens=9, in_features=inputs, out_features=outputs,
                bus_bytes=shape.bus_bytes, act_words=100, weight_bits=shape.weight_bits,
                raw=kind == "raw", lut=kind == "lut")
        assert record["cycles"] == wanted


@pytest.mark.parametrize("bits", [8, 4])
def test_an_artefact_takes_the_cycles_of_its_receipt(tmp_path, bits):
    """Attention's products included, to the cycle; several jobs a layer."""
    rng = np.random.default_rng(7)
    layers = {name: random_layer(rng, name=name, inputs=inputs, outputs=20, p=5, q=4,
                                 weight_bits=bits, raw=name[-1] == "o")
              for block in "01" for name, inputs in (
                  (f"encoder.{block}.q", 20), (f"encoder.{block}.k", 20),
                  (f"encoder.{block}.v", 20), (f"encoder.{block}.o", 40))}
    attention = [Attention(name=f"encoder.{block}", heads=4, head_size=5, **{
        role: f"encoder.{block}.{role[0]}" for role in ("query", "key", "value")})
        for block in "01"]
    write_artefact(tmp_path, list(layers.values()), {FIELD: [one.as_dict() for one in attention]})
    workload = ArtefactWorkload(tmp_path)
    assert workload.attention == (Heads(heads=4, size=5, count=2),)
    assert workload.pruning is not None
    masks, shape = workload.masks(workload.pruning), dataclasses.replace(
        UnitShape.of(CONFIG), weight_bits=bits)
    for tokens in (7, 30):
        receipt = make_receipt("tiny", with_products(layers, attention, tokens), tokens=tokens,
                               config=CONFIG).total()["pruned"]
        record, = cycles_of(masks, tokens, [shape])
        assert record["cycles"] == receipt["cycles"]
        assert record["ideal_cycles"] == receipt["ideal_cycles"]


def test_a_key_knows_everything_that_decides_a_point(monkeypatch):
    masks, shape = TINY.masks(PRUNED), SHAPES[0]
    keys = {point_key(masks, shape, 17), point_key(masks, shape, 18),
            point_key(TINY.masks(dataclasses.replace(PRUNED, compression=2.0)), shape, 17)}
    for field in dataclasses.fields(shape):
        changed = dataclasses.replace(shape, **{field.name: 2 * getattr(shape, field.name)}) \
            if field.name != "lanes" else dataclasses.replace(shape, lanes=3)
        keys.add(point_key(masks, changed, 17))
    assert len(keys) == 3 + len(dataclasses.fields(shape))
    assert point_key(TINY.masks(PRUNED), shape, 17) in keys, "the same again"
    for attention in ((), (Heads(heads=6, size=4, count=2),), (Heads(heads=3, size=8),)):
        other = dataclasses.replace(masks, attention=attention)
        assert point_key(other, shape, 17) not in keys
    monkeypatch.setattr(module, "code_digest", lambda: "another cycle model")
    assert point_key(masks, shape, 17) not in keys


def test_a_worker_with_another_cycle_model_refuses(monkeypatch):
    chunk, = chunks_of(TINY.masks(PRUNED), 17, [("k", SHAPES[0])], 5)
    monkeypatch.setattr(module, "code_digest", lambda: "another")
    with pytest.raises(RuntimeError, match="another cycle model than this one; install the same"):
        evaluate_chunk(chunk)


def test_chunks_hold_each_point_once():
    points = [(f"k{index}", shape) for index, shape in enumerate(SHAPES)]
    chunks = chunks_of(TINY.masks(PRUNED), 17, points, 5)
    assert [len(chunk.keys) for chunk in chunks] == [5, 5, 5, 1]
    assert sorted(key for chunk in chunks for key in chunk.keys) == sorted(k for k, _ in points)
    assert dict(pair for chunk in chunks
                for pair in zip(chunk.keys, chunk.shapes, strict=True)) == dict(points)
