"""`sereno status`: open alerts, databases, last runs, due times and the outbox, from the store."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta
from itertools import groupby, islice
from typing import TYPE_CHECKING, Annotated, Any
from zoneinfo import ZoneInfo

import typer

from daemon.cli.options import (
    ConfigOption,
    DatabaseOption,
    FailOnOption,
    JsonOption,
    TagOption,
    fail,
    print_json,
)
from daemon.exit_codes import Exit

if TYPE_CHECKING:
    from daemon.cli.overview import Overview
    from store.store import Row

UPCOMING = 10
MOST_RUNS = 200
STALE_CHECK = timedelta(minutes=5)
"""A running service checks the state file several times a minute."""
MOST_ALERTS = 5
_RUN_KEYS = ("id", "job", "database", "state", "started_at", "finished_at", "reason")


def status(
    upcoming: Annotated[
        bool, typer.Option("--next", help="Only the next ten due times of each schedule.")
    ] = False,
    fail_on: FailOnOption = "critical",
    config: ConfigOption = None,
    database: DatabaseOption = None,
    tag: TagOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show open alerts, the last runs, the next due times and undelivered notifications.

    Exits with 1 if a firing or acknowledged alert has the severity of --fail-on, if no
    channel delivers, or if the running service cannot write its state file.
    """
    from daemon.cli.overview import open_overview

    with open_overview(config) as overview:
        if database is not None or tag:
            overview = overview.only(database, tag or ())  # noqa: PLW2901 - the same, with less
        if upcoming:
            _print_next(overview, as_json=as_json)
            return
        from domain.finding import Severity

        if fail_on not in set(Severity):
            fail(f"--fail-on: {fail_on!r} is not one of {', '.join(Severity)}", Exit.CANNOT)
        state = _State(overview)
        if as_json:
            print_json(state.as_json())
        else:
            state.show()
        reached = any(alert.severity >= Severity(fail_on) for alert in state.firing)
        wrong = reached or state.none_delivers or state.unwritable()
        raise typer.Exit(Exit.FOUND if wrong else Exit.FINE)


def _print_next(overview: "Overview", *, as_json: bool) -> None:
    from daemon.cli.output import line, prose, zone_name

    dues = list(_due_times(overview, UPCOMING))
    if as_json:
        print_json(dues)
        return
    for name, of_schedule in groupby(dues, lambda due: due["schedule"]):
        prose(f"{name}: {', '.join(overview.jobs[name])}")
        for due in of_schedule:
            line(f"{due['local']}   {due['utc']} UTC", indent=2)
    if dues:
        line(f"(local time: {zone_name(overview.zone)})")
    else:
        line("no schedule is configured")


def _due_times(overview: "Overview", count: int) -> Iterator[dict[str, str]]:
    zone = ZoneInfo(overview.zone)
    for name, timing in overview.timings.items():
        for due in islice(timing.upcoming(overview.now()), count):
            yield {
                "schedule": name,
                "nominal": f"{due.nominal:%a %Y-%m-%d %H:%M}",
                "local": f"{due.instant.astimezone(zone):%Y-%m-%d %H:%M %Z}",
                "utc": f"{due.instant:%Y-%m-%d %H:%M}",
                "jobs": ", ".join(overview.jobs[name]),
            }


