"""Servers that answer without end or a byte at a time: bounded in size and in total time."""

import contextlib
import itertools
import resource
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request

import pytest

from alerts.channels import bounds, email, http
from alerts.channels.channel import DeliveryError
from tests.e2e.test_email_channel import create_certificate
from tests.fixtures.notifications import email_channel

MOST_MEMORY_KILOBYTES = 100_000
"""How much the peak memory of the process may grow."""


@pytest.fixture
def server():
    """Return a function that runs `serve(connection)` for each connection; it returns the port."""
    listeners = []

    def start(serve):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)

        def accept():
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    threading.Thread(target=run, args=(connection,), daemon=True).start()

        def run(connection):
            with connection, contextlib.suppress(OSError):
                serve(connection)

        threading.Thread(target=accept, daemon=True).start()
        return listener.getsockname()[1]

    yield start
    for listener in listeners:
        listener.close()


def endless(first, line):
    def serve(connection):
        connection.sendall(first)
        if first:
            connection.recv(4096)
        while True:
            connection.sendall(line)

    return serve


def drip(octets):
    def serve(connection):
        for octet in itertools.cycle(octets):
            connection.sendall(bytes([octet]))
            time.sleep(0.05)

    return serve


@contextlib.contextmanager
def limited(seconds):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < MOST_MEMORY_KILOBYTES


@pytest.mark.parametrize("first", [b"", b"220 ready\r\n"], ids=["greeting", "reply"])
def test_endless_smtp_reply_is_refused(server, notify, first):
    port = server(endless(first, b"220-" + b"x" * 400 + b"\r\n"))
    with limited(30), pytest.raises(DeliveryError, match="longer than 65536 bytes"):
        email_channel(port, tls="none").deliver(notify())


@pytest.mark.parametrize("tls", ["none", "tls"])
def test_slow_smtp_server_is_given_up_after_the_total_time(server, notify, monkeypatch, tls):
    monkeypatch.setattr(email, "TOTAL_SECONDS", 0.5)
    octets = b"\x16\x03\x03\x3f\xff" + b"\x02" * 9 if tls == "tls" else b"220-slow\r\n"
    port = server(drip(octets))
    with limited(15), pytest.raises(DeliveryError):
        email_channel(port, tls=tls).deliver(notify())


def test_slow_tls_handshake_is_given_up_after_the_total_time(server, monkeypatch):
    monkeypatch.setattr(http, "TOTAL_SECONDS", 0.5)
    port = server(drip(b"\x16\x03\x03\x3f\xff" + b"\x02" * 9))
    with limited(15), pytest.raises(DeliveryError):
        http.send(http.Request(f"https://localhost:{port}/", b"{}"))


def test_endless_http_answer_is_read_only_to_its_limit(server):
    port = server(endless(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\n\r\n", b"x" * 8192))
    with limited(15):
        answer = http.send(http.Request(f"http://127.0.0.1:{port}/", b"{}"))
    assert len(answer.content) == http.LONGEST_ANSWER


def test_answer_that_a_library_reads_whole_ends_at_its_limit(server, tmp_path):
    path, server_tls = create_certificate(tmp_path)

    def serve(connection):
        with server_tls.wrap_socket(connection, server_side=True) as wrapped:
            endless(b"HTTP/1.1 200 OK\r\n\r\n", b"x" * 8192)(wrapped)

    context = bounds.bounded_tls(1_000_000, 30)
    context.load_verify_locations(path)
    port = server(serve)
    with limited(30), pytest.raises(OSError, match="longer than 1000000 bytes"):
        urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=10).read()


def test_slow_handshake_ends_at_the_timeout_of_the_connection(server):
    """Python's ssl bounds the whole handshake by the timeout of the socket."""
    port = server(drip(b"\x16\x03\x03\x3f\xff" + b"\x02" * 9))
    context = bounds.bounded_tls(1000, 30)
    with limited(15), pytest.raises(OSError):
        urllib.request.urlopen(f"https://localhost:{port}/", context=context, timeout=0.5)


def test_bounded_tls_verifies_certificates(server, tmp_path):
    _, server_tls = create_certificate(tmp_path)
    port = server(lambda connection: server_tls.wrap_socket(connection, server_side=True))
    with pytest.raises(urllib.error.URLError) as caught:
        urllib.request.urlopen(
            f"https://localhost:{port}/", context=bounds.bounded_tls(1000, 5), timeout=5
        )
    assert isinstance(caught.value.reason, ssl.SSLCertVerificationError)
