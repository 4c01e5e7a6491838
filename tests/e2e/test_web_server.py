"""The bounded HTTP server by itself: it sleeps, it ends, and slow clients gain no time."""

import http.client
import socket
import threading
import time
from pathlib import Path

import pytest

from daemon.demo.cluster import free_port
from daemon.web import http_server


async def answer(scope, receive, send):
    while (await receive()).get("more_body"):
        pass
    if scope["path"] == "/never":
        await receive()  # the end of the connection
        return
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]}
    )
    await send({"type": "http.response.body", "body": b"well"})


@pytest.fixture
def port():
    number = free_port()
    with http_server.serve(f"127.0.0.1:{number}", answer):
        yield number


def ask(port, path="/", timeout=10):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return connection.getresponse().read()
    finally:
        connection.close()


def closed_after(raw, seconds):
    """Return the seconds until the other end closes a connection."""
    raw.settimeout(seconds)
    began = time.monotonic()
    try:
        while raw.recv(1024):
            pass
    except ConnectionResetError:
        pass
    return time.monotonic() - began


def switches(thread):
    status = Path(f"/proc/self/task/{thread.native_id}/status").read_text()
    return int(status.partition("voluntary_ctxt_switches:")[2].split()[0])


def test_idle_server_does_not_wake(port):
    assert ask(port) == b"well"
    (thread,) = [one for one in threading.enumerate() if one.name == "web"]
    time.sleep(1)
    before = switches(thread)
    time.sleep(4)
    assert switches(thread) - before <= 2, "uvicorn as shipped wakes forty times in four seconds"


def test_client_that_sends_byte_by_byte_gains_no_time(port, monkeypatch):
    monkeypatch.setattr(http_server, "REQUEST_SECONDS", 1.0)
    with socket.create_connection(("127.0.0.1", port)) as raw:
        began = time.monotonic()
        try:
            for byte in b"GET / HTTP/1.1\r\nHost: localhost\r\nX-Long: " + b"x" * 400:
                raw.sendall(bytes([byte]))
                time.sleep(0.05)
        except OSError:
            pass
        assert time.monotonic() - began < 10


def test_request_without_an_answer_is_closed(port, monkeypatch):
    monkeypatch.setattr(http_server, "ANSWER_SECONDS", 0.5)
    with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
        ask(port, "/never")


def test_oldest_waiting_connection_gives_way(port, monkeypatch):
    monkeypatch.setattr(http_server, "MOST_CONNECTIONS", 3)
    waiting = [socket.create_connection(("127.0.0.1", port)) for _ in range(3)]
    time.sleep(0.2)
    assert ask(port) == b"well"
    assert closed_after(waiting[0], 5) < 5
    waiting[2].settimeout(0.3)
    with pytest.raises(TimeoutError):
        waiting[2].recv(1)
    for one in waiting:
        one.close()


def test_server_ends_at_once_although_clients_wait():
    number = free_port()
    began = 0.0
    with http_server.serve(f"127.0.0.1:{number}", answer):
        idle = socket.create_connection(("127.0.0.1", number))
        began = time.monotonic()
    assert time.monotonic() - began < 10
    idle.close()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", number)) != 0


def test_address_in_use_is_an_error(port):
    with pytest.raises(OSError, match="in use"), http_server.serve(f"127.0.0.1:{port}", answer):
        pass
