"""Memories as proofs see them: registers, and no promise that the hardware's do not give."""
from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth.hdl import Array, Elaboratable, Module, Mux, Shape, Signal, Value
from amaranth.lib.data import Layout

import sparseloom.hw.memory as hardware
from tests.formal.parts import free


class RegisterMemory(Elaboratable):
    """In the place of :func:`sparseloom.hw.memory.inferred_memory`; ``words`` are registers.

    A synchronous read in the cycle of a write to its address gives any word, since that is all
    that the hardware's memories promise. So does an address behind the last word.
    """

    def __init__(self, shape: Any, depth: int):
        self._shape, self._depth = shape, depth
        self._width = Shape.cast(shape).width
        self.words = [Signal(self._width, name=f"word_{at}", reset_less=True)
                      for at in range(depth)]
        self._writes: list[Any] = []
        self.reads: list[Any] = []

    def write_port(self) -> Any:
        """``en``, ``addr`` and ``data``, as Amaranth's."""
        port = SimpleNamespace(en=Signal(name="write_en"),
                               addr=Signal(range(self._depth), name="write_addr"),
                               data=Signal(self._shape, name="write_data"))
        self._writes.append(port)
        return port

    def read_port(self, *, domain: str = "sync") -> Any:
        """``en``, ``addr`` and ``data``, as Amaranth's; ``domain`` is ``sync`` or ``comb``."""
        data = Signal(self._shape, name="read_data", reset_less=domain != "comb")
        port = SimpleNamespace(domain=domain, en=Signal(name="read_en", init=1),
                               addr=Signal(range(self._depth), name="read_addr"), data=data)
        self.reads.append(port)
        return port

    def elaborate(self, platform):
        m = Module()
        for write in self._writes:
            for at, word in enumerate(self.words):
                with m.If(write.en & (write.addr == at)):
                    m.d.sync += word.eq(write.data)
        for number, read in enumerate(self.reads):
            unknown = free(m, self._width, name=f"unknown_{number}")
            data = Value.cast(read.data) if isinstance(self._shape, Layout) else read.data
            found = Signal(self._width, name=f"found_{number}")
            m.d.comb += found.eq(Array(self.words)[read.addr])
            beyond = (read.addr >= self._depth) if self._depth & (self._depth - 1) else 0
            if read.domain == "comb":
                m.d.comb += data.eq(Mux(beyond, unknown, found))
            else:
                collides = beyond
                for write in self._writes:
                    collides = collides | (write.en & (write.addr == read.addr))
                with m.If(read.en):
                    m.d.sync += data.eq(Mux(collides, unknown, found))
        return m


def inferred_memory(*, shape: Any, depth: int, distributed: bool = False) -> RegisterMemory:
    """As the hardware's function of this name."""
    return RegisterMemory(shape, max(2, depth))


def install() -> None:
    """Give components such memories; before any of them is imported."""
    hardware.inferred_memory = inferred_memory  # pyright: ignore[reportAttributeAccessIssue]
