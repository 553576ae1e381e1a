"""What goes wrong in a tool or a board that was given good input.

The command line prints each of these as one line and exits with code 1.
"""


class ToolError(RuntimeError):
    """A synthesiser or a router failed or took too long; the message names the log."""


class LinkError(RuntimeError):
    """The board does not answer, or answers what the link does not allow."""


class UnitError(RuntimeError):
    """The unit stopped with an error, or a job does not go on.

    Parameters
    ----------
    message : str
    cause : int
        Of ``spec.ERROR_CAUSES``; 0 where the unit latched none.
    """

    def __init__(self, message: str, cause: int = 0):
        super().__init__(message)
        self.cause = cause
