"""Every matrix product of an encoder through the RTL on real activations, every output compared."""
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from rich import box
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.errors import InputError
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.products import Attention, Product
from sparseloom.sim.layer_queues import LayerQueue, QueueRun, run_layer_queues
from sparseloom.sim.report import common_prefix

Layer = TypeVar("Layer")


@dataclass(frozen=True, kw_only=True)
class ModelRun:
    """What the layers of a model gave, each by itself on the idle unit.

    Parameters
    ----------
    layers : list of PackedLayer or Product
        All heads of a product of attention are one queue.
    runs : list of QueueRun
        Of each layer.
    tokens : int
        That went through each.
    seconds, build_seconds : float
        Wall time: streams, simulation, oracle and comparison; and, not counted there, Verilog and
        its simulator.
    """

    layers: Sequence[PackedLayer | Product]
    runs: list[QueueRun]
    tokens: int
    seconds: float
    build_seconds: float

    @property
    def exact(self) -> bool:
        """Whether no output differs, and bench, unit and cycle model agree on every cycle."""
        return not any(run.problems() for run in self.runs)

    def total(self) -> dict[str, float]:
        """Sums over the layers; the density is that of the weights, 1 where there are none."""
        linears = [layer for layer in self.layers if isinstance(layer, PackedLayer)]
        weights = sum(layer.out_features * layer.in_features for layer in linears)
        cycles = sum(run.cycles for run in self.runs)
        return {"cycles": cycles, "ideal_cycles": sum(run.ideal_cycles for run in self.runs),
                "utilisation": sum(run.counters["active"] for run in self.runs) / cycles,
                "density": sum(layer.surviving_weights for layer in linears) / weights
                if weights else 1.0,
                "outputs": sum(run.outputs for run in self.runs),
                "mismatches": sum(run.mismatches for run in self.runs)}

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {"tokens": self.tokens, "exact": self.exact, "seconds": self.seconds,
                "build_seconds": self.build_seconds,
                "total": self.total(), "layers": [
                    {**run.as_dict(), "shape": [layer.out_features, layer.in_features],
                     "density": layer.density, "weight_bits": layer.weight_bits,
                     "heads": layer.heads if isinstance(layer, Product) else None}
                    for layer, run in zip(self.layers, self.runs, strict=True)]}

    def show(self, console: Console) -> None:
        """Print the table, and how the cycle model fared."""
        prefix = common_prefix([layer.name for layer in self.layers])
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        table.add_column(f"layer {prefix}…" if prefix else "layer", overflow="fold")
        for heading in ("shape", "density", "cycles", "utilisation", "outputs", "mismatches"):
            table.add_column(heading, justify="right", no_wrap=True)

        def add(name: str, shape: str, of: Mapping[str, float]) -> None:
            table.add_row(name, shape, f"{of['density']:.3f}", f"{of['cycles']:,}",
                          f"{of['utilisation']:.3f}", f"{of['outputs']:,}", f"{of['mismatches']:,}")

        for layer, run in zip(self.layers, self.runs, strict=True):
            heads = f"{layer.heads} × " if isinstance(layer, Product) else ""
            add(layer.name.removeprefix(prefix), f"{heads}{layer.out_features}×{layer.in_features}",
                {"density": layer.density, "cycles": run.cycles, "utilisation": run.utilisation,
                 "outputs": run.outputs, "mismatches": run.mismatches})
        total = self.total()
        table.add_section()
        add("all", "", total)
        console.print(table, markup=False)
        predicted = [run for run in self.runs if run.predicted_cycles is not None]
        if predicted:
            equal = sum(run.predicted_cycles == run.cycles for run in predicted)
            late = sum(run.late_cycles > 0 for run in predicted)
            console.print(f"cycle model, without simulation: equal to the RTL's cycles in {equal} "
                          f"of {len(predicted)} layers"
                          + (f"; in {late} the driver pushed later than it takes for granted"
                             if late else ""), highlight=False)
        console.print(f"{self.tokens} tokens through each layer, {self.seconds:.1f} s, "
                      f"{total['cycles'] / self.seconds:,.0f} cycles a second", highlight=False)


