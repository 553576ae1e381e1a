import pytest
from rich.console import Console

from sparseloom.hw.fit_report import Components, describe_path, fit_table

SCOPES = ["core", "core.unit", "core.unit.array", "core.unit.array.cell_1_1",
          "core.unit.array.cell_1_10", "core.unit.strip_loader", "core.unit.strip_loader.expand"]


@pytest.mark.parametrize(("cell", "component"), [
    ("core.unit.array.cell_1_1.total_TRELLIS_FF_Q_5", "array.cell_1_1"),
    ("core.unit.array.cell_1_10.multiplier_MULT18X18D", "array.cell_1_10"),
    ("core.unit.array.cell_1_1", "array.cell_1_1"),
    ("core.unit.strip_loader.expand.inputs_TRELLIS_FF_Q_3_DI_LUT4_Z", "strip_loader.expand"),
    ("core.unit.strip_loader.surplus_LUT4_C_Z.odd", "strip_loader"),
    ("core.unit.$signal$298_TRELLIS_FF_Q", "unit"),
    ("core.s_axil_wready_LUT4_Z", "unit"),
    ("core.s_axil_wdata_TRELLIS_FF_Q_7", "wrapper"),
    ("fold0_q_TRELLIS_FF_Q_38_DI_LUT4_Z_D_PFUMX", None),
    ("fold4_q_TRELLIS_FF_Q", "wrapper"),
    ("serial_out$tr_io", "wrapper"),
    ("shift_q_TRELLIS_FF_Q_9", "wrapper"),
    ("$nextpnr_CCU2C_26$CCU2_COMB0", None),
])
def test_a_cell_belongs_to_the_longest_instance_of_its_name(cell, component):
    assert Components(SCOPES).of(cell) == component


def step(delay, kind, start, end):
    return {"delay": delay, "type": kind, "from": {"cell": start, "port": "Q"},
            "to": {"cell": end, "port": "D"}}


def test_a_path_is_the_components_it_goes_through():
    a, b, c = (f"core.unit.{name}" for name in ("strip_loader.x", "array.cell_1_1.y", "z"))
    path = [step(0.5, "clk-to-q", a, a), step(1.25, "routing", a, b), step(0.25, "logic", b, b),
            step(0.1, "routing", b, "$made"), step(0.4, "logic", "$made", "$made"),
            step(2.0, "routing", "$made", c), step(0.0, "setup", c, c)]
    found = describe_path(path, Components(SCOPES))
    assert found == {
        "from": "strip_loader", "to": "unit", "ns": 4.5, "logic_ns": 1.15, "routing_ns": 3.35,
        "through": [{"component": "strip_loader", "logic_ns": 0.5, "routing_ns": 0.0},
                    {"component": "array.cell_1_1", "logic_ns": 0.65, "routing_ns": 1.35},
                    {"component": "unit", "logic_ns": 0.0, "routing_ns": 2.0}]}


def test_no_path_is_no_error():
    assert describe_path([], Components(SCOPES))["through"] == []


def test_table_tells_what_was_found():
    report = {
        "device": {"part": "LFE5U-25F", "package": "CABGA381", "speed": 6, "comb": 24288,
                   "ff": 24288, "dsp": 28, "bram": 56},
        "config": {"rows": 4, "cols": 4, "lanes": 4, "target": "generic"}, "macs": 16,
        "fmax_mhz": {"median": 51.5, "seeds": {"1": 50.0, "2": 53.0}}, "lut4": 1000, "comb": 1600,
        "ff": 3200, "dsp": 24, "bram": 41, "wrapper": {"lut4": 31, "ff": 361}, "seconds": 12.4,
        "cached": True,
        "critical_path": {"seed": 1, "ns": 20.0, "routing_ns": 11.0, "through": [
            {"component": "strip_loader", "logic_ns": 9.0, "routing_ns": 11.0}]}}
    console = Console(width=100, record=True)
    console.print(fit_table(report))
    text = console.export_text()
    for words in ("LFE5U-25F, CABGA381, speed grade 6", "51.5 MHz, the median of 50.0, 53.0",
                  "1,600 of 24,288, 100.0 a MAC", "24 of 28", "31 LUT4, 361 flip-flops",
                  "seed 1: 20.00 ns, of which wires 11.00", "strip_loader",
                  "12, from earlier runs"):
        assert words in text
