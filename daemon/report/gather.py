"""From the store to a report. Reads only; nothing is asked of any server."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

from alerts import alert_store, outbox
from alerts.alert import Alert, State
from daemon.config.model import Config
from daemon.history import statistics
from daemon.report.report import Growth, Left, Next, Over, Report, Task, Trouble, Work
from daemon.scheduling.timetable import timings
from domain.redaction import scrub
from store.store import Row, Transaction
from store.timestamps import from_text

USUAL = timedelta(days=7)
HISTORY = timedelta(days=84)
BEFORE = timedelta(days=2)
"""As far back before the last report is looked for the size that it was then."""
MOST_TABLES = 8
MOST_LEFT = 30
MOST_OVER = 50
LEAST_FORECAST = timedelta(days=2)
FARTHEST_FORECAST = timedelta(days=730)


def gather(transaction: Transaction, config: Config, now: datetime) -> Report:
    """Read what has come about since the last report: a week, where there was none."""
    zone = ZoneInfo(config.daemon.timezone)
    last = statistics.last_report(transaction)
    since = last or max(now - USUAL, (statistics.beginning(transaction) or now) - timedelta(seconds=1))
    works = statistics.works(transaction, since)
    runs = statistics.runs(transaction, since)
    return Report(
        instance=config.daemon.name,
        since=since.astimezone(zone),
        until=now.astimezone(zone),
        first=last is None,
        troubles=[_trouble(alert, since, zone) for alert in _worst_first(alert_store.open_alerts(transaction))],
        over=[_over(alert, zone) for alert in alert_store.ended(transaction, since, MOST_OVER)],
        tasks=list(_tasks(runs)),
        works=[_work(row) for row in works],
        more_works={(row["job"], row["database"]): row["of"] - row["place"] for row in works},
        left=[_left(row) for row in statistics.left(transaction, since)[:MOST_LEFT]],
        databases=_growths(statistics.series(transaction, "database_bytes", since - BEFORE), since),
        tables=_growths(statistics.series(transaction, "table_bytes", since - BEFORE), since)[:MOST_TABLES],
        mounts=_mounts(transaction, now),
        next=list(_next(config, zone, now)),
        waiting=sum(one.attempts > 0 for one in outbox.waiting(transaction)),
        nights=_nights(statistics.runs(transaction, now - USUAL), zone),
        sizes=_sizes(statistics.series(transaction, "database_bytes", now - HISTORY)),
    )


def _worst_first(alerts: Sequence[Alert]) -> list[Alert]:
    told = [alert for alert in alerts if alert.state is not State.PENDING]
    return sorted(told, key=lambda alert: (-alert.severity.rank, alert.opened_at))


def _trouble(alert: Alert, since: datetime, zone: ZoneInfo) -> Trouble:
    return Trouble(
        number=alert.id or 0,
        severity=alert.severity,
        kind=alert.kind,
        database=scrub(alert.database),
        object=scrub(alert.object or alert.task),
        summary=scrub(alert.summary),
        remedy=scrub(alert.remedy),
        since=alert.opened_at.astimezone(zone),
        new=alert.opened_at > since,
        acknowledged_by=scrub(alert.acknowledged_by),
    )


def _over(alert: Alert, zone: ZoneInfo) -> Over:
    ended = (alert.resolved_at or alert.last_seen_at).astimezone(zone)
    return Over(alert.kind, scrub(alert.database), scrub(alert.object or alert.task), scrub(alert.summary), ended)


def _tasks(runs: Sequence[Row]) -> Iterator[Task]:
    """Yield one line for each job and place, in the order of their first run."""
    grouped: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for run in runs:
        if run["job"] != "health_report":
            grouped[run["job"], run["database"]].append(run)
    for (job, database), rows in grouped.items():
        states = Counter(row["state"] for row in rows)
        seconds = sum(row["seconds"] for row in rows)
        last = rows[-1]
        yield Task(job, scrub(database), len(rows), states["finished"], seconds, last["state"], scrub(last["reason"]))


def _work(row: Row) -> Work:
    return Work(
        row["job"], scrub(row["database"]), row["name"], scrub(row["object"]), row["times"], row["rows"], row["seconds"]
    )


def _left(row: Row) -> Left:
    return Left(row["job"], scrub(row["database"]), scrub(row["object"]), row["status"], scrub(row["reason"]))


def _growths(rows: Sequence[Row], since: datetime) -> list[Growth]:
    """Compare the last value before an instant (else the first) with the last; what has grown most comes first."""
    values: dict[str, list[tuple[datetime, float]]] = defaultdict(list)
    for row in rows:
        what = scrub(" ".join(part for part in (row["database"], row["object"]) if part))
        values[what].append((from_text(row["taken_at"]), row["value"]))
    found = [
        Growth(what, _before(series, since), series[-1][1], measured=len(series)) for what, series in values.items()
    ]
    return sorted(found, key=lambda one: (-one.change, -one.now))


def _before(series: Sequence[tuple[datetime, float]], since: datetime) -> float:
    earlier = [value for at, value in series if at <= since]
    return earlier[-1] if earlier else series[0][1]


def _mounts(transaction: Transaction, now: datetime) -> list[Growth]:
    """Return each mount with its use, and when it is full if it goes on like this."""
    totals = {row["object"]: row["value"] for row in statistics.series(transaction, "disk_bytes", now - USUAL)}
    used: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in statistics.series(transaction, "disk_used_bytes", now - HISTORY):
        used[row["object"]].append((_seconds(row), row["value"]))
    return [
        Growth(scrub(mount), used[mount][0][1], used[mount][-1][1], total, full_on(used[mount], total))
        for mount, total in sorted(totals.items())
        if mount in used
    ]


def full_on(used: Sequence[tuple[float, float]], total: float) -> date | None:
    """Return the day on which a straight line through the values reaches the total; None: not in two years.

    At least two days of values are wanted: less is a guess.
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


def _next(config: Config, zone: ZoneInfo, now: datetime) -> Iterator[Next]:
    for name, timing in timings(config).items():
        for due in islice(timing.upcoming(now), 1):
            yield Next(name, due.instant.astimezone(zone), config.timetable[name].jobs)


def _nights(runs: Sequence[Row], zone: ZoneInfo) -> dict[str, dict[str, float]]:
    nights: dict[str, dict[str, float]] = defaultdict(lambda: defaultdict(float))
    for run in runs:
        if run["job"] == "health_report":
            continue
        nights[f"{from_text(run['started_at']).astimezone(zone):%Y-%m-%d}"][run["job"]] += run["seconds"]
    return {day: dict(jobs) for day, jobs in nights.items()}


def _sizes(rows: Sequence[Row]) -> Mapping[str, Sequence[tuple[float, float]]]:
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in rows:
        found[scrub(row["database"])].append((_seconds(row), row["value"]))
    return dict(found)


def _seconds(row: Row) -> float:
    return from_text(row["taken_at"]).timestamp()
