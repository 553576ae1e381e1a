"""The counts of a layer, by hand and by the real streams."""
import numpy as np
import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import split_tokens
from sparseloom.model.errors import InputError
from sparseloom.model.packed.cycles import UnitJob, UnitShape, layer_jobs, predict
from sparseloom.model.packed.layer import dense_layer as run_time_layer
from sparseloom.model.packed.layer import pack_layer
from sparseloom.model.packed.stream import encode_acts, encode_weights
from sparseloom.sim.receipt.work import dense_layer, layer_work, product_work, queue_cycles
from tests.layers import random_layer
from tests.sim.receipts import ATTENTION, CONFIG, TOKENS, cycles_of, small_layers

PRODUCTS = ATTENTION.products(TOKENS)


def by_hand():
    """Two strips of four outputs with 3 and 2 of 6 inputs."""
    keep = np.zeros((8, 6), bool)
    keep[:4, :3] = keep[4:, 3:5] = True
    return pack_layer(
        name="layer", weight=keep.astype(np.int8), keep=keep, structure="column", p=4, q=1,
        bias=np.zeros(8, np.int32), mult=np.full(8, 1 << 15, np.uint16),
        shift=np.full(8, 15, np.uint8), weight_scale=np.ones(8, np.float32), input_scale=1.0,
        input_zero_point=0, output_scale=1.0, output_zero_point=0)


def test_counts_by_hand():
    found = layer_work(by_hand(), 7, ArrayConfig(rows=3, cols=4, lanes=1))
    groups, columns = 3, 3 + 2
    assert found.ideal_cycles == found.counters["active"] == columns * groups
    assert found.macs == 20 * 7
    assert found.mac_slots == columns * groups * 3 * 4
    assert found.words == {
        "acts_written": 6 * groups, "acts_read": columns * groups, "strips_written": columns,
        "strips_read": columns * groups, "results_written": 8 * groups * 3,
        "results_read": 8 * groups * 3}
    assert (found.act_bytes, found.result_bytes) == (6 * groups * 3, 8 * groups * 3)
    assert found.as_dict()["memory_words"] == sum(found.words.values())


@pytest.mark.parametrize("layer", small_layers().values(), ids=lambda layer: layer.name)
def test_bytes_are_those_of_the_streams(layer):
    found = layer_work(layer, TOKENS, CONFIG)
    sizes = split_tokens(TOKENS, inputs=layer.in_features, config=CONFIG)
    stream = encode_weights(layer, cols=5, block_inputs=8, tag=3)
    assert found.weight_bytes == len(stream) * len(sizes)
    assert found.act_bytes == sum(len(encode_acts(
        np.zeros((size, layer.in_features), np.int8), rows=3, cols=5)) for size in sizes)
    assert (len(sizes) > 1) == (layer.in_features > 32)
    assert found.model_cycles == cycles_of(layer) and found.cycles == found.model_cycles
    assert layer_work(layer, TOKENS, CONFIG, 5).cycles == 5


@pytest.mark.parametrize("layer", small_layers().values(), ids=lambda layer: layer.name)
def test_the_dense_layer_is_the_same_but_whole(layer):
    full = dense_layer(layer)
    assert full.density == 1 > layer.density
    np.testing.assert_array_equal(full.dense_weight(), layer.dense_weight())
    for name in ("bias", "mult", "shift", "lut", "raw", "input_zero_point", "output_scale"):
        np.testing.assert_array_equal(getattr(full, name), getattr(layer, name))
    assert layer_work(full, TOKENS, CONFIG).macs == TOKENS * layer.in_features * layer.out_features


def test_an_empty_strip_runs_a_column_of_zeros():
    layer = random_layer(np.random.default_rng(1), inputs=16, outputs=10, p=5, q=8,
                         empty_outputs=slice(0, 5))
    found = layer_work(layer, 3, CONFIG)
    assert found.counters["active"] == found.ideal_cycles + 1 == found.words["strips_written"]


def test_a_layer_of_4_bits_has_its_own_unit():
    layer = random_layer(np.random.default_rng(1), inputs=16, outputs=10, p=5, q=8, weight_bits=4)
    eight = random_layer(np.random.default_rng(1), inputs=16, outputs=10, p=5, q=8)
    assert layer_work(layer, 3, CONFIG).weight_bytes < layer_work(eight, 3, CONFIG).weight_bytes
    both = queue_cycles([layer, eight], 3, CONFIG)
    assert both == queue_cycles([layer], 3, CONFIG) + queue_cycles([eight], 3, CONFIG)


def test_a_queue_hides_what_a_lone_layer_pays():
    layers = list(small_layers().values())
    alone = [layer_work(layer, TOKENS, CONFIG) for layer in layers]
    assert (sum(work.counters["active"] for work in alone)
            <= queue_cycles(layers, TOKENS, CONFIG) < sum(work.cycles for work in alone))


def test_a_layer_that_does_not_fit():
    layer = random_layer(np.random.default_rng(1), inputs=64, outputs=10, p=5, q=8)
    with pytest.raises(InputError, match="inputs: expected at most max_k = 48, found 64"):
        layer_work(layer, 3, CONFIG)


@pytest.mark.parametrize("product", PRODUCTS, ids=lambda product: product.name)
def test_a_product_is_a_queue_of_its_heads(product):
    """Cycles of the queue; all else is a head's, as often as there are heads."""
    head = run_time_layer("head", np.full((product.out_features, product.in_features), 3, np.int8),
                          np.zeros(product.out_features, np.int32))
    found, one = product_work(product, TOKENS, CONFIG), layer_work(head, TOKENS, CONFIG)
    shape = UnitShape.of(CONFIG)
    queue = predict(layer_jobs(UnitJob.of(head, TOKENS, shape), shape) * 3, shape)
    assert found.model_cycles == queue.cycles and one.cycles < found.cycles < 3 * one.cycles
    for name in ("ideal_cycles", "weight_bytes", "act_bytes", "result_bytes", "macs", "mac_slots",
                 "line_bytes"):
        assert getattr(found, name) == 3 * getattr(one, name), name
    assert found.words == {name: 3 * count for name, count in one.words.items()}
    assert found.macs == 3 * product.out_features * product.in_features * TOKENS
    assert product_work(product, TOKENS, CONFIG, 9).cycles == 9
    assert found.counters["active"] <= queue_cycles([product], TOKENS, CONFIG) < found.cycles
