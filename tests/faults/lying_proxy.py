"""A TCP proxy before a server that refuses, hangs, answers without end, drips or cuts the answer."""

import contextlib
import selectors
import socket
import threading
import time

MODES = ("refuse", "hang", "endless", "drip", "cut")
PIECE = 65536


class LyingProxy:
    """Forwards connections to a port, or does as `mode` says; `pass` forwards honestly.

    `cut` delivers the request and withholds the answer that follows `end_of_request`, so that the
    client cannot know whether the message was accepted; `cuts` counts these.
    """

    def __init__(self, port, end_of_request=b""):
        self._target, self._end = port, end_of_request
        self.mode, self.cuts = "pass", 0
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=100)
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            connection, _ = self._listener.accept()
            threading.Thread(target=self._serve, args=(connection, self.mode), daemon=True).start()

    def _serve(self, connection, mode):
        with connection, contextlib.suppress(OSError):
            if mode == "refuse":
                return
            if mode == "hang":
                self._wait_for_end(connection)
            elif mode == "endless":
                while True:
                    connection.sendall(b"220-" + b"x" * 400 + b"\r\n")
            elif mode == "drip":
                while True:
                    connection.sendall(b"2")
                    time.sleep(0.2)
            else:
                self._forward(connection, cut=mode == "cut")

    @staticmethod
    def _wait_for_end(connection):
        while connection.recv(PIECE):
            pass

    def _forward(self, client, *, cut):
        with (
            socket.create_connection(("127.0.0.1", self._target)) as server,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            asked = b""
            while True:
                for key, _ in selector.select():
                    piece = key.fileobj.recv(PIECE)
                    if not piece:
                        return
                    if key.fileobj is client:
                        asked = (asked + piece)[-PIECE:]
                    elif cut and self._end in asked:
                        self.cuts += 1
                        return
                    key.data.sendall(piece)
