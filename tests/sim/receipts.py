"""Small layers and reports that tests of the receipt and of the page share."""
import json

import numpy as np

from sparseloom.hw.config import ArrayConfig
from sparseloom.model.packed.cycles import UnitJob, UnitShape, layer_jobs, predict
from sparseloom.model.packed.layer import PackedLayer
from sparseloom.model.products import Attention
from sparseloom.sim.receipt.work import dense_layer
from tests.layers import random_layer

CONFIG = ArrayConfig(rows=3, cols=5, lanes=3, max_k=48, act_words=96, bus_bits=32, block_inputs=8)
TOKENS = 7
"""Three groups of tokens; two jobs where K is above 32."""


def small_layers() -> dict[str, PackedLayer]:
    """A wide layer with a table and a deep raw one."""
    rng = np.random.default_rng(11)
    layers = (random_layer(rng, name="encoder.0.up", inputs=16, outputs=40, p=10, q=8, lut=True),
              random_layer(rng, name="encoder.0.down", inputs=40, outputs=20, p=5, q=8, raw=True))
    return {layer.name: layer for layer in layers}


ATTENTION = Attention(name="encoder.0", query="encoder.0.up", key="encoder.0.up",
                      value="encoder.0.down", heads=3, head_size=5)
"""Of three heads, behind the layers above, which it takes for its own."""


def cycles_of(layer: PackedLayer, tokens: int = TOKENS, config: ArrayConfig = CONFIG) -> int:
    """By the cycle model, which the RTL is held against elsewhere."""
    shape = UnitShape.of(config)
    return predict(layer_jobs(UnitJob.of(layer, tokens, shape), shape), shape).cycles


def model_report(layers: dict[str, PackedLayer], **changes) -> dict:
    """As ``sparseloom sim model --json`` writes it, as far as the receipt reads it."""
    return {"tokens": TOKENS, "geometry": CONFIG.to_dict(), "layers": [
        {"name": name, "shape": [layer.out_features, layer.in_features],
         "density": layer.density, "cycles": cycles_of(layer),
         "outputs": TOKENS * layer.out_features, "mismatches": 0}
        for name, layer in layers.items()], **changes}


def write(path, value):
    """A JSON file."""
    path.write_text(json.dumps(value))
    return path


def dense_of(layers: dict[str, PackedLayer]) -> dict[str, PackedLayer]:
    """The same layers unpruned."""
    return {name: dense_layer(layer) for name, layer in layers.items()}


def fit_row(**changes) -> dict:
    """As ``sparseloom hw fit --json`` writes it, as far as it is read."""
    path = {"seed": 2, "from": "strip_loader", "to": "queue", "ns": 9.0, "logic_ns": 3.0,
            "routing_ns": 6.0, "through": [
                {"component": "strip_loader", "logic_ns": 2.0, "routing_ns": 0.0},
                {"component": "queue", "logic_ns": 1.0, "routing_ns": 6.0}]}
    return {"row": "3x5-85k-ecp5", "fmax_mhz": {"median": 100.0, "seeds": {"1": 90.0, "2": 100.0,
                                                                          "3": 130.0}},
            "config": {**CONFIG.to_dict(), "target": "ecp5"}, "macs": 15, "lut4": 900, "comb": 1000,
            "ff": 1100, "dsp": 16, "bram": 9, "seconds": 60.0, "critical_path": path,
            "device": {"name": "85k", "part": "LFE5U-85F", "package": "CABGA381", "speed": 6,
                       "comb": 83640, "ff": 83640, "dsp": 156, "bram": 208}, **changes}


def explore_report(**changes) -> dict:
    """As ``sparseloom explore --json`` writes it: three points, the last without a score."""
    def point(latency, comb, score):
        return {"config": CONFIG.to_dict(), "masks": "balanced", "compression": 2.0,
                "pruning": {"structure": "column", "p": 10, "q": 8, "compression": 2.0},
                "cycles": 1000, "ideal_cycles": 900, "utilisation": 0.9,
                "clock": {"mhz": 100.0, "source": "3x5-85k-ecp5"}, "latency_ms": latency,
                "score": score and {"value": score, "seeds": 1, "metric": "spearman"},
                "lut4": comb, "comb": comb, "ff": 1100, "dsp": 16, "bram": 9,
                "cells": "estimated"}
    return {"model": "tiny", "device": "LFE5U-85F", "tokens": 7,
            "objectives": ["score", "latency", "LUT", "DSP", "BRAM"], "notes": ["a note"],
            "front": [point(0.3, 900, 85.5), point(0.2, 1000, 84.0), point(0.1, 1200, None)],
            **changes}


def demo_report(layers: dict[str, PackedLayer], **changes) -> dict:
    """As the demo writes ``report.json``, as far as the page reads it."""
    return {**model_report(layers), "task": "stsb", "metric": "spearman",
            "score": {"dense": 0.867, "pruned": 0.873, "integer": 0.8724}, **changes}
