"""Statistics over the history, for the health report and the metrics."""

from datetime import datetime, timedelta

from store.store import Row, Transaction
from store.timestamps import from_text, to_text

MOST_WORKS = 12
"""The number of objects that a report names."""
MOST_UNDONE = 30
INDEXES, KEYS = "indexes and tables", "foreign keys"
COVERAGE = {
    INDEXES: {"wanted": "proofs_wanted", "proven": "proofs", "days": "oldest_proof_days"},
    KEYS: {"wanted": "keys_wanted", "proven": "keys_proven", "days": "oldest_key_days"},
}
"""The measures of verified objects by kind of objects."""

_LAST_REPORT = """
    SELECT max(finished_at) AS at FROM run
    WHERE job = 'health_report' AND state = 'finished' AND finished_at <= ?
"""
_FIRST = "SELECT min(started_at) AS at FROM run"
_RUNS = """
    SELECT job, database, state, reason, started_at, finished_at, steps_left,
           coalesce(86400.0 * (julianday(finished_at) - julianday(started_at)), 0) AS seconds
    FROM run WHERE started_at > ? ORDER BY id
"""
_WORKS = """
    SELECT r.job, r.database, s.name, s.object,
           count(*) AS times, sum(s.rows) AS rows, sum(s.seconds) AS seconds
    FROM step s JOIN run r ON r.id = s.run
    WHERE r.started_at > ? AND s.status = 'done'
      AND s.name NOT IN ('check', 'measure', 'report', 'verify', 'count')
    GROUP BY r.job, r.database, s.name, s.object
    ORDER BY seconds DESC, rows DESC, r.job, r.database, s.object LIMIT ?
"""
_TOTALS = """
    SELECT s.name, count(DISTINCT r.database || ' ' || s.object) AS objects,
           sum(s.rows) AS rows, sum(s.bytes) AS bytes, sum(s.seconds) AS seconds
    FROM step s JOIN run r ON r.id = s.run
    WHERE r.started_at > ? AND s.status = 'done' AND s.name NOT IN ('check', 'measure', 'report')
    GROUP BY s.name ORDER BY s.name
"""
_LAST_RUNS = """
    SELECT id, job, database, state, reason, steps_left, started_at, finished_at FROM run
    WHERE id IN (SELECT max(id) FROM run GROUP BY job, database) ORDER BY job, database
"""
_LAST_FINDINGS = """
    SELECT f.*, r.database AS place FROM finding f JOIN run r ON r.id = f.run
    WHERE f.run IN (SELECT max(id) FROM run WHERE state NOT IN ('running', 'skipped')
                  GROUP BY job, scope, database)
"""
_DONE_STEPS = """
    SELECT r.id AS run, r.database, s.name, s.object, s.status, s.reason, s.rows, s.bytes,
           s.seconds, s.finished_at
    FROM run r JOIN step s ON s.run = r.id
    WHERE r.job = ? ORDER BY r.id DESC, s.ordinal LIMIT ?
"""
_PAUSED = "SELECT job, reason, seconds FROM pause_total ORDER BY job, reason"
_LAST_DUE = """
    SELECT min(started_at) AS began, max(finished_at) AS ended FROM run
    WHERE schedule = ? AND nominal = (SELECT max(nominal) FROM run WHERE schedule = ?)
"""
_CLUSTERS = "SELECT database, system_identifier FROM target"
_PROVEN = """
    SELECT database, count(*) AS proven, min(last_success) AS oldest FROM object_memory
    WHERE job = ? AND object <> 'proofs' GROUP BY database
"""
_MEMORIES = """
    SELECT database, evidence FROM object_memory WHERE job = ? AND object = ? ORDER BY database
"""
_LEFT = """
    SELECT r.job, r.database, s.name, s.object, s.status, s.reason
    FROM run r JOIN step s ON s.run = r.id
    WHERE r.id IN (SELECT max(id) FROM run WHERE state <> 'running' GROUP BY job, scope, database)
      AND r.started_at > ? AND s.status <> 'done'
    ORDER BY r.job, r.database, s.ordinal LIMIT ?
"""
_SERIES = """
    SELECT database, object, value, taken_at
    FROM measure
    WHERE name = ? AND taken_at > ?
    ORDER BY taken_at
"""
_LAST_MEASURES = "SELECT database, value FROM last_measure WHERE name = ? AND taken_at > ?"
_LAST_ENDS = """
    SELECT job, database, state, finished_at, succeeded_at FROM last_end ORDER BY job, database
"""
_ENDED_RUNS = (
    "SELECT job, state, at_most, runs, seconds FROM run_total ORDER BY job, state, at_most"
)
_FOUND = """
    SELECT f.severity, count(*) AS findings FROM last_end e JOIN finding f ON f.run = e.run
    GROUP BY f.severity
"""


def last_report_at(transaction: Transaction, until: datetime) -> datetime | None:
    """Return the time of the last health report that ended until an instant."""
    return _instant(transaction.row(_LAST_REPORT, (to_text(until),)))


def first_run_at(transaction: Transaction) -> datetime | None:
    """Return the time of the first run."""
    return _instant(transaction.row(_FIRST))


