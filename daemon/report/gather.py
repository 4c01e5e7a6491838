"""Gathers the health report from the store; no server is asked."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from importlib.metadata import version
from itertools import islice
from typing import Any
from zoneinfo import ZoneInfo

from alerts.alert_figures import load_figures
from checks.check import Check
from checks.means import LOOK
from checks.registry import headers_of
from daemon.config.model import Config
from daemon.history import migrating, statistics
from daemon.report import gather_alerts, gather_growth
from daemon.report.report import (
    Done,
    DoneWork,
    MigrationState,
    NextDue,
    Night,
    Proofs,
    Report,
    Statement,
    TaskSummary,
    UndoneStep,
    Version,
)
from daemon.scheduling.timetable import Timing, timings
from domain.redaction import redact
from migrations.state import State
from store.store import Row, Transaction
from store.timestamps import from_text, to_text

USUAL = timedelta(days=7)
DURATIONS = timedelta(days=28)
MOST_DUE = 400
MOST_STATEMENTS = 10
MOST_MIGRATIONS = 20
_REPORT = "health_report"
_OVER = frozenset({State.DONE, State.PURGED, State.ROLLED_BACK})
_LEFT = frozenset({"window_ended", "throttled"})


def gather(
    transaction: Transaction,
    config: Config,
    now: datetime,
    checks: Mapping[str, Check],
    *,
    age: timedelta = timedelta(),
) -> Report:
    """Return the report since the last one that is at least of an age, or since a week ago."""
    zone = ZoneInfo(config.daemon.timezone)
    last = statistics.last_report_at(transaction, now - age)
    since = last or max(
        now - USUAL, (statistics.first_run_at(transaction) or now) - timedelta(seconds=1)
    )
    runs = statistics.load_runs(transaction, min(since, now - DURATIONS))
    headers = headers_of(checks)
    return Report(
        instance=config.daemon.name,
        since=since.astimezone(zone),
        until=now.astimezone(zone),
        first=last is None,
        alerts=gather_alerts.open_alerts(transaction, headers, since, zone),
        over=gather_alerts.resolved_alerts(transaction, headers, since, zone),
        figures=load_figures(transaction, since),
        tasks=list(_tasks(_began_after(runs, since))),
        nights=nights(_began_after(runs, now - USUAL), zone),
        done=[Done(**row) for row in statistics.load_totals(transaction, since)],
        work=[_work(row) for row in statistics.load_works(transaction, since)],
        left=[_left(row) for row in statistics.load_undone(transaction, since)],
        next=list(_next(config, _usual_seconds(_began_after(runs, now - DURATIONS)), now)),
        proofs=list(_proofs(transaction, now)),
        statements=_statements(transaction),
        migrations=_migrations(transaction),
        versions=list(_versions(transaction, now)),
        sereno_version=version("sereno"),
        page=config.web.page,
        **_growth(transaction, since, now),
    )


def _growth(transaction: Transaction, since: datetime, now: datetime) -> dict[str, Any]:
    """Return the fields of a report about sizes."""
    disks = gather_growth.disks(transaction, now)
    clusters = statistics.load_clusters(transaction)
    return {
        "databases": gather_growth.databases(transaction, since),
        "tables": gather_growth.tables(transaction, since),
        "wal": gather_growth.wal(transaction, since, clusters),
        "mounts": gather_growth.mounts(transaction, now),
        "disks": disks,
        "trends": gather_growth.trends(disks),
        "sizes": gather_growth.sizes(transaction, now),
    }


def _tasks(runs: Sequence[Row]) -> Iterator[TaskSummary]:
    """Yield a summary per job and place, in the order of their first run."""
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for run in runs:
        if run["job"] != _REPORT:
            grouped[run["job"], run["database"]].append(run)
    for (job, database), rows in grouped.items():
        states = Counter(row["state"] for row in rows)
        seconds = sum(row["seconds"] for row in rows)
        last = rows[-1]
        yield TaskSummary(
            job,
            redact(database),
            len(rows),
            states["finished"],
            seconds,
            last["state"],
            redact(last["reason"]),
        )


def nights(runs: Sequence[Row], zone: ZoneInfo) -> Mapping[str, Mapping[str, Night]]:
    """Return the last run of each place by job and local date, in the order of the jobs' names.

    A run that failed and was repeated is cured.
    """
    counted: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    last: dict[tuple[str, str, str], Row] = {}
    for run in runs:
        if run["job"] == _REPORT or run["state"] == "running":
            continue
        day = f"{from_text(run['started_at']).astimezone(zone):%Y-%m-%d}"
        counted[run["job"]][day]["seconds"] += run["seconds"]
        last[run["job"], day, run["database"]] = run
    for (job, day, _), run in last.items():
        counts = counted[job][day]
        counts["runs"] += 1
        counts[_outcome(run["state"])] += 1
        counts["steps"] += run["steps_left"]
    return {
        job: {day: _night(counts) for day, counts in sorted(days.items())}
        for job, days in sorted(counted.items())
    }


def _outcome(state: str) -> str:
    if state in _LEFT:
        return "ended"
    return state if state in {"finished", "skipped"} else "failed"


def _night(counts: Counter[str]) -> Night:
    return Night(
        runs=counts["runs"],
        finished=counts["finished"],
        left=max(counts["steps"], counts["ended"]),
        failed=counts["failed"],
        skipped=counts["skipped"],
        seconds=float(counts["seconds"]),
    )


def _work(row: Row) -> DoneWork:
    return DoneWork(
        row["job"],
        redact(row["database"]),
        row["name"],
        redact(row["object"]),
        row["times"],
        row["rows"],
        row["seconds"],
    )


def _left(row: Row) -> UndoneStep:
    return UndoneStep(
        row["job"],
        redact(row["database"]),
        redact(row["object"]),
        row["status"],
        redact(row["reason"]),
    )


def _proofs(transaction: Transaction, now: datetime) -> Iterator[Proofs]:
    """Yield the coverage of amcheck and of foreign keys in each database."""
    found = statistics.load_coverage_now(transaction, now - USUAL, now)
    for (objects, database), values in found.items():
        wanted, proven, days = (values.get(key, 0.0) for key in ("wanted", "proven", "days"))
        if wanted:
            yield Proofs(redact(database), int(wanted), int(proven), days, objects)


def _began_after(runs: Sequence[Row], instant: datetime) -> Sequence[Row]:
    at = to_text(instant)
    return [run for run in runs if run["started_at"] > at]


def _next(config: Config, usual: Mapping[str, float], now: datetime) -> Iterator[NextDue]:
    """Yield the next due time of each schedule, with the usual duration of its jobs."""
    zone = ZoneInfo(config.daemon.timezone)
    for name, timing in timings(config).items():
        coming = _coming(timing, now)
        if not coming:
            continue
        schedule = config.timetable[name]
        yield NextDue(
            name,
            coming[0].astimezone(zone),
            schedule.jobs,
            len(coming),
            sum(usual.get(job, 0.0) for job in schedule.jobs),
            schedule.window.total_seconds(),
        )


def _coming(timing: Timing, now: datetime) -> Sequence[datetime]:
    """Return the due times of the next seven days, at most some hundreds; else the next one."""
    first = list(islice(timing.upcoming(now), MOST_DUE))
    return [one.instant for one in first if one.instant <= now + USUAL] or [
        one.instant for one in first[:1]
    ]


def _usual_seconds(runs: Sequence[Row]) -> Mapping[str, float]:
    """Return the usual seconds of a job: the mean of the database in which it takes longest.

    Databases are worked on side by side.
    """
    times: dict[tuple[str, str], list[float]] = defaultdict(list)
    for run in runs:
        if run["state"] not in {"running", "skipped"}:
            times[run["job"], run["database"]].append(run["seconds"])
    usual: dict[str, float] = defaultdict(float)
    for (job, _), seconds in times.items():
        usual[job] = max(usual[job], sum(seconds) / len(seconds))
    return usual


def _statements(transaction: Transaction) -> Sequence[Statement]:
    """Return the statements that took most time between the last two looks of the check."""
    found = []
    for row in statistics.load_memories(transaction, "integrity_check", "statement_regression"):
        for known in json.loads(row["evidence"]).get("means", {}).values():
            look = known.get(LOOK)
            if look:
                found.append(_statement(row["database"], look))
    return sorted(found, key=lambda one: (-one.milliseconds, one.database, one.query))[
        :MOST_STATEMENTS
    ]


def _statement(database: str, look: Mapping[str, Any]) -> Statement:
    return Statement(
        database=redact(database),
        query=redact(str(look["query"])),
        calls=float(look["calls"]),
        milliseconds=float(look["ms"]),
        mean=float(look["ms"]) / float(look["calls"]),
        usual=look.get("usual"),
    )


def _migrations(transaction: Transaction) -> Sequence[MigrationState]:
    """Return the migrations on which work is left."""
    return [
        MigrationState(
            redact(row["database"]),
            row["migration"],
            row["title"],
            row["phase"],
            row["state"],
            redact(row["problem"]),
        )
        for row in migrating.load_states(transaction)
        if State(row["state"]) not in _OVER
    ][:MOST_MIGRATIONS]


def _versions(transaction: Transaction, now: datetime) -> Iterator[Version]:
    """Yield the version of each database's server, as last measured."""
    latest = {
        row["database"]: int(row["value"])
        for row in statistics.load_series(transaction, "server_version", now - USUAL)
    }
    for database, number in sorted(latest.items()):
        yield Version(redact(database), f"{number // 10_000}.{number % 10_000}")
