"""The host's end of the link: questions that are asked until they are answered."""
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from sparseloom.hw.errors import LinkError
from sparseloom.model.packed import link
from sparseloom.model.packed.codec import record_bytes, unpack_record
from sparseloom.model.packed.link import Frame, FrameError, Splitter

ATTEMPTS = 10
"""Times that a question is asked."""

PATIENCE = 0.25
"""Seconds to wait for an answer beyond the time that both frames need on the line."""


class Transport(Protocol):
    """Bytes to the board and back, in order; any may be lost, changed or added."""

    baud: int
    """Bits a second, of which a byte takes ten."""

    def write(self, octets: bytes) -> None:
        """Send bytes."""
        ...

    def read(self, seconds: float) -> bytes:
        """What arrived, at once if there is something; else wait, so long at most."""
        ...

    def now(self) -> float:
        """Seconds of the clock that :meth:`read` waits by."""
        ...


class LinkClient:
    """Asks a board, one question at a time.

    Every question ends: with its own answer, or with LinkError after ``attempts`` of bounded
    time. A question asked again keeps its sequence number, so that the board acts once.

    Parameters
    ----------
    transport : Transport
    attempts : int
        At least 1.
    patience : float
        Seconds to wait beyond the line's own time.
    draw : function of int to int, optional
        ``draw(n)`` gives a number of n random bits: the nonces, and the first sequence number.

    Attributes
    ----------
    seen : Counter
        What went wrong and was put right: ``again`` (questions repeated), ``silence``, ``damaged``
        (answers), ``nack``, ``stale`` (answers to other questions).
    in_vain : float
        Seconds of all attempts that brought no answer.
    """

    def __init__(self, transport: Transport, *, attempts: int = ATTEMPTS,
                 patience: float = PATIENCE,
                 draw: Callable[[int], int] = secrets.randbits):
        self.transport, self.attempts, self.patience = transport, attempts, patience
        self.seen: Counter[str] = Counter()
        self.in_vain = 0.0
        self.max_data = link.MAX_DATA
        self._draw = draw
        self._sequence = draw(8)
        self._splitter = Splitter()

    def hello(self) -> dict[str, int]:
        """Begin a session; what ``HELLO_ANSWER`` holds.

        Raises
        ------
        LinkError
            If there is no answer, its version is not ours, or its sizes leave no room for a beat.
        """
        nonce = self._draw(32).to_bytes(4, "little")
        answer = self.ask(link.HELLO, nonce)
        size = record_bytes(link.HELLO_ANSWER)
        if answer.status != link.OK or len(answer.data) != size:
            raise LinkError(f"link, hello: expected {size} bytes, found {len(answer.data)}, status "
                            f"{link.STATUSES[answer.status][0]}")
        found = unpack_record(link.HELLO_ANSWER, answer.data)
        if found["version"] != link.LINK_VERSION:
            raise LinkError(f"link version: expected {link.LINK_VERSION}, "
                            f"found {found['version']}")
        if not 1 <= found["bus_bytes"] <= min(found["max_data"], found["stream_bytes"]):
            raise LinkError(f"link, hello: expected room for a beat, found beats of "
                            f"{found['bus_bytes']} bytes, frames of {found['max_data']}, queues of "
                            f"{found['stream_bytes']}")
        self.max_data = min(link.MAX_DATA, found["max_data"])
        return found

    def ask(self, kind: int, data: bytes = b"", *, last: bool = False) -> Frame:
        """Ask, and ask again until there is an answer.

        Parameters
        ----------
        kind : int
            Of ``link.KINDS``.
        data : bytes
        last : bool
            ``FLAG_LAST``.

        Returns
        -------
        Frame
            Its status is OK, BUSY or REFUSED.

        Raises
        ------
        LinkError
            If all attempts are in vain, or the status is another one.
        """
        self._sequence = (self._sequence + 1) % 256
        question = Frame(sequence=self._sequence, kind=kind, data=data,
                         flags=link.FLAG_LAST if last else 0)
        octets = question.encode()
        name = link.KINDS[kind][0]
        before = self.seen.copy()
        for attempt in range(self.attempts):
            if attempt:
                self.seen["again"] += 1
            begun = self.transport.now()
            self.transport.write(octets)
            answer = self._listen(question, len(octets))
            if answer is None:
                self.in_vain += self.transport.now() - begun
                continue
            if answer.status in (link.OK, link.BUSY, link.REFUSED):
                return answer
            meaning = link.STATUSES.get(answer.status, ("unknown", str(answer.status)))[1]
            raise LinkError(f"link, {name}: expected an answer that allows it, "
                            f"found the board's: {meaning}")
        trouble = ", ".join(f"{count} {what}" for what, count in (self.seen - before).items()
                            if what != "again")
        raise LinkError(
            f"link, {name}: expected an answer within {self._limit(len(octets)):.2g} s in "
            f"{self.attempts} attempts, found {trouble or 'none'} (right port, rate, bitstream?)")

    def _limit(self, sent: int) -> float:
        longest = Splitter.LONGEST + 2
        return self.patience + (sent + longest) * 10 / self.transport.baud

    def _listen(self, question: Frame, sent: int) -> Frame | None:
        """The question's answer; None if it should be asked again."""
        until = self.transport.now() + self._limit(sent)
        while (left := until - self.transport.now()) > 0:
            answer, again = None, False
            for piece in self._splitter.feed(self.transport.read(left)):
                try:
                    frame = Frame.decode(piece)
                except FrameError:
                    self.seen["damaged"] += 1
                    again = True
                    continue
                if frame.kind == link.NACK | link.ANSWER:
                    self.seen["nack"] += 1
                    again = True
                elif self._answers(question, frame):
                    answer = frame
                else:
                    self.seen["stale"] += 1
            if answer is not None:
                return answer
            if again:
                return None
        self.seen["silence"] += 1
        return None

    def _answers(self, question: Frame, frame: Frame) -> bool:
        return (frame.sequence == question.sequence and frame.kind == question.kind | link.ANSWER
                and (question.kind != link.HELLO or frame.data[:4] == question.data))
