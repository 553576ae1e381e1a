"""What the demo found: one record, written as JSON and shown as a table."""
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.write import write_json
from sparseloom.sim.layer import LayerRun


@dataclass(frozen=True, kw_only=True)
class LayerFigures:
    """One pruned layer through the RTL, beside the same layer unpruned.

    Parameters
    ----------
    name : str
        As in the model.
    shape : tuple of int
        (out_features, in_features).
    density : float
        Surviving weights / all weights.
    ideal_cycles : int
        Columns that must run, summed over strips, times token groups.
    cycles : int
        Measured: first activation beat to last result beat, as the bench counts them.
    utilisation : float
        ideal_cycles / cycles.
    dense_cycles : int
        Measured on the same layer unpruned, same RTL, same number of tokens.
    dense_utilisation : float
        The unpruned layer's ideal / measured cycles.
    speedup_vs_dense : float
        dense_cycles / cycles.
    speedup_over_compression : float
        speedup_vs_dense * density: 1 when pruning to 1/n of the weights runs n times faster.
    tokens : int
        M, so that ``tokens * out_features`` results must come.
    outputs, dense_outputs : int
        Results that came and were compared with the oracle.
    mismatches, dense_mismatches : int
        Results that differ from it.
    predicted_cycles, dense_predicted_cycles : int, optional
        ``cycles`` and ``dense_cycles`` by the cycle model, without simulation.
    """

    name: str
    shape: tuple[int, int]
    density: float
    ideal_cycles: int
    cycles: int
    utilisation: float
    dense_cycles: int
    dense_utilisation: float
    speedup_vs_dense: float
    speedup_over_compression: float
    tokens: int
    outputs: int
    mismatches: int
    dense_outputs: int
    dense_mismatches: int
    predicted_cycles: int | None = None
    dense_predicted_cycles: int | None = None

    @property
    def exact(self) -> bool:
        """Every output was compared and none differed, pruned and unpruned."""
        expected = self.tokens * self.shape[0]
        return (self.mismatches == self.dense_mismatches == 0
                and self.outputs == self.dense_outputs == expected)


def layer_figures(pruned: PackedLayer, pruned_run: LayerRun, dense_run: LayerRun) -> LayerFigures:
    """Put the two runs of one layer side by side.

    Parameters
    ----------
    pruned : PackedLayer
        The layer as pruned.
    pruned_run, dense_run : LayerRun
        It, and the same layer unpruned, through the same RTL.

    Raises
    ------
    ValueError
        If the two runs are not of the same layer and tokens.
    """
    if {pruned_run.name, dense_run.name} != {pruned.name} or pruned_run.tokens != dense_run.tokens:
        raise ValueError(f"runs differ: {pruned_run.name}, {pruned_run.tokens} tokens, and "
                         f"{dense_run.name}, {dense_run.tokens} tokens")
    speedup = dense_run.cycles / pruned_run.cycles
    return LayerFigures(
        name=pruned.name, shape=(pruned.out_features, pruned.in_features), density=pruned.density,
        ideal_cycles=pruned_run.ideal_cycles, cycles=pruned_run.cycles,
        utilisation=pruned_run.utilisation, dense_cycles=dense_run.cycles,
        dense_utilisation=dense_run.utilisation, speedup_vs_dense=speedup,
        speedup_over_compression=speedup * pruned.density, tokens=pruned_run.tokens,
        outputs=pruned_run.outputs, mismatches=pruned_run.mismatches,
        dense_outputs=dense_run.outputs, dense_mismatches=dense_run.mismatches,
        predicted_cycles=pruned_run.predicted_cycles,
        dense_predicted_cycles=dense_run.predicted_cycles)


COLUMNS = {"shape": False, "dens-\nity": True, "ideal\ncycles": True, "\ncycles": True,
           "utili-\nsation": True, "dense\ncycles": False, "speed-\nup": True,
           "× den-\nsity": True, "outputs": False, "bit-\nexact": True}
"""Headings of the table, and whether a narrow terminal shows the column too."""

WIDE = 110
"""Characters from which the table shows every column."""


def common_prefix(names: list[str]) -> str:
    """What all dotted names begin with, up to and with a dot; empty for a single name."""
    shared: list[str] = []
    for parts in zip(*(name.split(".")[:-1] for name in names), strict=False):
        if len(set(parts)) > 1:
            break
        shared.append(f"{parts[0]}.")
    return "".join(shared) if len(names) > 1 else ""


