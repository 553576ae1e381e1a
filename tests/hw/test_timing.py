# amaranth: UnusedElaboratable=no
"""The cycle model's latencies, each held against the part that it is about.

A failure here means that a part became slower or faster: adapt the constant that the message names
in ``model/packed/timing.py``.
"""
import numpy as np
import pytest

from sparseloom.hw.act_loader import ActLoader
from sparseloom.hw.array import STEP, Array, drain_spacing, skew, tile_spacing
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.drain import Drain
from sparseloom.hw.gearbox import Gearbox
from sparseloom.hw.issue import Issue
from sparseloom.hw.job_queue import JobQueue
from sparseloom.hw.mask_expand import MaskExpand
from sparseloom.hw.postprocess import PostProcess
from sparseloom.hw.result_port import ResultPack, ResultPort
from sparseloom.hw.strip_loader import STRIP_BANKS, StripLoader
from sparseloom.hw.tile_walk import TileWalk
from sparseloom.hw.unit import ISSUE_LATENCY, read_latency
from sparseloom.model.packed import cycles, timing
from sparseloom.model.packed.cycles import UnitJob, UnitShape
from sparseloom.model.packed.stream import encode_acts, encode_weights, to_beats
from sparseloom.model.packed.strip_load import gearbox_cycles
from tests.hw.bench import put, run
from tests.layers import random_layer

MAX_K, ACT_WORDS = 150, 400
JOB = {"inputs": 1, "outputs": 1, "groups": 1, "last_tokens": 1, "tag": 0, "zero_point": 0,
       "raw": 0, "lut": 0, "lut_bank": 0}


def check(found, expected, *names):
    where = ", ".join(names)
    assert found == expected, (f"timing.{where}: expected {expected} by model/packed/timing.py, "
                               f"found {found} in hw/")


def trace(dut, signals, *drivers, cycles=4000, until=None):
    """Values of signals in each cycle, the first being that of the drivers' first settings."""
    rows = []

    async def record(ctx):
        for _ in range(cycles):
            _, _, *values = await ctx.tick().sample(*signals)
            rows.append(tuple(int(value) for value in values))
            if until is not None and until(rows):
                return

    run(dut, *drivers, record, max_cycles=cycles + 1)
    return rows


def beats_of(data, bus_bytes):
    beats = to_beats(data, bus_bytes)
    return [{"data": int.from_bytes(word, "little"), "keep": keep,
             "last": int(at == len(beats) - 1)} for at, (word, keep) in enumerate(beats)]


def first(rows, column):
    return next(cycle for cycle, row in enumerate(rows) if row[column])


