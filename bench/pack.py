"""Seconds and memory to prune and pack a BERT-base-sized encoder: ``python -m bench.pack``."""
from __future__ import annotations

import argparse
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bench.device import device_note, git_revision
from bench.folders import Folders, write_json
from sparseloom.model.config import PruneConfig
from sparseloom.model.groups import expand_groups, group_rms
from sparseloom.model.packed.layer import PackedLayer, pack_layer
from sparseloom.model.packed.spec import MULT_MIN, SHIFT_MIN
from sparseloom.model.prune import choose_groups

ROOT = Path(__file__).resolve().parents[1]
SECONDS, MEMORY = 10.0, 2.0
"""Limits: seconds, and extra memory over the weights' own."""
LAYERS, HIDDEN, FFN = 12, 768, 3072
SAMPLE_SECONDS = 0.002


def encoder_weights(layers: int = LAYERS, hidden: int = HIDDEN, ffn: int = FFN, *,
                    seed: int = 0) -> dict[str, torch.Tensor]:
    """Random float32 matrices of a BERT encoder: Q, K, V, output and both of the FFN."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"query": (hidden, hidden), "key": (hidden, hidden), "value": (hidden, hidden),
              "output": (hidden, hidden), "ffn1": (ffn, hidden), "ffn2": (hidden, ffn)}
    return {f"{layer}.{name}": torch.randn(shape, generator=generator)
            for layer in range(layers) for name, shape in shapes.items()}


def prune(weights: Mapping[str, torch.Tensor], config: PruneConfig) -> dict[str, torch.Tensor]:
    """Surviving groups of all matrices, by their norms: bool grids."""
    strengths = {name: group_rms(weight, config.structure, config.p, config.q)
                 for name, weight in weights.items()}
    return choose_groups(strengths, shapes_of(weights), config)


def shapes_of(weights: Mapping[str, torch.Tensor]) -> dict[str, tuple[int, int]]:
    """Of each matrix."""
    return {name: (weight.shape[0], weight.shape[1]) for name, weight in weights.items()}


def pack(weights: Mapping[str, torch.Tensor], alive: Mapping[str, torch.Tensor],
         config: PruneConfig) -> list[PackedLayer]:
    """Round the survivors to 8 bits, one scale a channel, and pack them, a matrix at a time."""
    packed = []
    for name, weight in weights.items():
        keep = expand_groups(alive[name], config.structure, config.p, config.q,
                             shapes_of({name: weight})[name])
        scale = weight.abs().amax(dim=1).clamp_min(1e-12) / 127
        integers = torch.where(keep, (weight / scale[:, None]).round_(), 0).to(torch.int8)
        outputs = weight.shape[0]
        packed.append(pack_layer(
            name=name, weight=integers.numpy(), keep=keep.numpy(), structure=config.structure,
            p=config.p, q=config.q, bias=np.zeros(outputs, np.int32),
            mult=np.full(outputs, MULT_MIN, np.uint16),
            shift=np.full(outputs, SHIFT_MIN, np.uint8), weight_scale=scale.numpy(),
            input_scale=1.0, input_zero_point=0, output_scale=1.0, output_zero_point=0))
    return packed


def block_sparse(weights: Mapping[str, torch.Tensor], alive: Mapping[str, torch.Tensor],
                 config: PruneConfig) -> list[torch.Tensor]:
    """The same masks through torch's own conversion, in blocks of one group."""
    block = {"column": (config.p, 1), "block": (config.p, config.q), "row": (1, config.q)}[
        config.structure]
    found = []
    for name, weight in weights.items():
        keep = expand_groups(alive[name], config.structure, config.p, config.q,
                             shapes_of({name: weight})[name])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # "beta state"
            found.append(torch.where(keep, weight, 0).to_sparse_bsr(block))
    return found


