"""Asks the servers of the configured groups for their databases."""

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import psycopg
import structlog
from psycopg import sql

from daemon.config.groups import groups_of
from daemon.context import Context
from daemon.history import history
from daemon.membership import Answer, Listed, record_answers
from daemon.runs.sessions import require_same, server_in
from execution.errors import first_line
from postgres.session import MAINTAIN, TargetError, open_session

AT_ONCE = 16
"""Servers asked side by side."""
DATABASES = sql.SQL(
    """
    SELECT datname::text AS name, oid::bigint AS oid,
           datname::text LIKE %s AND NOT datname::text LIKE ANY (%s::text[]) AS fits
    FROM pg_catalog.pg_database
    WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2
    ORDER BY datname
    """
)
"""The limit -2 marks what an interrupted DROP DATABASE has left."""

_log = structlog.get_logger("discovery")


def ask(context: Context, only: Collection[str] | None = None) -> dict[str, Answer]:
    """Return the answer of the server of each group, or of some; nothing is recorded.

    Raises StoreError.
    """
    groups = [name for name in groups_of(context.written) if only is None or name in only]
    if not groups:
        return {}
    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="discovery") as pool:
        return dict(zip(groups, pool.map(partial(_ask, context), groups), strict=True))


def look_for_databases(
    context: Context, only: Collection[str] | None = None
) -> dict[str, TargetError]:
    """Ask the server of each group, or of some, for its databases; record new and missing ones.

    A group whose server does not answer stays as it is; it is returned with the reason. Raises
    StoreError.
    """
    answers = ask(context, only)
    record_answers(context, answers)
    return {name: one.problem for name, one in answers.items() if one.problem is not None}


def _ask(context: Context, group: str) -> Answer:
    database, asked_at = context.written.databases[group], context.clock()
    try:
        with context.store.reading() as transaction:
            known = history.known_server(transaction, group)
        with open_session(context.target(group), MAINTAIN, "discover", read_only=True) as opened:
            server = server_in(opened)
            if known is not None:
                require_same(group, server, known)
            rows = opened.rows(DATABASES, (database.discover, list(database.exclude)))
    except (TargetError, psycopg.Error) as error:
        refused = error if isinstance(error, TargetError) else _failed(group, error)
        _log.warning("discovery.failed", group=group, reason=str(refused))
        return Answer(asked_at, {}, problem=refused)
    found = {row["name"]: Listed(row["oid"], row["fits"]) for row in rows}
    return Answer(asked_at, found, server)


def _failed(group: str, error: psycopg.Error) -> TargetError:
    """Return the error of a look whose query failed: a bad pattern, or a session that ended."""
    return TargetError(f"{group}: its databases cannot be listed: {first_line(error)}")
