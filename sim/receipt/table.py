"""The receipt for people, on a terminal."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sparseloom.sim.receipt.clock import MAKE_FIT
from sparseloom.sim.receipt.receipt import ASSUMES, PARTS, Receipt
from sparseloom.sim.receipt.work import RULE
from sparseloom.sim.report import common_prefix

WIDE = 120
"""Characters of a table in a log, which has no edge."""


def show(receipt: Receipt, console: Console) -> None:
    """Print layers, then the model pruned beside dense, then what is assumed."""
    if not console.is_terminal and console.width < WIDE:
        console = Console(file=console.file, width=WIDE)
    config = receipt.config
    console.print(f"{receipt.model}: a sentence of {receipt.tokens} tokens through the "
                  f"{config.rows} × {config.cols} array, {coverage(receipt)}",
                  highlight=False, markup=False)
    console.print(_layers(receipt), markup=False)
    console.print(_model(receipt), markup=False)
    for line in notes(receipt):
        console.print(line, highlight=False, markup=False)


def coverage(receipt: Receipt) -> str:
    """What the receipt is of, in short."""
    return ("every matrix product of its encoder" if receipt.rows("attention")
            else "its encoder's Linear layers")


def _layers(receipt: Receipt) -> Table:
    prefix = common_prefix([layer.name for layer in receipt.layers])
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column(f"layer {prefix}…" if prefix else "layer", overflow="fold")
    for heading in ("density", "ideal\ncycles", "cycle\nmodel", "RTL\ncycles", "dense\ncycles",
                    "speed-\nup", "of\nideal", "weight\nkB", "dense\nkB"):
        table.add_column(heading, justify="right", no_wrap=True)
    for layer in receipt.layers:
        pruned, dense = layer.pruned, layer.dense
        table.add_row(
            layer.name.removeprefix(prefix), f"{layer.density:.3f}", f"{pruned.ideal_cycles:,}",
            f"{pruned.model_cycles:,}",
            "–" if pruned.measured_cycles is None else f"{pruned.measured_cycles:,}",
            f"{dense.cycles:,}", f"{layer.speedup:.2f}×", f"{layer.share_of_ideal:.3f}",
            f"{pruned.weight_bytes / 1e3:,.1f}", f"{dense.weight_bytes / 1e3:,.1f}")
    table.add_section()
    for name, total in part_totals(receipt):
        pruned, dense = total["pruned"], total["dense"]
        measured = pruned["measured_cycles"]
        table.add_row(name, f"{total['mac_density']:.3f}", f"{pruned['ideal_cycles']:,}",
                      f"{pruned['model_cycles']:,}", "–" if measured is None else f"{measured:,}",
                      f"{dense['cycles']:,}", f"{total['speedup']:.2f}×",
                      f"{total['share_of_ideal']:.3f}", f"{pruned['weight_bytes'] / 1e3:,.1f}",
                      f"{dense['weight_bytes'] / 1e3:,.1f}")
    return table


def part_totals(receipt: Receipt) -> list[tuple[str, dict[str, Any]]]:
    """Sums by name: of each part, where there are two, and of all."""
    parts = [part for part in PARTS if receipt.rows(part)]
    return [*((PARTS[part], receipt.total(part)) for part in parts if len(parts) > 1),
            ("all", receipt.total())]


def model_rows(receipt: Receipt) -> Iterator[tuple[str, float, float, str, bool]]:
    """What, pruned, dense, format, and whether less is better: of the whole model."""
    total, times = receipt.total(), receipt.times()
    pruned, dense = total["pruned"], total["dense"]
    for what, name in (
            ("cycles, each layer by itself", "cycles"),
            ("cycles a sentence adds to a full queue", "queue_cycles"),
            ("weight stream, bytes", "weight_bytes"), ("activations in, bytes", "act_bytes"),
            ("results out, bytes", "result_bytes"), ("MACs of surviving weights", "macs"),
            ("MACs that the cells make", "mac_slots"),
            ("memory words read and written", "memory_words")):
        yield what, pruned[name], dense[name], ",.0f", True
    if receipt.rows("attention") and receipt.rows("linear"):
        for part, what in PARTS.items():
            of = receipt.total(part)
            yield (f"cycles, {what} alone", of["pruned"]["cycles"], of["dense"]["cycles"], ",.0f",
                   True)
    if times is None:
        return
    for what, name, form, less in (
            ("latency of a sentence, ms", "latency_ms", ",.3f", True),
            ("sentences a second, one at a time", "sentences_per_second", ",.1f", False),
            ("sentences a second, the queue never dry", "queue_sentences_per_second", ",.1f",
             False),
            ("MB/s on the streams, mean", "stream_megabytes_per_second", ",.1f", True),
            ("seconds a sentence over the board's line", "line_seconds", ",.2f", True)):
        yield what, times["pruned"][name], times["dense"][name], form, less


def _model(receipt: Receipt) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("whole model")
    for heading in ("pruned", "dense", "better by"):
        table.add_column(heading, justify="right", no_wrap=True)
    for what, pruned, dense, form, less in model_rows(receipt):
        gain = (dense / pruned if less else pruned / dense) if pruned and dense else 1.0
        table.add_row(what, f"{pruned:{form}}", f"{dense:{form}}", f"{gain:.2f}×")
    return table


def notes(receipt: Receipt) -> list[str]:
    """What the figures assume and leave out, and what is missing, a line each."""
    total, times, lines = receipt.total(), receipt.times(), []
    measured = total["pruned"]["measured_layers"], total["dense"]["measured_layers"]
    if any(measured):
        differ = receipt.model_differs()
        lines.append(f"measured in RTL: {measured[0]} layers pruned and {measured[1]} dense of "
                     f"{len(receipt.layers)}; {receipt.outputs:,} outputs compared, "
                     f"{receipt.mismatches:,} differ; the cycle model "
                     + (f"differs in {', '.join(differ)}" if differ else "is equal in all"))
    else:
        lines.append("no RTL cycles were given (--measured): cycles are the cycle model's")
    if receipt.clock is None or times is None:
        lines.append("no clock: no fit of this build is in the table; make one with "
                     f"'{MAKE_FIT}', or name a clock with --clock-mhz")
    else:
        clock = receipt.clock
        source = f"fit {clock.row}, median of {len(clock.seeds)} seeds" if clock.row else clock.part
        lines.append(
            f"clock: {clock.mhz:.1f} MHz"
            + (f" on {clock.part} ({source})" if clock.row else f" ({source})")
            + f". Memory bandwidth assumed: {receipt.config.bus_bits} bits a cycle on each port, "
              f"{times['pruned']['port_megabytes_per_second']:,.0f} MB/s for weights, as much for "
              f"activations and results. {ASSUMES}")
        lines.append(
            f"the board's real link: {receipt.baud:,} baud, {receipt.baud / 10_000:g} kB/s both "
            "ways together, one question at a time; at least "
            f"{times['pruned']['line_seconds']:,.1f} s a sentence pruned, "
            f"{times['dense']['line_seconds']:,.1f} s dense")
    if len({layer.weight_bits for layer in receipt.layers}) > 1:
        lines.append("weights of two widths run on two units, one after the other, counted at the "
                     "clock of the one for 8 bits")
    if receipt.cpu is None:
        lines.append("no CPU time was taken (--cpu)")
    else:
        cpu = receipt.cpu
        lines.append(
            f"the same layers by PyTorch {cpu.torch} on this machine ({cpu.processor}, "
            f"{cpu.threads} of {cpu.cores} cores, load {cpu.load:g}): float32 "
            f"{sum(cpu.float32.values()):.2f} ms, int8 products {sum(cpu.int8.values()):.2f} ms; "
            "zeros in place cost it what other weights do")
    if receipt.rows("attention"):
        lines.append("densities of sums are of multiplications: what is left of all of them, "
                     f"attention's included, is {total['mac_density']:.3f}; of the weights "
                     f"{total['density']:.3f}")
    return [*lines, receipt.covers, RULE]
