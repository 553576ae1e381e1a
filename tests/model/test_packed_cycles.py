"""The cycle model against cycles measured in RTL."""
import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparseloom.hw import array
from sparseloom.hw.config import ArrayConfig
from sparseloom.model.packed import cycles as cycles_module
from sparseloom.model.packed import timing
from sparseloom.model.packed.cycles import (
    CAUSES,
    Span,
    UnitJob,
    UnitShape,
    layer_cycles,
    layer_jobs,
    predict,
    strip_load_cycles,
    tile_spacing,
)
from sparseloom.model.packed.stream import encode_weights, split_packets, strip_columns
from sparseloom.model.packed.strip_load import block_counts, spread_counts
from sparseloom.sim.layer import split_tokens
from tests.layers import random_layer

REFERENCE = ArrayConfig()
SMALL = ArrayConfig(rows=4, cols=8, max_k=512, act_words=2048, bus_bits=32)
WIDE = ArrayConfig(rows=8, cols=5, max_k=1536, act_words=2048, bus_bits=128)

ATTENTION: dict[str, Any] = {"inputs": 384, "outputs": 96, "p": 24, "q": 16}
SHORT: dict[str, Any] = {"inputs": 64, "outputs": 192, "p": 24, "q": 16, "density": 0.5}
LONG: dict[str, Any] = {"inputs": 1536, "outputs": 96, "p": 24, "q": 16}
UNION = {"inputs": 384, "outputs": 190, "p": 10, "q": 16, "density": 0.3, "raw": True}
BLOCK = {"inputs": 384, "outputs": 192, "p": 24, "q": 16, "structure": "block", "density": 0.3,
         "lut": True}
MEASURED = [
    # build, seed of the layer, layer, tokens, cycles of sparseloom.sim.layer.run_layer
    (REFERENCE, 0, {**ATTENTION, "density": 0.5}, 36, 6283),
    (REFERENCE, 1, {**ATTENTION, "density": 0.5}, 12, 2990),     # waits for strips
    (REFERENCE, 2, {**ATTENTION, "density": 1.0}, 12, 5353),
    (REFERENCE, 3, {**ATTENTION, "density": 0.1}, 36, 2833),     # waits for room for results
    (REFERENCE, 4, {**ATTENTION, "density": 0.1, "raw": True}, 36, 3536),
    (REFERENCE, 5, {**ATTENTION, "density": 0.05}, 36, 2732),    # tiles shorter than a drain
    (REFERENCE, 6, {**ATTENTION, "outputs": 192, "density": 0.05}, 12, 1578),
    (REFERENCE, 7, {**SHORT, "lut": True}, 36, 2292),
    (REFERENCE, 8, SHORT, 36, 2263),
    (REFERENCE, 9, UNION, 30, 11146),
    (REFERENCE, 10, BLOCK, 24, 5386),
    (REFERENCE, 12, {**ATTENTION, "density": 0.5}, 500, 76357),  # two jobs
    (REFERENCE, 13, {"inputs": 384, "outputs": 5, "density": 0.5}, 3, 1018),
    (REFERENCE, 0, {**LONG, "density": 0.01}, 12, 3115),     # expands masks
    (REFERENCE, 2, {**LONG, "density": 0.01, "empty_outputs": slice(24, 72)}, 12, 3117),
    (SMALL, 0, {**ATTENTION, "density": 0.5}, 36, 21711),
    (SMALL, 4, {**ATTENTION, "density": 0.1, "raw": True}, 36, 5849),
    (SMALL, 7, {**SHORT, "lut": True}, 36, 7143),
    (SMALL, 10, BLOCK, 24, 19142),
    (SMALL, 12, {**ATTENTION, "density": 0.5}, 500, 288480),     # 25 jobs
    (WIDE, 1, {**LONG, "density": 0.005}, 12, 5855),
    (WIDE, 3, {"inputs": 768, "outputs": 200, "p": 8, "q": 16, "density": 0.04, "raw": True}, 24,
     8643),
]


