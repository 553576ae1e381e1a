"""The register bus: AXI's rules, one answer for each request, and what the table says."""
from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib.wiring import In

from sparseloom.hw.axi_lite import AxiLiteRegisters, Response
from sparseloom.hw.registers import DATA_BITS, Access, Field, Register
from tests.formal.parts import Assert, Assume, Cover, Opened, free, implies, past
from tests.formal.proof import Bug, Proof


def field(name, low, width):
    return Field(name=name, low=low, width=width, doc="")


TABLE = (
    Register(name="SEEN", offset=0x00, access=Access.R, doc="", fields=(field("value", 0, 32),)),
    Register(name="KEPT", offset=0x04, access=Access.RW, doc="",
             fields=(field("low", 4, 12), field("high", 24, 4))),
    Register(name="EVENT", offset=0x08, access=Access.W, refusable=True, doc="",
             fields=(field("what", 6, 4),)),
    Register(name="FLAG", offset=0x0C, access=Access.RW1C, doc="", fields=(field("up", 9, 1),)),
    Register(name="BANK0", offset=0x10, access=Access.R, doc="", bank="bank",
             fields=(field("value", 0, 32),)),
    Register(name="BANK1", offset=0x14, access=Access.R, doc="", bank="bank",
             fields=(field("value", 0, 32),)),
)
ADDR_BITS = 6


