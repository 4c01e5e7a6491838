"""Probes: named statements of the old and the new application, alone and beside the phases."""

import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import psycopg
from psycopg import errors, sql

from execution.errors import first_line
from migrations.format import Query, SqlFile
from migrations.rehearsal.result import ProbeResult
from migrations.steps.check_phase import run_queries, sentence_of
from migrations.steps.migration_step import owner_path
from postgres.session import MIGRATE, Session, Target, open_session
from retention.rows.tamper_check import fire_deferred_triggers

THREADS = 4
MOST_ERRORS = 20
STATEMENT_MILLISECONDS = 10_000
LEAST_RUNS = 3
THINKING = 20.0
"""The pause after a run of probes, as a multiple of its duration."""
HASTE = 1.0
"""The same beside the batches of a phase."""


class _UndoneError(Exception):
    """Rolls a transaction back."""


_AS_APPLICATION = sql.SQL(
    "SET application_name = 'sereno probe'; SET lock_timeout = 0; SET statement_timeout = {}"
)


_PATH = sql.SQL("SET search_path = {}")


@contextmanager
def probe_session(target: Target) -> Iterator[Session]:
    """Open a session as the owner, with the settings of an application."""
    with open_session(target, MIGRATE, "probe") as session:
        session.execute(_AS_APPLICATION.format(sql.Literal(STATEMENT_MILLISECONDS)))
        session.execute(_PATH.format(owner_path(session)))
        if target.migrate_role:
            session.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(target.migrate_role)))
        yield session


def probe_alone(
    target: Target, file: SqlFile, application: str, phase: str, checks: Sequence[Query]
) -> tuple[list[ProbeResult], str]:
    """Run the statements of one application in a transaction that is rolled back.

    Return the result of each, and what the checks of the phase find after them.
    """
    results: list[ProbeResult] = []
    wrong = ""
    with probe_session(target) as session:
        try:
            with session.transaction():
                results += [_one(session, query, application, phase) for query in file.queries]
                fire_deferred_triggers(session)
                wrong = sentence_of(run_queries(session, checks, {}), checks)
                raise _UndoneError  # noqa: TRY301 - rolls the transaction back
        except _UndoneError:
            pass
        except psycopg.Error as error:
            results.append(ProbeResult(phase, application, "at COMMIT", first_line(error)))
    return results, wrong


def _one(session: Session, query: Query, application: str, phase: str) -> ProbeResult:
    try:
        with session.transaction():
            session.execute(query.statement.encode())
    except psycopg.Error as error:
        return ProbeResult(phase, application, query.name, first_line(error))
    return ProbeResult(phase, application, query.name)


@dataclass(slots=True)
class Load:
    """The probes of both applications, run over and over in threads, each run committed."""

    target: Target
    files: Mapping[str, SqlFile]
    """The probe file of each application."""
    migration_pid: int
    """The session of the migration: a deadlock with it is its fault."""
    own_deadlocks: int = 0
    """Deadlocks of probes among themselves."""
    errors: list[str] = field(default_factory=list)
    longest_ms: float = 0.0
    runs: int = 0
    _phase: str = ""
    _thinking: float = THINKING
    _serving: frozenset[str] = frozenset()
    _stop: threading.Event = field(default_factory=threading.Event)
    _guard: threading.Lock = field(default_factory=threading.Lock)
    _threads: list[threading.Thread] = field(default_factory=list)

    def start(self) -> None:
        """Start four threads."""
        for number in range(THREADS):
            thread = threading.Thread(target=self._work, args=(number,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def serve(self, phase: str, applications: frozenset[str], *, pauses: bool = True) -> None:
        """Name the phase in progress, and the applications that are alive in it.

        With short pauses the threads are as close to the batches of a phase as they can be.
        """
        with self._guard:
            self._phase, self._serving = phase, applications
            self._thinking = THINKING if pauses else HASTE

    def stop(self) -> None:
        """Stop the threads, and wait for them."""
        self._stop.set()
        for thread in self._threads:
            thread.join(STATEMENT_MILLISECONDS / 1000 + 5)

    def wait_for_runs(self, seconds: float = 2.0) -> None:
        """Wait until every thread has run some probes, for a time at the most."""
        deadline, first = time.monotonic() + seconds, self.runs
        while self.runs < first + THREADS * LEAST_RUNS and time.monotonic() < deadline:
            if not self._serving or self._stop.wait(0.01):
                return

    def _work(self, number: int) -> None:
        with probe_session(self.target) as session:
            while not self._stop.is_set():
                with self._guard:
                    phase, serving = self._phase, sorted(self._serving)
                if not serving:
                    self._stop.wait(0.005)
                    continue
                application, began = serving[number % len(serving)], time.monotonic()
                self._run(session, self.files[application], f"{application} in {phase}")
                # users think longer than statements take; without pauses no lock is ever free
                self._stop.wait(self._thinking * (time.monotonic() - began))

    def _run(self, session: Session, file: SqlFile, where: str) -> None:
        name = ""
        try:
            with session.transaction():
                for query in file.queries:
                    name = query.name
                    began = time.monotonic()
                    session.execute(query.statement.encode())
                    self._measured((time.monotonic() - began) * 1000)
        except errors.SerializationFailure:
            pass  # an application repeats it
        except psycopg.Error as error:
            if isinstance(error, errors.DeadlockDetected) and not self._is_ours(error):
                self.own_deadlocks += 1
                return
            sentence = f"{where}: {name}: {first_line(error)}"
            with self._guard:
                if len(self.errors) < MOST_ERRORS and sentence not in self.errors:
                    self.errors.append(sentence)
        with self._guard:
            self.runs += 1

    def _is_ours(self, error: psycopg.Error) -> bool:
        """Return whether the migration takes part in a deadlock, by the server's detail."""
        numbers = re.findall(r"\d+", error.diag.message_detail or "")
        return str(self.migration_pid) in numbers

    def _measured(self, milliseconds: float) -> None:
        with self._guard:
            self.longest_ms = max(self.longest_ms, milliseconds)
