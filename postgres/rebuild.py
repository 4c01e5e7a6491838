"""Indexes rebuilt and left-overs dropped CONCURRENTLY; whatever happens, no invalid index of ours stays behind.

A concurrent build has no `lock_timeout`: one that strikes in the middle leaves an invalid `_ccnew` index that every
write has to keep up. A watchdog cancels it instead when somebody waits behind it, and what it left is dropped
(manual, REINDEX, Rebuilding Indexes Concurrently).
"""

import contextlib
import os
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import errors, sql

from postgres import bloat
from postgres.connection import Session, lost
from postgres.identifiers import Relation
from postgres.pace import Pace
from postgres.step import Evidence, Outcome, Status

CLEAN_SECONDS = 2.5
CLEAN_TRIES = 3
ROOM = 2.0
"""So many times its size is to be free before an index is built a second time."""

_NOW = sql.SQL(
    """
    SELECT x.indexrelid::bigint AS oid, x.indisvalid AND x.indisready AND x.indislive AS valid,
           pg_catalog.pg_relation_size(x.indexrelid) AS bytes, x.indrelid::bigint AS table_oid,
           coalesce(pg_catalog.pg_stat_get_mod_since_analyze(x.indrelid), 0) > 0 AS changed,
           (SELECT format('pid %%s (%%s)', l.pid, coalesce(nullif(a.application_name, ''), a.backend_type))
            FROM pg_catalog.pg_locks l LEFT JOIN pg_catalog.pg_stat_activity a USING (pid)
            WHERE l.relation = x.indrelid AND l.granted AND l.pid <> pg_backend_pid()
              AND l.database = (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())
              AND l.mode NOT IN ('AccessShareLock', 'RowShareLock', 'RowExclusiveLock') LIMIT 1) AS holder,
           CASE WHEN coalesce(host(inet_server_addr()), '127.0.0.1') IN ('127.0.0.1', '::1') THEN
             coalesce(nullif(pg_catalog.pg_tablespace_location(coalesce(nullif(i.reltablespace, 0),
                                                                        d.dattablespace)), ''),
                      CASE WHEN pg_has_role('pg_read_all_settings', 'USAGE')
                           THEN current_setting('data_directory', true) END) END AS folder
    FROM pg_catalog.pg_index x
    JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
    CROSS JOIN pg_catalog.pg_database d
    WHERE n.nspname = %s AND i.relname = %s AND d.datname = current_database()
    """
)
_BROKEN = sql.SQL(
    """
    SELECT n.nspname AS schema, i.relname AS name
    FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
    WHERE x.indrelid = %s AND NOT (x.indisvalid AND x.indisready AND x.indislive)
      AND i.relname ~ '_cc(new|old)[0-9]*$'
    """
)


@dataclass(frozen=True, slots=True)
class Limits:
    """From where on an index is rebuilt for its size."""

    wasted: int
    share: float
    unseen_disk: bool = False
    """Also where nobody can see how much disk is free."""


