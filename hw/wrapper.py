"""A unit with hundreds of ports behind three pins, so that a fit measures the unit."""
from amaranth.hdl import Shape

from sparseloom.hw.axi_lite import AxiLiteSignature
from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.top import BUS, NAME, STREAMS

TOP = "fit_wrapper"
"""Module; its ports are ``clk``, ``serial_in`` and ``serial_out``."""

CORE = "core"
"""Name of the unit inside."""

FOLD = 4
"""Bits that one XOR takes: one look-up table, and a register behind it."""


def ports(config: ArrayConfig) -> tuple[dict[str, int], dict[str, int]]:
    """Inputs and outputs of the unit, the clock left out: name to width."""
    inputs: dict[str, int] = {"aresetn": 1}
    outputs: dict[str, int] = {"irq": 1}
    for name, member in AxiLiteSignature().members.items():
        width = Shape.cast(member.shape).width
        (inputs if member.flow.name == "Out" else outputs)[f"{BUS}_{name}"] = width
    for prefix in STREAMS:
        into = not prefix.startswith("m_")
        forth, back = (inputs, outputs) if into else (outputs, inputs)
        forth |= {f"{prefix}_tdata": config.bus_bits, f"{prefix}_tkeep": config.bus_bytes,
                  f"{prefix}_tlast": 1, f"{prefix}_tvalid": 1}
        back[f"{prefix}_tready"] = 1
        if not into:
            forth[f"{prefix}_tuser"] = 1
    return inputs, outputs


def wrapper_luts(config: ArrayConfig) -> int:
    """Look-up tables of the fold; a few less are built where an output is constant."""
    width, total = sum(ports(config)[1].values()), 0
    while width > 1:
        total += width // FOLD + (width % FOLD > 1)     # a single bit left over needs none
        width = -(-width // FOLD)
    return total


def wrapper_verilog(config: ArrayConfig) -> str:
    """Verilog of the wrapper.

    Every input of the unit comes from its own flip-flop of one long shift register, and every
    output enters one; these are folded by XOR, ``FOLD`` at a time, with registers in between.
    So nothing of the unit is unused, nothing is constant, and no path from or to a pin is long.
    """
    inputs, outputs = ports(config)
    total_in, total_out = sum(inputs.values()), sum(outputs.values())
    lines = [f"module {TOP}(input clk, input serial_in, output serial_out);",
             f"  reg [{total_in - 1}:0] shift_q;",
             f"  always @(posedge clk) shift_q <= {{shift_q[{total_in - 2}:0], serial_in}};",
             f"  wire [{total_out - 1}:0] results;",
             f"  reg [{total_out - 1}:0] fold0_q;",
             "  always @(posedge clk) fold0_q <= results;",
             f"  {NAME} {CORE} (", "    .aclk(clk)"]
    for vector, names in (("shift_q", inputs), ("results", outputs)):
        place = 0
        for name, width in names.items():
            lines[-1] += ","
            lines.append(f"    .{name}({vector}[{place + width - 1}:{place}])")
            place += width
    lines.append("  );")
    width, level = total_out, 0
    while width > 1:
        narrower = -(-width // FOLD)
        lines += [f"  reg [{narrower - 1}:0] fold{level + 1}_q;",
                  "  always @(posedge clk) begin"]
        for bit in range(narrower):
            high = min(width, (bit + 1) * FOLD) - 1
            lines.append(f"    fold{level + 1}_q[{bit}] <= ^fold{level}_q[{high}:{bit * FOLD}];")
        lines.append("  end")
        width, level = narrower, level + 1
    return "\n".join([*lines, f"  assign serial_out = fold{level}_q[0];", "endmodule", ""])
