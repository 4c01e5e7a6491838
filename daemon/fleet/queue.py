"""The queue by which errands reach the workers; the only module that knows Procrastinate.

Its tables are in a schema of their own in the database of the state. What waits there is made again
from the state by the next leader, so they may be dropped. Correctness does not rest on it: a task
is locked and claimed in the database in which it runs.
"""

import asyncio
import importlib.metadata
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, cast

import psycopg
import structlog
from procrastinate import App, PsycopgConnector, SyncPsycopgConnector
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import DeleteJobCondition, Job, Status
from procrastinate.manager import JobManager, NotificationCallback
from procrastinate.retry import BaseRetryStrategy, RetryDecision
from procrastinate.schema import SchemaManager
from procrastinate.sql import queries
from procrastinate.worker import Worker
from psycopg import sql
from psycopg_pool import PoolTimeout

from postgres.session import is_lost
from store.database_schema import LOCK, QUEUE_SCHEMA, WRITING, connect, keywords
from store.state_database import DatabaseStore, DatabaseTransaction
from store.store import StoreError, Transaction

NAME = "sereno"
FETCH_SECONDS = 60.0
"""A fetch that is not answered by then hangs, as one may whose connection is half open."""
SESSION_SECONDS = 5.0
"""So long a session is waited for; the pool tries again only for the next one who asks."""
WRITE_SECONDS = 300.0
"""A sign of life waits so long at the most for others that write to the state."""
POLL_SECONDS = 5.0
RETRY_SECONDS = 1.0
MOST_SESSIONS = 4
LATER, DOWN = -1, -2
"""The priorities of what is put off, where its server answers and where it does not."""
KEPT_SECONDS = 86_400.0
"""Workers that have died are removed from the queue after so long."""

_VERSION = "SELECT value FROM sereno_state.instance WHERE name = 'queue version'"
_SAVE_VERSION = """
    INSERT INTO sereno_state.instance (name, value) VALUES ('queue version', %s)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_LAST = "SELECT last_value AS last FROM sereno_queue.procrastinate_jobs_id_seq"
_GO_ON = "SELECT setval('sereno_queue.procrastinate_jobs_id_seq', %s, false)"
_THERE = "SELECT to_regclass('sereno_queue.procrastinate_jobs') IS NOT NULL AS there"

logging.getLogger("procrastinate").setLevel(logging.ERROR)  # our events say the rest
_log = structlog.get_logger("queue")


class GivenBackError(Exception):
    """The worker cannot go on with an errand now; it or another one takes it again later."""

    def __init__(self, seconds: int = 0, *, down: bool = False) -> None:
        """Give it back for some seconds; `down` tells that its whole server does not answer."""
        self.seconds, self.down = seconds, down
        super().__init__(f"given back for {seconds} s")


def prepare(store: DatabaseStore) -> None:
    """Make the tables of the queue, or make those of an older version anew. Raises StoreError."""
    installed = importlib.metadata.version("procrastinate")
    with store.transaction() as transaction:
        session = _session(transaction)
        session.execute(LOCK, (WRITING,))
        row = session.execute(_VERSION).fetchone()
        there = session.execute(_THERE).fetchall()[0]["there"]
        if there and row is not None and _numbers(row["value"]) >= _numbers(installed):
            return
        last = session.execute(_LAST).fetchall()[0]["last"] if there else 0
        schema = sql.Identifier(QUEUE_SCHEMA)
        session.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(schema))
        session.execute(sql.SQL("CREATE SCHEMA {}").format(schema))
        session.execute(sql.SQL("SET LOCAL search_path TO {}, pg_catalog").format(schema))
        session.execute(SchemaManager.get_schema())
        session.execute(_GO_ON, (last + 1,))  # a worker may still end one of the former numbers
        session.execute(_SAVE_VERSION, (installed,))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdecimal())


def _session(transaction: Transaction) -> psycopg.Connection[Any]:
    return cast("DatabaseTransaction", transaction).connection


@contextmanager
def _store_errors() -> Iterator[None]:
    try:
        yield
    except ConnectorException as error:
        raise StoreError(f"the queue: {error.__cause__ or error}") from error


@dataclass(frozen=True, slots=True)
class Offered:
    """An errand in the queue."""

    errand: dict[str, Any]
    put_off: bool
    """A worker has given it back until later."""
    down: bool
    """Because its whole server does not answer."""


class Offers:
    """The leader's side: offers errands and withdraws them, in transactions of the state."""

    def __init__(self) -> None:
        self._connector = SyncPsycopgConnector()
        self._manager = JobManager(self._connector)

    def offer(self, transaction: Transaction, errand: Mapping[str, Any]) -> int:
        """Offer an errand; return its number."""
        job = Job(
            id=None,
            queue=NAME,
            lock=None,
            queueing_lock=None,
            task_name=NAME,
            task_kwargs={"errand": dict(errand)},
        )
        with _store_errors():
            offered = self._manager.defer_job(job, connection=_session(transaction))
        return int(offered.id or 0)

    def open(self, transaction: Transaction) -> dict[int, Offered]:
        """Return the errands that wait or are worked on, by number."""
        names = ("id", "queue_name", "task_name", "status", "lock", "queueing_lock", "worker_id")
        rows = self._rows(transaction, "list_jobs", **dict.fromkeys(names))
        return {
            row["id"]: Offered(
                row["args"]["errand"],
                put_off=row["status"] == "todo" and row["priority"] in {LATER, DOWN},
                down=row["priority"] == DOWN,
            )
            for row in rows
        }

    def stalled(self, transaction: Transaction, seconds: float) -> list[int]:
        """Return the errands of workers that have given no sign for so long."""
        rows = self._rows(
            transaction,
            "select_stalled_jobs_by_heartbeat",
            queue=NAME,
            task_name=NAME,
            seconds_since_heartbeat=seconds,
        )
        return [row["id"] for row in rows]

    def withdraw(self, transaction: Transaction, number: int) -> None:
        """Remove an errand; its worker, if it goes on after all, can end no other one by it."""
        status = Status.ABORTED.value
        self._rows(transaction, "finish_job", job_id=number, status=status, delete_job=True)

    def _rows(self, transaction: Transaction, name: str, **values: object) -> list[dict[str, Any]]:
        with _store_errors():
            return self._connector.execute_query_all_with_connection(
                _session(transaction), query=queries[name], **values
            )


