"""The line of `sereno status` about the databases: which answer, and which do not."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from daemon.cli.output import local_minute
from domain.kinds import DATABASE_UNREACHABLE, SERVER_UNREACHABLE
from domain.units import some_of

if TYPE_CHECKING:
    from alerts.alert import Alert
    from daemon.cli.overview import Overview
    from store.store import Row

MOST_DATABASES = 4


def databases_line(overview: "Overview", alerts: "Sequence[Alert]", runs: "Sequence[Row]") -> str:
    """Return which databases answer, and since when the others do not."""
    lost = {alert.database: alert for alert in alerts if alert.kind == DATABASE_UNREACHABLE.name}
    down = {alert.object: alert for alert in alerts if alert.kind == SERVER_UNREACHABLE.name}
    on_them = _databases_of(overview, down)
    parts = [f"{name}: {_silent(overview, alert)}" for name, alert in lost.items()]
    for address, alert in down.items():
        names = [name for name, one in on_them.items() if one == address]
        parts.append(
            f"{some_of(names, MOST_DATABASES)}: server {address} {_silent(overview, alert)}"
        )
    if answering := [name for name in overview.databases if name not in {*lost, *on_them}]:
        parts.append(f"{some_of(answering, MOST_DATABASES)}: {_last_answer(overview, runs)}")
    return "; ".join(parts)


def _last_answer(overview: "Overview", runs: "Sequence[Row]") -> str:
    asked = max((run["finished_at"] or "" for run in runs if run["database"]), default="")
    if not asked:
        return "not asked yet"
    return f"answered at {local_minute(asked, overview.zone, overview.now())}"


def _silent(overview: "Overview", alert: "Alert") -> str:
    since = local_minute(alert.opened_at, overview.zone, overview.now())
    return f"NOT answering since {since}"


def _databases_of(overview: "Overview", servers: Collection[str]) -> dict[str, str]:
    """Return the server of each database of some servers."""
    if not servers:
        return {}
    from daemon.config.servers import address_of

    found = {name: address_of(dsn) for name, (dsn, _) in overview.databases.items()}
    return {name: address for name, address in found.items() if address in servers}
