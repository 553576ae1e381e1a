# amaranth: UnusedElaboratable=no
import random

import numpy as np
import pytest
from amaranth.hdl import ResetInserter, Signal

from sparseloom.hw.drain import PARAM_BANKS, param_stride
from sparseloom.hw.job_queue import CAUSES
from sparseloom.hw.strip_loader import STRIP_BANKS, StripLoader
from sparseloom.model.packed import spec
from sparseloom.model.packed.layer import pack_layer
from sparseloom.model.packed.stream import (
    encode_weights,
    reseal,
    split_packets,
    strip_columns,
    to_beats,
)
from tests.hw.bench import pause, put, run
from tests.layers import random_layer

ROWS, MAX_K, ACT_WORDS = 3, 40, 120
GEOMETRIES = [(5, 32, 8), (1, 64, 16), (12, 64, 16), (3, 128, 8), (7, 32, 32)]
STALLED = [(5, 32, 8), (3, 128, 8)]


def make(cols, bus_bits, block_inputs, weight_bits=8):
    return StripLoader(rows=ROWS, cols=cols, max_k=MAX_K, act_words=ACT_WORDS, bus_bits=bus_bits,
                       block_inputs=block_inputs, weight_bits=weight_bits)


def beats_of(data, bus_bytes):
    beats = to_beats(data, bus_bytes)
    return [{"data": int.from_bytes(word, "little"), "keep": keep,
             "last": int(at == len(beats) - 1)} for at, (word, keep) in enumerate(beats)]


class Job:
    """A layer, its stream, and what each of its strips must write."""

    def __init__(self, rng, cols, block_inputs, *, tag=7, bank=0, **layer):
        layer = random_layer(rng, **layer)
        self.layer, self.bank = layer, bank
        self.stream = encode_weights(layer, cols=cols, block_inputs=block_inputs, tag=tag,
                                     weight_bits=layer.weight_bits)
        self.descriptor = {
            "inputs": layer.in_features, "outputs": layer.out_features, "groups": 1,
            "last_tokens": 1, "tag": tag, "zero_point": 0, "raw": 0,
            "lut": int(layer.lut is not None), "lut_bank": bank}
        dense, self.strips = layer.dense_weight(), []
        for strip, columns in enumerate(strip_columns(layer, cols)):
            outputs = range(strip * cols, min((strip + 1) * cols, layer.out_features))
            pad = cols - len(outputs)
            self.strips.append({
                "k": [int(k) for k in columns] or [0],
                "w": [[int(dense[n, k]) for n in outputs] + [0] * pad for k in columns]
                     or [[0] * cols],
                "params": [(int(layer.bias[n]), int(layer.mult[n]), int(layer.shift[n]))
                           for n in outputs] + [(0, spec.MULT_MIN, spec.SHIFT_MIN)] * pad})


def outputs_of(words, cols):
    """Weights of each output from a pair's words, 16 w1 + w0 each."""
    pairs = [((word & 15 ^ 8) - 8, word) for word in words]
    return [value for low, word in pairs for value in (low, word - low >> 4)][:cols]


def jobs_of(cols, block_inputs, seed, weight_bits=8):
    rng = np.random.default_rng(seed)
    shapes = [
        {"inputs": 1, "outputs": 1, "density": 1.0},
        {"inputs": MAX_K, "outputs": cols + 1, "density": 1.0},
        {"inputs": 33, "outputs": 2 * cols, "density": 0.4, "lut": True},
        {"inputs": 38, "outputs": 3 * cols, "density": 1.0,
         "empty_outputs": slice(cols, 2 * cols)},
        {"inputs": 24, "outputs": cols, "q": 8, "structure": "block", "density": 0.5, "lut": True},
        {"inputs": 17, "outputs": cols + 1, "density": 0.1, "empty_outputs": slice(0, cols + 1)},
        {"inputs": 40, "outputs": 6, "p": 3, "density": 0.05},
    ]
    return [Job(rng, cols, block_inputs, tag=31 * index & 255, bank=index % 2,
                weight_bits=weight_bits, **shape)
            for index, shape in enumerate(shapes)]


