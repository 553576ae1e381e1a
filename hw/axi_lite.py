"""AXI4-Lite endpoint built from a register table."""
from collections.abc import Sequence

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.registers import (
    ADDR_BITS,
    DATA_BITS,
    REGISTERS,
    Access,
    Register,
    check_registers,
)


class Response(enum.Enum, shape=2):
    """Codes of BRESP and RRESP."""

    OKAY = 0
    SLVERR = 2


class AxiLiteSignature(wiring.Signature):
    """AXI4-Lite with 32 data bits, as the host sees it; signals bear their AXI names.

    Parameters
    ----------
    addr_bits : int
        Width of AWADDR and ARADDR.
    """

    def __init__(self, addr_bits: int = ADDR_BITS):
        self.addr_bits = addr_bits
        super().__init__({
            "awaddr": Out(addr_bits), "awprot": Out(3), "awvalid": Out(1), "awready": In(1),
            "wdata": Out(DATA_BITS), "wstrb": Out(DATA_BITS // 8),
            "wvalid": Out(1), "wready": In(1),
            "bresp": In(2), "bvalid": In(1), "bready": Out(1),
            "araddr": Out(addr_bits), "arprot": Out(3), "arvalid": Out(1), "arready": In(1),
            "rdata": In(DATA_BITS), "rresp": In(2), "rvalid": In(1), "rready": Out(1),
        })


def register_signature(register: Register) -> wiring.Signature:
    """The unit's side of a register, as the endpoint sees it.

    ======  ===========================================================================
    access  members
    ======  ===========================================================================
    R       each field In: its value
    RW      each field Out: what was written last, 0 after reset
    W       ``strobe`` Out(1): written in this cycle; each field Out: the bits written
            (0 where WSTRB is 0), meaningful with ``strobe``; if refusable, ``refused``
            In(1), looked at in the cycle of the write: ``strobe`` stays 0
    RW1C    each field Out(1): the flag; ``<field>_set`` In(1): set it (a clear in the same
            cycle loses)
    ======  ===========================================================================
    """
    members: dict = {}
    for field in register.fields:
        shape = signed(field.width) if field.signed else unsigned(field.width)
        members[field.name] = (In if register.access is Access.R else Out)(shape)
        if register.access is Access.RW1C:
            members[f"{field.name}_set"] = In(1)
    if register.access is Access.W:
        members["strobe"] = Out(1)
        if register.refusable:
            members["refused"] = In(1)
    return wiring.Signature(members)


class AxiLiteRegisters(wiring.Component):
    """Registers of a table on AXI4-Lite.

    AW and W come in any order and any distance. A write takes effect in the cycle after both its
    halves were taken and answers in the next one; a read answers ``READ_LATENCY`` cycles after its
    address was taken. One answer each way is under way at a time, reads and writes independent of
    each other; the next address or data may be taken meanwhile, and waits. No output of the bus
    depends on an input in the same cycle, so VALID never waits for READY and payloads stay.

    OKAY for what the table allows; SLVERR, and no effect, for an offset without register, a
    write to R, a read of W (answers 0), and a write that the unit refuses. The two lowest address
    bits are ignored, as are AWPROT and ARPROT. WSTRB selects the bytes written; a write without
    any byte changes nothing and is no event.

    Parameters
    ----------
    registers : sequence of Register
    addr_bits : int

    Members
    -------
    bus : In(AxiLiteSignature(addr_bits))
    <register name, lower case> : Out(register_signature(register))
        One for each register.

    Raises
    ------
    ValueError
        If :func:`~.registers.check_registers` refuses the table.
    """

    READ_LATENCY = 3
    """Cycles from an address to its answer: register chosen, values gathered, answer."""

    def __init__(self, registers: Sequence[Register] = REGISTERS, *, addr_bits: int = ADDR_BITS):
        check_registers(registers, addr_bits=addr_bits)
        self._registers = tuple(registers)
        super().__init__({
            "bus": In(AxiLiteSignature(addr_bits)),
            **{register.name.lower(): Out(register_signature(register))
               for register in registers},
        })

    def elaborate(self, platform):
        m = Module()
        self._write_side(m)
        self._read_side(m)
        return m

    def _write_side(self, m):
        bus = self.bus
        word = Signal(DATA_BITS)
        strobes = Signal(DATA_BITS // 8)
        has_address = Signal()
        has_data = Signal()
        address_taken = bus.awvalid & bus.awready
        m.d.comb += [
            bus.awready.eq(~has_address),
            bus.wready.eq(~has_data),
        ]
        with m.If(address_taken):
            m.d.sync += has_address.eq(1)
        with m.If(bus.wvalid & bus.wready):
            m.d.sync += [has_data.eq(1), word.eq(bus.wdata), strobes.eq(bus.wstrb)]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        act = Signal()
        refused = Signal(init=1)            # offsets without register, and R
        m.d.comb += act.eq(has_address & has_data & ~bus.bvalid)
        with m.If(act):
            m.d.sync += [
                has_address.eq(0),
                has_data.eq(0),
                bus.bvalid.eq(1),
                bus.bresp.eq(Mux(refused, Response.SLVERR, Response.OKAY)),
            ]

        mask = Cat(*(strobe.replicate(8) for strobe in strobes))
        for register in self._registers:
            if register.access is Access.R:
                continue
            ports = getattr(self, register.name.lower())
            chosen = _chosen(m, register, "write", bus.awaddr, address_taken)
            with m.If(chosen):
                m.d.comb += refused.eq(ports.refused if register.refusable else 0)
            if register.access is Access.W:
                m.d.comb += ports.strobe.eq(
                    act & chosen & strobes.any() & ~(ports.refused if register.refusable else 0))
            for field in register.fields:
                bits = slice(field.low, field.low + field.width)
                port = Value.cast(getattr(ports, field.name))
                new, enable = word[bits], mask[bits]
                if register.access is Access.W:
                    m.d.comb += port.eq(new & enable)
                elif register.access is Access.RW:
                    with m.If(act & chosen):
                        m.d.sync += port.eq((new & enable) | (port & ~enable))
                else:
                    with m.If(getattr(ports, f"{field.name}_set")):
                        m.d.sync += port.eq(1)
                    with m.Elif(act & chosen & (new & enable)):
                        m.d.sync += port.eq(0)

    def _read_side(self, m):
        bus = self.bus
        has_address, gathered = Signal(), Signal()
        address_taken = bus.arvalid & bus.arready
        m.d.comb += bus.arready.eq(~has_address)
        with m.If(address_taken):
            m.d.sync += has_address.eq(1)
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += bus.rvalid.eq(0)

        readable = [register for register in self._registers
                    if register.access is not Access.W]
        known, values = Signal(), []
        choices = [_chosen(m, register, "read", bus.araddr, address_taken)
                   for register in readable]
        # Halves of the table are gathered in registers of their own: one is too wide a sum.
        for number, low in enumerate((0, len(readable) // 2)):
            high = len(readable) // 2 if number == 0 else len(readable)
            value = Signal(DATA_BITS, name=f"value_{number}", reset_less=True)
            m.d.sync += value.eq(_any_of(
                _word(getattr(self, register.name.lower()), register) & chosen.replicate(DATA_BITS)
                for register, chosen in zip(readable[low:high], choices[low:high], strict=True)))
            values.append(value)
        m.d.sync += [known.eq(Cat(choices).any()), gathered.eq(has_address & ~gathered)]
        # The values may be of an earlier cycle while the answer before waits: none is promised.
        with m.If(~bus.rvalid & gathered):
            m.d.sync += [
                has_address.eq(0),
                bus.rvalid.eq(1),
                bus.rdata.eq(_any_of(values)),
                bus.rresp.eq(Mux(known, Response.OKAY, Response.SLVERR)),
            ]


def _chosen(m, register, side, address, taken) -> Signal:
    """Whether the address taken last is the register's: decoded at once, one flip-flop each."""
    chosen = Signal(name=f"{register.name.lower()}_{side}")
    with m.If(taken):
        m.d.sync += chosen.eq(address[2:] == register.offset // 4)
    return chosen


def _word(ports, register) -> Value:
    """A register as it is read."""
    word, at = [], 0
    for field in register.fields:
        word += [Const(0, field.low - at), Value.cast(getattr(ports, field.name)).as_unsigned()]
        at = field.low + field.width
    return Cat(*word, Const(0, DATA_BITS - at))


def _any_of(words) -> Value:
    """Bits that are set in any of the words."""
    found = Const(0, DATA_BITS)
    for word in words:
        found = found | word
    return found
