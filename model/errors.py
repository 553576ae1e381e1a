"""The one exception that means: the input is wrong, not the program."""

SHOWN = 80
"""Longest value in a message; what is longer is cut."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The command line prints the message as one line and exits with code 2; nothing is written.

    Parameters
    ----------
    message : str
        One line: what is wrong, where, what was expected and what was found.
    """


class DivergedError(InputError):
    """The loss, or a weight, is no number any more: there is nothing to go on from."""


def cut(text: str) -> str:
    """Text for a message: at most ``SHOWN`` characters, what cannot be printed escaped."""
    text = "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode()
                   for letter in text[:SHOWN + 1])
    return text if len(text) <= SHOWN else f"{text[:SHOWN - 1]}…"


def shown(value: object) -> str:
    """A value for a message, as Python writes it, cut like :func:`cut`."""
    try:
        return cut(repr(value))
    except (ValueError, RecursionError):  # an integer of thousands of digits; deep nesting
        return f"a {type(value).__name__} too large to show"
