"""Gathers the health report from the store; no server is asked."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from alerts import alert_store, outbox
from alerts.alert import Alert, State
from daemon.config.model import Config
from daemon.history import statistics
from daemon.report.report import (
    DoneWork,
    Growth,
    NextDue,
    OpenAlert,
    Proofs,
    Report,
    ResolvedAlert,
    TaskSummary,
    UndoneStep,
)
from daemon.scheduling.timetable import timings
from domain.redaction import redact
from store.store import Row, Transaction
from store.timestamps import from_text

USUAL = timedelta(days=7)
HISTORY = timedelta(days=84)
BEFORE = timedelta(days=2)
"""How far before the last report a comparison value may lie."""
MOST_TABLES = 8
MOST_LEFT = 30
MOST_OVER = 50
LEAST_FORECAST = timedelta(days=2)
FARTHEST_FORECAST = timedelta(days=730)


def gather(transaction: Transaction, config: Config, now: datetime) -> Report:
    """Return the report since the last one, or since a week ago."""
    zone = ZoneInfo(config.daemon.timezone)
    last = statistics.last_report_at(transaction)
    since = last or max(
        now - USUAL, (statistics.first_run_at(transaction) or now) - timedelta(seconds=1)
    )
    works = statistics.load_works(transaction, since)
    runs = statistics.load_runs(transaction, since)
    return Report(
        instance=config.daemon.name,
        since=since.astimezone(zone),
        until=now.astimezone(zone),
        first=last is None,
        alerts=[
            _open_alert(alert, since, zone)
            for alert in _worst_first(alert_store.load_open(transaction))
        ],
        over=[
            _over(alert, zone)
            for alert in alert_store.load_resolved_since(transaction, since, MOST_OVER)
        ],
        tasks=list(_tasks(runs)),
        work=[_work(row) for row in works],
        more_work={(row["job"], row["database"]): row["of"] - row["place"] for row in works},
        left=[_left(row) for row in statistics.load_undone(transaction, since)[:MOST_LEFT]],
        databases=_growths(
            statistics.load_series(transaction, "database_bytes", since - BEFORE), since
        ),
        tables=_growths(statistics.load_series(transaction, "table_bytes", since - BEFORE), since)[
            :MOST_TABLES
        ],
        mounts=_mounts(transaction, now),
        next=list(_next(config, zone, now)),
        proofs=list(_proofs(transaction, now)),
        waiting=sum(one.attempts > 0 for one in outbox.load_waiting(transaction)),
        nights=_nights(statistics.load_runs(transaction, now - USUAL), zone),
        sizes=_sizes(statistics.load_series(transaction, "database_bytes", now - HISTORY)),
    )


def _worst_first(alerts: Sequence[Alert]) -> list[Alert]:
    notified = [alert for alert in alerts if alert.state is not State.PENDING]
    return sorted(notified, key=lambda alert: (-alert.severity.rank, alert.opened_at))


def _open_alert(alert: Alert, since: datetime, zone: ZoneInfo) -> OpenAlert:
    return OpenAlert(
        number=alert.id or 0,
        severity=alert.severity,
        kind=alert.kind,
        database=redact(alert.database),
        object=redact(alert.object or alert.task),
        summary=redact(alert.summary),
        remedy=redact(alert.remedy),
        since=alert.opened_at.astimezone(zone),
        new=alert.opened_at > since,
        acknowledged_by=redact(alert.acknowledged_by),
    )


_PROOFS = {
    "indexes and tables": ("proofs_wanted", "proofs", "oldest_proof_days"),
    "foreign keys": ("keys_wanted", "keys_proven", "oldest_key_days"),
}
"""The measures of what was verified: all objects, verified ones, days of the oldest proof."""


def _over(alert: Alert, zone: ZoneInfo) -> ResolvedAlert:
    ended = (alert.resolved_at or alert.last_seen_at).astimezone(zone)
    return ResolvedAlert(
        alert.kind,
        redact(alert.database),
        redact(alert.object or alert.task),
        redact(alert.summary),
        ended,
    )


def _tasks(runs: Sequence[Row]) -> Iterator[TaskSummary]:
    """Yield a summary per job and place, in the order of their first run."""
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for run in runs:
        if run["job"] != "health_report":
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


def _growths(rows: Sequence[Row], since: datetime) -> list[Growth]:
    """Return the growth of each series, largest first."""
    values: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for row in rows:
        what = redact(" ".join(part for part in (row["database"], row["object"]) if part))
        values[what].append((from_text(row["taken_at"]), row["value"]))
    found = [
        Growth(what, _before(series, since), series[-1][1], measured=len(series))
        for what, series in values.items()
    ]
    return sorted(found, key=lambda one: (-one.change, -one.now))


def _before(series: Sequence[tuple[datetime, float]], since: datetime) -> float:
    earlier = [value for at, value in series if at <= since]
    if earlier:
        return earlier[-1]
    return series[0][1]


def _proofs(transaction: Transaction, now: datetime) -> Iterator[Proofs]:
    """Yield the coverage of amcheck and of foreign keys in each database, as of their last run."""
    for noun, names in _PROOFS.items():
        latest: dict[str, dict[str, float]] = defaultdict(dict)
        for name in names:
            for row in statistics.load_series(transaction, name, now - USUAL):
                latest[row["database"]][name] = row["value"]
        for database, values in sorted(latest.items()):
            wanted, proven, days = (values.get(name, 0.0) for name in names)
            if wanted:
                yield Proofs(redact(database), int(wanted), int(proven), days, noun)


def _mounts(transaction: Transaction, now: datetime) -> list[Growth]:
    """Return the use of each mount, with a forecast of the day on which it is full."""
    totals = {
        row["object"]: row["value"]
        for row in statistics.load_series(transaction, "disk_bytes", now - USUAL)
    }
    used: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in statistics.load_series(transaction, "disk_used_bytes", now - HISTORY):
        used[row["object"]].append((_seconds(row), row["value"]))
    return [
        Growth(
            redact(mount), used[mount][0][1], used[mount][-1][1], total, full_on(used[mount], total)
        )
        for mount, total in sorted(totals.items())
        if mount in used
    ]


def full_on(used: Sequence[tuple[float, float]], total: float) -> date | None:
    """Return the day on which a linear fit reaches the total; None beyond two years.

    Needs values over at least two days.
    """
    if not used or used[-1][0] - used[0][0] < LEAST_FORECAST.total_seconds():
        return None
    middle_x = sum(x for x, _ in used) / len(used)
    middle_y = sum(y for _, y in used) / len(used)
    spread = sum((x - middle_x) ** 2 for x, _ in used)
    slope = sum((x - middle_x) * (y - middle_y) for x, y in used) / spread
    if slope <= 0:
        return None
    left = max(0.0, (total - used[-1][1]) / slope)
    if left > FARTHEST_FORECAST.total_seconds():
        return None
    return (datetime.fromtimestamp(used[-1][0], UTC) + timedelta(seconds=left)).date()


def _next(config: Config, zone: ZoneInfo, now: datetime) -> Iterator[NextDue]:
    for name, timing in timings(config).items():
        for due in islice(timing.upcoming(now), 1):
            yield NextDue(name, due.instant.astimezone(zone), config.timetable[name].jobs)


def _nights(runs: Sequence[Row], zone: ZoneInfo) -> dict[str, dict[str, float]]:
    nights: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for run in runs:
        if run["job"] == "health_report":
            continue
        nights[f"{from_text(run['started_at']).astimezone(zone):%Y-%m-%d}"][run["job"]] += run[
            "seconds"
        ]
    return {day: dict(jobs) for day, jobs in nights.items()}


def _sizes(rows: Sequence[Row]) -> Mapping[str, Sequence[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        found[redact(row["database"])].append((_seconds(row), row["value"]))
    return dict(found)


def _seconds(row: Row) -> float:
    return from_text(row["taken_at"]).timestamp()
