"""The unit that is kept alive: queues, pauses, errors, hangs, a process that dies or sleeps."""
import gc
import os
import signal
from dataclasses import replace

import numpy as np
import pytest

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.job import Job
from sparseloom.model.errors import InputError
from sparseloom.model.packed.cycles import UnitJob, UnitShape, layer_jobs, predict
from sparseloom.model.packed.stream import decode_results, encode_acts, encode_weights
from sparseloom.model.reference import linear
from sparseloom.sim.errors import SimulationError
from sparseloom.sim.server import RtlServer, ServedJob
from tests.layers import random_acts, random_layer

CONFIG = ArrayConfig(rows=3, cols=5, max_k=96, act_words=200, bus_bits=32, block_inputs=8,
                     queue_depth=2)
WIDE = ArrayConfig(rows=2, cols=3, max_k=40, act_words=80, bus_bits=128)
SHAPES = [{"inputs": 20, "outputs": 13, "raw": True}, {"inputs": 37, "outputs": 5, "lut": True},
          {"inputs": 1, "outputs": 6}, {"inputs": 40, "outputs": 11, "density": 0.1}]


def make_jobs(config, seed=1, count=6):
    """Random layers with activations, and the same as jobs."""
    rng = np.random.default_rng(seed)
    work, jobs = [], []
    for index in range(count):
        layer = random_layer(rng, name=f"layer.{index}", **SHAPES[index % len(SHAPES)])
        x = random_acts(rng, 1 + index % 5, layer.in_features)
        work.append((layer, x))
        jobs.append(ServedJob(
            name=layer.name, job=Job.of(layer, len(x), index), acts=encode_acts(
                x, rows=config.rows, cols=config.cols),
            weights=encode_weights(layer, cols=config.cols, block_inputs=config.block_inputs,
                                   tag=index)))
    return work, jobs


def check(config, work, played):
    assert len(played.results) == len(work)
    for (layer, x), data in zip(work, played.results, strict=True):
        found = decode_results(data, tokens=len(x), outputs=layer.out_features, rows=config.rows,
                               cols=config.cols, raw=layer.raw)
        assert np.array_equal(found, linear(layer, x)), layer.name


@pytest.fixture(scope="module")
def server():
    with RtlServer(CONFIG, long_run=False) as made:
        yield made


def test_one_process_plays_queue_after_queue(server):
    """Same process, same cycles each time, as many as the cycle model says."""
    shape, first = UnitShape.of(CONFIG), server.queues
    for seed in (1, 2, 1):
        work, jobs = make_jobs(CONFIG, seed)
        pid, played = server.pid, server.play(jobs)
        assert server.pid == pid
        check(CONFIG, work, played)
        units = [job for layer, x in work
                 for job in layer_jobs(UnitJob.of(layer, len(x), shape), shape)]
        model = predict(units, shape, pushes=played.pushes)
        assert (played.cycles, played.counters) == (model.cycles, model.counters())
        assert played.counters["active"] > 0
    assert server.queues == first + 3
    assert server.play([]).results == []


@pytest.mark.parametrize("stall", [0.3, 0.9])
def test_pauses_on_every_stream(stall):
    """What is held up comes all the same, later."""
    work, jobs = make_jobs(CONFIG)
    with RtlServer(CONFIG, long_run=False) as free, RtlServer(
            CONFIG, stall=stall, seed=7, long_run=False) as slow:
        played = slow.play(jobs)
        assert played.cycles > free.play(jobs).cycles
    check(CONFIG, work, played)


def test_the_widest_bus():
    with RtlServer(WIDE, long_run=False) as server:
        work, jobs = make_jobs(WIDE, count=4)
        check(WIDE, work, server.play(jobs))


def test_an_error_of_the_unit_is_told_and_forgotten(server):
    work, jobs = make_jobs(CONFIG)
    damaged = bytearray(jobs[2].weights)
    damaged[-20] ^= 4                                    # in reserved bits: only the CRC sees it
    with pytest.raises(SimulationError, match=r"job layer.2 \(3 of 6\): the unit reports crc"):
        server.play([*jobs[:2], replace(jobs[2], weights=bytes(damaged)), *jobs[3:]])
    with pytest.raises(SimulationError, match=r"job layer.0 \(1 of 2\): the unit reports job"):
        server.play([jobs[0], replace(jobs[1], job=replace(jobs[1].job, inputs=0))])
    check(CONFIG, work, server.play(jobs))


def test_a_hang_explains_itself(server):
    """Activations are missing: the message says of which job, and what moved."""
    work, jobs = make_jobs(CONFIG)
    with pytest.raises(SimulationError) as caught:
        server.play([*jobs[:5], replace(jobs[5], acts=b"")])
    message = str(caught.value)
    assert message.startswith("job layer.5 (6 of 6): expected a beat on some stream within ")
    weights = sum(len(job.weights) for job in jobs)
    acts = sum(len(job.acts) for job in jobs[:5])
    assert f"weights {weights} of {weights} bytes, activations {acts} of {acts} bytes" in message
    assert "bytes of its results came; 6 of 6 jobs were pushed; status {'busy': 1" in message
    assert "'stall_acts': 5" in message
    check(CONFIG, work, server.play(jobs))


def test_a_process_that_sleeps(tmp_path):
    _, jobs = make_jobs(CONFIG)
    server = RtlServer(CONFIG, patience=0.5, long_run=False)
    server.play(jobs)
    os.kill(server.pid, signal.SIGSTOP)
    with pytest.raises(SimulationError, match=r"layer.0 \(1 of 6\): expected an answer of the "
                       rf"simulator within 0.5 s, found that process {server.pid} answered no "):
        server.play(jobs)
    with pytest.raises(SimulationError, match="expected a running process, found it closed"):
        server.play(jobs)
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_process_that_dies():
    _, jobs = make_jobs(CONFIG)
    server = RtlServer(CONFIG, long_run=False)
    os.kill(server.pid, signal.SIGKILL)
    with pytest.raises(SimulationError, match=rf"process {server.pid} ended with code -9"):
        server.play(jobs)


def test_nobody_left_behind():
    server = RtlServer(CONFIG, long_run=False)
    pid = server.pid
    os.kill(pid, 0)
    del server
    gc.collect()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_bad_share_of_pauses():
    with pytest.raises(InputError, match=r"stall: expected 0 to 0\.99, found 1\.5"):
        RtlServer(CONFIG, stall=1.5)
