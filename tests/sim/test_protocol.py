"""Each rule of the ports on made-up traffic: it holds on what is right, and can fail."""
import re
import subprocess
from pathlib import Path

import pytest

from sparseloom.hw.registers import TABLE
from sparseloom.sim import build
from sparseloom.sim.build import TOP, Build, build_simulator, libraries_of
from sparseloom.sim.rules import broken_rule

RULES = build.BENCH.with_name("protocol.sv")
NAMES = [
    "aresetn", *("aw" + name for name in ("addr", "valid", "ready")),
    *("w" + name for name in ("data", "strb", "valid", "ready")),
    *("b" + name for name in ("resp", "valid", "ready")),
    *("ar" + name for name in ("addr", "valid", "ready")),
    *("r" + name for name in ("data", "resp", "valid", "ready")),
    *(f"{stream}_t{name}" for stream in ("weights", "acts")
      for name in ("keep", "last", "valid", "ready")),
    *("results_t" + name for name in ("data", "keep", "last", "user", "valid", "ready"))]
"""Columns of a trace, see ``rule_bench.v``."""
IDLE = {**dict.fromkeys(NAMES, 0), "aresetn": 1, "bready": 1, "rready": 1}
WHOLE = 0xF


@pytest.fixture(scope="module")
def simulator(tmp_path_factory) -> Build:
    empty = tmp_path_factory.mktemp("rules") / "empty.v"
    empty.write_text("module sparseloom; endmodule\n")
    return build_simulator(empty, bus_bytes=4, bench=Path(__file__).with_name("rule_bench.v"),
                           python=False)


def judge(simulator: Build, folder: Path, cycles: list[dict]) -> str | None:
    """The label of the rule that the cycles break."""
    lines = [{**IDLE, "aresetn": 0}] * 2 + [{**IDLE, **cycle} for cycle in [*cycles, {}, {}]]
    (folder / "trace.txt").write_text("".join(
        " ".join(f"{line[name]:x}" for name in NAMES) + "\n" for line in lines))
    with open(folder / "log.txt", "w") as log:
        code = subprocess.run([simulator.folder / TOP], cwd=folder, stdout=log,
                              stderr=subprocess.STDOUT, check=False).returncode
    broken = broken_rule(folder / "log.txt")
    assert bool(code) == bool(broken), "a broken rule, and nothing else, ends a run with an error"
    return re.findall(r"bench\.rules\.(\S+) at", broken)[0] if broken else None


def write(name: str, value: int = 1, *, resp: int = 0, strobes: int = 0xF, apart: bool = False,
          ) -> list[dict]:
    """A register write and its answer."""
    address = {"awaddr": TABLE[name].offset, "awvalid": 1, "awready": 1}
    word = {"wdata": value, "wstrb": strobes, "wvalid": 1, "wready": 1}
    asked = [word, {}, address] if apart else [{**address, **word}]
    return [*asked, {}, {"bvalid": 1, "bresp": resp}]


def read() -> list[dict]:
    return [{"arvalid": 1}, {"arvalid": 1, "arready": 1}, {}, {"rvalid": 1, "rready": 0},
            {"rvalid": 1}]


def job(inputs: int, outputs: int, *, raw: bool = False) -> list[dict]:
    return [*write("JOB_SHAPE", 0xDEAD0000 | inputs),
            *write("JOB_SHAPE", outputs << 16, strobes=0xC, apart=True),
            *write("JOB_CONFIG", raw << 8), *write("JOB_PUSH")]