def design():
    m = Module()
    dut = AxiLiteRegisters(TABLE, addr_bits=ADDR_BITS)
    opened = Opened(dut)
    m.submodules.dut = opened.fragment
    bus = dut.bus
    for name, member in bus.signature.members.items():
        if member.flow is In and not name.endswith("prot"):
            m.d.comb += getattr(bus, name).eq(free(m, getattr(bus, name).shape(), name=name))
    for port, name in ((dut.seen.value, "seen"), (dut.event.refused, "refused"),
                       (dut.flag.up_set, "up_set"), (dut.bank.there, "there"),
                       (dut.bank.value, "bank_value")):
        m.d.comb += port.eq(free(m, port.shape(), name=name))

    def stays(valid, ready, *payload, name, assumed=False):
        waited, before = Signal(name=f"{name}_waited"), Signal(len(Cat(*payload)),
                                                               name=f"{name}_before")
        m.d.sync += [waited.eq(valid & ~ready), before.eq(Cat(*payload))]
        rule = implies(waited, valid & (Cat(*payload) == before))
        m.d.comb += Assume(rule) if assumed else Assert(rule, f"{name} stays")

    stays(bus.awvalid, bus.awready, bus.awaddr, name="aw", assumed=True)
    stays(bus.wvalid, bus.wready, bus.wdata, bus.wstrb, name="w", assumed=True)
    stays(bus.arvalid, bus.arready, bus.araddr, name="ar", assumed=True)
    stays(bus.bvalid, bus.bready, bus.bresp, name="b")
    stays(bus.rvalid, bus.rready, bus.rdata, bus.rresp, name="r")

    # Writes: what was taken, and how many answers are due.
    takes_aw, takes_w = bus.awvalid & bus.awready, bus.wvalid & bus.wready
    gives_b = bus.bvalid & bus.bready
    address, word, strobes = Signal(ADDR_BITS), Signal(DATA_BITS), Signal(4)
    due_aw, due_w = Signal(2), Signal(2)
    with m.If(takes_aw):
        m.d.sync += address.eq(bus.awaddr)
    with m.If(takes_w):
        m.d.sync += [word.eq(bus.wdata), strobes.eq(bus.wstrb)]
    m.d.sync += [due_aw.eq(due_aw + takes_aw - gives_b), due_w.eq(due_w + takes_w - gives_b)]
    b_before, gave_b = Signal(), Signal()
    m.d.sync += [b_before.eq(bus.bvalid), gave_b.eq(gives_b)]
    answers = bus.bvalid & (~b_before | gave_b)         # its first cycle
    mask = Cat(strobe.replicate(8) for strobe in strobes)
    to = {register.name: address[2:] == register.offset // 4 for register in TABLE}
    refused = past(m, past(m, dut.event.refused, name="refused_q"), name="refused_qq")
    okay = to["KEPT"] | to["FLAG"] | (to["EVENT"] & ~refused)
    event = past(m, Cat(dut.event.strobe, dut.event.what), name="event_q")
    new_reset = Signal(init=1)      # kept values go a cycle behind it
    m.d.sync += new_reset.eq(0)
    kept, flag = Signal(DATA_BITS), Signal()            # before this cycle
    kept_now, flag_now = Signal(DATA_BITS), Signal()
    set_before = past(m, dut.flag.up_set, name="set_before")
    kept_bits = (0xfff << 4) | (0xf << 24)
    m.d.comb += [
        kept_now.eq(Mux(answers & to["KEPT"], (kept & ~mask) | (word & mask & kept_bits), kept)),
        flag_now.eq(Mux(set_before, 1, Mux(answers & to["FLAG"] & (word & mask)[9], 0, flag))),
        Assert(bus.bvalid == (bus.bvalid & (due_aw != 0) & (due_w != 0)), "for a request"),
        Assert((due_aw <= 2) & (due_w <= 2)),
        Assert(implies(answers, bus.bresp == Mux(okay, Response.OKAY, Response.SLVERR)),
               "as the table says"),
        Assert(new_reset | (Cat(dut.kept.low, dut.kept.high)
                            == Cat(kept_now[4:16], kept_now[24:28])), "byte by byte"),
        Assert(dut.flag.up == flag_now, "a set wins"),
        Assert(event[0] == (answers & to["EVENT"] & okay & (strobes != 0)), "once"),
        Assert(implies(event[0], event[1:] == (word & mask)[6:10])),
    ]
    m.d.sync += [kept.eq(kept_now), flag.eq(flag_now)]

    # Reads, one at a time.
    takes_ar, gives_r = bus.arvalid & bus.arready, bus.rvalid & bus.rready
    read_at, reading, age = Signal(ADDR_BITS), Signal(), Signal(range(4))
    asked, answered = Signal(), Signal()
    with m.If(takes_ar):
        m.d.sync += [read_at.eq(bus.araddr), reading.eq(1), age.eq(1)]
    with m.Elif(reading):
        m.d.sync += age.eq(Mux(age == 3, 3, age + 1))
        with m.If(gives_r):
            m.d.sync += reading.eq(0)
    of = {register.name: read_at[2:] == register.offset // 4 for register in TABLE}
    in_bank = of["BANK0"] | of["BANK1"]
    # The bank answers once for each read, in a later cycle, and its value stays.
    m.d.sync += [asked.eq((asked | dut.bank.read) & ~dut.bank.there & ~takes_ar),
                 answered.eq((answered | dut.bank.there) & ~takes_ar)]
    bank_before = past(m, dut.bank.value, name="bank_before")
    m.d.comb += [
        Assume(implies(dut.bank.there, asked)),
        Assume(implies(answered, dut.bank.value == bank_before)),
        Assert(implies(dut.bank.read, reading & in_bank & (age == 1) & ~asked & ~answered)),
        Assert(implies(reading & in_bank, dut.bank.index == read_at[2])),
    ]
    seen = Mux(of["SEEN"], dut.seen.value, 0)
    now = seen | Mux(of["KEPT"], kept_now & kept_bits, 0) | Mux(of["FLAG"], flag_now << 9, 0)
    gathered = past(m, past(m, now, name="now_q"), name="now_qq")
    r_before = past(m, bus.rvalid, name="r_before")
    there_1 = past(m, dut.bank.there, name="there_q")
    there_2 = past(m, there_1, name="there_qq")
    known = of["SEEN"] | of["KEPT"] | of["FLAG"] | in_bank
    first = bus.rvalid & ~r_before
    m.d.comb += [
        Assert(implies(bus.rvalid, reading), "for a request"),
        Assert(bus.arready == ~reading),
        Assert(implies(first, bus.rresp == Mux(known, Response.OKAY, Response.SLVERR))),
        Assert(implies(first & ~in_bank, (bus.rdata == gathered[:32]) & (age == 3))),
        Assert(implies(reading & ~in_bank & (age == 3), bus.rvalid), "READ_LATENCY cycles later"),
        Assert(implies(first & in_bank, (bus.rdata == bank_before) & there_2)),
    ]

    # What holds between the cycles.
    write, read = opened.locals_of("_write_side"), opened.locals_of("_read_side")
    m.d.comb += [
        Assert(due_aw == write.has_address + bus.bvalid),
        Assert(due_w == write.has_data + bus.bvalid),
        Assert(implies(write.act, write.has_address & write.has_data & ~bus.bvalid)),
        Assert(implies(write.has_data, (write.word == word) & (write.strobes == strobes)
                       & (write.any_byte == (strobes != 0)))),
        Assert(read.has_address == reading), Assert(implies(reading, age != 0)),
        Assert(read.gather == (reading & (age == 1) & ~bus.rvalid)),
        Assert(implies(reading, read.in_bank == in_bank)),
        Assert(implies(asked, reading & in_bank & ~answered)),
        Assert(implies(answered & reading, in_bank)),
        Assert(implies(reading & in_bank & (age > 1), asked | answered)),
        Assert(implies(read.is_there, reading & ~bus.rvalid)),
        Assert(implies(bus.rvalid & in_bank, answered)), Assert(implies(bus.rvalid, age == 3)),
        Assert(implies(reading & in_bank & answered & ~bus.rvalid, read.is_there)),
        Assert(implies(read.is_there, Mux(in_bank, answered & there_1, age == 2))),
        Assert(implies(reading & (age >= 2), read.some.any() == known)),
        Assert(implies(reading & (age >= 3), read.known == known)),
        Assert(implies(reading & (age == 1), ~bus.rvalid & ~asked & ~answered)),
        *(Assert(implies(reading & in_bank & (age >= 2), opened.signal(f"value_{number}") == 0))
          for number in range(2)),
    ]
    for register in TABLE:
        name = register.name.lower()
        if register.access is not Access.R:
            m.d.comb += Assert(implies(write.has_address,
                                       opened.signal(f"{name}_write") == to[register.name]))
        if register.access is not Access.W and not register.bank:
            m.d.comb += Assert(implies(reading, opened.signal(f"{name}_read")
                                       == of[register.name]))
    wrote, refused_one = Signal(), Signal()
    with m.If(answers & to["KEPT"] & (kept_now[4:16] == 0xa50)):
        m.d.sync += wrote.eq(1)
    with m.If(answers & to["EVENT"] & ~okay):
        m.d.sync += refused_one.eq(1)
    m.d.comb += [Cover(wrote & bus.rvalid & of["KEPT"] & (bus.rdata[4:16] == 0xa50)),
                 Cover(refused_one & event[0]),
                 Cover(past(m, past(m, bus.rvalid, name="rv"), name="rvv") & in_bank & bus.rvalid)]
    return m


PROOFS = [Proof(
    name="axi_lite",
    claim="B and R stay with their payload until they are taken; one answer for each request, none "
          "without; OKAY and SLVERR as the table says; a register keeps what was written last, "
          "byte by byte; an event is told once for each write that is not refused; a flag is "
          "cleared by a 1 and a set wins; a read answers the register's value READ_LATENCY cycles "
          "later, or the bank's.",
    at="a table of each kind of register, addresses of 6 bits",
    given="AXI's rules of the host; a bank answers each read once, later, and its value stays.",
    design=design, depth=4, cover_depth=14,
    bugs=(
        Bug(what="an answer is withdrawn when the next write comes", file="axi_lite.py",
            old="with m.If(bus.bvalid & bus.bready):",
            new="with m.If(bus.bready | address_taken):"),
        Bug(what="strobes of bytes are not looked at", file="axi_lite.py",
            old="m.d.sync += kept.eq((new & enable) | (kept & ~enable))",
            new="m.d.sync += kept.eq(new)"),
        Bug(what="a refused write is an event all the same", file="axi_lite.py",
            old="m.d.sync += ports.strobe.eq(due & chosen & any_byte & ~declined)",
            new="m.d.sync += ports.strobe.eq(due & chosen & any_byte)"),
    ))]
