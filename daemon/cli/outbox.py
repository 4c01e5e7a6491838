"""`sereno alerts outbox`: the undelivered notifications, and why they wait."""

from datetime import datetime
from typing import TYPE_CHECKING

from daemon.cli.options import ConfigOption, JsonOption, print_json

if TYPE_CHECKING:
    from alerts.outbox import Waiting


def outbox(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List undelivered notifications and why they wait."""
    from dataclasses import asdict

    from alerts import outbox as stored
    from daemon.cli.output import counted, line, local_minute, zone_name
    from daemon.cli.overview import open_overview

    with open_overview(config) as overview:
        with overview.store.reading() as transaction:
            waiting = stored.load_waiting(transaction)
        if as_json:
            print_json([asdict(one) for one in waiting])
            return
        now, zone = overview.now(), overview.zone
        for one in waiting:
            tries = ""
            if one.attempts:
                tries = f"{counted(one.attempts, 'attempt')}, "
            next_try = local_minute(one.not_before, zone, now)
            line(f"{one.channel}  {one.title}")
            line(f"{tries}next at {next_try}: {_reason(one, now)}", indent=4)
        total = counted(len(waiting), "notification")
        line(f"{total} waiting (times: {zone_name(zone)})" if waiting else "the outbox is empty")


def _reason(one: "Waiting", now: datetime) -> str:
    if one.state == "leased":
        return "being sent"
    if one.last_error:
        return one.last_error
    if one.not_before > now:
        return "grouping with other alerts"
    return "queued (is the service running?)"
