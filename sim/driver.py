"""The unit as a bench sees it: registers by name, jobs, streams; on cocotbext-axi's drivers."""
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from cocotb.clock import Clock
from cocotb.triggers import ClockCycles, RisingEdge, with_timeout
from cocotbext.axi import (
    AxiLiteBus,
    AxiLiteMaster,
    AxiResp,
    AxiStreamBus,
    AxiStreamFrame,
    AxiStreamSink,
    AxiStreamSource,
)

from sparseloom.hw.job import Job, pack_fields, unpack_fields
from sparseloom.hw.registers import COUNTERS, TABLE

CLOCK_NS = 10


@dataclass(frozen=True, kw_only=True)
class Packet:
    """One packet of the result stream.

    Parameters
    ----------
    data : bytes
        Kept bytes up to TLAST, the closing beat's left out.
    user : bool
        TUSER of the last beat: the results are void.
    cause : int
        The closing beat's byte where ``user`` is set, else 0.
    """

    data: bytes
    user: bool
    cause: int


class Control:
    """The registers of a unit in a bench, and jobs through them.

    Parameters
    ----------
    dut
        The bench; its clock runs already.
    prefix : str
        Of the bench's AXI4-Lite ports that lead to the unit.
    """

    def __init__(self, dut: Any, prefix: str = "s_axil"):
        self.dut = dut
        self.registers = AxiLiteMaster(AxiLiteBus.from_prefix(dut, prefix), dut.aclk, dut.aresetn,
                                       reset_active_level=False)

    async def cycles(self, count: int) -> None:
        """Let cycles pass."""
        await ClockCycles(self.dut.aclk, count)

    # Registers

    async def read_word(self, offset: int) -> tuple[int, bool]:
        """Read 32 bits: the value, and whether the bus answered OKAY."""
        answer: Any = await self.registers.read(offset, 4)
        return int.from_bytes(answer.data, "little"), answer.resp == AxiResp.OKAY

    async def write_word(self, offset: int, value: int) -> bool:
        """Write 32 bits; did the bus answer OKAY?"""
        answer: Any = await self.registers.write(offset, value.to_bytes(4, "little"))
        return answer.resp == AxiResp.OKAY

    async def read(self, name: str) -> dict[str, int]:
        """Fields of a register by name.

        Raises
        ------
        AssertionError
            If the bus does not answer OKAY.
        """
        register = TABLE[name]
        word, okay = await self.read_word(register.offset)
        assert okay, f"reading {name} was refused"
        return unpack_fields(register, word)

    async def write(self, name: str, **fields: int) -> bool:
        """Write a register by name, other fields 0; did the bus answer OKAY?"""
        register = TABLE[name]
        return await self.write_word(register.offset, pack_fields(register, **fields))

    async def counters(self) -> dict[str, int]:
        """Every cycle counter, by lower-case name."""
        return {name.lower(): (await self.read(name))["value"] for name in COUNTERS}

    # Jobs

    async def push(self, job: Job) -> bool:
        """Describe a job and push it; was it taken?"""
        for name, fields in job.writes():
            assert await self.write(name, **fields), f"writing {name} was refused"
        return await self.write("JOB_PUSH")

    async def push_when_free(self, job: Job, *, poll: int = 32) -> None:
        """Wait for a place in the queue, then push.

        Raises
        ------
        AssertionError
            If the unit is in error, or refuses nevertheless.
        """
        while True:
            status = await self.read("STATUS")
            assert not status["error"], f"error before the push: {await self.read('ERROR')}"
            if status["queue_space"]:
                break
            await self.cycles(poll)
        assert await self.push(job), "the push was refused although there was space"

    async def clear(self, *, limit: int = 2000) -> int:
        """Write CONTROL.clear and wait until it is done.

        Returns
        -------
        int
            Readings of STATUS that showed ``clearing``.

        Raises
        ------
        AssertionError
            If it does not end in ``limit`` readings.
        """
        assert await self.write("CONTROL", clear=1), "clear was refused"
        for count in range(limit):
            if not (await self.read("STATUS"))["clearing"]:
                return count
        raise AssertionError(f"still clearing after {limit} readings of STATUS")


