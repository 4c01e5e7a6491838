"""Alerts of checks, pairs and databases that have left the configuration."""

from collections.abc import Iterable, Iterator

import structlog

from alerts import alert_store
from alerts.alert import Alert
from checks.registry import FROM_JOBS, PAIRED, TENANT_RLS
from daemon.config.groups import groups_of
from daemon.context import Context
from domain.coverage import Coverage
from domain.kinds import (
    DATABASE_UNREACHABLE,
    GROUP_EMPTY,
    KINDS,
    NOT_INSTALLED,
    SERVER_UNREACHABLE,
)

_log = structlog.get_logger("alerts")


def resolve_what_left(context: Context) -> None:
    """Resolve the alerts that nothing looks for any more, and log why. Raises StoreError."""
    with context.store.reading() as transaction:
        alerts = alert_store.load_open(transaction)
    ended = []
    for alert, why in what_left(alerts, context):
        _log.warning(
            "alert.left_configuration",
            number=alert.id,
            kind=alert.kind,
            object=alert.object,
            database=alert.database,
            reason=why,
        )
        ended.append(Coverage(alert.kind, alert.database, alert.object, final=True))
    if ended:
        context.process_findings((), ended)


def what_left(alerts: Iterable[Alert], context: Context) -> Iterator[tuple[Alert, str]]:
    """Yield the alerts that no configured look can find again, with the reason."""
    for alert in alerts:
        if why := _why(alert, context):
            yield alert, why


def _why(alert: Alert, context: Context) -> str:
    return (
        _why_database(alert, context) or _why_server(alert, context) or _why_check(alert, context)
    )


def _why_database(alert: Alert, context: Context) -> str:
    known = context.config.databases.keys() | context.missing
    name = alert.database
    if not name or name in known:
        return ""
    if name not in context.written.databases:
        return f"databases.{name} is not configured any more"
    if alert.kind != DATABASE_UNREACHABLE.name:
        return f"databases.{name} stands for several databases now"
    return ""


def _why_server(alert: Alert, context: Context) -> str:
    """Return why an alert about a group, or a server of several databases, has no object."""
    groups = groups_of(context.written)
    if alert.kind in {NOT_INSTALLED.name, GROUP_EMPTY.name} and alert.object not in groups:
        return f"databases.{alert.object} is not configured any more"
    shared = context.policy.servers.values()
    if alert.kind == SERVER_UNREACHABLE.name and alert.object not in shared:
        return f"at most one database is configured in the server {alert.object}"
    return ""


def _why_check(alert: Alert, context: Context) -> str:
    kind = alert.kind
    if kind in KINDS or kind in FROM_JOBS:
        return ""
    if kind not in context.checks:
        return "the check does not exist any more"
    excluded = context.config.job("integrity_check").exclude
    if kind in excluded and context.checks[kind].header.scope != "host":
        return f"jobs.integrity_check.exclude names {kind}"
    if kind in PAIRED and not context.config.has_pairs(kind, alert.database):
        return f"no pair is declared in [[checks.{kind}]] any more"
    if kind == TENANT_RLS and not context.config.declares_tenant(alert.database):
        return f"databases.{alert.database}.tenant is not declared any more"
    return ""
