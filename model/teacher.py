"""The dense model that a student copies: frozen, in evaluation mode, each row answered once."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from sparseloom.model.heads import Head


class Teacher:
    """Answers and hidden states of a dense model.

    Parameters
    ----------
    model : nn.Module
        Frozen here.
    head : Head
    hidden : bool
        Whether hidden states are wanted.
    cache_bytes : int
        Memory for answers of rows seen before; beyond it they are computed again. The dense model
        is in evaluation mode, so that they are the same each time.
    """

    def __init__(self, model: nn.Module, head: Head, *, hidden: bool, cache_bytes: int = 0):
        self.model, self.head, self.hidden = model.eval().requires_grad_(False), head, hidden
        self.left = cache_bytes
        self._known: dict[int, tuple[torch.Tensor, list[torch.Tensor]]] = {}

    @torch.no_grad()
    def __call__(self, inputs: dict[str, torch.Tensor], rows: Sequence[int],
                 ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        """The teacher's view of a batch.

        Parameters
        ----------
        inputs : dict of str to Tensor
            The model's inputs, shape (rows · width, tokens).
        rows : sequence of int
            Which rows of the dataset these are.

        Returns
        -------
        answers : Tensor of float32, shape (rows · width, …)
        hidden : list of Tensor of float32, shape (rows · width, tokens, hidden size)
            Of each encoder layer, zero at padding; empty where not wanted.
        """
        mask, width = inputs["attention_mask"], self.head.width
        if all(row in self._known for row in rows):
            return self._recall(rows, mask)
        outputs = self.model(**inputs, output_hidden_states=self.hidden)
        answers = self.head.of_outputs(outputs, mask).float()
        # Half precision: ten bits of a target are plenty, twice as many rows fit, and it makes no
        # difference whether a row was seen before.
        states = [(state * mask[..., None]).to(torch.bfloat16).float()
                  for state in outputs.hidden_states[1:]] if self.hidden else []
        lengths = mask.sum(dim=1).tolist()
        for place, row in enumerate(rows):
            if row in self._known:
                continue
            items = range(place * width, place * width + width)
            kept = [state[item, :lengths[item]].to(torch.bfloat16) for item in items
                    for state in states]
            answer = answers[items.start:items.stop].clone()
            size = sum(part.numel() * part.element_size() for part in (answer, *kept))
            if size > self.left:
                continue
            self.left -= size
            self._known[row] = (answer, kept)
        return answers, states

    def _recall(self, rows: Sequence[int], mask: torch.Tensor,
                ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        answers = torch.cat([self._known[row][0] for row in rows])
        parts = [part for row in rows for part in self._known[row][1]]
        layers = len(parts) // len(mask)
        states = []
        for layer in range(layers):
            state = torch.zeros(*mask.shape, parts[0].shape[-1], device=mask.device)
            for item, part in enumerate(parts[layer::layers]):
                state[item, :len(part)] = part
            states.append(state)
        return answers, states


def hidden_loss(student: Sequence[torch.Tensor], teacher: Sequence[torch.Tensor],
                attention_mask: torch.Tensor, width: int) -> torch.Tensor:
    """How far a student's hidden states are from its teacher's, 0 where they are equal.

    For each row and layer the squared error over the teacher's own square, real tokens only; then
    the mean over layers and rows, so that neither length nor batch size weighs.

    Parameters
    ----------
    student, teacher : sequence of Tensor of shape (rows · width, tokens, hidden size)
    attention_mask : Tensor of shape (rows · width, tokens)
    width : int
        Items of a row.
    """
    real = attention_mask[..., None]
    losses = []
    for found, wanted in zip(student, teacher, strict=True):
        error = ((found.float() - wanted) * real).square().sum(dim=(1, 2))
        size = (wanted * real).square().sum(dim=(1, 2)).clamp_min(1e-12)
        losses.append((error / size).reshape(-1, width).mean(dim=1))
    return torch.stack(losses).mean()
