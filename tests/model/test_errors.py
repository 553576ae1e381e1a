"""Values in messages are short and fit a line."""
import pytest

from sparseloom.model.errors import SHOWN, cut, shown


def nested(depth):
    value = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(("value", "expected"), [
    (3, "3"), ("a'b", '"a\'b"'), ([1, "é"], "[1, 'é']"), (None, "None"),
    ("x" * (SHOWN - 2), "'" + "x" * (SHOWN - 2) + "'"),
    ("x" * (SHOWN - 1), "'" + "x" * (SHOWN - 2) + "…"),
    (10**400, "1" + "0" * (SHOWN - 2) + "…"),
    (10**5000, "a int too large to show"),
    (nested(100_000), "a list too large to show"),
], ids=["integer", "string", "list", "none", "fits", "one more", "digits", "thousands of digits",
        "deep"])
def test_shown(value, expected):
    assert shown(value) == expected


def test_cut():
    assert cut("plain 'é' text") == "plain 'é' text"
    assert cut("a\nb\x1b\ud83d") == "a\\nb\\x1b\\ud83d"
    assert cut("x" * 81) == "x" * 79 + "…"
    assert len(cut("\n" * 80)) == SHOWN
