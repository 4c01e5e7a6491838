"""Concurrent rebuilds and drops of indexes that leave no invalid index behind.

A concurrent build has no `lock_timeout`: a timeout in the middle would leave an invalid `_ccnew`
index that every write maintains. Instead the executor cancels it when a session waits behind it,
and the step drops what it left (manual, REINDEX, Rebuilding Indexes Concurrently).
"""

import contextlib
import os
import time
from dataclasses import dataclass, replace
from typing import Any

import psycopg
from psycopg import errors, sql

from domain.cause import Cause
from execution.control import StepControl
from execution.step import DatabaseStep, Evidence, Outcome, Status
from jobs.steps.statement import Skip
from postgres.catalog import index_bloat
from postgres.catalog.index_bloat import IndexBloat
from postgres.identifiers import Relation
from postgres.session import Session, is_lost
from postgres.statement_file import read_statement

CLEAN_SECONDS = 7.0
ROOM = 2.0
"""Free disk needed, as a multiple of the index size."""
LASTING_SECONDS = 60.0
"""A build would wait for the end of a snapshot older than this, which may last hours."""

_NOW = read_statement("jobs", "index_before_rebuild")
_BROKEN = sql.SQL(
    """
    SELECT n.nspname AS schema, i.relname AS name
    FROM pg_catalog.pg_index x JOIN pg_catalog.pg_class i ON i.oid = x.indexrelid
    JOIN pg_catalog.pg_namespace n ON n.oid = i.relnamespace
    WHERE x.indrelid = %s AND NOT (x.indisvalid AND x.indisready AND x.indislive)
      AND i.relname ~ '_cc(new|old)[0-9]*$'
    """
)

State = dict[str, Any]
LOOKED: Evidence = {"index": True, "looked": True}
"""The index was not built, so the duration is no history."""


