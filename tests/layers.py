"""Seeded layers and activations whose results are mostly neither clamped nor zero."""
import numpy as np

from sparseloom.model.packed import spec
from sparseloom.model.packed.layer import PackedLayer, pack_layer

SPREAD = 60
"""Standard deviation aimed at in int8 results."""


def random_mask(rng: np.random.Generator, *, outputs: int, inputs: int, p: int, q: int,
                structure: str, density: float) -> np.ndarray:
    """Pruning mask of a structure: bool, shape (N, K)."""
    if structure == "column":
        keep = rng.random((outputs // p, 1, inputs // q, q)) < density
    elif structure == "block":
        keep = rng.random((outputs // p, 1, inputs // q, 1)) < density
    else:
        keep = rng.random((outputs // p, p, inputs // q, 1)) < density
    whole = np.broadcast_to(keep, (outputs // p, p, inputs // q, q))
    return whole.reshape(outputs, inputs).copy()


def random_layer(rng: np.random.Generator, *, inputs: int, outputs: int, p: int = 1, q: int = 1,
                 structure: str = "column", density: float = 0.4,
                 empty_outputs: slice | None = None,
                 lut: bool = False, raw: bool = False, name: str = "layer",
                 weight_bits: int = 8) -> PackedLayer:
    """A layer with random integers, and scales that spread its results over int8.

    Parameters
    ----------
    empty_outputs : slice, optional
        Outputs of which every weight is pruned, so that a strip may be empty.
    """
    keep = random_mask(rng, outputs=outputs, inputs=inputs, p=p, q=q, structure=structure,
                       density=density)
    if empty_outputs is not None:
        keep[empty_outputs] = False
    limit = spec.WEIGHT_LIMIT[weight_bits]
    weight = rng.integers(-limit, limit + 1, (outputs, inputs)).astype(np.int8)
    weight[~keep] = 0
    per_output = np.maximum(1, keep.sum(axis=1))
    # Of a sum of products of uniform integers.
    spread = 74 * (73 if weight_bits == 8 else 4.3) * np.sqrt(per_output)
    bias = (rng.standard_normal(outputs) * spread / 2).astype(np.int32)
    scale = SPREAD / spread / np.sqrt(1.25) * rng.uniform(0.8, 1.25, outputs)
    exponent = np.floor(np.log2(scale)).astype(int)     # scale = mult / 2**shift
    mult = np.floor(scale / 2.0 ** exponent * 2**15).astype(np.uint16)
    table = None
    if lut:
        table = rng.permutation(np.arange(-128, 128)).astype(np.int8)
    return pack_layer(
        name=name, weight=weight, keep=keep, structure=structure, p=p, q=q, bias=bias,
        mult=mult, shift=(15 - exponent).astype(np.uint8),
        weight_scale=np.full(outputs, 0.01, np.float32), input_scale=0.02,
        input_zero_point=int(rng.integers(-20, 20)), output_scale=0.05,
        output_zero_point=int(rng.integers(-20, 20)), lut=table, raw=raw,
        lut_scale=0.05 if lut else 0.0, weight_bits=weight_bits)


def random_acts(rng: np.random.Generator, tokens: int, inputs: int) -> np.ndarray:
    """Activations: int8, shape (M, K)."""
    return rng.integers(-128, 128, (tokens, inputs)).astype(np.int8)


def useful_share(results: np.ndarray) -> float:
    """Share of int8 results that are neither clamped nor zero."""
    return float(np.mean((results != 0) & (results != -128) & (results != 127)))
