"""Sentences to token ids, and token ids to padded batches of similar length."""
from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch

Item = tuple[str, ...]
"""What the encoder reads at once: one sentence, or a pair."""

class Encoder:
    """Tokenises each distinct item once.

    Parameters
    ----------
    tokenizer
        Of Hugging Face.
    max_tokens : int
        Longer items are cut.
    """

    def __init__(self, tokenizer: Any, max_tokens: int):
        # A copy: truncation is state of the tokenizer, and would be saved with the model.
        self.tokenizer = copy.deepcopy(tokenizer)
        self.max_tokens = max_tokens
        self._known: dict[Item, dict[str, list[int]]] = {}

    def add(self, items: Sequence[Item]) -> None:
        """Tokenise what is not known yet."""
        new = [item for item in dict.fromkeys(items) if item not in self._known]
        for width in {len(item) for item in new}:
            same = [item for item in new if len(item) == width]
            columns = [list(column) for column in zip(*same, strict=True)]
            out = self.tokenizer(*columns, truncation=True, max_length=self.max_tokens)
            for index, item in enumerate(same):
                self._known[item] = {key: list(out[key][index]) for key in out
                                     if key != "attention_mask"}

    def length(self, item: Item) -> int:
        """Tokens of an item, special ones included."""
        if item not in self._known:
            self.add([item])
        return len(self._known[item]["input_ids"])

    def batch(self, items: Sequence[Item]) -> dict[str, torch.Tensor]:
        """Inputs of the model: int64 of shape (items, longest), padded on the right.

        ``attention_mask`` is 1 at real tokens.
        """
        self.add(items)
        known = [self._known[item] for item in items]
        lengths = [len(row["input_ids"]) for row in known]
        shape = (len(known), max(lengths))
        fill = {"input_ids": self.tokenizer.pad_token_id or 0}
        batch = {key: torch.full(shape, fill.get(key, 0)) for key in known[0]}
        batch["attention_mask"] = torch.zeros(shape, dtype=torch.int64)
        for index, row in enumerate(known):
            for key, values in row.items():
                batch[key][index, :lengths[index]] = torch.tensor(values)
            batch["attention_mask"][index, :lengths[index]] = 1
        return batch


def by_length(lengths: Sequence[int], batch: int) -> list[list[int]]:
    """Indices in batches of similar length, longest first, so that a lack of memory shows early."""
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    return [order[start:start + batch] for start in range(0, len(order), batch)]
