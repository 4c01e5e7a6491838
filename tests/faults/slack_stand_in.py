"""A local server with the part of the Slack API that sereno uses: methods, limits and failures.

It enforces the documented limits (blocks, sections, fields, buttons), the undocumented limit of
13,200 characters in all blocks, and one message per second and channel with Retry-After; errors
come with HTTP 200.
"""

import base64
import contextlib
import hashlib
import json
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs

CHANNEL = "C0SERENO"


class SlackStandIn:
    """One workspace with one channel.

    `drop`: number of next posts without response; `fail`: responses of the next posts.
    """

    def __init__(self, interval_seconds=1.0, *, history=True):
        self.interval_seconds, self.history = interval_seconds, history
        self.messages, self.refused, self.calls, self.broken = [], 0, [], []
        self.drop, self.fail = 0, []
        self.sockets = []
        self._next = 0.0
        self._lock = threading.Lock()
        slack = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                self._serve()

            def do_GET(self):
                self._serve()

            def _serve(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                path, _, query = self.path.partition("?")
                answer = slack.answer(path.rpartition("/")[2], _values(self.headers, body, query))
                if answer is None:
                    self.close_connection = True
                    return
                status, headers, payload = answer
                content = json.dumps(payload).encode()
                self.send_response(status)
                for name, value in {"Content-Type": "application/json; charset=utf-8", "Content-Length": str(len(content)), **headers}.items():  # fmt: skip
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self._server.server_port}/api/"

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def posts(self):
        return [one for one in self.messages if one["id"]]

    def answer(self, method, values):
        with self._lock:
            self.calls.append(method)
            methods = {
                "chat.postMessage": self._post,
                "chat.update": self._update,
                "conversations.history": self._history,
                "conversations.replies": self._history,
                "apps.connections.open": self._socket,
            }
            if method not in methods:
                return 200, {}, {"ok": False, "error": "unknown_method"}
            return methods[method](values)

    def _post(self, values):
        if self.fail:
            return self.fail.pop(0)
        moment = time.monotonic()
        if moment < self._next:
            self.refused += 1
            wait = str(max(1, round(self._next - moment + 0.5)))
            return 429, {"Retry-After": wait}, {"ok": False, "error": "ratelimited"}
        error = self._error(values)
        if error:
            self.broken.append(error)
            return 200, {}, {"ok": False, "error": error}
        self._next = moment + self.interval_seconds
        timestamp = f"1700000000.{len(self.messages) + 1:06}"
        metadata = values.get("metadata", {})
        self.messages.append({
            "ts": timestamp, "id": metadata.get("event_payload", {}).get("id", ""), "metadata": metadata, "thread_ts": values.get("thread_ts"),
            "text": values.get("text", ""), "blocks": values.get("blocks", []), "broadcast": values.get("reply_broadcast") in {True, "1", "true"}, "at": time.monotonic(), "edits": 0,
        })  # fmt: skip
        if self.drop:
            self.drop -= 1
            return None
        return 200, {}, {"ok": True, "channel": CHANNEL, "ts": timestamp}

    def _update(self, values):
        error = self._error({**values, "channel": values.get("channel", "")})
        if values.get("channel") != CHANNEL:
            error = "channel_not_found"
        found = next((one for one in self.messages if one["ts"] == values.get("ts")), None)
        if error or found is None:
            self.broken += [error] if error else []
            return 200, {}, {"ok": False, "error": error or "message_not_found"}
        found |= {
            "text": values.get("text", ""),
            "blocks": values.get("blocks", []),
            "edits": found["edits"] + 1,
        }
        return 200, {}, {"ok": True, "channel": CHANNEL, "ts": found["ts"]}

    def _history(self, values):
        if not self.history:
            return 200, {}, {"ok": False, "error": "missing_scope"}
        if values.get("channel") != CHANNEL:
            return 200, {}, {"ok": False, "error": "channel_not_found"}
        thread = values.get("ts")
        shown = [one for one in self.messages if (thread in {one["thread_ts"], one["ts"]} if thread else not one["thread_ts"])]  # fmt: skip
        return (
            200,
            {},
            {
                "ok": True,
                "messages": [{"ts": one["ts"], "metadata": one["metadata"]} for one in shown],
            },
        )

    def _socket(self, _values):
        return 200, {}, {"ok": True, "url": self.sockets[0]} if self.sockets else {"ok": False, "error": "not_allowed_token_type"}  # fmt: skip

    @staticmethod
    def _error(values):
        blocks = values.get("blocks", [])
        if not values.get("text"):
            return "no_text"
        if len(blocks) > 50 or len(json.dumps(blocks, ensure_ascii=False)) > 40_000:
            return "invalid_blocks"
        total = 0
        for block in blocks:
            texts = [block["text"]["text"]] if "text" in block else []
            fields = [one["text"] for one in block.get("fields", ())]
            elements = block.get("elements", ())
            if any(len(text) > 3000 or not text for text in texts) or any(
                len(text) > 2000 for text in fields
            ):
                return "invalid_blocks"
            if len(fields) > 10 or any(len(one.get("value", "")) > 2000 for one in elements):
                return "invalid_blocks"
            total += sum(map(len, (*texts, *fields)))
            total += sum(
                len(one["text"] if isinstance(one["text"], str) else one["text"]["text"])
                for one in elements
            )
        return "msg_blocks_too_long" if total > 13_200 else ""


