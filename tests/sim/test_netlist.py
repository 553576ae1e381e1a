"""The synthesised unit, cell by cell, through the contract's cases of the unit."""
import re

import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.sim.build import build_simulator
from sparseloom.sim.cases import write_cases
from sparseloom.sim.netlist import unit_netlist
from sparseloom.sim.run import replay_command, run_bench
from tests.sim.test_unit import make_cases

CELLS = {"ecp5": {"MULT18X18D": 16 + 2 * 4, "DP16KD": 12},
         "generic": {"MULT18X18D": 16 + 2 * 4, "DP16KD": 8}}
"""At least: of target ``ecp5`` those that the generator asks for, of ``generic`` inferred ones."""


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("target", CELLS)
def test_netlist(target, tmp_path):
    config = ArrayConfig(rows=4, cols=4, max_k=72, act_words=144, bus_bits=64, queue_depth=4,
                         target=target)
    netlist = unit_netlist(config)
    text = netlist.read_text()
    for cell, count in CELLS[target].items():
        assert len(re.findall(rf"^ +{cell} ", text, re.MULTILINE)) >= count
    plain = text[text.index("module sparseloom"):]
    assert " * " not in plain and "always" not in plain, "cells and wires alone"
    build = build_simulator(netlist, bus_bytes=config.bus_bytes)
    write_cases(tmp_path, config, make_cases(config))
    outcomes = run_bench(build, tmp_path, module="sparseloom.sim.tb_unit")
    failures = [f"{outcome.name}: {outcome.failure}" for outcome in outcomes if outcome.failure]
    assert not failures, "\n".join([*failures, f"to run it again: {replay_command(tmp_path)}"])
    assert len(outcomes) >= 20