class Bench:
    """Jobs and streams in, memories out; strips are taken and released, each at its own pace."""

    def __init__(self, dut, jobs, *, cols, bus_bits, stall, seed=1):
        self.dut, self.jobs, self.cols, self.bus_bytes = dut, jobs, cols, bus_bits // 8
        self.rng, self.stall = random.Random(seed), stall
        self.strips = [strip for job in jobs for strip in job.strips]
        self.memory = {name: {} for name in ("k", "w", "param", "lut")}
        self.writes = dict.fromkeys(self.memory, 0)
        self.taken = self.released = 0
        self.tables = []

    async def stage(self, ctx):
        dut = self.dut
        for job in self.jobs:
            await pause(ctx, self.rng, self.stall)
            ctx.set(dut.stage.job, job.descriptor)
            ctx.set(dut.stage.valid, 1)
            ctx.set(dut.lut_free, 0)
            if self.stall and job.layer.lut is not None:
                before = self.writes["lut"]
                await ctx.tick().repeat(40)
                assert self.writes["lut"] == before
            ctx.set(dut.lut_free, 1)
            await ctx.tick().until(dut.stage.next)
            ctx.set(dut.stage.valid, 0)
            if job.layer.lut is not None:
                self.tables.append({addr: value for (bank, addr), value
                                    in self.memory["lut"].items() if bank == job.bank})

    async def source(self, ctx):
        header = spec.ALIGN_BYTES // self.bus_bytes
        for job in self.jobs:
            packets = split_packets(job.stream)
            for number, packet in enumerate(packets):
                for at, beat in enumerate(beats_of(packet, self.bus_bytes)):
                    last = beat["last"] and number == len(packets) - 1
                    if self.stall and at == header:     # what is not offered is anything
                        ctx.set(self.dut.i.payload, {
                            "data": (1 << 8 * self.bus_bytes) - 1, "keep": 0, "last": 1})
                        await ctx.tick().repeat(4)
                    await pause(ctx, self.rng, self.stall)
                    await put(ctx, self.dut.i, {**beat, "last": last})

    def holds(self, index):
        strip, bank, params = (self.strips[index], index % STRIP_BANKS,
                               index % PARAM_BANKS * param_stride(self.cols))
        length = len(strip["k"])
        for name in ("k", "w"):
            held = [self.memory[name][STRIP_BANKS * at + bank] for at in range(length)]
            assert held == strip[name], index
        assert [self.memory["param"][params + c] for c in range(self.cols)] == strip["params"]

    async def taker(self, ctx):
        for index, strip in enumerate(self.strips):
            await pause(ctx, self.rng, self.stall)
            length, = await ctx.tick().sample(self.dut.length).until(self.dut.ready)
            assert length == len(strip["k"])
            self.holds(index)
            ctx.set(self.dut.take, 1)
            await ctx.tick()
            ctx.set(self.dut.take, 0)
            self.taken += 1

    async def releaser(self, ctx):
        for index in range(len(self.strips)):
            while self.taken <= index:
                await ctx.tick()
            if self.stall:
                await ctx.tick().repeat(self.rng.choice([1, 150]))
            self.holds(index)                   # nobody wrote over it meanwhile
            ctx.set(self.dut.release, 1)
            await ctx.tick()
            ctx.set(self.dut.release, 0)
            self.released += 1
        await ctx.tick().repeat(10)

    async def check(self, ctx):
        """Writes are kept; nothing is taken without a job, nothing is wrong."""
        dut, memory = self.dut, self.memory
        async for (_, _, error, i_ready, job, k_en, k_addr, k, w_en, w_addr, w, p_en, p_addr, p,
                   l_en, l_bank, l_addr, l_data) in ctx.tick().sample(
                dut.error, dut.i.ready, dut.stage.valid,
                dut.k_write.en, dut.k_write.addr, dut.k_write.data,
                dut.w_write.en, dut.w_write.addr, dut.w_write.data,
                dut.param_write.en, dut.param_write.addr, dut.param_write.data,
                dut.lut_write.en, dut.lut_write.bank, dut.lut_write.addr, dut.lut_write.data):
            assert error == 0
            assert job or not i_ready
            if k_en:
                memory["k"][k_addr] = k
            if w_en:
                words = [w[index] for index in range(len(dut.w_write.data))]
                memory["w"][w_addr] = (words if dut.weight_bits == 8
                                       else outputs_of(words, self.cols))
            if p_en:
                memory["param"][p_addr] = (p.bias, p.mult, p.shift)
            if l_en:
                memory["lut"][l_bank, l_addr] = l_data
            for name, en in (("k", k_en), ("w", w_en), ("param", p_en), ("lut", l_en)):
                self.writes[name] += en

    def run(self):
        beats = sum(len(job.stream) for job in self.jobs) // self.bus_bytes
        run(self.dut, self.stage, self.source, self.taker, self.releaser,
            max_cycles=10 * beats + 5000, background=[self.check])
        columns = sum(len(strip["k"]) for strip in self.strips)
        tables = [job.layer.lut for job in self.jobs if job.layer.lut is not None]
        assert self.taken == self.released == len(self.strips)
        assert self.writes == {"k": columns, "w": columns, "lut": 256 * len(tables),
                               "param": self.cols * len(self.strips)}
        assert self.tables == [dict(enumerate(table.tolist())) for table in tables]


