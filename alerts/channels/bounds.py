"""Limits of size and total time for answers from outside."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

LONGEST_REPLY = 64 * 1024
"""Bytes of one SMTP reply."""


class TooLongError(OSError):
    """The answer is longer than allowed, or takes longer in total."""


@contextmanager
def deadline(connected: socket.socket, seconds: float) -> Iterator[None]:
    """Close the connection after `seconds` in total: read timeouts do not bound a slow answer.

    A copy of the descriptor is closed, which works while TLS takes the socket over.
    """
    copy = connected.dup()

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            copy.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        copy.close()


class BoundedLines:
    """The lines of a server, as a file, with a limit of bytes until `renew`."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file, self._left = file, LONGEST_REPLY

    def renew(self) -> None:
        """Allow the next reply its own bytes."""
        self._left = LONGEST_REPLY

    def readline(self, most: int) -> bytes:
        """Return a line. Raises TooLongError."""
        line = self._file.readline(most)
        self._left -= len(line)
        if self._left < 0:
            raise TooLongError(f"the reply is longer than {LONGEST_REPLY} bytes")
        return line

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def bounded_tls(most_bytes: int, most_seconds: float) -> ssl.SSLContext:
    """Return a verifying TLS context whose connections end after so many bytes or seconds.

    For libraries that read an answer as a whole.
    """

    class Bounded(ssl.SSLSocket):
        left, closes = most_bytes, 0.0

        def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:  # noqa: ANN401 - any buffer
            now = time.monotonic()
            self.closes = self.closes or now + most_seconds
            count = super().recv_into(buffer, nbytes, flags)
            self.left -= count
            if self.left < 0 or now > self.closes:
                raise TooLongError(
                    f"the answer is longer than {most_bytes} bytes or {most_seconds:.0f} s"
                )
            return count

    context = ssl.create_default_context()
    context.sslsocket_class = Bounded
    return context