class _State:
    """The contents of the store that status shows."""

    def __init__(self, overview: "Overview") -> None:
        from alerts import alert_store, outbox
        from alerts.alert import State
        from daemon.cli.fleet_values import Fleet
        from daemon.history import history, pause, statistics
        from daemon.history.chosen_databases import show_only
        from domain.kinds import CHANNEL_UNDELIVERED
        from store.state_check import checked_at

        self.overview, self.workers = overview, Fleet(overview)
        with overview.store.reading() as transaction:
            if overview.chosen is not None:
                show_only(transaction, overview.chosen, overview.addresses())
            alerts = alert_store.load_open(transaction)
            self.runs = history.load_runs(transaction, MOST_RUNS)
            self.waiting = outbox.count_waiting(transaction)
            self.paused = pause.paused(transaction, overview.now())
            self.checked_at = checked_at(transaction)
            self.clusters = statistics.load_clusters(transaction)
        self.alerts = sorted(alerts, key=lambda alert: (-alert.severity.rank, alert.id or 0))
        self.firing = [alert for alert in self.alerts if alert.state is not State.PENDING]
        failing = {alert.object for alert in alerts if alert.kind == CHANNEL_UNDELIVERED.name}
        self.failing_channels = sorted(failing & set(overview.channels))
        self.none_delivers = bool(overview.channels) and failing >= set(overview.channels)

    def unwritable(self) -> bool:
        """Return whether a service runs that could not write the state file for a while."""
        if self.checked_at is None or self.overview.now() - self.checked_at < STALE_CHECK:
            return False
        return self.service_running()

    def service_running(self) -> bool:
        from store.file_lock import LockHeldError

        try:
            with self.overview.store.owned():
                return False
        except LockHeldError:
            return True

    def as_json(self) -> dict[str, Any]:
        from daemon.alert_views import alert_row

        paused = self.paused
        return {
            "instance": self.overview.name,
            "service": self.service_running(),
            "workers": [self.workers.row(one) for one in self.workers.workers],
            "paused": None if paused is None else {"until": paused.until, "reason": paused.reason},
            "next": list(_due_times(self.overview, 1)),
            "runs": [{key: run[key] for key in _RUN_KEYS} for run in self.runs[:UPCOMING]],
            "alerts": [alert_row(alert) for alert in self.alerts],
            "outbox": self.waiting,
            "failing_channels": self.failing_channels,
        }

    def show(self) -> None:
        from daemon.cli.output import line, zone_name
        from daemon.cli.status_databases import databases_line

        line(f"{self.overview.name}   {self._overall()}")
        self._show_alerts()
        line(f"service    {self._service()}")
        if self.workers.workers:
            line(f"workers    {self.workers.text()}")
        if self.paused is not None:
            line(f"paused     {self._paused()}")
        line(f"databases  {databases_line(self.overview, self.alerts, self.runs)}")
        for number, text in enumerate(self._last_schedules() or ["none yet"]):
            line(f"{'last runs' if number == 0 else '':<11}{text}")
        for number, due in enumerate(_due_times(self.overview, 1)):
            line(f"{'next' if number == 0 else '':<11}{due['schedule']} {due['local']}")
        line(f"outbox     {self._outbox()}")
        following = ""
        if self.alerts:
            following = f"Next: sereno alerts show {self.alerts[0].id}   "
        line(f"{following}(times: {zone_name(self.overview.zone)})")

    def _service(self) -> str:
        from daemon.cli.output import local_minute

        if self.unwritable() and self.checked_at:
            since = local_minute(self.checked_at, self.overview.zone, self.overview.now())
            return f"running, but CANNOT WRITE its state file since {since}"
        if self.service_running():
            return "running"
        if self.workers.workers:
            return "NOT running (systemctl start sereno-worker@NAME on each machine)"
        return "NOT running (sereno run, or systemctl start sereno)"

    def _overall(self) -> str:
        from alerts.wording import severity_wording
        from daemon.cli.output import paint
        from domain.finding import Severity

        if self.unwritable():
            return paint("RED: the state file cannot be written", "bold red")
        worst = max((alert.severity for alert in self.alerts), default=Severity.INFO)
        wording = severity_wording(worst)
        counts = Counter(alert.severity for alert in self.alerts)
        named = [f"{counts[one]} {one.value}" for one in reversed(Severity) if counts[one]]
        text = "no open alert"
        if named:
            text = f"{', '.join(named)} open"
        style = "green"
        if worst > Severity.INFO:
            style = wording.style
        return f"{paint(wording.overall.upper(), style)}: {text}"

    def _show_alerts(self) -> None:
        from daemon.alert_views import place_of
        from daemon.cli.alert_rows import print_alert
        from daemon.cli.output import counted, line, local_minute
        from domain.finding import Severity

        shown = [alert for alert in self.alerts if alert.severity >= Severity.HIGH][:MOST_ALERTS]
        for alert in shown:
            since = local_minute(alert.opened_at, self.overview.zone, self.overview.now())
            print_alert(alert, place_of(alert, self.clusters), f"since {since}", indent=2)
        others = len(self.alerts) - len(shown)
        if others:
            line(f"{counted(others, 'other alert')}: sereno alerts list", indent=2)

    def _last_schedules(self) -> list[str]:
        """Return a line per schedule about its last due time, and one about runs by hand."""
        groups: dict[tuple[str, str], list[Row]] = {}
        for run in self.runs:
            key = (run["schedule"] or "by hand", run["nominal"] or "")
            if all(key[0] != name for name, _ in groups) or key in groups:
                groups.setdefault(key, []).append(run)
        return [self._group(name, runs) for (name, _), runs in groups.items()]

    def _group(self, name: str, runs: "Sequence[Row]") -> str:
        from daemon.cli.output import local_minute

        latest: dict[tuple[str, str], Row] = {}
        for run in runs:
            latest.setdefault((run["job"], run["database"]), run)
        first = min if runs[0]["schedule"] else max
        started = first(run["started_at"] for run in latest.values())
        states = Counter(run["state"] for run in latest.values())
        finished = states.pop("finished", 0)
        others = "".join(f", {count} {state}" for state, count in states.most_common())
        at = local_minute(started, self.overview.zone, self.overview.now())
        return f"{name} {at}  {finished} of {len(latest)} finished{others}"

    def _outbox(self) -> str:
        from daemon.cli.output import counted

        waiting = counted(self.waiting, "notification") + " waiting (sereno alerts outbox)"
        text = "empty"
        if self.waiting:
            text = waiting
        if self.none_delivers:
            return f"{text}; NO CHANNEL DELIVERS: {', '.join(self.failing_channels)}"
        if self.failing_channels:
            return f"{text}; not delivering: {', '.join(self.failing_channels)}"
        return text

    def _paused(self) -> str:
        from daemon.cli.output import local_minute

        assert self.paused is not None  # noqa: S101 - the caller has asked
        until = self.paused.until
        end = "until sereno resume"
        if until:
            end = f"until {local_minute(until, self.overview.zone)}"
        if self.paused.reason:
            return f"{end} ({self.paused.reason})"
        return end
