"""Which range of a tensor's values its 256 levels cover, from a histogram of the values.

A few values of a transformer are far larger than all others. Levels that reach for them are levels
that the rest lacks, so a range may cut them off: ``percentile`` keeps a chosen share of the values,
``mse`` makes the cut whose squared error, of rounding and of clipping together, is least.
"""
from __future__ import annotations

import numpy as np
import torch

from sparseloom.model.quantize import activation_scale

DROPPED_BITS = 16
"""Of a float32. What is left, a sign, an exponent and 7 bits, is the value's bin. Such bins need no
range beforehand, and wherever a range is cut they are about as fine as its levels."""
BINS = 1 << (32 - DROPPED_BITS)
POINTS = 4
"""A bin's values are taken as spread evenly over this many points."""
COARSE, FINE = 2.0 ** -0.25, 2.0 ** (-1 / 32)
COARSE_STEPS, FINE_STEPS = 48, 8
"""Candidates cut an end of the range by up to 2**12."""


class Histogram:
    """How often which values occur: bounded memory, whatever the values and their order.

    Attributes
    ----------
    low, high : float
        Smallest and largest value; NaN once a value was no number.
    """

    def __init__(self):
        self.low, self.high = float("inf"), float("-inf")
        self._counts: torch.Tensor | None = None

    @staticmethod
    def count(values: torch.Tensor) -> torch.Tensor:
        """Values in each bin, bins in ascending order: int64 of shape (BINS,)."""
        bits = values.float().contiguous().view(torch.int32).reshape(-1)
        ordered = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits)  # integers in the floats' order
        return torch.bincount((ordered >> DROPPED_BITS) + BINS // 2, minlength=BINS)

    def add(self, counts: torch.Tensor | None, low: float, high: float) -> None:
        """Take in what :meth:`count` found in values from ``low`` to ``high``.

        Without counts the histogram knows its ends alone, which is all that ``minmax`` needs.
        """
        if counts is not None:
            self._counts = counts.cpu() + (0 if self._counts is None else self._counts)
        self.low = float(np.minimum(self.low, low))       # unlike min, keeps a NaN
        self.high = float(np.maximum(self.high, high))

    def points(self) -> tuple[np.ndarray, np.ndarray]:
        """The values, a bin's spread evenly, and how often each occurs.

        Returns
        -------
        values : ndarray of float64, shape (n,)
            Ascending.
        weights : ndarray of float64, shape (n,)
        """
        assert self._counts is not None
        counts = self._counts.numpy()
        index = counts.nonzero()[0]
        key = index - BINS // 2
        negative = (key < 0)[:, None]
        size = np.where(key < 0, ~key, key)[:, None]
        share = (np.arange(POINTS) + 0.5) / POINTS
        near, far = _magnitude(size), _magnitude(size + 1)
        values = near + (far - near) * np.where(negative, share[::-1], share)
        values = np.where(negative, -values, values).reshape(-1)
        return np.clip(values, self.low, self.high), np.repeat(counts[index] / POINTS, POINTS)


def _magnitude(size: np.ndarray) -> np.ndarray:
    """The lower edge of a bin of positive values."""
    return (size.astype(np.uint32) << DROPPED_BITS).view(np.float32).astype(np.float64)


def choose_range(histogram: Histogram, calibration: str, percentile: float = 100.0,
                 ) -> tuple[float, float]:
    """The range of values that gets levels; what lies beyond is clamped to its ends.

    Parameters
    ----------
    calibration : str
        ``minmax``: all values. ``percentile``: the middle share of them. ``mse``: the range of
        least squared error.
    percentile : float
        The share to keep, in percent.

    Returns
    -------
    pair of float
        Low and high; not finite where a value was not.
    """
    low, high = histogram.low, histogram.high
    if calibration == "minmax" or not np.isfinite([low, high]).all():
        return low, high
    values, weights = histogram.points()
    if calibration == "percentile":
        beyond = (100.0 - percentile) / 200.0
        share = np.cumsum(weights) / weights.sum()
        return (float(np.interp(beyond, share, values)),
                float(np.interp(1.0 - beyond, share, values)))
    return _least_error(min(low, 0.0), max(high, 0.0), values, weights)


def _least_error(low: float, high: float, values: np.ndarray, weights: np.ndarray,
                 ) -> tuple[float, float]:
    """Cut both ends alike, then each by itself in turn, then by finer steps."""
    # Σ w, Σ w v and Σ w v² of the values before each: what lies between two of them costs no sum.
    sums = np.zeros((3, len(values) + 1))
    np.cumsum([weights, weights * values, weights * values**2], axis=1, out=sums[:, 1:])

    def error(share: tuple[float, float]) -> float:
        scale, zero = activation_scale(low * share[0], high * share[1])
        level = np.arange(-128, 128) - zero
        ends = np.searchsorted(values, scale * (level[:-1] + 0.5))
        w, wv, wvv = np.diff(sums[:, [0, *ends, -1]], axis=1)
        return float((wvv - 2 * scale * level * wv + (scale * level)**2 * w).sum())

    coarse = (COARSE ** np.arange(COARSE_STEPS + 1)).tolist()
    fine = FINE ** np.arange(-FINE_STEPS, FINE_STEPS + 1)
    best = min(((share, share) for share in coarse), key=error)
    for finer in (False, True):
        for _ in range(4):
            old = best
            for end in (0, 1):
                shares = np.minimum(1.0, best[end] * fine).tolist() if finer else coarse
                best = min((best, *((share, best[1]) if end == 0 else (best[0], share)
                                    for share in shares)), key=error)
            if best == old:
                break
    return low * best[0], high * best[1]