def _values(headers, body, query):
    if headers.get("Content-Type", "").startswith("application/json"):
        return json.loads(body or b"{}")
    read = {name: value[0] for name, value in parse_qs(f"{body.decode()}&{query}").items()}
    return {
        name: json.loads(value) if value[:1] in {"[", "{"} else value
        for name, value in read.items()
    }


class ButtonLine:
    """The server side of Socket Mode: a WebSocket server (RFC 6455) that sends button presses."""

    def __init__(self):
        self.answers, self.connected = [], threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"ws://127.0.0.1:{self._listener.getsockname()[1]}/link"
        self._client = None
        threading.Thread(target=self._serve, daemon=True).start()

    def press(self, value, *, name="ana", action="acknowledge"):
        payload = {"type": "block_actions", "user": {"id": "U1", "username": name}, "actions": [{"action_id": action, "value": value}]}  # fmt: skip
        self._send(
            json.dumps({"type": "interactive", "envelope_id": f"e-{value}", "payload": payload})
        )

    def hang_up(self):
        self.connected.clear()
        self._client.close()

    def close(self):
        self._listener.close()
        if self._client is not None:
            self._client.close()

    def _serve(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._talk, args=(client,), daemon=True).start()

    def _talk(self, client):
        with contextlib.suppress(OSError):
            head = client.recv(4096).decode()
            key = next(line.partition(":")[2].strip() for line in head.split("\r\n") if line.lower().startswith("sec-websocket-key"))  # fmt: skip
            accept = base64.b64encode(
                hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode()).digest()  # noqa: S324
            )
            client.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: " + accept + b"\r\n\r\n")  # fmt: skip
            self._client = client
            self._send(json.dumps({"type": "hello"}))
            self.connected.set()
            while True:
                kind, content = self._receive(client)
                if kind == 9:
                    client.sendall(bytes([0x8A, len(content)]) + content)
                elif kind == 1:
                    self.answers.append(json.loads(content))

    @staticmethod
    def _receive(client):
        first, second = _exactly(client, 2)
        length = second & 0x7F
        if length == 126:
            length = int.from_bytes(_exactly(client, 2))
        mask = _exactly(client, 4)
        return first & 0x0F, bytes(
            octet ^ mask[index % 4] for index, octet in enumerate(_exactly(client, length))
        )

    def _send(self, text):
        content = text.encode()
        length = (
            bytes([len(content)]) if len(content) < 126 else bytes([126]) + len(content).to_bytes(2)
        )
        self._client.sendall(b"\x81" + length + content)


def _exactly(client, count):
    received = b""
    while len(received) < count:
        chunk = client.recv(count - len(received))
        if not chunk:
            raise ConnectionResetError
        received += chunk
    return received
