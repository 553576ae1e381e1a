"""Rows of a task as transformers' Trainer wants them: a dataset, a collator, an order."""
from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset, Sampler

from sparseloom.model.encode import Encoder
from sparseloom.model.heads import Head
from sparseloom.model.tasks import Row

POOL_BATCHES = 16
"""Batches are cut from length-sorted pools of this many."""


class RowDataset(Dataset):
    """Rows by index, each with its length in tokens.

    Parameters
    ----------
    rows : sequence of Row
    head : Head
    encoder : Encoder
    """

    def __init__(self, rows: Sequence[Row], head: Head, encoder: Encoder):
        self.rows, self.head = rows, head
        items = [head.items(row) for row in rows]
        encoder.add([item for group in items for item in group])
        self.lengths = [max(encoder.length(item) for item in group) for group in items]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The row, and its place in the dataset."""
        return {"row": self.rows[index], "index": index}


class Collator:
    """Rows to the model's inputs, with ``labels`` (float32) and ``rows`` (their places)."""

    def __init__(self, head: Head, encoder: Encoder):
        self.head, self.encoder = head, encoder

    def __call__(self, examples: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """One batch: inputs of shape (rows · width, longest)."""
        rows = [example["row"] for example in examples]
        batch = self.encoder.batch([item for row in rows for item in self.head.items(row)])
        batch["labels"] = torch.tensor([row.label for row in rows], dtype=torch.float32)
        batch["rows"] = torch.tensor([example["index"] for example in examples])
        return batch


class LengthSampler(Sampler[int]):
    """A seeded order in which rows of a step are of similar length.

    Rows are shuffled each epoch, cut into pools of 16 steps, and sorted by length inside a pool:
    little padding, yet steps differ between epochs. The rows that do not fill a last step are left
    out, unless they are the only ones. The order depends on the rows of a whole step alone, not on
    how that is made up of devices and accumulated batches, and on seed and epoch alone, so that a
    resumed run goes on as it would have.

    Parameters
    ----------
    lengths : sequence of int
        Tokens of each row.
    step_rows : int
        Rows of one optimiser step, all processes and accumulated batches together.
    seed : int
    """

    def __init__(self, lengths: Sequence[int], step_rows: int, seed: int):
        self.lengths, self.step_rows, self.seed, self.epoch = lengths, step_rows, seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch; the Trainer calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        whole = len(self.lengths) // self.step_rows * self.step_rows
        return whole or len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = random.Random(self.seed * 1_000_003 + self.epoch)
        rows, size = list(range(len(self.lengths))), self.step_rows
        generator.shuffle(rows)
        steps: list[list[int]] = []
        for start in range(0, len(rows), size * POOL_BATCHES):
            pool = sorted(rows[start:start + size * POOL_BATCHES],
                          key=lambda row: self.lengths[row])
            steps += [pool[at:at + size] for at in range(0, len(pool), size)]
        steps = [step for step in steps if len(step) == size] or steps
        generator.shuffle(steps)
        for step in steps:
            yield from step
