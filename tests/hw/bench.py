"""Help for tests of single components: drive a stream, take from a stream, run with a limit."""
import random
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator

Testbench = Callable[..., Coroutine[Any, Any, None]]


async def put(ctx, stream, payload) -> None:
    """Offer ``payload`` on the component's input ``stream`` until it is taken.

    Takes at least one cycle; back-to-back calls give one word per cycle.
    """
    ctx.set(stream.payload, payload)
    ctx.set(stream.valid, 1)
    await ctx.tick().until(stream.ready)
    ctx.set(stream.valid, 0)


async def get(ctx, stream):
    """Take one payload from the component's output ``stream``."""
    ctx.set(stream.ready, 1)
    payload, = await ctx.tick().sample(stream.payload).until(stream.valid)
    ctx.set(stream.ready, 0)
    return payload


async def pause(ctx, rng: random.Random, stall: float) -> None:
    """Wait a random number of cycles: each further cycle with probability ``stall``."""
    while rng.random() < stall:
        await ctx.tick()


def watch(stream) -> Testbench:
    """Background testbench: an offered payload of ``stream`` stays until it is taken."""

    async def process(ctx):
        held = None
        async for _, reset, valid, ready, bits in ctx.tick().sample(
                stream.valid, stream.ready, stream.payload):
            if reset:
                held = None
                continue
            if held is not None:
                assert valid, "an offered payload was withdrawn"
                assert bits == held, f"an offered payload changed: {held!r} became {bits!r}"
            held = bits if valid and not ready else None

    return process


def run(dut: Elaboratable, *testbenches: Testbench, max_cycles: int,
        background: Iterable[Testbench] = (), waves: str | None = None) -> None:
    """Simulate until every testbench has returned.

    Parameters
    ----------
    dut : Elaboratable
        What is tested, with one clock domain ``sync``.
    testbenches : async functions of the simulator's context
    max_cycles : int
        Fails with AssertionError if the testbenches take longer.
    background : iterable of async functions
        Observers, which need not return.
    waves : str, optional
        Name of a VCD file to write; none by default.
    """
    sim = Simulator(dut)
    sim.add_clock(1e-6)
    for testbench in testbenches:
        sim.add_testbench(testbench)
    for testbench in background:
        sim.add_testbench(testbench, background=True)

    async def limit(ctx):
        for _ in range(max_cycles):          # tick().repeat() warns when it is abandoned
            await ctx.tick()
        raise AssertionError(f"not finished after {max_cycles} cycles")

    sim.add_testbench(limit, background=True)
    if waves is None:
        sim.run()
    else:
        with sim.write_vcd(waves):
            sim.run()
