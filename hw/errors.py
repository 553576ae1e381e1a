"""What goes wrong in a tool that was given good input."""


class ToolError(RuntimeError):
    """A synthesiser or a router failed or took too long.

    The command line prints the message as one line and exits with code 1; it names the log.
    """
