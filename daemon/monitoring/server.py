"""The small server of /metrics and /healthz, for a sereno without [web]."""

import io
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from socketserver import TCPServer, ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

import structlog

from alerts.channels.bounds import deadline
from daemon.config.values import split_address
from daemon.context import Context
from daemon.monitoring.metrics import registry_of, render
from store.store import StoreError

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

REQUEST_SECONDS, TOTAL_SECONDS = 10, 30
MOST_CONNECTIONS = 32

_log = structlog.get_logger("metrics")


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def __init__(self, place: tuple[str, int]) -> None:
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self.address_family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        super().__init__(place, _Handler)

    def server_bind(self) -> None:
        """Bind without http.server's DNS lookup of the host name."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = (
            str(self.server_address[0]),
            int(self.server_address[1]),
        )
        self.setup_environ()

    def process_request(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        """Answer in a thread; close the connection if too many are open."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - socketserver's
        """Answer within the total time."""
        try:
            with deadline(request, TOTAL_SECONDS):
                super().process_request_thread(request, client_address)
        except OSError:  # no descriptor is free
            self.shutdown_request(request)
        finally:
            self._free.release()

    def handle_error(self, _request: object, _client_address: object) -> None:
        """Log an error in one line; a client that is gone or too slow is none."""
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            _log.warning("metrics.request_failed", reason=f"{type(error).__name__}: {error}")


class _Errors(io.StringIO):
    """The error stream of wsgiref: a traceback becomes one line of the log."""

    def write(self, text: str) -> int:
        """Log the last line of a traceback; it arrives as a whole or in lines."""
        last = text.strip().rpartition("\n")[2]
        if last and not text.startswith((" ", "Traceback")):
            _log.warning("metrics.request_failed", reason=last)
        return len(text)


class _Handler(WSGIRequestHandler):
    timeout = REQUEST_SECONDS

    def get_stderr(self) -> io.StringIO:
        """Return the stream for errors of the application."""
        return _Errors()

    def log_message(self, *_: object) -> None:
        """Log nothing; scrapes are frequent."""


@contextmanager
def serve_metrics(
    listen: str, read: Callable[[], Context], problem: Callable[[], str]
) -> Iterator[None]:
    """Serve `/metrics` and `/healthz` for the body.

    `read` returns the context in force, `problem` a problem, or nothing.

    Raises OSError if the address is unavailable.
    """
    registry = registry_of(read)
    server = _Server(split_address(listen))
    server.set_app(_application(lambda accept: render(registry, accept), problem))
    ended = threading.Event()
    serving = threading.Thread(target=_serve, args=(server, ended), name="metrics", daemon=True)
    serving.start()
    try:
        yield
    finally:
        ended.set()
        server.socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for a connection
        serving.join()
        server.server_close()


def _serve(server: _Server, ended: threading.Event) -> None:
    """Answer requests; `serve_forever` would wake twice a second."""
    while not ended.is_set():
        server.handle_request()


def _application(
    metrics: Callable[[str], tuple[bytes, str]], problem: Callable[[], str]
) -> "WSGIApplication":
    def answer(environment: "WSGIEnvironment", start: "StartResponse") -> Iterable[bytes]:
        path = environment["PATH_INFO"]
        try:
            if path == "/metrics":
                body, kind = metrics(environment.get("HTTP_ACCEPT", ""))
                start("200 OK", [("Content-Type", kind), ("Content-Length", str(len(body)))])
                return [body]
            if path == "/healthz":
                wrong = problem()
                return _text(
                    start, "503 Service Unavailable" if wrong else "200 OK", wrong or "well"
                )
        except StoreError as error:
            return _text(start, "503 Service Unavailable", str(error))
        return _text(start, "404 Not Found", "available: /metrics and /healthz")

    return answer


def _text(start: "StartResponse", status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    start(
        status, [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    )
    return [body]
