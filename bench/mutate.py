"""Good inputs made bad: bytes, numbers and trees of plain JSON data, by a seeded generator."""
from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

NUMBERS = (0, 1, 2, 3, 4, 7, 8, 9, 12, 16, 31, 47, 48, 127, 128, 255, 256, 32767, 32768, 65534,
           65535, 65536, 100_000_001, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, 1 << 32, 1 << 40,
           1 << 53, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
"""Where ranges end and types overflow, and sizes that nobody has."""

DEEP: Any = 7
for _ in range(200):
    DEEP = [DEEP]

VALUES = (None, True, False, -1, 0.5, -0.0, 1e-320, 1e308, float("nan"), float("inf"), 10**400, "",
          "x", "column", "x" * 1000, "a/b", "\ud800", "\n\x00\x1b[31m", "°×", [], {}, [1, 2, 3],
          {"crc32": 1}, DEEP, *NUMBERS)
"""What may stand where something else was expected."""


def mutate_bytes(rng: random.Random, data: bytes, others: Sequence[bytes] = ()) -> bytes:
    """One to four changes: bits, bytes, numbers; parts lost, repeated, moved or taken from another.

    Parameters
    ----------
    others : sequence of bytes
        Where foreign parts come from.
    """
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        at = rng.randrange(len(out) + 1)
        end = min(len(out), at + rng.choice((1, 1, 2, 4, 8, 16, 16, 48, 300)))
        kind = rng.randrange(9)
        if kind == 0 and at < len(out):
            out[at] ^= 1 << rng.randrange(8)
        elif kind == 1 and at < len(out):
            out[at] = rng.choice((0, 1, 127, 128, 254, 255, rng.randrange(256)))
        elif kind == 2:
            number = rng.choice(NUMBERS).to_bytes(8, "little")[:rng.choice((1, 2, 4, 8))]
            out[at:at + len(number)] = number
        elif kind == 3:
            del out[at:]
        elif kind == 4:
            del out[at:end]
        elif kind == 5:
            out[at:at] = out[at:end] * rng.choice((1, 1, 2, 50))
        elif kind == 6:
            out[at:at] = rng.randbytes(rng.choice((1, 1, 3, 16, 200)))
        elif kind == 7:
            out[at:end] = bytes([rng.choice((0, 255))]) * (end - at)
        elif others:
            other = rng.choice(others)
            start = rng.randrange(len(other) + 1)
            out[at:end] = other[start:start + rng.choice((1, 8, 16, 64, 1000))]
    return bytes(out)


def odd(rng: random.Random, value: Any) -> Any:
    """Something near a value, or nothing like it."""
    if type(value) is int and rng.random() < 0.4:
        return value + rng.choice((-2, -1, 1, 2))
    if type(value) is str and value and rng.random() < 0.3:
        return value[:-1] if rng.random() < 0.5 else value + value[-1]
    return rng.choice(VALUES)


def mutate_tree(rng: random.Random, tree: Any) -> Any:
    """A tree of lists and records with one place changed, in the tree itself."""
    places: list[tuple[Any, Any]] = []
    todo = [tree]
    while todo:
        node = todo.pop()
        keys = list(node) if isinstance(node, dict) else range(len(node))
        for key in keys:
            places.append((node, key))
            if isinstance(node[key], (dict, list)) and node[key] is not DEEP:
                todo.append(node[key])
    if not places:
        return odd(rng, tree)
    node, key = rng.choice(places)
    kind = rng.randrange(8)
    if kind == 0:
        del node[key]
    elif kind == 1 and isinstance(node, list):
        node.append(node[rng.randrange(len(node))])
    elif kind == 1:
        node[rng.choice((f"{key}x", "", "__metadata__", "lut", "p"))] = node[key]
    elif kind == 2 and isinstance(node, dict):
        node[rng.choice(list(node))] = node[key]
    else:
        node[key] = odd(rng, node[key])
    return tree
