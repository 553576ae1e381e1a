"""The driver against a scripted board: times, and when it resets."""
import random
from collections import Counter

import numpy as np
import pytest

from sparseloom.hw.errors import LinkError, UnitError
from sparseloom.hw.host import TABLE, Host
from sparseloom.hw.job import Job, pack_fields
from sparseloom.hw.link_client import LinkClient
from sparseloom.hw.registers import UNIT_ID
from sparseloom.model.packed import link, spec
from sparseloom.model.packed.codec import pack_record, unpack_record
from sparseloom.model.packed.link import Frame, Splitter
from tests.layers import random_layer

POLL = 1e-3
WORDS = {
    "ID": {"value": UNIT_ID}, "VERSION": {"stream_version": spec.STREAM_VERSION},
    "GEOMETRY": {"rows": 2, "cols": 3, "block_inputs": 16, "weight_bits": 8},
    "BUILD": {"bus_bytes": 8, "lanes": 1, "queue_depth": 4}, "MAX_K": {"value": 40},
    "ACT_WORDS": {"value": 48}, "STATUS": {}, "ERROR": {},
}
OFFSETS = {TABLE[name].offset: name for name in TABLE}
JOB = Job(inputs=8, outputs=3, tokens=2)


class Board:
    """A transport and its board, with a clock of its own.

    Parameters
    ----------
    pending : int
        Polls of RESULTS that find none, before the job's come.
    deaf : int
        Times that each of these polls is not heard.
    """

    baud = 1_000_000

    def __init__(self, *, pending=0, deaf=0):
        self.pending, self.deaf = pending, deaf
        self.asked = Counter()
        self.silent = False         # the bus does not answer, until a reset
        self._heard, self._last = 0, None
        self._waiting, self._now, self._splitter = b"", 0.0, Splitter()

    def write(self, octets):
        for piece in self._splitter.feed(octets):
            question = Frame.decode(piece)
            if question.kind == link.RESULTS and self.pending and self._heard < self.deaf:
                self._heard += 1
                continue
            self._heard = 0
            self.asked[link.KINDS[question.kind][0]] += 1
            fields = self._answer(question)
            self._waiting += Frame(**{"sequence": question.sequence,
                                      "kind": question.kind | link.ANSWER, **fields}).encode()

    def read(self, seconds):
        found, self._waiting = self._waiting, b""
        self._now += POLL if found else seconds
        return found

    def now(self):
        return self._now

    def _answer(self, question):
        if question.kind == link.HELLO:
            return {"data": pack_record(
                link.HELLO_ANSWER, nonce=int.from_bytes(question.data, "little"),
                version=link.LINK_VERSION, bus_bytes=8, max_data=256, stream_bytes=2048)}
        if question.kind == link.RESET:
            self.silent = False
        if question.kind in (link.READ, link.WRITE) and self.silent:
            return {"status": link.SILENT}
        if question.kind == link.READ:
            name = OFFSETS[unpack_record(link.READ_QUESTION, question.data)["offset"]]
            return {"data": pack_fields(TABLE[name], **WORDS[name]).to_bytes(4, "little")}
        if question.kind == link.RESULTS:
            if self.pending:
                self.pending -= 1
                return {}
            return {"data": bytes(6), "flags": link.FLAG_LAST}
        return {}


def connect(board, **settings):
    return Host(board, client=LinkClient(board, draw=random.Random(1).getrandbits), **settings)


def test_a_bad_line_is_no_stalled_unit():
    """Nine attempts in vain take longer than ``stall``; the polls that are answered do not."""
    board = Board(pending=3, deaf=9)
    host = connect(board)
    begun = board.now()
    assert host.run_job(JOB, bytes(8), bytes(8)) == bytes(6)
    assert host.link.seen["again"] == 27
    assert 3 * host.stall < board.now() - begun
    assert host.link.in_vain == pytest.approx(board.now() - begun, abs=0.1)


def test_a_board_of_no_geometry_is_no_unit(monkeypatch):
    monkeypatch.setitem(WORDS, "GEOMETRY", {**WORDS["GEOMETRY"], "rows": 0})
    with pytest.raises(LinkError, match="registers: expected those of a unit, found: rows"):
        connect(Board())


@pytest.mark.parametrize(("answer", "message"), [
    ({"data": bytes(200)}, "expected results of 6 bytes, found 200 and no end"),
    ({"data": b"x"}, "expected results of 6 bytes, found 7 and no end"),
    ({"data": bytes(5), "flags": link.FLAG_LAST}, "expected results of 6 bytes, found 5$"),
    ({"data": bytes(8), "flags": link.FLAG_LAST}, "expected results of 6 bytes, found 8$"),
])
def test_results_of_another_length_are_told(answer, message):
    """A board that never ends them would fill the memory."""
    class Babbling(Board):
        def _answer(self, question):
            return answer if question.kind == link.RESULTS else super()._answer(question)

    board = Babbling()
    host = connect(board)
    with pytest.raises(UnitError, match=f"unit: {message}"):
        host.run_job(JOB, bytes(8), bytes(8))
    assert board.asked["results"] <= 7
    with pytest.raises(UnitError, match=f"unit: {message}"):
        host.run_job(JOB, bytes(8), bytes(8))
    assert board.asked["reset"] == 2, "the job before went wrong"


def test_lanes_of_no_token_that_are_not_zero_are_the_unit_s_fault():
    class Spilling(Board):
        def _answer(self, question):
            if question.kind == link.RESULTS:
                return {"data": bytes([1, 1]) * 3, "flags": link.FLAG_LAST}
            return super()._answer(question)

    layer = random_layer(np.random.default_rng(1), inputs=8, outputs=3)
    with pytest.raises(UnitError, match="unit: results: expected zero in lanes beyond token 0"):
        connect(Spilling()).run_layer(layer, np.zeros((1, 8), np.int8))


@pytest.mark.parametrize("deaf", [0, 1])
def test_a_stalled_unit_is_told_on_any_line(deaf):
    board = Board(pending=10**9, deaf=deaf)
    host = connect(board, stall=0.1)
    with pytest.raises(UnitError, match=r"expected a byte to move within 0\.1 s, found none"):
        host.run_job(JOB, bytes(8), bytes(8))
    assert board.asked["results"] == pytest.approx(0.1 / POLL, abs=3)


def test_a_silent_bus_is_reset_before_the_next_job():
    board = Board()
    host = connect(board)
    assert host.run_job(JOB, bytes(8), bytes(8)) == bytes(6)
    assert board.asked["reset"] == 1
    for access in (lambda: host.read("STATUS"), lambda: host.write("JOB_PUSH")):
        board.silent, resets = True, board.asked["reset"]
        with pytest.raises(LinkError, match="bus did not answer in time"):
            access()
        assert host.run_job(JOB, bytes(8), bytes(8)) == bytes(6)
        assert board.asked["reset"] == resets + 1
