# amaranth: UnusedElaboratable=no
import random

import pytest

from sparseloom.hw.axi_lite import AxiLiteRegisters, AxiLiteSignature
from sparseloom.hw.registers import COUNTERS, REGISTERS, Access, Field, Register
from tests.hw.bench import pause, run

OKAY, SLVERR = 0, 2
BY_NAME = {register.name: register for register in REGISTERS}


async def channel(ctx, rng, stall, valid, ready, **payload):
    """Offer one beat on a channel of the bus until it is taken; nonsense while it is not valid."""
    await pause(ctx, rng, stall)
    for signal, value in payload.values():
        ctx.set(signal, value)
    ctx.set(valid, 1)
    await ctx.tick().until(ready)
    ctx.set(valid, 0)
    for signal, _ in payload.values():
        ctx.set(signal, rng.getrandbits(len(signal)))


def host(dut, rng, stall, writes, reads, answers):
    """Testbenches of the five channels: independent, so that AW and W drift apart both ways."""
    bus = dut.bus

    async def aw(ctx):
        for offset, _, _ in writes:
            await channel(ctx, rng, stall, bus.awvalid, bus.awready,
                          addr=(bus.awaddr, offset | rng.randrange(4)))

    async def w(ctx):
        for _, word, strobes in writes:
            await channel(ctx, rng, stall, bus.wvalid, bus.wready,
                          data=(bus.wdata, word), strb=(bus.wstrb, strobes))

    async def b(ctx):
        for _ in writes:
            await pause(ctx, rng, stall)
            ctx.set(bus.bready, 1)
            response, = await ctx.tick().sample(bus.bresp).until(bus.bvalid)
            ctx.set(bus.bready, 0)
            answers["write"].append(response)

    async def ar(ctx):
        for offset in reads:
            await channel(ctx, rng, stall, bus.arvalid, bus.arready, addr=(bus.araddr, offset))

    async def r(ctx):
        for _ in reads:
            await pause(ctx, rng, stall)
            ctx.set(bus.rready, 1)
            word, response = await ctx.tick().sample(bus.rdata, bus.rresp).until(bus.rvalid)
            ctx.set(bus.rready, 0)
            answers["read"].append((word, response))

    return aw, w, b, ar, r


def watch_bus(bus):
    """VALID stays with its payload until READY, and nothing is offered that was not asked for."""

    async def process(ctx):
        held: dict = {"b": None, "r": None}
        asked = {"aw": 0, "w": 0, "ar": 0, "b": 0, "r": 0}
        async for sample in ctx.tick().sample(
                bus.bvalid, bus.bready, bus.bresp, bus.rvalid, bus.rready, bus.rdata, bus.rresp,
                bus.awvalid & bus.awready, bus.wvalid & bus.wready, bus.arvalid & bus.arready):
            _, _, bvalid, bready, bresp, rvalid, rready, rdata, rresp, aw, w, ar = sample
            for name, valid, ready, payload in (("b", bvalid, bready, bresp),
                                                ("r", rvalid, rready, (rdata, rresp))):
                if held[name] is not None:
                    assert valid, f"{name} withdrawn"
                    assert payload == held[name], f"{name} changed"
                held[name] = payload if valid and not ready else None
                asked[name] += valid and ready
            assert not bvalid or asked["b"] - bready < min(asked["aw"], asked["w"])
            assert not rvalid or asked["r"] - rready < asked["ar"]
            for name, moved in (("aw", aw), ("w", w), ("ar", ar)):
                asked[name] += moved

    return process


def merge(old, word, strobes):
    mask = sum(0xFF << 8 * byte for byte in range(4) if strobes >> byte & 1)
    return (old & ~mask) | (word & mask)