@dataclass(frozen=True, slots=True)
class Rebuild:
    """REINDEX INDEX CONCURRENTLY of one that is invalid or, by `limits`, bloated."""

    index: Relation
    table: Relation
    why: str
    limits: Limits | None = None
    """None: it is invalid, and that is reason enough."""
    refused: str = ""
    bytes: int = 0
    predicted_seconds: float = 0.0
    sure: bool = True
    overrun: bool = False
    urgent: bool = False
    name: str = "reindex"
    lock: str = "SHARE UPDATE EXCLUSIVE"
    limit_seconds: float = 12 * 3600.0
    alone: bool = True
    evidence: Evidence = field(default_factory=lambda: {"index": True})

    @property
    def object(self) -> str:
        """The index."""
        return str(self.index)

    def statement(self) -> str:
        """Return the command as text; of one that is not tried, why."""
        return f"-- skipped: {self.refused}" if self.refused else self._command().as_string(None)

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Look again, whether it is still needed and there is room; build; look whether it worked."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        before = _now(session, self.index)
        session.go(gentle=pace.gentle())
        session.allow(pace.remaining_seconds())
        refused = self.refused or self._unneeded(session, before) or self._no_room(before)
        if isinstance(refused, Outcome):
            return refused
        if refused or before is None:
            return Outcome(Status.SKIPPED, refused, blocked=bool(before and before["holder"]))
        try:
            pace.attempt(lambda: self._build(session, pace, before["table_oid"]))
        except errors.UniqueViolation as error:
            return Outcome(Status.INEFFECTIVE, f"its keys are not unique: {error.diag.message_primary}")
        after = _now(session, self.index)
        if after is None or not after["valid"] or after["oid"] == before["oid"]:
            return Outcome(Status.INEFFECTIVE, "the index is the same as before")
        left = "" if self.limits is None or after["bytes"] < before["bytes"] else "no smaller than before"
        return Outcome(Status.DONE, left, bytes=before["bytes"], evidence={"index": True, "now": after["bytes"]})

    def _command(self) -> sql.Composed:
        return sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(self.index.identifier())

    def _unneeded(self, session: Session, before: dict[str, Any] | None) -> Outcome | str:
        """Say why it is not to be built, or not now."""
        if before is None:
            return Outcome(Status.DONE, "it is gone")
        if before["holder"]:
            return f"in the way: {before['holder']} has a lock on {self.table}"
        if self.limits is None:
            return Outcome(Status.DONE, "it is valid now") if before["valid"] else ""
        if before["changed"]:
            session.execute(sql.SQL("ANALYZE {}").format(self.table.identifier()))
        found = bloat.confirmed(session, before["oid"])
        if found is None or (found.wasted >= self.limits.wasted and found.share >= self.limits.share):
            return ""
        how = "measured" if found.measured else "estimated again"
        evidence = {"index": True, "now": found.bytes}
        return Outcome(Status.DONE, f"not bloated: {found.share:.0%} of it wasted, {how}", evidence=evidence)

    def _no_room(self, before: dict[str, Any] | None) -> str:
        if before is None:
            return ""
        try:
            state = os.statvfs(before["folder"]) if before["folder"] else None
        except OSError:
            state = None
        if state is None:
            blind = self.limits is not None and not self.limits.unseen_disk
            return "free disk unknown: the server is elsewhere (jobs.vacuum.reindex.unseen_disk)" if blind else ""
        free = state.f_bavail * state.f_frsize
        if free >= ROOM * before["bytes"]:
            return ""
        return f"no room: {before['bytes'] / 1e6:.0f} MB, and {free / 1e6:.0f} MB are free; it needs twice its size"

    def _build(self, session: Session, pace: Pace, table: int) -> None:
        there = _broken(session, table)
        session.wait_for_locks(0)
        session.allow(pace.remaining_seconds())
        pace.yields = True
        try:
            session.execute(self._command())
        except psycopg.Error as error:
            pace.yields = False
            if not lost(error):
                _clean(session, table, there)
            raise
        finally:
            pace.yields = False
            with contextlib.suppress(psycopg.Error):
                session.wait_for_locks()


@dataclass(frozen=True, slots=True)
class Leftover:
    """DROP INDEX CONCURRENTLY of what a rebuild that was broken off has left."""

    index: Relation
    why: str
    refused: str = ""
    name: str = "drop"
    lock: str = "SHARE UPDATE EXCLUSIVE"
    predicted_seconds: float = 0.0
    limit_seconds: float = 600.0
    alone: bool = True

    @property
    def object(self) -> str:
        """The index."""
        return str(self.index)

    def statement(self) -> str:
        """Return the command as text; of one that is not tried, why."""
        return f"-- skipped: {self.refused}" if self.refused else _drop(self.index).as_string(None)

    def apply(self, session: Session | None, pace: Pace) -> Outcome:
        """Look again whether it is still one, and nobody is at work on it."""
        assert session is not None  # noqa: S101 - the executor of a database job has one
        before = _now(session, self.index)
        if before is None or before["valid"]:
            return Outcome(Status.DONE, "it is gone" if before is None else "it is valid now")
        if self.refused or before["holder"]:
            reason = f"in the way: {before['holder']} has a lock on its table"
            return Outcome(Status.SKIPPED, self.refused or reason, blocked=not self.refused)

        def piece() -> None:
            session.allow(pace.remaining_seconds())
            session.execute(_drop(self.index))

        pace.attempt(piece)
        return Outcome(Status.DONE, bytes=before["bytes"], evidence={"index": True})


def _now(session: Session, index: Relation) -> dict[str, Any] | None:
    found = session.rows(_NOW, (index.schema, index.name))
    return found[0] if found else None


def _broken(session: Session, table: int) -> set[Relation]:
    return {Relation(**row) for row in session.rows(_BROKEN, (table,))}


def _drop(index: Relation) -> sql.Composed:
    return sql.SQL("DROP INDEX CONCURRENTLY {}").format(index.identifier())


def _clean(session: Session, table: int, there: set[Relation]) -> None:
    """Drop what our build has left behind; what somebody still keeps is for the next run to find."""
    with session.undisturbed():
        for _ in range(CLEAN_TRIES):
            try:
                session.allow(CLEAN_SECONDS)
                for index in _broken(session, table) - there:
                    session.execute(_drop(index))
            except errors.QueryCanceled:
                continue  # a cancel that was on its way, or somebody has the table
            except psycopg.Error:
                return
            return
