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
from sparseloom.model.packed.layer import pack_layer
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
from tests.hw.bench import pause, run, watch
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

    def take_back(self, name):
        """The host withdraws what it has not sent, up to the end of the queue."""
        self.beats[name].clear()

    def source(self, name):
        async def process(ctx):
            stream, queue = getattr(self.dut, name), self.beats[name]
            while True:
                beat = queue[0] if queue else None
                ctx.set(stream.valid, beat is not None)
                if beat is not None:
                    ctx.set(stream.payload, beat)
                *_, ready = await ctx.tick().sample(stream.ready)
                if queue and queue[0] is beat and ready:
                    queue.pop(0)
                    ctx.set(stream.valid, 0)
                    await pause(ctx, self.rng, self.stall)
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


GEOMETRIES: list[dict] = [
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


@pytest.mark.parametrize(("geometry", "stall"), [
    (0, 0.0), (0, 0.4), (1, 0.4), (2, 0.0)], ids=["3x5-0.0", "3x5-0.4", "1x1-0.4", "8x4-0.0"])
def test_jobs_equal_the_oracle(geometry, stall):
    config = ArrayConfig(**GEOMETRIES[geometry])
    # One cell is slow, so it gets half of them; tables are met by the others.
    bench, jobs = Bench(config, stall=stall), jobs_of(config)[:: 2 if config.rows == 1 else 1]
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


SMALL: dict = {"rows": 3, "cols": 5, "max_k": 40, "act_words": 120, "bus_bits": 32,
               "block_inputs": 8}
HEADER_BYTES = {"version": 0, "kind": 1, "tag": 2, "weight_bits": 3, "cols": 4,
                "block_inputs": 5, "inputs": 6, "strip": 8, "columns": 10, "blocks": 12,
                "reserved": 14}
HEADER_CAUSES = {"cols": "geometry", "block_inputs": "geometry", "inputs": "geometry"}


def damaged(job, field: str) -> tuple[bytes, str]:
    """The job's weight stream with one thing wrong in its second packet, and the cause due."""
    first, second, *rest = split_packets(job.weights)
    packet, cause = bytearray(second), str(field)
    bitmap = 16
    masks = bitmap + 16
    columns = int.from_bytes(packet[10:12], "little")
    weights = len(packet) - 16 - 48 - (columns * 5 + 15) // 16 * 16
    if field in HEADER_BYTES:
        cause = HEADER_CAUSES.get(field) or field
        if field == "columns":
            packet[10:12] = (job.layer.in_features + 1).to_bytes(2, "little")
            cause = "count"
        else:
            packet[HEADER_BYTES[field]] ^= 0x40
    elif field == "surplus block":      # more present blocks than masks
        assert packet[bitmap] & 3 == 1
        packet[bitmap] |= 2
        cause = "popcount"
    elif field == "range":              # inputs is 38: mask bits 6 and 7 of block 4 lie outside
        blocks = packet[12]
        packet[masks + blocks - 1] = packet[masks + blocks - 1] & 0x3F | 0x80
    elif field == "mult":
        at = len(packet) - 16 - 48 + 4
        packet[at:at + 2] = (32767).to_bytes(2, "little")
        cause = "params"
    elif field == "crc":
        packet[weights] ^= 0x10
        return first + bytes(packet) + b"".join(rest), cause
    else:
        raise AssertionError(field)
    return first + reseal(bytes(packet)) + b"".join(rest), cause


def error_job(config):
    """A job of three strips; its second strip lacks block 1 and has block 0 and 4."""
    rng = np.random.default_rng(11)
    job = Job(config, rng, tag=0x21, tokens=5, inputs=38, outputs=13, density=1.0)
    keep = np.ones((13, 38), bool)
    keep[5:10, 8:16] = False
    keep[5:10, 3] = False
    job.layer = random_layer(rng, inputs=38, outputs=13, density=1.0)
    weight = job.layer.dense_weight() * keep
    fields = {name: getattr(job.layer, name) for name in (
        "name", "bias", "mult", "shift", "weight_scale", "input_scale", "input_zero_point",
        "output_scale", "output_zero_point")}
    job.layer = pack_layer(weight=weight, keep=keep, p=1, q=1, **fields)
    job.weights = encode_weights(job.layer, cols=5, block_inputs=8, tag=0x21)
    return job


async def recover(ctx, bench, cause, strip=None):
    """After an error: it is told, clear brings the unit back, and the next job is right."""
    bus, config = bench.dut.bus, bench.config
    error = await read(ctx, bus, "ERROR")
    assert ERROR_CAUSES[error & 255][0] == cause
    if strip is not None:
        assert error >> 16 == strip
    assert await read(ctx, bus, "STATUS") == 2
    assert await read(ctx, bus, "IRQ_STATUS") & 2
    job = Job(config, np.random.default_rng(3), tag=9, tokens=4, inputs=20, outputs=6, density=0.5)
    assert await bench.push(ctx, job) == Response.SLVERR
    await write(ctx, bus, "CONTROL", 1)
    while await read(ctx, bus, "STATUS") & 4:
        pass
    assert await read(ctx, bus, "ERROR") == 0
    assert await read(ctx, bus, "STATUS") == config.queue_depth << 8
    before = len(bench.packets)
    bench.send_job(job)
    assert await bench.push(ctx, job) == Response.OKAY
    await bench.wait(ctx, before + 1)
    job.check(bench.packets[-1])


def test_a_damaged_packet_is_told_and_cleared():
    """Causes with each bit of their code set and clear: what is left between loader and register.

    Every fault and cause is in the strip loader's tests and, on the generated Verilog of each
    build, in sim/faults.py.
    """
    config = ArrayConfig(**SMALL)
    bench, job = Bench(config), error_job(config)
    fields = ["tag", "strip", "reserved", "surplus block", "crc"]
    codes = [CAUSES[damaged(job, field)[1]] for field in fields]
    assert all({code >> bit & 1 for code in codes} == {0, 1}
               for bit in range(max(CAUSES.values()).bit_length()))

    async def drive(ctx):
        for field in fields:
            stream, cause = damaged(job, field)
            before = len(bench.packets)
            bench.send("weights", stream)
            bench.send("acts", job.acts)
            await bench.push(ctx, job)
            await bench.wait(ctx, before + 1)
            data, user = bench.packets[-1]
            assert (field, user, data[-1]) == (field, 1, CAUSES[cause])
            await recover(ctx, bench, cause, strip=1)
            assert len(bench.packets) == before + 2

    bench.run(drive, max_cycles=4000 * len(fields))
    assert len(bench.packets) == 2 * len(fields)


def test_a_damaged_table_is_told_and_cleared():
    """At either end; the header's check is the strips', every field is in the loader's tests."""
    config = ArrayConfig(**SMALL)
    bench = Bench(config)
    job = Job(config, np.random.default_rng(4), tag=0x21, tokens=5, inputs=38, outputs=13,
              density=0.5, lut=True)
    table, *strips = split_packets(job.weights)
    faults = {"kind": (HEADER_BYTES["kind"], "kind"), "entry": (16, "crc")}

    async def drive(ctx):
        for field, (at, cause) in faults.items():
            packet = bytearray(table)
            packet[at] ^= 0x40
            damaged_table = bytes(packet) if cause == "crc" else reseal(bytes(packet))
            before = len(bench.packets)
            bench.send("weights", damaged_table + b"".join(strips))
            bench.send("acts", job.acts)
            await bench.push(ctx, job)
            await bench.wait(ctx, before + 1)
            data, user = bench.packets[-1]
            assert (field, user, data[-1]) == (field, 1, CAUSES[cause])
            await recover(ctx, bench, cause, strip=0)

    bench.run(drive, max_cycles=5000 * len(faults))
    assert len(bench.packets) == 2 * len(faults)


LENGTHS = [
    ("weights", "early", "weights_early_last"), ("weights", "late", "weights_late_last"),
    ("weights", "keep", "weights_keep"),
    ("acts", "early", "acts_early_last"), ("acts", "longer", "acts_late_last"),
    ("acts", "more bytes", "acts_late_last"), ("acts", "gap", "acts_keep"),
]
"""Every wrong TKEEP, and a TLAST in each part of a packet, are in the loaders' tests."""


def change_beats(beats, change):
    """Damage a packet's beats of 4 bytes in place."""
    if change == "early":
        beats[len(beats) // 2]["last"] = True
    elif change == "late":
        beats[-1]["last"] = False
        beats.append(dict(beats[-1], last=True))
    elif change == "longer":
        beats[-1]["last"] = False
        beats += [dict(beats[-1]) for _ in range(20)]
        beats[-1]["last"] = True
    else:
        at, keep = {"keep": (7, 0b1011), "gap": (7, 0b0111), "more bytes": (-1, 0b1111)}[change]
        beats[at]["keep"] = keep


def test_a_packet_of_the_wrong_length_is_told_and_cleared():
    config = ArrayConfig(**SMALL)
    bench = Bench(config)

    async def drive(ctx):
        for stream, change, cause in LENGTHS:
            job = error_job(config)
            assert len(job.acts) % 4 == 0
            if change == "more bytes":                      # 38 * 3 bytes: the last beat holds two
                job.tokens, job.x = 3, job.x[:3]
                job.acts = encode_acts(job.x, rows=3, cols=5)
            before = len(bench.packets)
            bench.send_job(job)
            change_beats(bench.beats[stream], change)
            await bench.push(ctx, job)
            await bench.wait(ctx, before + 1)
            data, user = bench.packets[-1]
            assert (stream, change, user, data[-1]) == (stream, change, 1, CAUSES[cause])
            if change == "early":
                # What the host had not sent is the start of no packet: it takes it back.
                bench.take_back(stream)
            await recover(ctx, bench, cause)
            assert len(bench.packets) == before + 2

    bench.run(drive, max_cycles=6000 * len(LENGTHS))


IMPOSSIBLE = [{"JOB_SHAPE": 41 | 5 << 16}, {"JOB_TOKENS": 1000}, {"JOB_CONFIG": 3 << 8}]
"""One in each register; every impossible descriptor is in the job queue's tests."""


def test_an_impossible_job_is_told_and_cleared():
    bench = Bench(ArrayConfig(**SMALL))
    job, bus = error_job(bench.config), bench.dut.bus

    async def drive(ctx):
        await write(ctx, bus, "IRQ_MASK", 2)
        for change in IMPOSSIBLE:
            before = len(bench.packets)
            for name, value in {**job.registers(), **change}.items():
                await write(ctx, bus, name, value)
            assert ctx.get(bench.dut.irq) == 0
            assert await write(ctx, bus, "JOB_PUSH", 0) == Response.OKAY
            await bench.wait(ctx, before + 1)
            assert bench.packets[before:] == [(bytes([CAUSES["job"]]), 1)]
            assert ctx.get(bench.dut.irq) == 1
            await recover(ctx, bench, "job")
            await write(ctx, bus, "IRQ_STATUS", 7)

    bench.run(drive, max_cycles=4000 * len(IMPOSSIBLE))


def test_clear_at_any_time():
    """With results held and not, in turn: no beat is withdrawn, packets end, the unit works."""
    bench = Bench(ArrayConfig(**SMALL), stall=0.1)
    job, bus = error_job(bench.config), bench.dut.bus
    good = Job(bench.config, np.random.default_rng(3), tag=9, tokens=4, inputs=20, outputs=6,
               density=0.5)
    waited = []

    async def drive(ctx):
        for turn, at in enumerate(range(10, 500, 55)):
            hold = bench.hold = bool(turn % 2)
            before = len(bench.packets)
            for _ in range(2):
                bench.send_job(job)
                await bench.push(ctx, job)
            await ctx.tick().repeat(at)
            await write(ctx, bus, "CONTROL", 1)
            if hold:
                await ctx.tick().repeat(40)
                if ctx.get(bench.dut.results.valid):
                    assert await read(ctx, bus, "STATUS") & 4
                    waited.append(at)
                bench.hold = False
            while await read(ctx, bus, "STATUS") & 4:
                pass
            await ctx.tick().repeat(2)
            closed = bench.packets[before:]
            assert len(closed) <= 2
            for data, user in closed:
                if user:
                    assert data[-1] == 0
                else:
                    job.check((data, user))
            for name in bench.beats:    # packets that the unit never began stay with the host
                bench.take_back(name)
            count = len(bench.packets)
            bench.send_job(good)
            assert await bench.push(ctx, good) == Response.OKAY
            await bench.wait(ctx, count + 1)
            good.check(bench.packets[-1])

    bench.run(drive, max_cycles=60000)
    assert waited


def test_clear_around_the_first_result_beat():
    """A packet that was begun is always ended, in whichever cycle the clear comes."""
    bench = Bench(ArrayConfig(**SMALL))
    job = Job(bench.config, np.random.default_rng(3), tag=9, tokens=4, inputs=20, outputs=6,
              density=0.5)
    closed = []

    async def start(ctx):
        bench.send_job(job)
        assert await bench.push(ctx, job) == Response.OKAY

    async def drive(ctx):
        await start(ctx)
        cycles = 0
        while not ctx.get(bench.dut.results.valid):
            await ctx.tick()
            cycles += 1
        await bench.wait(ctx, 1)
        for at in range(cycles - 6, cycles + 2):
            before = len(bench.packets)
            await start(ctx)
            await ctx.tick().repeat(at)
            await write(ctx, bench.dut.bus, "CONTROL", 1)
            while await read(ctx, bench.dut.bus, "STATUS") & 4:
                pass
            await ctx.tick().repeat(5)
            closed.append(len(bench.packets) - before)
            for name in bench.beats:
                bench.take_back(name)
            before = len(bench.packets)
            await start(ctx)
            await bench.wait(ctx, before + 1)
            job.check(bench.packets[-1])

    bench.run(drive, max_cycles=20000)
    assert set(closed) == {0, 1}