def build(config: ArrayConfig) -> dict[str, Any]:
    return {"rows": config.rows, "cols": config.cols, "lanes": config.post_lanes,
            "bus_bytes": config.bus_bytes, "act_words": config.act_words,
            "block_inputs": config.block_inputs}


def predicted(layer, config, tokens, **options):
    job = UnitJob.of(layer, tokens, UnitShape.of(config))
    return layer_cycles(
        job.columns, **build(config), tokens=tokens, counts=job.counts,
        in_features=layer.in_features, out_features=layer.out_features, raw=layer.raw,
        lut=layer.lut is not None, **options)


@pytest.mark.parametrize(("config", "seed", "shape", "tokens", "measured"), MEASURED,
                         ids=lambda value: str(value) if isinstance(value, (int, dict)) else "")
def test_layers_measured_in_rtl(config, seed, shape, tokens, measured):
    layer = random_layer(np.random.default_rng(seed), **shape)
    assert predicted(layer, config, tokens) == measured
    # places of the columns unknown
    job = UnitJob.of(layer, tokens, UnitShape.of(config))
    assert layer_cycles(
        job.columns, **build(config), tokens=tokens, in_features=layer.in_features,
        out_features=layer.out_features, raw=layer.raw, lut=layer.lut is not None,
    ) == pytest.approx(measured, rel=0.02)


DEMO = json.loads((Path(__file__).parents[2] / "bench/results/demo.json").read_text())


@pytest.mark.parametrize("row", DEMO["layers"], ids=lambda row: row["name"].split(".", 3)[-1])
def test_layers_of_the_demo(row):
    config = ArrayConfig(**DEMO["geometry"])
    outputs, inputs = row["shape"]
    strips = outputs // config.cols
    columns = row["ideal_cycles"] // -(-row["tokens"] // config.rows) // strips
    for kept, cycles in ((columns, row["cycles"]), (inputs, row["dense_cycles"])):
        found = layer_cycles([kept] * strips, **build(config), tokens=row["tokens"],
                             in_features=inputs, raw=row["name"].endswith("output.dense"),
                             lut="intermediate" in row["name"])
        assert found == cycles


def test_a_queue_hides_what_only_a_lone_layer_pays():
    """Two layers back to back: the second adds only what the first cannot hide."""
    layer = random_layer(np.random.default_rng(0), **ATTENTION, density=0.5)
    assert split_tokens(504, inputs=384, config=REFERENCE) == [252, 252]
    added = predicted(layer, REFERENCE, 504) - predicted(layer, REFERENCE, 252)
    assert predicted(layer, REFERENCE, 252, alone=False) == pytest.approx(added, abs=10)
    columns = sum(len(strip) for strip in strip_columns(layer, 12))
    assert predicted(layer, REFERENCE, 252, alone=False) == pytest.approx(21 * columns, rel=0.01)
    # activations enter no faster than the bus takes them
    sparse = random_layer(np.random.default_rng(5), **ATTENTION, density=0.05)
    between = timing.ACTS_END + timing.JOB_NEXT + timing.ACTS_START
    assert predicted(sparse, REFERENCE, 36, alone=False) == 384 * 36 / 8 + between


def test_an_empty_strip_runs_a_column():
    options: dict[str, Any] = {**build(REFERENCE), "tokens": 12, "in_features": 32}
    assert layer_cycles([0, 0], **options) == layer_cycles([1, 1], **options)


def test_more_columns_never_take_less():
    options: dict[str, Any] = {**build(REFERENCE), "tokens": 36, "in_features": 384}
    cycles = [layer_cycles([columns] * 4, **options) for columns in range(385)]
    assert cycles == sorted(cycles) and cycles[-1] > 2 * cycles[0]