class Unit(Control):
    """The unit in a bench: clock, reset, registers, streams.

    Parameters
    ----------
    dut
        The top of ``bench.v``.
    """

    def __init__(self, dut: Any):
        self.bus_bytes = len(dut.s_axis_acts_tkeep)
        self.sent = {"weights": int(dut.weight_packets.value), "acts": int(dut.act_packets.value)}
        dut.aresetn.value = 0
        dut.play.value = 0
        for name, value in (("number", 0), ("seed", 1), ("packets", 1), ("gap_weights", 0),
                            ("gap_acts", 0), ("gap_results", 0)):
            getattr(dut, name).value = value
        Clock(dut.aclk, CLOCK_NS, unit="ns").start()
        super().__init__(dut)
        attach = {"clock": dut.aclk, "reset": dut.aresetn, "reset_active_level": False}
        self.weights = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_weights"), **attach)
        self.acts = AxiStreamSource(AxiStreamBus.from_prefix(dut, "s_axis_acts"), **attach)
        self.results = AxiStreamSink(AxiStreamBus.from_prefix(dut, "m_axis_results"), **attach)

    async def reset(self, cycles: int = 4) -> None:
        """Hold reset; the drivers drop what they were sending."""
        self.dut.aresetn.value = 0
        await ClockCycles(self.dut.aclk, cycles)
        for stream in (self.weights, self.acts, self.results):
            stream.clear()
        self.sent = {"weights": int(self.dut.weight_packets.value),
                     "acts": int(self.dut.act_packets.value)}
        self.dut.aresetn.value = 1
        await ClockCycles(self.dut.aclk, 2)

    # Streams

    async def send(self, stream: str, data: bytes, keep: list[int] | None = None) -> None:
        """Queue a packet on ``weights`` or ``acts``; its last byte has TLAST."""
        await getattr(self, stream).send(AxiStreamFrame(data, tkeep=keep))
        self.sent[stream] += 1

    def waiting(self, stream: str) -> int:
        """Packets that were queued and of which the unit took no beat yet."""
        begun = {"weights": self.dut.weight_packets, "acts": self.dut.act_packets}
        return self.sent[stream] - int(begun[stream].value)

    async def receive(self, *, limit: int) -> Packet:
        """The next packet of results, up to TLAST.

        Parameters
        ----------
        limit : int
            Cycles to wait for it.
        """
        frame = await with_timeout(self.results.recv(compact=False), limit * CLOCK_NS, "ns")
        return to_packet(frame, self.bus_bytes)


def to_packet(frame: Any, bus_bytes: int) -> Packet:
    """Kept bytes of an ``AxiStreamFrame``; the beat with TUSER apart from them."""
    keep = list(frame.tkeep or [])
    user = list(frame.tuser or [])
    closed = bool(user and user[-1])
    end = len(frame.tdata) - (bus_bytes if closed else 0)
    assert not any(user[:end]), "TUSER before the last beat"
    data = bytes(byte for byte, kept in zip(frame.tdata[:end], keep[:end], strict=True) if kept)
    cause = 0
    if closed:
        assert keep[end:] == [1] + [0] * (bus_bytes - 1), f"TKEEP of the closing beat: {keep[end:]}"
        cause = frame.tdata[end]
    return Packet(data=data, user=closed, cause=cause)


def gaps(random: Any, share: float) -> Iterator[bool]:
    """Endless pauses for a driver's ``set_pause_generator``: that share of cycles, in runs."""
    while True:
        paused = random.random() < share
        for _ in range(random.choice((1, 1, 2, 5))):
            yield paused


async def wait_for(signal: Any, cycles: int) -> None:
    """Wait until a signal of one bit is up.

    Raises
    ------
    cocotb.triggers.SimTimeoutError
        If it is not, after so many cycles.
    """
    if not int(signal.value):
        await with_timeout(RisingEdge(signal), cycles * CLOCK_NS, "ns")