def beats(stream: str, size: int, **last: int) -> list[dict]:
    """A packet of so many bytes; each beat is offered for a cycle before it is taken."""
    count = -(-size // 4)
    packet: list[dict] = [{f"{stream}_tkeep": WHOLE} for _ in range(count)]
    packet[-1] = {f"{stream}_tkeep": WHOLE >> (4 * count - size), f"{stream}_tlast": 1,
                  **{f"{stream}_{name}": value for name, value in last.items()}}
    return [{**beat, f"{stream}_tvalid": 1, f"{stream}_tready": ready}
            for beat in packet for ready in (0, 1)]


def void() -> list[dict]:
    return beats("results", 1, tuser=1)


GOOD = {
    "registers": [*write("IRQ_MASK"), *read(), *write("JOB_PUSH", resp=2), *read()],
    # 3 inputs, 5 outputs: 6 bytes of activations make 10, raw 40.
    "jobs": [*job(3, 5), *job(3, 5, raw=True), *beats("weights", 8), *beats("acts", 6),
             *beats("weights", 16), *beats("results", 10), *beats("acts", 6),
             *beats("results", 40)],
    "error": [*job(3, 5), *job(3, 5), *beats("acts", 6), *beats("weights", 4),
              *beats("results", 8)[:-2], *void(), *write("CONTROL"), *job(2, 2), *beats("acts", 2),
              *beats("results", 2)],
    "clear": [*job(3, 5), *beats("acts", 6), *beats("results", 12)[:-2], *write("CONTROL"),
              *beats("acts", 8)[2:], *void(), *job(2, 2), *beats("acts", 2), *beats("results", 2)],
    "clear before results": [*job(3, 5), *write("CONTROL"), *[{}] * 20, *job(4, 4),
                             *beats("acts", 4), *beats("results", 4)],
    "reset": [*job(3, 5), *beats("acts", 12)[:4], {"acts_tvalid": 1}, {"aresetn": 0}, {},
              *job(4, 4), *beats("acts", 4), *beats("results", 4)],
}
OPEN = [*job(3, 5), *beats("acts", 6)]
"""A job that is to give ten bytes of results."""
BAD = {
    "weights.valid_stays": [*job(1, 1), {"weights_tvalid": 1}, {}],
    "weights.payload_stable": [*job(1, 1), *({"weights_tvalid": 1, "weights_tkeep": keep}
                                             for keep in (15, 7))],
    "acts.valid_stays": [*job(1, 1), {"acts_tvalid": 1}, {}],
    "acts.payload_stable": [*job(1, 1), *({"acts_tvalid": 1, "acts_tlast": last}
                                          for last in (0, 1))],
    "results.valid_stays": [*OPEN, {"results_tvalid": 1, "results_tkeep": 15}, {}],
    "results.payload_stable": [*OPEN, *({"results_tvalid": 1, "results_tkeep": 15,
                                         "results_tdata": data} for data in (1, 2))],
    "registers.aw.valid_stays": [{"awvalid": 1}, {}],
    "registers.aw.payload_stable": [{"awvalid": 1, "awaddr": 4}, {"awvalid": 1, "awaddr": 8}],
    "registers.w.valid_stays": [{"wvalid": 1}, {}],
    "registers.w.payload_stable": [{"wvalid": 1, "wstrb": 15}, {"wvalid": 1, "wstrb": 7}],
    "registers.b.valid_stays": [*write("IRQ_MASK")[:-1], {"bvalid": 1, "bready": 0}, {}],
    "registers.b.payload_stable": [*write("IRQ_MASK")[:-1], *(
        {"bvalid": 1, "bready": 0, "bresp": resp} for resp in (0, 2))],
    "registers.ar.valid_stays": [{"arvalid": 1}, {}],
    "registers.ar.payload_stable": [{"arvalid": 1, "araddr": 4}, {"arvalid": 1, "araddr": 8}],
    "registers.r.valid_stays": [*read()[:-1], {}],
    "registers.r.payload_stable": [*read()[:-1], {"rvalid": 1, "rdata": 1}],
    "registers.write_asked": [*write("IRQ_MASK"), {"bvalid": 1}],
    "registers.read_asked": [*read(), {"rvalid": 1}],
    "registers.write_answered": [*write("IRQ_MASK")[:-1], *[{}] * 40],
    "registers.read_answered": [*read()[:3], *[{}] * 40],
    "registers.response_code": write("IRQ_MASK", resp=1),
    "registers.silent": [*write("IRQ_MASK")[:-1], *({"aresetn": 0, "bvalid": 1},) * 2],
    "job_there": [{}, *beats("results", 4)],
    "job_there: behind the last": [*OPEN, *beats("results", 10), *beats("results", 1)],
    "job_there: refused": [*write("JOB_SHAPE", 0x10001), *write("JOB_PUSH", resp=2),
                           *beats("results", 1)],
    "job_there: cleared": [*OPEN, *write("CONTROL"), *[{}] * 20, *beats("results", 10)],
    "job_there: behind an error": [*OPEN, *void(), *beats("results", 10)],
    "job_there: reset": [*OPEN, {"aresetn": 0}, {}, *beats("results", 10)],
    "keep_whole": [*OPEN, {"results_tvalid": 1, "results_tkeep": 7}],
    "keep_gaps": [*OPEN, {"results_tvalid": 1, "results_tkeep": 5, "results_tlast": 1}],
    "keep_gaps: none": [*OPEN, {"results_tvalid": 1, "results_tkeep": 0, "results_tlast": 1}],
    "user_last": [*OPEN, {"results_tvalid": 1, "results_tkeep": 15, "results_tuser": 1}],
    "user_byte": [*OPEN, {"results_tvalid": 1, "results_tkeep": 3, "results_tuser": 1,
                          "results_tlast": 1}],
    "count_exact: one less": [*OPEN, *beats("results", 9)],
    "count_exact: one more": [*OPEN, *beats("results", 11)],
    "count_exact: raw": [*job(3, 5, raw=True), *beats("acts", 6), *beats("results", 10)],
    "acts_there": [*job(3, 5), *beats("acts", 6)[:-1], {"acts_tvalid": 1, "acts_tkeep": 3,
                   "acts_tlast": 1, "results_tvalid": 1, "results_tkeep": 15, "results_tlast": 1,
                   "results_tready": 1}],
    "weights_job": beats("weights", 4),
    "acts_job": beats("acts", 4),
    "acts_job: behind the last": [*OPEN, *beats("results", 10), *beats("acts", 6)],
    "places": [step for _ in range(33) for step in write("JOB_PUSH")],
    "silent": [*OPEN, {"aresetn": 0}, {"results_tvalid": 1, "results_tkeep": 15}],
}


@pytest.mark.parametrize("traffic", GOOD)
def test_rules_hold_on_good_traffic(simulator, tmp_path, traffic):
    assert judge(simulator, tmp_path, GOOD[traffic]) is None


@pytest.mark.parametrize("case", BAD)
def test_each_rule_can_fail(simulator, tmp_path, case):
    assert judge(simulator, tmp_path, BAD[case]) == case.split(":")[0]


def test_no_rule_is_left_out():
    labels = set(re.findall(r"(\w+): assert", RULES.read_text()))
    broken = {case.split(":")[0].split(".")[-1] for case in BAD}
    assert labels == broken


def test_every_bench_has_the_rules():
    benches = [path for path in RULES.parent.rglob("*.v")
               if re.search(r"^module bench\b", path.read_text(), re.MULTILINE)]
    assert len(benches) >= 4
    for bench in benches:
        text = bench.read_text()
        assert re.search(r"^bind sparseloom(_board)?\n    protocol ", text, re.MULTILINE), bench
        assert RULES in libraries_of(bench)
    assert {"--assert"} <= set(build.VERILATOR_FLAGS)