@pytest.mark.parametrize(("cols", "bus_bits", "block_inputs", "stall"), [
    *((*geometry, 0.0) for geometry in GEOMETRIES), *((*geometry, 0.3) for geometry in STALLED)])
def test_strips_tables_and_parameters_are_written(cols, bus_bits, block_inputs, stall):
    jobs = jobs_of(cols, block_inputs, seed=cols)
    assert any(len(strip["k"]) == MAX_K for job in jobs for strip in job.strips)
    Bench(make(cols, bus_bits, block_inputs), jobs, cols=cols, bus_bits=bus_bits,
          stall=stall).run()


@pytest.mark.parametrize(("cols", "bus_bits", "block_inputs", "stall"), [
    (5, 32, 8, 0.0), (5, 128, 16, 0.3), (1, 64, 16, 0.0), (24, 64, 16, 0.3)])
def test_weights_of_4_bits(cols, bus_bits, block_inputs, stall):
    """Beats of a column and more, of less; of an odd column, padded to a byte."""
    jobs = jobs_of(cols, block_inputs, seed=cols, weight_bits=4)
    assert any(len(strip["k"]) == MAX_K for job in jobs for strip in job.strips)
    Bench(make(cols, bus_bits, block_inputs, weight_bits=4), jobs, cols=cols, bus_bits=bus_bits,
          stall=stall).run()


def test_weights_of_another_width_are_refused():
    rng, layers = np.random.default_rng(9), {}
    for bits in (8, 4):
        layers[bits] = Job(rng, 5, 8, inputs=38, outputs=13, density=1.0, weight_bits=bits)
    for built, sent in ((8, 4), (4, 8), (4, 4), (8, 8)):
        seen = first_errors(layers[sent], [(beats_of(layers[sent].stream, 4), 0.0)],
                            weight_bits=built)
        cause = 0 if built == sent else CAUSES["weight_bits"]
        assert seen == [(cause, *((0, 0) if cause else (2, 2)))], (built, sent)