def test_operands():
    check(ISSUE_LATENCY, timing.OPERANDS, "OPERANDS")
    check(STEP, timing.STEP, "STEP")
    for rows, cols in ((1, 1), (3, 5), (12, 12), (8, 5)):
        config = ArrayConfig(rows=rows, cols=cols, lanes=1)
        check(read_latency(config), timing.READ + (max(rows, cols) - 1) // timing.STEP, "READ")


def test_postprocess():
    check(PostProcess.LATENCY, timing.POSTPROCESS, "POSTPROCESS")


@pytest.mark.parametrize(("rows", "cols"), [(1, 1), (3, 5), (12, 12)])
def test_capture(rows, cols):
    array = Array(rows=rows, cols=cols, sum_bits=24)
    check(array.capture_latency - skew(rows - 1), timing.CAPTURE, "CAPTURE")


def test_sizes_of_buffers():
    assert (cycles.BANKS, cycles.HALVES) == (STRIP_BANKS, ActLoader.HALVES)
    for rows, cols, lanes in ((12, 12, 4), (3, 5, 3), (8, 1, 2), (1, 1, 1)):
        config = ArrayConfig(rows=rows, cols=cols, lanes=lanes)
        assert config.result_words == cycles.TILES_OF_ROOM * cols * (rows // lanes)
        sizes = {"rows": rows, "cols": cols, "lanes": lanes}
        assert cycles.drain_spacing(**sizes) == drain_spacing(**sizes)
        assert cycles.tile_spacing(**sizes) == tile_spacing(**sizes)


@pytest.mark.parametrize(("in_bytes", "out_bytes"), [
    (4, 1), (8, 8), (16, 8), (8, 12), (16, 5), (16, 12), (4, 7), (8, 3), (16, 1), (8, 5), (4, 6)])
def test_gearbox(in_bytes, out_bytes):
    for words in (1, 2, 3, 7, 20):
        dut = Gearbox(in_bytes, out_bytes)

        async def source(ctx, dut=dut, words=words):
            ctx.set(dut.o.ready, 1)
            for word in range(words):
                await put(ctx, dut.i, {"data": 0, "last": word == words - 1})

        rows = trace(dut, [dut.i.valid & dut.i.ready, dut.level], source, cycles=600,
                     until=lambda rows: len(rows) > 2 and not rows[-1][1] and not rows[-1][0])
        taken = 1 + max(cycle for cycle, row in enumerate(rows) if row[0])
        empty = 1 + max(cycle for cycle, row in enumerate(rows) if row[1])
        found = tuple(int(value) for value in gearbox_cycles(words, in_bytes=in_bytes,
                                                             out_bytes=out_bytes))
        assert (taken, empty) == found, (words, "hw/gearbox.py against gearbox_cycles")


def test_job_queue():
    rows = 4
    for tokens in (1, 4, 5, 40):
        dut = JobQueue(rows=rows, max_k=MAX_K, act_words=ACT_WORDS, depth=2)

        async def push(ctx, dut=dut, tokens=tokens):
            ctx.set(dut.descriptor, {"inputs": 3, "outputs": 3, "tokens": tokens})
            ctx.set(dut.push, 1)
            await ctx.tick()
            ctx.set(dut.push, 0)

        rows_found = trace(dut, [dut.weights.valid, dut.acts.valid, dut.issue.valid], push,
                           cycles=40, until=lambda found: all(found[-1]))
        check(len(rows_found) - 1 - -(-tokens // rows), timing.JUDGE + timing.JOB_SEEN, "JUDGE",
              "JOB_SEEN")


def test_next_job():
    """A stage that is done with one of two jobs sees the other."""
    dut = JobQueue(rows=4, max_k=MAX_K, act_words=ACT_WORDS, depth=2)
    pause = 12

    async def push(ctx):
        for _ in range(2):
            ctx.set(dut.descriptor, {"inputs": 3, "outputs": 3, "tokens": 4})
            ctx.set(dut.push, 1)
            await ctx.tick()
            ctx.set(dut.push, 0)
            await ctx.tick().repeat(pause)
        ctx.set(dut.acts.next, 1)
        await ctx.tick()
        ctx.set(dut.acts.next, 0)

    rows = trace(dut, [dut.acts.next, dut.acts.valid], push, cycles=50,
                 until=lambda found: any(row[0] for row in found[:-1]) and found[-1][1])
    check(len(rows) - 1 - first(rows, 0), timing.JOB_NEXT, "JOB_NEXT")


LOADERS = [(5, 32, 8), (1, 64, 16), (12, 64, 16), (4, 128, 32), (3, 128, 8), (7, 32, 32)]


@pytest.mark.parametrize(("cols", "bus_bits", "block_inputs", "density", "lut"), [
    *((*loader, 0.1, True) for loader in LOADERS), *((*loader, 1.0, False) for loader in LOADERS),
    *((*loader, density, False) for loader in LOADERS[::3] for density in (0.0, 0.4))])
def test_strip_loader(cols, bus_bits, block_inputs, density, lut):
    """First beat of each packet and the cycle in which each strip is ready, three strips."""
    strip_loader(cols, bus_bits, block_inputs, density, lut, 8)


@pytest.mark.parametrize(("cols", "bus_bits", "block_inputs", "density"), [
    (5, 32, 8, 0.1), (5, 32, 8, 1.0), (24, 64, 16, 0.1), (24, 64, 16, 1.0), (8, 64, 16, 1.0),
    (3, 128, 8, 0.1), (16, 32, 32, 1.0)])
def test_strip_loader_with_weights_of_4_bits(cols, bus_bits, block_inputs, density):
    strip_loader(cols, bus_bits, block_inputs, density, False, 4)


def strip_loader(cols, bus_bits, block_inputs, density, lut, weight_bits):
    shape = UnitShape(rows=1, cols=cols, lanes=1, bus_bytes=bus_bits // 8,
                      block_inputs=block_inputs, weight_bits=weight_bits)
    rng = np.random.default_rng([cols, bus_bits])
    layer = random_layer(rng, inputs=77, outputs=3 * cols, p=cols, density=density, lut=lut,
                         weight_bits=weight_bits)
    dut = StripLoader(rows=1, cols=cols, max_k=MAX_K, act_words=ACT_WORDS, bus_bits=bus_bits,
                      block_inputs=block_inputs, weight_bits=weight_bits)
    stream = encode_weights(layer, cols=cols, block_inputs=block_inputs, tag=0,
                            weight_bits=weight_bits)
    release = 700

    async def source(ctx):
        ctx.set(dut.lut_free, 1)
        ctx.set(dut.stage.valid, 1)
        ctx.set(dut.stage.job, {**JOB, "inputs": layer.in_features, "lut": int(lut),
                                "outputs": layer.out_features})
        for beat in beats_of(stream, bus_bits // 8):
            await put(ctx, dut.i, beat)

    async def consumer(ctx):                    # the third strip waits for a bank
        await ctx.tick().repeat(release)
        ctx.set(dut.take, 1)
        ctx.set(dut.release, 1)
        await ctx.tick()
        ctx.set(dut.take, 0)
        ctx.set(dut.release, 0)

    rows = trace(dut, [dut.ready, dut.i.valid & dut.i.ready, dut.stage.next, dut.error],
                 source, consumer, until=lambda rows: rows[-1][2])
    assert not any(row[3] for row in rows)
    loads = UnitJob.of(layer, 1, shape).loads(shape)
    at = timing.JOB_START
    check(first(rows, 1), at + timing.PACKET_START, "JOB_START", "PACKET_START")
    if lut:
        at += timing.PACKET_START + cycles._table_cycles(shape.bus_bytes) + timing.PACKET_END
    at += timing.PACKET_START + loads[0]
    check(first(rows, 0), at + timing.STRIP_READY, "HEADER_CHECK", "BITMAP", "MASKS",
          "EXPAND_SCAN", "EXPAND_LOAD", "EXPAND_DONE", "PACKET_CHECK", "SETTLED", "STRIP_READY")
    at += timing.PACKET_END + timing.PACKET_START
    check(first([(int(cycle >= at - 1 and row[1]),) for cycle, row in enumerate(rows)], 0), at,
          "PACKET_END", "PACKET_START")
    at = release + timing.FREED + timing.PACKET_START
    check(first([(int(cycle >= release and row[1]),) for cycle, row in enumerate(rows)], 0), at,
          "FREED", "PACKET_START")
    check(len(rows) - 1, at + loads[2], "PACKET_CHECK")


def test_table_waits_for_its_bank():
    """The queue tells of a free bank in the cycle behind a job's retirement."""
    dut, free = StripLoader(rows=1, cols=5, max_k=MAX_K, act_words=ACT_WORDS, bus_bits=64,
                            block_inputs=8), 20

    async def drive(ctx):
        ctx.set(dut.stage.valid, 1)
        ctx.set(dut.stage.job, {**JOB, "lut": 1})
        ctx.set(dut.i.valid, 1)
        await ctx.tick().repeat(free)
        ctx.set(dut.lut_free, 1)

    rows = trace(dut, [dut.i.ready], drive, until=lambda rows: rows[-1][0])
    check(first(rows, 0), free - 1 + timing.TABLE_FREED + timing.PACKET_START, "TABLE_FREED")


@pytest.mark.parametrize(("beat_bits", "block_inputs"), [(32, 8), (64, 16), (128, 16), (32, 32)])
def test_mask_expand(beat_bits, block_inputs):
    """Words wait at its inputs: the first index, and ``done`` after the last."""
    dut = MaskExpand(beat_bits=beat_bits, block_inputs=block_inputs, max_k=MAX_K)

    async def drive(ctx):
        ctx.set(dut.inputs, MAX_K)
        ctx.set(dut.bitmap.payload, 1)          # block 0 alone, with two inputs
        ctx.set(dut.masks.payload, 3)
        ctx.set(dut.start, 1)
        await ctx.tick()
        ctx.set(dut.start, 0)
        await ctx.tick().repeat(dut.START)
        ctx.set(dut.bitmap.valid, 1)
        ctx.set(dut.masks.valid, 1)

    rows = trace(dut, [dut.bitmap.valid, dut.valid, dut.done], drive,
                 until=lambda rows: rows[-1][2])
    look = first(rows, 1) - dut.INDEX_LATENCY   # at block 0; its first index comes behind
    check(look - first(rows, 0), timing.EXPAND_SCAN, "EXPAND_SCAN")
    last = -(-MAX_K // block_inputs) - 1
    check(len(rows) - 1 - (look + last), timing.EXPAND_DONE, "EXPAND_DONE")


@pytest.mark.parametrize(("rows", "cols", "bus_bits"), [
    (3, 5, 32), (1, 1, 32), (8, 4, 64), (12, 12, 64), (8, 4, 128), (5, 3, 128)])
def test_act_loader(rows, cols, bus_bits):
    for inputs, groups in ((1, 1), (7, 3), (40, 2)):
        dut = ActLoader(rows=rows, cols=cols, max_k=MAX_K, act_words=ACT_WORDS, bus_bits=bus_bits)
        beats = beats_of(encode_acts(np.zeros((groups * rows, inputs), np.int8), rows=rows,
                                     cols=cols), bus_bits // 8)

        async def source(ctx, dut=dut, beats=beats, inputs=inputs, groups=groups):
            ctx.set(dut.stage.valid, 1)
            ctx.set(dut.stage.job, {**JOB, "inputs": inputs, "groups": groups})
            for beat in beats:
                await put(ctx, dut.i, beat)

        found = trace(dut, [dut.i.valid & dut.i.ready, dut.ready, dut.stage.next], source,
                      until=lambda rows: rows[-1][1])
        check(first(found, 0), timing.ACTS_START, "ACTS_START")
        empty = int(gearbox_cycles(len(beats), in_bytes=bus_bits // 8, out_bytes=rows)[1])
        check(len(found) - 1, timing.ACTS_START + empty - 1 + timing.ACTS_READY, "ACTS_READY")
        check(first(found, 2), timing.ACTS_START + empty - 1 + timing.ACTS_END, "ACTS_END")


def test_walk():
    dut = TileWalk(rows=3, cols=5, lanes=1, max_k=MAX_K, act_words=ACT_WORDS, half_words=512)

    async def drive(ctx):
        ctx.set(dut.stage.valid, 1)
        ctx.set(dut.stage.job, JOB)
        ctx.set(dut.strip_ready, 1)
        ctx.set(dut.acts_ready, 1)
        ctx.set(dut.o.ready, 1)

    rows = trace(dut, [dut.strip_take, dut.o.valid], drive, until=lambda rows: rows[-1][1])
    check(first(rows, 0), timing.JOB_BEGUN, "JOB_BEGUN")
    check(first(rows, 1) - first(rows, 0) + Issue.NOTICE, timing.TILE_OFFER, "TILE_OFFER")


def test_next_tile():
    dut = TileWalk(rows=3, cols=5, lanes=1, max_k=MAX_K, act_words=ACT_WORDS, half_words=512)

    async def drive(ctx):
        ctx.set(dut.stage.valid, 1)
        ctx.set(dut.stage.job, {**JOB, "groups": 3})
        ctx.set(dut.strip_ready, 1)
        ctx.set(dut.acts_ready, 1)
        ctx.set(dut.o.ready, 1)

    rows = trace(dut, [dut.o.valid], drive, cycles=20)
    begins = [cycle for cycle, (valid,) in enumerate(rows) if valid][:3]
    check(begins[1] - begins[0] + Issue.NOTICE, timing.WALK_NEXT + timing.TILE_OFFER, "WALK_NEXT")
    check(TileWalk.DECIDE, timing.TILE_TAKE, "TILE_TAKE")
    assert begins[2] - begins[1] == begins[1] - begins[0]


def test_drain():
    for latency in (6, 10, 19):
        dut = Drain(rows=3, cols=5, sum_bits=20, lanes=1, latency=latency)

        async def drive(ctx, dut=dut):
            ctx.set(dut.tile, {"channels": 2, "tokens": 1})
            ctx.set(dut.tile_end, 1)
            await ctx.tick()
            ctx.set(dut.tile_end, 0)

        rows = trace(dut, [dut.valid], drive, until=lambda rows: rows[-1][0])
        check(len(rows) - 1 - latency, timing.DRAIN, "DRAIN")


@pytest.mark.parametrize(("lanes", "bus_bits", "raw"), [(8, 64, 0), (4, 128, 1), (2, 64, 1)])
def test_result_port(lanes, bus_bits, raw):
    """A word that fills a beat: through FIFO, gearbox and register."""
    dut = ResultPort(lanes=lanes, bus_bits=bus_bits, room_words=8)

    async def drive(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.raw, raw)
        ctx.set(dut.valid, 1)
        await ctx.tick()
        ctx.set(dut.valid, 0)

    rows = trace(dut, [dut.returned, dut.o.valid], drive, until=lambda rows: rows[-1][1])
    taken = first(rows, 0) - ResultPack.RETURN
    check(taken, timing.RESULT_FIFO, "RESULT_FIFO")
    check(first(rows, 1) - taken - 1, timing.RESULT_REGISTER, "RESULT_REGISTER")
    # The issuer counts it, and judges by the count in the cycle behind.
    check(ResultPack.RETURN + Issue.RETURNED + 1, timing.ROOM, "ROOM")


@pytest.mark.parametrize(("lanes", "bus_bits", "raw"), [(8, 64, 0), (4, 128, 1), (5, 32, 1)])
def test_results_of_the_next_job(lanes, bus_bits, raw):
    """Words of two jobs in a row, one word each."""
    dut = ResultPort(lanes=lanes, bus_bits=bus_bits, room_words=8)

    async def drive(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.raw, raw)
        ctx.set(dut.last, 1)
        ctx.set(dut.valid, 1)
        await ctx.tick().repeat(2)
        ctx.set(dut.valid, 0)

    rows = trace(dut, [dut.returned], drive, until=lambda rows: sum(map(sum, rows)) == 2)
    beats = -(-(4 if raw else 1) * lanes * 8 // bus_bits)
    check(len(rows) - 1 - first(rows, 0), beats + timing.RESULTS_NEXT, "RESULTS_NEXT")


@pytest.mark.parametrize(("lanes", "bus_bits"), [(4, 64), (8, 64), (12, 32)])
def test_words_cut_into_beats(lanes, bus_bits):
    """Raw words that queue: when each is taken, when the last beat is on the stream."""
    dut, words = ResultPort(lanes=lanes, bus_bits=bus_bits, room_words=8), 5

    async def drive(ctx):
        ctx.set(dut.o.ready, 1)
        ctx.set(dut.raw, 1)
        ctx.set(dut.valid, 1)
        for word in range(words):
            ctx.set(dut.last, word == words - 1)
            await ctx.tick()
        ctx.set(dut.valid, 0)

    rows = trace(dut, [dut.returned, dut.finished], drive, until=lambda rows: rows[-1][1])
    service = 4 * lanes * 8 // bus_bits
    turns = [timing.RESULT_FIFO + word * service for word in range(words)]
    check([cycle - ResultPack.RETURN for cycle, row in enumerate(rows) if row[0]], turns,
          "RESULT_FIFO")
    check(len(rows) - 1, turns[-1] + service + timing.RESULT_REGISTER, "RESULT_REGISTER")
