"""A serial port as the link's transport, by pyserial."""
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sparseloom.hw.errors import LinkError
from sparseloom.model.errors import InputError

WRITE_SECONDS = 2.0
"""Longest wait for the system to take bytes; the longest frame needs 0.1 s at 115200 baud."""


class SerialLine:
    """An open serial port.

    Parameters
    ----------
    port : str
        As pyserial takes it: a device, or a URL such as ``socket://host:port``.
    baud : int
        As the bitstream was built.

    Raises
    ------
    InputError
        If pyserial is missing or the port cannot be opened.
    """

    def __init__(self, port: str, *, baud: int = 1_000_000):
        try:
            import serial
        except ImportError:
            raise InputError("pyserial: expected the Python package, found none "
                             "(pip install 'sparseloom[board]')") from None
        self.baud = baud
        try:
            self._port = serial.serial_for_url(port, baudrate=baud, timeout=0,
                                               write_timeout=WRITE_SECONDS)
            self._port.reset_input_buffer()
        except (serial.SerialException, ValueError) as error:
            raise InputError(f"port {port}: expected a serial port, found: {error}") from None

    def write(self, octets: bytes) -> None:
        """Send bytes; waits until the system has taken them.

        Raises
        ------
        LinkError
            If the port is gone, or the system does not take them in ``WRITE_SECONDS``.
        """
        with self._told():
            self._port.write(octets)

    def read(self, seconds: float) -> bytes:
        """What arrived; waits ``seconds`` at most for the first byte.

        Raises
        ------
        LinkError
            If the port is gone.
        """
        with self._told():
            self._port.timeout = max(0.0, seconds)
            first = self._port.read(1)
            if not first:
                return b""
            self._port.timeout = 0
            return first + self._port.read(max(1, self._port.in_waiting))

    def now(self) -> float:
        """Seconds of a clock that never goes back."""
        return time.monotonic()

    def close(self) -> None:
        """Give the port back."""
        self._port.close()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """A cable that was pulled is no stack trace; pyserial's errors are OSErrors."""
        try:
            yield
        except OSError as error:
            raise LinkError(f"port {self._port.name}: expected it to stay open, "
                            f"found: {error}") from error
