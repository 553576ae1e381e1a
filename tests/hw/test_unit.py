# amaranth: UnusedElaboratable=no
"""The whole unit in Amaranth's simulator, at small geometries; sim/ does the same in Verilog."""
import random

import numpy as np
import pytest

from sparseloom.hw.axi_lite import Response
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.registers import REGISTERS
from sparseloom.hw.unit import Unit
from sparseloom.model.packed.cycles import ideal_cycles
from sparseloom.model.packed.spec import ERROR_CAUSES
from sparseloom.model.packed.stream import (
    decode_results,
    encode_acts,
    encode_weights,
    reseal,
    split_packets,
    to_beats,
)
from sparseloom.model.reference import linear
from tests.hw.bench import pause, put, run, watch
from tests.layers import random_acts, random_layer

OFFSETS = {register.name: register.offset for register in REGISTERS}
CAUSES = {name: code for code, (name, _) in ERROR_CAUSES.items()}


async def write(ctx, bus, name, value):
    ctx.set(bus.awaddr, OFFSETS[name])
    ctx.set(bus.wdata, value)
    ctx.set(bus.wstrb, 15)
    ctx.set(bus.awvalid, 1)
    ctx.set(bus.wvalid, 1)
    ctx.set(bus.bready, 1)
    await ctx.tick()
    ctx.set(bus.awvalid, 0)
    ctx.set(bus.wvalid, 0)
    response, = await ctx.tick().sample(bus.bresp).until(bus.bvalid)
    return Response(response)


async def read(ctx, bus, name):
    ctx.set(bus.araddr, OFFSETS[name])
    ctx.set(bus.arvalid, 1)
    ctx.set(bus.rready, 1)
    await ctx.tick()
    ctx.set(bus.arvalid, 0)
    value, = await ctx.tick().sample(bus.rdata).until(bus.rvalid)
    return value


class Job:
    """A layer, its activations, and everything that goes to the unit for them."""

    def __init__(self, config, rng, tag, tokens, **layer):
        self.config, self.tag, self.tokens = config, tag, tokens
        self.layer = random_layer(rng, **layer)
        self.x = random_acts(rng, tokens, self.layer.in_features)
        self.weights = encode_weights(self.layer, cols=config.cols,
                                      block_inputs=config.block_inputs, tag=tag)
        self.acts = encode_acts(self.x, rows=config.rows, cols=config.cols)

    def registers(self):
        layer = self.layer
        return {
            "JOB_SHAPE": layer.in_features | layer.out_features << 16,
            "JOB_TOKENS": self.tokens | self.tag << 16,
            "JOB_CONFIG": (layer.output_zero_point & 255) | layer.raw << 8
                          | (layer.lut is not None) << 9,
        }

    def check(self, packet):
        data, user = packet
        assert user == 0
        got = decode_results(data, tokens=self.tokens, outputs=self.layer.out_features,
                             rows=self.config.rows, cols=self.config.cols, raw=self.layer.raw)
        np.testing.assert_array_equal(got, linear(self.layer, self.x))


class Bench:
    """Streams from queues of beats; results collected as packets of (bytes, TUSER)."""

    def __init__(self, config, *, stall=0.0, seed=1):
        self.config, self.stall = config, stall
        self.dut = Unit(config)
        self.rng = random.Random(seed)
        self.beats = {"weights": [], "acts": []}
        self.packets, self.hold = [], False

    def send(self, stream, data, *, last=True):
        beats = to_beats(data, self.config.bus_bytes)
        self.beats[stream] += [
            {"data": int.from_bytes(word, "little"), "keep": keep,
             "last": last and at == len(beats) - 1} for at, (word, keep) in enumerate(beats)]

    def send_job(self, job):
        self.send("weights", job.weights)
        self.send("acts", job.acts)

    async def push(self, ctx, job):
        for name, value in job.registers().items():
            assert await write(ctx, self.dut.bus, name, value) == Response.OKAY
        return await write(ctx, self.dut.bus, "JOB_PUSH", 1)

    def source(self, name):
        async def process(ctx):
            while True:
                if self.beats[name]:
                    await put(ctx, getattr(self.dut, name), self.beats[name].pop(0))
                    await pause(ctx, self.rng, self.stall)
                else:
                    await ctx.tick()
        return process

    async def sink(self, ctx):
        results, data = self.dut.results, b""
        while True:
            ctx.set(results.ready, not self.hold and self.rng.random() >= self.stall)
            *_, valid, ready, beat = await ctx.tick().sample(
                results.valid, results.ready, results.payload)
            if valid and ready:
                width = beat.keep.bit_count()
                assert beat.keep == (1 << width) - 1
                data += beat.data.to_bytes(self.config.bus_bytes, "little")[:width]
                if beat.last:
                    self.packets.append((data, beat.user))
                    data = b""

    async def wait(self, ctx, packets):
        while len(self.packets) < packets:
            await ctx.tick()

    def run(self, *benches, max_cycles):
        run(self.dut, *benches, max_cycles=max_cycles, background=[
            self.source("weights"), self.source("acts"), self.sink, watch(self.dut.results)])


