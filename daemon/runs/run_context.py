"""The inputs and limits of a run."""

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from daemon.config.groups import one_per_server
from daemon.config.jobs import MODELS
from daemon.config.model import Config, GovernorLimits
from daemon.config.servers import address_of
from daemon.context import Context
from daemon.history import history, ignored, pause, statistics
from daemon.history.ignored import with_ignored
from daemon.runs.sessions import Sessions
from daemon.runs.workers import Workers
from domain.task import Task
from execution import governor
from execution.control import SAMPLE_SECONDS, RunLimits
from execution.progress import Progress
from execution.server_signals import read_sample, read_server
from execution.window import Window
from jobs.job import JobInputs, Settings
from postgres.catalog.progress import blocks_done, waiters_behind
from postgres.session import MAINTAIN, Session
from store.store import Row


@dataclass(frozen=True, slots=True)
class RunContext:
    """Builds the inputs and limits of the runs of one process."""

    context: Context
    sessions: Sessions
    progress: Progress

    def job_inputs(self, task: Task, workers: Workers | None) -> JobInputs:
        """Return the inputs of a job's `observe`."""
        config, job = self.context.config, self.context.jobs[task.job]
        opened = workers.session(MAINTAIN) if workers is not None else None
        with self.context.store.reading() as transaction:
            memory = history.load_memory(transaction, job.name, task.database)
            now = self.context.clock()
            clusters = statistics.load_clusters(transaction)
            told_not = [
                row
                for row in ignored.load_active(transaction, now.date())
                if ignored.applies(row, task.database, clusters, self.context.checks)
            ]
        return JobInputs(
            options=config.job(task.job),
            settings=job_settings(config, told_not),
            checks=self.context.checks,
            scope=task.scope,
            database=task.database,
            session=opened,
            domains=workers,
            is_cluster_representative=opened is None
            or self.sessions.is_cluster_representative(opened),
            memory=memory,
            open=lambda name: self.sessions.open(name, job, read_only=True),
            now=now,
            request=task.request,
            instance=self.context.store.instance(),
        )

    def terms(
        self,
        window: Window,
        coordinator: Session | None,
        beat: Callable[[], object] = lambda: None,
        *,
        counted: bool = True,
    ) -> RunLimits:
        """Return the limits of the steps; the coordinator's session samples the server.

        `counted` says whether the steps may have VACUUM, ANALYZE or index builds, whose progress
        the server tells.
        """
        limits = self.context.config.governor
        return RunLimits(
            window=window,
            stop=self.sessions.stop,
            sample=_CachedSample(lambda: self._sample(coordinator)),
            orders=self._orders,
            limits=_limits(limits),
            speed=limits.pace,
            progress=self.progress,
            batch_seconds=limits.batch.total_seconds(),
            batch_rows=limits.batch_rows,
            patience_seconds=limits.patience.total_seconds(),
            read_progress=lambda: blocks_done(coordinator) if counted and coordinator else {},
            waiters_behind=lambda: waiters_behind(coordinator) if coordinator is not None else {},
            look=coordinator.rows if coordinator is not None else None,
            beat=beat,
        )

    def _sample(self, coordinator: Session | None) -> governor.Sample:
        """Read the signals of the server, and what an operator has ordered."""
        orders = self._orders()
        if coordinator is None:
            return orders
        facts, address = coordinator.facts, address_of(coordinator.target.conninfo)
        # a copy of a server has its identifier; logins have other rights
        key = ("signals", address, facts.system_identifier, facts.timeline, facts.user)
        signals = self.context.recent.get(key, partial(read_server, coordinator))
        seen = read_sample(coordinator, signals, self.context.config.governor.query)
        return replace(seen, flag_file=orders.flag_file, paused=orders.paused)

    def _orders(self) -> governor.Sample:
        """Return what an operator has ordered: `sereno pause` and the flag file."""
        return self.context.recent.get("orders", self._read_orders)

    def _read_orders(self) -> governor.Sample:
        with self.context.store.reading() as transaction:
            paused = pause.paused(transaction, self.context.clock())
        flag_file = governor.present_flag_file(self.context.config.governor.flag_file)
        return governor.Sample(flag_file=flag_file, paused=paused is not None)


def job_settings(config: Config, ignored_rows: Sequence[Row] = ()) -> Settings:
    """Return the parts of the configuration that jobs may read.

    The rows are the ignored findings that people have added.
    """
    return Settings(
        databases=partial(one_per_server, config),
        state_folder=config.daemon.local_folder,
        free_disk=config.governor.free_disk,
        pace=config.governor.pace,
        checks=with_ignored(config.checks, ignored_rows),
        jobs={name: config.job(name) for name in MODELS},
        tenant=lambda name: config.databases[name].tenant if name in config.databases else "",
    )


class _CachedSample:
    """Caches a sample for all lanes."""

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


def _limits(configured: GovernorLimits) -> governor.Limits:
    return governor.Limits(
        replica_lag_seconds=configured.replica_lag.total_seconds(),
        replica_lag_bytes=configured.replica_lag_size,
        archive_backlog=configured.archive_backlog,
        slot_bytes=configured.slot_retained,
        free_disk=configured.free_disk,
        active=configured.active_sessions or governor.UNLIMITED,
        backups=configured.backups,
        critical=configured.critical,
    )
