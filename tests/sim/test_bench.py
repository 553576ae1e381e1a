"""The bench itself: player, recorder and monitor, on a stand-in that sends back what it gets."""
import json
from pathlib import Path

import numpy as np
import pytest

from sparseloom.sim.beats import read_beats, write_beats
from sparseloom.sim.build import build_simulator
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.run import run_bench

LOOPBACK = Path(__file__).with_name("loopback.v")
BUS_BYTES = 8


def octets(size: int, seed: int = 1) -> bytes:
    return np.random.default_rng(seed).integers(0, 256, size).astype(np.uint8).tobytes()


@pytest.mark.parametrize("bus_bytes", [4, 8, 16])
@pytest.mark.parametrize("sizes", [[1], [16, 17], [300, 4, 1, 33]])
def test_beats_are_inverse(tmp_path, bus_bytes, sizes):
    packets = [octets(size, size) for size in sizes]
    beats = write_beats(tmp_path / "in", packets, bus_bytes)
    assert beats == sum(-(-size // bus_bytes) for size in sizes)
    # what the recorder would write: the other way round, TUSER behind it
    width = 3 + bus_bytes
    raw = (tmp_path / "in").read_bytes()
    (tmp_path / "out").write_bytes(b"".join(raw[i:i + width][::-1] + b"\0"
                                            for i in range(0, len(raw), width)))
    assert read_beats(tmp_path / "out", bus_bytes) == [(packet, False) for packet in packets]


def test_record_by_hand(tmp_path):
    write_beats(tmp_path / "in", [bytes([1, 2, 3, 4, 5])], 4)
    assert (tmp_path / "in").read_bytes().hex(" ") == "00 00 0f 04 03 02 01 01 00 01 00 00 00 05"
    (tmp_path / "out").write_bytes(bytes.fromhex("01 02 03 04 0f 00 00 00 ee 00 00 00 01 00 01 01"))
    assert read_beats(tmp_path / "out", 4) == [(bytes([1, 2, 3, 4, 0xEE]), True)]


@pytest.mark.parametrize(("record", "message"), [
    ("01 02 03 04 0f 00 00 00", "1 beats after the last"),
    ("01 02 03 04 0f 00", "expected recorded beats"), (None, "expected recorded beats")])
def test_damaged_records(tmp_path, record, message):
    if record:
        (tmp_path / "out").write_bytes(bytes.fromhex(record))
    with pytest.raises(SimulationError, match=message):
        read_beats(tmp_path / "out", 4)


def test_no_empty_packets(tmp_path):
    with pytest.raises(ValueError, match="a packet needs a byte"):
        write_beats(tmp_path / "in", [b""], 4)


def play(folder: Path, *, acts: list[bytes], gap: int = 0, broken: int = 0,
         limit: int = 20_000) -> dict:
    """Loop packets back; returns the bench's own counts."""
    build = build_simulator(LOOPBACK, bus_bytes=BUS_BYTES)
    write_beats(folder / "weights0.bin", [octets(100)], BUS_BYTES)
    write_beats(folder / "acts0.bin", acts, BUS_BYTES)
    job = {"inputs": 1, "outputs": 1, "tokens": 1, "zero_point": broken}
    (folder / "plan.json").write_text(json.dumps({
        "jobs": [job] * len(acts), "seed": 5, "limit": limit, "wait": 5,
        "gaps": dict.fromkeys(("weights", "acts", "results"), gap)}))
    outcomes = run_bench(build, folder, module="sparseloom.sim.tb_layer")
    assert [outcome.failure for outcome in outcomes] == [None]
    return json.loads((folder / "outcome.json").read_text())


@pytest.mark.parametrize("gap", [0, 128])
def test_what_is_played_is_recorded(tmp_path, gap):
    acts = [octets(4001), octets(1, 2), octets(64, 3)]
    outcome = play(tmp_path, acts=acts, gap=gap)
    assert read_beats(tmp_path / "results0.bin", BUS_BYTES) == [(packet, False) for packet in acts]
    beats = sum(-(-len(packet) // BUS_BYTES) for packet in acts)
    assert outcome["finished"] and outcome["late_beats"] == 0
    assert outcome["act_beats"] == outcome["result_beats"] == beats
    assert outcome["weight_beats"] == 13
    if gap:
        assert 1.5 * beats < outcome["cycles"] < 4 * beats
    else:
        assert outcome["cycles"] == beats + 1       # one register


@pytest.mark.parametrize(("broken", "rule"), [
    (1, "an offer was withdrawn"), (2, "an offer changed"), (4, "a short beat before the last"),
    (8, "TUSER without TLAST")])
def test_a_broken_rule_fails_the_run(tmp_path, broken, rule):
    with pytest.raises(SimulationError, match=rf"^a rule of the ports was broken, bench\.unit\."
                                              rf"rules\.\S+ at \d+ ns: {rule}; to run it again: "):
        play(tmp_path, acts=[octets(800)], gap=128, broken=broken, limit=2000)