GEOMETRIES = [
    {"rows": 3, "cols": 5, "max_k": 40, "act_words": 120, "bus_bits": 32, "block_inputs": 8},
    {"rows": 1, "cols": 1, "max_k": 40, "act_words": 320, "bus_bits": 64, "queue_depth": 1},
    {"rows": 8, "cols": 4, "max_k": 48, "act_words": 120, "bus_bits": 128, "queue_depth": 3},
]


def jobs_of(config, seed=0):
    rng = np.random.default_rng(seed)
    shapes = [
        {"tokens": 2, "inputs": 1, "outputs": 1, "density": 1.0},
        {"tokens": 7, "inputs": 40, "outputs": 12, "p": 3, "density": 0.3},
        {"tokens": 8, "inputs": 40, "outputs": 12, "p": 4, "q": 8, "structure": "block",
         "density": 0.4, "raw": True},
        {"tokens": 5, "inputs": 33, "outputs": 7, "density": 0.2, "lut": True},
        {"tokens": 3, "inputs": 9, "outputs": 12, "density": 1.0, "empty_outputs": slice(0, 12)},
        {"tokens": 1, "inputs": 24, "outputs": 11, "density": 0.1, "lut": True,
         "empty_outputs": slice(0, 6)},
        {"tokens": 9, "inputs": 17, "outputs": 3, "density": 1.0, "raw": True},
    ]
    return [Job(config, rng, tag=17 * index & 255, **shape) for index, shape in enumerate(shapes)]


@pytest.mark.parametrize("stall", [0.0, 0.4])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=lambda g: f"{g['rows']}x{g['cols']}")
def test_jobs_equal_the_oracle(geometry, stall):
    config = ArrayConfig(**geometry)
    bench, jobs = Bench(config, stall=stall), jobs_of(config)
    counters = {}

    async def drive(ctx):
        for job in jobs:
            bench.send_job(job)
        for job in jobs:
            while await bench.push(ctx, job) != Response.OKAY:
                pass
        await bench.wait(ctx, len(jobs))
        await ctx.tick().repeat(10)
        for name in ("BUSY", "ACTIVE", "STALL_WEIGHTS", "STALL_ACTS", "STALL_RESULTS", "OTHER",
                     "DONE", "ERROR", "STATUS"):
            counters[name] = await read(ctx, bench.dut.bus, name)

    bench.run(drive, max_cycles=60000)
    assert len(bench.packets) == len(jobs)
    for job, packet in zip(jobs, bench.packets, strict=True):
        job.check(packet)
    assert counters["DONE"] == jobs[-1].tag | len(jobs) << 16
    assert counters["ERROR"] == 0
    assert counters["STATUS"] == config.queue_depth << 8
    assert counters["BUSY"] == sum(counters[name] for name in (
        "ACTIVE", "STALL_WEIGHTS", "STALL_ACTS", "STALL_RESULTS", "OTHER"))
    work = sum(ideal_cycles(job.layer, rows=config.rows, cols=config.cols, tokens=job.tokens)
               for job in jobs)
    empty = counters["ACTIVE"] - work     # an empty strip takes one cycle a token group
    assert 0 < empty < 60
