"""The statements that store runs, steps, findings, measures and memory."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from daemon.history.worker import this_worker
from domain.finding import Finding
from domain.memory import Measure, Memory
from domain.task import Task, Trigger
from store.store import Row, Transaction
from store.timestamps import from_text, to_text

_BEGIN = """
    INSERT INTO run (job, scope, database, schedule, nominal, started_at, state, process,
                     worker, subject, principal, request_reason, request, request_action)
    VALUES (?, ?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, ?, ?, ?)
"""
_OF_WORKER = """
    SELECT id FROM run
    WHERE job = ? AND database = ? AND coalesce(schedule, '') = coalesce(?, '') AND worker = ?
      AND state = 'running'
    ORDER BY id
"""
_FINISH = """
    UPDATE run
    SET state = ?, reason = ?, steps_left = ?, cause = ?, finished_at = ?,
        paused_seconds = (SELECT coalesce(sum(paused_seconds), 0) FROM step WHERE run = run.id)
    WHERE id = ?
"""
_FINDING = """
    INSERT INTO finding (run, kind, database, object, severity, summary, value, remedy,
                         evidence, found_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_MEASURE = (
    "INSERT INTO measure (run, name, database, object, value, taken_at) VALUES (?, ?, ?, ?, ?, ?)"
)
_MEMORY = (
    "SELECT object, seconds, bytes, evidence, last_success FROM object_memory "
    "WHERE job = ? AND database = ?"
)
_RUNNING = """
    SELECT id, job, scope, database, schedule, worker, started_at, subject FROM run
    WHERE state = 'running'
"""
_LAST_RUNS = """
    SELECT * FROM run
    WHERE id IN (SELECT max(id) FROM run
                 WHERE job IN (SELECT value FROM json_each(?)) AND state <> 'running'
                 GROUP BY job, database)
    ORDER BY id
"""
_INTERRUPT = """
    UPDATE run SET state = 'interrupted', reason = ?, finished_at = ?
    WHERE id = ? AND state = 'running'
"""
_DONE = """
    SELECT DISTINCT job, database FROM run
    WHERE schedule = ? AND nominal = ? AND state NOT IN ('running', 'interrupted')
"""
_GONE_ON = """
    SELECT DISTINCT job, database FROM run
    WHERE schedule = ? AND nominal >= ? AND state <> 'interrupted'
"""
_EARLIER = """
    SELECT job, scope, database, nominal, state IN ('window_ended', 'throttled') AS unfinished,
           (julianday(finished_at) - julianday(started_at)) * 86400 AS seconds
    FROM run
    WHERE schedule = ? AND nominal < ? AND state NOT IN ('running', 'interrupted')
    ORDER BY nominal DESC LIMIT 2000
"""
_TRIED = "SELECT 1 AS one FROM run WHERE schedule = ? AND nominal = ?"
_OF_CLAIM = """
    SELECT 1 AS one FROM run
    WHERE schedule = ? AND nominal = ? AND job = ? AND scope = ?
"""
_SAVE = """
    INSERT INTO instance (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""
_ENDS = """
    SELECT job, database, state FROM run
    WHERE id IN (SELECT max(id) FROM run WHERE schedule = ? AND nominal = ?
                 GROUP BY job, scope, database)
    ORDER BY id
"""
_WAVE = """
    SELECT count(DISTINCT CASE WHEN state = 'failed' THEN database END) AS failed,
           (SELECT count(*) FROM event e JOIN run r ON r.id = e.run
            WHERE r.schedule = :schedule AND r.nominal = :nominal AND e.severity = 'critical'
              AND e.reason IN ('opened', 'reopened')
              AND r.database IN (SELECT value FROM json_each(:databases))) AS critical
    FROM run
    WHERE id IN (SELECT max(id) FROM run WHERE schedule = :schedule AND nominal = :nominal
                 GROUP BY job, scope, database)
      AND database IN (SELECT value FROM json_each(:databases))
"""
_VALUE = "SELECT value FROM instance WHERE name = ?"
_ALL_PLANNED = "SELECT name, value FROM instance WHERE name >= 'planned ' AND name < 'planned!'"
_INSIDE = "SELECT database FROM target WHERE system_identifier = ?"
_KNOWN_SINCE = """
    INSERT INTO instance (name, value) VALUES (?, ?)
    ON CONFLICT (name) DO UPDATE SET value = excluded.value
    WHERE instance.value > excluded.value
"""
_ENDED = "SELECT count(*) AS runs FROM run WHERE finished_at < ?"
_FORGET = "DELETE FROM run WHERE finished_at < ?"
_FORGET_ENDS = "DELETE FROM last_end WHERE finished_at < ?"
_FORGET_RUN = "DELETE FROM run WHERE id = ?"
_RUNS = "SELECT * FROM run ORDER BY id DESC LIMIT ?"
_RUN = "SELECT * FROM run WHERE id = ?"
_STEPS = "SELECT * FROM step WHERE run = ? ORDER BY ordinal"
_FINDINGS = "SELECT * FROM finding WHERE run = ? ORDER BY rowid"
_TARGET = "SELECT system_identifier, database_oid, timeline FROM target WHERE database = ?"
_MEET = """
    INSERT INTO target (database, system_identifier, database_oid, timeline, first_seen)
    VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (database) DO UPDATE
    SET system_identifier = excluded.system_identifier, database_oid = excluded.database_oid,
        timeline = excluded.timeline
"""


@dataclass(frozen=True, slots=True)
class Server:
    """The identity of a server and database, and the timeline of the server."""

    system_identifier: str
    database_oid: int
    timeline: int


def begin_run(transaction: Transaction, task: Task, now: datetime) -> int:
    """Record the start of a run; return its number."""
    trigger, worker = task.trigger, this_worker()
    values = (
        task.job,
        task.scope,
        task.database,
        trigger.schedule,
        trigger.minute(),
        to_text(now),
        worker.process,
        str(worker),
        *_asked(task),
    )
    return transaction.insert(_BEGIN, values)


def runs_of_process(transaction: Transaction, task: Task) -> list[int]:
    """Return the runs of a task that are recorded as running in this process."""
    values = (task.job, task.database, task.trigger.schedule, str(this_worker()))
    return [row["id"] for row in transaction.rows(_OF_WORKER, values)]


def _asked(task: Task) -> tuple[str, str, str, str, str]:
    """Return subject, principal, reason, id and action of a request; empty without one."""
    asked = task.request
    if asked is None:
        return "", "", "", "", ""
    return asked.subject, asked.principal, asked.reason, asked.id, asked.action


def finish_run(
    transaction: Transaction, run: int, end: tuple[str, str, int, str | None], now: datetime
) -> None:
    """Record state, reason and steps left of a run."""
    state, reason, left, cause = end
    transaction.execute(_FINISH, (state, reason, left, cause or "", to_text(now), run))


def forget_run(transaction: Transaction, run: int) -> None:
    """Delete a run, with its steps and findings."""
    transaction.execute(_FORGET_RUN, (run,))


def record_finding(transaction: Transaction, run: int, found: Finding, now: datetime) -> None:
    """Record a finding."""
    identity = found.identity
    evidence = json.dumps(dict(found.evidence), default=str, ensure_ascii=False)
    values = (
        identity.kind,
        identity.database,
        identity.object,
        found.severity.value,
        found.summary,
        found.value,
    )
    transaction.execute(_FINDING, (run, *values, found.remedy, evidence, to_text(now)))


def record_measures(
    transaction: Transaction, run: int, measures: Sequence[Measure], now: datetime
) -> None:
    """Store measures."""
    at = to_text(now)
    transaction.execute_many(
        _MEASURE,
        [(run, one.name, one.database, one.object, one.value, at) for one in measures],
    )


def load_memory(transaction: Transaction, job: str, database: str) -> Mapping[str, Memory]:
    """Return the memory of a job's objects in a database."""
    return {
        row["object"]: Memory(
            row["seconds"],
            row["bytes"],
            json.loads(row["evidence"]),
            from_text(row["last_success"]),
        )
        for row in transaction.rows(_MEMORY, (job, database))
    }


def running_runs(transaction: Transaction) -> list[Row]:
    """Return the runs recorded as running."""
    return transaction.rows(_RUNNING)


def last_runs(transaction: Transaction, jobs: Sequence[str]) -> list[Row]:
    """Return the last run that has ended of each of some jobs in each place."""
    return transaction.rows(_LAST_RUNS, (json.dumps(list(jobs)),))


def mark_interrupted(transaction: Transaction, run: int, reason: str, now: datetime) -> None:
    """Mark a run as interrupted."""
    transaction.execute(_INTERRUPT, (reason, to_text(now), run))


def load_settled(transaction: Transaction, trigger: Trigger) -> set[tuple[str, str]]:
    """Return job and database of the runs of a due time that ended other than by interruption."""
    rows = transaction.rows(_DONE, (trigger.schedule, trigger.minute()))
    return {(row["job"], row["database"]) for row in rows}


def load_superseded(transaction: Transaction, trigger: Trigger) -> set[tuple[str, str]]:
    """Return job and database of runs, of a due time or a later one, that run or have ended."""
    rows = transaction.rows(_GONE_ON, (trigger.schedule, trigger.minute()))
    return {(row["job"], row["database"]) for row in rows}


def has_begun(transaction: Transaction, trigger: Trigger) -> bool:
    """Return whether any task of a due time has begun."""
    return transaction.row(_TRIED, (trigger.schedule, trigger.minute())) is not None


def final_states(transaction: Transaction, trigger: Trigger) -> list[tuple[str, str]]:
    """Return the place and final state of each task of a due time."""
    rows = transaction.rows(_ENDS, (trigger.schedule, trigger.minute()))
    return [(f"{row['job']} {row['database']}".strip(), row["state"]) for row in rows]


def count_failures(
    transaction: Transaction, trigger: Trigger, databases: Sequence[str]
) -> tuple[int, int]:
    """Return how many databases have a failed run of a due time, and the critical alerts opened."""
    values = {"schedule": trigger.schedule, "nominal": trigger.minute()}
    row = transaction.rows(_WAVE, {**values, "databases": json.dumps(list(databases))})[0]
    return row["failed"], row["critical"]


def remember_planned(
    transaction: Transaction, cron: str, since: Mapping[Task, datetime]
) -> dict[Task, datetime]:
    """Return since when tasks are planned with this cron line, recording the given if it is new.

    A later instant was recorded by a wrong clock and is replaced.
    """
    known = load_planned(transaction)
    found, new = dict[Task, datetime](), list[tuple[str, str]]()
    for task, instant in since.items():
        name = planned_name(task, cron)
        found[task] = min(known.get(name, instant), instant)
        if found[task] != known.get(name):
            new.append((name, to_text(instant)))
    transaction.execute_many(_KNOWN_SINCE, new)
    return found


def load_planned(transaction: Transaction) -> dict[str, datetime]:
    """Return since when every task is planned, by `planned_name`."""
    return {row["name"]: from_text(row["value"]) for row in transaction.rows(_ALL_PLANNED)}


def planned_name(task: Task, cron: str) -> str:
    """Return the name under which the store keeps since when a task is planned."""
    return f"planned {task.trigger.schedule} {cron} {task.job} {task.database}"


def count_ended(transaction: Transaction, before: datetime) -> int:
    """Count the runs that ended before an instant."""
    return int(str(transaction.rows(_ENDED, (to_text(before),))[0]["runs"]))


def purge(transaction: Transaction, before: datetime) -> None:
    """Delete them with their steps, findings and measures, and tasks without later runs."""
    transaction.execute(_FORGET, (to_text(before),))
    transaction.execute(_FORGET_ENDS, (to_text(before),))


def load_runs(transaction: Transaction, limit: int) -> list[Row]:
    """Return the newest runs."""
    return transaction.rows(_RUNS, (limit,))


def load_run(transaction: Transaction, number: int) -> Row | None:
    """Return one run."""
    return transaction.row(_RUN, (number,))


def load_steps(transaction: Transaction, number: int) -> list[Row]:
    """Return the steps of a run in order."""
    return transaction.rows(_STEPS, (number,))


def load_findings(transaction: Transaction, number: int) -> list[Row]:
    """Return the findings of a run."""
    return transaction.rows(_FINDINGS, (number,))


def earlier_runs(transaction: Transaction, trigger: Trigger) -> list[Row]:
    """Return the runs of earlier due times of a schedule, at most 2,000, the latest first."""
    return transaction.rows(_EARLIER, (trigger.schedule, trigger.minute()))


def replace_service(transaction: Transaction, worker: str) -> str:
    """Record the worker that is the service now; return the former one, empty if unknown."""
    former = load_service(transaction)
    transaction.execute(_SAVE, ("service", worker))
    return former


def load_service(transaction: Transaction) -> str:
    """Return the worker that is or was the service; empty before the first."""
    row = transaction.row(_VALUE, ("service",))
    return str(row["value"]) if row else ""


def known_server(transaction: Transaction, database: str) -> Server | None:
    """Return the remembered server of a database; None if it was never met."""
    row = transaction.row(_TARGET, (database,))
    if row is None:
        return None
    return Server(row["system_identifier"], row["database_oid"], row["timeline"])


def databases_of_server(transaction: Transaction, system_identifier: str) -> frozenset[str]:
    """Return the databases that were met in a server."""
    rows = transaction.rows(_INSIDE, (system_identifier,))
    return frozenset(row["database"] for row in rows)


def remember_server(transaction: Transaction, database: str, server: Server, now: datetime) -> None:
    """Remember the server of a database."""
    identity = (server.system_identifier, server.database_oid, server.timeline)
    transaction.execute(_MEET, (database, *identity, to_text(now)))


def knows_run(transaction: Transaction, task: Task) -> bool:
    """Return whether this file has a run of a task, or its absence was accepted.

    In whatever database: one may be renamed in the configuration, or be a copy of another.
    """
    trigger = task.trigger
    key = (trigger.schedule, trigger.minute(), task.job, task.scope.value)
    if transaction.row(_OF_CLAIM, key) is not None:
        return True
    accepted = transaction.row(_VALUE, (_accepted(task.database),))
    return accepted is not None and accepted["value"] == _words(task)


def accept_unknown_run(transaction: Transaction, task: Task) -> None:
    """Accept that this file does not know a run: an older copy of it was put in its place."""
    transaction.execute(_SAVE, (_accepted(task.database), _words(task)))


def _accepted(database: str) -> str:
    return f"accepted claim of {database}"


def _words(task: Task) -> str:
    return f"{task.trigger.schedule} {task.job} {task.trigger.minute()}"
