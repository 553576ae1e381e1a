"""Script and streams' ends without Python, on a stand-in that sends back what it gets."""
import numpy as np
import pytest

from sparseloom.hw.job import Job
from sparseloom.sim.beats import read_beats, write_beats
from sparseloom.sim.build import TOP, Build, build_simulator
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.long_run import LOG, LONG_RUN, JobQueue, replay_command, run_long
from tests.sim.test_bench import BUS_BYTES, LOOPBACK, octets


@pytest.fixture(scope="module")
def simulator() -> Build:
    return build_simulator(LOOPBACK, bus_bytes=BUS_BYTES, bench=LONG_RUN, python=False)


def make_queue(folder, number, acts, *, gap=0, broken=0, early=2, limit=20_000):
    """A queue's files, and what is to be done with them; a job for each packet."""
    write_beats(folder / f"weights{number}.bin", [octets(100)], BUS_BYTES)
    write_beats(folder / f"acts{number}.bin", acts, BUS_BYTES)
    job = Job(inputs=1, outputs=1, tokens=1, zero_point=broken)
    return JobQueue(jobs=[job] * len(acts), early=early, wait=5, limit=limit, seed=3,
                    gaps=dict.fromkeys(("weights", "acts", "results"), gap))


@pytest.mark.parametrize("gap", [0, 128])
def test_what_is_played_is_recorded(simulator, tmp_path, gap):
    packets = [[octets(4001), octets(1, 2), octets(64, 3)], [octets(201, 4)]]
    queues = [make_queue(tmp_path, number, acts, gap=gap) for number, acts in enumerate(packets)]
    found = run_long(simulator, tmp_path, queues)
    assert len(found) == 2
    for number, (one, acts) in enumerate(zip(found, packets, strict=True)):
        assert read_beats(tmp_path / f"results{number}.bin", BUS_BYTES) == [
            (packet, False) for packet in acts]
        beats = sum(-(-len(packet) // BUS_BYTES) for packet in acts)
        assert one.finished and not one.failed
        assert one.refused == one.late_beats == 0
        assert one.beats == {"weights": 13, "acts": beats, "results": beats}
        assert len(one.pushes) == len(acts) and one.pushes == sorted(one.pushes)
        # The first two before the first beat, the third as soon as reading says that it may.
        assert all(push < 0 for push in one.pushes[:2]) and all(
            0 < push < 50 for push in one.pushes[2:])
        assert one.counters == dict.fromkeys(one.counters, 0x100), "all that the stand-in answers"
    long = found[0].end - found[0].first_act + 1
    assert (502 + 9 < long < 4 * 510) if gap else long == 510 + 1       # one register


def test_a_broken_rule_fails_the_run(simulator, tmp_path):
    queue = make_queue(tmp_path, 0, [octets(800)], gap=128, broken=2, limit=4000)
    with pytest.raises(SimulationError, match=r"results\.payload_stable at \d+ ns: an offer changed"
                                              r"; to run it again: \(cd "):
        run_long(simulator, tmp_path, [queue])


def test_no_wait_is_longer_than_the_limit(simulator, tmp_path):
    queues = [make_queue(tmp_path, 0, [octets(80)], limit=700),
              make_queue(tmp_path, 1, [octets(80)])]
    write_beats(tmp_path / "acts0.bin", [], BUS_BYTES)
    one, = run_long(simulator, tmp_path, queues)
    assert not one.finished and one.failed and one.beats["acts"] == 0


def test_gaps_follow_the_seed(simulator, tmp_path):
    ends = []
    for seed in (1, 1, 2):
        queue = make_queue(tmp_path, 0, [octets(4000)], gap=100)
        queue = JobQueue(**{**queue.__dict__, "seed": seed})
        ends.append(run_long(simulator, tmp_path, [queue])[0].end)
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize(("script", "code"), [("exit 3", 3), ("exit 0", 0),
                                              (f"echo 1 0 > {LOG}", 0), (f"echo x > {LOG}", 0)])
def test_a_simulator_that_dies(tmp_path, script, code):
    program = tmp_path / "build" / TOP
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\necho no licence\n{script}\n")
    program.chmod(0o755)
    build = Build(folder=program.parent, waves=False, cached=True)
    (tmp_path / "run").mkdir()
    queue = make_queue(tmp_path / "run", 0, [octets(8)])
    with pytest.raises(SimulationError, match=rf"ended with code {code} in mid-script; .* run it "
                                              rf"again: \(cd .*run && .*/{TOP}\)"):
        run_long(build, tmp_path / "run", [queue])
    assert "no licence" in (tmp_path / "run" / "log.txt").read_text()


def test_replay(simulator, tmp_path):
    assert replay_command(simulator, tmp_path) == f"(cd {tmp_path} && {simulator.folder / 'bench'})"


def test_steps_are_plain(simulator, tmp_path):
    """A script is a text that one can read and change."""
    run_long(simulator, tmp_path, [make_queue(tmp_path, 0, [octets(8), octets(8)], early=1)])
    steps = (tmp_path / "script.txt").read_text().splitlines()
    words = [line.split()[0] for line in steps]
    assert words[:5] == ["sleep", "limit", "gaps", "write", "write"]
    assert words.count("until") == 2 and words.index("until") < words.index("play")
    assert words.index("play") < words.index("done")
    assert all(len(line.split()) == 3 for line in steps)
    assert np.array_equal([int(word, 16) for word in steps[2].split()[1:]], [0, 3])
