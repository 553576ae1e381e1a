"""What hypothesis draws for property tests: masks of whole groups, packed layers of any shape."""
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st

from sparseloom.model.config import STRUCTURES
from sparseloom.model.masks import group_size
from sparseloom.model.packed import spec
from sparseloom.model.packed.layer import PackedLayer, pack_layer

CASES = settings(max_examples=100, deadline=None)
DENSITIES = (0.0, 0.1, 0.5, 1.0)


@st.composite
def cuts(draw, *, outputs: int = 14, inputs: int = 26) -> tuple[tuple[int, int], str, int, int]:
    """A matrix's shape, a structure, and blocks that need not divide it."""
    shape = draw(st.integers(1, outputs)), draw(st.integers(1, inputs))
    return (shape, draw(st.sampled_from(STRUCTURES)), draw(st.integers(1, shape[0])),
            draw(st.integers(1, shape[1])))


def grid_of(shape: tuple[int, int], structure: str, p: int, q: int) -> tuple[int, int]:
    """Rows and columns of groups, those cut short by an edge included."""
    rows, cols = group_size(structure, p, q)
    return -(-shape[0] // rows), -(-shape[1] // cols)


def grow(groups: np.ndarray, shape: tuple[int, int], structure: str, p: int, q: int) -> np.ndarray:
    """Each group's value at each of its weights, by index: nothing shared with what is tested."""
    rows, cols = group_size(structure, p, q)
    return groups[np.arange(shape[0])[:, None] // rows, np.arange(shape[1]) // cols]


def grids(shape: tuple[int, int], structure: str, p: int, q: int) -> st.SearchStrategy[np.ndarray]:
    """Which groups are alive: bool, shape of the grid."""
    size = grid_of(shape, structure, p, q)
    return st.builds(
        lambda seed, density: np.random.default_rng(seed).random(size) < density,
        st.integers(0, 1 << 32), st.sampled_from(DENSITIES))


def pack(weight: np.ndarray, keep: np.ndarray, structure: str, p: int, q: int,
         **fields: Any) -> PackedLayer:
    """A layer with harmless output parameters, unless they are given."""
    outputs = len(weight)
    whole = {"name": "layer", "bias": np.zeros(outputs, np.int32),
             "mult": np.full(outputs, 40000, np.uint16), "shift": np.full(outputs, 20, np.uint8),
             "weight_scale": np.ones(outputs, np.float32), "input_scale": 1.0,
             "input_zero_point": 0, "output_scale": 1.0, "output_zero_point": 0, **fields}
    return pack_layer(weight=weight, keep=keep, structure=structure, p=p, q=q, **whole)


@st.composite
def layers(draw, **limits: int) -> PackedLayer:
    """A layer of any shape, structure and width, every field drawn from its whole range."""
    shape, structure, p, q = draw(cuts(**limits))
    keep = grow(draw(grids(shape, structure, p, q)), shape, structure, p, q)
    bits = draw(st.sampled_from(sorted(spec.WEIGHT_LIMIT)))
    kind = draw(st.sampled_from(("bytes", "raw", "lut")))
    rng = np.random.default_rng(draw(st.integers(0, 1 << 32)))
    limit = spec.WEIGHT_LIMIT[bits]
    weight = rng.integers(-limit, limit + 1, shape).astype(np.int8)
    weight[rng.random(shape) < 0.1] = draw(st.sampled_from((-limit, 0, limit)))
    weight[~keep] = 0
    room = spec.BIAS_LIMIT - (shape[1] << spec.PRODUCT_BITS)
    return pack(
        weight, keep, structure, p, q, weight_bits=bits, raw=kind == "raw",
        bias=rng.integers(-room, room + 1, shape[0]).astype(np.int32),
        mult=rng.integers(spec.MULT_MIN, spec.MULT_MAX + 1, shape[0]).astype(np.uint16),
        shift=rng.integers(spec.SHIFT_MIN, spec.SHIFT_MAX + 1, shape[0]).astype(np.uint8),
        weight_scale=rng.random(shape[0]).astype(np.float32),
        input_scale=draw(st.floats(0, 1e30)), output_scale=draw(st.floats(0, 1e30)),
        input_zero_point=draw(st.integers(-128, 127)),
        output_zero_point=draw(st.integers(-128, 127)),
        lut=rng.integers(-128, 128, spec.LUT_ENTRIES).astype(np.int8) if kind == "lut" else None,
        lut_scale=draw(st.floats(0, 1e30)) if kind == "lut" else 0.0,
        lut_zero_point=draw(st.integers(-128, 127)) if kind == "lut" else 0)
