"""Reads the governor's sample: the signals of a server, and those of one of its databases.

Runs in many databases of a server share what is the same for all of them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql

from execution.governor import Replica, Sample
from postgres.fencing.advisory_locks import CHANGES, LOCK_CLASS
from postgres.session import Session
from postgres.statement_file import read_statement

_LOCK = {"lock_class": sql.Literal(LOCK_CLASS), "changes": sql.Literal(CHANGES)}
_SERVER = read_statement("execution", "server_signals").format(**_LOCK)
_DATABASE = read_statement("execution", "database_signals").format(**_LOCK)
_BACKLOG = sql.SQL(
    """
        SELECT count(*)::int AS files
        FROM pg_catalog.pg_ls_archive_statusdir()
        WHERE name LIKE '%.ready'
    """
)
_REPLICAS = sql.SQL(
    """
    SELECT coalesce(application_name, '') AS name,
           extract(epoch FROM replay_lag)::float8 AS lag_seconds,
           -- a receiver that replays nothing, like pg_receivewal, flushes whole segments only
           pg_wal_lsn_diff(
             pg_current_wal_lsn(), coalesce(replay_lsn, write_lsn, sent_lsn)
           )::bigint AS lag_bytes
    FROM pg_catalog.pg_stat_replication
    WHERE state IS DISTINCT FROM 'backup'
    """
)


@dataclass(frozen=True, slots=True)
class ServerSignals:
    """The signals that are the same in each database of a server."""

    replicas: Sequence[Replica]
    archive_backlog: int | None
    slot_bytes: int
    free_disk: float | None
    active: int
    backup: str
    """A running base backup."""
    occupied: frozenset[int]
    """The oids of the databases where a pg_dump runs, or somebody holds the lock of changes."""


def read_server(session: Session) -> ServerSignals:
    """Read standbys, archiver, slots, sessions, backups and local disk."""
    replicas = tuple(Replica(**row) for row in session.rows(_REPLICAS))
    row = session.rows(_SERVER)[0]
    return ServerSignals(
        replicas=replicas,
        archive_backlog=_backlog(session, archives=row["archives"], sees=row["sees_archive"]),
        slot_bytes=row["slot_bytes"],
        free_disk=_free(row["folder"]),
        active=row["active"],
        backup=row["backup"],
        occupied=frozenset(row["occupied"]),
    )


def read_sample(session: Session, signals: ServerSignals, query: str = "") -> Sample:
    """Add to the signals of the server those of the session's database; run the user's query.

    A user query that fails is a reason to pause, with its error.
    """
    dump = migration = ""
    if session.facts.database_oid in signals.occupied:
        row = session.rows(_DATABASE)[0]
        dump, migration = row["dump"], row["migration"]
    return Sample(
        replicas=signals.replicas,
        archive_backlog=signals.archive_backlog,
        slot_bytes=signals.slot_bytes,
        free_disk=signals.free_disk,
        active=signals.active,
        backup=signals.backup or dump,
        migration=migration,
        query=_answer(session, query),
    )


def _backlog(session: Session, *, archives: bool, sees: bool) -> int | None:
    """Return the number of WAL files to archive.

    Its own query, since privileges are checked before CASE.
    """
    if not archives:
        return 0
    if sees:
        return int(session.rows(_BACKLOG)[0]["files"])
    return None


def _answer(session: Session, query: str) -> str:
    if not query:
        return ""
    try:
        with session.transaction(read_only=True):
            rows = session.rows(query.encode())
    except psycopg.Error as error:
        return f"governor.query fails: {error.diag.message_primary or 'no answer'}"
    first = next(iter(rows[0].values()), None) if rows else None
    if first:
        return f"governor.query: {first}"
    return ""


def _free(folder: str | None) -> float | None:
    try:
        state = os.statvfs(folder) if folder else None
    except OSError:
        return None
    if state and state.f_blocks:
        return state.f_bavail / state.f_blocks
    return None
