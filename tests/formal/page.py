"""docs/proofs.md, from the table of results alone."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def render(table: Mapping[str, Any]) -> str:
    """The page."""
    return ""
