"""The receiving side of each channel: a process that stores what it receives, byte for byte.

`python -m daemon.demo.sinks KIND FOLDER` prints its port and serves until its standard input
closes, so it never outlives the demo.
"""

import itertools
import json
import sys
import threading
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from daemon.demo.cluster import free_port


def main() -> None:
    """Serve one kind: smtp, slack or ticket."""
    kind, folder = sys.argv[1], Path(sys.argv[2])
    folder.mkdir(parents=True, exist_ok=True)
    port = _smtp(folder) if kind == "smtp" else _http(kind, folder)
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    sys.stdin.read()


def _http(kind: str, folder: Path) -> int:
    numbers = itertools.count(1)
    lock = threading.Lock()

    class Sink(BaseHTTPRequestHandler):
        """Stores a request, then answers as the real service would."""

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
            with lock:
                number = next(numbers)
            (folder / f"{number:04}.http").write_bytes(_raw(self.requestline, self.headers, body))
            answer = json.dumps(_answer(kind, number)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json; charset=utf-8")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Log nothing; the stored files are the record."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def _raw(request: str, headers: Message, body: bytes) -> bytes:
    return (
        f"{request}\r\n{headers.as_string()}".replace("\n", "\r\n").replace("\r\r", "\r").encode()
        + body
    )


def _answer(kind: str, number: int) -> dict[str, object]:
    if kind == "slack":
        return {"ok": True, "channel": "C0SERENO", "ts": f"1700000000.{number:06}"}
    return {"key": f"INC-{number}"}


def _smtp(folder: Path) -> int:
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import Envelope

    numbers = itertools.count(1)

    class Sink:
        """Stores each mail."""

        async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: ANN401, N802 - aiosmtpd's own shape
            (folder / f"{next(numbers):04}.eml").write_bytes(envelope.original_content or b"")
            return "250 2.0.0 taken"

    port = free_port()
    Controller(Sink(), hostname="127.0.0.1", port=port).start()
    return port


if __name__ == "__main__":
    main()
