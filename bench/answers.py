"""Predictions in few characters: classes as a string of digits, scores to four decimals."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def compact(found: Sequence[float] | np.ndarray) -> str | list[float]:
    """Digits where all predictions are classes 0 to 9, else rounded numbers."""
    values = np.asarray(found, dtype=np.float64).reshape(-1)
    if ((values == np.round(values)) & (values >= 0) & (values <= 9)).all():
        return "".join(str(int(value)) for value in values)
    return [round(float(value), 4) for value in values]


def expand(stored: str | Sequence[float]) -> list[float]:
    """The inverse of :func:`compact`, up to its rounding."""
    return [float(value) for value in stored]
