"""The HTTP server: uvicorn in one thread, without its ten wakeups a second, with bounds.

A connection without a complete request in 10 s or without an answer in 60 s is closed; of more than
a hundred connections the oldest that has sent no complete request gives way.
"""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import anyio.to_thread
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from daemon.config.values import split_address

REQUEST_SECONDS, ANSWER_SECONDS, IDLE_SECONDS = 10.0, 60.0, 15.0
MOST_CONNECTIONS = 100
STOP_SECONDS = 5
SETTLE_SECONDS = 0.05
THREADS = 8
HEAD_BYTES = 16_384


class _Protocol(H11Protocol):
    """The protocol of one connection, with a limit on the time of each of its states."""

    _limit: asyncio.TimerHandle | None = None
    _state = ""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Make room if too many are open; the first request has to come in time."""
        if len(self.connections) >= MOST_CONNECTIONS:
            waiting = [one for one in self.connections if getattr(one, "_state", "") != "answer"]
            oldest = min(waiting, key=lambda one: getattr(one, "_since", 0.0), default=None)
            if oldest is None:
                transport.abort()
            else:
                oldest.transport.abort()
        self._since = self.loop.time()
        super().connection_made(transport)
        self._enter("request", REQUEST_SECONDS)

    def data_received(self, data: bytes) -> None:
        """Read; a client that sends byte by byte gains no time."""
        if self._state == "idle":
            self._enter("request", REQUEST_SECONDS)
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """Wait for the next request, but not for long."""
        self._enter("idle", IDLE_SECONDS)
        super().on_response_complete()
        self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._enter("closed", None)
        super().connection_lost(exc)

    def _follow(self) -> None:
        cycle: Any = self.cycle  # None before the first request
        if cycle is not None and not cycle.response_complete and not cycle.more_body:
            self._enter("answer", ANSWER_SECONDS)

    def _enter(self, state: str, seconds: float | None) -> None:
        if state == self._state:
            return
        self._state = state
        if self._limit is not None:
            self._limit.cancel()
        self._limit = self.loop.call_later(seconds, self._abort) if seconds is not None else None

    def _abort(self) -> None:
        self.transport.abort()


class _Server(uvicorn.Server):
    """A server that sleeps until it is stopped."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self.ready = threading.Event()

    async def main_loop(self) -> None:
        """Wait for `end`; uvicorn's own loop wakes ten times a second."""
        anyio.to_thread.current_default_thread_limiter().total_tokens = THREADS
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self.ready.set()
        await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, let what was accepted be known, and end all connections."""
        loop = asyncio.get_running_loop()
        for server in self.servers:
            for one in server.sockets:
                loop.remove_reader(one.fileno())
        await asyncio.sleep(SETTLE_SECONDS)  # asyncio loses one that is accepted while it closes
        await super().shutdown(sockets)

    def end(self) -> None:
        """Stop from another thread; a request in progress has some seconds to end."""
        self.ready.wait(STOP_SECONDS)
        self.should_exit = True
        if self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)


@contextmanager
def serve(listen: str, application: Any) -> Iterator[None]:  # noqa: ANN401 - any ASGI application
    """Serve an application for the body. Raises OSError if the address is unavailable."""
    place = split_address(listen)
    family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
    bound = socket.create_server(place, family=family, backlog=MOST_CONNECTIONS)
    config = uvicorn.Config(
        application,
        http=_Protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        date_header=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=STOP_SECONDS,
        h11_max_incomplete_event_size=HEAD_BYTES,
    )
    server = _Server(config)
    run = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[bound])), name="web", daemon=True
    )
    run.start()
    try:
        yield
    finally:
        server.end()
        run.join(STOP_SECONDS * 2)
        bound.close()
