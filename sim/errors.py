"""What goes wrong in a simulation, as opposed to in its input."""


class SimulationError(RuntimeError):
    """A simulator could not be built, did not finish, or broke a rule of its ports.

    The command line prints the message as one line and exits with code 1.
    """
