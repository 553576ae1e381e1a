"""Cells of a build on a device family, counted by synthesis; no clock without place and route."""
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from rich.table import Table

from sparseloom.hw.config import ArrayConfig
from sparseloom.hw.synthesis import COMMANDS, TIME_LIMIT, synthesise, yosys_version
from sparseloom.model.errors import InputError

LABELS = {"luts": "look-up tables", "carries": "carry cells", "ffs": "flip-flops",
          "dsps": "DSP blocks", "block_memories": "block memories",
          "lut_memories": "memories of look-up tables"}


def utilisation(config: ArrayConfig, family: str, *, seconds: float = TIME_LIMIT,
                work: Path = Path("build", "fit")) -> dict:
    """Synthesise the unit itself, without wrapper and pads.

    Parameters
    ----------
    config : ArrayConfig
        Of target ``generic``, or of the family's own.
    family : str
        Key of :data:`.synthesis.COMMANDS`.
    seconds : float
        Time limit.
    work : Path
        Folder of runs.

    Returns
    -------
    dict
        JSON-ready: the keys of ``LABELS``, ``cells`` by the family's own names, ``family``,
        ``command``, ``macs``, ``config``, ``versions``, ``seconds``.

    Raises
    ------
    InputError
        If the family is unknown or the target is another family's.
    ToolError
        If yosys fails or takes too long.
    """
    if family not in COMMANDS:
        raise InputError(f"family: expected one of {', '.join(COMMANDS)}, found {family!r}")
    if config.target not in ("generic", family):
        raise InputError(f"target: expected generic for family {family}, found {config.target}")
    from sparseloom.hw.generate import VERILOG, to_verilog
    from sparseloom.hw.top import NAME

    found = synthesise({VERILOG: to_verilog(config)}, top=NAME, family=family, work=work,
                       seconds=seconds)
    return {"family": family, "command": f"{COMMANDS[family]} -top {NAME}", **found.table(),
            "macs": config.rows * config.cols, "cells": dict(sorted(found.cells.items())),
            "config": config.to_dict(), "seconds": found.seconds,
            "versions": {"sparseloom": version("sparseloom"), "pyosys": yosys_version()}}


def utilisation_table(report: Mapping) -> Table:
    """For people."""
    table = Table(show_header=False)
    config = report["config"]
    table.add_row("family", f"{report['family']} ({report['command']})")
    table.add_row("array", f"{config['rows']} × {config['cols']}, {config['lanes']} lanes, "
                           f"target {config['target']}")
    for kind, label in LABELS.items():
        table.add_row(label, f"{report[kind]:,}")
    return table
