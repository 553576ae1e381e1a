# amaranth: UnusedElaboratable=no
import re

from amaranth.hdl import Shape

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.top import Top
from tests.hw.bench import run

# The contract with everybody outside, written out a second time on purpose.
AXI_LITE = """
in awaddr 8, in awprot 3, in awvalid 1, out awready 1, in wdata 32, in wstrb 4, in wvalid 1,
out wready 1, out bresp 2, out bvalid 1, in bready 1, in araddr 8, in arprot 3, in arvalid 1,
out arready 1, out rdata 32, out rresp 2, out rvalid 1, in rready 1
"""


def contract(bus_bits):
    ports = {"aclk": ("in", 1), "aresetn": ("in", 1), "irq": ("out", 1)}
    for entry in AXI_LITE.replace("\n", " ").split(","):
        direction, name, width = entry.split()
        ports[f"s_axil_{name}"] = (direction, int(width))
    for prefix, forth, back in (("s_axis_weights", "in", "out"), ("s_axis_acts", "in", "out"),
                                ("m_axis_results", "out", "in")):
        ports |= {f"{prefix}_tdata": (forth, bus_bits), f"{prefix}_tkeep": (forth, bus_bits // 8),
                  f"{prefix}_tlast": (forth, 1), f"{prefix}_tvalid": (forth, 1),
                  f"{prefix}_tready": (back, 1)}
    return ports | {"m_axis_results_tuser": ("out", 1)}


def small(**changes):
    return ArrayConfig(**{"rows": 2, "cols": 3, "max_k": 16, "act_words": 16, **changes})


def test_ports_are_the_contract():
    for bus_bits in (32, 64, 128):
        top = Top(small(bus_bits=bus_bits))
        ports = {name: (member.flow.name.lower(), Shape.cast(member.shape).width)
                 for name, member in top.signature.members.items()}
        assert ports == contract(bus_bits)


def test_every_port_belongs_to_one_interface():
    top = Top(small())
    roles, named = set(), {}
    for name in top.signature.members:
        attrs = getattr(top, name).attrs
        kind, interface, role = attrs["X_INTERFACE_INFO"].split()
        assert re.fullmatch(r"xilinx\.com:(interface|signal):\w+:1\.0", kind)
        assert name in (interface, f"{interface}_{role.lower()}")
        assert (interface, role) not in roles
        roles.add((interface, role))
        if "X_INTERFACE_PARAMETER" in attrs:
            words, *parameters = attrs["X_INTERFACE_PARAMETER"].split(", ")
            assert words == f"XIL_INTERFACENAME {interface}"
            assert interface not in named
            named[interface] = dict(entry.split(" ") for entry in parameters)
    assert set(named) == {interface for interface, _ in roles}
    assert named["aclk"] == {"ASSOCIATED_RESET": "aresetn", "ASSOCIATED_BUSIF":
                             "s_axil:s_axis_weights:s_axis_acts:m_axis_results"}
    assert named["aresetn"] == {"POLARITY": "ACTIVE_LOW"}
    assert named["m_axis_results"]["TUSER_WIDTH"] == "1"
    assert named["s_axis_acts"]["TUSER_WIDTH"] == "0"


def test_reset_is_active_low_and_registers_answer():
    """The flat ports reach the unit: ID is read over them, and a reset forgets the mask."""
    top = Top(small())

    async def write(ctx, offset, word):
        ctx.set(top.s_axil_awaddr, offset)
        ctx.set(top.s_axil_wdata, word)
        ctx.set(top.s_axil_wstrb, 15)
        ctx.set(top.s_axil_awvalid, 1)
        ctx.set(top.s_axil_wvalid, 1)
        await ctx.tick()
        ctx.set(top.s_axil_awvalid, 0)
        ctx.set(top.s_axil_wvalid, 0)
        ctx.set(top.s_axil_bready, 1)
        await ctx.tick().until(top.s_axil_bvalid)

    async def read(ctx, offset):
        ctx.set(top.s_axil_araddr, offset)
        ctx.set(top.s_axil_arvalid, 1)
        await ctx.tick().until(top.s_axil_arready)
        ctx.set(top.s_axil_arvalid, 0)
        ctx.set(top.s_axil_rready, 1)
        word, = await ctx.tick().sample(top.s_axil_rdata).until(top.s_axil_rvalid)
        return word

    async def bench(ctx):
        ctx.set(top.aresetn, 1)
        assert await read(ctx, 0x00) == 0x53504C4D
        assert await read(ctx, 0x08) == 0x08100302
        await write(ctx, 0x3C, 5)
        assert await read(ctx, 0x3C) == 5
        ctx.set(top.aresetn, 0)
        await ctx.tick()
        ctx.set(top.aresetn, 1)
        assert await read(ctx, 0x3C) == 0

    run(top, bench, max_cycles=100)