@pytest.mark.parametrize("config", [REFERENCE, SMALL, WIDE], ids=["reference", "small", "wide"])
def test_a_strip_takes_at_least_its_beats(config):
    layer = random_layer(np.random.default_rng(3), inputs=400, outputs=60, p=1, q=1, density=0.4)
    packets = split_packets(encode_weights(layer, cols=config.cols, tag=0,
                                           block_inputs=config.block_inputs))
    for packet, columns in zip(packets, strip_columns(layer, config.cols), strict=True):
        beats = len(packet) // config.bus_bytes
        cycles = strip_load_cycles(len(columns), in_features=400, cols=config.cols,
                                   bus_bytes=config.bus_bytes, block_inputs=config.block_inputs)
        slack = len(columns) if config.cols < config.bus_bytes else 0
        assert beats < cycles <= beats + 16 + slack


@pytest.mark.parametrize(("rows", "cols", "lanes"), [(12, 12, 4), (3, 5, 3), (8, 1, 2), (1, 1, 1)])
def test_spacing_is_the_hardware_s(rows, cols, lanes):
    assert tile_spacing(rows=rows, cols=cols, lanes=lanes) == array.tile_spacing(
        rows=rows, cols=cols, lanes=lanes)


def shape_of(**changes):
    return UnitShape(**{"rows": 4, "cols": 4, "lanes": 2, "act_words": 400, "queue_depth": 3,
                        **changes})


