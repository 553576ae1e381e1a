"""The host's end of the link against scripted boards: what is asked again, what is an error."""
import os
import random
import threading
import tty
from collections.abc import Callable

import pytest

from sparseloom.hw import serial_line
from sparseloom.hw.errors import LinkError
from sparseloom.hw.link_client import LinkClient
from sparseloom.hw.serial_line import SerialLine
from sparseloom.model.errors import InputError
from sparseloom.model.packed import link
from sparseloom.model.packed.codec import pack_record
from sparseloom.model.packed.link import Frame, Splitter

NACK = Frame(sequence=0, kind=link.NACK | link.ANSWER, status=link.DAMAGED).encode()


class Script:
    """A transport whose board is a function from a question to bytes, with a clock of its own."""

    baud = 1_000_000

    def __init__(self, board: Callable[[Frame], bytes]):
        self.board, self.asked, self._waiting, self._now = board, [], bytearray(), 0.0
        self._splitter = Splitter()

    def write(self, octets):
        for piece in self._splitter.feed(octets):
            self.asked.append(Frame.decode(piece))
            self._waiting += self.board(self.asked[-1])

    def read(self, seconds):
        if not self._waiting:
            self._now += seconds
            return b""
        self._now += 1e-5
        return bytes([self._waiting.pop(0)])

    def now(self):
        return self._now


def answer(question: Frame, data: bytes = b"", **fields) -> Frame:
    return Frame(**{"sequence": question.sequence, "kind": question.kind | link.ANSWER,
                    "data": data, **fields})


def make(board) -> tuple[LinkClient, Script]:
    script = Script(board)
    return LinkClient(script, draw=random.Random(1).getrandbits), script


@pytest.mark.parametrize(("first", "seen"), [
    (lambda question: b"", {"again": 1, "silence": 1}),
    (lambda question: NACK, {"again": 1, "nack": 1}),
    (lambda question: b"\0\x05ab\0", {"again": 1, "damaged": 1}),
    (lambda question: answer(question, b"old", sequence=question.sequence - 1).encode(),
     {"again": 1, "stale": 1, "silence": 1}),
    (lambda question: answer(question, kind=link.WRITE | link.ANSWER).encode(),
     {"again": 1, "stale": 1, "silence": 1}),
    (lambda question: answer(question, b"good").encode()[:-1], {"again": 1, "silence": 1}),
])
def test_asked_again_under_the_same_number(first, seen):
    turn = []

    def board(question):
        turn.append(question)
        return first(question) if len(turn) == 1 else answer(question, b"good").encode()

    client, script = make(board)
    assert client.ask(link.READ, bytes(4)).data == b"good"
    assert script.asked[0] == script.asked[1]
    assert dict(client.seen) == seen
    client.ask(link.READ, bytes(4))
    assert script.asked[2].sequence == (script.asked[0].sequence + 1) % 256
    assert len(script.asked) == 3


@pytest.mark.parametrize("board", [lambda question: b"", lambda question: NACK,
                                   lambda question: os.urandom(5) + b"\0"])
def test_gives_up_in_bounded_time(board):
    client, script = make(board)
    with pytest.raises(LinkError, match=r"link, results: expected an answer within .* s in 10 att"):
        client.ask(link.RESULTS, bytes(4))
    assert len(script.asked) == 10
    assert script.now() < 10 * (client.patience + 0.03)


def test_a_board_that_babbles_is_no_answer():
    client, script = make(lambda question: b"\x07" * 200_000)
    with pytest.raises(LinkError, match="10 silence"):
        client.ask(link.RESET)
    assert script.now() < 4


def test_statuses():
    for status in (link.OK, link.BUSY, link.REFUSED):
        client, _ = make(lambda question, status=status: answer(question, status=status).encode())
        assert client.ask(link.ACTS, b"x").status == status
    client, _ = make(lambda question: answer(question, status=link.STRANGER).encode())
    with pytest.raises(LinkError, match=r"link, acts: .* no HELLO was heard"):
        client.ask(link.ACTS, b"x")
    client, _ = make(lambda question: answer(question, status=99).encode())
    with pytest.raises(LinkError, match="found the board's: 99"):
        client.ask(link.ACTS, b"x")