def choose_layers(layers: Mapping[str, Layer], patterns: Sequence[str]) -> dict[str, Layer]:
    """Layers whose names match a shell pattern, in the model's order; all without a pattern.

    Raises
    ------
    InputError
        If a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in layers):
            raise InputError(f"layers {pattern}: expected the pattern of a layer's name, found "
                             f"none that matches among {', '.join(layers)}")
    return {name: layer for name, layer in layers.items()
            if not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)}


def product_queues(attention: Sequence[Attention], layers: Mapping[str, PackedLayer],
                   acts: Mapping[str, np.ndarray]) -> dict[str, tuple[Product, LayerQueue]]:
    """Attention's products with the layers of their heads, by name, for :func:`run_model`.

    Parameters
    ----------
    attention : sequence of Attention
    layers : mapping of str to PackedLayer
        Their queries, keys and values among them.
    acts : mapping of str to ndarray of int8, shape (tokens, K)
        What enters these, as if the tokens were one sentence.
    """
    # Only now: this loads the model's libraries.
    from sparseloom.model.attention import attention_work

    found: dict[str, tuple[Product, LayerQueue]] = {}
    for one in attention:
        work = attention_work(one, layers, acts)
        found |= {product.name: (product, work[product.name])
                  for product in one.products(len(acts[one.query]))}
    return found


def run_model(layers: Mapping[str, PackedLayer], acts: Mapping[str, np.ndarray],
              config: ArrayConfig, *,
              products: Mapping[str, tuple[Product, LayerQueue]] | None = None,
              stall: float = 0.0, seed: int = 1, folder: Path | None = None,
              cache: Path | None = None, long_run: bool = True,
              progress: Progress | None = None) -> ModelRun:
    """Run layers through the generated Verilog, each by itself on the idle unit.

    Parameters
    ----------
    layers : mapping of str to PackedLayer
        By name.
    acts : mapping of str to ndarray of int8, shape (M, K)
        Their activations.
    config : ArrayConfig
        The unit; where layers have weights of another width, a second one that has that.
    products : mapping of str to (Product, LayerQueue), optional
        Attention's, with the layers of the heads; they run behind the layers.
    folder : Path, optional
        Keep the simulations' data there, one folder for each width of weights.
    stall, seed, cache, long_run, progress
        As in :func:`~sparseloom.sim.layer_queues.run_layer_queues`.

    Raises
    ------
    InputError, SimulationError
        As there.
    """
    found: dict[str, QueueRun] = {}
    seconds = build_seconds = 0.0
    rows: dict[str, tuple[PackedLayer | Product, LayerQueue]] = {
        **{name: (layer, [(layer, acts[name])]) for name, layer in layers.items()},
        **(products or {})}
    for weight_bits in sorted({layer.weight_bits for layer, _ in rows.values()}, reverse=True):
        queues = {name: queue for name, (layer, queue) in rows.items()
                  if layer.weight_bits == weight_bits}
        task = None if progress is None else progress.add_task(
            "Verilog and its simulator, kept for the next run", total=None)
        began: list[float] = [time.perf_counter()]

        def built(task=task, began=began) -> None:
            began.append(time.perf_counter())
            if progress is not None and task is not None:
                progress.remove_task(task)

        runs = run_layer_queues(
            queues, replace(config, weight_bits=weight_bits), stall=stall, seed=seed,
            folder=folder and folder / f"weights-{weight_bits}", cache=cache, long_run=long_run,
            progress=progress, title=f"{len(queues)} layers in RTL", built=built)
        build_seconds += began[1] - began[0]
        seconds += time.perf_counter() - began[1]
        found |= zip(queues, runs, strict=True)
    return ModelRun(layers=[layer for layer, _ in rows.values()],
                    runs=[found[name] for name in rows],
                    tokens=len(next(iter(rows.values()))[1][0][1]), seconds=seconds,
                    build_seconds=build_seconds)
