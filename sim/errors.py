"""What goes wrong in a simulation, as opposed to in its input."""
from sparseloom.model.packed import spec


class SimulationError(RuntimeError):
    """A simulator could not be built, did not finish, or broke a rule of its ports.

    The command line prints the message as one line and exits with code 1.
    """


def reported(cause: int) -> str:
    """What a unit's error register says, for a message."""
    name, meaning = spec.ERROR_CAUSES.get(cause, ("?", "unknown cause"))
    return f"reports {name} ({meaning})"