def hello(question: Frame, **fields) -> Frame:
    known = {"nonce": int.from_bytes(question.data, "little"), "version": link.LINK_VERSION,
             "bus_bytes": 8, "max_data": 256, "stream_bytes": 2048}
    return answer(question, pack_record(link.HELLO_ANSWER, **{**known, **fields}))


def test_hello_is_ours_by_its_nonce():
    client, _ = make(lambda question: hello(question, nonce=5).encode() + hello(question).encode())
    assert client.hello()["bus_bytes"] == 8
    assert client.max_data == 256
    assert client.seen["stale"] == 1
    client, _ = make(lambda question: hello(question, version=9).encode())
    with pytest.raises(LinkError, match="link version: expected 1, found 9"):
        client.hello()


@pytest.mark.parametrize(("size", "status"), [(4, link.OK), (11, link.OK), (13, link.OK),
                                              (12, link.BUSY)])
def test_hello_that_is_none(size, status):
    client, _ = make(lambda question: answer(question, (question.data + bytes(20))[:size],
                                             status=status).encode())
    with pytest.raises(LinkError, match=f"link, hello: expected 12 bytes, found {size}, status "
                                        f"{link.STATUSES[status][0]}"):
        client.hello()


@pytest.mark.parametrize(("sizes", "found"), [
    ({"bus_bytes": 0}, "beats of 0 bytes"), ({"max_data": 7}, "frames of 7"),
    ({"stream_bytes": 0}, "queues of 0")])
def test_hello_without_room_for_a_beat(sizes, found):
    client, _ = make(lambda question: hello(question, **sizes).encode())
    with pytest.raises(LinkError, match=f"link, hello: expected room for a beat, found .*{found}"):
        client.hello()


def test_serial_port():
    """Real pyserial on a pseudo-terminal; a thread plays the board."""
    board, port = os.openpty()
    tty.setraw(port)
    asked = []

    def play():
        splitter = Splitter()
        while len(asked) < 3:
            for piece in splitter.feed(os.read(board, 100)):
                asked.append(question := Frame.decode(piece))
                if len(asked) != 2:
                    reply = (hello(question) if question.kind == link.HELLO
                             else answer(question, bytes(range(200)))).encode()
                    os.write(board, reply[:9])
                    os.write(board, reply[9:])

    thread = threading.Thread(target=play)
    thread.start()
    line = SerialLine(os.ttyname(port))
    try:
        client = LinkClient(line)
        assert client.hello()["stream_bytes"] == 2048
        assert client.ask(link.RESULTS, bytes(4)).data == bytes(range(200))
        assert client.seen == {"again": 1, "silence": 1}
    finally:
        thread.join(5)
        line.close()
        os.close(board)
        os.close(port)
    assert asked[1] == asked[2]


def test_a_cable_that_is_pulled_is_told():
    board, port = os.openpty()
    tty.setraw(port)
    line = SerialLine(os.ttyname(port))
    os.close(port)
    os.close(board)
    try:
        with pytest.raises(LinkError, match=r"port /dev/.*: expected it to stay open, found: "):
            line.read(1.0)
        with pytest.raises(LinkError, match=r"port /dev/.*: expected it to stay open, found: "):
            line.write(bytes(10))
    finally:
        line.close()


def test_a_port_that_takes_nothing_is_told(monkeypatch):
    monkeypatch.setattr(serial_line, "WRITE_SECONDS", 0.1)
    board, port = os.openpty()
    tty.setraw(port)
    line = SerialLine(os.ttyname(port))
    try:
        with pytest.raises(LinkError, match="expected it to stay open, found: Write timeout"):
            line.write(bytes(1 << 20))
    finally:
        line.close()
        os.close(board)
        os.close(port)


def test_a_port_that_is_not_there_is_refused():
    with pytest.raises(InputError, match="port /dev/nothing: expected a serial port"):
        SerialLine("/dev/nothing")
