"""Mutants: which are chosen, how they are awoken, that tests kill them and nothing kills none."""
import re
from dataclasses import replace

import pytest

from sparseloom.hw.synthesis import CHILD
from sparseloom.hw.tool import run_tool
from sparseloom.model.errors import InputError
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.mutation import equivalence
from sparseloom.sim.mutation import hunt as module
from sparseloom.sim.mutation.design import (
    FLAT,
    Mutant,
    awake,
    choose,
    flat_bench,
    list_candidates,
    owners,
    place_of,
    read_candidates,
    with_mutants,
)
from sparseloom.sim.mutation.directed import directed_plays
from sparseloom.sim.mutation.equivalence import shown_equivalent
from sparseloom.sim.mutation.hunt import Verdict, hunt, read_verdicts
from sparseloom.sim.queues import BUILDS
from sparseloom.sim.regress.case import draw_case

BUILD = "1x1"
LISTED = r"""
mutate -mode inv -module m -cell $flatten\unit.\crc.$xor$a.v:1$2 -port Y -portbit 3 -wire q -src a
mutate -mode inv -module m -cell $flatten\unit.\crc.$xor$a.v:1$2 -port Y -portbit 3 -src b
mutate -mode const0 -module m -cell $flatten\unit.$procdff$7 -port CLK -portbit 0
mutate -mode const1 -module m -cell $flatten\unit.\array.\cell_0_0.$procdff$8 -port D -portbit 0
mutate -mode const1 -module m -cell $not$a.v:9$9 -port A -portbit 0
"""
TYPES = {r"$flatten\unit.\crc.$xor$a.v:1$2": "xor", r"$flatten\unit.$procdff$7": "dff",
         r"$flatten\unit.\array.\cell_0_0.$procdff$8": "dff", "$not$a.v:9$9": "not"}
FILES = {"unit": "unit", "unit.crc": "crc", "unit.array": "array", "unit.array.cell_0_0": "cell"}


def mutant(number: int, component: str = "crc", *, array: bool = False) -> Mutant:
    """One that is not looked into."""
    return Mutant(number=number, component=component, place="unit.x", array=array, cell_type="and",
                  command=f"mutate -mode inv -cell c{number} -port Y -portbit 0")


# Choice


def test_candidates_once_each_and_no_clocks():
    found = read_candidates(LISTED, FILES, TYPES)
    assert [(one.component, one.place, one.cell_type, one.array) for one in found] == [
        ("crc", "unit.crc", "xor", False), ("cell", "unit.array.cell_0_0", "dff", True),
        ("top", "top", "not", False)]
    assert found[0].what == "inv of xor Y[3] to q"


def test_places():
    assert place_of(r"$flatten\unit.\array.\cell_0_0.$add$a.v:3$4") == "unit.array.cell_0_0"
    assert place_of(r"$flatten\unit.$procmux$12") == "unit"
    assert place_of("$not$a.v:1$1") == ""


def test_owners_are_files_of_hw():
    found = owners(BUILDS[BUILD])
    assert found["unit"] == "unit" and found["unit.array"] == "array"
    assert found["unit.strip_loader.crc"] == "crc" and found["unit.queue"] == "job_queue"


def test_quotas_of_a_choice():
    pool = [mutant(number, name, array=name == "cell") for number, name in enumerate(
        ["crc"] * 300 + ["cell"] * 900 + ["drain"] * 12, 1)]
    chosen = choose(pool, 120, 1)
    assert [one.number for one in chosen] == list(range(1, 121))
    names = [one.component for one in chosen]
    assert names.count("drain") >= 10 and 30 < names.count("cell") <= 40
    assert choose(pool, 120, 1) == chosen != choose(pool, 120, 2)
    assert len({one.command for one in chosen}) == 120


