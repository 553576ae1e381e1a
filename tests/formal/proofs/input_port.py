"""The doors of the input streams: a packet is passed whole, or thrown away whole."""
from amaranth.hdl import Module, Signal, Value

from sparseloom.hw.input_port import InputPort
from tests.formal.parts import Assert, Cover, free, implies, keeps_rules, past
from tests.formal.proof import Bug, Proof

BUS_BITS = 8


def contract(m, dut):
    """What a door does with packets, of its ports alone.

    Returns
    -------
    Value
        A packet is under way.
    """
    keeps_rules(m, dut.i, name="i", assumed=True)
    keeps_rules(m, dut.o, name="o", unless=~dut.run)
    taken, given = dut.i.valid & dut.i.ready, dut.o.valid & dut.o.ready
    inside_packet = Signal()
    with m.If(taken):
        m.d.sync += inside_packet.eq(~dut.i.p.last)
    m.d.comb += [
        Assert(implies(dut.run, taken == given), "what is taken is passed"),
        Assert(implies(given, (Value.cast(dut.o.payload) == Value.cast(dut.i.payload)) & taken),
               "unchanged, once"),
        Assert(implies(~dut.run, ~dut.o.valid), "nothing passes a shut door"),
        Assert(dut.started == inside_packet),
        Assert(implies(~dut.run & ~inside_packet, ~dut.i.ready),
               "no packet begins at a shut door"),
        Assert(implies(~dut.run & dut.discard & inside_packet, dut.i.ready),
               "the rest of a packet is thrown away at full pace"),
    ]
    return inside_packet


def design():
    m = Module()
    m.submodules.dut = dut = InputPort(bus_bits=BUS_BITS)
    for signal, shape, name in ((dut.i.valid, 1, "i_valid"), (dut.i.p.data, BUS_BITS, "i_data"),
                                (dut.i.p.keep, BUS_BITS // 8, "i_keep"),
                                (dut.i.p.last, 1, "i_last"), (dut.o.ready, 1, "o_ready"),
                                (dut.run, 1, "run"), (dut.discard, 1, "discard")):
        m.d.comb += signal.eq(free(m, shape, name=name))
    inside_packet = contract(m, dut)
    dropped = Signal()
    with m.If(dut.i.valid & dut.i.ready & ~dut.run):
        m.d.sync += dropped.eq(1)
    m.d.comb += Cover(past(m, dropped & inside_packet, name="was_dropping") & ~inside_packet
                      & dut.run)
    return m


PROOFS = [Proof(
    name="input_port",
    claim="Stream rules at the output while the door is open; what is taken is passed once and "
          "unchanged, or thrown away; no packet begins at a shut door, and one under way is thrown "
          "away to its end at full pace.",
    at=f"{BUS_BITS} bits",
    given="Stream rules at the input.",
    design=design, depth=2, cover_depth=8,
    bugs=(Bug(what="a shut door takes the first beat of a packet", file="input_port.py",
              old="self.i.ready.eq(self.discard & self.started)",
              new="self.i.ready.eq(self.discard)"),))]
