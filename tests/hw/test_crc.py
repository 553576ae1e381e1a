# amaranth: UnusedElaboratable=no
import random
import zlib

import pytest

from sparseloom.hw.crc import Crc32
from tests.hw.bench import run


@pytest.mark.parametrize("separate_start", [False, True])
@pytest.mark.parametrize("stall", [0.0, 0.5])
@pytest.mark.parametrize("bus_bytes", [1, 4, 8, 16])
def test_equals_zlib(bus_bytes, stall, separate_start):
    rng = random.Random(bus_bytes)
    packets = [rng.randbytes(bus_bytes * beats - 4) if bus_bytes * beats > 4 else b""
               for beats in (4, 5, 6, 9, 17)]
    packets = [packet + zlib.crc32(packet).to_bytes(4, "little") for packet in packets]
    damaged = [bytearray(packet) for packet in packets]
    for packet in damaged:
        packet[rng.randrange(len(packet))] ^= 1 << rng.randrange(8)
    cases = [(bytes(packet), good) for pair in zip(packets, damaged, strict=True)
             for packet, good in zip(pair, (True, False), strict=True)]
    dut, checked = Crc32(bus_bytes), []

    async def bench(ctx):
        assert ctx.get(dut.value) == 0
        due = [0] * dut.LATENCY         # of this cycle and those before

        async def tick(value):
            due.append(value)
            await ctx.tick()
            assert ctx.get(dut.value) == due[-dut.LATENCY]

        for packet, good in cases:
            ctx.set(dut.start, 1)
            if separate_start:
                await tick(0)
                ctx.set(dut.start, 0)
            for at in range(0, len(packet), bus_bytes):
                ctx.set(dut.valid, 1)
                ctx.set(dut.data, int.from_bytes(packet[at:at + bus_bytes], "little"))
                await tick(zlib.crc32(packet[:at + bus_bytes]))
                ctx.set(dut.start, 0)
                ctx.set(dut.valid, 0)
                ctx.set(dut.data, rng.getrandbits(8 * bus_bytes))
                while rng.random() < stall:
                    await tick(due[-1])
            for _ in range(dut.VERDICT_LATENCY - 1):
                await tick(due[-1])
            assert ctx.get(dut.residue_ok) == good
            checked.append(packet)

    run(dut, bench, max_cycles=2000)
    assert len(checked) == 10


def test_refuses_bad_parameters():
    with pytest.raises(ValueError, match="bus_bytes must be at least 1, not 0"):
        Crc32(0)
