"""Contracts on the unit's own netlist: kept by it, broken by a mutant, and no wire is missing."""
import pytest

from sparseloom.sim.mutation.design import MutatedDesign, list_candidates, owners
from sparseloom.sim.queues import BUILDS
from tests.formal.in_unit import CONTRACTS, breaks_contract, seen

CONFIG = BUILDS["1x1"]
MODULE = r"""
module \dut
  wire width 4 input 1 \i
  wire width 3 \i__payload.data
  wire \i__valid
  wire output 2 \o__valid
  wire \other
end
"""


def test_wires_of_a_name_are_seen_from_outside():
    text, wires = seen(MODULE, (r"i__\w+(?:\.\w+)?",))
    assert [(wire.name, wire.width, wire.kind) for wire in wires] == [
        ("i", 4, "input"), ("i__payload.data", 3, "output"), ("i__valid", 1, "output"),
        ("o__valid", 1, "output")]
    assert r"  wire width 3 output 1001 \i__payload.data" in text
    assert r"  wire output 1002 \i__valid" in text and "  wire \\other\n" in text


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """A folder for the tools, and mutants of all of the unit."""
    return tmp_path_factory.mktemp("mutants"), list_candidates(CONFIG, seed=1, pool=12_000)[1]


@pytest.mark.parametrize("place", ["unit.acts_port", "unit.array.link_0_0"])
def test_a_component_keeps_its_contract_and_a_mutant_does_not(place, pool):
    folder, mutants = pool
    design = MutatedDesign(folder=folder / "design", config=CONFIG, mutants=())
    kind = owners(CONFIG)[place]
    assert kind in CONTRACTS
    assert breaks_contract(design, None, place) == ""
    inverted = [one for one in mutants if one.place == place and one.option("mode") == "inv"
                and one.cell_type in ("mux", "dff")]
    assert breaks_contract(design, inverted[0], place) == f"the contract of {kind}"