def test_a_choice_that_cannot_be():
    with pytest.raises(InputError, match="expected at least 30 for 10 of each component, found 29"):
        choose([mutant(number, name) for number, name in enumerate("abc" * 20, 1)], 29, 1)
    with pytest.raises(InputError, match="expected at least 30 for 10"):
        choose([mutant(number, "cell", array=True) for number in range(1, 99)], 12, 1)
    with pytest.raises(InputError, match="expected 50, found 40 candidates"):
        choose([mutant(number) for number in range(1, 41)], 50, 1)


def test_control_is_a_plusarg():
    text = ("module sparseloom(aclk, mutant, irq);\n  input aclk;\n  input [15:0] mutant;\n"
            "  wire [15:0] mutant;\nendmodule\n")
    assert awake(text) == (
        "module sparseloom(aclk, irq);\n  input aclk;\n  reg [15:0] mutant;\n"
        '  initial if (!$value$plusargs("mutant=%d", mutant)) mutant = 0;\nendmodule\n')
    with pytest.raises(InputError, match="expected a port mutant, found aclk, irq"):
        awake("module sparseloom(aclk, irq);\nendmodule\n")


def test_bench_of_a_flat_unit():
    assert flat_bench(".run(unit.unit.fault.run), .a(unit.x)") == (
        ".run(unit.\\unit.fault.run ), .a(unit.x)")


# Runs


class FakeHunt:
    """Kills even numbers, and says which it was asked for."""

    asked: list[int]
    broken = False

    def __init__(self, *_):
        type(self).asked = []

    def play(self, number: int) -> Verdict:
        self.asked.append(number)
        killed = self.broken if number == 0 else number % 2 == 0
        return Verdict(number=number, killed=killed, equivalent=False, case=3 if killed else None,
                       problem="wrong" if killed else "", cases=4, seconds=0.1,
                       prover=module.prover())


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """A hunt without simulator: what it is asked for, and the folder of its records."""
    monkeypatch.setattr(module, "Hunt", FakeHunt)
    monkeypatch.setattr(FakeHunt, "broken", False)
    design = module.MutatedDesign(folder=tmp_path, config=BUILDS[BUILD],
                                  mutants=tuple(mutant(number) for number in range(1, 9)))
    return design, tmp_path / "records"


def test_a_run_that_was_stopped_goes_on(fake):
    design, records = fake
    cases = [draw_case(1, 0, [BUILD])]
    whole = hunt(design, cases, records=records)
    assert [verdict.killed for verdict in whole] == [False, True] * 4
    file, = records.glob("*.jsonl")
    lines = file.read_text().splitlines()
    kept = [line for line in lines if '"number": 3,' in line or '"number": 6,' in line]
    file.write_text("\n".join([*kept, lines[0][:20]]) + "\n")
    assert hunt(design, cases, records=records) == whole
    assert sorted(FakeHunt.asked) == [0, 1, 2, 4, 5, 7, 8]
    FakeHunt.asked = []
    assert hunt(design, cases, records=records, only=[2, 5]) == [whole[1], whole[4]]
    assert FakeHunt.asked == [] and sorted(read_verdicts(file)) == list(range(1, 9))


def test_another_prover_looks_at_survivors_again(fake, monkeypatch):
    design, records = fake
    cases = [draw_case(1, 0, [BUILD])]
    hunt(design, cases, records=records)
    monkeypatch.setattr(module, "prover", lambda: "another")
    assert {verdict.prover for verdict in hunt(design, cases, records=records)
            if not verdict.killed} == {"another"}
    assert sorted(FakeHunt.asked) == [0, 1, 3, 5, 7]


def test_other_cases_are_other_verdicts(fake):
    design, records = fake
    for index in (0, 1):
        hunt(design, [draw_case(1, index, [BUILD])], records=records)
        assert sorted(FakeHunt.asked) == list(range(9))
    assert len(list(records.glob("*.jsonl"))) == 2


def test_the_unchanged_design_must_pass(fake, monkeypatch):
    monkeypatch.setattr(FakeHunt, "broken", True)
    with pytest.raises(SimulationError, match="case 3: expected the unchanged design to pass"):
        hunt(fake[0], [draw_case(1, 0, [BUILD])], records=fake[1])


