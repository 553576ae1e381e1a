"""One pruned, quantised Linear layer as integers and masks, and how to pack it."""
import math
from dataclasses import dataclass

import numpy as np

from sparseloom.model.errors import InputError, cut, shown
from sparseloom.model.packed import spec

STRUCTURES = ("column", "block", "row")
MAX_FEATURES = 0xFFFF
"""Inputs and outputs are counted in 16 bits, in stream headers and job descriptors."""


@dataclass(frozen=True, kw_only=True, eq=False)
class PackedLayer:
    """One Linear layer ``Y = X Wᵀ + b``: what survived pruning, in integers.

    W is cut into blocks of ``p`` outputs by ``q`` inputs. A *column* of a block, one input and
    its ``p`` neighbouring outputs, is stored whole or not at all. Where p or q does not divide
    the matrix, the last blocks reach beyond it: no column there is stored, and the weights there
    are zero. Below, N / p and K / q are rounded up.

    Parameters
    ----------
    name : str
        Dotted module name in the model.
    in_features, out_features : int
        K and N, 1 to 65535 each.
    structure : str
        ``column``, ``block`` or ``row``: the groups in which the layer was pruned.
    p, q : int
        Outputs and inputs of a block, at most N and K.
    block_mask : ndarray of bool, shape (N / p, K / q)
        Blocks in which any column is stored.
    column_masks : ndarray of bool, shape (present blocks, q)
        Stored columns of the present blocks, row-major; each row has a bit set.
    weights : ndarray of int8, shape (stored columns, p)
        Blocks row-major, ascending input inside a block, p outputs each.
    bias : ndarray of int32, shape (N,)
        The input zero point is folded in; ``|bias| <= 2**31 - 1 - K * 2**14``.
    mult : ndarray of uint16, shape (N,)
        2**15 to 2**16 - 1.
    shift : ndarray of uint8, shape (N,)
        1 to 47.
    lut : ndarray of int8, shape (256,), optional
        Entry ``i`` replaces the result ``y = i - 128``.
    raw : bool
        The layer leaves as int32 sums.
    input_scale, input_zero_point : float, int
        real = scale * (integer - zero_point)
    output_scale, output_zero_point : float, int
        Of ``y``, before the table.
    lut_scale, lut_zero_point : float, int
        Of the table's entries; 0.0 and 0 when there is no table.
    weight_scale : ndarray of float32, shape (N,)
    weight_bits : int
        8 (weights within ±127) or 4 (±7).

    Raises
    ------
    InputError
        If any of this does not hold; names the layer, the field, what was expected and found.
    """

    name: str
    in_features: int
    out_features: int
    structure: str
    p: int
    q: int
    block_mask: np.ndarray
    column_masks: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    mult: np.ndarray
    shift: np.ndarray
    lut: np.ndarray | None
    raw: bool
    input_scale: float
    input_zero_point: int
    output_scale: float
    output_zero_point: int
    lut_scale: float
    lut_zero_point: int
    weight_scale: np.ndarray
    weight_bits: int = 8

    def __post_init__(self):
        if not isinstance(self.name, str) or not self.name or "/" in self.name:
            raise InputError("layer name: expected a non-empty string without '/', "
                             f"found {shown(self.name)}")
        for field in ("in_features", "out_features"):
            self._integer(field, 1, MAX_FEATURES)
        if self.structure not in STRUCTURES:
            self._refuse("structure", f"one of {', '.join(STRUCTURES)}", self.structure)
        self._integer("p", 1, self.out_features)
        self._integer("q", 1, self.in_features)
        if self.weight_bits not in spec.WEIGHT_LIMIT or isinstance(self.weight_bits, bool):
            self._refuse("weight_bits", "8 or 4", self.weight_bits)
        if not isinstance(self.raw, bool):
            self._refuse("raw", "true or false", shown(self.raw))
        self._check_masks()
        outputs = (self.out_features,)
        self._array("bias", np.int32, outputs)
        self._array("mult", np.uint16, outputs)
        self._array("shift", np.uint8, outputs)
        self._array("weight_scale", np.float32, outputs)
        limit = spec.BIAS_LIMIT - (self.in_features << spec.PRODUCT_BITS)
        self._range("bias", -limit, limit)
        self._range("mult", spec.MULT_MIN, spec.MULT_MAX)
        self._range("shift", spec.SHIFT_MIN, spec.SHIFT_MAX)
        if not np.isfinite(self.weight_scale).all():
            self._refuse("weight_scale", "finite values", "NaN or infinity")
        if self.lut is not None:
            self._array("lut", np.int8, (spec.LUT_ENTRIES,))
            if self.raw:
                self._refuse("lut", "no table in a raw layer", "a table")
        for field in ("input", "output", "lut"):
            scale = getattr(self, f"{field}_scale")
            if not _is_scale(scale):
                self._refuse(f"{field}_scale", "a finite number, 0 or more", shown(scale))
            self._integer(f"{field}_zero_point", -128, 127)

    def _check_masks(self):
        grid = (-(-self.out_features // self.p), -(-self.in_features // self.q))
        self._array("block_mask", np.bool_, grid)
        present = int(self.block_mask.sum())
        self._array("column_masks", np.bool_, (present, self.q), "popcount of block_mask")
        empty = present - int(self.column_masks.any(axis=1).sum())
        if empty:
            self._refuse("column_masks", "a bit set for each present block", f"{empty} without")
        self._array("weights", np.int8, (int(self.column_masks.sum()), self.p),
                    "popcount of column_masks")
        limit = spec.WEIGHT_LIMIT[self.weight_bits]
        self._range("weights", -limit, limit)
        if self.in_features % self.q:
            beyond = self.column_masks[np.nonzero(self.block_mask)[1] == grid[1] - 1,
                                       self.in_features % self.q:]
            if beyond.any():
                self._refuse("column_masks", f"no column beyond in_features = {self.in_features}",
                             f"{int(beyond.sum())}")
        if self.out_features % self.p:
            there = int(self.block_mask[-1].sum())      # of the last block row, in order the last
            last = int(self.column_masks[present - there:].sum())
            beyond = self.weights[len(self.weights) - last:, self.out_features % self.p:]
            if beyond.any():
                self._refuse("weights", f"zero beyond out_features = {self.out_features}",
                             beyond[beyond != 0][0])

    def _refuse(self, field: str, expected: object, found: object):
        raise InputError(f"layer {cut(self.name)}, {field}: expected {expected}, "
                         f"found {cut(str(found))}")

    def _integer(self, field: str, low: int, high: int):
        value = getattr(self, field)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            self._refuse(field, f"an integer in {low}..{high}", shown(value))

    def _array(self, field: str, dtype: type, shape: tuple[int, ...], why: str = ""):
        value = getattr(self, field)
        if not isinstance(value, np.ndarray) or value.dtype != dtype:
            found = value.dtype if isinstance(value, np.ndarray) else type(value).__name__
            self._refuse(field, np.dtype(dtype).name, found)
        if value.shape != shape:
            self._refuse(field, f"shape {shape}" + (f" ({why})" if why else ""),
                         f"shape {value.shape}")

    def _range(self, field: str, low: int, high: int):
        value = getattr(self, field)
        bad = (value < low) | (value > high)
        if bad.any():
            self._refuse(field, f"values in {low}..{high}", value[bad][0])

    def column_mask(self) -> np.ndarray:
        """Stored columns of each block row: bool, shape (ceil(N / p), K)."""
        grid = np.zeros((*self.block_mask.shape, self.q), bool)
        grid[self.block_mask] = self.column_masks
        return grid.reshape(len(grid), -1)[:, :self.in_features]

    def dense_weight(self) -> np.ndarray:
        """The whole matrix, zero where pruned: int8, shape (N, K)."""
        columns = np.zeros((len(self.block_mask), self.in_features, self.p), np.int8)
        columns[self.column_mask()] = self.weights
        return columns.transpose(0, 2, 1).reshape(-1, self.in_features)[:self.out_features]

    def surviving_mask(self) -> np.ndarray:
        """Weights in surviving groups: bool, shape (N, K).

        In a ``row`` layer a group of 1 x q survives if any of its weights is not zero: its columns
        are stored for the sake of all rows.
        """
        if self.structure != "row":
            return self.column_mask().repeat(self.p, axis=0)[:self.out_features]
        starts = np.arange(0, self.in_features, self.q)
        alive = np.add.reduceat(self.dense_weight() != 0, starts, axis=1, dtype=np.int64) > 0
        return alive.repeat(self.q, axis=1)[:, :self.in_features]

    @property
    def surviving_weights(self) -> int:
        """Weights in surviving groups; a weight that rounded to zero still counts."""
        return int(self.surviving_mask().sum())

    @property
    def density(self) -> float:
        """Surviving weights over all weights."""
        return self.surviving_weights / (self.in_features * self.out_features)


def _is_scale(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value) and value >= 0
    except OverflowError:  # an integer beyond any float
        return False


def pack_layer(*, name: str, weight: np.ndarray, keep: np.ndarray | None = None,
               structure: str = "column", p: int, q: int, bias: np.ndarray, mult: np.ndarray,
               shift: np.ndarray, weight_scale: np.ndarray, input_scale: float,
               input_zero_point: int, output_scale: float, output_zero_point: int,
               lut: np.ndarray | None = None, raw: bool = False, lut_scale: float = 0.0,
               lut_zero_point: int = 0, weight_bits: int = 8) -> PackedLayer:
    """Pack a dense integer matrix and its pruning mask.

    Parameters
    ----------
    weight : ndarray of int8, shape (N, K)
    keep : ndarray of bool, shape (N, K), optional
        What pruning kept; ``weight != 0`` by default. A column of a block is stored if any of
        its p weights is kept. Blocks at the edges are padded with zeros.
    **others
        As in :class:`PackedLayer`.

    Raises
    ------
    InputError
        If shapes do not fit, or a weight outside ``keep`` is not zero.
    """
    def refuse(field: str, expected: object, found: object):
        raise InputError(f"layer {cut(name)}, {field}: expected {expected}, "
                         f"found {cut(str(found))}")

    if weight.ndim != 2 or weight.dtype != np.int8:
        refuse("weight", "int8 of two dimensions", f"{weight.dtype} of shape {weight.shape}")
    outputs, inputs = weight.shape
    for field, size, whole in (("p", p, outputs), ("q", q, inputs)):
        if not 1 <= size <= whole:
            refuse(field, f"an integer in 1..{whole}", size)
    if keep is None:
        keep = np.not_equal(weight, 0)
    elif keep.shape != weight.shape or keep.dtype != np.bool_:
        refuse("keep", f"bool of shape {weight.shape}", f"{keep.dtype} of shape {keep.shape}")
    elif (weight[~keep] != 0).any():
        refuse("keep", "every non-zero weight kept", "a non-zero weight outside it")
    if outputs % p or inputs % q:
        beyond = ((0, -outputs % p), (0, -inputs % q))
        weight, keep = np.pad(weight, beyond), np.pad(keep, beyond)
    wide = weight.shape[1]
    mask = np.asarray(keep.reshape(-1, p, wide).any(axis=1))    # (N / p, K)
    blocks = mask.reshape(-1, wide // q, q)                     # (N / p, K / q, q)
    present = np.asarray(blocks.any(axis=2))
    columns = weight.reshape(-1, p, wide).transpose(0, 2, 1)    # (N / p, K, p)
    return PackedLayer(
        name=name, in_features=inputs, out_features=outputs, structure=structure, p=p, q=q,
        block_mask=present, column_masks=blocks[present], weights=columns[mask],
        bias=bias, mult=mult, shift=shift, lut=lut, raw=raw,
        input_scale=input_scale, input_zero_point=input_zero_point,
        output_scale=output_scale, output_zero_point=output_zero_point,
        lut_scale=lut_scale, lut_zero_point=lut_zero_point,
        weight_scale=weight_scale, weight_bits=weight_bits)


def dense_layer(name: str, weight: np.ndarray, bias: np.ndarray) -> PackedLayer:
    """A layer of which everything is stored and that leaves as sums: a product made at run time.

    Parameters
    ----------
    weight : ndarray of int8, shape (N, K)
        -127 to 127.
    bias : ndarray of int32, shape (N,)

    Raises
    ------
    InputError
        As of :class:`PackedLayer`.
    """
    outputs, inputs = weight.shape
    return PackedLayer(
        name=name, in_features=inputs, out_features=outputs, structure="column", p=outputs,
        q=inputs, block_mask=np.ones((1, 1), bool), column_masks=np.ones((1, inputs), bool),
        weights=np.ascontiguousarray(weight.T), bias=bias,
        mult=np.full(outputs, spec.MULT_MIN, np.uint16),
        shift=np.full(outputs, spec.SHIFT_MIN, np.uint8), lut=None, raw=True, input_scale=1.0,
        input_zero_point=0, output_scale=1.0, output_zero_point=0, lut_scale=0.0,
        lut_zero_point=0, weight_scale=np.ones(outputs, np.float32))
