"""Names of encoder layers, for those who have an artefact and no torch."""
from __future__ import annotations

import re
from collections.abc import Iterable

_BLOCK = re.compile(r"(?:^|\.)(\d+)\.")


def block_index(name: str) -> int | None:
    """Which encoder layer a dotted module name belongs to, counted from 0; None if in none.

    ``encoder.layer.3.output.dense`` is in 3: the first part that is a number counts.
    """
    found = _BLOCK.search(name)
    return int(found[1]) if found else None


def block_layers(names: Iterable[str], block: int) -> list[str]:
    """The names in one encoder layer, in the order given."""
    return [name for name in names if block_index(name) == block]