class Taker:
    """A worker's side: takes errands, some at once, and gives a sign of life meanwhile."""

    def __init__(self, store: DatabaseStore, at_once: int, sign_seconds: float) -> None:
        """Take `at_once` errands, with a sign of life every `sign_seconds`."""
        self._store, self._at_once, self._sign_seconds = store, at_once, sign_seconds
        self._manager: _Manager | None = None
        self._answers_since: float | None = None
        self._stopped = threading.Event()
        self._worker: Worker | None = None

    def run(
        self,
        do: Callable[[dict[str, Any]], None],
        sign: Callable[[], None],
        may_take: Callable[[], bool],
    ) -> None:
        """Call `do` with each errand in a thread, until `stop`; an unusable queue is tried again.

        `do` raises GivenBackError if the errand has to be taken again. `sign` records
        the sign of life; it raises StoreError. Nothing is taken unless `may_take`.
        """
        while not self._stopped.is_set():
            try:
                asyncio.run(self._serve(do, sign, may_take))
            except (psycopg.Error, ConnectorException, StoreError) as error:
                _log.warning("queue.unusable", reason=str(error.__cause__ or error))
            self._stopped.wait(RETRY_SECONDS)

    def stop(self) -> None:
        """Take nothing more; `run` returns when what it has taken has ended."""
        self._stopped.set()
        if self._worker is not None:
            self._worker.stop()  # type: ignore[no-untyped-call]

    def hangs(self) -> bool:
        """Return whether fetches or signs get no answer, though the database answers others.

        Then the connections are half open: new ones would work.
        """
        now, manager = time.monotonic(), self._manager
        since = (
            None
            if manager is None
            else manager.silent_since(now, 4 * self._sign_seconds + WRITE_SECONDS)
        )
        if since is None or now - since < FETCH_SECONDS or not self._answers():
            self._answers_since = None
            return False
        self._answers_since = self._answers_since or now
        return now - self._answers_since >= FETCH_SECONDS / 2

    def _answers(self) -> bool:
        """Return whether the database answers a new connection; if not, it is an outage."""
        try:
            with connect(self._store.url) as session:
                session.execute("SELECT 1")
        except psycopg.Error:
            return False
        return True

    async def _serve(
        self,
        do: Callable[[dict[str, Any]], None],
        sign: Callable[[], None],
        may_take: Callable[[], bool],
    ) -> None:
        threads = ThreadPoolExecutor(self._at_once + 1, thread_name_prefix="errand")
        asyncio.get_running_loop().set_default_executor(threads)
        options = keywords()
        del options["autocommit"]  # which the connector sets by itself
        connector = PsycopgConnector(
            conninfo=self._store.url,
            kwargs=options,
            min_size=1,
            max_size=MOST_SESSIONS,
            timeout=SESSION_SECONDS,
            reconnect_timeout=RETRY_SECONDS,
            name="queue",
        )
        app = App(connector=connector)
        manager = app.job_manager = self._manager = _Manager(connector, sign, may_take)

        def run(errand: dict[str, Any]) -> None:
            do(errand)

        app.task(name=NAME, queue=NAME, retry=_Again())(run)
        async with app.open_async():
            worker = manager.worker = self._worker = Worker(
                app,
                queues=[NAME],
                name=None,
                concurrency=self._at_once,
                fetch_job_polling_interval=POLL_SECONDS,
                delete_jobs=DeleteJobCondition.ALWAYS,
                install_signal_handlers=False,
                update_heartbeat_interval=self._sign_seconds,
                stalled_worker_timeout=KEPT_SECONDS,
            )
            if not self._stopped.is_set():
                await worker.run()  # type: ignore[no-untyped-call]


