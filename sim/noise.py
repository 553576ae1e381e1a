"""A line that loses, changes and adds bytes, at seeded places in both directions."""
import random
from collections import Counter

from sparseloom.hw.link_client import Transport

ANSWER = 64
"""Bytes of an answer of usual length: so many bytes read are harmed as often as a piece written."""


class NoisyLine:
    """A transport around another one; each piece written may come to harm, and what is read.

    Parameters
    ----------
    line : Transport
    rng : random.Random
    share : float
        Share of pieces written that are harmed, and of ``ANSWER`` bytes read.

    Attributes
    ----------
    done : Counter
        Harms by name.
    """

    def __init__(self, line: Transport, *, rng: random.Random, share: float):
        self.line, self.baud = line, line.baud
        self.done: Counter[str] = Counter()
        self._rng, self._share = rng, share

    def write(self, octets: bytes) -> None:
        """Send, perhaps something else."""
        octets = self._harm("to the board", octets)
        if octets:
            self.line.write(octets)

    def read(self, seconds: float) -> bytes:
        """What arrived, or something else."""
        received = self.line.read(seconds)
        if received and self._rng.random() < len(received) / ANSWER:
            return self._harm("from the board", received)
        return received

    def now(self) -> float:
        """The line's."""
        return self.line.now()

    def _harm(self, way: str, octets: bytes) -> bytes:
        rng = self._rng
        if rng.random() >= self._share:
            return octets
        at = rng.randrange(len(octets))
        kind = rng.choice(("drop", "flip", "insert", "lose", "cut"))
        self.done[f"{kind} {way}"] += 1
        return {
            "drop": b"",
            "flip": octets[:at] + bytes([octets[at] ^ 1 << rng.randrange(8)]) + octets[at + 1:],
            "insert": octets[:at] + rng.choice((b"\0", rng.randbytes(3))) + octets[at:],
            "lose": octets[:at] + octets[at + 1:],
            "cut": octets[:at],
        }[kind]
