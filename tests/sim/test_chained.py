"""A feed-forward block on two units in RTL, results wired to activations."""
import math
from dataclasses import replace

import numpy as np
import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.reference import accumulate, linear, requantise
from sparseloom.sim import chain as module
from sparseloom.sim import job_streams
from sparseloom.sim.chain import check_chain, run_chain
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.queues import BUILDS
from tests.layers import random_acts, random_layer, useful_share

CONFIGS = {
    # R divides the bus or does not; one lane, some, all; short queues. Where
    # nothing speaks against it as in sim/queues.py, so that its Verilog is made once.
    "3x5": ArrayConfig(rows=3, cols=5, max_k=60, act_words=120, bus_bits=32, block_inputs=8,
                       lanes=1, queue_depth=2),
    "8x4": BUILDS["8x4"], "1x1": BUILDS["1x1"],
}
SHAPES = {
    # K, hidden, N, M: multiples of nothing; one of each; whole strips and groups; a token more.
    "ragged": (29, 47, 23, 17), "single": (1, 1, 1, 1), "whole": (16, 60, 20, 40),
    "last_lane": (13, 41, 16, 16),
}


def gelu_table(scale: float, zero_point: int, out_scale: float, out_zero_point: int) -> np.ndarray:
    """GELU of every byte on one scale, as bytes on another."""
    real = scale * (np.arange(-128, 128) - zero_point)
    gelu = np.array([value / 2 * (1 + math.erf(value / math.sqrt(2))) for value in real])
    return np.clip(np.rint(gelu / out_scale) + out_zero_point, -128, 127).astype(np.int8)


def make_block(config: ArrayConfig, shape: str, *, raw: bool = True,
               ) -> tuple[PackedLayer, PackedLayer, np.ndarray]:
    """A seeded feed-forward block, pruned, with GELU between its matrices; activations."""
    inputs, hidden, outputs, tokens = SHAPES[shape]
    inputs, hidden = min(inputs, config.max_k), min(hidden, config.max_k)
    rng = np.random.default_rng([config.rows, config.cols, list(SHAPES).index(shape)])
    p = 5 if hidden % 5 == 0 else 1
    density = 1.0 if shape == "single" else 0.4
    first = random_layer(rng, name="ffn1", inputs=inputs, outputs=hidden, p=p, density=density)
    between = {"scale": 4 / 255, "zero_point": -117}
    table = gelu_table(0.05, first.output_zero_point, *between.values())
    first = replace(first, output_scale=0.05, lut=table, lut_scale=between["scale"],
                    lut_zero_point=between["zero_point"])
    second = random_layer(rng, name="ffn2", inputs=hidden, outputs=outputs, density=density,
                          raw=raw, empty_outputs=slice(0, config.cols) if outputs > 5 else None)
    second = replace(second, input_scale=between["scale"],
                     input_zero_point=between["zero_point"])
    return first, second, random_acts(rng, tokens, inputs)


@pytest.mark.parametrize("geometry", CONFIGS)
def test_data_is_not_trivial(geometry):
    """Before the table at least half is neither clamped nor zero; behind it many values differ."""
    first, _, x = make_block(CONFIGS[geometry], "ragged")
    sums = accumulate(x, first.dense_weight(), first.bias)
    y = requantise(sums, first.mult, first.shift, first.output_zero_point)
    assert useful_share(y) >= 0.5
    assert len(np.unique(linear(first, x))) > 30


@pytest.mark.parametrize(("shape", "stall"), [
    ("ragged", 0.0), ("ragged", 0.4), ("single", 0.0), ("whole", 0.4), ("last_lane", 0.0)])
@pytest.mark.parametrize("geometry", CONFIGS)
def test_results_are_the_next_units_activations(geometry, shape, stall):
    config = CONFIGS[geometry]
    first, second, x = make_block(config, shape)
    run = run_chain(first, second, x, config, stall=stall, seed=7)
    tokens, outputs = len(x), second.out_features
    assert run.results.shape == (tokens, outputs) and run.results.dtype == np.int32
    assert (run.results == linear(second, linear(first, x))).all()
    assert (run.outputs, run.mismatches, run.wire_mismatches) == (tokens * outputs, 0, 0)
    assert run.exact and run.folder is None
    # Whole words of R bytes for each hidden channel, token lanes beyond M included.
    groups = -(-tokens // config.rows)
    assert run.wire_bytes == groups * config.rows * first.out_features
    assert run.jobs == -(-groups // (config.act_words // max(first.in_features,
                                                            first.out_features)))


