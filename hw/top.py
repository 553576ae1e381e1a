"""The unit with flat ports under their AXI names, as block designs and test benches want it."""
from collections.abc import Mapping

from amaranth.hdl import ClockDomain, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sparseloom.hw.axi_lite import AxiLiteSignature
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.unit import Unit

NAME = "sparseloom"
"""Name of the Verilog module."""

BUS = "s_axil"
STREAMS = {"s_axis_weights": "weights", "s_axis_acts": "acts", "m_axis_results": "results"}
"""Prefix of a stream's ports, and the unit's member behind them."""


class Top(wiring.Component):
    """:class:`~.unit.Unit` behind flat ports; adds no logic and no cycle.

    ``aclk`` is the one clock. ``aresetn`` is active low and synchronous to it. Xilinx's
    ``X_INTERFACE_INFO`` and ``X_INTERFACE_PARAMETER`` attributes on the ports name the interfaces,
    so that Vivado's block design shows them as such; other tools ignore them.

    Parameters
    ----------
    config : ArrayConfig
    floorplan : str, optional
        As in :class:`~.unit.Unit`.

    Members
    -------
    aclk, aresetn : In(1)
    irq : Out(1)
        Active high, level.
    s_axil_* : AXI4-Lite
        32 data bits.
    s_axis_weights_*, s_axis_acts_* : AXI4-Stream in
        ``tdata``, ``tkeep``, ``tlast``, ``tvalid``, ``tready``.
    m_axis_results_* : AXI4-Stream out
        The same, and ``tuser``.
    """

    def __init__(self, config: ArrayConfig, *, floorplan: str | None = None):
        self.config = config
        self.floorplan = floorplan
        members: dict = {"aclk": In(1), "aresetn": In(1), "irq": Out(1)}
        for name, member in AxiLiteSignature().members.items():
            port = In if member.flow is Out else Out
            members[f"{BUS}_{name}"] = port(member.shape)
        for prefix in STREAMS:
            forth, back = (Out, In) if prefix.startswith("m_") else (In, Out)
            members |= {
                f"{prefix}_tdata": forth(config.bus_bits),
                f"{prefix}_tkeep": forth(config.bus_bytes),
                f"{prefix}_tlast": forth(1),
                f"{prefix}_tvalid": forth(1),
                f"{prefix}_tready": back(1),
            }
            if forth is Out:
                members[f"{prefix}_tuser"] = forth(1)
        super().__init__(members)
        self._describe()

    def _describe(self):
        """Attributes for Vivado; see AMD UG994 on referencing RTL modules."""
        _interface(self.aclk, "xilinx.com:signal:clock:1.0", "aclk", "CLK",
                   ASSOCIATED_BUSIF=":".join([BUS, *STREAMS]), ASSOCIATED_RESET="aresetn")
        _interface(self.aresetn, "xilinx.com:signal:reset:1.0", "aresetn", "RST",
                   POLARITY="ACTIVE_LOW")
        _interface(self.irq, "xilinx.com:signal:interrupt:1.0", "irq", "INTERRUPT",
                   SENSITIVITY="LEVEL_HIGH")
        for name in AxiLiteSignature().members:
            parameters = ({"PROTOCOL": "AXI4LITE", "DATA_WIDTH": 32,
                           "ADDR_WIDTH": len(self.s_axil_awaddr)} if name == "awaddr" else {})
            _interface(getattr(self, f"{BUS}_{name}"), "xilinx.com:interface:aximm:1.0",
                       BUS, name.upper(), **parameters)
        for prefix in STREAMS:
            for name in ("tdata", "tkeep", "tlast", "tvalid", "tready", "tuser"):
                port = getattr(self, f"{prefix}_{name}", None)
                if port is None:
                    continue
                parameters = ({"TDATA_NUM_BYTES": self.config.bus_bytes, "HAS_TKEEP": 1,
                               "HAS_TLAST": 1, "HAS_TREADY": 1,
                               "TUSER_WIDTH": int(prefix.startswith("m_"))}
                              if name == "tdata" else {})
                _interface(port, "xilinx.com:interface:axis:1.0", prefix, name.upper(),
                           **parameters)

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = sync = ClockDomain(reset_less=True)    # the unit spreads the reset itself
        sync.clk = self.aclk
        m.submodules.unit = unit = Unit(self.config, floorplan=self.floorplan)
        m.d.comb += [
            unit.reset.eq(~self.aresetn),
            self.irq.eq(unit.irq),
        ]
        for name, member in AxiLiteSignature().members.items():
            outer, inner = getattr(self, f"{BUS}_{name}"), getattr(unit.bus, name)
            m.d.comb += inner.eq(outer) if member.flow is Out else outer.eq(inner)
        for prefix, name in STREAMS.items():
            stream = getattr(unit, name)
            pairs = {part: (getattr(self, f"{prefix}_t{part}"), stream.payload[part])
                     for part in stream.payload.shape().members}
            pairs["valid"] = (getattr(self, f"{prefix}_tvalid"), stream.valid)
            for outer, inner in pairs.values():
                m.d.comb += outer.eq(inner) if prefix.startswith("m_") else inner.eq(outer)
            ready = getattr(self, f"{prefix}_tready")
            m.d.comb += stream.ready.eq(ready) if prefix.startswith("m_") else ready.eq(
                stream.ready)
        return m


def _interface(port: Signal, kind: str, interface: str, role: str,
               **parameters: str | int) -> None:
    port.attrs["X_INTERFACE_INFO"] = f"{kind} {interface} {role}"
    if parameters:
        port.attrs["X_INTERFACE_PARAMETER"] = _joined(interface, parameters)


def _joined(interface: str, parameters: Mapping[str, str | int]) -> str:
    return ", ".join([f"XIL_INTERFACENAME {interface}",
                      *(f"{name} {value}" for name, value in parameters.items())])
