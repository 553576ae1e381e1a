"""The link's transport in a simulation: bytes through the board's serial pins."""
from typing import Any

import cocotb
from cocotb.task import resume
from cocotb.triggers import Event, FallingEdge, First, Timer
from cocotb.utils import get_sim_time


class SerialPins:
    """Sends on pin ``rx`` and listens on pin ``tx``, from blocking code inside ``cocotb.bridge``.

    Parameters
    ----------
    dut
        The top of ``board_bench.v``.
    bit_ns : int
        Time of a bit.
    """

    def __init__(self, dut: Any, *, bit_ns: int):
        self.dut, self.bit_ns = dut, bit_ns
        self.baud = round(1e9 / bit_ns)
        self.write = resume(self._write)
        self.read = resume(self._read)
        self._received = bytearray()
        self._news = Event()
        dut.rx.value = 1
        cocotb.start_soon(self._listen())

    def now(self) -> float:
        """Simulated seconds."""
        return get_sim_time("ns") * 1e-9

    async def _write(self, octets: bytes) -> None:
        for byte in octets:
            levels = [0, *(byte >> place & 1 for place in range(8)), 1]
            start = 0
            for end in range(1, 11):             # equal neighbours in one step
                if end == 10 or levels[end] != levels[start]:
                    self.dut.rx.value = levels[start]
                    await Timer((end - start) * self.bit_ns, unit="ns")
                    start = end

    async def _read(self, seconds: float) -> bytes:
        if not self._received:
            self._news.clear()
            await First(self._news.wait(), Timer(max(1, round(seconds * 1e9)), unit="ns"))
        received = bytes(self._received)
        self._received.clear()
        return received

    async def _listen(self) -> None:
        while True:
            await FallingEdge(self.dut.tx)
            await Timer(self.bit_ns // 2, unit="ns")
            assert not int(self.dut.tx.value), "a start bit that is shorter than half a bit"
            byte = 0
            for place in range(8):
                await Timer(self.bit_ns, unit="ns")
                byte |= int(self.dut.tx.value) << place
            await Timer(self.bit_ns, unit="ns")
            assert int(self.dut.tx.value), "no stop bit"
            self._received.append(byte)
            self._news.set()
