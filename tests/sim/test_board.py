"""The board's design in Verilator, by the driver that users have, through its serial pins."""
import numpy as np
import pytest

from sparseloom.hw.board import Board, board_verilog
from sparseloom.hw.config import ArrayConfig
from sparseloom.model.config import QuantizeConfig
from sparseloom.model.flow import quantize_checkpoint
from sparseloom.sim import build
from sparseloom.sim.build import build_simulator
from sparseloom.sim.cases import write_cases
from sparseloom.sim.run import replay_command, run_bench
from tests.layers import random_acts, random_layer
from tests.model.tiny import similarity_task, tiny_checkpoint

DIVISOR = 8
CONFIGS = {
    "3x5": ArrayConfig(rows=3, cols=5, max_k=45, act_words=100, bus_bits=32, block_inputs=8),
    "4x4": ArrayConfig(rows=4, cols=4, max_k=64, act_words=128, bus_bits=64),
}


@pytest.mark.timeout(900)
@pytest.mark.parametrize("geometry", CONFIGS)
def test_board(tmp_path, geometry):
    config = CONFIGS[geometry]
    rng = np.random.default_rng(config.cols)
    rows, cols = config.rows, config.cols
    shapes = {
        "plain": (rows, {"inputs": 37, "outputs": 2 * cols + 1}),
        "table": (rows + 1, {"inputs": 20, "outputs": cols, "lut": True}),
        "raw": (2 * rows + 1, {"inputs": 21, "outputs": cols + 1, "raw": True}),
        # More tokens than the activation buffer holds: several jobs.
        "long": (config.act_words // 40 * rows + 2, {"inputs": 40, "outputs": cols}),
    }
    cases = []
    for name, (tokens, shape) in shapes.items():
        layer = random_layer(rng, name=name, **shape)
        cases.append((layer, random_acts(rng, tokens, layer.in_features)))
    write_cases(tmp_path, config, cases)
    run_board(tmp_path, config, "sparseloom.sim.tb_board", tests=6)


def run_board(folder, config, module, *, tests):
    """All tests of a bench pass, on a board of this unit."""
    verilog = folder / "board.v"
    verilog.write_text(board_verilog(Board(config, divisor=DIVISOR, data_bytes=128,
                                           stream_bytes=256, idle_cycles=2000)))
    simulator = build_simulator(verilog, bus_bytes=config.bus_bytes,
                                bench=build.BENCH.with_name("board_bench.v"))
    outcomes = run_bench(simulator, folder, module=module, environment={"DIVISOR": str(DIVISOR)})
    failures = {one.name: one.failure for one in outcomes if one.failure}
    assert not failures, f"to run it again: {replay_command(folder)}\n" + "\n".join(
        f"{name}: {failure}" for name, failure in failures.items())
    assert len(outcomes) == tests


@pytest.mark.timeout(900)
def test_whole_sentences(tmp_path):
    """An encoder with every kind of layer, attention's products among them, on the board."""
    for name, bits, ffn in (("nibbles", 4, 16), ("wide", 8, 80)):
        made = tiny_checkpoint(tmp_path / "checkpoints" / name, hidden=8, ffn=ffn, depth=1,
                               heads=2)
        quantize_checkpoint(made, similarity_task(), tmp_path / name, p=8, q=8, evaluate=False,
                            quantize=QuantizeConfig(weight_bits=bits))
    run_board(tmp_path, CONFIGS["4x4"], "sparseloom.sim.tb_offload", tests=2)