def field_mask(register):
    return sum(field.mask for field in register.fields)


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_random_writes(stall):
    """Every offset, mapped or not, with any choice of bytes, against a model."""
    rng = random.Random(1)
    writes = [(4 * rng.randrange(64) if rng.random() < 0.3 else rng.choice(REGISTERS).offset,
               rng.getrandbits(32), rng.choice([0, 15, 15, rng.randrange(16)]))
              for _ in range(400)]
    dut, answers, seen = AxiLiteRegisters(), {"write": [], "read": []}, []
    kept = {register.name: 0 for register in REGISTERS if register.access is Access.RW}
    expected, events = [], []
    refusals = [rng.random() < 0.5 for _ in writes]     # by write, so that skew does not matter
    for (offset, word, strobes), refusal in zip(writes, refusals, strict=True):
        register = next((entry for entry in REGISTERS if entry.offset == offset), None)
        if (register is None or register.access is Access.R
                or (register.refusable and refusal)):
            expected.append(SLVERR)
        else:
            expected.append(OKAY)
            if register.access is Access.RW:
                kept[register.name] = merge(kept[register.name], word, strobes) & field_mask(
                    register)
            elif register.access is Access.W and strobes:
                bits = merge(0, word, strobes)
                events.append((register.name, [bits >> field.low & (1 << field.width) - 1
                                               for field in register.fields]))

    async def unit(ctx):
        """Refuse as the list says: the write now due is the one after those answered."""
        while True:
            ctx.set(dut.job_push.refused, refusals[min(acted[0], len(refusals) - 1)])
            samples = [part for name in ("CONTROL", "JOB_PUSH")
                       for part in (getattr(dut, name.lower()).strobe,
                                    *(getattr(getattr(dut, name.lower()), field.name)
                                      for field in BY_NAME[name].fields))]
            _, _, *values, bvalid, bready = await ctx.tick().sample(
                *samples, dut.bus.bvalid, dut.bus.bready)
            if values[0]:
                seen.append(("CONTROL", values[1:3]))
            if values[3]:
                seen.append(("JOB_PUSH", []))
            acted[0] += bvalid and bready

    acted = [0]
    aw, w, b, _, _ = host(dut, rng, stall, writes, [], answers)

    async def finish(ctx):
        while len(answers["write"]) < len(writes):
            await ctx.tick()
        for name, value in kept.items():
            for field in BY_NAME[name].fields:
                got = ctx.get(getattr(getattr(dut, name.lower()), field.name))
                assert got & (1 << field.width) - 1 == value >> field.low & (1 << field.width) - 1
                assert field.signed or got >= 0

    run(dut, aw, w, b, finish, max_cycles=20000, background=[watch_bus(dut.bus), unit])
    assert answers["write"] == expected
    assert seen == events
    assert SLVERR in expected and len(events) > 10


@pytest.mark.parametrize("stall", [0.0, 0.6])
def test_random_reads(stall):
    """Fields of R registers, unmapped offsets and W registers."""
    rng = random.Random(2)
    dut, answers = AxiLiteRegisters(), {"write": [], "read": []}
    words = {register.offset: rng.getrandbits(32) & field_mask(register)
             for register in REGISTERS if register.access is Access.R}
    readable = {register.offset: words.get(register.offset, 0)
                for register in REGISTERS if register.access is not Access.W}
    reads = [4 * rng.randrange(64) for _ in range(150)] + list(readable)
    _, _, _, ar, r = host(dut, rng, stall, [], reads, answers)

    async def unit(ctx):
        for register in REGISTERS:
            if register.access is Access.R and not register.bank:
                for field in register.fields:
                    ctx.set(getattr(getattr(dut, register.name.lower()), field.name),
                            (words[register.offset] & field.mask) >> field.low)

    async def bank(ctx):
        """Answers a read once, some cycles later, and shows nonsense until then."""
        port, waits, left = dut.counters, random.Random(3), 0
        async for _, _, read, index in ctx.tick().sample(port.read, port.index):
            assert not (read and left), "asked again before the answer"
            if read:
                asked.append(index)
                left = waits.choice([1, 1, 2, 6])
                ctx.set(port.value, waits.getrandbits(32))
            ctx.set(port.there, left == 1)
            if left == 1:
                ctx.set(port.value, words[BY_NAME[COUNTERS[index]].offset])
            left -= left > 0

    asked: list[int] = []
    run(dut, unit, ar, r, max_cycles=5000, background=[watch_bus(dut.bus), bank])
    assert asked == [(offset - BY_NAME[COUNTERS[0]].offset) // 4 for offset in reads
                     if offset in {BY_NAME[name].offset for name in COUNTERS}]
    assert set(asked) == set(range(len(COUNTERS)))
    assert answers["read"] == [(readable.get(offset, 0), OKAY if offset in readable else SLVERR)
                               for offset in reads]
    assert (0, SLVERR) in answers["read"]


