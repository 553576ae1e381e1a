"""For every test: fewer searches for garbage."""
import gc


def pytest_configure() -> None:
    """Python looks for it anew with every few hundred objects, however many are alive.

    A design is a million, none of them garbage: its Verilog takes a quarter less time so.
    """
    gc.set_threshold(50_000, 20, 20)