@dataclass(frozen=True, kw_only=True)
class DemoReport:
    """Everything that the demo measured.

    Parameters
    ----------
    task, model, metric : str
        What was run, and what the scores mean.
    score : dict of str to float
        ``dense``, ``pruned`` (both floating point) and ``integer`` (pruned, int8), on the
        metric's own scale: 0.867 is what the table shows as 86.7.
    compression : float
        Weights of the encoder's Linear layers, all / surviving.
    stored_bits_per_weight : float
        Bits of weights and masks per surviving weight, of the layer with the most.
    seconds : float
        Wall time of the whole flow.
    stages : dict of str to float
        The same by stage, in seconds.
    tokens, seed : int
        Tokens that went through each layer; seed of training.
    geometry : dict
        Settings of the build that was simulated.
    layers : list of LayerFigures
    versions : dict of str to str
        Of the packages that decide the result.
    sentence : dict
        One validation sentence with every matrix product of the pruned encoder in RTL, as
        :meth:`sparseloom.sim.offload.OffloadRun.as_dict` has it; empty where none ran.
    whole : dict
        ``dense`` and ``pruned``: sums over every matrix product of the encoder, each by itself in
        RTL, and by name what was wrong; empty where none ran.
    """

    task: str
    model: str
    metric: str
    score: dict[str, float]
    compression: float
    stored_bits_per_weight: float
    seconds: float
    stages: dict[str, float]
    tokens: int
    seed: int
    geometry: dict[str, int | str]
    layers: list[LayerFigures]
    versions: dict[str, str]
    sentence: dict[str, Any] = field(default_factory=dict)
    whole: dict[str, Any] = field(default_factory=dict)

    @property
    def exact(self) -> bool:
        """Every layer ran and was exact, and so were encoder and sentence, if they ran."""
        return (bool(self.layers) and all(layer.exact for layer in self.layers)
                and all(one["exact"] for one in self.whole.values())
                and bool(self.sentence.get("exact", True)))

    def total(self) -> dict[str, float]:
        """Cycles and speed-up of all layers together."""
        dense = sum(layer.dense_cycles for layer in self.layers)
        cycles = sum(layer.cycles for layer in self.layers)
        ideal = sum(layer.ideal_cycles for layer in self.layers)
        return {"ideal_cycles": ideal, "cycles": cycles, "dense_cycles": dense,
                "utilisation": ideal / cycles, "speedup_vs_dense": dense / cycles,
                "outputs": sum(layer.outputs for layer in self.layers),
                "mismatches": sum(layer.mismatches + layer.dense_mismatches
                                  for layer in self.layers)}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "exact": self.exact, "total": self.total()}

    def write(self, path: Path) -> None:
        """Write the report as JSON, whole or not at all."""
        write_json(path, self.as_dict())

    def show(self, console: Console) -> None:
        """Print the table of layers and the scores."""
        rows, cols = self.geometry["rows"], self.geometry["cols"]
        if not console.is_terminal and console.width < WIDE:
            console = Console(file=console.file, width=WIDE)    # a log has no edge
        every = console.width >= WIDE   # a narrow terminal does without some columns
        prefix = common_prefix([layer.name for layer in self.layers])
        console.print(f"{self.model}, {self.task}: {self.tokens} tokens through the "
                      f"{rows} × {cols} array in RTL, layers {prefix}…", highlight=False)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column("layer", overflow="fold")
        for heading, wanted in COLUMNS.items():
            if every or wanted:
                table.add_column(heading, justify="right", no_wrap=True)

        def add(name: str, *cells: str) -> None:
            table.add_row(name, *(cell for cell, wanted in zip(cells, COLUMNS.values(), strict=True)
                                  if every or wanted))

        for layer in self.layers:
            add(layer.name.removeprefix(prefix), "×".join(map(str, layer.shape)),
                f"{layer.density:.3f}", f"{layer.ideal_cycles:,}", f"{layer.cycles:,}",
                f"{layer.utilisation:.3f}", f"{layer.dense_cycles:,}",
                f"{layer.speedup_vs_dense:.2f}×", f"{layer.speedup_over_compression:.3f}",
                f"{layer.outputs:,}",
                "yes" if layer.exact else
                f"NO: {layer.mismatches + layer.dense_mismatches:,} differ")
        total = self.total()
        table.add_section()
        add("all", "", "", f"{total['ideal_cycles']:,}", f"{total['cycles']:,}",
            f"{total['utilisation']:.3f}", f"{total['dense_cycles']:,}",
            f"{total['speedup_vs_dense']:.2f}×", "", f"{total['outputs']:,}",
            "yes" if all(layer.exact for layer in self.layers) else "NO")
        console.print(table)
        pairs = [pair for layer in self.layers for pair in (
            (layer.predicted_cycles, layer.cycles),
            (layer.dense_predicted_cycles, layer.dense_cycles)) if pair[0] is not None]
        if pairs:
            equal = sum(model == measured for model, measured in pairs)
            console.print(f"cycle model, without simulation: equal to the RTL's cycles in {equal} "
                          f"of {len(pairs)} runs", highlight=False)
        if self.whole:
            dense, pruned = self.whole["dense"], self.whole["pruned"]
            wrong = [f"{name}, {kind}: {', '.join(found)}" for kind, one in self.whole.items()
                     for name, found in one["problems"].items()]
            console.print(
                f"the whole encoder in RTL, {pruned['products']} layers and products of attention: "
                f"{dense['cycles']:,} cycles unpruned, {pruned['cycles']:,} pruned, "
                f"{dense['cycles'] / pruned['cycles']:.2f}×; "
                f"{dense['outputs'] + pruned['outputs']:,} outputs "
                + ("bit-exact, and every cycle the cycle model's" if not wrong else
                   f"NOT as they should be: {'; '.join(wrong)}"),
                highlight=False, markup=False)
        if self.sentence:
            console.print(
                f"one whole sentence in RTL, {self.sentence['products']} matrix products, "
                f"{self.sentence['integers']:,} integers compared with the oracle: "
                f"{'bit-exact, and so is its answer' if self.sentence['exact'] else 'NOT exact'}",
                highlight=False)
        scores = "   ".join(f"{name} {100 * value:.1f}" for name, value in self.score.items())
        console.print(f"{self.task} {self.metric} × 100:  {scores}", highlight=False)
        console.print(f"encoder weights: {self.compression:.2f}× fewer, "
                      f"{self.stored_bits_per_weight:.2f} bits stored per surviving weight; "
                      f"{self.seconds:.0f} s in all", highlight=False)
