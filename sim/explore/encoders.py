"""Shapes of well-known encoders, for an exploration without a checkpoint."""
from __future__ import annotations

from dataclasses import dataclass

from sparseloom.model.errors import InputError, cut
from sparseloom.sim.explore.masks import Heads


@dataclass(frozen=True, kw_only=True)
class EncoderShape:
    """Matrix products of an encoder of the BERT kind.

    Parameters
    ----------
    blocks, hidden, inner : int
        Encoder layers, their width, and the width between the two matrices of the FFN.
    heads : int
        Of attention; they divide ``hidden``.
    """

    blocks: int
    hidden: int
    inner: int
    heads: int

    def linears(self) -> list[tuple[int, int, str, int]]:
        """N, K, kind of results (``""``, ``raw``, ``lut``) and count of each Linear layer.

        As the integer model runs them: query, key and value leave as int8, what is added to the
        residual as int32, the first matrix of the FFN through a table.
        """
        return [(self.hidden, self.hidden, "", 3 * self.blocks),
                (self.hidden, self.hidden, "raw", self.blocks),
                (self.inner, self.hidden, "lut", self.blocks),
                (self.hidden, self.inner, "raw", self.blocks)]

    def attention(self) -> tuple[Heads, ...]:
        """Of each encoder layer, all alike."""
        return (Heads(heads=self.heads, size=self.hidden // self.heads, count=self.blocks),)


ENCODERS = {
    "bert-tiny": EncoderShape(blocks=2, hidden=128, inner=512, heads=2),
    "bert-mini": EncoderShape(blocks=4, hidden=256, inner=1024, heads=4),
    "bert-small": EncoderShape(blocks=4, hidden=512, inner=2048, heads=8),
    "minilm": EncoderShape(blocks=6, hidden=384, inner=1536, heads=12),
    "minilm-l12": EncoderShape(blocks=12, hidden=384, inner=1536, heads=12),
    "distilbert": EncoderShape(blocks=6, hidden=768, inner=3072, heads=12),
    "bert-base": EncoderShape(blocks=12, hidden=768, inner=3072, heads=12),
    "roberta-base": EncoderShape(blocks=12, hidden=768, inner=3072, heads=12),
    "bert-large": EncoderShape(blocks=24, hidden=1024, inner=4096, heads=16),
    "roberta-large": EncoderShape(blocks=24, hidden=1024, inner=4096, heads=16),
}
"""Source: the configurations of the checkpoints of these names; ``minilm`` is all-MiniLM-L6-v2."""


def find_encoder(name: str) -> EncoderShape:
    """The shapes of a name.

    Raises
    ------
    InputError
        If there is none.
    """
    if name not in ENCODERS:
        raise InputError(f"model: expected a folder or one of {', '.join(ENCODERS)}, "
                         f"found {cut(name)}")
    return ENCODERS[name]
