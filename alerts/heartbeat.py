"""Pings to an external dead-man's switch, from a thread of its own; lost pings are only logged."""

import queue
import threading
from collections.abc import Callable, Sequence

import structlog

from alerts.channels.channel import DeliveryError
from alerts.channels.http import Request, is_private, send
from domain.redaction import redact
from domain.secret import Secret, SecretError

TRIES = 3
WAIT_SECONDS = 5.0
LONGEST = 2000

_log = structlog.get_logger("heartbeat")


class Heartbeat:
    """Sends pings in order, in the form of Healthchecks: the URL, with `/start` or `/fail`."""

    def __init__(self, audit: Callable[[], Sequence[str]]) -> None:
        self._audit = audit
        self._stop = threading.Event()
        self._queue: queue.SimpleQueue[tuple[Secret, str, str]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="heartbeat", daemon=True).start()

    def ping(self, url: Secret | None, path: str = "", text: str = "") -> None:
        """Send a ping in the background."""
        if url is not None:
            self._queue.put((url, path, text))

    def end(self, url: Secret | None, wrong: Sequence[str]) -> None:
        """Ping success, or `/fail` if `wrong` or the self-check has problems."""
        if url is not None:
            problems = [*wrong, *self._audit()]
            self.ping(url, "/fail" if problems else "", "\n".join(problems))

    def stop(self) -> None:
        """Send nothing more."""
        self._stop.set()

    def _work(self) -> None:
        while not self._stop.is_set():
            try:
                url, path, text = self._queue.get(timeout=60)
            except queue.Empty:
                continue
            for _ in range(TRIES):
                if self._sent(url, path, text) or self._stop.wait(WAIT_SECONDS):
                    break

    def _sent(self, url: Secret, path: str, text: str) -> bool:
        try:
            address, sign, query = url.reveal().partition("?")
            if not is_private(address):
                _log.error("heartbeat.refused", reason="the URL is not https")
                return True
            whole = address.rstrip("/") + path + sign + query
            send(
                Request(
                    whole,
                    redact(text)[:LONGEST].encode(),
                    {"Content-Type": "text/plain; charset=utf-8"},
                )
            )
        except (SecretError, DeliveryError) as error:
            _log.warning("heartbeat.failed", path=path, reason=str(error))
            return False
        except Exception as error:  # noqa: BLE001 - around a delivery; the URL, a secret, may stand in the sentence
            _log.warning("heartbeat.failed", path=path, reason=type(error).__name__)
            return False
        return True
