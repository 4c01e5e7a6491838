"""Closes a connection and waits for its end in the server."""

import os
import socket
import time
from contextlib import suppress

import psycopg

CLOSE_SECONDS = 1.0


def close_and_wait(connection: "psycopg.Connection[object]") -> None:
    """Close a connection and wait up to a second until the server's process has ended.

    libpq does not wait: on a busy server the process would still count among the sessions while
    the next one is opened. The socket tells: the server closes it when the process exits (manual,
    Frontend/Backend Protocol, Termination).
    """
    try:
        left = socket.socket(fileno=os.dup(connection.pgconn.socket))
    except (psycopg.Error, OSError):  # lost, or no descriptor is free
        connection.close()
        return
    with left:
        connection.close()
        deadline = time.monotonic() + CLOSE_SECONDS
        with suppress(OSError):
            while (seconds := deadline - time.monotonic()) > 0:
                left.settimeout(seconds)
                if not left.recv(4096):
                    break
