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
    bank_registers,
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
            In(1), looked at in the cycle before the write: ``strobe`` stays 0
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


def bank_signature(size: int) -> wiring.Signature:
    """A bank of ``size`` registers, as the endpoint sees it.

    ``read`` is up for one cycle: ``value`` of register ``index`` of the bank is asked for, and
    ``there`` is up for one cycle, a later one, when it is there. It stays until the next ``read``;
    ``index`` stays from ``read`` until the answer was taken.
    """
    return wiring.Signature({"read": Out(1), "index": Out(range(size)),
                             "there": In(1), "value": In(DATA_BITS)})


class AxiLiteRegisters(wiring.Component):
    """Registers of a table on AXI4-Lite.

    AW and W come in any order and any distance. A write takes effect two cycles after both its
    halves were taken and answers in the next one; a read answers ``READ_LATENCY`` cycles after its
    address was taken, a read of a bank when that has the value. One answer each way is under way
    at a time, reads and writes independent of each other; the next write's address or data may be
    taken meanwhile, and waits. No output of the bus depends on an input in the same cycle, so
    VALID never waits for READY and payloads stay.

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
        One for each register that is not in a bank.
    <bank name> : Out(bank_signature(size))

    Raises
    ------
    ValueError
        If :func:`~.registers.check_registers` refuses the table.
    """

    READ_LATENCY = 3
    """Cycles from an address to its answer: register chosen, a few values gathered, then all."""

    GATHERED = 2
    """Registers of the table gathered into one: a look-up table deep."""

    def __init__(self, registers: Sequence[Register] = REGISTERS, *, addr_bits: int = ADDR_BITS):
        check_registers(registers, addr_bits=addr_bits)
        self._registers = tuple(registers)
        self._banks = bank_registers(registers)
        super().__init__({
            "bus": In(AxiLiteSignature(addr_bits)),
            **{register.name.lower(): Out(register_signature(register))
               for register in registers if not register.bank},
            **{name: Out(bank_signature(len(members))) for name, members in self._banks.items()},
        })

    def elaborate(self, platform):
        m = Module()
        self._write_side(m)
        self._read_side(m)
        return m

    def _write_side(self, m):
        bus = self.bus
        # Looked at only when they are there; until then they follow the bus.
        word = Signal(DATA_BITS, reset_less=True)
        strobes, any_byte = Signal(DATA_BITS // 8, reset_less=True), Signal(reset_less=True)
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
            m.d.sync += has_data.eq(1)
        with m.If(~has_data):
            m.d.sync += [word.eq(bus.wdata), strobes.eq(bus.wstrb), any_byte.eq(bus.wstrb.any())]
        with m.If(bus.bvalid & bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        # Decided from registers in one cycle, done from registers in the next.
        due, act = Signal(), Signal()
        blank = Signal(init=1)              # behind a reset: the kept values go, by a register
        m.d.sync += blank.eq(0)
        refused = Signal(init=1)            # offsets without register, and R
        m.d.comb += due.eq(has_address & has_data & ~bus.bvalid & ~act)
        m.d.sync += act.eq(due)
        with m.If(due):
            m.d.sync += bus.bresp.eq(Mux(refused, Response.SLVERR, Response.OKAY))
        with m.If(act):
            m.d.sync += [bus.bvalid.eq(1), has_address.eq(0), has_data.eq(0)]

        mask = Cat(*(strobe.replicate(8) for strobe in strobes))
        for register in self._registers:
            if register.access is Access.R:
                continue
            name = register.name.lower()
            ports = getattr(self, name)
            chosen = _chosen(m, register, "write", bus.awaddr, ~has_address)
            declined = ports.refused if register.refusable else Const(0, 1)
            with m.If(chosen):
                m.d.comb += refused.eq(declined)
            if register.access is Access.W:
                m.d.sync += ports.strobe.eq(due & chosen & any_byte & ~declined)
            else:
                written = Signal(name=f"{name}_written")
                m.d.sync += written.eq(due & chosen)
            for field in register.fields:
                bits = slice(field.low, field.low + field.width)
                port = Value.cast(getattr(ports, field.name))
                new, enable = word[bits], mask[bits]
                if register.access is Access.W:
                    m.d.comb += port.eq(new & enable)
                elif register.access is Access.RW:
                    kept = Signal(port.shape(), name=f"{name}_{field.name}", reset_less=True)
                    m.d.comb += port.eq(kept)
                    with m.If(blank):
                        m.d.sync += kept.eq(0)
                    with m.Elif(written):
                        m.d.sync += kept.eq((new & enable) | (kept & ~enable))
                else:
                    with m.If(getattr(ports, f"{field.name}_set")):
                        m.d.sync += port.eq(1)
                    with m.Elif(written & (new & enable)):
                        m.d.sync += port.eq(0)

    def _read_side(self, m):
        bus = self.bus
        has_address, gather, known = Signal(), Signal(), Signal()
        address_taken = bus.arvalid & bus.arready
        m.d.comb += [
            bus.arready.eq(~has_address),
            bus.rresp.eq(Mux(known, Response.OKAY, Response.SLVERR)),
        ]
        m.d.sync += gather.eq(address_taken)
        open_ = ~has_address            # what is decoded follows the bus until it is taken

        readable = [register for register in self._registers
                    if register.access is not Access.W]
        with m.If(address_taken):
            m.d.sync += has_address.eq(1)
        values, there, choices = [], gather, []
        for name, registers in self._banks.items():
            port, in_bank = getattr(self, name), Signal(name=f"in_{name}", reset_less=True)
            index = Signal.like(port.index, reset_less=True)
            with m.If(open_):
                m.d.sync += [
                    in_bank.eq(Cat(bus.araddr[2:] == register.offset // 4
                                   for register in registers).any()),
                    index.eq(bus.araddr[2:]),
                ]
            m.d.comb += [port.index.eq(index), port.read.eq(gather & in_bank)]
            choices.append(in_bank)
            values.append(port.value & in_bank.replicate(DATA_BITS))
            there = (there & ~in_bank) | port.there
        # A few of the table are gathered in a register of their own, then these: one is too wide a
        # sum, of what comes from far.
        single = [register for register in readable if not register.bank]
        for number, low in enumerate(range(0, len(single), self.GATHERED)):
            value = Signal(DATA_BITS, name=f"value_{number}", reset_less=True)
            words = []
            for register in single[low:low + self.GATHERED]:
                chosen = _chosen(m, register, "read", bus.araddr, open_)
                choices.append(chosen)
                words.append(_word(getattr(self, register.name.lower()), register)
                             & chosen.replicate(DATA_BITS))
            with m.If(gather):
                m.d.sync += value.eq(_any_of(words))
            values.append(value)
        # It follows the decoder, two cycles behind as the answer does, and rests with the address.
        fours = [Cat(choices[low:low + 4]).any() for low in range(0, len(choices), 4)]
        some = Signal(len(fours), reset_less=True)
        m.d.sync += [some.eq(Cat(fours)), known.eq(some.any())]
        answer, is_there = Signal(DATA_BITS, reset_less=True), Signal()
        m.d.sync += [answer.eq(_any_of(values)), is_there.eq(there)]
        m.d.comb += bus.rdata.eq(answer)
        with m.If(is_there):
            m.d.sync += bus.rvalid.eq(1)
        with m.If(bus.rvalid & bus.rready):
            m.d.sync += [bus.rvalid.eq(0), has_address.eq(0)]


def _chosen(m, register, side, address, follows) -> Signal:
    """Whether the address taken last is the register's: decoded at once, one flip-flop each."""
    chosen = Signal(name=f"{register.name.lower()}_{side}", reset_less=True)
    with m.If(follows):
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