def test_bytes_at_the_end_as_well():
    config = CONFIGS["3x5"]
    first, second, x = make_block(config, "ragged", raw=False)
    run = run_chain(first, second, x, config)
    assert run.exact and run.results.dtype == np.int8 and run.jobs > config.queue_depth


def test_pauses_reach_the_wires():
    config = CONFIGS["3x5"]
    first, second, x = make_block(config, "ragged")
    cycles = [run_chain(first, second, x, config, stall=stall).cycles for stall in (0.0, 0.4)]
    assert cycles[0] < cycles[1]


def test_the_second_unit_holds_the_first_up():
    """Few inputs before, many behind: both halves of the second unit fill, and nothing is lost."""
    config, rng = CONFIGS["3x5"], np.random.default_rng(3)
    first = random_layer(rng, name="ffn1", inputs=2, outputs=60, density=1.0, lut=True)
    second = replace(random_layer(rng, name="ffn2", inputs=60, outputs=60, density=1.0, raw=True),
                     input_scale=first.lut_scale, input_zero_point=first.lut_zero_point)
    run = run_chain(first, second, random_acts(rng, 32, 2), config)
    assert run.exact and run.jobs > 4 and run.link_waits > 500


def test_a_wrong_byte_on_the_wires_is_told(monkeypatch):
    """The oracle's first layer is bent, since the unit cannot be."""
    config = CONFIGS["3x5"]
    first, second, x = make_block(config, "ragged")
    right = module.linear

    def bent(layer, x):
        values = right(layer, x)
        if layer.name == "ffn1":
            values[3, 7] ^= 1
        return values

    monkeypatch.setattr(module, "linear", bent)
    run = run_chain(first, second, x, config)
    assert run.wire_mismatches == 1 and not run.exact and run.folder is not None


@pytest.mark.parametrize(("unit", "message"), [
    ("ffn1", r"layers ffn1 and ffn2: the first unit reports crc "),
    ("ffn2", r"layers ffn1 and ffn2: the second unit reports crc "),
])
def test_an_error_never_becomes_a_result(monkeypatch, unit, message, tmp_path):
    """A packet's CRC fails: the chain ends with TUSER, whichever unit it was."""
    config = CONFIGS["3x5"]
    first, second, x = make_block(config, "ragged")
    encode = job_streams.encode_weights

    def spoil(layer, **settings):
        data = encode(layer, **settings)
        return data[:-1] + bytes([data[-1] ^ 1]) if layer.name == unit else data

    monkeypatch.setattr(job_streams, "encode_weights", spoil)
    with pytest.raises(SimulationError, match=message):
        run_chain(first, second, x[:3], config, folder=tmp_path)
    void = b"\x01\x01"                              # TLAST and TUSER
    assert (tmp_path / "results0.bin").read_bytes().endswith(void)
    if unit == "ffn1":
        assert (tmp_path / "link0.bin").read_bytes().endswith(void)


def test_refusals():
    config = CONFIGS["3x5"]
    first, second, x = make_block(config, "ragged")
    with pytest.raises(InputError, match=r"layer ffn2, raw: expected int8 results for the next "
                                         r"layer, found int32 sums"):
        check_chain(second, first)
    with pytest.raises(InputError, match=r"layers ffn1 and ffn1: expected as many outputs as "
                                         r"inputs, found 47 and 29"):
        check_chain(first, first)
    with pytest.raises(InputError, match=r"zero_point between them: expected the same on both "
                                         r"sides, found -117 and -116"):
        check_chain(first, replace(second, input_zero_point=-116))
    with pytest.raises(InputError, match="scale between them: expected the same"):
        check_chain(first, replace(second, input_scale=1.0))
    plain = replace(first, lut=None, lut_scale=0.0, lut_zero_point=0)
    with pytest.raises(InputError, match="scale between them"):
        check_chain(plain, second)
    check_chain(plain, replace(second, input_scale=0.05,
                               input_zero_point=first.output_zero_point))
    with pytest.raises(InputError, match=r"expected int8 of shape \(M, 29\), found int8 of shape "
                                         r"\(17, 28\)"):
        run_chain(first, second, x[:, 1:], config)
    with pytest.raises(InputError, match=r"stall: expected 0 to 0\.99, found 1"):
        run_chain(first, second, x, config, stall=1)