@dataclass(frozen=True, slots=True)
class BloatLimits:
    """The limits above which an index is rebuilt."""

    wasted: int
    share: float
    unseen_disk: bool = False
    """Whether it is rebuilt although the free disk cannot be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RebuildIndex(DatabaseStep):
    """REINDEX INDEX CONCURRENTLY of an index that is invalid or exceeds `limits`."""

    index: Relation
    table: Relation
    bloated: IndexBloat | None = None
    """The estimate behind the plan; None for an invalid index."""
    limits: BloatLimits = BloatLimits(0, 0.0)
    skip: Skip | None = None
    bytes: int = 0
    data_directory: str | None = None
    """The data directory, for a login that may not read the setting."""
    name: str = "reindex"
    lock: str = "SHARE UPDATE EXCLUSIVE"
    alone: bool = True

    def statement(self) -> str:
        """Return the command, or a comment with the reason for skipping it."""
        if self.skip:
            return f"-- skipped: {self.skip.reason}"
        return self._command().as_string(None)

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Check again that it is needed and that there is room, build, verify."""
        if self.skip:
            return Outcome(Status.SKIPPED, self.skip.reason, cause=self.skip.cause)
        session.set_timeouts(control.remaining_seconds())
        before = _now(session, self.index, self.data_directory)
        if before is None or (before["valid"] and self.bloated is None):
            return Outcome(
                Status.DONE,
                "the index no longer exists" if before is None else "the index is valid now",
                evidence=LOOKED,
            )
        if reason := self._no_room(before):
            return Outcome(Status.SKIPPED, reason, cause=Cause.NO_ROOM)
        session.set_cost(gentle=control.gentle())
        if self.bloated and (not_bloated := self._not_bloated(session, control, self.bloated)):
            return Outcome(Status.DONE, not_bloated, evidence={**LOOKED, "now": before["bytes"]})
        return control.attempt(lambda: self._build(session, control))

    def _command(self) -> sql.Composed:
        return sql.SQL("REINDEX INDEX CONCURRENTLY {}").format(self.index.identifier())

    def _no_room(self, before: State) -> str:
        try:
            state = os.statvfs(before["folder"]) if before["folder"] else None
        except OSError:
            state = None
        if state is None:
            unknown_space = self.bloated is not None and not self.limits.unseen_disk
            if unknown_space:
                return (
                    "free disk unknown: the server is on another host "
                    "(jobs.vacuum.reindex.unseen_disk)"
                )
            return ""
        free = state.f_bavail * state.f_frsize
        if free >= ROOM * before["bytes"]:
            return ""
        return (
            f"no room: the index has {before['bytes'] / 1e6:.0f} MB, {free / 1e6:.0f} MB are "
            "free; twice its size is needed"
        )

    def _not_bloated(self, session: Session, control: StepControl, bloated: IndexBloat) -> str:
        """Return the result of an exact measurement if the index is not bloated."""
        control.cancellable = True
        found = index_bloat.measure_bloat(session, bloated)
        control.cancellable = False
        if found.wasted >= self.limits.wasted and found.share >= self.limits.share:
            return ""
        return (
            f"not bloated: {found.share:.0%} of it wasted, "
            f"{'measured' if found.measured else 'estimated again'}"
        )

    def _build(self, session: Session, control: StepControl) -> Outcome:
        """Build unless it would have to wait; drop any invalid index that it leaves."""
        before = _now(session, self.index)
        if before is None:
            return Outcome(Status.DONE, "the index no longer exists", evidence=LOOKED)
        there = _broken(session, before["table_oid"])
        if reasons := self._obstacles(before, there):
            return Outcome(Status.SKIPPED, f"blocked: {'; '.join(reasons)}", cause=Cause.LOCKED)
        try:
            _concurrently(session, control, self._command())
        except errors.UniqueViolation as error:
            reason = f"its keys are not unique: {error.diag.message_primary}"
            return Outcome(
                Status.INEFFECTIVE, reason + _left(_clean(session, before["table_oid"], there))
            )
        except psycopg.Error as error:
            if is_lost(error):
                raise
            left = _left(_clean(session, before["table_oid"], there))
            if (rebuilt := self._verify_rebuilt(session, before)) is None:
                if left:
                    error.add_note(left)
                raise
            return replace(rebuilt, reason=left)
        return self._verify_rebuilt(session, before) or Outcome(
            Status.INEFFECTIVE, "the index is unchanged"
        )

    def _obstacles(self, before: dict[str, Any], invalid: set[Relation]) -> list[str]:
        """Return why the build would have to wait, or would leave a second invalid index."""
        reasons = []
        if before["holder"] or before["snapshot"]:
            reasons.append(before["holder"] or before["snapshot"])
        stale = ", ".join(map(str, sorted(invalid - {self.index})))
        if stale:
            reasons.append(f"{stale} has to be dropped first")
        return reasons

    def _verify_rebuilt(self, session: Session, before: State) -> Outcome | None:
        """Return the outcome if a new, valid index has the name now."""
        after = _now(session, self.index)
        if after is None or not after["valid"] or after["oid"] == before["oid"]:
            return None
        left = ""
        if self.bloated and after["bytes"] >= before["bytes"]:
            left = "no smaller than before"
        return Outcome(
            Status.DONE,
            left,
            bytes=before["bytes"],
            evidence={"index": True, "now": after["bytes"]},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class DropInvalidIndex(DatabaseStep):
    """DROP INDEX CONCURRENTLY of an index left by an interrupted rebuild or drop."""

    index: Relation
    skip: Skip | None = None
    name: str = "drop"
    lock: str = "SHARE UPDATE EXCLUSIVE"
    limit_seconds: float = 600.0
    alone: bool = True

    def statement(self) -> str:
        """Return the command, or a comment with the reason for skipping it."""
        if self.skip:
            return f"-- skipped: {self.skip.reason}"
        return _drop(self.index).as_string(None)

    def apply(self, session: Session, control: StepControl) -> Outcome:
        """Check again that the index is invalid and unused, then drop it."""
        if self.skip:
            return Outcome(Status.SKIPPED, self.skip.reason, cause=self.skip.cause)
        session.set_timeouts(control.remaining_seconds())
        before = _now(session, self.index)
        if before is None or before["valid"]:
            return Outcome(
                Status.DONE,
                "the index no longer exists" if before is None else "the index is valid now",
                evidence=LOOKED,
            )
        if before["holder"]:
            return Outcome(Status.SKIPPED, f"blocked: {before['holder']}", cause=Cause.LOCKED)
        _concurrently(session, control, _drop(self.index))
        return Outcome(Status.DONE, evidence=LOOKED)


def _now(session: Session, index: Relation, data_directory: str | None = None) -> State | None:
    query = _NOW.format(
        lasting=sql.Literal(LASTING_SECONDS), data_directory=sql.Literal(data_directory)
    )
    found = session.rows(query, (index.schema, index.name))
    if found:
        return found[0]
    return None


def _broken(session: Session, table: int) -> set[Relation]:
    return {Relation(**row) for row in session.rows(_BROKEN, (table,))}


def _drop(index: Relation) -> sql.Composed:
    return sql.SQL("DROP INDEX CONCURRENTLY {}").format(index.identifier())


def _concurrently(session: Session, control: StepControl, command: sql.Composed) -> None:
    """Run a command without `lock_timeout`; the executor cancels it when it blocks others."""
    session.set_timeouts(control.remaining_seconds(), lock_milliseconds=0)
    control.cancellable = True
    try:
        session.execute(command)
    finally:
        control.cancellable = False


def _clean(session: Session, table: int, there: set[Relation]) -> set[Relation]:
    """Drop the invalid indexes of our build; return those that could not be dropped."""
    ends = time.monotonic() + CLEAN_SECONDS
    left: set[Relation] = set()
    with session.uncancellable():
        while (seconds := ends - time.monotonic()) > 0:
            try:
                session.set_timeouts(seconds, lock_milliseconds=0)
                left = _broken(session, table) - there
                for index in left:
                    session.execute(_drop(index))
            except errors.QueryCanceled:
                continue  # a cancel arrived late, or the window has ended
            except psycopg.Error:
                break
            left = set()
            break
        with contextlib.suppress(psycopg.Error):
            session.set_timeouts(CLEAN_SECONDS)
    return left


def _left(left: set[Relation]) -> str:
    if left:
        return f"left behind: {', '.join(map(str, sorted(left)))}; the next run drops it"
    return ""
