"""Maintenance mode: a row that applications read while a migration needs them to stand back.

It ends by itself, so an application that asks the row cannot be left out of service.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from psycopg import errors, sql

from daemon.context import Context
from domain.units import format_duration
from migrations.migrate import NAME
from postgres.session import MAINTAIN, Session, TargetError, open_session

CHANNEL = "sereno_maintenance"

_ON = sql.SQL(
    "INSERT INTO sereno.maintenance (until, reason) "
    "VALUES (clock_timestamp() + {seconds} * interval '1 s', {reason})"
)
_OFF = sql.SQL(
    "UPDATE sereno.maintenance SET until = clock_timestamp() WHERE until > clock_timestamp()"
)
_NOW = sql.SQL(
    """
    SELECT since, until, reason FROM sereno.maintenance
    WHERE clock_timestamp() >= since AND clock_timestamp() < until ORDER BY until DESC LIMIT 1
    """
)
_HINT = sql.SQL("NOTIFY {}").format(sql.Identifier(CHANNEL))


def read_maintenance(context: Context, database: str) -> Mapping[str, Any] | None:
    """Return since, until and reason of the mode in force; None without one. Raises TargetError."""
    with open_session(context.target(database), MAINTAIN, NAME, read_only=True) as session:
        return _now(session)


def set_maintenance(
    context: Context, database: str, span: timedelta | None, reason: str
) -> Mapping[str, Any] | None:
    """Begin the mode for a time, or end it without one; return the mode in force.

    Raises TargetError, and ValueError for a time above `migrations.maintenance_max`.
    """
    most = context.config.migrations.maintenance_max
    if span is not None and not timedelta() < span <= most:
        raise ValueError(f"at most {format_duration(most)} (migrations.maintenance_max)")
    with open_session(context.target(database), MAINTAIN, NAME) as session:
        try:
            with session.transaction():
                session.execute(_OFF)
                if span is not None:
                    session.execute(
                        _ON.format(
                            seconds=sql.Literal(span.total_seconds()), reason=sql.Literal(reason)
                        )
                    )
                session.execute(_HINT)
        except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
            raise _uninstalled(database) from None
        return _now(session)


def _now(session: Session) -> Mapping[str, Any] | None:
    try:
        rows = session.rows(_NOW)
    except (errors.UndefinedTable, errors.InvalidSchemaName, errors.InsufficientPrivilege):
        raise _uninstalled(session.target.name) from None
    return rows[0] if rows else None


def _uninstalled(database: str) -> TargetError:
    return TargetError(
        f"{database}: sereno.maintenance is missing or not writable: "
        f"sereno install {database} --admin DSN"
    )
