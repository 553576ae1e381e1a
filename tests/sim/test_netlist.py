"""The synthesised unit, cell by cell, through the contract's cases of the unit."""
import re

import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.errors import ToolError
from sparseloom.hw.synthesis import CHILD
from sparseloom.hw.tool import run_tool
from sparseloom.sim.build import build_simulator
from sparseloom.sim.cases import write_cases
from sparseloom.sim.netlist import LOOK_UP_TABLE, slice_models, unit_netlist, yosys_models
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


def prove_tables_equal(folder, ours):
    """By SAT: on each bit of INIT alone, which both models select only, and on a few mixed ones."""
    inits = [1 << bit for bit in range(16)] + [0, 0xFFFF, 0x6996, 0xFC0A]
    yosys, = filter(None, map(LOOK_UP_TABLE.search, yosys_models()))
    pairs = "".join(
        f"  {kind} #(.INIT(16'h{init:04x})) {kind}_{init} (a, b, c, d, {kind.lower()}[{at}]);\n"
        for at, init in enumerate(inits) for kind in ("OURS", "LUT4"))
    (folder / "pairs.v").write_text(
        f"{yosys.group()}{ours.replace('module LUT4', 'module OURS')}"
        f"module pairs(input a, b, c, d, output differ);\n"
        f"  wire [{len(inits) - 1}:0] ours, lut4;\n{pairs}  assign differ = ours != lut4;\n"
        "endmodule\n")
    run_tool("yosys", CHILD, ["read_verilog pairs.v", "prep -flatten -top pairs",
                              "sat -verify -prove differ 0 pairs"],
             folder=folder, log=folder / "log", keep_log=folder / "log", seconds=60)


def test_our_look_up_table_is_that_of_yosys(tmp_path):
    ours, = filter(None, map(LOOK_UP_TABLE.search, slice_models()))
    assert len(ours.group().splitlines()) < 10
    prove_tables_equal(tmp_path, ours.group())
    swapped = ours.group().replace("{D, C, B, A}", "{D, C, A, B}")
    assert swapped != ours.group()
    with pytest.raises(ToolError):
        prove_tables_equal(tmp_path, swapped)
