import io
import json

import numpy as np
import pytest
from rich.console import Console
from rich.progress import Progress

from sparseloom.model.errors import InputError
from sparseloom.sim import job_streams
from sparseloom.sim import layer as module
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.layer import run_layer, split_tokens
from sparseloom.sim.run import main
from tests.layers import random_acts, random_layer, useful_share
from tests.sim.test_unit import CONFIGS

CONFIG = CONFIGS["3x5"]


def make(rng_seed: int = 1, tokens: int = 14, **shape):
    rng = np.random.default_rng(rng_seed)
    layer = random_layer(rng, **{"inputs": 40, "outputs": 24, "p": 8, "q": 8, **shape})
    return layer, random_acts(rng, tokens, layer.in_features)


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("shape", [{}, {"structure": "block", "lut": True}, {"raw": True}],
                         ids=["column", "block-lut", "raw"])
def test_every_output_is_right(shape, stall):
    layer, x = make(**shape)
    run = run_layer(layer, x, CONFIG, stall=stall)
    assert (run.outputs, run.mismatches, run.tokens, run.jobs) == (14 * 24, 0, 14, 3)
    assert (run.results == run.expected).all() and run.results.shape == (14, 24)
    assert run.first_mismatch() is None and run.folder is None
    assert run.ideal_cycles < run.cycles and 0 < run.utilisation < 1
    counters = dict(run.counters)
    assert counters.pop("busy") == sum(counters.values())
    assert counters["active"] == run.ideal_cycles
    assert run.predicted_cycles == (None if stall else run.cycles)     # three jobs, a queue of two
    if not layer.raw:
        assert useful_share(run.results) > 0.5
    assert json.loads(json.dumps(run.as_dict()))["cycles"] == run.cycles


@pytest.mark.parametrize(("stall", "shape"), [(0.0, {"lut": True}), (0.4, {"raw": True})])
def test_weights_of_4_bits(stall, shape):
    layer, x = make(weight_bits=4, **shape)
    run = run_layer(layer, x, CONFIGS["3x5w4-ecp5"], stall=stall)
    assert (run.outputs, run.mismatches) == (14 * 24, 0)
    assert run.predicted_cycles == (None if stall else run.cycles)


def test_stalls_cost_cycles_and_seeds_matter():
    layer, x = make()
    cycles = [run_layer(layer, x, CONFIG, stall=stall, seed=seed).cycles
              for stall, seed in ((0, 1), (0.4, 1), (0.4, 1), (0.4, 2))]
    assert cycles[0] < cycles[1] == cycles[2] != cycles[3]


@pytest.mark.parametrize(("tokens", "inputs", "sizes"), [
    (1, 1, [1]), (3, 45, [3]), (6, 45, [6]), (7, 45, [3, 4]), (300, 1, [300]),
    (301, 1, [150, 151]), (14, 40, [3, 6, 5]), (27, 20, [12, 15]), (15, 20, [15]),
])
def test_tokens_are_spread_evenly(tokens, inputs, sizes):
    found = split_tokens(tokens, inputs=inputs, config=CONFIG)      # R = 3, act_words 100
    assert found == sizes
    assert sum(found) == tokens
    assert all(-(-size // 3) * inputs <= 100 for size in found)


def test_refusals():
    layer, x = make()
    with pytest.raises(InputError, match=r"layer layer, activations: expected int8 of shape \(M, "
                                         r"40\), found int32"):
        run_layer(layer, x.astype(np.int32), CONFIG)
    with pytest.raises(InputError, match=r"found int8 of shape \(14, 39\)"):
        run_layer(layer, x[:, 1:], CONFIG)
    with pytest.raises(InputError, match=r"expected 1\.\.65535 tokens, found 0"):
        run_layer(layer, x[:0], CONFIG)
    with pytest.raises(InputError, match=r"stall: expected 0 to 0\.99, found 1"):
        run_layer(layer, x, CONFIG, stall=1)
    four, _ = make(weight_bits=4)
    with pytest.raises(InputError, match="layer layer, weight_bits: expected 8, as the unit was "
                                         "built, found 4"):
        run_layer(four, x, CONFIG)
    wide, x = make(inputs=48)
    with pytest.raises(InputError, match="expected at most max_k = 45, found 48"):
        run_layer(wide, x, CONFIG)
    with pytest.raises(InputError, match="expected at most max_k = 45, found 46"):
        split_tokens(1, inputs=46, config=CONFIG)


def test_a_wrong_output_is_counted_and_kept(monkeypatch):
    """The oracle is bent, since the unit cannot be."""
    layer, x = make()
    right = module.linear(layer, x)

    def bent(*_):
        values = right.copy()
        values[3, 7] ^= 1
        values[13, 23] ^= 1
        return values

    monkeypatch.setattr(module, "linear", bent)
    run = run_layer(layer, x, CONFIG)
    assert run.mismatches == 2 and run.outputs == 14 * 24
    assert run.first_mismatch() == {"token": 3, "output": 7, "expected": int(right[3, 7] ^ 1),
                                    "found": int(right[3, 7])}
    assert run.folder is not None and (run.folder / "results0.bin").is_file()


def spoil(monkeypatch, name, change, module=module):
    encode = getattr(module, name)
    monkeypatch.setattr(module, name, lambda *a, **k: change(encode(*a, **k)))


def test_an_error_of_the_unit_is_told_with_a_replay(monkeypatch, capsys, tmp_path):
    layer, x = make()
    spoil(monkeypatch, "encode_weights", lambda data: data[:-1] + bytes([data[-1] ^ 1]),
          module=job_streams)
    with pytest.raises(SimulationError, match=r"layer layer: the unit reports crc \(packet "
                                              r"trailer: CRC-32 does not hold\) in strip 4; to "
                                              r"run it again: python"):
        run_layer(layer, x, CONFIG, folder=tmp_path / "run")
    monkeypatch.setattr("sys.argv", ["run", str(tmp_path / "run")])
    with pytest.raises(SystemExit) as left:
        main()
    assert left.value.code == 0 and "run_plan: passed" in capsys.readouterr().out


def test_a_hang_is_told(monkeypatch, tmp_path):
    layer, x = make(tokens=3)
    spoil(monkeypatch, "encode_acts", lambda data: data)
    real = module.write_beats

    def without_acts(path, packets, bus_bytes):
        return real(path, packets if path.name == "weights0.bin" else [], bus_bytes)

    monkeypatch.setattr(module, "write_beats", without_acts)
    with pytest.raises(SimulationError, match="the unit did not finish"):
        run_layer(layer, x, CONFIG, folder=tmp_path)


def test_progress_and_the_built_signal():
    layer, x = make()
    progress = Progress(console=Console(file=io.StringIO()))
    built = []
    run_layer(layer, x, CONFIG, progress=progress, built=lambda: built.append(1))
    task, = progress.tasks
    assert built == [1] and task.finished and task.description == "layer in RTL"


def test_waves(tmp_path):
    layer, x = make(inputs=4, outputs=3, p=1, q=1, tokens=2)
    run = run_layer(layer, x, CONFIGS["1x1"], waves=True, folder=tmp_path)
    assert run.mismatches == 0 and run.waves is not None
    assert run.waves == tmp_path / "dump.vcd"
    text = run.waves.read_text()
    assert "$enddefinitions" in text and "aclk" in text and text.count("#") > 100