def test_mutants_of_a_small_build(tmp_path, monkeypatch):
    """Fatal ones die, one that is none lives, and only what lives is shown equivalent."""
    monkeypatch.setattr(equivalence, "MOST_SEARCHES", 0)    # minutes: tested on a small design
    monkeypatch.setattr(equivalence, "MOST_OPENED", 0)
    config = BUILDS[BUILD]
    listed, pool = list_candidates(config, seed=1, pool=4000, cache=tmp_path)
    some = list(choose(pool, 30, 1, least=1))[::2]
    netlist = (listed / FLAT).read_text()
    running, = re.findall(r"cell \$dff (\S+)\n(?:    .*\n)*?    connect \\Q \\unit\.fault\.run\n",
                          netlist)
    fatal = replace(some[0], command=f"mutate -mode const0 -module sparseloom -cell {running} "
                                     "-port Q -portbit 0")
    # No change at all.
    none = replace(fatal, command=fatal.command.replace("-mode const0", "-mode none"))
    mutants = [replace(one, number=number) for number, one in enumerate([*some, fatal, none], 1)]
    design = with_mutants(config, listed, mutants)
    cases = [draw_case(1, index, [BUILD]) for index in range(36)]
    verdicts = hunt(design, cases, records=tmp_path / "records")
    *others, killed, same = verdicts
    assert killed.killed and killed.cases <= 4 and killed.problem
    assert not same.killed and same.equivalent and same.cases == module.EARLY
    assert sum(verdict.killed for verdict in others) >= 10
    for verdict in [killed, *(one for one in others if one.killed)][:3]:
        assert not shown_equivalent(design, mutants[verdict.number - 1])


DESIGN = """
module sparseloom(input aclk, input go, output reg seen, output safe);
  reg [2:0] ring = 1;
  reg idle = 0;
  always @(posedge aclk) begin
    if (go) ring <= {ring[1:0], ring[2]};
    idle <= go;
    seen <= ring[0] & ~ring[1];
  end
  assign safe = ring[2];
endmodule
"""
"""Of a ring with one bit up, ``ring[1]`` tells nothing where ``ring[0]`` is up."""


@pytest.mark.parametrize(("mode", "pin", "equal", "searched"), [
    ("none", "A", True, False), ("const1", "Y", True, True), ("const0", "Y", False, True)])
def test_states_that_are_never_reached(tmp_path, mode, pin, equal, searched):
    """What differs only there is shown by the search; what differs elsewhere is not."""
    (tmp_path / "d.v").write_text(DESIGN)
    steps = ["read_verilog d.v", "hierarchy -top sparseloom", "proc", "rename -wire t:$not",
             f"write_rtlil {FLAT}"]
    run_tool("yosys", CHILD, steps, folder=tmp_path, log=tmp_path / "log", seconds=60,
             keep_log=tmp_path / "kept")
    inverter, = re.findall(r"cell \$not (\S+)", (tmp_path / FLAT).read_text())
    change = replace(mutant(1), command=f"mutate -mode {mode} -module sparseloom -cell {inverter} "
                                        f"-port {pin} -portbit 0")
    design = module.MutatedDesign(folder=tmp_path, config=BUILDS[BUILD], mutants=(change,))
    assert shown_equivalent(design, change, search=False) == (equal and not searched)
    assert shown_equivalent(design, change) == equal


def test_directed_cases_spoil_every_bit_that_has_one_value():
    """Each fault once, and no two cases alike."""
    cases = directed_plays("3x5")
    faults = [case.event.fault for case in cases if case.event]
    assert len(faults) == len(set(faults)) > 300
    assert {"bit 15 of reserved", "bit 4 of weight_bits", "bit 95 of the trailer",
            "bit 7 of reserved of output 2"} <= set(faults)
    assert len({str(case) for case in cases}) == len(cases)
    assert max(stall.cycles for case in cases for stall in case.stalls.values()) > 1 << 16