def resident_bytes() -> int:
    """Memory of this process that is in use now; Linux."""
    import resource

    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def peak_memory() -> Iterator[Callable[[], int]]:
    """Largest resident size inside the block over that before it, sampled every 2 ms."""
    before = peak = resident_bytes()
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(SAMPLE_SECONDS):
            peak = max(peak, resident_bytes())
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield lambda: max(peak, resident_bytes()) - before
    finally:
        done.set()
        watcher.join()


def timed(work: Callable[[], Any]) -> tuple[Any, float, int]:
    """What it gives, seconds, and extra bytes at the peak."""
    with peak_memory() as extra:
        began = time.perf_counter()
        found = work()
        seconds = time.perf_counter() - began
        return found, seconds, extra()


def measure(config: PruneConfig, *, rounds: int, layers: int = LAYERS, hidden: int = HIDDEN,
            ffn: int = FFN) -> dict[str, Any]:
    """Both ways in turn, several times; medians of seconds, the largest memory.

    Returns
    -------
    dict
    """
    weights = encoder_weights(layers, hidden, ffn)
    total = sum(weight.numel() for weight in weights.values())
    size = 4 * total
    seconds: dict[str, list[float]] = {"prune": [], "pack": [], "to_sparse_bsr": []}
    memory = {"prune_and_pack": 0, "to_sparse_bsr": 0}
    survivors = 0
    for _ in range(rounds):
        alive, took, most = timed(lambda: prune(weights, config))
        seconds["prune"].append(took)
        packed, took, more = timed(lambda: pack(weights, alive, config))  # noqa: B023
        seconds["pack"].append(took)
        survivors = sum(layer.surviving_weights for layer in packed)
        # Grids of the first part are still there in the second.
        kept = sum(grid.numel() * grid.element_size() for grid in alive.values())
        memory["prune_and_pack"] = max(memory["prune_and_pack"], most, more + kept)
        del packed
        _, took, most = timed(lambda: block_sparse(weights, alive, config))  # noqa: B023
        seconds["to_sparse_bsr"].append(took)
        memory["to_sparse_bsr"] = max(memory["to_sparse_bsr"], most)
    medians = {name: round(statistics.median(each), 3) for name, each in seconds.items()}
    both = round(medians["prune"] + medians["pack"], 3)
    relative = {name: round(value / size, 3) for name, value in memory.items()}
    return {"matrices": len(weights), "weights": total, "survivors": survivors,
            "structure": config.structure, "p": config.p, "q": config.q, "scope": config.scope,
            "compression": config.compression, "rounds": rounds, "seconds": medians,
            "prune_and_pack_seconds": both, "extra_memory_over_weights": relative,
            "limits": {"seconds": SECONDS, "extra_memory_over_weights": MEMORY},
            "met": both <= SECONDS and relative["prune_and_pack"] <= MEMORY}


def main(words: Sequence[str] | None = None) -> int:
    """Entry of ``python -m bench.pack``."""
    parser = argparse.ArgumentParser(prog="python -m bench.pack", description=__doc__)
    parser.add_argument("--root", type=Path, default=ROOT, help="where results go")
    parser.add_argument("--compression", type=float, default=2.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(words)
    torch.set_num_threads(options.threads)
    found = measure(PruneConfig(compression=options.compression, method="magnitude",
                                saliency="magnitude"), rounds=options.rounds)
    found |= {"device": device_note(), "git": git_revision(ROOT),
              "command": "python -m bench.pack"}
    write_json(Folders(options.root).results / "pack.json", found, indent=2)
    print(f"{found['weights'] / 1e6:.1f} M weights: prune {found['seconds']['prune']:.2f} s, pack "
          f"{found['seconds']['pack']:.2f} s, extra memory "
          f"{found['extra_memory_over_weights']['prune_and_pack']:.2f} of the weights'; "
          f"to_sparse_bsr {found['seconds']['to_sparse_bsr']:.2f} s: "
          f"{'met' if found['met'] else 'missed'}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
