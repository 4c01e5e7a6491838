"""What a run meets: all that its job may look at, and the terms that bind its steps."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from daemon import history, pause
from daemon.config.model import GovernorLimits
from daemon.jobs.job import Errand, Looking
from daemon.parts import Parts
from daemon.sessions import Sessions
from postgres import governor
from postgres.connection import Session
from postgres.pace import SAMPLE_SECONDS, Progress, Terms
from postgres.progress import behind, blocks
from postgres.window import Window


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The same for every run of a process."""

    parts: Parts
    sessions: Sessions
    progress: Progress

    def looking(self, errand: Errand, opened: Session | None) -> Looking:
        """Return all that `observe` may look at."""
        job = errand.job
        with self.parts.store.reading() as transaction:
            memory = history.memory(transaction, job.name, errand.database)
        return Looking(
            config=self.parts.config,
            checks=self.parts.checks,
            scope=errand.scope,
            database=errand.database,
            session=opened,
            leads_cluster=opened is None or self.sessions.leads(opened),
            memory=memory,
            open=lambda name: self.sessions.open(name, job, read_only=True),
            reading=self.parts.store.reading,
            now=self.parts.clock(),
            instance=self.parts.store.instance(),
        )

    def terms(self, window: Window, steward: Session | None, beat: Callable[[], object] = lambda: None) -> Terms:
        """Return what binds the steps; the steward's session is asked how the server is."""
        limits = self.parts.config.governor
        return Terms(
            window=window,
            stop=self.sessions.stop,
            sample=_Lately(lambda: self._sample(steward)),
            limits=_limits(limits),
            speed=limits.pace,
            progress=self.progress,
            batch_seconds=limits.batch.total_seconds(),
            batch_rows=limits.batch_rows,
            patience_seconds=limits.patience.total_seconds(),
            watch=lambda: blocks(steward) if steward is not None else {},
            behind=lambda: behind(steward) if steward is not None else {},
            beat=beat,
        )

    def _sample(self, steward: Session | None) -> governor.Sample:
        with self.parts.store.reading() as transaction:
            paused = pause.paused(transaction, self.parts.clock())
        wishes = self.parts.config.governor
        seen = governor.see(steward, wishes.query) if steward is not None else governor.Sample()
        return replace(seen, flag_file=governor.present(wishes.flag_file), paused=paused is not None)


class _Lately:
    """What was seen a moment ago serves every lane; one looks at a time."""

    def __init__(self, see: Callable[[], governor.Sample]) -> None:
        self._see = see
        self._guard = threading.Lock()
        self._seen: governor.Sample | None = None
        self._at = 0.0

    def __call__(self) -> governor.Sample:
        with self._guard:
            if self._seen is None or time.monotonic() - self._at >= SAMPLE_SECONDS:
                self._seen, self._at = self._see(), time.monotonic()
            return self._seen


def _limits(wishes: GovernorLimits) -> governor.Limits:
    return governor.Limits(
        replica_lag_seconds=wishes.replica_lag.total_seconds(),
        replica_lag_bytes=wishes.replica_lag_size,
        archive_backlog=wishes.archive_backlog,
        slot_bytes=wishes.slot_retained,
        free_disk=wishes.free_disk,
        active=wishes.active_sessions or governor.UNLIMITED,
        backups=wishes.backups,
        critical=wishes.critical,
    )