def test_read_latency():
    dut = AxiLiteRegisters()

    async def bench(ctx):
        ctx.set(dut.id.value, 77)
        ctx.set(dut.bus.araddr, BY_NAME["ID"].offset)
        ctx.set(dut.bus.arvalid, 1)
        await ctx.tick().until(dut.bus.arready)
        ctx.set(dut.bus.arvalid, 0)
        for _ in range(dut.READ_LATENCY - 1):
            assert not ctx.get(dut.bus.rvalid)
            await ctx.tick()
        assert (ctx.get(dut.bus.rvalid), ctx.get(dut.bus.rdata)) == (1, 77)

    run(dut, bench, max_cycles=20)


def test_reads_and_writes_together():
    """A kept register reads back what the last answered write left, reserved bits as 0."""
    rng = random.Random(3)
    offset = BY_NAME["JOB_CONFIG"].offset
    dut = AxiLiteRegisters()
    answers = {"write": [], "read": []}
    seen = []

    async def bench(ctx):
        for _ in range(40):
            word = rng.getrandbits(32)
            for part in host(dut, rng, 0.3, [(offset, word, 15)], [offset], answers):
                await part(ctx)
            seen.append((answers["read"].pop()[0], word & 0x3FF))

    run(dut, bench, max_cycles=3000, background=[watch_bus(dut.bus)])
    assert all(got == want for got, want in seen) and len(seen) == 40


def test_flags_are_sticky_and_a_set_beats_a_clear():
    dut = AxiLiteRegisters()
    flags = dut.irq_status
    offset = BY_NAME["IRQ_STATUS"].offset

    async def pulse(ctx, signal):
        ctx.set(signal, 1)
        await ctx.tick()
        ctx.set(signal, 0)

    async def write(ctx, word, strobes=15):
        answers = {"write": [], "read": []}
        aw, w, b, _, _ = host(dut, random.Random(0), 0.0, [(offset, word, strobes)], [], answers)
        for part in (aw, w, b):
            await part(ctx)
        assert answers["write"] == [OKAY]

    def state(ctx):
        return [ctx.get(flag) for flag in (flags.done, flags.error, flags.space)]

    async def bench(ctx):
        for signal in (flags.done_set, flags.space_set):
            await pulse(ctx, signal)
        assert state(ctx) == [1, 0, 1]
        await write(ctx, 0b010)
        assert state(ctx) == [1, 0, 1], "clearing another flag"
        await write(ctx, 0b111, strobes=0b1110)
        assert state(ctx) == [1, 0, 1], "a byte that was not written"
        await write(ctx, 0b001)
        assert state(ctx) == [0, 0, 1]
        ctx.set(flags.space_set, 1)
        await write(ctx, 0b100)
        ctx.set(flags.space_set, 0)
        assert state(ctx) == [0, 0, 1], "an event was lost"

    run(dut, bench, max_cycles=100, background=[watch_bus(dut.bus)])


@pytest.mark.parametrize("first", ["address", "data"])
def test_halves_of_a_write_in_any_order(first):
    dut = AxiLiteRegisters()
    bus, rng = dut.bus, random.Random(0)

    async def bench(ctx):
        halves = [(bus.awvalid, bus.awready, {"addr": (bus.awaddr, 0x3C)}),
                  (bus.wvalid, bus.wready, {"data": (bus.wdata, 5), "strb": (bus.wstrb, 1)})]
        for valid, ready, payload in halves if first == "address" else halves[::-1]:
            for _ in range(10):
                assert not ctx.get(bus.bvalid)
                await ctx.tick()
            await channel(ctx, rng, 0.0, valid, ready, **payload)
        await ctx.tick()
        for _ in range(20):                             # an answer waits as long as it has to
            await ctx.tick()
            assert ctx.get(bus.bvalid)
        assert (ctx.get(dut.irq_mask.done), ctx.get(dut.irq_mask.error),
                ctx.get(dut.irq_mask.space)) == (1, 0, 1)
        ctx.set(bus.bready, 1)
        await ctx.tick()
        assert not ctx.get(bus.bvalid)

    run(dut, bench, max_cycles=100, background=[watch_bus(bus)])


def test_signature_has_the_names_of_axi():
    assert AxiLiteSignature(8).members["awaddr"].shape == 8
    assert len(AxiLiteSignature().members) == 19


def test_refuses_a_bad_table():
    field = Field(name="x", low=0, width=1, doc="")
    twice = [Register(name="A", offset=0, access=Access.RW, doc="", fields=(field,))] * 2
    with pytest.raises(ValueError, match="register A is there twice"):
        AxiLiteRegisters(twice)
