"""Bench for the board's design: whole sentences by the driver that users have, through the pins.

Runs in a folder that holds artefact folders: ``nibbles``, an encoder with weights of 4 bits, and
``wide``, one that is too large; ``DIVISOR`` is in the environment.
"""
import random
from pathlib import Path

import cocotb

from sparseloom.hw.host import Host
from sparseloom.hw.link_client import Transport
from sparseloom.model.errors import InputError
from sparseloom.sim.backends import BoardBackend
from sparseloom.sim.noise import NoisyLine
from sparseloom.sim.offload import OffloadRun, run_offload
from sparseloom.sim.tb_board import STALL, client, start_pins, within_limit


def run(line: Transport, folder: str, seed: int) -> tuple[OffloadRun, Host]:
    """A sentence of a folder's own over a line."""
    host = Host(line, stall=100 * STALL, client=client(line, seed))
    return run_offload(Path(folder), BoardBackend(host), name="board", count=1,
                       max_tokens=5), host


def check(found: OffloadRun) -> None:
    """Every product of the encoder ran, and nothing differs."""
    assert found.exact, found
    assert found.layers == 6
    assert found.products == 6 + 2 * 2                   # two products of attention, two heads
    assert found.integers > 300 and found.answer_values == 8


@cocotb.test()
async def a_sentence_over_a_bad_line(dut):
    """Frames are lost, changed and added to in both directions: asked again, and all is equal.

    The model has weights of 4 bits, which the board's unit takes as such of 8.
    """
    pins = await start_pins(dut)
    line = NoisyLine(pins, rng=random.Random(3), share=0.15)
    found, host = await within_limit(run, line, "nibbles", 2)
    check(found)
    assert {harm.split(" ", 1)[1] for harm in line.done} == {"to the board", "from the board"}
    assert host.link.seen["again"] >= 3, host.link.seen
    dut._log.warning("harm %s, seen %s", dict(line.done), dict(host.link.seen))


@cocotb.test()
async def another_geometry(dut):
    """A model that the board's unit is too small for is refused by what its registers tell."""
    pins = await start_pins(dut)

    def refused():
        try:
            run(pins, "wide", 4)
        except InputError as error:
            return str(error)
        raise AssertionError("a layer that does not fit")

    says = await within_limit(refused)
    assert says == ("layer encoder.layer.0.output.dense, inputs: expected at most max_k = 64, as "
                    "the board's register MAX_K says, found 80"), says
