# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.input_port import InputPort
from tests.hw.bench import run


def simulate(dut, cycles):
    """Drive each cycle's inputs; answer (i.ready, o.valid, payload passed, started) of each."""
    seen = []

    async def drive(ctx):
        for run_, discard, valid, beat, o_ready in cycles:
            ctx.set(dut.run, run_)
            ctx.set(dut.discard, discard)
            ctx.set(dut.i.valid, valid)
            ctx.set(dut.i.payload, beat)
            ctx.set(dut.o.ready, o_ready)
            *_, ready, o_valid, payload, started = await ctx.tick().sample(
                dut.i.ready, dut.o.valid, dut.o.payload, dut.started)
            passed = {name: getattr(payload, name) for name in beat}
            seen.append((ready, o_valid, passed == beat, started))

    run(dut, drive, max_cycles=len(cycles) + 10)
    return seen


def beat(last, data=0xA5, keep=0xF):
    return {"data": data, "keep": keep, "last": int(last)}


@pytest.mark.parametrize("bus_bits", [32, 64, 128])
def test_random_traffic(bus_bits):
    """Held against the promise in words: run passes, discard drops to TLAST, else shut."""
    rng = random.Random(bus_bits)
    cycles, expected, started, dropped = [], [], 0, 0
    run_, discard = 1, 0
    for _ in range(1500):
        if rng.random() < 0.1:
            run_, discard = rng.choice([(1, 0), (1, 1), (0, 0), (0, 1)])
        valid, o_ready = int(rng.random() < 0.7), int(rng.random() < 0.6)
        what = beat(rng.random() < 0.2, rng.getrandbits(bus_bits), rng.getrandbits(bus_bits // 8))
        cycles.append((run_, discard, valid, what, o_ready))
        if run_:
            ready, o_valid = o_ready, valid
        else:
            ready, o_valid = int(discard and started), 0
            dropped += ready and valid
        expected.append((ready, o_valid, True, started))
        if valid and ready:
            started = int(not what["last"])
    seen = simulate(InputPort(bus_bits=bus_bits), cycles)
    for at, ((ready, o_valid, same, begun), due) in enumerate(zip(seen, expected, strict=True)):
        assert (ready, o_valid, same or not o_valid, begun) == due, f"cycle {at}"
    assert dropped > 50


def test_discard_ends_with_the_packet_under_way():
    middle, end = beat(False), beat(True)
    cycles = [
        (1, 0, 1, middle, 1),   # a packet begins
        (0, 0, 1, middle, 1),   # stopped: shut
        (0, 1, 0, middle, 1),   # discarding, but no beat
        (0, 1, 1, middle, 1),   # dropped
        (0, 1, 1, end, 0),      # dropped, whatever lies behind the door
        (0, 1, 1, middle, 1),   # the next packet stays outside
        (1, 0, 1, middle, 1),   # and goes through when the unit runs again
    ]
    seen = [(ready, valid, started)
            for ready, valid, _, started in simulate(InputPort(bus_bits=32), cycles)]
    assert seen == [(1, 1, 0), (0, 0, 1), (1, 0, 1), (1, 0, 1), (1, 0, 1), (0, 0, 0), (1, 1, 0)]


def test_an_idle_input_needs_no_beat():
    one_beat = beat(True)
    cycles = [(1, 0, 1, one_beat, 1), (0, 1, 0, one_beat, 0), (0, 1, 1, one_beat, 1)]
    seen = [(ready, valid, started)
            for ready, valid, _, started in simulate(InputPort(bus_bits=32), cycles)]
    assert seen == [(1, 1, 0), (0, 0, 0), (0, 0, 0)]


def test_refuses():
    with pytest.raises(ValueError, match="bus_bits"):
        InputPort(bus_bits=12)
