"""What a run meets: all that its job may look at, and the terms that bind its steps."""

from collections.abc import Callable
from dataclasses import dataclass

from daemon import history, pause
from daemon.jobs.job import Errand, Looking
from daemon.parts import Parts
from daemon.sessions import Sessions
from postgres import governor
from postgres.connection import Session
from postgres.pace import Progress, Terms
from postgres.progress import blocks
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
        )

    def terms(self, window: Window, steward: Session | None, beat: Callable[[], object] = lambda: None) -> Terms:
        """Return what binds the steps; the steward's session is asked how the server is."""
        limits = self.parts.config.governor
        return Terms(
            window=window,
            stop=self.sessions.stop,
            sample=lambda: self._sample(steward),
            limits=governor.Limits(limits.replica_lag.total_seconds(), limits.replica_lag_size),
            progress=self.progress,
            batch_seconds=limits.batch.total_seconds(),
            batch_rows=limits.batch_rows,
            patience_seconds=limits.patience.total_seconds(),
            watch=lambda: blocks(steward) if steward is not None else {},
            beat=beat,
        )

    def _sample(self, steward: Session | None) -> governor.Sample:
        with self.parts.store.reading() as transaction:
            paused = pause.paused(transaction, self.parts.clock())
        return governor.Sample(
            flag_file=governor.present(self.parts.config.governor.flag_file),
            paused=paused is not None,
            replicas=governor.replicas(steward) if steward is not None else (),
        )