def random_job(rng, shape, **changes):
    inputs, outputs = int(rng.integers(1, 80)), int(rng.integers(1, 6 * shape.cols))
    counts = block_counts(rng.random((-(-outputs // shape.cols), inputs)) < rng.random(),
                          shape.block_inputs)
    groups = int(rng.integers(1, 1 + shape.act_words // inputs))
    return UnitJob(**{"inputs": inputs, "outputs": outputs, "counts": counts,
                      "tokens": groups * shape.rows, "raw": rng.random() < 0.4, **changes})


@pytest.mark.parametrize("changes", [
    {}, {"rows": 12, "cols": 12, "lanes": 4}, {"rows": 3, "lanes": 3, "bus_bytes": 4},
    {"rows": 6, "lanes": 6, "bus_bytes": 16}, {"rows": 1, "cols": 1, "lanes": 1}],
    ids=lambda value: "-".join(map(str, value.values())) or "base")
def test_runs_of_tiles_are_their_tiles(changes, monkeypatch):
    """Many tiles at once give what one after the other gives."""
    shape, rng = shape_of(**changes), np.random.default_rng(5)
    queues = [[random_job(rng, shape, lut=False) for _ in range(4)] for _ in range(60)]
    at_once = [predict(queue, shape) for queue in queues]
    monkeypatch.setattr(cycles_module, "TILES_AT_ONCE", 10**9)
    assert at_once == [predict(queue, shape) for queue in queues]


def test_counters_add_up_and_jobs_end_in_order():
    shape, rng = shape_of(), np.random.default_rng(6)
    for _ in range(100):
        jobs = [random_job(rng, shape) for _ in range(5)]
        found = predict(jobs, shape)
        parts = found.counters()
        assert parts.pop("busy") == sum(parts.values()) and min(parts.values()) >= 0
        assert list(found.ends) == sorted(set(found.ends)) and len(found.ends) == 5
        assert found.active == sum(max(columns, 1) * -(-job.tokens // shape.rows)
                                   for job in jobs for columns in job.columns)
        assert found.busy == found.ends[-1] + 1     # counted from cycle 0 on


@pytest.mark.parametrize("changes", [
    {}, {"rows": 4, "cols": 8, "lanes": 4, "bus_bytes": 4}, {"rows": 3, "cols": 5, "lanes": 3},
    {"queue_depth": 1}])
def test_spans_share_out_every_cycle(changes):
    rng = np.random.default_rng(7)
    shape, idle, waits = shape_of(**changes), 0, set()
    for _ in range(30):
        jobs = [random_job(rng, shape) for _ in range(rng.integers(1, 6))]
        spans: list[Span] = []
        found = predict(jobs, shape, spans=spans)
        assert found == predict(jobs, shape)
        assert {cause: sum(getattr(span, cause) for span in spans) for cause in CAUSES} == {
            cause: value for cause, value in found.counters().items() if cause != "busy"}
        for span in spans:
            assert sum(span[4:]) == span.end - span.begin > 0
            if not span.active:
                waits |= {cause for cause in CAUSES if getattr(span, cause)}
        assert (spans[0].begin, spans[-1].end) == (0, found.ends[-1] + 1)
        gaps = [after.begin - span.end for span, after in pairwise(spans)]
        assert min(gaps, default=0) >= 0
        idle += sum(gaps)
        walked = [(span.job, span.strip) for span in spans if span.active]
        assert walked == [(number, strip) for number, job in enumerate(jobs)
                          for strip in range(len(job.columns))]
    assert {"stall_weights", "stall_acts", "other"} <= waits
    assert (idle > 0) == (shape.queue_depth == 1)   # elsewhere the next job was there in time


def test_late_pushes():
    """A push that comes late delays; the unit is not busy before the first one."""
    shape, rng = shape_of(), np.random.default_rng(7)
    jobs = [random_job(rng, shape) for _ in range(2)]
    free = predict(jobs, shape)
    early = predict(jobs, shape, pushes=[-900, -500])
    assert (early.ends, early.active) == (free.ends, free.active)
    assert early.busy == free.busy + 900 - timing.PUSH - 1
    gap = predict(jobs, shape, pushes=[-900, free.ends[0] + 1000])
    alone = predict(jobs[1:], shape, pushes=[1000])
    assert gap.ends[1] - alone.ends[0] == free.ends[0]
    assert gap.busy == predict(jobs[:1], shape, pushes=[-900]).busy + alone.busy
    with pytest.raises(ValueError, match="job 1 must be pushed in cycle"):
        predict(jobs, shape, pushes=[0, 0])


def test_a_short_queue_waits_for_a_place():
    rng = np.random.default_rng(8)
    jobs = [random_job(rng, shape_of()) for _ in range(6)]
    ends = [predict(jobs, shape_of(queue_depth=depth)).ends[-1] for depth in (1, 2, 3, 6)]
    assert ends == sorted(ends, reverse=True) and ends[0] > ends[1] >= ends[3]


def test_spread_columns():
    counts = spread_counts(np.array([0, 1, 7, 40]), inputs=40, block_inputs=16)
    assert counts.sum(axis=1).tolist() == [0, 1, 7, 40]
    places = np.arange(7) * 40 // 7
    assert counts[2].tolist() == np.bincount(places // 16, minlength=3).tolist()
    assert (counts[3] == [16, 16, 8]).all()


def test_a_layer_s_jobs_are_the_driver_s():
    layer = random_layer(np.random.default_rng(1), inputs=384, outputs=12)
    fits = SMALL.act_words // 384 * SMALL.rows
    for tokens in (1, 128, 500, fits, fits + 1, 2 * fits, 3 * fits + 2):
        job = UnitJob.of(layer, tokens, UnitShape.of(SMALL))
        parts = [part.tokens for part in layer_jobs(job, UnitShape.of(SMALL))]
        assert parts == split_tokens(tokens, inputs=384, config=SMALL)
        assert sum(parts) == tokens and max(parts) <= fits
        assert len(parts) == -(-tokens // fits)
        groups = [-(-part // SMALL.rows) for part in parts]
        assert max(groups) - min(groups) <= 1
        assert all(part % SMALL.rows == 0 for part in parts[:-1])


def test_no_job():
    with pytest.raises(ValueError, match="expected a job"):
        predict([], shape_of())
    job = random_job(np.random.default_rng(1), shape_of())
    with pytest.raises(ValueError, match="K \\* groups must be at most act_words = 1"):
        predict([job], shape_of(act_words=1))
    with pytest.raises(ValueError, match="lanes must divide rows = 4, not 3"):
        shape_of(lanes=3)


def test_what_no_unit_runs():
    with pytest.raises(ValueError, match="in_features must be at most act_words = 100, not 101"):
        layer_cycles([1], rows=2, cols=2, lanes=1, tokens=1, in_features=101, act_words=100)
    with pytest.raises(ValueError, match="sizes must be 1 or more"):
        layer_cycles([1], rows=2, cols=2, lanes=1, tokens=0, in_features=1)