def _instant(row: Row | None) -> datetime | None:
    if row and row["at"]:
        return from_text(row["at"])
    return None


def load_runs(transaction: Transaction, since: datetime) -> list[Row]:
    """Return the runs since an instant with their durations."""
    return transaction.rows(_RUNS, (to_text(since),))


def load_works(transaction: Transaction, since: datetime) -> list[Row]:
    """Return the work done on each object, longest first; the longest only."""
    return transaction.rows(_WORKS, (to_text(since), MOST_WORKS))


def load_totals(transaction: Transaction, since: datetime) -> list[Row]:
    """Return the steps that were done by their name: objects, rows, bytes, seconds."""
    return transaction.rows(_TOTALS, (to_text(since),))


def load_undone(transaction: Transaction, since: datetime) -> list[Row]:
    """Return the first steps of each job's last run that were not done, with the reason."""
    return transaction.rows(_LEFT, (to_text(since), MOST_UNDONE))


def load_last_runs(transaction: Transaction) -> list[Row]:
    """Return the last run of each job in each place, running ones included."""
    return transaction.rows(_LAST_RUNS)


def load_last_findings(transaction: Transaction) -> list[Row]:
    """Return the findings of the last run of each job in each place."""
    return transaction.rows(_LAST_FINDINGS)


def load_done_steps(transaction: Transaction, job: str, limit: int) -> list[Row]:
    """Return the newest steps of a job."""
    return transaction.rows(_DONE_STEPS, (job, limit))


def load_coverage(
    transaction: Transaction, since: datetime
) -> dict[tuple[str, str], dict[str, float]]:
    """Return the latest counts of verified objects by kind of objects and database.

    `wanted` are all objects, `proven` the verified ones, `days` is the age of the oldest proof.
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    for objects, names in COVERAGE.items():
        latest: dict[str, dict[str, float]] = {}
        for key, name in names.items():
            for database, value in load_last_measures(transaction, name, since).items():
                latest.setdefault(database, {})[key] = value
        found |= {(objects, database): latest[database] for database in sorted(latest)}
    return found


def load_coverage_now(
    transaction: Transaction, since: datetime, now: datetime
) -> dict[tuple[str, str], dict[str, float]]:
    """Return the same with the objects that the last run itself has verified.

    The counts of a run are those of its beginning.
    """
    proven = {row["database"]: row for row in load_proven(transaction, "corruption_check")}
    found = load_coverage(transaction, since)
    for (objects, database), values in found.items():
        kept = proven.get(database)
        if objects == INDEXES and kept is not None and kept["proven"] > values.get("proven", 0.0):
            age = (now - from_text(kept["oldest"])) / timedelta(days=1)
            values["proven"] = min(values.get("wanted", 0.0), kept["proven"])
            values["days"] = max(values.get("days", 0.0), age)
    return found


def load_last_measures(transaction: Transaction, name: str, since: datetime) -> dict[str, float]:
    """Return the latest value of a measure of each whole database."""
    rows = transaction.rows(_LAST_MEASURES, (name, to_text(since)))
    return {row["database"]: row["value"] for row in rows}


def load_paused(transaction: Transaction) -> list[Row]:
    """Return the seconds that the steps of each job were paused, by reason."""
    return transaction.rows(_PAUSED)


def load_last_due(
    transaction: Transaction, schedule: str
) -> tuple[datetime, datetime | None] | None:
    """Return when the runs of the last due time of a schedule began and ended; None without one."""
    row = transaction.row(_LAST_DUE, (schedule, schedule))
    if row is None or row["began"] is None:
        return None
    return from_text(row["began"]), row["ended"] and from_text(row["ended"])


def load_clusters(transaction: Transaction) -> dict[str, str]:
    """Return the identifier of the server of each database."""
    return {row["database"]: row["system_identifier"] for row in transaction.rows(_CLUSTERS)}


def load_proven(transaction: Transaction, job: str) -> list[Row]:
    """Return the number of objects that a job has proven in each database, and the oldest proof."""
    return transaction.rows(_PROVEN, (job,))


def load_memories(transaction: Transaction, job: str, name: str) -> list[Row]:
    """Return the memory of an object of a job in each database, as JSON."""
    return transaction.rows(_MEMORIES, (job, name))


def load_series(transaction: Transaction, name: str, since: datetime) -> list[Row]:
    """Return the values of a measure in order of time."""
    return transaction.rows(_SERIES, (name, to_text(since)))


def load_last_ends(transaction: Transaction) -> list[Row]:
    """Return the last end of each task, skipped runs left out, and its last success."""
    return transaction.rows(_LAST_ENDS)


def load_ended_runs(transaction: Transaction) -> list[Row]:
    """Return runs and seconds of each job by state and limit of duration, deleted runs included."""
    return transaction.rows(_ENDED_RUNS)


def count_findings(transaction: Transaction) -> dict[str, int]:
    """Return the number of findings per severity in the last run of each task."""
    return {row["severity"]: row["findings"] for row in transaction.rows(_FOUND)}
