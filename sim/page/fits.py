"""Clocks and cells of units that were placed and routed, and what limits the clock."""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sparseloom.sim.page.parts import (
    BLUE,
    ORANGE,
    Figure,
    Section,
    chart,
    fixed,
    paragraph,
    table,
)

TITLE = "On the FPGA"
MAKE = "make bench-fit"


def path_figure(fits: Sequence[Mapping[str, Any]]) -> Figure:
    """Critical paths in order: logic and wires of each component that a path goes through."""
    data = []
    for key, name, colour in (("logic_ns", "logic", BLUE), ("routing_ns", "wires", ORANGE)):
        y, base, x, components = [], [], [], []
        for number, fit in enumerate(fits):
            start = 0.0
            for part in fit["critical_path"]["through"]:
                begin = start + (part["logic_ns"] if key == "routing_ns" else 0.0)
                if part[key]:
                    y.append(name_of(fit, number))
                    base.append(round(begin, 3))
                    x.append(part[key])
                    components.append(part["component"])
                start += part["logic_ns"] + part["routing_ns"]
        data.append({"type": "bar", "orientation": "h", "name": name, "y": y, "x": x, "base": base,
                     "customdata": components, "marker": {"color": colour},
                     "hovertemplate": "%{customdata}: %{x:.2f} ns of " + name})
    return {"data": data, "layout": {
        "barmode": "overlay", "xaxis": {"title": {"text": "ns from register to register"}},
        "yaxis": {"automargin": True, "type": "category", "autorange": "reversed"}}}


def name_of(fit: Mapping[str, Any], number: int) -> str:
    """A fit's row, or its array and device."""
    built = fit["config"]
    return str(fit.get("row") or f"{built['rows']}x{built['cols']}-{fit['device']['name']}-"
                                 f"{number + 1}")


def fit_section(fits: Sequence[Mapping[str, Any]]) -> Section:
    """Chart and table."""
    rows = []
    for number, fit in enumerate(fits):
        built, device, path = fit["config"], fit["device"], fit["critical_path"]
        seeds = fit["fmax_mhz"]["seeds"].values()
        rows.append([
            name_of(fit, number), f"{built['rows']} × {built['cols']}", device["part"],
            built["weight_bits"], fixed(fit["fmax_mhz"]["median"], 1),
            fixed(min(seeds), 1), fixed(max(seeds), 1),
            *((f"{fit[name]:,} ({fit[name] / device[name]:.0%})", fit[name])
              for name in ("comb", "ff", "dsp", "bram")),
            fixed(path["ns"], 2), fixed(path["routing_ns"], 2),
            " → ".join(part["component"] for part in path["through"])])
    return Section(name="fit", title=TITLE, figures={"fit": path_figure(fits)}, body=(
        paragraph("The complete unit, placed and routed. The bars are the critical path of the "
                  "median seed.")
        + chart("fit", "critical path of each fit, logic and wires", height=120 + 60 * len(fits))
        + table(["build", "array", "FPGA", "weight bits", "MHz, median", "lowest seed",
                 "highest seed", "LUT (share)", "flip-flops", "multipliers", "memories",
                 "critical path ns", "of it wires", "through"], rows)))