class _Again(BaseRetryStrategy):
    """Takes given back errands again, and no others."""

    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:  # noqa: ARG002
        """Return when it is taken again; None for never."""
        if isinstance(exception, GivenBackError):
            if not exception.seconds:
                return RetryDecision()
            later = DOWN if exception.down else LATER
            return RetryDecision(retry_in={"seconds": exception.seconds}, priority=later)
        return None


class _Manager(JobManager):
    """Survives an outage of the database: the worker goes on with what it has taken."""

    worker: Worker

    def __init__(
        self,
        connector: PsycopgConnector,
        sign: Callable[[], None],
        may_take: Callable[[], bool],
    ) -> None:
        super().__init__(connector)
        self._sign, self._may_take = sign, may_take
        self._unanswered_since: float | None = None
        self._signed_at = time.monotonic()
        self._unknown: set[int | None] = set()

    async def fetch_job(self, queues: Iterable[str] | None, worker_id: int) -> Job | None:
        """Fetch an errand, watched; None if there is none, or none can be had now."""
        if not self._may_take():
            self._unanswered_since = None
            return None
        self._unanswered_since = self._unanswered_since or time.monotonic()
        try:
            job = await super().fetch_job(queues, worker_id)
        except ConnectorException as error:
            _log.warning("queue.fetch_failed", reason=str(error.__cause__))
            if not isinstance(error.__cause__, PoolTimeout):
                self._unanswered_since = None  # an error is an answer
            if isinstance(error.__cause__, psycopg.errors.ForeignKeyViolation):  # counted as dead
                self.worker.worker_id = await self.register_worker()
            return None
        self._unanswered_since = None
        return job

    def silent_since(self, now: float, sign_seconds: float) -> float | None:
        """Return since when no fetch was answered, or no sign of life was tried."""
        if now - self._signed_at > sign_seconds:
            return min(self._signed_at, self._unanswered_since or now)
        return self._unanswered_since

    async def update_heartbeat(self, worker_id: int) -> None:
        """Give a sign of life; one that cannot be given is not made up for."""
        try:
            await super().update_heartbeat(worker_id)
            await asyncio.to_thread(self._sign)
            await self._give_back_unknown(worker_id)
        except (ConnectorException, StoreError) as error:
            _log.warning("queue.sign_failed", reason=str(error.__cause__ or error))
        self._signed_at = time.monotonic()

    async def _give_back_unknown(self, worker_id: int) -> None:
        """Give back errands of this worker that it does not know: a fetch lost its answer."""
        known = {context.job.id for context in self.worker._running_jobs.values()}  # noqa: SLF001
        held = await self.list_jobs_async(worker_id=worker_id, status=Status.DOING.value)
        unknown = {job.id: job for job in held if job.id not in known}
        for number, job in unknown.items():
            if number in self._unknown:  # not one that is fetched at this moment
                _log.warning("queue.errand_unknown", errand=number)
                await self.retry_job(job)
        self._unknown = set(unknown)

    async def list_jobs_to_abort_async(self, queue: str | None = None) -> list[int]:  # noqa: ARG002
        """Return nothing: no errand is aborted by the queue."""
        return []

    async def listen_for_jobs(
        self, *, on_notification: NotificationCallback, queues: Iterable[str] | None = None
    ) -> None:
        """Listen for offers; a lost connection is opened again."""
        while True:
            try:
                await super().listen_for_jobs(on_notification=on_notification, queues=queues)
            except (ConnectorException, psycopg.Error):
                await asyncio.sleep(RETRY_SECONDS)

    async def finish_job(self, job: Job, status: Status, delete_job: bool) -> None:  # noqa: FBT001
        """Remove an errand that has ended."""
        await _persistently(
            partial(super().finish_job, job=job, status=status, delete_job=delete_job)
        )

    async def retry_job(
        self,
        job: Job,
        retry_at: datetime | None = None,
        priority: int | None = None,
        queue: str | None = None,
        lock: str | None = None,
    ) -> None:
        """Give an errand back."""
        await _persistently(partial(super().retry_job, job, retry_at, priority, queue, lock))


async def _persistently(call: Callable[[], Awaitable[None]]) -> None:
    """Call until the database answers; an errand that was withdrawn meanwhile is no more ours."""
    while True:
        try:
            return await call()
        except ConnectorException as error:
            cause = error.__cause__
            if cause is not None and not is_lost(cause):
                _log.warning("queue.errand_withdrawn", reason=str(cause).partition("\n")[0])
                return None
        await asyncio.sleep(RETRY_SECONDS)