def test_never_ready_without_a_job_a_bank_or_a_table():
    cols, bus_bits = 5, 64
    dut = make(cols, bus_bits, 8)
    rng = np.random.default_rng(1)
    plain = Job(rng, cols, 8, inputs=20, outputs=3 * cols, density=0.5)
    table = Job(rng, cols, 8, inputs=20, outputs=cols, density=0.5, lut=True, bank=1)
    sizes = [len(packet) // 8 for job in (plain, table) for packet in split_packets(job.stream)]
    taken = []

    async def source(ctx):
        for job in (plain, table):
            for beat in beats_of(job.stream, bus_bits // 8):
                await put(ctx, dut.i, beat)
                taken.append(beat)

    async def pulse(ctx, signal):
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)

    async def drive(ctx):
        async def packets():
            """Whole packets taken after a while, and no beat more."""
            await ctx.tick().repeat(400)
            return [sum(sizes[:count]) for count in range(6)].index(len(taken))

        assert await packets() == 0
        ctx.set(dut.stage.job, plain.descriptor)
        ctx.set(dut.stage.valid, 1)
        assert await packets() == STRIP_BANKS == 2
        await pulse(ctx, dut.take)              # taken is not released
        await pulse(ctx, dut.take)
        assert not ctx.get(dut.ready)
        assert await packets() == 2
        ctx.set(dut.release, 1)
        await ctx.tick()
        ctx.set(dut.release, 0)
        await ctx.tick().until(dut.stage.next)
        ctx.set(dut.stage.valid, 0)
        assert await packets() == 3
        ctx.set(dut.stage.job, table.descriptor)
        ctx.set(dut.stage.valid, 1)
        await pulse(ctx, dut.release)           # a bank, but no table
        assert await packets() == 3
        ctx.set(dut.lut_free, 1)
        assert await packets() == 5

    run(dut, drive, source, max_cycles=5000)


@pytest.mark.parametrize(("cols", "bus_bits"), [(4, 32), (12, 64), (16, 128)])
def test_a_beat_a_cycle_and_few_between_packets(cols, bus_bits):
    """Where a beat holds no more than a column's weights and no more than one output's bytes."""
    dut = make(cols, bus_bits, 16)
    job = Job(np.random.default_rng(2), cols, 16, inputs=MAX_K, outputs=6 * cols, density=0.6)
    beats = beats_of(job.stream, bus_bits // 8)
    cycles = []

    async def source(ctx):
        ctx.set(dut.stage.job, job.descriptor)
        ctx.set(dut.stage.valid, 1)
        for beat in beats:
            await put(ctx, dut.i, beat)

    async def sink(ctx):
        while True:
            await ctx.tick()
            cycles.append(0)
            ctx.set(dut.take, ctx.get(dut.ready))       # at once
            ctx.set(dut.release, ctx.get(dut.ready))

    run(dut, source, max_cycles=4000, background=[sink])
    extra = len(cycles) - len(beats)
    assert 0 <= extra <= 4 + 6 * (3 + dut.SETTLE_CYCLES + (cols // 2 if bus_bits == 128 else 0))


def error_job(cols=5, lut=False):
    """Three strips of 38 inputs; the second has all blocks of 8 inputs but block 1."""
    rng = np.random.default_rng(11)
    job = Job(rng, cols, 8, tag=0x21, inputs=38, outputs=3 * cols - 2, density=1.0, lut=lut)
    layer = job.layer
    keep = layer.column_mask().copy()
    keep[:cols, 4:] = keep[2 * cols:, 4:] = False
    keep[cols:2 * cols, 8:16] = False
    keep[cols:2 * cols, 3] = False
    fields = {name: getattr(layer, name) for name in (
        "name", "bias", "mult", "shift", "weight_scale", "input_scale", "input_zero_point",
        "output_scale", "output_zero_point", "lut", "lut_scale")}
    layer = pack_layer(weight=layer.dense_weight() * keep, keep=keep, p=1, q=1, **fields)
    job.layer, job.stream = layer, encode_weights(layer, cols=cols, block_inputs=8, tag=0x21)
    return job


def first_errors(job, cases, *, cols=5, bus_bits=32, weight_bits=8):
    """(cause, strip, strips taken) of each case's beats, cause 0 if the job was loaded."""
    dut, reset, rng = make(cols, bus_bits, 8, weight_bits), Signal(), random.Random(5)
    seen = []

    async def drive(ctx):
        for beats, stall in cases:
            ctx.set(reset, 1)
            ctx.set(dut.i.valid, 0)
            await ctx.tick()
            ctx.set(reset, 0)
            ctx.set(dut.stage.job, job.descriptor)
            ctx.set(dut.stage.valid, 1)
            ctx.set(dut.lut_free, 1)
            queue, cause, done, idle, taken = list(beats), 0, False, 0, 0
            left = dut.ERROR_LATENCY    # once it is done
            while not cause and left:
                left -= done
                valid = bool(queue) and rng.random() >= stall
                ctx.set(dut.i.valid, valid)
                if valid:
                    ctx.set(dut.i.payload, queue[0])
                take = ctx.get(dut.ready)
                ctx.set(dut.take, take)
                ctx.set(dut.release, take)
                *_, ready, cause, strip, ends = await ctx.tick().sample(
                    dut.i.ready, dut.error, dut.strip, dut.stage.next)
                taken += take and not done
                if ends:
                    done = True
                    ctx.set(dut.stage.valid, 0)
                if valid and ready:
                    queue.pop(0)
                idle = 0 if queue else idle + 1
                assert idle < 200, "neither an error nor the end"
            seen.append((cause, strip, taken))

    run(ResetInserter(reset)(dut), drive, max_cycles=300000)
    return seen


def changed(packet, *changes):
    """Packet with bytes set (offset, value), negative offsets from the end, and a new CRC."""
    packet = bytearray(packet)
    for at, value in changes:
        packet[at] = value if isinstance(value, int) else value(packet[at])
    return reseal(bytes(packet))


BITMAP, MASKS, TAIL = 16, 32, -16 - 48      # offsets in a strip packet of 5 outputs, K of 38


def flip(mask):
    return lambda byte: byte ^ mask


STRIP_FAULTS = [
    ("version", (0, flip(2))), ("version", (0, 0)), ("kind", (1, spec.KIND_LUT)), ("kind", (1, 0)),
    ("tag", (2, flip(0x80))), ("weight_bits", (3, 4)), ("geometry", (4, 4)),
    ("geometry", (5, 16)), ("geometry", (6, 37)), ("geometry", (7, 1)),
    ("strip", (8, 0)), ("strip", (8, 2)), ("strip", (9, 1)),
    ("count", (10, 39)), ("count", (11, 1)), ("count", (12, 6)), ("count", (13, 1)),
    ("reserved", (14, 1)), ("reserved", (15, 0x80)),
    ("popcount", (MASKS, flip(1))), ("popcount", (MASKS, flip(8))),     # one less, one more
    ("popcount", (BITMAP, flip(1 << 4))),                               # a block too few
    ("popcount", (BITMAP, flip(1 << 1))),                               # a block too many
    ("range", (BITMAP, flip(1 << 5))),                                  # a block beyond K
    ("range", (MASKS + 3, lambda byte: byte & 0x1F | 0x40)),            # k = 38, the count right
    ("params", (TAIL + 4, 255), (TAIL + 5, 127)),                       # mult 32767
    ("params", (TAIL + 36, 0), (TAIL + 37, 0)),                         # of the last output
    ("params", (TAIL + 6, 0)), ("params", (TAIL + 6, 48)), ("params", (TAIL + 38, 255)),
    ("reserved", (TAIL + 7, 1)), ("reserved", (TAIL + 39, 0x80)),       # parameters, trailer
    *(("reserved", (-16 + at, flip(1 << at % 8))) for at in range(12)),
]


@pytest.mark.parametrize(("bus_bits", "stall"), [(32, 0.0), (64, 0.0), (128, 0.4)])
def test_every_fault_in_a_strip_is_told_with_its_cause(bus_bits, stall):
    job = error_job()
    first, second, third = split_packets(job.stream)
    assert (second[12], second[BITMAP]) == (4, 0b11101)
    streams, expected = [], []
    for cause, *changes in STRIP_FAULTS:
        streams.append(first + changed(second, *changes) + third)
        expected.append((CAUSES[cause], 1, 1))
    for at in (50, -40, -10, -1):       # weight, parameter, reserved, CRC: without a new CRC
        packet = bytearray(third)
        packet[at] ^= 0x10
        streams.append(first + second + bytes(packet))
        expected.append((CAUSES["crc"], 2, 2))
    streams.append(job.stream)
    expected.append((0, 2, 2))
    seen = first_errors(job, [(beats_of(stream, bus_bits // 8), stall) for stream in streams],
                        bus_bits=bus_bits)
    names = [fault[0] for fault in STRIP_FAULTS]
    for at, (got, due) in enumerate(zip(seen, expected, strict=True)):
        assert got == due, STRIP_FAULTS[at] if at < len(names) else at
    assert {spec.ERROR_CAUSES[cause][0] for cause, *_ in seen} == {
        "none", "version", "kind", "tag", "geometry", "weight_bits", "strip", "count", "popcount",
        "range", "params", "crc", "reserved"}


def test_every_fault_in_a_table_is_told_with_its_cause():
    job = error_job(lut=True)
    table, *strips = split_packets(job.stream)
    cases = [
        ("kind", strips[0] + b"".join(strips[1:])),                     # no table
        ("kind", changed(table, (1, spec.KIND_STRIP)) + b"".join(strips)),
        ("count", changed(table, (10, 1)) + b"".join(strips)),
        ("count", changed(table, (10, 1), (12, 1)) + b"".join(strips)),
        ("strip", changed(table, (8, 1)) + b"".join(strips)),
        ("tag", changed(table, (2, 0)) + b"".join(strips)),
        ("crc", table[:100] + bytes([table[100] ^ 1]) + table[101:] + b"".join(strips)),
        ("kind", table + table + b"".join(strips)),                     # two tables
        ("none", job.stream),
    ]
    seen = first_errors(job, [(beats_of(stream, 4), 0.0) for _, stream in cases])
    assert [cause for cause, *_ in seen] == [CAUSES.get(name, 0) for name, _ in cases]
    plain = error_job()
    seen = first_errors(plain, [(beats_of(job.stream, 4), 0.0)])        # a table nobody asked for
    assert seen == [(CAUSES["kind"], 0, 0)]


@pytest.mark.parametrize("at", [2, -1])
def test_an_error_is_told_once_and_ends_all(at):
    """A tag, a CRC: no packet is begun behind it, however long that is."""
    job, dut = error_job(), make(5, 64, 8)
    packet = bytearray(split_packets(job.stream)[0])
    packet[at] ^= 1
    errors, taken = [], []

    async def drive(ctx):
        ctx.set(dut.stage.job, job.descriptor)
        ctx.set(dut.stage.valid, 1)
        ctx.set(dut.i.valid, 1)
        beats = beats_of(bytes(packet), 8)
        for cycle in range(len(beats) + 200):
            ctx.set(dut.i.payload, {**beats[min(len(taken), len(beats) - 1)], "last": 0})
            *_, ready, error = await ctx.tick().sample(dut.i.ready, dut.error)
            taken.extend([cycle] * ready)
            errors.extend([error] * (error != 0))

    run(dut, drive, max_cycles=1000)
    assert errors == [CAUSES["tag" if at == 2 else "crc"]]
    assert len(taken) == len(packet) // 8


@pytest.mark.parametrize(("bus_bits", "lut"), [(32, False), (128, True)])
def test_tlast_and_tkeep(bus_bits, lut):
    job, rng = error_job(lut=lut), random.Random(6)
    good = beats_of(job.stream, bus_bits // 8)
    end, full = len(good) - 1, (1 << bus_bits // 8) - 1
    places = sorted({0, 1, 2, end - 1, *(rng.randrange(end) for _ in range(2 if lut else 8))})
    cases, expected = [], []
    for at in places:
        cases.append([*good[:at], {**good[at], "last": 1}, *good[at + 1:]])
        expected.append(CAUSES["weights_early_last"])
    for at in [*places[::3], end]:
        keep = rng.choice([0, full >> 1, full - 1, full & ~2])
        cases.append([*good[:at], {**good[at], "keep": keep}, *good[at + 1:]])
        expected.append(CAUSES["weights_keep"])
    cases.append([*good[:-1], {**good[-1], "last": 0}, *good])
    expected.append(CAUSES["weights_late_last"])
    seen = first_errors(job, [(beats, 0.0) for beats in cases], bus_bits=bus_bits)
    assert [cause for cause, *_ in seen] == expected


def test_any_flipped_bit_is_an_error_before_its_strip_is_announced():
    job, rng = error_job(), random.Random(8)
    sizes = [len(packet) for packet in split_packets(job.stream)]
    places = [(byte, rng.randrange(8)) for byte in range(16)]       # a header
    places += [(rng.randrange(len(job.stream)), rng.randrange(8)) for _ in range(24)]
    cases = []
    for byte, bit in places:
        stream = bytearray(job.stream)
        stream[byte] ^= 1 << bit
        cases.append((beats_of(bytes(stream), 16), 0.0))
    seen = first_errors(job, cases, bus_bits=128)
    assert len(seen) == 40
    for (byte, bit), (cause, strip, taken) in zip(places, seen, strict=True):
        hit = next(index for index in range(3) if byte < sum(sizes[:index + 1]))
        assert cause and taken == strip == hit, (byte, bit)
