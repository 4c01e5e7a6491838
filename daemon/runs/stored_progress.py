"""The progress of a requested run in the store, where the page, the metrics and alerts read it."""

import json
import threading
import time
from collections.abc import Callable
from datetime import datetime
from typing import Any

from daemon.history import migrating
from domain.progress import LockTry, StepProgress
from execution.progress import Progress
from store.store import Store, StoreError
from store.timestamps import to_text

WRITE_SECONDS = 1.0
RATE_SECONDS = 10.0
"""The rate is an average over about this time of work."""
STOP_SECONDS = 20.0


class StoredProgress:
    """Passes progress on, and lets a thread of its own write it, at most once a second.

    The steps report while they hold locks in the database: they must not wait for the state file.
    One that cannot be written ends no run.
    """

    def __init__(
        self, store: Store, clock: Callable[[], datetime], run: int, inner: Progress
    ) -> None:
        self._store, self._clock, self._inner = store, clock, inner
        self._values: dict[str, Any] = {
            "run": run, "step": "", "number": 0, "steps": 0, "done": 0, "total": 0, "rate": 0.0,
            "batch": 0, "reason": "", "rung_ms": 0, "blockers": "[]", "attempts": 0,
            "throttled_seconds": 0.0, "moved_at": to_text(clock()),
        }  # fmt: skip
        self._filled = 0
        """The step whose rows are counted."""
        self._counted_at = self._held_at = self._held = 0.0
        self._changed, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._write_all, name=f"progress {run}", daemon=True)

    def __enter__(self) -> "StoredProgress":
        """Begin to write."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Write the last values, and stop."""
        self._ended.set()
        self._changed.set()
        self._thread.join(STOP_SECONDS)

    def begin(self, number: int, of: int, title: str) -> None:
        """Record the beginning of a step."""
        self._inner.begin(number, of, title)
        self._set(step=title, number=number, steps=of)

    def advance(self, number: int, done: StepProgress) -> None:
        """Record that a step moves; its rows if it works in batches."""
        self._inner.advance(number, done)
        rows: dict[str, Any] = {}
        if done.batch:
            rate = self._rate(number, done)
            rows = {"done": done.count, "total": done.total, "batch": done.batch, "rate": rate}
        self._set(**rows)

    def hold(self, number: int, reason: str) -> None:
        """Record why a step waits; the time of a wait with a reason is added up."""
        self._inner.hold(number, reason)
        if reason == self._values["reason"]:
            return
        now = time.monotonic()
        waited = now - self._held_at if self._values["reason"] else 0.0
        self._held_at, self._held = now, self._held + waited
        self._set(reason=reason, throttled_seconds=self._values["throttled_seconds"] + waited)

    def locking(self, number: int, attempt: LockTry) -> None:
        """Record a try to get the locks of a step."""
        self._inner.locking(number, attempt)
        new = attempt.milliseconds > 0
        self._set(
            attempts=self._values["attempts"] + new,
            rung_ms=attempt.milliseconds or self._values["rung_ms"],
            blockers=json.dumps(list(attempt.blockers)),
        )

    def end(self, number: int, status: str, reason: str) -> None:
        """Record the end of a step."""
        self.hold(number, "")
        self._inner.end(number, status, reason)
        self._set(blockers="[]")

    def _rate(self, number: int, done: StepProgress) -> float:
        """Return the rows in a second of work; rows of earlier runs and waits do not count."""
        now = time.monotonic()
        if number != self._filled:
            self._filled, self._counted_at, self._held = number, now, 0.0
            return 0.0
        seconds = max(1e-3, now - self._counted_at - self._held)
        self._counted_at, self._held = now, 0.0
        last = max(0, done.count - int(self._values["done"])) / seconds
        known = float(self._values["rate"])
        share = min(1.0, seconds / RATE_SECONDS) if known else 1.0
        return known + share * (last - known)

    def _set(self, **values: object) -> None:
        self._values = self._values | values | {"moved_at": to_text(self._clock())}
        self._changed.set()

    def _write_all(self) -> None:
        while not self._ended.is_set():
            self._changed.wait()
            self._changed.clear()
            try:
                with self._store.transaction() as transaction:
                    migrating.record_progress(transaction, self._values)
            except StoreError:
                self._changed.set()  # tried again
            self._ended.wait(WRITE_SECONDS)
        try:
            with self._store.transaction() as transaction:
                migrating.record_progress(transaction, self._values)
        except StoreError:
            return
