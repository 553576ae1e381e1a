"""Bytes on the serial line, against the driver and the link themselves."""
import random

import pytest

from sparseloom.hw.job import Job
from sparseloom.model.packed import link
from sparseloom.sim.receipt.line import frame_bytes, job_line_bytes, pieces
from tests.hw.test_host import Board, connect


class Counting(Board):
    """A board that gives results of some length, and counts what goes by."""

    def __init__(self, results):
        super().__init__()
        self.results, self.bytes = results, 0

    def write(self, octets):
        self.bytes += len(octets)
        super().write(octets)

    def read(self, seconds):
        found = super().read(seconds)
        self.bytes += len(found)
        return found

    def _answer(self, question):
        if question.kind == link.HELLO:
            hello = bytearray(super()._answer(question)["data"])
            hello[6:8] = link.MAX_DATA.to_bytes(2, "little")
            return {"data": bytes(hello)}
        if question.kind == link.RESULTS:
            part, self.results = self.results[:link.MAX_DATA], self.results[link.MAX_DATA:]
            return {"data": part, "flags": 0 if self.results else link.FLAG_LAST}
        return super()._answer(question)


@pytest.mark.parametrize("draw", [
    lambda size: random.Random(size).randbytes(size), lambda size: bytes([255]) * size],
    ids=["random", "no zero"])
def test_as_many_bytes_as_the_driver_needs(draw):
    job = Job(inputs=80, outputs=301, tokens=6)
    results = draw(301 * 6)         # three words of two rows for each of 301 outputs
    board = Counting(results)
    host = connect(board)
    before = board.bytes
    weights, acts = draw(5000), draw(480)
    assert host.run_job(job, weights, acts) == results
    counted = job_line_bytes(weights=5000, acts=480, results=len(results), bus_bytes=8)
    assert 0 <= counted - (board.bytes - before) <= 0.01 * counted


@pytest.mark.parametrize("size", [0, 1, 243, 244, 245, 500, 1024])
def test_no_frame_is_longer(size):
    longest = link.Frame(sequence=1, kind=link.ACTS, flags=1, status=1, data=b"\xff" * size)
    assert len(longest.encode()) in (frame_bytes(size), frame_bytes(size) - 1)
    assert len(link.Frame(sequence=1, kind=2, data=bytes(size)).encode()) <= frame_bytes(size)


def test_pieces():
    assert pieces(0, 8) == [] and pieces(8, 8) == [8] and pieces(17, 8) == [8, 8, 1]
