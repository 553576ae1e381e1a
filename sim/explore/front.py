"""The Pareto front: points that no other one beats."""
from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def pareto_front(costs: Sequence[Sequence[float]]) -> list[int]:
    """Indices of the points that are not dominated, in their order.

    A point dominates another if it costs no more in anything and less in something. So points of
    equal costs stay together, all or none.

    Parameters
    ----------
    costs : sequence of points, each a sequence of numbers
        All to be small, none NaN.

    Returns
    -------
    list of int
    """
    table = np.asarray(costs, float) + 0.0      # -0.0 is 0.0
    if not len(table):
        return []
    if table.ndim != 2 or np.isnan(table).any():
        raise ValueError("expected a table of numbers")
    distinct, place = np.unique(table, axis=0, return_inverse=True)
    # In lexicographic order nothing dominates a point before it, and whatever dominates one is
    # dominated by, or is, a member of the front before it.
    front = np.empty_like(distinct)
    alive = np.zeros(len(distinct), bool)
    count = 0
    for index, point in enumerate(distinct):
        if not (front[:count] <= point).all(axis=1).any():
            front[count] = point
            count += 1
            alive[index] = True
    return np.flatnonzero(alive[place.reshape(-1)]).tolist()
