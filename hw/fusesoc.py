"""The generated Verilog as a core of FuseSoC, so that other projects can depend on it."""
from importlib.metadata import version

from sparseloom.hw.top import NAME

CORE = "sparseloom.core"


def to_core(verilog: str, waivers: str) -> str:
    """A core description file.

    Parameters
    ----------
    verilog, waivers : str
        Names of the files beside it: the unit, and what Verilator's linter is not to say.

    Returns
    -------
    str
        YAML. Targets: ``default`` (the files, for a design that uses the unit) and ``lint``.

    Notes
    -----
    Source: FuseSoC user guide, "CAPI2 reference".
    """
    return f"""CAPI=2:

name: sparseloom:hw:unit:{version("sparseloom")}
description: Block-sparse matrix unit with AXI4-Lite registers and AXI4-Streams

filesets:
  rtl:
    files:
      - {verilog}
    file_type: verilogSource-2005
  waivers:
    files:
      - {waivers}
    file_type: vlt

targets:
  default:
    filesets: [rtl]
    toplevel: {NAME}
  lint:
    filesets: [waivers, rtl]
    flow: lint
    flow_options:
      tool: verilator
      verilator_options: [-Wall]
    toplevel: {NAME}
"""
