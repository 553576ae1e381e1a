"""The one exception that means: the input is wrong, not the program."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The command line prints the message as one line and exits with code 2; nothing is written.

    Parameters
    ----------
    message : str
        One line: what is wrong, where, what was expected and what was found.
    """
