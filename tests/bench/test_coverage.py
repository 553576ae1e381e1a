"""Coverage: points as Verilator writes them, and what the page says of them."""
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench import coverage
from sparseloom.sim.build import COVERAGE_FILE, build_simulator, tool_environment

UNIT = r"""module sparseloom(input aclk);
  reg [1:0] count = 0;
  reg never = 0;
  always @* begin
    if (\$init ) begin end
  end
  always @(posedge aclk) begin
    if (count == 2) never <= 0;
    else count <= count + 1;
    if (never) count <= 3;
  end
  wire \$init = 0;
endmodule
"""
BENCH = """module bench(input aclk);
  parameter BUS_BYTES = 4;
  reg [3:0] age = 0;
  sparseloom unit(.aclk(aclk));
  always @(posedge aclk) begin
    age <= age + 1;
    if (age == 9) $finish;
  end
endmodule
"""


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """A small unit's points, by Verilator itself, after ten cycles."""
    folder = tmp_path_factory.mktemp("coverage")
    verilog, bench = folder / "sparseloom.v", folder / "bench.v"
    verilog.write_text(UNIT)
    bench.write_text(BENCH)
    build = build_simulator(verilog, bus_bytes=4, bench=bench, python=False, coverage=True,
                            cache=folder / "cache")
    subprocess.run([build.folder / "bench"], cwd=folder, check=True, capture_output=True,
                   env=tool_environment())
    return coverage.read_points(folder / COVERAGE_FILE, verilog)


def test_points_of_a_simulation(counted):
    lines = {place.split(":")[0]: count for (kind, _, place), count in counted.items()
             if kind == "line" and "if" in place}
    assert lines["10"] == 0                     # the branch of a bit that never rises
    assert "5" not in lines                     # no code
    toggles = {place.split(" ", 1)[1]: count for (kind, _, place), count in counted.items()
               if kind == "toggle"}
    assert toggles["count[1]:0->1"] == 1 and toggles["count[1]:1->0"] == 0
    assert toggles["never:0->1"] == 0
    assert {module for _, module, _ in counted} == {"sparseloom"}     # nothing of the bench


def test_row_and_page_say_what_was_never_met(counted):
    row: dict[str, Any] = {**coverage.rtl_row(counted), "jobs": 3, "seed": 1}
    assert row["toggle"][0] < row["toggle"][1] and 0 < row["line"][0] < row["line"][1]
    assert any("never:0->1" in place for place in row["missed"]["sparseloom"])
    text = coverage.page_part({"rtl": {"tiny": row}})
    met, every = row["line"]
    assert f"| tiny | 3 | {met} of {every} | {100 * met / every:.1f} |" in text
    assert "Python: not measured." in text


def test_python_is_told_with_its_parts():
    text = coverage.page_part({"python": {"parts": {"tests/hw": True}, "lines": [9, 10],
                                          "files": {"hw/job.py": [9, 10]}}})
    assert "90.0 % of the lines" in text and "by tests/hw;" in text and "`hw/job.py` 90 %" in text
    assert "RTL: not measured." in text


def test_points_met_in_two_runs_are_added(counted):
    points = coverage.Counter({("line", "sparseloom", "99:1 if"): 0})
    coverage.add(points, counted)
    coverage.add(points, counted)
    assert points["line", "sparseloom", "99:1 if"] == 0
    assert all(points[point] == 2 * count for point, count in counted.items())


def test_a_file_without_the_units_points_is_refused(tmp_path):
    (tmp_path / "sparseloom.v").write_text(UNIT)
    (tmp_path / COVERAGE_FILE).write_text("# SystemC::Coverage-3\n")
    with pytest.raises(ValueError, match=r"expected points of sparseloom.v, found none"):
        coverage.read_points(tmp_path / COVERAGE_FILE, tmp_path / "sparseloom.v")


def test_every_part_of_the_suite_is_counted():
    tests = Path(coverage.ROOT, "tests")
    left_out = {"tests/formal"}                 # it runs processes of its own
    there = {f"tests/{path.name}" for path in tests.iterdir()
             if (path.is_dir() and list(path.glob("test_*.py"))) or path.name.startswith("test_")}
    assert there - left_out == set(coverage.PARTS)
