"""Frames of the host link: stuffing against its definition, damage of every kind found."""
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparseloom.model.packed import link
from sparseloom.model.packed.link import (
    Frame,
    FrameError,
    Splitter,
    cobs_decode,
    cobs_encode,
)

# Worked by hand from the definition; 254 and 255 bytes without a zero are its corners.
RUN = bytes(range(1, 255))
VECTORS = [
    (b"", b"\x01"),
    (b"\0", b"\x01\x01"),
    (b"\0\0", b"\x01\x01\x01"),
    (b"\x11\0\x22", b"\x02\x11\x02\x22"),
    (b"\x11\x22\x33", b"\x04\x11\x22\x33"),
    (b"\x11\0\0\0", b"\x02\x11\x01\x01\x01"),
    (RUN[:253], b"\xfe" + RUN[:253]),
    (RUN, b"\xff" + RUN),
    (b"\0" + RUN, b"\x01\xff" + RUN),
    (RUN + b"\xff", b"\xff" + RUN + b"\x02\xff"),
    (RUN + b"\0", b"\xff" + RUN + b"\x01\x01"),
]


@pytest.mark.parametrize(("plain", "stuffed"), VECTORS)
def test_stuffing_by_hand(plain, stuffed):
    assert cobs_encode(plain) == stuffed
    assert cobs_decode(stuffed) == plain


@given(st.lists(st.one_of(st.binary(max_size=300), st.integers(250, 260).map(lambda n: b"x" * n)),
                max_size=5).map(b"\0".join))
def test_stuffing_is_undone(plain):
    stuffed = cobs_encode(plain)
    assert 0 not in stuffed
    assert len(stuffed) <= len(plain) + len(plain) // 254 + 1
    assert cobs_decode(stuffed) == plain


@pytest.mark.parametrize("stuffed", [b"", b"\x03\x11", b"\x02\0", b"\xff" + RUN[:100]])
def test_bad_stuffing_is_refused(stuffed):
    with pytest.raises(FrameError, match="expected"):
        cobs_decode(stuffed)


def frames() -> list[Frame]:
    rng = random.Random(3)
    sizes = (0, 1, 4, 243, 244, 245, 500, link.MAX_DATA)
    return [Frame(sequence=rng.randrange(256), kind=rng.randrange(256), flags=rng.randrange(4),
                  status=rng.randrange(7), data=bytes(rng.choice((0, 1, 255)) for _ in range(n)))
            for n in sizes]


@pytest.mark.parametrize("frame", frames(), ids=lambda frame: str(len(frame.data)))
def test_frame_is_undone(frame):
    line = frame.encode()
    assert line[0] == line[-1] == 0
    assert 0 not in line[1:-1]
    assert Frame.decode(line[1:-1]) == frame


def test_every_flipped_bit_lost_or_added_byte_is_found():
    frame = Frame(sequence=7, kind=link.WRITE, data=bytes(range(8)))
    stuffed = frame.encode()[1:-1]
    damaged = [bytes([*stuffed[:i], stuffed[i] ^ 1 << bit, *stuffed[i + 1:]])
               for i in range(len(stuffed)) for bit in range(8)]
    damaged += [stuffed[:i] + stuffed[i + 1:] for i in range(len(stuffed))]
    damaged += [stuffed[:i] + b"\x5a" + stuffed[i:] for i in range(len(stuffed) + 1)]
    damaged += [stuffed[:i] for i in range(len(stuffed))]
    for line in damaged:
        with pytest.raises(FrameError):
            Frame.decode(line)
    assert len(damaged) > 200


def test_length_field_must_agree():
    import zlib
    head = link.pack_record(link.HEADER, sequence=1, kind=1, length=5)
    plain = head + b"abcd"
    plain += zlib.crc32(plain).to_bytes(4, "little")
    with pytest.raises(FrameError, match="length: expected 4"):
        Frame.decode(cobs_encode(plain))


def test_data_that_is_too_long_is_refused():
    with pytest.raises(ValueError, match="at most 1024 bytes, not 1025"):
        Frame(sequence=0, kind=1, data=bytes(1025)).encode()
    line = cobs_encode(bytes(2000))
    with pytest.raises(FrameError, match="found 2000"):
        Frame.decode(line)


@pytest.mark.parametrize("step", [1, 3, 1000])
def test_splitter_takes_any_pieces(step):
    wanted = [frame.encode()[1:-1] for frame in frames()]
    line = b"".join(b"\0" + piece + b"\0" for piece in wanted)
    splitter = Splitter()
    found = [piece for at in range(0, len(line), step) for piece in splitter.feed(
        line[at:at + step])]
    assert found == wanted


def test_splitter_drops_what_is_too_long():
    longest = Splitter.LONGEST
    splitter = Splitter()
    assert len(Frame(sequence=1, kind=1, data=b"\1" * link.MAX_DATA).encode()) - 2 <= longest
    assert list(splitter.feed(b"x" * longest + b"\0")) == [b"x" * longest]
    assert list(splitter.feed(b"x" * (longest + 1) + b"\0" + b"y\0")) == [b"y"]


def test_tables_are_whole():
    assert set(link.QUESTION_BYTES) | {link.WEIGHTS, link.ACTS} == set(link.KINDS)
    assert len({name for name, *_ in link.KINDS.values()}) == len(link.KINDS)
    assert sorted(link.STATUSES) == list(range(len(link.STATUSES)))
