"""nextpnr's critical path in the unit's own terms, and a fit as a table."""
import re
from collections.abc import Iterable, Mapping

from rich.table import Table

from sparseloom.hw.wrapper import CORE

UNIT = f"{CORE}.unit."
"""What the names of all components begin with in the netlist."""

OUTSIDE = re.compile(r"\w+_TRELLIS_FF_Q(_\d+)?|\w+\$tr_io")
"""What the wrapper's registers and pads are called."""


class Components:
    """Finds the component that a cell of the netlist belongs to.

    Parameters
    ----------
    scopes : iterable of str
        Instances of the design, with dots: ``core.unit.array.cell_3_4``.
    """

    def __init__(self, scopes: Iterable[str]):
        self._scopes = frozenset(scopes)

    def of(self, cell: str) -> str | None:
        """``array.cell_3_4``, ``unit`` for its own wiring, ``wrapper``, or None for a cell of
        which nothing is known.

        Synthesis names a cell after a signal near it, so the longest instance that its name begins
        with is where it came from. The top of the unit has no logic: a register that is named
        after one of its ports is the wrapper's.
        """
        parts = cell.split(".")
        for length in range(len(parts), 0, -1):
            scope = ".".join(parts[:length])
            if scope in self._scopes and scope != CORE:
                return f"{scope}.".removeprefix(UNIT).rstrip(".") or "unit"
        if OUTSIDE.fullmatch(parts[-1]):
            return "wrapper"
        return "unit" if parts[0] == CORE else None


def describe_path(path: Iterable[Mapping], components: Components) -> dict:
    """A path as the components that it goes through.

    Parameters
    ----------
    path : iterable of mapping
        nextpnr's steps: ``delay`` in ns, ``type``, ``from`` and ``to`` with ``cell``.
    components : Components

    Returns
    -------
    dict
        ``from``, ``to``, ``ns``, ``logic_ns``, ``routing_ns`` and ``through``: a list of
        ``component``, ``logic_ns``, ``routing_ns``, in order. A wire counts for the component that
        it leads to; clock-to-output and set-up count as logic.
    """
    through: list[dict] = []
    for step in path:
        name = components.of(step["to"]["cell"])
        if not through or (name is not None and through[-1]["component"] != name):
            through.append({"component": name or "?", "logic_ns": 0.0, "routing_ns": 0.0})
        kind = "routing_ns" if step["type"] == "routing" else "logic_ns"
        through[-1][kind] += step["delay"]
    for part in through:
        part |= {kind: round(part[kind], 3) for kind in ("logic_ns", "routing_ns")}
    logic = sum(part["logic_ns"] for part in through)
    routing = sum(part["routing_ns"] for part in through)
    return {"from": through[0]["component"] if through else None,
            "to": through[-1]["component"] if through else None,
            "ns": round(logic + routing, 3), "logic_ns": round(logic, 3),
            "routing_ns": round(routing, 3), "through": through}


def fit_table(report: Mapping) -> Table:
    """What a fit found, for people."""
    table = Table(show_header=False)
    config, device, fmax = report["config"], report["device"], report["fmax_mhz"]
    table.add_row("device", f"{device['part']}, {device['package']}, "
                            f"speed grade {device['speed']}")
    table.add_row("array", f"{config['rows']} × {config['cols']}, {report['macs']} MACs a cycle, "
                           f"{config['lanes']} lanes, target {config['target']}")
    table.add_row("clock", f"{fmax['median']:.1f} MHz, the median of "
                  + ", ".join(f"{value:.1f}" for value in fmax["seeds"].values()))
    for name, label in (("comb", "TRELLIS_COMB"), ("ff", "flip-flops"), ("dsp", "MULT18X18D"),
                        ("bram", "DP16KD")):
        each = f", {report[name] / report['macs']:.1f} a MAC" if name in ("comb", "ff") else ""
        table.add_row(label, f"{report[name]:,} of {device[name]:,}{each}")
    table.add_row("LUT4", f"{report['lut4']:,}")
    table.add_row("wrapper, not counted", f"{report['wrapper']['lut4']:,} LUT4, "
                                          f"{report['wrapper']['ff']:,} flip-flops")
    path = report["critical_path"]
    table.add_row("critical path", f"seed {path['seed']}: {path['ns']:.2f} ns, of which wires "
                                   f"{path['routing_ns']:.2f}")
    for part in path["through"]:
        table.add_row(f"  {part['component']}", f"{part['logic_ns']:.2f} ns, wires "
                                                f"{part['routing_ns']:.2f}")
    table.add_row("seconds", f"{report['seconds']:.0f}"
                             + (", from earlier runs" if report["cached"] else ""))
    return table
