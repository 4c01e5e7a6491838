"""The progress of a requested run in the store, where the page, the metrics and alerts read it."""

import json
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
RATE_SHARE = 0.2
"""The weight of the last second in the rate."""
_STEP: dict[str, Any] = {
    "done": 0, "total": 0, "rate": 0.0, "batch": 0, "reason": "", "rung_ms": 0, "blockers": "[]",
}  # fmt: skip


class StoredProgress:
    """Writes the progress at most once a second, and passes it on.

    A state file that cannot be written ends no run: the progress is written the next time.
    """

    def __init__(
        self, store: Store, clock: Callable[[], datetime], run: int, inner: Progress
    ) -> None:
        self._store, self._clock, self._inner = store, clock, inner
        self._values: dict[str, Any] = {
            **_STEP, "run": run, "step": "", "number": 0, "steps": 0, "attempts": 0,
            "throttled_seconds": 0.0, "moved_at": to_text(clock()),
        }  # fmt: skip
        self._written = self._counted = self._held = 0.0

    def begin(self, number: int, of: int, title: str) -> None:
        """Record the beginning of a step."""
        self._inner.begin(number, of, title)
        self._counted = time.monotonic()
        self._set(**_STEP, step=title, number=number, steps=of)

    def advance(self, number: int, done: StepProgress) -> None:
        """Record how far a step has come."""
        self._inner.advance(number, done)
        if done.count != self._values["done"]:
            self._set(
                at_once=False,
                done=done.count,
                total=done.total,
                batch=done.batch or self._values["batch"],
                rate=self._rate(done.count),
            )

    def hold(self, number: int, reason: str) -> None:
        """Record why a step waits; the time of a wait with a reason is added up."""
        self._inner.hold(number, reason)
        if reason == self._values["reason"]:
            return
        now = time.monotonic()
        waited = now - self._held if self._values["reason"] else 0.0
        self._held = now
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
        self._inner.end(number, status, reason)
        self._set(reason="", blockers="[]")

    def _rate(self, count: int) -> float:
        """Return the rows in a second, averaged over the last seconds; waits do not count."""
        now = time.monotonic()
        seconds, self._counted = max(1e-3, now - self._counted), now
        last = max(0, count - int(self._values["done"])) / seconds
        known = float(self._values["rate"])
        return last if not known else known + RATE_SHARE * (last - known)

    def _set(self, *, at_once: bool = True, **values: object) -> None:
        self._values.update(values, moved_at=to_text(self._clock()))
        now = time.monotonic()
        if not at_once and now - self._written < WRITE_SECONDS:
            return
        self._written = now
        try:
            with self._store.transaction() as transaction:
                migrating.record_progress(transaction, self._values)
        except StoreError:
            return
