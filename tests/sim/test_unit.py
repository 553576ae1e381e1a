"""The generated Verilog in Verilator, by cocotb: odd builds, every corner of the contract."""
from dataclasses import replace

import numpy as np
import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.packed import spec
from sparseloom.model.reference import accumulate, requantise
from sparseloom.sim.build import build_simulator
from sparseloom.sim.cases import write_cases
from sparseloom.sim.queues import BUILDS
from sparseloom.sim.run import replay_command, run_bench
from sparseloom.sim.verilog import unit_verilog
from tests.layers import random_acts, random_layer, useful_share

CONFIGS = {
    "3x5": BUILDS["3x5"],
    "1x1": BUILDS["1x1"],
    "3x5-ecp5": replace(BUILDS["3x5"], target="ecp5"),
    "3x5w4-ecp5": ArrayConfig(rows=3, cols=5, max_k=45, act_words=100, bus_bits=32,
                              block_inputs=8, queue_depth=2, weight_bits=4, target="ecp5"),
    "2x8w4": BUILDS["2x8w4"],
    "8x4": BUILDS["8x4"],
}


def make_cases(config: ArrayConfig) -> list:
    """Layers and activations: corners of K, N, M, masks and kinds of results."""
    rng = np.random.default_rng(config.rows * 100 + config.cols)
    rows, cols, max_k = config.rows, config.cols, config.max_k
    ragged_k = config.block_inputs * 2 + 5                      # ends inside a block
    cases = []

    def add(name, tokens, **shape):
        layer = random_layer(rng, name=name, weight_bits=config.weight_bits, **shape)
        cases.append((layer, random_acts(rng, tokens, layer.in_features)))

    add("one", 1, inputs=1, outputs=1, density=1.0)
    add("one_input", rows + 1, inputs=1, outputs=cols + 1, density=1.0)
    # N = 3C - 1, two outputs a block: strips straddle blocks where C is odd.
    wide = 3 * cols - 1 if cols > 1 else 4
    add("ragged", rows + 1, inputs=ragged_k, outputs=wide, p=2 if wide % 2 == 0 else 1)
    add("second", 1, inputs=3 * 8, outputs=cols, p=cols, q=8, density=0.6)
    add("blocks", 2 * rows, inputs=40, outputs=2 * cols, p=cols, q=8, structure="block")
    add("rows", rows + 2, inputs=36, outputs=2 * cols + 2, p=2 * cols + 2, q=4, structure="row",
        density=0.3)
    add("full", rows, inputs=max_k, outputs=2 * cols, density=1.0)
    add("empty_first", rows + 1, inputs=20, outputs=3 * cols, p=cols, empty_outputs=slice(0, cols))
    add("empty_middle", rows + 1, inputs=20, outputs=3 * cols, p=cols,
        empty_outputs=slice(cols, 2 * cols))
    add("empty_last", 2 * rows + 1, inputs=20, outputs=3 * cols, p=cols,
        empty_outputs=slice(2 * cols, None))
    add("all_empty", rows + 1, inputs=20, outputs=cols + 1, density=0.0)
    add("lut", rows + 2, inputs=ragged_k, outputs=2 * cols + 1, lut=True)
    add("lut_other", 2, inputs=9, outputs=cols, lut=True)
    add("raw", 2 * rows + 1, inputs=21, outputs=2 * cols + 1, raw=True)
    add("raw_blocks", 1, inputs=32, outputs=3 * cols, p=cols, q=8, structure="block", raw=True)
    add("most_words", config.act_words // 20 * rows, inputs=20, outputs=cols, density=0.5)
    # Exact halves of both signs at x = 0, and what is just above and below, for every alignment.
    ties = random_layer(rng, name="ties", inputs=1, outputs=18, density=1.0,
                        weight_bits=config.weight_bits)
    ties.weights[:] = 1
    shift = np.arange(16, 34)
    bias = np.where(shift % 2, 3, -3) << (shift - 16)
    cases.append((replace(ties, mult=np.full(18, 1 << 15, np.uint16), shift=shift.astype(np.uint8),
                          bias=bias.astype(np.int32), output_zero_point=-3),
                  np.arange(-1, 2 * rows, dtype=np.int8)[:, None]))
    # The ends of both ranges, and sums that clamp on either side.
    scales = random_layer(rng, name="scales", inputs=20, outputs=12, density=1.0,
                          weight_bits=config.weight_bits)
    cases.append((replace(scales, mult=np.tile(np.array([32768, 65535, 40000], np.uint16), 4),
                          shift=np.repeat(np.array([1, 47, 33, 25], np.uint8), 3)),
                  random_acts(rng, rows + 1, 20)))
    extreme = random_layer(rng, name="extreme", inputs=max_k, outputs=2 * cols, density=1.0,
                           raw=True, weight_bits=config.weight_bits)
    limit = spec.WEIGHT_LIMIT[config.weight_bits]
    extreme.weights[:] = np.where(rng.random(extreme.weights.shape) < 0.5, -limit, limit)
    extreme.weights[0] = limit
    cases.append((extreme, np.full((rows, max_k), -128, np.int8)))
    return cases


@pytest.mark.parametrize("geometry", CONFIGS)
def test_data_is_not_trivial(geometry):
    """At least half of the int8 results are neither clamped nor zero, before any table."""
    for layer, x in make_cases(CONFIGS[geometry]):
        if layer.raw or layer.name in ("one", "scales"):
            continue
        sums = accumulate(x, layer.dense_weight(), layer.bias)
        y = requantise(sums, layer.mult, layer.shift, layer.output_zero_point)
        assert useful_share(y) >= 0.5, layer.name


@pytest.mark.parametrize("geometry", CONFIGS)
def test_rounding_is_visible(geometry):
    """Any other rounding of halves changes a result of the ``ties`` case."""
    (layer, x), = [case for case in make_cases(CONFIGS[geometry]) if case[0].name == "ties"]
    product = accumulate(x, layer.dense_weight(), layer.bias).astype(np.int64) << 15
    unit = 1 << layer.shift.astype(np.int64)
    halves = product % unit * 2 == unit
    assert (halves & (product > 0)).sum() > 8 and (halves & (product < 0)).sum() > 8


@pytest.mark.parametrize("geometry", CONFIGS)
def test_unit(geometry, tmp_path):
    config = CONFIGS[geometry]
    build = build_simulator(unit_verilog(config), bus_bytes=config.bus_bytes)
    write_cases(tmp_path, config, make_cases(config))
    outcomes = run_bench(build, tmp_path, module="sparseloom.sim.tb_unit")
    failures = [f"{outcome.name}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    assert not failures, "\n".join([*failures, f"to run it again: {replay_command(tmp_path)}"])
    assert len(outcomes) >= 20
